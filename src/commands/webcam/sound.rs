//! The sound of a recording: what the microphone hears, put where it belongs beside the frames.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::media::SoundFormat;
use crate::media::encode::Encoder;
use crate::media::microphone::{Heard, Listening, Microphone};

/// How long the last sound may be on its way to the end of a recording.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// How much of its distance from where it was expected a piece of sound is moved: the times that drivers
/// tell are some 20 ms off, now to this side, now to that.
const TRUST: f64 = 0.02;

/// A distance in seconds beyond which something was missed.
const GAP: f64 = 0.25;

/// Sound on its way into a recording.
pub(super) struct Sound {
    listening: Listening,
    line: TimeLine,
}

impl Sound {
    /// Listens to `microphone` from now on. The receiver gets why nothing is heard any more.
    pub fn begin(microphone: &Microphone) -> Result<(Self, Receiver<String>)> {
        let (listening, trouble) = microphone.listen()?;
        let sound = Self {
            listening,
            line: TimeLine::default(),
        };
        Ok((sound, trouble))
    }

    /// How it is sampled.
    pub fn format(&self) -> SoundFormat {
        self.listening.format()
    }

    /// Writes what has been heard since the recording's `start`.
    pub fn write(&mut self, start: Instant, encoder: &mut Encoder) -> Result<()> {
        while let Some(heard) = self.listening.next() {
            self.place(&heard, start, None, encoder)?;
        }
        Ok(())
    }

    /// Writes what is heard until `end`.
    pub fn finish(&mut self, start: Instant, end: Instant, encoder: &mut Encoder) -> Result<()> {
        let deadline = Instant::now() + ON_ITS_WAY;
        while let Some(heard) = self.listening.wait_for_next(deadline) {
            if self.place(&heard, start, Some(end), encoder)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes the part of `heard` that lies between `start` and `end`; says whether it reaches the end.
    fn place(
        &mut self,
        heard: &Heard,
        start: Instant,
        end: Option<Instant>,
        encoder: &mut Encoder,
    ) -> Result<bool> {
        let format = self.format();
        let (rate, channels) = (f64::from(format.rate), usize::from(format.channels));
        let count = (heard.samples.len() / channels) as i64;
        let told = seconds(start, heard.at);
        let first = (self.line.place(told, count as f64 / rate) * rate).round() as i64;
        let end = end.map(|end| (seconds(start, end) * rate).round() as i64);
        let from = (-first).clamp(0, count);
        let to = end.map_or(count, |end| (end - first).clamp(from, count));
        let part = from as usize * channels..to as usize * channels;
        encoder.write_sound(&heard.samples[part], first + from)?;
        Ok(end.is_some_and(|end| first + count >= end))
    }
}

/// Seconds from `start` to `at`, less than 0 before it.
fn seconds(start: Instant, at: Instant) -> f64 {
    at.saturating_duration_since(start).as_secs_f64()
        - start.saturating_duration_since(at).as_secs_f64()
}

/// Where pieces of sound lie that follow each other, of the times that a driver tells.
#[derive(Default)]
struct TimeLine {
    next: Option<f64>,
    pieces: f64,
}

impl TimeLine {
    /// Where a piece of `length` begins that was heard at `told`, all in seconds.
    fn place(&mut self, told: f64, length: f64) -> f64 {
        let off = told - self.next.unwrap_or(f64::INFINITY);
        let at = if off.abs() > GAP {
            self.pieces = 0.0;
            told
        } else {
            // The mean of the first ones, then one that forgets.
            told - off * (1.0 - TRUST.max(1.0 / (self.pieces + 1.0)))
        };
        self.pieces += 1.0;
        self.next = Some(at + length);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_told_unevenly_are_evened_out() {
        let mut line = TimeLine::default();
        let mut worst: f64 = 0.0;
        for piece in 0..3000 {
            let truth = f64::from(piece) * 0.02;
            let off = [0.02, -0.015, 0.0, 0.01, -0.015][piece as usize % 5];
            let placed = line.place(truth + off, 0.02);
            if piece > 100 {
                worst = worst.max((placed - truth).abs());
            }
        }
        assert!(worst < 1e-3, "{worst}");
    }

    #[test]
    fn a_clock_that_runs_differently_is_followed() {
        let mut line = TimeLine::default();
        let mut off = 0.0;
        for piece in 0..200_000 {
            let truth = f64::from(piece) * 0.02 * 1.0002; // 0.8 s late after these 67 minutes
            off = line.place(truth, 0.02) - truth;
        }
        assert!(off.abs() < 1e-3, "{off}");
    }

    #[test]
    fn what_was_missed_leaves_a_gap() {
        let mut line = TimeLine::default();
        for piece in 0..100 {
            line.place(f64::from(piece) * 0.02, 0.02);
        }
        assert_eq!(line.place(5.0, 0.02), 5.0);
        assert_eq!(line.place(5.02, 0.02), 5.02);
    }
}
