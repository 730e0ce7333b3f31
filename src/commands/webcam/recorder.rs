//! Recordings and snapshots: paintings to files, in threads of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::sound::Sound;
use super::writer::{Message, Writer};
use crate::frame::Frame;
use crate::media::decode::VideoInfo;
use crate::media::encode::{Beside, Container, EncodeSettings, Encoder};
use crate::media::microphone;
use crate::media::{Hwaccel, picture};
use crate::output::{Existing, ensure_writable};
use crate::pipeline::worker::{Closed, Worker};

/// Paintings that wait for the encoder: evens out its bursts; more would only hide that it is too
/// slow.
const QUEUE: usize = 8;

/// Frame rates above this are recorded at this one.
const HIGHEST_RATE: f64 = 120.0;

/// Sound is written this often while no paintings come.
const SOUND_ALONE: Duration = Duration::from_millis(500);

/// What recordings are like.
#[derive(Clone, Debug)]
pub(super) struct Format {
    /// Width and height in pixels.
    pub size: (usize, usize),
    /// Nominal frame rate, a fraction.
    pub rate: (i32, i32),
    /// Who encodes the picture, if it can.
    pub hwaccel: Hwaccel,
    /// The microphone that is listened to, as users name it; none records without sound.
    pub microphone: Option<String>,
}

/// A recording in progress.
pub(super) struct Recording {
    place: PathBuf,
    worker: Worker<Message>,
    begun: Option<Instant>,
    missed: Arc<AtomicU64>,
    sound: String,
    trouble: Option<Receiver<String>>,
    handed_over: Instant,
    /// Whether the command line asks for it: its failure is the run's, and it may not be empty.
    pub owed: bool,
}

/// Listens to the microphone that `choice` means, and tells its name.
fn listen(choice: &str) -> Result<(Sound, Receiver<String>, String)> {
    let microphone = microphone::find(choice)?;
    let (sound, trouble) = Sound::begin(&microphone)?;
    Ok((sound, trouble, microphone.name))
}

impl Recording {
    /// Begins a recording into `place`. One whose microphone cannot be used is begun without sound.
    pub fn begin(place: &Path, existing: Existing, format: &Format) -> Result<Self> {
        ensure_place(place, existing)?;
        let (size, rate, hwaccel) = (format.size, nominal(format.rate), format.hwaccel);
        let (sound, trouble, words) = match format.microphone.as_deref().map(listen) {
            None => (None, None, "without sound".to_string()),
            Some(Ok((sound, trouble, name))) => (
                Some(sound),
                Some(trouble),
                format!("with sound of `{name}`"),
            ),
            Some(Err(error)) => (None, None, format!("without sound: {error:#}")),
        };
        let settings = EncodeSettings {
            hwaccel,
            ..EncodeSettings::default()
        };
        let info = VideoInfo::new(size.0, size.1, rate);
        let beside = match &sound {
            Some(sound) => Beside::Sound(sound.format()),
            None => Beside::Nothing,
        };
        let encoder = Encoder::create(place, existing, &info, &settings, beside)?;
        let missed = Arc::new(AtomicU64::new(0));
        let fps = f64::from(rate.0) / f64::from(rate.1);
        let mut writer = Writer::new(encoder, size, fps, sound, Arc::clone(&missed));
        let worker = Worker::start("record", QUEUE, move |message| writer.take(message))?;
        Ok(Self {
            place: place.to_path_buf(),
            worker,
            begun: None,
            missed,
            sound: words,
            trouble,
            handed_over: Instant::now(),
            owed: false,
        })
    }

    /// Where the recording goes.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whose sound is recorded, or why none is.
    pub fn sound(&self) -> &str {
        &self.sound
    }

    /// Has the sound written although no paintings come. Returns what to tell the user of a microphone that is lost.
    pub fn go_on(&mut self) -> Option<String> {
        if self.handed_over.elapsed() > SOUND_ALONE {
            self.worker.offer(Message::Sound);
            self.handed_over = Instant::now();
        }
        self.trouble.as_ref()?.try_recv().ok()
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
        if !self.worker.offer(message) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Recording::take`], but waits for the encoder and misses none.
    pub fn wait_and_take(&mut self, painting: &Frame, at: Instant) {
        let message = self.message(painting, at);
        self.worker.send(message);
    }

    fn message(&mut self, painting: &Frame, at: Instant) -> Message {
        let mut frame = match self.worker.done() {
            Some(Message::Frame(frame, _)) => frame,
            _ => Frame::default(),
        };
        frame.shape_like(painting);
        frame.pixels.copy_from_slice(&painting.pixels);
        self.begun.get_or_insert(at);
        self.handed_over = Instant::now();
        Message::Frame(frame, at)
    }

    /// Whether the encoder failed; [`Ended::finish`] says why.
    pub fn has_failed(&self) -> bool {
        self.worker.has_failed()
    }

    /// How long it runs, from the first painting on; `None` before that.
    pub fn duration(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| now.saturating_duration_since(begun))
    }

    /// Completes the file in the background; the last frame lasts until `now`.
    pub fn end(self, now: Instant) -> Ended {
        self.worker.send(Message::End(now));
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
    ensure_writable(place, existing)
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

    #[test]
    fn who_waits_for_the_encoder_misses_nothing() -> Result<()> {
        use crate::media::FrameSource;
        use crate::media::decode::Decoder;

        let folder = tempfile::tempdir()?;
        let place = folder.path().join("a.mp4");
        let format = Format {
            size: (320, 240),
            rate: (30, 1),
            hwaccel: Hwaccel::None,
            microphone: None,
        };
        let mut recording = Recording::begin(&place, Existing::Keep, &format)?;
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
