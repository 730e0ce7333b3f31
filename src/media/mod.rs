//! Frames in and out: picture files, video files, cameras and windows.
//!
//! Media knows frames and nothing of networks. Each outside library has its home in one file.

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
