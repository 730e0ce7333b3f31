//! Pictures of Y'CbCr, which most films are, to RGB and back: of 8 or 10 bits, in three planes, as CPUs
//! decode and encode them, or in two, as GPUs decode. The only place that knows the yuv crate.
//!
//! swscale is exact only on a path that takes some 4 ms for a 768x432 frame of 8 bits, a tenth of the time
//! that painting it takes, 10 to 19 ms for 1920x1080, and 2 ms for 1280x720 on the way back, as long as a
//! GPU paints it three times. Each chroma value colours its four pixels, as most players show it: copied
//! films keep within 0.8 dB of what smoother chroma keeps, and of 4:4:4, where nothing needs smoothing, 49.5
//! dB instead of 51.1. (The crate's bilinear chroma lies one row off.)
//! On the way back a chroma value is the mean of its four pixels.

use anyhow::{Context, Result};
use ffmpeg_next as av;
use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut,
    YuvRange, YuvStandardMatrix, i010_to_rgb, i210_to_rgb, rgb_to_yuv420, yuv_nv12_to_rgb,
    yuv420_to_rgb, yuv422_to_rgb, yuv444_to_rgb,
};

use av::color::Space;
use av::format::Pixel;

use super::Layout;
use crate::frame::Frame;

/// Whether [`to_rgb`] takes `decoded`, a picture of the layout `from`.
pub(in crate::media) fn takes(decoded: &av::frame::Video, from: &Layout) -> bool {
    let planes = match from.format {
        Pixel::YUV420P | Pixel::YUVJ420P | Pixel::YUV420P10LE => 3,
        Pixel::YUV422P | Pixel::YUVJ422P | Pixel::YUV422P10LE => 3,
        Pixel::YUV444P | Pixel::YUVJ444P => 3,
        Pixel::NV12 | Pixel::P010LE => 2,
        _ => return false,
    };
    // Rows stored from the bottom have a distance below zero.
    let upright = |plane| decoded.stride(plane) as isize > 0;
    matrix(from.matrix).is_some() && (0..planes).all(upright)
}

/// The planes of a picture, for pixels that are taken apart before they are converted.
pub(in crate::media) type Planes = [Vec<u16>; 3];

/// Fills `frame` with `decoded`, a picture of the layout `from` for which [`takes`] is true, at its size.
/// `planes` is memory to be used again.
pub(in crate::media) fn to_rgb(
    decoded: &av::frame::Video,
    from: &Layout,
    planes: &mut Planes,
    frame: &mut Frame,
) -> Result<()> {
    (frame.width, frame.height) = (from.width as usize, from.height as usize);
    frame.pixels.resize(frame.width * frame.height * 3, 0);
    let range = range(from);
    let matrix = matrix(from.matrix).context("no matrix for the colours of a frame")?;
    let (rgb, stride) = (&mut frame.pixels[..], from.width * 3);
    let converted = match from.format {
        Pixel::NV12 => {
            let image = YuvBiPlanarImage {
                y_plane: decoded.data(0),
                y_stride: decoded.stride(0) as u32,
                uv_plane: decoded.data(1),
                uv_stride: decoded.stride(1) as u32,
                width: from.width,
                height: from.height,
            };
            let mode = YuvConversionMode::Balanced; // as exact as the one for three planes
            yuv_nv12_to_rgb(&image, rgb, stride, range, matrix, mode)
        }
        Pixel::P010LE => {
            take_apart(decoded, from, planes);
            let strides = [from.width, from.width.div_ceil(2), from.width.div_ceil(2)];
            let image = planar(from, |plane| &planes[plane][..], |plane| strides[plane]);
            i010_to_rgb(&image, rgb, stride, range, matrix)
        }
        Pixel::YUV420P10LE | Pixel::YUV422P10LE => {
            let values = |plane| words(decoded.data(plane));
            let image = planar(from, values, |plane| decoded.stride(plane) as u32 / 2);
            let convert = match from.format {
                Pixel::YUV420P10LE => i010_to_rgb,
                _ => i210_to_rgb,
            };
            convert(&image, rgb, stride, range, matrix)
        }
        _ => {
            let values = |plane| decoded.data(plane);
            let image = planar(from, values, |plane| decoded.stride(plane) as u32);
            let convert = match from.format {
                Pixel::YUV420P | Pixel::YUVJ420P => yuv420_to_rgb,
                Pixel::YUV422P | Pixel::YUVJ422P => yuv422_to_rgb,
                _ => yuv444_to_rgb,
            };
            convert(&image, rgb, stride, range, matrix)
        }
    };
    converted.context("could not convert the pixels of a frame")
}

/// A picture of three planes of the layout `from`, of which `values` and `stride` tell.
fn planar<'a, T: Copy + std::fmt::Debug>(
    from: &Layout,
    values: impl Fn(usize) -> &'a [T],
    stride: impl Fn(usize) -> u32,
) -> YuvPlanarImage<'a, T> {
    YuvPlanarImage {
        y_plane: values(0),
        y_stride: stride(0),
        u_plane: values(1),
        u_stride: stride(1),
        v_plane: values(2),
        v_stride: stride(2),
        width: from.width,
        height: from.height,
    }
}

/// Writes the 10 bits of each value of `decoded`, a picture of 16 whose lower 6 are unused, into three
/// planes without gaps: the crate takes ten times as long for them as they come.
fn take_apart(decoded: &av::frame::Video, from: &Layout, [luma, cb, cr]: &mut Planes) {
    let (width, height) = (from.width as usize, from.height as usize);
    let half = width.div_ceil(2);
    let rows = |plane: usize| words(decoded.data(plane)).chunks(decoded.stride(plane) / 2);
    luma.resize(width * height, 0);
    for (to, row) in luma.chunks_exact_mut(width).zip(rows(0)) {
        for (to, value) in to.iter_mut().zip(row) {
            *to = value >> 6;
        }
    }
    let chroma = half * height.div_ceil(2);
    cb.resize(chroma, 0);
    cr.resize(chroma, 0);
    let both = cb.chunks_exact_mut(half).zip(cr.chunks_exact_mut(half));
    for ((cb, cr), row) in both.zip(rows(1)) {
        for ((cb, cr), pair) in cb.iter_mut().zip(cr).zip(row.chunks_exact(2)) {
            (*cb, *cr) = (pair[0] >> 6, pair[1] >> 6);
        }
    }
}

/// The values of a plane of 16 bits.
fn words(plane: &[u8]) -> &[u16] {
    // SAFETY: any two bytes are a u16; a plane of them begins at a multiple of two.
    unsafe { plane.align_to::<u16>() }.1
}

/// Whether [`from_rgb`] fills pictures of the layout `to`.
pub(in crate::media) fn makes(to: &Layout) -> bool {
    matches!(to.format, Pixel::YUV420P | Pixel::YUVJ420P) && matrix(to.matrix).is_some()
}

/// Converts `frame`, of the size of the layout `to`, into `picture`, which has that layout.
pub(in crate::media) fn from_rgb(
    frame: &Frame,
    to: &Layout,
    picture: &mut av::frame::Video,
) -> Result<()> {
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
                            error < 1.0, // 0.9 on x86-64, by how the mean of four is rounded
                            "{matrix:?} {full_range}: chroma {x},{y} by {error}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn films_come_out_within_a_level_and_a_half() {
        let (width, height) = (70usize, 34usize);
        let formats = [
            (Pixel::YUV420P, 2, 2),
            (Pixel::NV12, 2, 2),
            (Pixel::YUV420P10LE, 2, 2),
            (Pixel::P010LE, 2, 2),
            (Pixel::YUV422P, 2, 1),
            (Pixel::YUV422P10LE, 2, 1),
            (Pixel::YUV444P, 1, 1),
        ];
        for (format, across, down) in formats {
            let (bytes, one) = match format {
                // Four levels of 10 bits are one of 8.
                Pixel::YUV420P | Pixel::NV12 | Pixel::YUV422P | Pixel::YUV444P => (1, 1.0),
                _ => (2, 4.0),
            };
            let mut picture = av::frame::Video::new(format, 70, 34);
            let mut state = 5u32;
            let mut level = |low: f64, span: f64| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((low + span * f64::from(state >> 8) / f64::from(1u32 << 24)) * one).floor()
            };
            let luma: Vec<f64> = (0..width * height).map(|_| level(16.0, 220.0)).collect();
            let (columns, rows) = (width / across, height / down);
            let chroma: Vec<f64> = (0..2 * columns * rows).map(|_| level(88.0, 80.0)).collect();
            let mut put = |plane: usize, x: usize, y: usize, value: f64| {
                let at = y * picture.stride(plane) + x * bytes;
                let unused = if format == Pixel::P010LE { 6 } else { 0 }; // bits below
                let value = ((value as u16) << unused).to_le_bytes();
                picture.data_mut(plane)[at..at + bytes].copy_from_slice(&value[..bytes]);
            };
            for (i, &value) in luma.iter().enumerate() {
                put(0, i % width, i / width, value);
            }
            for (i, pair) in chroma.chunks_exact(2).enumerate() {
                let (x, y) = (i % columns, i / columns);
                match format {
                    Pixel::NV12 | Pixel::P010LE => {
                        (0..2).for_each(|c| put(1, 2 * x + c, y, pair[c]));
                    }
                    _ => (0..2).for_each(|c| put(1 + c, x, y, pair[c])),
                }
            }
            for (matrix, red, blue) in LUMA {
                let from = Layout {
                    format,
                    width: 70,
                    height: 34,
                    matrix,
                    full_range: false,
                };
                assert!(takes(&picture, &from));
                let mut frame = Frame::default();
                to_rgb(&picture, &from, &mut Planes::default(), &mut frame).unwrap();
                for (i, pixel) in frame.pixels.chunks_exact(3).enumerate() {
                    let (x, y) = (i % width, i / width);
                    let at = 2 * (y / down * columns + x / across);
                    let part = |value: f64| (value / one - 128.0) / 224.0;
                    let (cb, cr) = (part(chroma[at]), part(chroma[at + 1]));
                    let luma = (luma[i] / one - 16.0) / 219.0;
                    let (r, b) = (
                        luma + 2.0 * (1.0 - red) * cr,
                        luma + 2.0 * (1.0 - blue) * cb,
                    );
                    let g = (luma - red * r - blue * b) / (1.0 - red - blue);
                    for (&found, exact) in pixel.iter().zip([r, g, b]) {
                        let exact = (exact * 255.0).clamp(0.0, 255.0);
                        let error = (f64::from(found) - exact).abs();
                        assert!(error < 1.6, "{format:?} {matrix:?}: {x},{y} by {error}");
                    }
                }
            }
        }
    }
}
