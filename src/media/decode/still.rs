//! Pictures of formats that FFmpeg knows and [`picture`](crate::media::picture) does not: AVIF, JPEG XL,
//! JPEG 2000, TGA, PNM and others.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Decoder;
use crate::frame::Frame;
use crate::media::FrameSource;

/// A picture file that was opened.
pub(in crate::media) struct Still(Decoder);

impl Still {
    /// Opens the picture `path`; `None` where FFmpeg finds none.
    pub fn open(path: &Path) -> Option<Self> {
        let decoder = Decoder::open(path, None).ok()?;
        // HEIC and large AVIF pictures lie in their files as tiles, each a stream of its own.
        (decoder.raw.packets.videos() == 1).then_some(Self(decoder))
    }

    /// Width and height, upright.
    pub fn size(&self) -> (usize, usize) {
        let info = self.0.info();
        (info.width, info.height)
    }

    /// The picture. Fails for damaged ones, and for films.
    pub fn read(mut self) -> Result<Frame> {
        let mut frame = Frame::default();
        ensure!(
            self.0.read(&mut frame)? && self.0.raw.damaged == 0,
            "it is damaged"
        );
        ensure!(
            !self.0.read(&mut Frame::default())?,
            "it is a film: paint it with `repaint video`"
        );
        Ok(frame)
    }
}
