//! A video file played as if it were a camera: in its own time, over and over.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::decode::Decoder;
use super::{FrameSource, LiveSource, Reading};
use crate::frame::Frame;

/// Longest wait in one call.
const PATIENCE: Duration = Duration::from_millis(250);

/// Plays a file.
pub struct Player {
    path: PathBuf,
    decoder: Decoder,
    /// When time 0 of the current round was.
    start: Instant,
    /// When the last frame was shown, from the start of the round.
    shown: Duration,
    /// A frame that was decoded ahead of its time, so that decoding adds nothing to its latency.
    next: Frame,
    ready: bool,
    read: u64,
}

impl Player {
    /// Opens a video file. Fails when nothing in it can be decoded.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            decoder: Decoder::open_square(path)?,
            start: Instant::now(),
            shown: Duration::ZERO,
            next: Frame::default(),
            ready: false,
            read: 0,
        })
    }

    /// `ticks` of the file's time base as a time.
    fn time(&self, ticks: i64) -> Duration {
        let (num, den) = self.decoder.info().time_base;
        let seconds = ticks.max(0) as f64 * f64::from(num) / f64::from(den);
        Duration::from_secs_f64(seconds)
    }

    /// How long a frame lasts on average.
    fn step(&self) -> Duration {
        let (num, den) = self.decoder.info().frame_rate;
        Duration::from_secs_f64(f64::from(den) / f64::from(num))
    }

    /// Decodes the next frame, from the beginning again after the last one.
    fn decode(&mut self) -> Result<()> {
        if self.decoder.read(&mut self.next)? {
            return Ok(());
        }
        self.start += self.time(self.decoder.end()).max(self.shown + self.step());
        self.decoder = Decoder::open_square(&self.path)?;
        ensure!(
            self.decoder.read(&mut self.next)?,
            "`{}` has no frame to begin again with",
            self.path.display()
        );
        Ok(())
    }
}

impl LiveSource for Player {
    fn size(&self) -> (usize, usize) {
        (self.decoder.info().width, self.decoder.info().height)
    }

    fn frame_rate(&self) -> (i32, i32) {
        self.decoder.info().frame_rate
    }

    fn read(&mut self, frame: &mut Frame) -> Result<Reading> {
        if !self.ready {
            self.decode()?;
            self.ready = true;
            if self.read == 0 {
                self.start = Instant::now();
            }
        }
        let due = self.start + self.time(self.next.pts);
        let now = Instant::now();
        let wait = due.saturating_duration_since(now);
        if wait > PATIENCE {
            std::thread::sleep(PATIENCE);
            return Ok(Reading::Nothing);
        }
        std::thread::sleep(wait);
        // Decoding that cannot keep up, or a machine that slept, makes time stand still: a camera
        // would not send what it missed either.
        let late = now.saturating_duration_since(due);
        if late > PATIENCE {
            self.start += late;
        }
        self.shown = self.time(self.next.pts);
        std::mem::swap(frame, &mut self.next);
        frame.index = self.read;
        self.read += 1;
        self.ready = false;
        Ok(Reading::Frame(Instant::now()))
    }
}
