//! Moves a picture along a field of displacements, fast enough for every frame.
//!
//! A run of 8 pixels in a row moves as one, by what the field says at its middle: its four
//! neighbours are then contiguous and its weights constant, so that the compiler makes it SIMD.
//! Places are whole numbers of 1/256 pixel, since conversions would cost as much as the pixels.

use super::search::Field;
use crate::frame::{Carried, Frame};

/// Pixels that move as one.
const RUN: usize = 8;

/// One pixel of a displacement, and the sum of weights.
const ONE: i32 = 256;

/// A cell left of a place along a side, and the part to the next one in 1/256.
#[derive(Clone, Copy)]
struct Spot {
    cell: usize,
    part: i32,
}

impl Spot {
    /// The place `at` (in pixels from the rim) among `cells` of `size` pixels.
    fn new(at: usize, size: usize, cells: usize) -> Self {
        let doubled = (2 * at).clamp(size, (2 * cells - 1) * size) - size;
        let cell = (doubled / (2 * size)).min(cells - 2);
        let part = (doubled - 2 * size * cell) as i32 * ONE / (2 * size) as i32;
        Self { cell, part }
    }
}

/// Carries pictures; holds the memory that a row needs.
#[derive(Default)]
pub struct Carrier {
    /// The middle of each run, and its end.
    runs: Vec<[Spot; 2]>,
    /// Displacement and error between two rows of cells, in 1/256.
    across: Vec<i32>,
    down: Vec<i32>,
    error: Vec<i32>,
}

impl Carrier {
    /// Fills `carried` with `painting` moved along `field`, whose cells have `size` pixels along a
    /// side. Valid is what comes from inside the picture with an error of less than `limit`.
    pub fn run(
        &mut self,
        painting: &Frame,
        field: &Field,
        size: usize,
        limit: f32,
        carried: &mut Carried,
    ) {
        let width = painting.width;
        let starts = (0..width).step_by(RUN);
        self.runs.clear();
        self.runs.extend(
            starts.map(|x| [x + RUN / 2, x + RUN].map(|x| Spot::new(x, size, field.width))),
        );
        for line in [&mut self.across, &mut self.down, &mut self.error] {
            line.resize(field.width, 0);
        }
        let limit = (limit * ONE as f32) as i32;
        let pixels = carried.pixels.chunks_exact_mut(3 * width);
        let valid = carried.valid.chunks_exact_mut(width);
        for (y, (pixels, valid)) in pixels.zip(valid).enumerate() {
            // Twice the place, so that the middle of a pixel is a whole number.
            let place = Spot::new(2 * y + 1, 2 * size, field.height);
            mix(&field.across, place, size as f32, &mut self.across);
            mix(&field.down, place, size as f32, &mut self.down);
            mix(&field.error, place, 1.0, &mut self.error);
            self.row(painting, y, limit, pixels, valid);
        }
    }

    fn row(&self, painting: &Frame, y: usize, limit: i32, pixels: &mut [u8], valid: &mut [u8]) {
        let (width, height) = (painting.width, painting.height);
        let mut error = self.error[0];
        let runs = pixels.chunks_mut(3 * RUN).zip(valid.chunks_mut(RUN));
        for ((i, &[middle, end]), (pixels, valid)) in self.runs.iter().enumerate().zip(runs) {
            let x = (i * RUN) as i32 * ONE + between(&self.across, middle);
            let y = y as i32 * ONE + between(&self.down, middle);
            let next = between(&self.error, end);
            judge(valid, error, next, limit);
            error = next;
            let (left, top) = (x >> 8, y >> 8);
            let (right, low) = (x & (ONE - 1), y & (ONE - 1));
            let both = (right * low + ONE / 2) >> 8;
            let weights = [ONE - right - low + both, right - both, low - both, both];
            let weights = weights.map(|weight| weight as u16);
            // A negative number is a large one here.
            let inside = (left as u32 as usize + RUN < width) & (top as u32 as usize + 1 < height);
            match pixels.first_chunk_mut() {
                Some(pixels) if inside => {
                    let start = (top as usize * width + left as usize) * 3;
                    blend(painting, start, weights, pixels);
                }
                _ => blend_at_rim(painting, [x, y], weights, pixels, valid),
            }
        }
    }
}

/// A row between two rows of cells times `scale`, in 1/256.
fn mix(values: &[f32], place: Spot, scale: f32, line: &mut [i32]) {
    // A float of this size counts in ones: adding it rounds, and its bits are the whole number.
    const ROUND: f32 = (3 << 22) as f32;
    let width = line.len();
    let (upper, lower) = values[place.cell * width..][..2 * width].split_at(width);
    let low = place.part as f32 * scale;
    let high = ONE as f32 * scale - low;
    for ((out, upper), lower) in line.iter_mut().zip(upper).zip(lower) {
        let value = high * upper + low * lower + ROUND;
        *out = value.to_bits() as i32 - ROUND.to_bits() as i32;
    }
}

#[inline(always)]
fn between(line: &[i32], spot: Spot) -> i32 {
    let two: &[i32; 2] = line[spot.cell..].first_chunk().expect("two cells");
    two[0] + (((two[1] - two[0]) * spot.part) >> 8)
}

/// Marks the pixels of a run whose error goes from `first` to `last`.
#[inline(always)]
fn judge(valid: &mut [u8], first: i32, last: i32, limit: i32) {
    if first < limit && last < limit {
        valid.fill(255);
    } else if first >= limit && last >= limit {
        valid.fill(0);
    } else {
        for (i, valid) in valid.iter_mut().enumerate() {
            let parts = 2 * i as i32 + 1;
            let error = first + (last - first) * parts / (2 * RUN) as i32;
            *valid = if error < limit { 255 } else { 0 };
        }
    }
}

#[inline(always)]
fn blend(painting: &Frame, start: usize, weights: [u16; 4], pixels: &mut [u8; 3 * RUN]) {
    let row = |start: usize| -> &[u8; 3 * RUN + 3] {
        painting.pixels[start..].first_chunk().expect("inside")
    };
    let (upper, lower) = (row(start), row(start + painting.width * 3));
    let [a, b, c, d] = weights;
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let sum = u16::from(upper[i]) * a
            + u16::from(upper[i + 3]) * b
            + u16::from(lower[i]) * c
            + u16::from(lower[i + 3]) * d;
        *pixel = ((sum + 128) >> 8) as u8;
    }
}

/// The same for runs that are cut or reach outside, where the nearest pixel of the rim stands in.
/// What comes from more than half a pixel outside is not valid.
#[inline(never)]
fn blend_at_rim(
    painting: &Frame,
    [x, y]: [i32; 2],
    weights: [u16; 4],
    pixels: &mut [u8],
    valid: &mut [u8],
) {
    let (last_x, last_y) = (painting.width as i32 - 1, painting.height as i32 - 1);
    let row = |y: i32| y.clamp(0, last_y) as usize * painting.width;
    let (upper, lower) = (row(y >> 8), row((y >> 8) + 1));
    let within = |at: i32, last: i32| -ONE / 2 <= at && at <= last * ONE + ONE / 2;
    let inside = within(y, last_y);
    let [a, b, c, d] = weights;
    for (i, (pixel, valid)) in pixels.chunks_exact_mut(3).zip(valid).enumerate() {
        let x = x + i as i32 * ONE;
        let left = (x >> 8).clamp(0, last_x) as usize;
        let right = ((x >> 8) + 1).clamp(0, last_x) as usize;
        for (channel, value) in pixel.iter_mut().enumerate() {
            let tap = |at: usize| u16::from(painting.pixels[at * 3 + channel]);
            let above = tap(upper + left) * a + tap(upper + right) * b;
            let below = tap(lower + left) * c + tap(lower + right) * d;
            *value = ((above + below + 128) >> 8) as u8;
        }
        if !(inside && within(x, last_x)) {
            *valid = 0;
        }
    }
}
