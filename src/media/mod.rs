//! Frames in and out: picture files, video files, cameras and windows.
//!
//! Media knows frames and nothing of networks. Each outside library has its home in one place.

#[cfg(feature = "webcam")]
pub mod camera;
#[cfg(feature = "video")]
pub mod decode;
#[cfg(feature = "video")]
pub mod encode;
#[cfg(feature = "video")]
mod ffmpeg;
#[cfg(feature = "webcam")]
mod full_screen;
mod heic;
#[cfg(feature = "webcam")]
pub mod microphone;
pub mod picture;
#[cfg(feature = "video")]
pub mod player;
mod profile;
#[cfg(target_os = "linux")]
mod v4l2;
pub mod virtual_camera;
#[cfg(feature = "video")]
pub mod whole;
#[cfg(feature = "webcam")]
pub mod window;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::frame::Frame;

/// Something that frames come from, in order.
pub trait FrameSource {
    /// Fills `frame` with the next picture; `false` at the end.
    fn read(&mut self, frame: &mut Frame) -> Result<bool>;
}

/// Something that frames go to, in order.
pub trait FrameSink {
    /// Takes one picture.
    fn write(&mut self, frame: &Frame) -> Result<()>;
}

/// How sound is sampled while it is heard: as `f32` from -1 to 1, samples of one moment side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundFormat {
    /// Samples a second of each channel.
    pub rate: u32,
    /// 1 or 2.
    pub channels: u16,
}

impl SoundFormat {
    /// How long `samples` of it last, those of all channels counted.
    pub fn duration(self, samples: usize) -> Duration {
        let moments = samples / usize::from(self.channels.max(1));
        Duration::from_secs_f64(moments as f64 / f64::from(self.rate.max(1)))
    }
}

/// Who decodes and encodes a film besides the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hwaccel {
    /// Nobody.
    #[default]
    None,
    /// The NVIDIA GPU, whatever it takes.
    Cuda,
}

/// Something that frames come from when they happen: a camera, or a file played as if it were one.
pub trait LiveSource: Send {
    /// Width and height of the frames to come, in pixels.
    fn size(&self) -> (usize, usize);

    /// Frames a second to expect, as a fraction.
    fn frame_rate(&self) -> (i32, i32);

    /// Waits for the next picture, but never much longer than a quarter of a second, so that the
    /// caller can end. Fails only when no picture will ever come again.
    fn read(&mut self, frame: &mut Frame) -> Result<Reading>;
}

/// What a [`LiveSource`] had to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A picture, taken at this time.
    Frame(Instant),
    /// Nothing yet.
    Nothing,
    /// Nothing, and why; the source goes on trying.
    Trouble(String),
}
