//! Frames at another size, fast enough for every frame of a live picture, with memory used again.
//!
//! Enlarging is bilinear, shrinking averages what a pixel covers: a triangle filter as wide as the
//! larger of the two pixels. Pictures that are scaled once go through `media::picture` instead.

use rayon::prelude::*;

use crate::frame::Frame;

/// Fixed-point one of the filter weights, as a shift.
const SHIFT: u32 = 8;

/// Rows that one task computes: some 100 us of work, so that tasks cost little beside it.
const BAND: usize = 32;

/// Which source pixels one pixel of the result is made of.
#[derive(Clone, Debug, Default, PartialEq)]
struct Taps {
    first: usize,
    /// Sums to `1 << SHIFT`.
    weights: Vec<u16>,
}

/// Scales frames from one size to another; the filters are computed when a size changes.
#[derive(Default)]
pub struct Scaler {
    from: (usize, usize),
    to: (usize, usize),
    columns: Vec<Taps>,
    rows: Vec<Taps>,
}

impl Scaler {
    /// Fills `output` with `input` at `size` (width, height; at least 1x1), mirrored left to right
    /// when asked. Number and time stay. The work is shared among the threads of the current pool.
    pub fn run(&mut self, input: &Frame, size: (usize, usize), mirrored: bool, output: &mut Frame) {
        let from = (input.width, input.height);
        (output.width, output.height) = size;
        (output.index, output.pts) = (input.index, input.pts);
        output.pixels.resize(size.0 * size.1 * 3, 0);
        if from == size {
            copy(input, mirrored, output);
            return;
        }
        if (self.from, self.to) != (from, size) {
            self.columns = filter(from.0, size.0);
            self.rows = filter(from.1, size.1);
            (self.from, self.to) = (from, size);
        }
        let row_bytes = size.0 * 3;
        output
            .pixels
            .par_chunks_mut(row_bytes * BAND)
            .enumerate()
            .for_each_init(Vec::new, |line, (band, pixels)| {
                for (i, row) in pixels.chunks_exact_mut(row_bytes).enumerate() {
                    blend_rows(input, &self.rows[band * BAND + i], line);
                    self.blend_columns(line, row);
                    if mirrored {
                        mirror(row);
                    }
                }
            });
    }

    /// One row of the result from one line of the source's width, which has 8 bits a channel.
    fn blend_columns(&self, line: &[u8], row: &mut [u8]) {
        for (pixel, taps) in row.chunks_exact_mut(3).zip(&self.columns) {
            let source = &line[taps.first * 3..(taps.first + taps.weights.len()) * 3];
            let mut sums = [1u32 << (SHIFT - 1); 3];
            for (value, &weight) in source.chunks_exact(3).zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(value) {
                    *sum += u32::from(value) * u32::from(weight);
                }
            }
            for (value, sum) in pixel.iter_mut().zip(sums) {
                *value = (sum >> SHIFT) as u8;
            }
        }
    }
}

fn copy(input: &Frame, mirrored: bool, output: &mut Frame) {
    output.pixels.copy_from_slice(&input.pixels);
    if mirrored {
        output
            .pixels
            .chunks_exact_mut(input.width * 3)
            .for_each(mirror);
    }
}

fn mirror(row: &mut [u8]) {
    let pixels = row.len() / 3;
    for x in 0..pixels / 2 {
        let (left, right) = row.split_at_mut((pixels - 1 - x) * 3);
        left[x * 3..x * 3 + 3].swap_with_slice(&mut right[..3]);
    }
}

/// The weighted sum of some rows of `input`.
fn blend_rows(input: &Frame, taps: &Taps, line: &mut Vec<u8>) {
    let row_bytes = input.width * 3;
    let row = |i: usize| &input.pixels[(taps.first + i) * row_bytes..][..row_bytes];
    line.resize(row_bytes, 0);
    match taps.weights.as_slice() {
        [_] => line.copy_from_slice(row(0)),
        &[upper, lower] => {
            for ((out, &a), &b) in line.iter_mut().zip(row(0)).zip(row(1)) {
                let sum = u32::from(a) * u32::from(upper) + u32::from(b) * u32::from(lower);
                *out = ((sum + (1 << (SHIFT - 1))) >> SHIFT) as u8;
            }
        }
        weights => {
            for (x, out) in line.iter_mut().enumerate() {
                let mut sum = 1u32 << (SHIFT - 1);
                for (i, &weight) in weights.iter().enumerate() {
                    sum += u32::from(weight)
                        * u32::from(input.pixels[(taps.first + i) * row_bytes + x]);
                }
                *out = (sum >> SHIFT) as u8;
            }
        }
    }
}

/// The triangle filter that takes a line of `from` pixels to `to` pixels.
fn filter(from: usize, to: usize) -> Vec<Taps> {
    let ratio = from as f64 / to as f64;
    let reach = ratio.max(1.0);
    let taps = |i: usize| {
        let centre = (i as f64 + 0.5) * ratio - 0.5;
        let first = ((centre - reach).floor() as isize + 1).clamp(0, from as isize - 1) as usize;
        let last = ((centre + reach).ceil() as isize - 1).clamp(first as isize, from as isize - 1);
        let exact: Vec<f64> = (first..=last as usize)
            .map(|x| (1.0 - (x as f64 - centre).abs() / reach).max(0.0))
            .collect();
        let sum = exact.iter().sum::<f64>();
        let one = f64::from(1u32 << SHIFT);
        let mut weights = Vec::with_capacity(exact.len());
        let (mut so_far, mut given) = (0.0, 0);
        for value in exact {
            so_far += if sum > 0.0 { value / sum } else { 1.0 };
            let next = (so_far.min(1.0) * one).round() as u16;
            weights.push(next - given);
            given = next;
        }
        Taps { first, weights }
    };
    (0..to).map(taps).collect()
}

/// Width and height of `size` scaled to a shorter side of `side`, both even and at least 2. Nothing
/// is enlarged.
pub fn fitted(size: (usize, usize), side: usize) -> (usize, usize) {
    let short = size.0.min(size.1).max(1);
    let side = side.min(short);
    let scale = |length: usize| ((length * side + short) / (2 * short) * 2).max(2);
    (scale(size.0), scale(size.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(input: &Frame, size: (usize, usize), mirrored: bool) -> Frame {
        let mut output = Frame::default();
        Scaler::default().run(input, size, mirrored, &mut output);
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
    fn enlarging_is_bilinear_with_pixel_centres_in_place() {
        let large = scaled(&grey(2, &[0, 200]), (4, 1), false);
        assert_eq!(values(&large), [0, 50, 150, 200]);
        let tall = scaled(&grey(1, &[0, 200]), (1, 4), false);
        assert_eq!(values(&tall), [0, 50, 150, 200]);
    }

    #[test]
    fn shrinking_averages_fine_stripes() {
        let stripes: Vec<u8> = (0..64).map(|i| if i % 2 == 0 { 0 } else { 200 }).collect();
        let small = values(&scaled(&grey(64, &stripes), (16, 1), false));
        assert!(small.iter().all(|v| (85..=115).contains(v)), "{small:?}");
    }

    #[test]
    fn flat_pictures_stay_flat_at_every_size() {
        for side in [1, 2, 3, 7, 31, 33, 64, 65, 200] {
            let frame = grey(33, &[137; 33 * 65]);
            let out = scaled(&frame, (side, 202 - side), true);
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
    fn fitted_sizes_are_even_and_never_larger() {
        assert_eq!(fitted((1280, 720), 360), (640, 360));
        assert_eq!(fitted((720, 1280), 359), (360, 638));
        assert_eq!(fitted((640, 480), 1000), (640, 480));
        assert_eq!(fitted((1, 1), 100), (2, 2));
    }
}
