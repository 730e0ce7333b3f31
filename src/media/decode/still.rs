//! Pictures of formats that FFmpeg knows and [`picture`](crate::media::picture) does not: AVIF, JPEG XL,
//! JPEG 2000, TGA, PNM and others.

use std::path::Path;

use anyhow::{Result, ensure};
use ffmpeg_next::format::stream::Disposition;
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
        let streams = input.streams();
        let videos = streams.filter(|stream| stream.parameters().medium() == Type::Video);
        let videos: Vec<_> = videos.map(|stream| stream.disposition()).collect();
        if !has_main(&videos) {
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

/// Whether one of the streams is the whole picture. FFmpeg 7.1 and later give what AVIF files hold besides, such as
/// opacity, a stream each, and also each tile of a large picture, none of which is the default.
fn has_main(streams: &[Disposition]) -> bool {
    let defaults = streams
        .iter()
        .filter(|stream| stream.contains(Disposition::DEFAULT));
    streams.len() == 1 || defaults.count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told_from_what_lies_beside_it_and_from_tiles() {
        let (main, other) = (Disposition::DEFAULT, Disposition::empty());
        assert!(has_main(&[other]) && has_main(&[main, other]));
        assert!(!has_main(&[]) && !has_main(&[other, other]) && !has_main(&[main, main]));
    }
}
