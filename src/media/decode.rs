//! Video files in: every frame that FFmpeg can decode, upright, as RGB, with its time.
//!
//! Colours are converted by the matrix and range that the stream is tagged with. Alpha is ignored.
//! Damaged packets are skipped and counted; the rest of the file is still read.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::threading;
use av::format::stream::Disposition;
use av::rescale;

use super::FrameSource;
use super::decode_planar as planar;
use super::decode_turn::Turn;
use super::ffmpeg::{self, Color, Layout, Scaler};
use crate::frame::Frame;

/// Damaged packets in a row after which the rest of the file is given up.
const MAX_DAMAGED_IN_A_ROW: u64 = 100_000;

/// Most pixels of a frame that is scaled, 8K by 8K.
const MAX_PIXELS: usize = 1 << 26;

/// Frame rate assumed where a file tells none.
const DEFAULT_RATE: (i32, i32) = (25, 1);

/// What a video is, apart from its pixels.
#[derive(Clone, Debug)]
pub struct VideoInfo {
    /// Width of its frames in pixels, upright.
    pub width: usize,
    /// Height of its frames in pixels, upright.
    pub height: usize,
    /// Seconds in a tick of [`Frame::pts`], as a fraction.
    pub time_base: (i32, i32),
    /// Average frames a second, as a fraction.
    pub frame_rate: (i32, i32),
    /// Width of a pixel divided by its height, as a fraction.
    pub pixel_aspect: (i32, i32),
    /// Number of frames as far as the file tells.
    pub frames: Option<u64>,
    pub(super) color: Color,
}

impl VideoInfo {
    /// Video of square pixels at `frame_rate` frames a second, whose time base is one frame.
    pub fn new(width: usize, height: usize, frame_rate: (i32, i32)) -> Self {
        Self {
            width,
            height,
            time_base: (frame_rate.1, frame_rate.0),
            frame_rate,
            pixel_aspect: (1, 1),
            frames: None,
            color: Color::default(),
        }
    }
}

/// Reads the best video stream of a file.
pub struct Decoder {
    input: av::format::context::Input,
    decoder: av::decoder::Video,
    stream: usize,
    info: VideoInfo,
    turn: Turn,
    /// Subtracted from timestamps, in ticks: files that start late start at 0.
    shift: i64,
    /// The frame decoded last; `waiting` when nobody has read it yet.
    decoded: av::frame::Video,
    waiting: bool,
    rgb: av::frame::Video,
    scaler: Option<Scaler>,
    drained: bool,
    frames: u64,
    last_pts: Option<i64>,
    end: i64,
    damaged: u64,
    promised: u64,
    packets: u64,
    failure: Option<av::Error>,
}

impl Decoder {
    /// Opens a file and decodes its first frame. `short_side` scales the frames so that their
    /// shorter side has that many pixels, both sides even. Fails when nothing can be decoded.
    pub fn open(path: &Path, short_side: Option<u32>) -> Result<Self> {
        ffmpeg::start()?;
        let name = path.display();
        let input = open_input(path)?;
        let stream = best_video(&input).with_context(|| format!("`{name}` holds no video"))?;
        let parts = input.stream(stream).context("stream disappeared")?;
        let broken = || format!("could not decode the video of `{name}`");
        let mut context = av::codec::Context::from_parameters(parts.parameters())?;
        context.set_threading(threading::Config::kind(threading::Type::Frame));
        let mut decoder = context
            .decoder()
            .video()
            .with_context(|| format!("no decoder for the video of `{name}`"))?;
        decoder.set_packet_time_base(parts.time_base());
        let time_base = parts.time_base();
        let promised = parts.frames().max(0) as u64;
        let shift = start_shift(&input).rescale(rescale::TIME_BASE, time_base);
        let turn = parts
            .side_data()
            .find(|data| data.kind() == av::codec::packet::side_data::Type::DisplayMatrix)
            .map_or(Turn::default(), |data| Turn::from_matrix(data.data()));
        let info = VideoInfo {
            time_base: (time_base.numerator(), time_base.denominator()),
            frame_rate: frame_rate(&parts),
            frames: expected_frames(&input, &parts),
            ..VideoInfo::new(0, 0, DEFAULT_RATE)
        };
        let mut this = Self {
            input,
            decoder,
            stream,
            info,
            turn,
            shift,
            decoded: av::frame::Video::empty(),
            waiting: false,
            rgb: av::frame::Video::empty(),
            scaler: None,
            drained: false,
            frames: 0,
            last_pts: None,
            end: 0,
            damaged: 0,
            promised,
            packets: 0,
            failure: None,
        };
        ensure!(
            this.decode(),
            "could not decode a single frame of `{name}`: the file is damaged or cut off"
        );
        this.waiting = true;
        this.describe(short_side).with_context(broken)?;
        Ok(this)
    }

    /// What the video is.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// When the last frame read so far ends, in ticks of the time base.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// What went wrong without ending the work, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.damaged > 0 {
            remarks.push(format!(
                "{} damaged parts of the video were skipped or repaired",
                self.damaged
            ));
        }
        if let Some(failure) = self.failure {
            remarks.push(format!("the file could not be read to its end: {failure}"));
        } else if self.drained && self.packets < self.promised {
            remarks.push(format!(
                "the file is cut off: it promises {} frames and holds {}",
                self.promised, self.packets
            ));
        }
        remarks
    }

    /// Fills in what only a decoded frame tells: size, shape of the pixels, colours.
    fn describe(&mut self, short_side: Option<u32>) -> Result<()> {
        let (width, height) = (
            self.decoded.width() as usize,
            self.decoded.height() as usize,
        );
        ensure!(width > 0 && height > 0, "its frames are {width}x{height}");
        let mut aspect = self.decoded.aspect_ratio();
        if aspect.numerator() <= 0 || aspect.denominator() <= 0 {
            aspect = av::Rational::new(1, 1);
        }
        let (mut upright, mut pixel) = ((width, height), aspect);
        if self.turn.transpose {
            (upright, pixel) = ((height, width), aspect.invert());
        }
        if let Some(side) = short_side {
            upright = scaled(upright, side as usize);
            ensure!(
                upright.0 * upright.1 <= MAX_PIXELS,
                "--size {side} makes its frames {}x{}: choose a smaller size",
                upright.0,
                upright.1
            );
        }
        (self.info.width, self.info.height) = upright;
        self.info.pixel_aspect = (pixel.numerator(), pixel.denominator());
        self.info.color = Color {
            matrix: ffmpeg::known_matrix(self.decoded.color_space(), height),
            primaries: self.decoded.color_primaries(),
            transfer: self.decoded.color_transfer_characteristic(),
        };
        Ok(())
    }

    /// Decodes the next frame into `self.decoded`; `false` at the end.
    fn decode(&mut self) -> bool {
        let mut in_a_row = 0;
        while in_a_row < MAX_DAMAGED_IN_A_ROW {
            match self.decoder.receive_frame(&mut self.decoded) {
                Ok(()) => {
                    if self.decoded.is_corrupt() || self.decoded.has_decode_errors() {
                        self.damaged += 1;
                    }
                    return true;
                }
                Err(av::Error::Eof) => return false,
                Err(av::Error::Other {
                    errno: av::error::EAGAIN,
                }) => {
                    if !self.feed() {
                        in_a_row += 1;
                        self.damaged += 1;
                    }
                }
                Err(_) => {
                    in_a_row += 1;
                    self.damaged += 1;
                }
            }
        }
        false
    }

    /// Hands the decoder one packet, or the news that there is none; `false` when it was damaged.
    fn feed(&mut self) -> bool {
        loop {
            let mut packet = av::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => {}
                Ok(()) => {
                    self.packets += 1;
                    if let Some(pts) = packet.pts() {
                        self.end = self.end.max(pts - self.shift + packet.duration());
                    }
                    return self.decoder.send_packet(&packet).is_ok();
                }
                Err(av::Error::InvalidData) => return false,
                Err(error) => {
                    if error != av::Error::Eof {
                        self.failure = Some(error);
                    }
                    self.drained = true;
                    return self.decoder.send_eof().is_ok();
                }
            }
        }
    }

    /// The presentation time of the decoded frame; later than that of the frame before it.
    fn pts(&self) -> i64 {
        let base = av::Rational::from(self.info.time_base);
        let rate = av::Rational::from(self.info.frame_rate);
        let step = 1i64.rescale(rate.invert(), base).max(1);
        match (self.decoded.timestamp(), self.last_pts) {
            (Some(time), Some(last)) => (time - self.shift).max(last + 1),
            (Some(time), None) => time - self.shift,
            (None, Some(last)) => last + step,
            (None, None) => 0,
        }
    }

    /// Converts the decoded frame to RGB of the wanted size.
    fn convert(&mut self) -> Result<()> {
        let (width, height) = match self.turn.transpose {
            true => (self.info.height as u32, self.info.width as u32),
            false => (self.info.width as u32, self.info.height as u32),
        };
        let decoded = &self.decoded;
        let from = Layout {
            format: decoded.format(),
            width: decoded.width(),
            height: decoded.height(),
            matrix: ffmpeg::known_matrix(decoded.color_space(), decoded.height() as usize),
            full_range: ffmpeg::is_full_range(decoded.format(), decoded.color_range()),
        };
        if (from.width, from.height) == (width, height) && planar::takes(decoded, &from) {
            return planar::to_rgb(decoded, &from, &mut self.rgb);
        }
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.takes(from) => scaler,
            other => other.insert(Scaler::new(from, Layout::rgb(width, height))?),
        };
        scaler.run(&self.decoded, &mut self.rgb)
    }
}

impl FrameSource for Decoder {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        if !std::mem::take(&mut self.waiting) && !self.decode() {
            return Ok(false);
        }
        let pts = self.pts();
        self.convert()?;
        frame.width = self.info.width;
        frame.height = self.info.height;
        frame.index = self.frames;
        frame.pts = pts;
        frame.pixels.resize(frame.width * frame.height * 3, 0);
        self.turn.copy(&self.rgb, frame);
        self.frames += 1;
        self.last_pts = Some(pts);
        Ok(true)
    }
}

/// Opens a file for reading packets.
pub(super) fn open_input(path: &Path) -> Result<av::format::context::Input> {
    let name = path.display();
    match av::format::input(&ffmpeg::url(path)?) {
        Ok(input) => Ok(input),
        Err(av::Error::InvalidData) => bail!(
            "could not open `{name}`: it is not a video file, or was cut off before its index"
        ),
        Err(error) => Err(error).with_context(|| format!("could not open `{name}`")),
    }
}

/// Index of the video stream to paint: FFmpeg's choice, but never a cover picture.
pub(super) fn best_video(input: &av::format::context::Input) -> Option<usize> {
    let picture = |stream: &av::Stream| stream.disposition().contains(Disposition::ATTACHED_PIC);
    let best = input.streams().best(av::media::Type::Video)?;
    if !picture(&best) {
        return Some(best.index());
    }
    input
        .streams()
        .find(|s| s.parameters().medium() == av::media::Type::Video && !picture(s))
        .map(|s| s.index())
}

/// How late the file starts, in microseconds. Files that start before 0 (sound with a lead-in)
/// keep their times.
pub(super) fn start_shift(input: &av::format::context::Input) -> i64 {
    // SAFETY: the context is live for the borrow of `input`; the field is a plain integer.
    let start = unsafe { (*input.as_ptr()).start_time };
    if start == av::ffi::AV_NOPTS_VALUE {
        0
    } else {
        start.max(0)
    }
}

fn frame_rate(stream: &av::Stream) -> (i32, i32) {
    [stream.avg_frame_rate(), stream.rate()]
        .into_iter()
        .map(|rate| (rate.numerator(), rate.denominator()))
        .find(|rate| rate.0 > 0 && rate.1 > 0 && rate.0 / rate.1 <= 1000)
        .unwrap_or(DEFAULT_RATE)
}

fn expected_frames(input: &av::format::context::Input, stream: &av::Stream) -> Option<u64> {
    if stream.frames() > 0 {
        return Some(stream.frames() as u64);
    }
    let (num, den) = frame_rate(stream);
    let seconds = input.duration() as f64 / f64::from(av::ffi::AV_TIME_BASE);
    (input.duration() > 0).then(|| (seconds * f64::from(num) / f64::from(den)).round() as u64)
}

/// `size` scaled to a shorter side of `side`, both sides even and at least 2.
fn scaled(size: (usize, usize), side: usize) -> (usize, usize) {
    let short = size.0.min(size.1);
    if short == side {
        return size;
    }
    let even = |length: usize| {
        let exact = length as f64 * side as f64 / short as f64;
        ((exact / 2.0).round() as usize * 2).max(2)
    };
    (even(size.0), even(size.1))
}
