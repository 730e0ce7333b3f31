//! Decoded pictures of 8-bit Y'CbCr 4:2:0, which most films are, to RGB. The only place that knows
//! the yuv crate.
//!
//! swscale is exact only on a path that takes some 4 ms for a 768x432 frame, a tenth of the time that
//! painting it takes. Each chroma value colours its four pixels, as most players show it: copied films
//! keep within 0.5 dB of what smoother chroma keeps. (The crate's bilinear chroma lies one row off.)

use anyhow::{Context, Result};
use ffmpeg_next as av;
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv420_to_rgb};

use av::color::Space;
use av::format::Pixel;

use super::ffmpeg::Layout;

/// Whether [`to_rgb`] takes `decoded`, a picture of the layout `from`.
pub(super) fn takes(decoded: &av::frame::Video, from: &Layout) -> bool {
    let planar = matches!(from.format, Pixel::YUV420P | Pixel::YUVJ420P);
    // Rows stored from the bottom have a distance below zero.
    let upright = |plane| decoded.stride(plane) as isize > 0;
    planar && matrix(from.matrix).is_some() && (0..3).all(upright)
}

/// Converts `decoded`, a picture of the layout `from` for which [`takes`] is true, into `rgb`, which
/// is made anew when it has another size.
pub(super) fn to_rgb(
    decoded: &av::frame::Video,
    from: &Layout,
    rgb: &mut av::frame::Video,
) -> Result<()> {
    if (rgb.width(), rgb.height()) != (from.width, from.height) {
        *rgb = av::frame::Video::new(Pixel::RGB24, from.width, from.height);
    }
    let image = YuvPlanarImage {
        y_plane: decoded.data(0),
        y_stride: decoded.stride(0) as u32,
        u_plane: decoded.data(1),
        u_stride: decoded.stride(1) as u32,
        v_plane: decoded.data(2),
        v_stride: decoded.stride(2) as u32,
        width: from.width,
        height: from.height,
    };
    let range = match from.full_range {
        true => YuvRange::Full,
        false => YuvRange::Limited,
    };
    let matrix = matrix(from.matrix).context("no matrix for the colours of a frame")?;
    let stride = rgb.stride(0) as u32;
    yuv420_to_rgb(&image, rgb.data_mut(0), stride, range, matrix)
        .context("could not convert the pixels of a frame")
}

fn matrix(space: Space) -> Option<YuvStandardMatrix> {
    Some(match space {
        Space::BT709 => YuvStandardMatrix::Bt709,
        Space::BT470BG | Space::SMPTE170M => YuvStandardMatrix::Bt601,
        Space::SMPTE240M => YuvStandardMatrix::Smpte240,
        Space::FCC => YuvStandardMatrix::Fcc,
        Space::BT2020NCL => YuvStandardMatrix::Bt2020,
        _ => return None,
    })
}
