//! The painted stream of a video file: RGB frames to the encoder's pixels, colour tags, times and
//! durations, and on to the muxer.
//!
//! Encoders with halved chroma that refuse odd sizes get the last column or row repeated once.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::{Id, threading};
use av::color::{Range, Space};
use av::rescale;

use super::{Container, EncodeSettings, choice, microseconds};
use crate::frame::Frame;
use crate::media::decode::VideoInfo;
use crate::media::ffmpeg::{
    Color, Layout, Scaler, is_full_range, is_ready, is_rgb, known_matrix, ycbcr,
};

/// Bits for each pixel and frame where an encoder has no constant quality.
const BITS_PER_PIXEL: f64 = 0.2;

/// Times that are further off are told, in microseconds.
const MOST_OFF: i64 = 100_000;

/// Encodes frames into one stream of a muxer.
pub(super) struct VideoEncoder {
    encoder: av::encoder::Video,
    codec: av::Codec,
    info: VideoInfo,
    color: Color,
    range: Range,
    layout: Layout,
    scaler: Scaler,
    rgb: av::frame::Video,
    /// The frame taken last; it goes to the encoder when the next one tells how long it lasts.
    held: av::frame::Video,
    spare: av::frame::Video,
    held_pts: Option<i64>,
    /// Times and durations of the frames inside the encoder.
    durations: VecDeque<(i64, i64)>,
    base: av::Rational,
    stream_base: av::Rational,
    stream: usize,
    /// Whether it encodes at a constant quality.
    has_quality: bool,
    /// How far times are off where the encoder knows one frame rate alone, at most, in microseconds.
    off: i64,
}

impl VideoEncoder {
    /// Opens the encoder that `settings` or the container name, for frames of `info`; the CPU's where
    /// the GPU's cannot be had.
    pub fn open(
        container: Container,
        muxer: &av::format::context::Output,
        info: &VideoInfo,
        settings: &EncodeSettings,
    ) -> Result<Self> {
        let codecs = choice::find_codecs(container, settings)?;
        let (last, others) = codecs.split_last().context("no video encoder")?;
        let open = |codec: &av::Codec| Self::open_codec(*codec, container, muxer, info, settings);
        match others.iter().find_map(|codec| open(codec).ok()) {
            Some(encoder) => Ok(encoder),
            None => open(last),
        }
    }

    fn open_codec(
        codec: av::Codec,
        container: Container,
        muxer: &av::format::context::Output,
        info: &VideoInfo,
        settings: &EncodeSettings,
    ) -> Result<Self> {
        container.ensure_holds(&codec)?;
        let format = choice::pixel_format(&codec)?;
        let (width, height) = choice::coded_size(&codec, format, info);
        let range = if is_full_range(format, Range::Unspecified) {
            Range::JPEG
        } else {
            Range::MPEG
        };
        let color = Color {
            matrix: match is_rgb(format) {
                true => Space::RGB,
                false => known_matrix(info.color.matrix, info.height),
            },
            ..info.color
        };
        let layout = Layout {
            format,
            width,
            height,
            matrix: color.matrix,
            full_range: range == Range::JPEG,
        };
        let base = choice::time_base(&codec, info);
        let mut context = av::codec::Context::new_with_codec(codec);
        let preset = choice::preset(&mut context, &codec, settings)?;
        let crf = settings.crf.unwrap_or(choice::CRF);
        let quality = choice::quality(&mut context, &codec, crf);
        let options = choice::options(&codec, settings, quality.as_ref(), preset);
        let mut flags = av::codec::Flags::empty();
        if muxer
            .format()
            .flags()
            .contains(av::format::Flags::GLOBAL_HEADER)
        {
            flags |= av::codec::Flags::GLOBAL_HEADER;
        }
        let scale = choice::scale(&codec, crf);
        if scale.is_some() {
            flags |= av::codec::Flags::QSCALE;
        }
        context.set_flags(flags);
        context.set_threading(threading::Config::count(0));
        context.set_time_base(base);
        context.set_frame_rate(Some(info.frame_rate));
        let mut video = context.encoder().video()?;
        video.set_width(width);
        video.set_height(height);
        video.set_format(format);
        video.set_aspect_ratio(info.pixel_aspect);
        let rate = f64::from(info.frame_rate.0) / f64::from(info.frame_rate.1);
        let bits = f64::from(width) * f64::from(height) * rate * BITS_PER_PIXEL;
        video.set_bit_rate(if quality.is_some() { 0 } else { bits as usize });
        if let Some(scale) = scale {
            video.set_quality(scale);
        }
        // SAFETY: the context is live and owned by `video`; these are plain fields, set before it
        // is opened.
        unsafe {
            let context = video.as_mut_ptr();
            (*context).colorspace = color.matrix.into();
            (*context).color_primaries = color.primaries.into();
            (*context).color_trc = color.transfer.into();
            (*context).color_range = range.into();
        }
        let encoder = video.open_as_with(codec, options).with_context(|| {
            let preset = preset.unwrap_or("none");
            let remedy = match choice::is_nvenc(&codec) {
                true => "it needs an NVIDIA GPU that encodes, its presets are p1 to p7",
                false if choice::has_one_rate(&codec) => {
                    "it knows few frame rates, try another --codec"
                }
                false => "try other settings or another --codec",
            };
            format!(
                "encoder `{}` refuses {width}x{height} at crf {crf}, preset {preset}: {remedy}",
                codec.name()
            )
        })?;
        let source = Layout::rgb(width, height);
        Ok(Self {
            encoder,
            codec,
            info: info.clone(),
            color,
            range,
            layout,
            scaler: Scaler::new(source, layout)?,
            rgb: av::frame::Video::new(source.format, width, height),
            held: av::frame::Video::new(format, width, height),
            spare: av::frame::Video::new(format, width, height),
            held_pts: None,
            durations: VecDeque::new(),
            base,
            stream_base: base,
            stream: 0,
            has_quality: quality.is_some() || scale.is_some(),
            off: 0,
        })
    }

    /// FFmpeg's name of the encoder.
    pub fn name(&self) -> &str {
        self.codec.name()
    }

    /// Whether it encodes at the constant quality that is asked for.
    pub fn has_quality(&self) -> bool {
        self.has_quality
    }

    /// What of a film whose frame rate varies cannot come through, in one line.
    pub fn foresight(&self) -> Option<String> {
        let name = self.name();
        (self.info.varies && choice::has_one_rate(&self.codec)).then(|| {
            format!(
                "encoder `{name}` knows one frame rate, that of the film varies: choose another --codec, or times \
                 are off"
            )
        })
    }

    /// What was lost of the times of the frames, in one line.
    pub fn remark(&self) -> Option<String> {
        let (name, off) = (self.name(), self.off as f64 / 1e6);
        (self.off > MOST_OFF).then(|| {
            format!("encoder `{name}` knows one frame rate: frames are shown up to {off:.1} s off, choose another --codec")
        })
    }

    /// Adds the stream to the muxer and returns its index.
    pub fn add_stream(&mut self, muxer: &mut av::format::context::Output) -> Result<usize> {
        let hevc_in_mp4 =
            self.codec.id() == Id::HEVC && ["mp4", "mov"].contains(&muxer.format().name());
        let mut stream = muxer.add_stream(self.codec)?;
        stream.set_parameters(&self.encoder);
        stream.set_time_base(self.base);
        stream.set_avg_frame_rate(self.info.frame_rate);
        stream.set_rate(self.info.frame_rate);
        // SAFETY: the stream and its parameters are live for the borrow; both are plain fields.
        unsafe {
            (*stream.as_mut_ptr()).sample_aspect_ratio = self.encoder_aspect().into();
            if hevc_in_mp4 {
                // Apple's players know HEVC by this tag alone.
                (*(*stream.as_mut_ptr()).codecpar).codec_tag = u32::from_le_bytes(*b"hvc1");
            }
        }
        self.stream = stream.index();
        Ok(self.stream)
    }

    fn encoder_aspect(&self) -> av::Rational {
        av::Rational::from(self.info.pixel_aspect)
    }

    /// Learns the time base that the muxer chose; called after the header.
    pub fn begin(&mut self, muxer: &av::format::context::Output) -> Result<()> {
        let stream = muxer
            .stream(self.stream)
            .context("the video stream is missing")?;
        self.stream_base = stream.time_base();
        Ok(())
    }

    /// Its index in the muxer.
    pub fn stream(&self) -> usize {
        self.stream
    }

    /// Frames that came and are not written yet.
    pub fn pending(&self) -> u64 {
        self.durations.len() as u64 + u64::from(self.has_frames())
    }

    /// The time of the last frame that came, in microseconds.
    pub fn time(&self) -> i64 {
        microseconds(self.held_pts.unwrap_or(0), self.base)
    }

    /// Whether a frame came.
    pub fn has_frames(&self) -> bool {
        self.held_pts.is_some()
    }

    /// Takes one frame and returns its time in microseconds.
    pub fn write(&mut self, frame: &Frame, muxer: &mut av::format::context::Output) -> Result<i64> {
        let size = (frame.width, frame.height);
        ensure!(
            size == (self.info.width, self.info.height),
            "a frame of {}x{} came to an encoder for {}x{}",
            size.0,
            size.1,
            self.info.width,
            self.info.height
        );
        let pts = frame.pts.rescale(self.info.time_base, self.base);
        let pts = self.held_pts.map_or(pts, |held| pts.max(held + 1));
        let due = frame.pts.rescale(self.info.time_base, rescale::TIME_BASE);
        self.off = self.off.max((microseconds(pts, self.base) - due).abs());
        make_writable(&mut self.spare)?;
        let coded = (self.layout.width as usize, self.layout.height as usize);
        if size == coded && ycbcr::makes(&self.layout) {
            ycbcr::from_rgb(frame, &self.layout, &mut self.spare)?;
        } else {
            fill(&mut self.rgb, frame);
            self.scaler.run(&self.rgb, &mut self.spare)?;
        }
        self.spare.set_pts(Some(pts));
        self.spare.set_color_space(self.color.matrix);
        self.spare.set_color_primaries(self.color.primaries);
        self.spare
            .set_color_transfer_characteristic(self.color.transfer);
        self.spare.set_color_range(self.range);
        // SAFETY: both are live and owned here; the fields are plain integers. Encoders by a quantiser scale look for
        // it in each frame.
        unsafe { (*self.spare.as_mut_ptr()).quality = (*self.encoder.as_ptr()).global_quality };
        if let Some(held) = self.held_pts {
            self.send_held(pts - held, muxer)?;
        }
        std::mem::swap(&mut self.held, &mut self.spare);
        self.held_pts = Some(pts);
        Ok(microseconds(pts, self.base))
    }

    /// Empties the encoder. The last frame lasts until `end` (ticks of the source's time base),
    /// or one frame of the average rate. Returns its end in microseconds.
    pub fn finish(
        &mut self,
        muxer: &mut av::format::context::Output,
        end: Option<i64>,
    ) -> Result<i64> {
        let Some(held) = self.held_pts else {
            bail!("no frame came");
        };
        let rate = av::Rational::from(self.info.frame_rate);
        let usual = 1i64.rescale(rate.invert(), self.base).max(1);
        let left = end.map(|end| end.rescale(self.info.time_base, self.base) - held);
        let duration = left.filter(|&left| left > 0).unwrap_or(usual);
        self.send_held(duration, muxer)?;
        self.encoder.send_eof().context("the encoder failed")?;
        self.drain(muxer)?;
        Ok(microseconds(held + duration, self.base))
    }

    fn send_held(&mut self, duration: i64, muxer: &mut av::format::context::Output) -> Result<()> {
        if let Some(pts) = self.held_pts {
            self.durations.push_back((pts, duration));
        }
        self.encoder
            .send_frame(&self.held)
            .context("the encoder failed")?;
        self.drain(muxer)
    }

    fn drain(&mut self, muxer: &mut av::format::context::Output) -> Result<()> {
        let mut packet = av::Packet::empty();
        while is_ready(self.encoder.receive_packet(&mut packet)).context("the encoder failed")? {
            let known = self
                .durations
                .iter()
                .position(|d| Some(d.0) == packet.pts());
            if let Some((_, duration)) = known.and_then(|i| self.durations.remove(i)) {
                packet.set_duration(duration);
            }
            if packet.size() == 0 {
                continue; // of Theora, for a frame that is shown for longer
            }
            packet.set_stream(self.stream);
            packet.rescale_ts(self.base, self.stream_base);
            packet.write_interleaved(muxer)?;
        }
        Ok(())
    }
}

/// Makes sure that the encoder no longer reads the memory that the next frame is written to.
fn make_writable(frame: &mut av::frame::Video) -> Result<()> {
    // SAFETY: the frame is live, owned here, and holds reference-counted memory.
    let code = unsafe { av::ffi::av_frame_make_writable(frame.as_mut_ptr()) };
    ensure!(
        code >= 0,
        "no memory for a frame: {}",
        av::Error::from(code)
    );
    Ok(())
}

/// Copies a frame into an FFmpeg picture of at least its size; columns and rows beyond it repeat
/// the last one.
fn fill(picture: &mut av::frame::Video, frame: &Frame) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let stride = picture.stride(0);
    let data = picture.data_mut(0);
    let row_bytes = frame.width * 3;
    for y in 0..height {
        let from = y.min(frame.height - 1) * row_bytes;
        let source = &frame.pixels[from..from + row_bytes];
        let row = &mut data[y * stride..y * stride + width * 3];
        row[..row_bytes].copy_from_slice(source);
        for pixel in row[row_bytes..].chunks_exact_mut(3) {
            pixel.copy_from_slice(&source[row_bytes - 3..]);
        }
    }
}
