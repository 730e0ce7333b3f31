//! The painted stream of a video file: RGB frames to the encoder's pixels, colour tags, times and
//! durations, and on to the muxer.
//!
//! Encoders with halved chroma that refuse odd sizes get the last column or row repeated once.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::{Id, threading};
use av::color::Range;
use av::format::Pixel;

use super::decode::VideoInfo;
use super::encode::{Container, EncodeSettings, ensure_holds, microseconds};
use super::ffmpeg::{Color, Layout, Scaler, is_full_range, known_matrix};
use crate::frame::Frame;

/// Finest time base passed on, in ticks a second; players and 32-bit fields choke on nanoseconds.
const MAX_TICKS: i32 = 1_000_000;

/// Bits for each pixel and frame where an encoder has no constant quality.
const BITS_PER_PIXEL: f64 = 0.2;

/// Encodes frames into one stream of a muxer.
pub(super) struct VideoEncoder {
    encoder: av::encoder::Video,
    codec: av::Codec,
    info: VideoInfo,
    color: Color,
    range: Range,
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
}

impl VideoEncoder {
    /// Opens the encoder that `settings` or the container name, for frames of `info`.
    pub fn open(
        container: Container,
        muxer: &av::format::context::Output,
        info: &VideoInfo,
        settings: &EncodeSettings,
    ) -> Result<Self> {
        let codec = find_codec(container, settings)?;
        ensure_holds(muxer, container, &codec)?;
        let format = pixel_format(&codec)?;
        let (width, height) = coded_size(&codec, format, info);
        let range = if is_full_range(format, Range::Unspecified) {
            Range::JPEG
        } else {
            Range::MPEG
        };
        let color = Color {
            matrix: known_matrix(info.color.matrix, info.height),
            ..info.color
        };
        let layout = Layout {
            format,
            width,
            height,
            matrix: color.matrix,
            full_range: range == Range::JPEG,
        };
        let base = time_base(&codec, info);
        let mut context = av::codec::Context::new_with_codec(codec);
        let mut options = av::Dictionary::new();
        let has_crf = has_option(&mut context, "crf");
        if has_crf {
            options.set("crf", &settings.crf.to_string());
        }
        if let Some(preset) = &settings.preset {
            ensure!(
                has_option(&mut context, "preset"),
                "encoder `{}` has no presets: leave out --preset",
                codec.name()
            );
            options.set("preset", preset);
        }
        if codec.name() == "libvpx-vp9" {
            // Ten times faster than the default at nearly the same size.
            options.set("cpu-used", "4");
            options.set("row-mt", "1");
        }
        let mut flags = av::codec::Flags::empty();
        if muxer
            .format()
            .flags()
            .contains(av::format::Flags::GLOBAL_HEADER)
        {
            flags |= av::codec::Flags::GLOBAL_HEADER;
        }
        let by_scale = matches!(codec.id(), Id::MPEG4 | Id::MPEG2VIDEO | Id::MJPEG);
        if by_scale {
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
        video.set_bit_rate(if has_crf { 0 } else { bits as usize });
        if by_scale {
            // Quantiser scale 1 to 11 for CRF 0 to 63.
            let scale = 1 + usize::from(settings.crf) / 6;
            video.set_quality(scale * av::ffi::FF_QP2LAMBDA as usize);
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
            let preset = settings.preset.as_deref().unwrap_or("its default");
            format!(
                "encoder `{}` refuses {width}x{height} at crf {}, preset {preset}: try other \
                 settings or another --codec",
                codec.name(),
                settings.crf
            )
        })?;
        let source = Layout::rgb(width, height);
        Ok(Self {
            encoder,
            codec,
            info: info.clone(),
            color,
            range,
            scaler: Scaler::new(source, layout)?,
            rgb: av::frame::Video::new(source.format, width, height),
            held: av::frame::Video::new(format, width, height),
            spare: av::frame::Video::new(format, width, height),
            held_pts: None,
            durations: VecDeque::new(),
            base,
            stream_base: base,
            stream: 0,
        })
    }

    /// FFmpeg's name of the encoder.
    pub fn name(&self) -> &str {
        self.codec.name()
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
        make_writable(&mut self.spare)?;
        fill(&mut self.rgb, frame);
        self.scaler.run(&self.rgb, &mut self.spare)?;
        self.spare.set_pts(Some(pts));
        self.spare.set_color_space(self.color.matrix);
        self.spare.set_color_primaries(self.color.primaries);
        self.spare
            .set_color_transfer_characteristic(self.color.transfer);
        self.spare.set_color_range(self.range);
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
        while self.encoder.receive_packet(&mut packet).is_ok() {
            let known = self
                .durations
                .iter()
                .position(|d| Some(d.0) == packet.pts());
            if let Some((_, duration)) = known.and_then(|i| self.durations.remove(i)) {
                packet.set_duration(duration);
            }
            packet.set_stream(self.stream);
            packet.rescale_ts(self.base, self.stream_base);
            packet.write_interleaved(muxer)?;
        }
        Ok(())
    }
}

fn find_codec(container: Container, settings: &EncodeSettings) -> Result<av::Codec> {
    if let Some(name) = &settings.codec {
        let codec = av::encoder::find_by_name(name).filter(|c| c.is_video());
        return codec.with_context(|| {
            format!(
                "unknown video encoder `{name}`: use libx264, libx265, libvpx-vp9, prores_ks or \
                 another that `ffmpeg -encoders` lists"
            )
        });
    }
    let (name, id) = match container {
        Container::WebM => ("libvpx-vp9", Id::VP9),
        _ => ("libx264", Id::H264),
    };
    av::encoder::find_by_name(name)
        .or_else(|| av::encoder::find(id))
        .with_context(|| {
            format!("this FFmpeg has no encoder `{name}`: install one that has, or use --codec")
        })
}

/// 4:2:0 with 8 bits where the encoder takes it, as every player does; else what loses least.
fn pixel_format(codec: &av::Codec) -> Result<Pixel> {
    let Some(formats) = codec.video()?.formats() else {
        return Ok(Pixel::YUV420P);
    };
    let formats: Vec<Pixel> = formats.collect();
    if formats.contains(&Pixel::YUV420P) {
        return Ok(Pixel::YUV420P);
    }
    let mut list: Vec<av::ffi::AVPixelFormat> = formats.iter().map(|&f| f.into()).collect();
    list.push(av::ffi::AVPixelFormat::AV_PIX_FMT_NONE);
    // SAFETY: the list lives through the call and ends with the terminator it asks for.
    let best = unsafe {
        av::ffi::avcodec_find_best_pix_fmt_of_list(
            list.as_ptr(),
            av::ffi::AVPixelFormat::AV_PIX_FMT_RGB24,
            0,
            std::ptr::null_mut(),
        )
    };
    match Pixel::from(best) {
        Pixel::None => bail!("encoder `{}` takes no pixels of main memory", codec.name()),
        format => Ok(format),
    }
}

/// The size that is coded: even where chroma is halved, but for the codecs that take odd sizes.
fn coded_size(codec: &av::Codec, format: Pixel, info: &VideoInfo) -> (u32, u32) {
    let (width, height) = (info.width as u32, info.height as u32);
    if matches!(codec.id(), Id::VP8 | Id::VP9 | Id::FFV1) {
        return (width, height);
    }
    let (x, y) = format
        .descriptor()
        .map_or((0, 0), |d| (d.log2_chroma_w(), d.log2_chroma_h()));
    let up = |length: u32, shift: u8| length.next_multiple_of(1 << shift);
    (up(width, x), up(height, y))
}

/// The source's time base, unless it is finer than an encoder can count.
fn time_base(codec: &av::Codec, info: &VideoInfo) -> av::Rational {
    let (num, den) = info.time_base;
    let finest = match codec.id() {
        Id::MPEG4 => u16::MAX.into(), // the format's field has 16 bits
        _ => MAX_TICKS,
    };
    if den / num.max(1) > finest {
        av::Rational::new(1, finest)
    } else {
        av::Rational::new(num, den)
    }
}

fn has_option(context: &mut av::codec::Context, name: &str) -> bool {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: the context is live, owned by the caller and starts with its AVClass; the name ends
    // with a zero byte and outlives the call.
    let option = unsafe {
        av::ffi::av_opt_find(
            context.as_mut_ptr().cast(),
            name.as_ptr(),
            std::ptr::null(),
            0,
            av::ffi::AV_OPT_SEARCH_CHILDREN as i32,
        )
    };
    !option.is_null()
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
