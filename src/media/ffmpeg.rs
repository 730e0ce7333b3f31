//! What decoding and encoding share of FFmpeg: start-up, paths, colour tags, pixel conversion.

#[cfg(feature = "webcam")]
pub(super) mod devices;
pub(super) mod hwaccel;
pub(super) mod ycbcr;

use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::color::{Primaries, Range, Space, TransferCharacteristic};
use av::format::Pixel;
use av::software::scaling;

/// Height from which untagged video is taken for BT.709, as players do; below it is BT.601.
const HD_HEIGHT: usize = 720;

/// The colour tags of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Color {
    /// How R'G'B' becomes Y'CbCr.
    pub matrix: Space,
    /// Chromaticities of the primaries.
    pub primaries: Primaries,
    /// Transfer curve.
    pub transfer: TransferCharacteristic,
}

impl Color {
    /// What high definition films of standard range have.
    pub const BT709: Self = Self {
        matrix: Space::BT709,
        primaries: Primaries::BT709,
        transfer: TransferCharacteristic::BT709,
    };
}

impl Default for Color {
    fn default() -> Self {
        Self {
            matrix: Space::Unspecified,
            primaries: Primaries::Unspecified,
            transfer: TransferCharacteristic::Unspecified,
        }
    }
}

/// The matrix of `tag`, or the usual one for pictures of `height` pixels where the tag says
/// nothing that swscale can compute with.
pub(super) fn known_matrix(tag: Space, height: usize) -> Space {
    match tag {
        Space::BT709
        | Space::BT470BG
        | Space::SMPTE170M
        | Space::FCC
        | Space::SMPTE240M
        | Space::BT2020NCL => tag,
        Space::BT2020CL => Space::BT2020NCL,
        _ if height >= HD_HEIGHT => Space::BT709,
        _ => Space::SMPTE170M,
    }
}

/// Starts FFmpeg once for the process. Its own words on stderr are silenced: what matters comes
/// back as errors.
pub(super) fn start() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut started = Ok(());
    ONCE.call_once(|| {
        started = av::init();
        av::log::set_level(av::log::Level::Quiet);
    });
    started.context("could not start FFmpeg")
}

/// Whether a codec or filter had something ready: not when it wants more first, or has given all.
pub(super) fn is_ready(answer: Result<(), av::Error>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(av::Error::Eof) => Ok(false),
        Err(av::Error::Other {
            errno: av::error::EAGAIN,
        }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `layout`, or the usual one for as many channels where it does not say their order.
pub(super) fn known_layout(layout: av::ChannelLayout, channels: u16) -> av::ChannelLayout {
    match layout.bits() {
        0 => av::ChannelLayout::default(channels.into()),
        _ => layout,
    }
}

/// Whether a packet is only read to decode others: its picture or sound is cut away.
pub(super) fn is_discarded(packet: &av::Packet) -> bool {
    use av::packet::Ref;
    // SAFETY: the packet is live for the borrow; the field is a plain integer.
    unsafe { (*packet.as_ptr()).flags & av::ffi::AV_PKT_FLAG_DISCARD != 0 }
}

/// `path` as FFmpeg takes it; the `file:` keeps a colon in a name from being read as a protocol.
pub(super) fn url(path: &Path) -> Result<String> {
    let name = path.to_str().with_context(|| {
        format!(
            "the name of `{}` is not UTF-8: FFmpeg cannot open it, rename it",
            path.display()
        )
    })?;
    Ok(format!("file:{name}"))
}

/// One side of a pixel conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub format: Pixel,
    pub width: u32,
    pub height: u32,
    /// Matrix of Y'CbCr formats; of no meaning for RGB.
    pub matrix: Space,
    /// Whether values span 0..255 rather than 16..235.
    pub full_range: bool,
}

impl Layout {
    /// That of `pixels`, by the tags of the picture `decoded` that they are those of.
    pub fn of(pixels: &av::frame::Video, decoded: &av::frame::Video) -> Self {
        Self {
            format: pixels.format(),
            width: pixels.width(),
            height: pixels.height(),
            matrix: known_matrix(decoded.color_space(), decoded.height() as usize),
            full_range: is_full_range(pixels.format(), decoded.color_range()),
        }
    }

    /// Full-range RGB, 3 bytes a pixel.
    pub fn rgb(width: u32, height: u32) -> Self {
        Self {
            format: Pixel::RGB24,
            width,
            height,
            matrix: Space::RGB,
            full_range: true,
        }
    }
}

/// swscale between two layouts: pixel format, size, matrix and range.
pub(super) struct Scaler {
    context: scaling::Context,
    from: Layout,
}

// SAFETY: the swscale context is owned by this value alone and has no ties to a thread; it is used
// by one thread at a time, as its methods take `&mut self`.
unsafe impl Send for Scaler {}

impl Scaler {
    pub fn new(from: Layout, to: Layout) -> Result<Self> {
        // Exact rounding and chroma at full resolution: without them flat colours shift by up to
        // three levels. Bicubic filters widen when shrinking, so nothing aliases.
        let flags = scaling::Flags::BICUBIC
            | scaling::Flags::ACCURATE_RND
            | scaling::Flags::FULL_CHR_H_INT
            | scaling::Flags::FULL_CHR_H_INP;
        let mut context = scaling::Context::get(
            from.format,
            from.width,
            from.height,
            to.format,
            to.width,
            to.height,
            flags,
        )
        .with_context(|| {
            format!(
                "cannot convert pixels from {:?} {}x{} to {:?} {}x{}",
                from.format, from.width, from.height, to.format, to.width, to.height
            )
        })?;
        // Between RGB of more than 8 bits and RGB swscale goes by way of Y'CbCr, there and back by one matrix.
        let matrices = match (is_rgb(from.format), is_rgb(to.format)) {
            (true, true) => [to.matrix; 2],
            _ => [from.matrix, to.matrix],
        };
        // SAFETY: the context is live and owned here; the tables are static in libswscale, and it
        // copies them. A negative result means a pair of formats without such details (RGB to RGB).
        unsafe {
            let source = av::ffi::sws_getCoefficients(matrix_number(matrices[0]));
            let target = av::ffi::sws_getCoefficients(matrix_number(matrices[1]));
            av::ffi::sws_setColorspaceDetails(
                context.as_mut_ptr(),
                source,
                i32::from(from.full_range),
                target,
                i32::from(to.full_range),
                0,
                1 << 16,
                1 << 16,
            );
        }
        Ok(Self { context, from })
    }

    /// Whether the scaler takes frames of this layout.
    pub fn takes(&self, from: Layout) -> bool {
        self.from == from
    }

    /// Converts `input` into `output`, which keeps its memory.
    pub fn run(&mut self, input: &av::frame::Video, output: &mut av::frame::Video) -> Result<()> {
        self.context
            .run(input, output)
            .context("could not convert the pixels of a frame")
    }
}

/// swscale's number of a matrix, which is that of the colour-space tag.
fn matrix_number(matrix: Space) -> i32 {
    av::ffi::AVColorSpace::from(matrix) as i32
}

/// Whether values of `format` tagged `range` span 0..255.
pub(super) fn is_full_range(format: Pixel, range: Range) -> bool {
    let jpeg = matches!(
        format,
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P
    );
    // Grey is that of pictures where nothing says otherwise.
    let grey = || {
        format
            .descriptor()
            .is_some_and(|described| described.nb_components() <= 2 && !is_rgb(format))
    };
    jpeg || range == Range::JPEG || range == Range::Unspecified && grey()
}

/// Whether pixels of `format` are RGB, or XYZ, which swscale takes for it; not Y'CbCr.
pub(super) fn is_rgb(format: Pixel) -> bool {
    // SAFETY: descriptions are static in libavutil; the field is a plain integer.
    let flags = format
        .descriptor()
        .map(|described| unsafe { (*described.as_ptr()).flags });
    let rgb = u64::from(av::ffi::AV_PIX_FMT_FLAG_RGB as u32);
    flags.is_some_and(|flags| flags & rgb != 0) || format == Pixel::XYZ12LE
}
