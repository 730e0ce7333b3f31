//! Pictures of 8-bit Y'CbCr 4:2:0, which most films are, to RGB and back: in three planes, as CPUs
//! decode and encode them, or in two, as GPUs decode. The only place that knows the yuv crate.
//!
//! swscale is exact only on a path that takes some 4 ms for a 768x432 frame, a tenth of the time that
//! painting it takes, and 2 ms back, as long as a GPU paints it three times. Each chroma value colours its four pixels, as most players show it: copied films
//! keep within 0.5 dB of what smoother chroma keeps. (The crate's bilinear chroma lies one row off.)
//! Back, a chroma value is the mean of its four pixels.

use anyhow::{Context, Result};
use ffmpeg_next as av;
use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut,
    YuvRange, YuvStandardMatrix, rgb_to_yuv420, yuv_nv12_to_rgb, yuv420_to_rgb,
};

use av::color::Space;
use av::format::Pixel;

use super::ffmpeg::Layout;
use crate::frame::Frame;

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

/// Fills `frame` with `decoded`, a picture of the layout `from` for which [`takes`] is true, at its size.
pub(super) fn to_rgb(decoded: &av::frame::Video, from: &Layout, frame: &mut Frame) -> Result<()> {
    (frame.width, frame.height) = (from.width as usize, from.height as usize);
    frame.pixels.resize(frame.width * frame.height * 3, 0);
    let range = range(from);
    let matrix = matrix(from.matrix).context("no matrix for the colours of a frame")?;
    let (rgb, stride) = (&mut frame.pixels[..], from.width * 3);
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
            yuv_nv12_to_rgb(&image, rgb, stride, range, matrix, mode)
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
            yuv420_to_rgb(&image, rgb, stride, range, matrix)
        }
    };
    converted.context("could not convert the pixels of a frame")
}

/// Whether [`from_rgb`] fills pictures of the layout `to`.
pub(super) fn makes(to: &Layout) -> bool {
    matches!(to.format, Pixel::YUV420P | Pixel::YUVJ420P) && matrix(to.matrix).is_some()
}

/// Converts `frame`, of the size of the layout `to`, into `picture`, which has that layout.
pub(super) fn from_rgb(frame: &Frame, to: &Layout, picture: &mut av::frame::Video) -> Result<()> {
    let matrix = matrix(to.matrix).context("no matrix for the colours of a frame")?;
    let stride = |plane| picture.stride(plane) as u32;
    let [y_stride, u_stride, v_stride] = [stride(0), stride(1), stride(2)];
    let [y_plane, u_plane, v_plane] = planes_mut(picture).map(BufferStoreMut::Borrowed);
    let mut image = YuvPlanarImageMut {
        y_plane,
        y_stride,
        u_plane,
        u_stride,
        v_plane,
        v_stride,
        width: to.width,
        height: to.height,
    };
    let row_bytes = frame.width as u32 * 3;
    // Rounded to the nearest level: the quicker mode adds noise that costs an encoder 2 % more bytes.
    let mode = YuvConversionMode::Professional;
    rgb_to_yuv420(
        &mut image,
        &frame.pixels,
        row_bytes,
        range(to),
        matrix,
        mode,
    )
    .context("could not convert the pixels of a frame")
}

/// The three planes of a planar picture.
fn planes_mut(picture: &mut av::frame::Video) -> [&mut [u8]; 3] {
    [0, 1, 2].map(|plane| {
        let data = picture.data_mut(plane);
        // SAFETY: planes are separate pieces of memory that the picture owns, and the slices keep it
        // borrowed; FFmpeg's binding only hands them out one by one.
        unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr(), data.len()) }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of R and B in luma, by matrix (ITU-R BT.601, BT.709, BT.2020).
    const LUMA: [(Space, f64, f64); 3] = [
        (Space::SMPTE170M, 0.299, 0.114),
        (Space::BT709, 0.2126, 0.0722),
        (Space::BT2020NCL, 0.2627, 0.0593),
    ];

    #[test]
    fn paintings_are_rounded_to_the_nearest_level() {
        let mut frame = Frame::new(70, 34); // wider than the rows of any vector, and not a multiple
        let mut state = 1u32;
        for value in &mut frame.pixels {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 24) as u8;
        }
        for (matrix, red, blue) in LUMA {
            for full_range in [false, true] {
                let to = Layout {
                    format: Pixel::YUV420P,
                    width: 70,
                    height: 34,
                    matrix,
                    full_range,
                };
                assert!(makes(&to));
                let mut picture = av::frame::Video::new(to.format, to.width, to.height);
                from_rgb(&frame, &to, &mut picture).unwrap();
                let (luma_span, chroma_span, black) = match full_range {
                    true => (255.0, 255.0, 0.0),
                    false => (219.0, 224.0, 16.0),
                };
                let luma = |[r, g, b]: [f64; 3]| red * r + (1.0 - red - blue) * g + blue * b;
                let pixel = |x: usize, y: usize| {
                    let at = (y * frame.width + x) * 3;
                    [0, 1, 2].map(|i| f64::from(frame.pixels[at + i]) / 255.0)
                };
                let found = |plane: usize, x: usize, y: usize| {
                    f64::from(picture.data(plane)[y * picture.stride(plane) + x])
                };
                for (y, x) in (0..34).flat_map(|y| (0..70).map(move |x| (y, x))) {
                    let exact = black + luma_span * luma(pixel(x, y));
                    let error = (found(0, x, y) - exact).abs();
                    assert!(
                        error < 0.6,
                        "{matrix:?} {full_range}: luma {x},{y} by {error}"
                    );
                    let four = [(0, 0), (1, 0), (0, 1), (1, 1)];
                    let four = four.map(|(i, j)| pixel(x / 2 * 2 + i, y / 2 * 2 + j));
                    let mean = [0, 1, 2].map(|i| four.iter().map(|p| p[i]).sum::<f64>() / 4.0);
                    for (plane, colour, weight) in [(1, mean[2], blue), (2, mean[0], red)] {
                        let part = (colour - luma(mean)) / (2.0 * (1.0 - weight));
                        let exact = (128.0 + chroma_span * part).min(255.0);
                        let error = (found(plane, x / 2, y / 2) - exact).abs();
                        assert!(
                            error < 0.9,
                            "{matrix:?} {full_range}: chroma {x},{y} by {error}"
                        );
                    }
                }
            }
        }
    }
}
