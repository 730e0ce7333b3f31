//! Interlaced films as progressive ones: of two half pictures, taken one after the other, one whole.
//!
//! Painted as they are, what moves would be painted as combs.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::filter;
use av::format::Pixel;
use av::frame::Video;

use crate::media::ffmpeg::is_ready;

/// Weston's three fields, as the BBC deinterlaces; frames that say they are progressive pass.
const FILTER: &str = "bwdif=mode=send_frame:parity=auto:deint=interlaced";

/// Takes interlaced frames, and all that come after one. Frames of another kind begin anew.
pub(super) struct Deinterlacer {
    time_base: (i32, i32),
    filter: Option<Filter>,
    whole: VecDeque<Video>,
    /// Why this FFmpeg cannot do it: frames are left as they are then.
    refused: Option<String>,
}

impl Deinterlacer {
    /// For frames timed in `time_base`.
    pub fn new(time_base: (i32, i32)) -> Self {
        Self {
            time_base,
            filter: None,
            whole: VecDeque::new(),
            refused: None,
        }
    }

    /// The next frame that is whole.
    pub fn next(&mut self) -> Option<Video> {
        self.whole.pop_front()
    }

    /// Takes `frame` and leaves an empty one; `false` where it is left as it is, which it may be.
    pub fn take(&mut self, frame: &mut Video) -> Result<bool> {
        if self.refused.is_some() || self.filter.is_none() && !frame.is_interlaced() {
            return Ok(false);
        }
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| filter.kind != kind(frame))
        {
            self.finish()?;
        }
        let filter = match &mut self.filter {
            Some(filter) => filter,
            none => match Filter::new(frame, self.time_base) {
                Ok(filter) => none.insert(filter),
                Err(error) => {
                    self.refused = Some(format!("{error:#}"));
                    return Ok(false);
                }
            },
        };
        filter.take(std::mem::replace(frame, Video::empty()))?;
        filter.give(&mut self.whole)?;
        Ok(true)
    }

    /// Has the filter give the frames that it still holds; says whether there was one.
    pub fn finish(&mut self) -> Result<bool> {
        let Some(mut filter) = self.filter.take() else {
            return Ok(false);
        };
        filter.flush()?;
        filter.give(&mut self.whole)?;
        Ok(true)
    }

    /// What went wrong, in one line.
    pub fn remark(&self) -> Option<String> {
        let refused = self.refused.as_ref()?;
        Some(format!(
            "interlaced frames are painted as they are: {refused}"
        ))
    }
}

/// FFmpeg's filter for frames of one size and format.
struct Filter {
    graph: filter::Graph,
    kind: (Pixel, u32, u32),
}

impl Filter {
    fn new(frame: &Video, time_base: (i32, i32)) -> Result<Self> {
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
        let parsed = graph.output("in", 0)?.input("out", 0)?.parse(&chain);
        parsed.context("this FFmpeg has no filter `bwdif`")?;
        graph.validate()?;
        Ok(Self { graph, kind })
    }

    /// Takes a frame; its time stays.
    fn take(&mut self, mut frame: Video) -> Result<()> {
        let time = frame.timestamp();
        frame.set_pts(time);
        let mut source = self.graph.get("in").context("no filter `in`")?;
        Ok(source.source().add(&frame)?)
    }

    fn flush(&mut self) -> Result<()> {
        let mut source = self.graph.get("in").context("no filter `in`")?;
        Ok(source.source().flush()?)
    }

    /// Gives what is whole by now.
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
