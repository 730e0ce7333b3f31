//! Recordings and snapshots: paintings to files, in threads of their own.
//!
//! Frames lie on the even grid of the nominal frame rate, each at the tick nearest to when it was
//! taken: the clip runs evenly and lasts as long as what it shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::frame::Frame;
use crate::media::decode::VideoInfo;
use crate::media::encode::{Container, EncodeSettings, Encoder, Ending};
use crate::media::{FrameSink, Hwaccel, picture};
use crate::output::{Existing, Output};
use crate::pipeline::worker::{Closed, Worker};
use crate::scale::Scaler;

/// Paintings that wait for the encoder: evens out its bursts; more would only hide that it is too
/// slow.
const QUEUE: usize = 8;

/// Frame rates above this are recorded at this one.
const HIGHEST_RATE: f64 = 120.0;

/// A recording in progress.
pub(super) struct Recording {
    place: PathBuf,
    worker: Worker<Message>,
    begun: Option<Instant>,
    last: Option<Instant>,
    missed: Arc<AtomicU64>,
    /// Whether the command line asks for it: its failure is the run's, and it may not be empty.
    pub owed: bool,
}

enum Message {
    Frame(Frame, Instant),
    End(Instant),
}

/// Numbers of the ticks that frames take.
struct Grid {
    start: Option<Instant>,
    rate: f64,
    last: Option<i64>,
}

impl Grid {
    /// The tick for a frame taken at `at`; `None` when the ticks up to then are taken.
    fn tick(&mut self, at: Instant) -> Option<i64> {
        let exact = self.ticks(at);
        let tick = match self.last {
            // Frames that come a little unevenly take the next tick, but never run ahead.
            Some(last) if exact.round() as i64 <= last => {
                ((last as f64) < exact + 0.75).then_some(last + 1)?
            }
            _ => exact.round() as i64,
        };
        self.last = Some(tick);
        Some(tick)
    }

    fn ticks(&mut self, at: Instant) -> f64 {
        let start = *self.start.get_or_insert(at);
        at.saturating_duration_since(start).as_secs_f64() * self.rate
    }
}

impl Recording {
    /// Begins a recording of frames of about `rate` a second (a fraction) into `place`, at `size`;
    /// `hwaccel` encodes it if it can.
    pub fn begin(
        place: &Path,
        existing: Existing,
        size: (usize, usize),
        rate: (i32, i32),
        hwaccel: Hwaccel,
    ) -> Result<Self> {
        ensure_place(place, existing)?;
        let rate = nominal(rate);
        let settings = EncodeSettings {
            hwaccel,
            ..EncodeSettings::default()
        };
        let info = VideoInfo::new(size.0, size.1, rate);
        let mut encoder = Some(Encoder::create(place, existing, &info, &settings, None)?);
        let mut grid = Grid {
            start: None,
            rate: f64::from(rate.0) / f64::from(rate.1),
            last: None,
        };
        let missed = Arc::new(AtomicU64::new(0));
        let too_soon = Arc::clone(&missed);
        let (mut scaler, mut scaled) = (Scaler::default(), Frame::default());
        let mut write = move |encoder: &mut Encoder, frame: &mut Frame| {
            if (frame.width, frame.height) == size {
                return encoder.write(frame);
            }
            scaler.run(frame, size, false, &mut scaled)?;
            encoder.write(&scaled)
        };
        let worker = Worker::start("record", QUEUE, move |message: &mut Message| {
            match (message, encoder.as_mut()) {
                (Message::Frame(frame, at), Some(into)) => {
                    let Some(tick) = grid.tick(*at) else {
                        too_soon.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    };
                    frame.pts = tick;
                    let written = write(into, frame);
                    written.map_err(|error| match encoder.take() {
                        Some(encoder) => encoder.keep(error),
                        None => error,
                    })
                }
                (Message::End(at), Some(_)) => {
                    let end = grid.ticks(*at).round() as i64;
                    match encoder.take() {
                        Some(encoder) if grid.last.is_some() => encoder.finish(Ending::Whole(end)),
                        _ => Ok(()), // nothing was painted: nothing is kept
                    }
                }
                (_, None) => Ok(()),
            }
        })?;
        Ok(Self {
            place: place.to_path_buf(),
            worker,
            begun: None,
            last: None,
            missed,
            owed: false,
        })
    }

    /// Where the recording goes.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Paintings that are not recorded: the encoder was too slow for them, or they came sooner than the
    /// frame rate says.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Takes a painting of a frame taken at `at`. Never waits: one that the encoder is too slow for
    /// is missed.
    pub fn take(&mut self, painting: &Frame, at: Instant) {
        let message = self.message(painting, at);
        if self.worker.offer(message) {
            self.last = Some(at);
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Recording::take`], but waits for the encoder and misses none.
    pub fn wait_and_take(&mut self, painting: &Frame, at: Instant) {
        let message = self.message(painting, at);
        self.worker.send(message);
        self.last = Some(at);
    }

    fn message(&mut self, painting: &Frame, at: Instant) -> Message {
        let mut frame = match self.worker.done() {
            Some(Message::Frame(frame, _)) => frame,
            _ => Frame::default(),
        };
        frame.shape_like(painting);
        frame.pixels.copy_from_slice(&painting.pixels);
        self.begun.get_or_insert(at);
        Message::Frame(frame, at)
    }

    /// Whether the encoder failed; [`Recording::finish`] says why.
    pub fn has_failed(&self) -> bool {
        self.worker.has_failed()
    }

    /// How long it runs, from the first painting on; `None` before that.
    pub fn duration(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| now.saturating_duration_since(begun))
    }

    /// Completes the file in the background; the last frame lasts until `now`.
    pub fn end(self, now: Instant) -> Ended {
        // The newest frame is as old as its way here; the time of the end must be measured alike.
        let end = match self.last {
            Some(last) => now.max(last),
            None => now,
        };
        self.worker.send(Message::End(end));
        Ended {
            place: self.place,
            worker: self.worker.close(),
            owed: self.owed,
        }
    }
}

/// A recording whose file is being completed.
pub(super) struct Ended {
    place: PathBuf,
    worker: Closed,
    /// Whether the command line asks for it.
    pub owed: bool,
}

impl Ended {
    /// Whether the file is whole or could not be written: [`Ended::finish`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.worker.is_finished()
    }

    /// Waits until the file is whole. Fails when it could not be written, or nothing was painted
    /// that the command line asks for.
    pub fn finish(self) -> Result<()> {
        self.worker.finish()?;
        ensure!(
            !self.owed || self.place.is_file(),
            "no frame was painted, `{}` was not written",
            self.place.display()
        );
        Ok(())
    }
}

/// Fails when `place` cannot become a recording.
pub(super) fn ensure_place(place: &Path, existing: Existing) -> Result<()> {
    Container::of(place)?;
    drop(Output::create(place, existing)?);
    Ok(())
}

/// Starts the thread that writes snapshots.
pub(super) fn snapshots() -> Result<Worker<(PathBuf, Frame)>> {
    Worker::start("snapshot", 2, |(place, frame): &mut (PathBuf, Frame)| {
        picture::write(place, frame, Existing::Keep)
    })
}

/// The first name of `repaint-001.ENDING`, `repaint-002.ENDING` and so on that is free in `folder`.
pub(super) fn free_name(folder: &Path, ending: &str, from: &mut u32) -> PathBuf {
    loop {
        *from += 1;
        let place = folder.join(format!("repaint-{from:03}.{ending}"));
        if !place.exists() {
            return place;
        }
    }
}

/// The frame rate of a recording, in sane bounds.
fn nominal(rate: (i32, i32)) -> (i32, i32) {
    let fps = f64::from(rate.0) / f64::from(rate.1.max(1));
    match fps {
        1.0..=HIGHEST_RATE => rate,
        _ if fps > HIGHEST_RATE => (HIGHEST_RATE as i32, 1),
        _ => (1, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(times_ms: &[u64], rate: f64) -> Vec<Option<i64>> {
        let start = Instant::now();
        let mut grid = Grid {
            start: None,
            rate,
            last: None,
        };
        let at = |&ms: &u64| grid.tick(start + Duration::from_millis(ms));
        times_ms.iter().map(at).collect()
    }

    #[test]
    fn frames_lie_on_an_even_grid_whatever_their_jitter() {
        let uneven = [0, 33, 70, 98, 133, 170, 199];
        let expected: Vec<_> = (0..7).map(Some).collect();
        assert_eq!(ticks(&uneven, 30.0), expected);
    }

    #[test]
    fn a_gap_stays_a_gap_and_a_burst_does_not_run_ahead() {
        let found = ticks(&[0, 33, 3000, 3033], 30.0);
        assert_eq!(found, [Some(0), Some(1), Some(90), Some(91)]);
        let burst: Vec<u64> = (0..60).map(|i| i * 10).collect();
        let taken = ticks(&burst, 30.0);
        let last = taken.iter().flatten().last();
        assert!(last.is_some_and(|&tick| tick <= 19), "{last:?}");
    }

    #[test]
    fn who_waits_for_the_encoder_misses_nothing() -> Result<()> {
        use crate::media::FrameSource;
        use crate::media::decode::Decoder;

        let folder = tempfile::tempdir()?;
        let place = folder.path().join("a.mp4");
        let (size, rate) = ((320, 240), (30, 1));
        let mut recording = Recording::begin(&place, Existing::Keep, size, rate, Hwaccel::None)?;
        let (start, painting) = (Instant::now(), Frame::new(320, 240));
        for i in 0..60 {
            let at = start + Duration::from_secs_f64(f64::from(i) / 30.0);
            recording.wait_and_take(&painting, at);
        }
        recording.end(start + Duration::from_secs(2)).finish()?;
        let (mut decoder, mut frame, mut count) = (Decoder::open(&place, None)?, painting, 0);
        while decoder.read(&mut frame)? {
            count += 1;
        }
        assert_eq!(count, 60);
        Ok(())
    }

    #[test]
    fn names_are_counted_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("repaint-001.png"), "").unwrap();
        let mut from = 0;
        let name = free_name(folder.path(), "png", &mut from);
        assert!(name.ends_with("repaint-002.png"));
        assert!(free_name(folder.path(), "png", &mut from).ends_with("repaint-003.png"));
    }
}
