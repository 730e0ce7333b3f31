//! Pictures of formats that FFmpeg knows and [`picture`](crate::media::picture) does not: AVIF, JPEG XL,
//! JPEG 2000, TGA, PNM and others.

use std::path::Path;

use anyhow::{Result, ensure};
use ffmpeg_next::media::Type;

use super::Decoder;
use super::input::open_input;
use crate::frame::Frame;
use crate::media::{FrameSource, ffmpeg};

/// A picture file that was opened.
pub(in crate::media) struct Still(Decoder);

impl Still {
    /// Opens the picture `path`; `None` where FFmpeg finds none. Fails for damaged ones.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        ffmpeg::start()?;
        let Ok(input) = open_input(path) else {
            return Ok(None);
        };
        let kinds = input.streams().map(|stream| stream.parameters().medium());
        // HEIC and large AVIF pictures lie in their files as tiles, each a stream of its own.
        if kinds.filter(|&kind| kind == Type::Video).count() != 1 {
            return Ok(None);
        }
        Decoder::open(path, None).map(|decoder| Some(Self(decoder)))
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
