//! Choosing for the video encoder: which one, its pixels, size and time base.

use anyhow::{Context, Result, bail, ensure};
use ffmpeg_next as av;

use av::codec::Id;
use av::format::Pixel;

use super::{Container, EncodeSettings};
use crate::media::Hwaccel;
use crate::media::decode::VideoInfo;

/// Finest time base passed on, in ticks a second; players and 32-bit fields choke on nanoseconds.
const MAX_TICKS: i32 = 1_000_000;

/// Presets of x264 and x265, which write to stderr by themselves about others.
const PRESETS: [&str; 10] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];

/// Where the user names none: painting needs the processor more. A painted 768x432 film of 377 frames took
/// half the time of x264's own default, painting included, and 26 MB instead of 32.
const QUICK_PRESET: &str = "superfast";

/// Of x264 where the user names no preset. Arithmetic coding saves 8 % of the bytes of a painted film, for
/// half as much again of the encoder's time: strokes are full of coefficients.
const QUICK_CODER: (&str, &str) = ("coder", "vlc");

/// Constant quality where the user names none: visually lossless for H.264.
pub(super) const CRF: u8 = 18;

/// H.264 by NVIDIA's encoder.
const NVENC: &str = "h264_nvenc";

/// The encoders to try, one after the other: the one that the user named, or the GPU's and the usual
/// one of the container.
pub(super) fn find_codecs(
    container: Container,
    settings: &EncodeSettings,
) -> Result<Vec<av::Codec>> {
    let mut codecs = Vec::new();
    let chosen = settings.codec.is_some() || settings.preset.is_some();
    if settings.hwaccel == Hwaccel::Cuda && !chosen && container != Container::WebM {
        codecs.extend(av::encoder::find_by_name(NVENC)); // FFmpeg may be built without it
    }
    codecs.push(find_codec(container, settings)?);
    Ok(codecs)
}

/// The encoder that the user named, or the usual one of the container.
fn find_codec(container: Container, settings: &EncodeSettings) -> Result<av::Codec> {
    if let Some(name) = &settings.codec {
        let codec = av::encoder::find_by_name(name).filter(|c| c.is_video());
        return codec.with_context(|| {
            format!(
                "unknown video encoder `{name}`: use libx264, libx265, libvpx-vp9, prores_ks, \
                 h264_nvenc or another that `ffmpeg -encoders` lists"
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
pub(super) fn pixel_format(codec: &av::Codec) -> Result<Pixel> {
    let Some(formats) = codec.video()?.formats() else {
        return Ok(Pixel::YUV420P);
    };
    let formats: Vec<Pixel> = formats.collect();
    let usual = match codec.id() {
        Id::MJPEG => Pixel::YUVJ420P, // JPEG is full range
        _ => Pixel::YUV420P,
    };
    if formats.contains(&usual) {
        return Ok(usual);
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
pub(super) fn coded_size(codec: &av::Codec, format: Pixel, info: &VideoInfo) -> (u32, u32) {
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
pub(super) fn time_base(codec: &av::Codec, info: &VideoInfo) -> av::Rational {
    if has_one_rate(codec) {
        return av::Rational::from(info.frame_rate).invert();
    }
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

/// Whether a codec knows a few frame rates alone, or counts frames.
pub(super) fn has_one_rate(codec: &av::Codec) -> bool {
    matches!(codec.id(), Id::MPEG1VIDEO | Id::MPEG2VIDEO | Id::THEORA)
}

/// Whether an unopened encoder has the option `name`.
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
            av::ffi::AV_OPT_SEARCH_CHILDREN,
        )
    };
    !option.is_null()
}

/// Whether NVIDIA's GPUs encode.
pub(super) fn is_nvenc(codec: &av::Codec) -> bool {
    codec.name().ends_with("_nvenc")
}

/// The option of an unopened encoder that asks for the constant quality `crf`, and its value; `None`
/// where there is none.
pub(super) fn quality(
    context: &mut av::codec::Context,
    codec: &av::Codec,
    crf: u8,
) -> Option<(&'static str, String)> {
    if is_nvenc(codec) {
        return Some(("cq", crf.clamp(1, 51).to_string())); // 0 stands for any quality
    }
    has_option(context, "crf").then(|| ("crf", crf.to_string()))
}

/// The constant quality `crf` for encoders that have a field for theirs: quantiser scale 1 to 11 for CRF 0 to 63, of Theora
/// quality 10 to 0; `None` for others.
pub(super) fn scale(codec: &av::Codec, crf: u8) -> Option<usize> {
    let (one, crf) = (av::ffi::FF_QP2LAMBDA as usize, usize::from(crf));
    match codec.id() {
        Id::MPEG4 | Id::MPEG2VIDEO | Id::MJPEG => Some((1 + crf / 6) * one),
        Id::THEORA => Some(10 * one * (63 - crf.min(63)) / 63),
        _ => None,
    }
}

/// The options to open an encoder with.
pub(super) fn options(
    codec: &av::Codec,
    settings: &EncodeSettings,
    quality: Option<&(&str, String)>,
    preset: Option<&str>,
) -> av::Dictionary<'static> {
    let mut options = av::Dictionary::new();
    if let Some((name, value)) = quality {
        options.set(name, value);
    }
    if let Some(preset) = preset {
        options.set("preset", preset);
    }
    match codec.name() {
        "libx264" if settings.preset.is_none() => options.set(QUICK_CODER.0, QUICK_CODER.1),
        "libx265" => options.set("x265-params", "log-level=none"), // it writes to stderr by itself
        "libvpx-vp9" => {
            // Ten times faster than the default at nearly the same size.
            options.set("cpu-used", "4");
            options.set("row-mt", "1");
        }
        _ if is_nvenc(codec) => options.set("rc", "vbr"), // constant quality is a case of it
        _ => {}
    }
    options
}

/// The preset to encode with: the user's, which fails with the known names when it is none of the
/// encoder's; `None` for encoders without presets.
pub(super) fn preset<'a>(
    context: &mut av::codec::Context,
    codec: &av::Codec,
    settings: &'a EncodeSettings,
) -> Result<Option<&'a str>> {
    let of_x26x = ["libx264", "libx265"].contains(&codec.name());
    let Some(preset) = settings.preset.as_deref() else {
        return Ok(of_x26x.then_some(QUICK_PRESET));
    };
    ensure!(
        has_option(context, "preset"),
        "encoder `{}` has no presets: leave out --preset",
        codec.name()
    );
    ensure!(
        !of_x26x || PRESETS.contains(&preset),
        "unknown preset `{preset}` (known: {})",
        PRESETS.join(", ")
    );
    Ok(Some(preset))
}
