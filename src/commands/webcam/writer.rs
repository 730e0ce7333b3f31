//! The thread of a recording: frames and sound into its file, each where it belongs.
//!
//! Frames lie on the even grid of the nominal frame rate, each at the tick nearest to when it was
//! taken: the clip runs evenly and lasts as long as what it shows. Sound lies where it was heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;

use super::sound::Sound;
use crate::frame::Frame;
use crate::media::FrameSink;
use crate::media::encode::{Encoder, Ending};
use crate::scale::Scaler;

/// What the thread is told.
pub(super) enum Message {
    /// A painting of a frame that was taken at this time.
    Frame(Frame, Instant),
    /// That there may be sound, although no paintings come.
    Sound,
    /// The end, up to which the last painting is shown.
    End(Instant),
}

/// What the thread of a recording works with.
pub(super) struct Writer {
    encoder: Option<Encoder>,
    size: (usize, usize),
    grid: Grid,
    scaler: Scaler,
    scaled: Frame,
    sound: Option<Sound>,
    too_soon: Arc<AtomicU64>,
}

impl Writer {
    /// Writes frames of `size` at `rate` a second, and `sound`, with `encoder`. Frames that come sooner than the rate
    /// says are counted by `too_soon`.
    pub fn new(
        encoder: Encoder,
        size: (usize, usize),
        rate: f64,
        sound: Option<Sound>,
        too_soon: Arc<AtomicU64>,
    ) -> Self {
        Self {
            encoder: Some(encoder),
            size,
            grid: Grid {
                start: None,
                rate,
                last: None,
            },
            scaler: Scaler::default(),
            scaled: Frame::default(),
            sound,
            too_soon,
        }
    }

    /// Does what `message` says.
    pub fn take(&mut self, message: &mut Message) -> Result<()> {
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(());
        };
        let written = match message {
            Message::Frame(frame, at) => self.write(frame, *at, &mut encoder),
            Message::Sound => self.write_sound(&mut encoder),
            Message::End(at) => return self.end(*at, encoder),
        };
        match written {
            Ok(()) => self.encoder = Some(encoder),
            Err(error) => return Err(encoder.keep(error)),
        }
        Ok(())
    }

    fn write(&mut self, frame: &mut Frame, at: Instant, encoder: &mut Encoder) -> Result<()> {
        match self.grid.tick(at) {
            Some(tick) if (frame.width, frame.height) == self.size => {
                frame.pts = tick;
                encoder.write(frame)?;
            }
            Some(tick) => {
                frame.pts = tick;
                self.scaler.run(frame, self.size, false, &mut self.scaled)?;
                encoder.write(&self.scaled)?;
            }
            None => {
                self.too_soon.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.write_sound(encoder)
    }

    /// Sound begins with the first frame.
    fn write_sound(&mut self, encoder: &mut Encoder) -> Result<()> {
        match (&mut self.sound, self.grid.start) {
            (Some(sound), Some(start)) => sound.write(start, encoder),
            _ => Ok(()),
        }
    }

    fn end(&mut self, at: Instant, mut encoder: Encoder) -> Result<()> {
        let Some(start) = self.grid.start else {
            return Ok(()); // nothing was painted: nothing is kept
        };
        if let Some(mut sound) = self.sound.take()
            && let Err(error) = sound.finish(start, at, &mut encoder)
        {
            return Err(encoder.keep(error));
        }
        let end = self.grid.ticks(at).round() as i64;
        encoder.finish(Ending::Whole(end)).map(drop)
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
