//! A frame's brightness at halving sizes, each plane with a border of repeated pixels, and its colours.
//!
//! The border lets a patch leave the picture without a test at every pixel.

use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernels::Level;

/// Side of a patch in pixels; planes are at least as large.
pub const PATCH: usize = 8;

/// Pixels repeated around a plane: a patch and its gradients may lie outside as a whole.
const BORDER: usize = PATCH + 2;

/// Sums of columns that are kept together, on the stack: those of rows of up to 4096 pixels.
const SUMS: usize = 3 * 4096;

/// Rows that one task shrinks: some 20 us of work at 1280x720.
const ROWS_TOGETHER: usize = 8;

/// A pyramid ends before its shorter side would be less than this.
const SMALLEST: usize = 14;

/// Brightness 0..255, row by row.
#[derive(Default)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    values: Vec<f32>,
}

impl Plane {
    fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        let area = (width + 2 * BORDER) * (height + 2 * BORDER);
        self.values.resize(area, 0.0);
    }

    fn stride(&self) -> usize {
        self.width + 2 * BORDER
    }

    /// The pixels of row `y`.
    pub fn row(&self, y: usize) -> &[f32] {
        &self.values[(y + BORDER) * self.stride() + BORDER..][..self.width]
    }

    fn row_mut(&mut self, y: usize) -> &mut [f32] {
        let start = (y + BORDER) * self.stride() + BORDER;
        &mut self.values[start..start + self.width]
    }

    /// The `N` pixels from column `x - 1` of row `y - 1` on: what gradients at (x, y) need.
    #[inline(always)]
    pub fn around<const N: usize>(&self, x: usize, y: usize) -> &[f32; N] {
        let start = (y + BORDER - 1) * self.stride() + x + BORDER - 1;
        self.values[start..].first_chunk().expect("in the border")
    }

    /// The patch whose upper left pixel is at (x, y), interpolated bilinearly. A place farther
    /// outside than the border counts as one at its rim.
    #[inline(always)]
    pub fn patch(&self, x: f32, y: f32) -> [[f32; PATCH]; PATCH] {
        let (left, right) = split(x, self.width);
        let (top, low) = split(y, self.height);
        let stride = self.stride();
        let start = top * stride + left;
        let mut patch = [[0.0; PATCH]; PATCH];
        let mut upper = interpolate(&self.values[start..], right);
        for (y, row) in patch.iter_mut().enumerate() {
            let lower = interpolate(&self.values[start + (y + 1) * stride..], right);
            for x in 0..PATCH {
                row[x] = upper[x] + low * (lower[x] - upper[x]);
            }
            upper = lower;
        }
        patch
    }

    /// Repeats the pixels at the rim; columns from `width` and rows from `height` on count as border.
    fn repeat_rim(&mut self, width: usize, height: usize) {
        let stride = self.stride();
        for y in BORDER..BORDER + height {
            let row = &mut self.values[y * stride..][..stride];
            let (first, last) = (row[BORDER], row[BORDER + width - 1]);
            row[..BORDER].fill(first);
            row[BORDER + width..].fill(last);
        }
        let (above, rest) = self.values.split_at_mut(BORDER * stride);
        let (inside, below) = rest.split_at_mut(height * stride);
        for row in above.chunks_exact_mut(stride) {
            row.copy_from_slice(&inside[..stride]);
        }
        for row in below.chunks_exact_mut(stride) {
            row.copy_from_slice(&inside[(height - 1) * stride..]);
        }
    }

    /// The brightness of `frame`, averaged over squares of side `factor`, and the `colors` of these; what is
    /// left over at the right and at the bottom is not seen. Shared among the threads of the current pool.
    fn shrink(&mut self, frame: &Frame, factor: usize, colors: &mut Colors) {
        let (width, height) = (frame.width / factor, frame.height / factor);
        self.resize(width.max(PATCH), height.max(PATCH));
        colors.resize(width, height);
        let (line, stride) = (frame.width * 3, self.stride());
        let rows = self.values[BORDER * stride..].par_chunks_mut(stride);
        let rows = rows.zip(colors.values.par_chunks_exact_mut(width + 1));
        let squares = frame.pixels.par_chunks_exact(line * factor);
        let level = Level::detected();
        rows.zip(squares).with_min_len(ROWS_TOGETHER).for_each_init(
            || [0; SUMS],
            |sums, ((row, colors), pixels)| {
                let means = &mut row[BORDER..][..width];
                level.vectorize(
                    #[inline(always)]
                    || shrink_row(pixels, line, factor, sums, means, colors),
                );
            },
        );
        self.repeat_rim(width, height);
    }

    /// The mean brightness, and how far pixels deviate from it.
    pub fn light(&self) -> Light {
        let (mut sum, mut squares) = (0.0, 0.0);
        for y in 0..self.height {
            // In lanes, since one after the other takes longer, and by row, since what is left of sums of `f32` over a
            // bright picture would be its contrast.
            let mut lanes = [[0.0f32; 8]; 2];
            for values in self.row(y).chunks(8) {
                for (i, value) in values.iter().enumerate() {
                    lanes[0][i] += value;
                    lanes[1][i] += value * value;
                }
            }
            let [row, row_squares] = lanes.map(|lanes| f64::from(lanes.iter().sum::<f32>()));
            (sum, squares) = (sum + row, squares + row_squares);
        }
        let count = (self.width * self.height) as f64;
        let mean = sum / count;
        Light {
            mean: mean as f32,
            contrast: (squares / count - mean * mean).max(0.0).sqrt() as f32,
        }
    }

    /// The half of `fine`.
    fn halve(&mut self, fine: &Self) {
        let (width, height) = (fine.width / 2, fine.height / 2);
        self.resize(width, height);
        for y in 0..height {
            let upper = fine.row(2 * y).chunks_exact(2);
            let pairs = upper.zip(fine.row(2 * y + 1).chunks_exact(2));
            for (out, (a, b)) in self.row_mut(y).iter_mut().zip(pairs) {
                *out = 0.25 * (a[0] + a[1] + b[0] + b[1]);
            }
        }
        self.repeat_rim(width, height);
    }
}

/// What pixels differ in besides their brightness: red less blue, and green less the mean of both.
#[derive(Default)]
pub struct Colors {
    width: usize,
    height: usize,
    /// Rows of `width + 1`, one more than `height`: what is behind the pixels is read, and counts for nothing.
    values: Vec<[f32; 2]>,
}

impl Colors {
    fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.values.clear();
        self.values.resize((width + 1) * (height + 1), [0.0; 2]);
    }

    /// Those of row `y`.
    pub fn row(&self, y: usize) -> &[[f32; 2]] {
        &self.values[y * (self.width + 1)..][..self.width]
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Those at a place, interpolated bilinearly; a place outside counts as the nearest at the rim.
    #[inline(always)]
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let inside = |at: f32, length: usize| {
            let at = at.clamp(0.0, (length - 1) as f32);
            // By way of i32, as in `split`.
            let first = at as i32;
            (first as usize, at - first as f32)
        };
        let (left, part) = inside(x, self.width);
        let (top, low) = inside(y, self.height);
        let stride = self.width + 1;
        let start = top * stride + left;
        let [above, below] = [start, start + stride].map(|start| {
            let two: &[[f32; 2]; 2] = self.values[start..].first_chunk().expect("inside");
            [0, 1].map(|i| two[0][i] + (two[1][i] - two[0][i]) * part)
        });
        [0, 1].map(|i| above[i] + (below[i] - above[i]) * low)
    }
}

/// The means of the squares of side `factor` in as many rows of `line` bytes, and their colours; `sums` is memory.
#[inline(always)]
fn shrink_row(
    pixels: &[u8],
    line: usize,
    factor: usize,
    sums: &mut [u16; SUMS],
    means: &mut [f32],
    colors: &mut [[f32; 2]],
) {
    let scale = 1.0 / (4 * factor * factor) as f32;
    let together = SUMS / (3 * factor);
    let parts = means.chunks_mut(together).zip(colors.chunks_mut(together));
    for (part, (means, colors)) in parts.enumerate() {
        let sums = &mut sums[..means.len() * 3 * factor];
        sums.fill(0);
        for row in pixels.chunks_exact(line) {
            for (sum, &value) in sums.iter_mut().zip(&row[part * together * 3 * factor..]) {
                *sum = sum.wrapping_add(u16::from(value));
            }
        }
        let squares = sums.chunks_exact(3 * factor);
        for ((mean, colors), square) in means.iter_mut().zip(colors).zip(squares) {
            let (mut red, mut green, mut blue) = (0, 0, 0);
            for rgb in square.chunks_exact(3) {
                red += i32::from(rgb[0]);
                green += i32::from(rgb[1]);
                blue += i32::from(rgb[2]);
            }
            *mean = (red + 2 * green + blue) as f32 * scale;
            *colors =
                [4 * (red - blue), 4 * green - 2 * (red + blue)].map(|sum| sum as f32 * scale);
        }
    }
}

/// The row of a patch that begins with `values`, moved right by a part of a pixel.
#[inline(always)]
fn interpolate(values: &[f32], right: f32) -> [f32; PATCH] {
    let line: &[f32; PATCH + 1] = values.first_chunk().expect("inside");
    let mut row = [0.0; PATCH];
    for x in 0..PATCH {
        row[x] = line[x] + right * (line[x + 1] - line[x]);
    }
    row
}

/// A coordinate of a plane of `length` as whole pixels of its memory and the part to the next one.
#[inline(always)]
fn split(at: f32, length: usize) -> (usize, f32) {
    let at = (at + BORDER as f32).clamp(0.0, (length + 2 * BORDER - PATCH - 1) as f32);
    // By way of i32, which SSE2 converts in one instruction.
    let whole = at as i32;
    (whole as usize, at - whole as f32)
}

/// Brightness of a picture as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Light {
    pub mean: f32,
    pub contrast: f32,
}

impl Light {
    /// What `value` would be in this light, seen in that of `other`.
    #[inline(always)]
    pub fn of(self, other: Self, value: f32) -> f32 {
        self.mean + (value - other.mean) * (self.contrast / other.contrast)
    }
}

/// Planes from the finest to the coarsest.
#[derive(Default)]
pub struct Pyramid {
    pub levels: Vec<Plane>,
    /// Of the finest level.
    pub colors: Colors,
}

impl Pyramid {
    /// Takes on `frame` shrunk by `factor`, which is at most 256 and at most either side.
    pub fn build(&mut self, frame: &Frame, factor: usize) {
        let (width, height) = (frame.width / factor, frame.height / factor);
        let halvings = (width.min(height) / SMALLEST).checked_ilog2().unwrap_or(0);
        self.levels
            .resize_with(halvings as usize + 1, Plane::default);
        self.levels[0].shrink(frame, factor, &mut self.colors);
        for level in 1..self.levels.len() {
            let (fine, coarse) = self.levels.split_at_mut(level);
            coarse[0].halve(&fine[level - 1]);
        }
    }

    /// Changes everything from what it is in the light `before` to what it is in the light `present`.
    pub fn relight(&mut self, before: Light, present: Light) {
        for level in &mut self.levels {
            for value in &mut level.values {
                *value = present.of(before, *value);
            }
        }
        for value in self.colors.values.as_flattened_mut() {
            *value *= present.contrast / before.contrast;
        }
    }
}
