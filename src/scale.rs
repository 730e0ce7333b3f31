//! Frames at another size: [`Scaler`] for every frame of a live picture, cubic (Catmull-Rom), with memory
//! used again; [`resized`] for pictures that are scaled once (Lanczos, 3 lobes). Both average what a pixel
//! covers. The only place that knows the fast_image_resize crate.

use anyhow::{Context, Result};
use fast_image_resize as fir;

use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;

use crate::frame::Frame;

/// Scales frames from one size to another.
#[derive(Default)]
pub struct Scaler {
    resizer: fir::Resizer,
}

impl Scaler {
    /// Fills `output` with `input` at `size` (width, height; at least 1x1), mirrored left to right
    /// when asked. Number and time stay. Fails when `input` has fewer bytes than its size says.
    pub fn run(
        &mut self,
        input: &Frame,
        size: (usize, usize),
        mirrored: bool,
        output: &mut Frame,
    ) -> Result<()> {
        (output.width, output.height) = size;
        (output.index, output.pts) = (input.index, input.pts);
        output.pixels.resize(size.0 * size.1 * 3, 0);
        if (input.width, input.height) == size && input.pixels.len() == output.pixels.len() {
            output.pixels.copy_from_slice(&input.pixels);
        } else {
            resize(
                &mut self.resizer,
                fir::FilterType::CatmullRom,
                input,
                output,
            )?;
        }
        if mirrored {
            output.pixels.chunks_exact_mut(size.0 * 3).for_each(mirror);
        }
        Ok(())
    }
}

/// `frame` at another size in pixels, at least 1x1. Number and time stay. Fails when it has fewer bytes
/// than its size says.
pub fn resized(frame: &Frame, width: usize, height: usize) -> Result<Frame> {
    if (width, height) == (frame.width, frame.height) {
        return Ok(frame.clone());
    }
    let mut output = Frame {
        index: frame.index,
        pts: frame.pts,
        ..Frame::new(width, height)
    };
    let mut resizer = fir::Resizer::new();
    resize(&mut resizer, fir::FilterType::Lanczos3, frame, &mut output)?;
    Ok(output)
}

/// Fills `output`, of any size, with `input`.
fn resize(
    resizer: &mut fir::Resizer,
    filter: fir::FilterType,
    input: &Frame,
    output: &mut Frame,
) -> Result<()> {
    let (width, height) = (input.width as u32, input.height as u32);
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, &input.pixels);
    let source = source.context("a frame has too few bytes")?;
    let (width, height) = (output.width as u32, output.height as u32);
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut output.pixels);
    let mut target = target.context("a frame has too few bytes")?;
    let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(filter));
    // Its untyped form would bring code for 15 kinds of pixels, 3 MB.
    resizer
        .resize_typed(&source, &mut target, &options)
        .context("could not scale a frame")
}

fn mirror(row: &mut [u8]) {
    let pixels = row.len() / 3;
    for x in 0..pixels / 2 {
        let (left, right) = row.split_at_mut((pixels - 1 - x) * 3);
        left[x * 3..x * 3 + 3].swap_with_slice(&mut right[..3]);
    }
}

/// Width and height of `size` scaled to a shorter side of `side`, to the nearest pixel and at least 1.
pub fn scaled(size: (usize, usize), side: usize) -> (usize, usize) {
    in_ratio(size, side, shorter(size))
}

/// As [`scaled`], to the nearest even numbers and at least 2.
pub fn scaled_evenly(size: (usize, usize), side: usize) -> (usize, usize) {
    let (width, height) = in_ratio(size, side, 2 * shorter(size));
    (2 * width, 2 * height)
}

/// As [`scaled_evenly`], but no picture is enlarged.
pub fn fitted(size: (usize, usize), side: usize) -> (usize, usize) {
    match side < shorter(size) {
        true => scaled_evenly(size, side),
        false => (size.0.max(2) / 2 * 2, size.1.max(2) / 2 * 2),
    }
}

fn shorter(size: (usize, usize)) -> usize {
    size.0.min(size.1).max(1)
}

/// Width and height of `size` times `side / of`, to the nearest pixel and at least 1.
pub fn in_ratio(size: (usize, usize), side: usize, of: usize) -> (usize, usize) {
    let length = |length: usize| ((length * side + of / 2) / of).max(1);
    (length(size.0), length(size.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(input: &Frame, size: (usize, usize), mirrored: bool) -> Frame {
        let mut output = Frame::default();
        Scaler::default()
            .run(input, size, mirrored, &mut output)
            .unwrap();
        output
    }

    fn grey(width: usize, values: &[u8]) -> Frame {
        let mut frame = Frame::new(width, values.len() / width);
        for (pixel, &value) in frame.pixels.chunks_exact_mut(3).zip(values) {
            pixel.fill(value);
        }
        frame
    }

    fn values(frame: &Frame) -> Vec<u8> {
        frame.pixels.iter().step_by(3).copied().collect()
    }

    #[test]
    fn enlarging_leaves_pixel_centres_in_place() {
        // The nearest two pixels, and beyond the edge the edge: weights 111, 29, -9, -3 of 128.
        for (size, to) in [((2, 1), (4, 1)), ((1, 2), (1, 4))] {
            let large = scaled(&grey(size.0, &[40, 200]), to, false);
            let found = values(&large);
            assert_eq!(found[0] + found[3], 240, "{found:?}");
            assert_eq!(found[1] + found[2], 240, "{found:?}");
            assert!(
                found.is_sorted() && found[1] < 90 && found[0] < 40,
                "{found:?}"
            );
        }
    }

    #[test]
    fn shrinking_averages_fine_stripes() {
        let stripes: Vec<u8> = (0..64).map(|i| if i % 2 == 0 { 0 } else { 200 }).collect();
        let frame = grey(64, &stripes.repeat(64));
        for small in [
            scaled(&frame, (16, 16), false),
            resized(&frame, 16, 16).unwrap(),
        ] {
            let centre = &values(&small)[8 * 16 + 4..8 * 16 + 12];
            assert!(centre.iter().all(|v| (85..=115).contains(v)), "{centre:?}");
        }
    }

    #[test]
    fn flat_pictures_stay_flat_at_every_size() {
        for side in [1, 2, 3, 7, 31, 33, 64, 65, 200] {
            let frame = grey(33, &[137; 33 * 65]);
            let out = scaled(&frame, (side, 202 - side), true);
            assert!(out.pixels.iter().all(|&v| v == 137), "side {side}");
            let out = resized(&frame, side, 202 - side).unwrap();
            assert!(out.pixels.iter().all(|&v| v == 137), "side {side}");
        }
    }

    #[test]
    fn mirroring_exchanges_left_and_right_at_every_size() {
        let frame = grey(3, &[10, 20, 30]);
        assert_eq!(values(&scaled(&frame, (3, 1), true)), [30, 20, 10]);
        let (plain, turned) = (scaled(&frame, (8, 1), false), scaled(&frame, (8, 1), true));
        let mut back = values(&turned);
        back.reverse();
        assert_eq!(values(&plain), back);
    }

    #[test]
    fn a_frame_without_its_bytes_is_refused() {
        let mut frame = grey(3, &[10, 20, 30]);
        frame.pixels.truncate(8);
        assert!(resized(&frame, 2, 2).is_err());
    }

    #[test]
    fn fitted_sizes_are_even_and_never_larger() {
        assert_eq!(fitted((1280, 720), 360), (640, 360));
        assert_eq!(fitted((720, 1280), 359), (360, 638));
        assert_eq!(fitted((640, 480), 1000), (640, 480));
        assert_eq!(fitted((1, 1), 100), (2, 2));
    }
}
