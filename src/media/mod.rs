//! Frames in and out: picture files, video files, cameras and windows.
//!
//! Media knows frames and nothing of networks. Each outside library has its home in one place.

#[cfg(feature = "video")]
pub mod decode;
#[cfg(feature = "video")]
mod decode_turn;
#[cfg(feature = "video")]
pub mod encode;
#[cfg(feature = "video")]
mod encode_audio;
#[cfg(feature = "video")]
mod encode_choice;
#[cfg(feature = "video")]
mod encode_copy;
#[cfg(feature = "video")]
mod encode_subtitle;
#[cfg(feature = "video")]
mod encode_video;
#[cfg(feature = "video")]
mod ffmpeg;
pub mod picture;

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
