//! Moves a picture along a field of displacements, fast enough for every frame.
//!
//! A run of 8 pixels in two rows moves as one, by what the field says at its middle: its four
//! neighbours are then contiguous and its weights constant, so that the compiler makes it SIMD.
//! Places are whole numbers of 1/256 pixel, since conversions would cost as much as the pixels.

use rayon::prelude::*;

use super::{LIMIT, Motion};
use crate::frame::{Carried, Frame};

/// Pixels in a row that move as one.
pub const RUN: usize = 8;

/// Rows that move as one: what a run costs besides its pixels is shared by them.
pub const ROWS: usize = 2;

/// Rows that one task moves: some 50 us of work at 640 pixels a row.
const BAND: usize = 32;

/// One pixel of a displacement, and the sum of weights.
const ONE: i32 = 256;

/// The [blur](Carrier::blur) of what moved by half a pixel both ways.
pub const MOST_BLUR: u8 = 64;

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

/// Where a run comes from.
struct Move {
    /// The place of its first pixel, in 1/256.
    x: i32,
    y: i32,
    /// The pixel at its upper left, or `OUTSIDE`.
    start: usize,
    /// Of the pixels at the upper left, upper right, lower left and lower right; sums to `ONE`.
    weights: [u16; 4],
}

impl Move {
    /// What the mean of four neighbours with these weights takes from the variance of independent values.
    fn blur(&self) -> u8 {
        const MOST: i32 = ONE * ONE * 3 / 4;
        let square = |weight: u16| i32::from(weight) * i32::from(weight);
        let left: i32 = self.weights.iter().copied().map(square).sum();
        ((ONE * ONE - left) / (MOST / i32::from(MOST_BLUR))) as u8
    }
}

/// The start of a run that is cut by the rim or reaches beyond it.
const OUTSIDE: usize = usize::MAX;

/// Carries pictures; holds the memory that it needs.
#[derive(Default)]
pub struct Carrier {
    /// The middle of each run, and its end.
    runs: Vec<[Spot; 2]>,
    bands: Vec<Band>,
    /// One for each run, of `ROWS` rows each.
    blur: Vec<u8>,
}

/// What a task remembers of the rows it moves.
#[derive(Default)]
struct Band {
    /// Displacement and error between two rows of cells, in 1/256.
    across: Vec<i32>,
    down: Vec<i32>,
    error: Vec<i32>,
    moves: Vec<Move>,
}

impl Carrier {
    /// Fills `carried` with `painting`, that of the frame before, moved along `motion`, which is that of
    /// frames of its size. Valid is what comes from inside the picture with an error of less than
    /// [`LIMIT`]. The work is shared among the threads of the current pool.
    pub fn run(&mut self, painting: &Frame, motion: &Motion, carried: &mut Carried) {
        let (width, height) = (painting.width, painting.height);
        let cells = motion.cells;
        (carried.width, carried.height) = (width, height);
        carried.pixels.resize(width * height * 3, 0);
        carried.valid.resize(width * height, 0);
        let starts = (0..width).step_by(RUN);
        self.runs.clear();
        self.runs.extend(
            starts.map(|x| [x + RUN / 2, x + RUN].map(|x| Spot::new(x, cells.side, cells.width))),
        );
        let bands = height.div_ceil(BAND);
        self.bands.resize_with(bands, Band::default);
        self.blur.resize(height.div_ceil(ROWS) * self.runs.len(), 0);
        let limit = (LIMIT * ONE as f32) as i32;
        let pixels = carried.pixels.par_chunks_mut(BAND * 3 * width);
        let valid = carried.valid.par_chunks_mut(BAND * width);
        let blur = self.blur.par_chunks_mut(BAND / ROWS * self.runs.len());
        let runs = &self.runs;
        let bands = self.bands.par_iter_mut().enumerate();
        bands
            .zip(pixels.zip(valid).zip(blur))
            .for_each(|((i, band), ((pixels, valid), blur))| {
                for line in [&mut band.across, &mut band.down, &mut band.error] {
                    line.resize(cells.width, 0);
                }
                let pixels = pixels.chunks_mut(ROWS * 3 * width);
                let valid = valid.chunks_mut(ROWS * width);
                let rows = pixels.zip(valid).zip(blur.chunks_mut(runs.len()));
                for (y, (rows, blur)) in (i * BAND..).step_by(ROWS).zip(rows) {
                    let place = Spot::new(y + ROWS / 2, cells.side, cells.height);
                    let side = cells.side as f32;
                    mix(&motion.across, place, side, &mut band.across);
                    mix(&motion.down, place, side, &mut band.down);
                    mix(&motion.error, place, 1.0, &mut band.error);
                    band.carry(painting, runs, y, limit, rows);
                    let steps = blur.iter_mut().zip(&band.moves);
                    steps.for_each(|(blur, step)| *blur = step.blur());
                }
            });
    }

    /// How much of its detail the picture carried last has lost in row `y`, for each run of [`RUN`] pixels:
    /// from 0, where it moved by whole pixels, to [`MOST_BLUR`], where every pixel is the mean of four.
    pub fn blur(&self, y: usize) -> &[u8] {
        &self.blur[y / ROWS * self.runs.len()..][..self.runs.len()]
    }
}

impl Band {
    /// Moves `ROWS` rows from `y` on: their pixels, and which of these are valid.
    fn carry(
        &mut self,
        painting: &Frame,
        runs: &[[Spot; 2]],
        y: usize,
        limit: i32,
        (pixels, valid): (&mut [u8], &mut [u8]),
    ) {
        let width = painting.width;
        self.aim(painting, runs, y);
        self.judge(runs, limit, &mut valid[..width]);
        let (first, others) = valid.split_at_mut(width);
        others
            .chunks_exact_mut(width)
            .for_each(|row| row.copy_from_slice(first));
        for (row, pixels) in pixels.chunks_exact_mut(3 * width).enumerate() {
            self.blend(painting, row, pixels);
        }
        self.blend_rim(painting, pixels, valid);
    }

    /// Finds where the runs of `ROWS` rows from `y` on come from.
    fn aim(&mut self, painting: &Frame, runs: &[[Spot; 2]], y: usize) {
        let (width, height) = (painting.width, painting.height);
        self.moves.clear();
        let runs = runs.iter().enumerate();
        self.moves.extend(runs.map(|(i, &[middle, _])| {
            let x = (i * RUN) as i32 * ONE + between(&self.across, middle);
            let y = y as i32 * ONE + between(&self.down, middle);
            let (right, low) = (x & (ONE - 1), y & (ONE - 1));
            let both = (right * low + ONE / 2) >> 8;
            let weights = [ONE - right - low + both, right - both, low - both, both];
            // A negative number is a large one here.
            let (left, top) = ((x >> 8) as u32 as usize, (y >> 8) as u32 as usize);
            let inside = (left + RUN < width) & (top + ROWS < height) & (i * RUN + RUN <= width);
            Move {
                x,
                y,
                start: if inside { top * width + left } else { OUTSIDE },
                weights: weights.map(|weight| weight as u16),
            }
        }));
    }

    /// Marks the pixels of a row; the error changes evenly from one end of a run to the other.
    fn judge(&self, runs: &[[Spot; 2]], limit: i32, valid: &mut [u8]) {
        let mut first = self.error[0];
        for (&[_, end], valid) in runs.iter().zip(valid.chunks_mut(RUN)) {
            let last = between(&self.error, end);
            for (i, valid) in valid.iter_mut().enumerate() {
                let parts = 2 * i as i32 + 1;
                let error = first + (((last - first) * parts) >> (2 * RUN).ilog2());
                *valid = if error < limit { 255 } else { 0 };
            }
            first = last;
        }
    }

    /// Fills the runs of a row, the `row`th that moves like this, that come from inside.
    fn blend(&self, painting: &Frame, row: usize, pixels: &mut [u8]) {
        let line = |start: usize| -> &[u8; 3 * RUN + 3] {
            painting.pixels[3 * start..].first_chunk().expect("inside")
        };
        let (runs, _) = pixels.as_chunks_mut::<{ 3 * RUN }>();
        for (pixels, step) in runs.iter_mut().zip(&self.moves) {
            if step.start == OUTSIDE {
                continue;
            }
            let upper = line(step.start + row * painting.width);
            let lower = line(step.start + (row + 1) * painting.width);
            let [a, b, c, d] = step.weights;
            for (i, pixel) in pixels.iter_mut().enumerate() {
                let sum = u16::from(upper[i]) * a
                    + u16::from(upper[i + 3]) * b
                    + u16::from(lower[i]) * c
                    + u16::from(lower[i + 3]) * d;
                *pixel = ((sum + 128) >> 8) as u8;
            }
        }
    }

    /// Fills the other runs, those that are cut or reach outside.
    fn blend_rim(&self, painting: &Frame, pixels: &mut [u8], valid: &mut [u8]) {
        let width = painting.width;
        for (run, step) in self.moves.iter().enumerate() {
            if step.start != OUTSIDE {
                continue;
            }
            let (first, last) = (run * RUN, (run * RUN + RUN).min(width));
            let rows = pixels
                .chunks_exact_mut(3 * width)
                .zip(valid.chunks_exact_mut(width));
            for (row, (pixels, valid)) in rows.enumerate() {
                let (pixels, valid) = (&mut pixels[3 * first..3 * last], &mut valid[first..last]);
                blend_outside(painting, step, row as i32, pixels, valid);
            }
        }
    }
}

/// A row between two rows of cells times `scale`, in 1/256. Values end at 8192, where sums and
/// products still fit.
fn mix(values: &[f32], place: Spot, scale: f32, line: &mut [i32]) {
    // A float of this size counts in ones: adding it rounds, and its bits are the whole number.
    const ROUND: f32 = (3 << 22) as f32;
    const FARTHEST: f32 = (8192 * ONE) as f32;
    let width = line.len();
    let (upper, lower) = values[place.cell * width..][..2 * width].split_at(width);
    let low = place.part as f32 * scale;
    let high = ONE as f32 * scale - low;
    for ((out, upper), lower) in line.iter_mut().zip(upper).zip(lower) {
        let value = (high * upper + low * lower).clamp(-FARTHEST, FARTHEST) + ROUND;
        *out = value.to_bits() as i32 - ROUND.to_bits() as i32;
    }
}

#[inline(always)]
fn between(line: &[i32], spot: Spot) -> i32 {
    let two: &[i32; 2] = line[spot.cell..].first_chunk().expect("two cells");
    two[0] + (((two[1] - two[0]) * spot.part) >> 8)
}

/// One row of a run where the nearest pixel of the rim stands in for those outside. What comes from
/// more than half a pixel outside is not valid.
fn blend_outside(painting: &Frame, step: &Move, row: i32, pixels: &mut [u8], valid: &mut [u8]) {
    let (x, y) = (step.x, step.y + row * ONE);
    let (last_x, last_y) = (painting.width as i32 - 1, painting.height as i32 - 1);
    let row = |y: i32| y.clamp(0, last_y) as usize * painting.width;
    let (upper, lower) = (row(y >> 8), row((y >> 8) + 1));
    let within = |at: i32, last: i32| -ONE / 2 <= at && at <= last * ONE + ONE / 2;
    let inside = within(y, last_y);
    let [a, b, c, d] = step.weights;
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
