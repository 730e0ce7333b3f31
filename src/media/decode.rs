//! Video files in: every frame that FFmpeg can decode, upright, as RGB, with its time.
//!
//! Colours are converted by the matrix and range that the stream is tagged with, those of high dynamic range
//! to standard range. Alpha is ignored. Interlaced frames become progressive ones. Frames of another shape than the
//! first one get black bars.
//! Damaged packets are skipped and counted; the rest of the file is still read. Where the GPU decodes,
//! the CPU goes on from the first frame that the GPU does not give.

pub(super) mod clock;
mod convert;
mod curves;
mod deinterlace;
mod holes;
pub(super) mod input;
#[cfg(feature = "webcam")]
pub(super) mod live;
pub(super) mod packets;
mod raw;
pub(super) mod still;
mod tone;
mod turn;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::threading;
use av::rescale;

use convert::{Converter, shape, squared};
use input::{
    DEFAULT_RATE, TRANSPARENCY, best_video, brightest, expected_frames, frame_rate, go_to, lost,
    lost_of, open_input, pixel_aspect, start_shift, turn, varies,
};
use packets::Packets;
use raw::{Next, RawFrames};
use tone::Tone;
use turn::Turn;

use super::ffmpeg::hwaccel::Gpu;
use super::ffmpeg::{self, Color, Layout};
use super::{FrameSource, Hwaccel};
use crate::frame::Frame;
use crate::scale::scaled_evenly;

pub use input::{Part, VideoInfo};

/// Seconds for which a part goes without a frame at its beginning; where the next one comes later, as in films
/// of slides, the part begins with the one before.
const GAP: f64 = 0.05;

/// Most pixels of a frame that is scaled, 8K by 8K.
const MAX_PIXELS: usize = 1 << 26;

/// How large frames become.
#[derive(Clone, Copy)]
enum Measure {
    /// As large as they are stored.
    Own,
    /// So many pixels along their shorter side, both sides even where they were not so large before.
    ShortSide(u32),
    /// As wide or as high as square pixels make them.
    Square,
}

/// Reads the best video stream of a file.
pub struct Decoder {
    path: PathBuf,
    measure: Measure,
    part: Part,
    raw: RawFrames,
    /// Frames before this time are left out, in ticks from the beginning of the part: below 0 where one of
    /// them is still shown then.
    begins: i64,
    /// The time of the frame decoded last, in ticks from the beginning of the part.
    time: Option<i64>,
    /// That of the last one that was left out.
    left_out: Option<i64>,
    /// Whether nobody has read the frame decoded last.
    waiting: bool,
    info: VideoInfo,
    converter: Converter,
    tone: Option<Tone>,
    /// The frame from which on the CPU decodes, where the GPU did before, and why.
    left_to_the_cpu: Option<(u64, String)>,
    frames: u64,
    last_pts: Option<i64>,
    /// What belongs to the picture and is not in the frames.
    lost: Vec<&'static str>,
}

impl Decoder {
    /// Opens a file and decodes its first frame. `short_side` scales the frames so that their
    /// shorter side has that many pixels, both sides even. Fails when nothing can be decoded.
    pub fn open(path: &Path, short_side: Option<u32>) -> Result<Self> {
        Self::open_with(path, short_side, Part::default(), Hwaccel::None)
    }

    /// As [`Decoder::open`], for a part of the film; `hwaccel` decodes what it can, see [`Decoder::hwaccel`].
    pub fn open_with(
        path: &Path,
        short_side: Option<u32>,
        part: Part,
        hwaccel: Hwaccel,
    ) -> Result<Self> {
        let measure = short_side.map_or(Measure::Own, Measure::ShortSide);
        Self::open_at(path, measure, part, hwaccel, 0)
    }

    /// As [`Decoder::open`], for screens, whose pixels are square: those of the frames are made so.
    pub fn open_square(path: &Path) -> Result<Self> {
        Self::open_at(path, Measure::Square, Part::default(), Hwaccel::None, 0)
    }

    fn open_at(
        path: &Path,
        measure: Measure,
        part: Part,
        hwaccel: Hwaccel,
        begins: i64,
    ) -> Result<Self> {
        ffmpeg::start()?;
        let gpu = match hwaccel {
            Hwaccel::Cuda => Gpu::open(),
            Hwaccel::None => None,
        };
        let name = path.display();
        let mut input = open_input(path)?;
        let stream = best_video(&input).with_context(|| format!("`{name}` holds no video"))?;
        let parts = input.stream(stream).context("stream disappeared")?;
        let broken = || format!("could not decode the video of `{name}`");
        let mut context = av::codec::Context::from_parameters(parts.parameters())?;
        match &gpu {
            Some(gpu) => gpu.attach(&mut context)?, // threads would take more surfaces than it has
            None => context.set_threading(threading::Config::kind(threading::Type::Frame)),
        }
        let mut decoder = context
            .decoder()
            .video()
            .with_context(|| format!("no decoder for the video of `{name}`"))?;
        decoder.set_packet_time_base(parts.time_base());
        let time_base = parts.time_base();
        let lost = lost(&parts);
        let shift = (start_shift(&input) + part.from).rescale(rescale::TIME_BASE, time_base);
        let info = VideoInfo {
            time_base: (time_base.numerator(), time_base.denominator()),
            frame_rate: frame_rate(&parts),
            varies: varies(&parts),
            frames: expected_frames(&input, &parts, part),
            ..VideoInfo::new(0, 0, DEFAULT_RATE)
        };
        let hwaccel = gpu.map_or(Hwaccel::None, |_| Hwaccel::Cuda);
        let length = input.duration().saturating_sub(part.from);
        let length = length.rescale(rescale::TIME_BASE, time_base);
        go_to(&mut input, path, part, 0)?;
        let packets = Packets::new(input, stream, shift, part);
        let mut this = Self {
            path: path.to_path_buf(),
            measure,
            part,
            raw: RawFrames::new(packets, decoder, hwaccel, info.time_base),
            begins,
            time: None,
            left_out: None,
            waiting: false,
            info,
            converter: Converter::new(Turn::default(), 1.0),
            tone: None,
            left_to_the_cpu: None,
            frames: 0,
            last_pts: None,
            lost,
        };
        let found = this.decode()?;
        if let Some(before) = this.still_shown(found, length) {
            return Self::open_at(path, measure, part, hwaccel, before);
        }
        ensure!(
            found || part.from == 0,
            "`{name}` ends before {:.3} s: choose an earlier --from",
            part.start()
        );
        ensure!(
            found,
            "could not decode a single frame of `{name}`: the file is damaged or cut off"
        );
        this.waiting = true;
        this.describe().with_context(broken)?;
        Ok(this)
    }

    /// What the video is.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Who decodes.
    pub fn hwaccel(&self) -> Hwaccel {
        self.raw.hwaccel
    }

    /// When the last frame read so far ends, in ticks of the time base.
    pub fn end(&self) -> i64 {
        self.raw.packets.end()
    }

    /// What went wrong without ending the work, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some((frame, reason)) = &self.left_to_the_cpu {
            remarks.push(format!(
                "the GPU gave up at frame {frame} ({reason}), the CPU decoded the rest"
            ));
        }
        if self.raw.damaged > 0 {
            remarks.push(format!(
                "{} damaged parts of the video were skipped or repaired",
                self.raw.damaged
            ));
        }
        remarks.extend(self.raw.packets.holes());
        remarks.extend(self.raw.packets.remark(self.step()));
        remarks.extend(self.raw.remark());
        remarks
    }

    /// What of the film its frames do not show, one line each.
    pub fn losses(&self) -> Vec<String> {
        let mut losses: Vec<_> = self.tone.iter().map(Tone::remark).collect();
        if !self.lost.is_empty() {
            losses.push(format!("not in the painting: {}", self.lost.join(", ")));
        }
        losses
    }

    /// How long a frame lasts on average, in ticks.
    fn step(&self) -> i64 {
        let rate = av::Rational::from(self.info.frame_rate);
        1i64.rescale(rate.invert(), self.info.time_base).max(1)
    }

    /// Fills in what only a decoded frame tells: size, shape of the pixels, colours.
    fn describe(&mut self) -> Result<()> {
        let decoded = &self.raw.decoded;
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        ensure!(width > 0 && height > 0, "its frames are {width}x{height}");
        let stream = self
            .raw
            .packets
            .stream()
            .context("the video stream is gone")?;
        let aspect = pixel_aspect(decoded);
        self.converter = Converter::new(turn(&stream, decoded), shape(decoded));
        let (mut upright, mut pixel) = ((width, height), aspect);
        if self.converter.transposes() {
            (upright, pixel) = ((height, width), aspect.invert());
        }
        match self.measure {
            Measure::Own => {}
            Measure::ShortSide(side) if side as usize == upright.0.min(upright.1) => {}
            Measure::ShortSide(side) => {
                upright = scaled_evenly(upright, side as usize);
                ensure!(
                    upright.0 * upright.1 <= MAX_PIXELS,
                    "--size {side} makes its frames {}x{}: choose a smaller size",
                    upright.0,
                    upright.1
                );
            }
            Measure::Square => (upright, pixel) = (squared(upright, pixel), (1, 1).into()),
        }
        (self.info.width, self.info.height) = upright;
        self.info.pixel_aspect = (pixel.numerator(), pixel.denominator());
        let transparency = self.raw.packets.has_alpha().then_some(TRANSPARENCY);
        let lost = lost_of(decoded)
            .chain(transparency)
            .filter(|words| !self.lost.contains(words));
        let lost: Vec<_> = lost.collect();
        self.lost.extend(lost);
        self.info.color = Color {
            matrix: ffmpeg::known_matrix(decoded.color_space(), height),
            primaries: decoded.color_primaries(),
            transfer: decoded.color_transfer_characteristic(),
        };
        self.tone = Tone::new(&self.info.color, brightest(&stream, decoded));
        if self.tone.is_some() {
            self.info.color = Color::BT709;
        }
        Ok(())
    }

    /// The time of the last frame that was left out, if it is shown where the part begins and no other for
    /// long; `found` says whether one comes at all, `length` how long the part is by what the file tells: sound may
    /// go on after the last frame.
    fn still_shown(&self, found: bool, length: i64) -> Option<i64> {
        let gap =
            (GAP * f64::from(self.info.time_base.1) / f64::from(self.info.time_base.0)) as i64;
        let is_long = match found {
            true => self.time? > gap,
            false => self.raw.packets.end().max(length) > 0,
        };
        self.left_out.filter(|_| self.begins == 0 && is_long)
    }

    /// Decodes the next frame of the part into `self.raw`; `false` at the end. Fails when the file
    /// could not be read on; every frame before that is decoded first.
    fn decode(&mut self) -> Result<bool> {
        loop {
            let next = self
                .raw
                .next()
                .with_context(|| format!("could not read `{}` to its end", self.path.display()))?;
            match next {
                Next::Frame => {}
                Next::End => return Ok(false),
                Next::GaveUp(error) => return self.go_on_on_the_cpu(format!("{error:#}")),
            }
            // Bare H.264 and H.265 tell no times.
            let time = self.raw.time().unwrap_or_else(|| match self.time {
                Some(before) => before + self.step(),
                None => -self
                    .part
                    .from
                    .rescale(rescale::TIME_BASE, self.info.time_base),
            });
            self.time = Some(time);
            if self.part.from > 0 && time < self.begins {
                self.left_out = self.time;
                self.raw.damaged = 0; // what was searched for may begin with frames that lack others
                continue;
            }
            return Ok(time < self.raw.packets.limit());
        }
    }

    /// Begins anew on the CPU and leaves out the frames that were read: from here on the film is what
    /// it would have been without the GPU. `false` when no frame is left.
    fn go_on_on_the_cpu(&mut self, reason: String) -> Result<bool> {
        let (measure, part) = (self.measure, self.part);
        let mut again = Self::open_at(&self.path, measure, part, Hwaccel::None, 0)?;
        again.left_to_the_cpu = (self.frames > 0).then_some((self.frames, reason));
        let mut more = true;
        for _ in 0..self.frames {
            more = more && again.advance()?;
        }
        more = more && again.next()?;
        *self = again;
        Ok(more)
    }

    /// Goes to the next frame, which may be waiting; `false` at the end.
    fn next(&mut self) -> Result<bool> {
        Ok(std::mem::take(&mut self.waiting) || self.decode()?)
    }

    /// Goes to the next frame and counts it as read.
    fn advance(&mut self) -> Result<bool> {
        if !self.next()? {
            return Ok(false);
        }
        self.last_pts = Some(self.pts());
        self.frames += 1;
        Ok(true)
    }

    /// The presentation time of the decoded frame; later than that of the frame before it.
    fn pts(&self) -> i64 {
        let time = self.time.unwrap_or(0);
        match self.last_pts {
            Some(last) => time.max(last + 1),
            None if self.part.from > 0 => time.max(0),
            None => time,
        }
    }
}

impl FrameSource for Decoder {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        let index = self.frames;
        if !self.advance()? {
            return Ok(false);
        }
        let pixels = self.raw.pixels();
        let from = Layout::of(pixels, &self.raw.decoded);
        let size = (self.info.width, self.info.height);
        let shape = shape(&self.raw.decoded);
        self.converter.run(pixels, from, shape, size, frame)?;
        if let Some(tone) = &self.tone {
            tone.run(&mut frame.pixels);
        }
        (frame.index, frame.pts) = (index, self.last_pts.unwrap_or(0));
        Ok(true)
    }
}
