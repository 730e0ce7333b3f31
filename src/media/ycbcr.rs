//! Pictures of 8-bit Y'CbCr 4:2:0, which most films are, to RGB and back: in three planes, as CPUs
//! decode and encode them, or in two, as GPUs decode. The only place that knows the yuv crate.
//!
//! swscale is exact only on a path that takes some 4 ms for a 768x432 frame, a tenth of the time that
//! painting it takes. Each chroma value colours its four pixels, as most players show it: copied films
//! keep within 0.5 dB of what smoother chroma keeps. (The crate's bilinear chroma lies one row off.)

use anyhow::{Context, Result};
use ffmpeg_next as av;
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvPlanarImage, YuvRange, YuvStandardMatrix,
    yuv_nv12_to_rgb, yuv420_to_rgb,
};

use av::color::Space;
use av::format::Pixel;

use super::ffmpeg::Layout;

/// Whether [`to_rgb`] takes `decoded`, a picture of the layout `from`.
pub(super) fn takes(decoded: &av::frame::Video, from: &Layout) -> bool {
    let planes = match from.format {
        Pixel::YUV420P | Pixel::YUVJ420P => 3,
        Pixel::NV12 => 2,
        _ => return false,
    };
    // Rows stored from the bottom have a distance below zero.
    let upright = |plane| decoded.stride(plane) as isize > 0;
    matrix(from.matrix).is_some() && (0..planes).all(upright)
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
    let range = range(from);
    let matrix = matrix(from.matrix).context("no matrix for the colours of a frame")?;
    let stride = rgb.stride(0) as u32;
    let (y_plane, y_stride) = (decoded.data(0), decoded.stride(0) as u32);
    let (width, height) = (from.width, from.height);
    let converted = match from.format {
        Pixel::NV12 => {
            let image = YuvBiPlanarImage {
                y_plane,
                y_stride,
                uv_plane: decoded.data(1),
                uv_stride: decoded.stride(1) as u32,
                width,
                height,
            };
            let mode = YuvConversionMode::Balanced; // as exact as the one for three planes
            yuv_nv12_to_rgb(&image, rgb.data_mut(0), stride, range, matrix, mode)
        }
        _ => {
            let image = YuvPlanarImage {
                y_plane,
                y_stride,
                u_plane: decoded.data(1),
                u_stride: decoded.stride(1) as u32,
                v_plane: decoded.data(2),
                v_stride: decoded.stride(2) as u32,
                width,
                height,
            };
            yuv420_to_rgb(&image, rgb.data_mut(0), stride, range, matrix)
        }
    };
    converted.context("could not convert the pixels of a frame")
}

fn range(layout: &Layout) -> YuvRange {
    match layout.full_range {
        true => YuvRange::Full,
        false => YuvRange::Limited,
    }
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
