//! Interlaced films as progressive ones: of two half pictures, taken one after the other, one whole.
//!
//! Painted as they are, what moves would be painted as combs.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::filter;
use av::format::Pixel;
use av::frame::Video;

use super::ffmpeg::is_ready;

/// Weston's three fields, as the BBC deinterlaces; frames that say they are progressive pass.
const FILTER: &str = "bwdif=mode=send_frame:parity=auto:deint=interlaced";

/// A filter for frames of one size and format.
pub(super) struct Deinterlacer {
    graph: filter::Graph,
    kind: (Pixel, u32, u32),
}

impl Deinterlacer {
    /// For frames like `frame`.
    pub fn new(frame: &Video, time_base: (i32, i32)) -> Result<Self> {
        let mut graph = filter::Graph::new();
        let kind @ (format, width, height) = kind(frame);
        let name = format
            .descriptor()
            .context("a format without a name")?
            .name();
        let (num, den) = time_base;
        let input = format!(
            "video_size={width}x{height}:pix_fmt={name}:time_base={num}/{den}:pixel_aspect=1/1"
        );
        let (source, sink) = (filter::find("buffer"), filter::find("buffersink"));
        graph.add(&source.context("no filter `buffer`")?, "in", &input)?;
        graph.add(&sink.context("no filter `buffersink`")?, "out", "")?;
        let chain = format!("{FILTER},format={name}");
        graph.output("in", 0)?.input("out", 0)?.parse(&chain)?;
        graph.validate()?;
        Ok(Self { graph, kind })
    }

    /// Whether it is for frames like `frame`.
    pub fn is_for(&self, frame: &Video) -> bool {
        self.kind == kind(frame)
    }

    /// Takes a frame; what is whole by now goes to `whole`. Times stay those of the frames.
    pub fn take(&mut self, mut frame: Video, whole: &mut VecDeque<Video>) -> Result<()> {
        let time = frame.timestamp();
        frame.set_pts(time);
        let mut source = self.graph.get("in").context("no filter `in`")?;
        source.source().add(&frame)?;
        self.give(whole)
    }

    /// Gives the frames that it still holds.
    pub fn finish(mut self, whole: &mut VecDeque<Video>) -> Result<()> {
        let mut source = self.graph.get("in").context("no filter `in`")?;
        source.source().flush()?;
        self.give(whole)
    }

    fn give(&mut self, whole: &mut VecDeque<Video>) -> Result<()> {
        let mut sink = self.graph.get("out").context("no filter `out`")?;
        loop {
            let mut frame = Video::empty();
            if !is_ready(sink.sink().frame(&mut frame))? {
                return Ok(());
            }
            whole.push_back(frame);
        }
    }
}

fn kind(frame: &Video) -> (Pixel, u32, u32) {
    (frame.format(), frame.width(), frame.height())
}
