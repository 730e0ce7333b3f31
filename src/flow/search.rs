//! Dense inverse search on one plane of the pyramid: patches find their way, pixels follow them.

use std::ops::Range;

use rayon::prelude::*;

use super::pyramid::{PATCH, Plane};
use crate::kernels::Level;

/// Rows of pixels that one task gives their motion: some 10 us of work.
const ROWS_TOGETHER: usize = 8;

/// Distance between patches: half of a patch, so that a pixel lies in four of them.
const STRIDE: usize = PATCH / 2;

/// Steps a patch takes at most; few need more, since the coarser plane led them close.
const STEPS: usize = 5;

/// A patch that moves less than this (pixels, squared) has arrived.
const ARRIVED: f32 = 0.1 * 0.1;

/// Pixels of a patch.
const AREA: f32 = (PATCH * PATCH) as f32;

/// Added to the diagonal of the Hessian: the squared gradients that noise alone makes in a patch.
/// Flat patches stay where the coarser plane put them.
const DAMPING: f32 = AREA * 0.5;

/// A patch stays where it was, unless the motion of the coarser plane explains it so much better.
const RELUCTANCE: f32 = 1.25;

/// Part of the patches with detail that must have stayed, where the others are to stay if they may.
const STILL: f32 = 0.2;

/// Squared gradients of a patch that count as detail.
const DETAIL: f32 = 8.0 * DAMPING;

/// Squared differences over a patch that are none: codecs leave as much where nothing happens.
const NONE: f32 = AREA * 0.05;

/// For each pixel where it was before: its displacement in pixels, across and down.
#[derive(Default)]
pub struct Field {
    pub width: usize,
    pub height: usize,
    pub across: Vec<f32>,
    pub down: Vec<f32>,
    /// How far the brightness (0..255) of each pixel is from that of its place before.
    pub error: Vec<f32>,
    weights: Vec<f32>,
    found: Vec<Found>,
}

/// What became of a patch.
#[derive(Clone, Copy, Default)]
struct Found {
    motion: [f32; 2],
    /// Whether it has detail.
    detailed: bool,
    /// How far the brightness of each pixel is from that of its place before, and the mean of that.
    differences: [[f32; PATCH]; PATCH],
    mean: f32,
}

impl Field {
    /// Finds where the pixels of `present` are in `before`, beginning at twice the motion of
    /// `coarser` (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search", algorithm 1).
    /// Patches that have not changed stay, which the paper's would not beside what moves; where the camera stands
    /// still, so do those that may as well. The rows of patches are shared among the threads of the current pool.
    pub fn search(&mut self, present: &Plane, before: &Plane, coarser: Option<&Field>) {
        let is_still = coarser.is_some_and(Self::is_still);
        let (width, height) = (present.width, present.height);
        (self.width, self.height) = (width, height);
        let (columns, rows) = (patches(width), patches(height));
        self.found.resize(columns * rows, Found::default());
        let level = Level::detected();
        let found = self.found.par_chunks_mut(columns).enumerate();
        found.for_each(|(row, found)| {
            level.vectorize(
                #[inline(always)]
                || {
                    let y = origin(row, height);
                    for (found, x) in found.iter_mut().zip(origins(width)) {
                        let start = coarser.map_or([0.0; 2], |coarser| coarser.doubled(x, y));
                        let patch = Patch::new(present, x, y);
                        let stays = patch.stays(before, start, is_still);
                        let motion = patch.descend(before, if stays { [0.0; 2] } else { start });
                        *found = patch.found(before, motion);
                    }
                },
            );
        });
        let values = [
            &mut self.across,
            &mut self.down,
            &mut self.error,
            &mut self.weights,
        ];
        let [across, down, error, weights] = values.map(|values| {
            values.resize(width * height, 0.0);
            values.par_chunks_exact_mut(width)
        });
        let found = &self.found;
        let lines = across.zip(down).zip(error.zip(weights));
        let lines = lines.enumerate().with_min_len(ROWS_TOGETHER);
        lines.for_each(|(y, ((across, down), (error, weights)))| {
            level.vectorize(
                #[inline(always)]
                || {
                    let lines = [across, down, error, weights];
                    let near = near(y, height);
                    let found = &found[near.start * columns..near.end * columns];
                    spread(near, found, y, height, lines);
                },
            );
        });
    }

    /// Whether enough of what has detail stayed where it was: the camera stands still.
    fn is_still(&self) -> bool {
        let (mut all, mut still) = (0, 0);
        for found in self.found.iter().filter(|found| found.detailed) {
            all += 1;
            still += u32::from(square(found.motion) < ARRIVED);
        }
        still as f32 > STILL * all as f32
    }

    /// The motion that the middle of the patch at (x, y) of the next finer plane begins with.
    fn doubled(&self, x: usize, y: usize) -> [f32; 2] {
        // The middle of a patch lies between pixels, that of its half between those of this plane.
        let x = (x / 2 + PATCH / 4).min(self.width - 1);
        let y = (y / 2 + PATCH / 4).min(self.height - 1);
        let (upper, lower) = ((y - 1) * self.width, y * self.width);
        let mean = |values: &[f32]| {
            0.5 * (values[upper + x - 1]
                + values[upper + x]
                + values[lower + x - 1]
                + values[lower + x])
        };
        [mean(&self.across), mean(&self.down)]
    }
}

/// Fills row `y` of the motion and the error of pixels: the means of those of their patches, which were `found` in the
/// rows of patches `near` it, weighted by how well they explain each (equation 3 of the paper; differences are taken
/// from the patch's mean difference here too).
#[inline(always)]
fn spread(
    near: Range<usize>,
    found: &[Found],
    y: usize,
    height: usize,
    [across, down, error, weights]: [&mut [f32]; 4],
) {
    let width = across.len();
    for line in [&mut *across, &mut *down, &mut *error, &mut *weights] {
        line.fill(0.0);
    }
    for (row, found) in near.zip(found.chunks_exact(patches(width))) {
        for (found, x) in found.iter().zip(origins(width)) {
            let line = &found.differences[y - origin(row, height)];
            let lines = [&mut *across, &mut *down, &mut *error, &mut *weights];
            let lines = lines.map(|line| line[x..].first_chunk_mut().expect("inside"));
            // All read before any is written, so that it is seen that they are not the same.
            let mut sums: [[f32; PATCH]; 4] = lines.each_ref().map(|line| **line);
            for i in 0..PATCH {
                let weight = 1.0 / (line[i] - found.mean).abs().max(1.0);
                sums[0][i] += weight * found.motion[0];
                sums[1][i] += weight * found.motion[1];
                sums[2][i] += weight * line[i].abs();
                sums[3][i] += weight;
            }
            for (line, sums) in lines.into_iter().zip(sums) {
                *line = sums;
            }
        }
    }
    let sums = across.iter_mut().zip(down).zip(error).zip(weights);
    for (((across, down), error), weight) in sums {
        let part = 1.0 / *weight;
        *across *= part;
        *down *= part;
        *error *= part;
    }
}

/// Where patches begin along a side of `length`; the last one touches the end.
fn origins(length: usize) -> impl Iterator<Item = usize> {
    (0..patches(length)).map(move |patch| origin(patch, length))
}

/// Patches along a side of `length`.
fn patches(length: usize) -> usize {
    (length - PATCH).div_ceil(STRIDE) + 1
}

/// Where one of them begins.
fn origin(patch: usize, length: usize) -> usize {
    (patch * STRIDE).min(length - PATCH)
}

/// The rows of patches that row `y` of pixels lies in.
fn near(y: usize, length: usize) -> Range<usize> {
    let last = if y + PATCH < length {
        y / STRIDE
    } else {
        patches(length) - 1
    };
    (y + 1).saturating_sub(PATCH).div_ceil(STRIDE)..last + 1
}

/// A patch of the present picture.
struct Patch {
    x: f32,
    y: f32,
    template: [[f32; PATCH]; PATCH],
    /// Gradients without their mean.
    across: [[f32; PATCH]; PATCH],
    down: [[f32; PATCH]; PATCH],
    /// The Hessian.
    aa: f32,
    ad: f32,
    dd: f32,
}

impl Patch {
    /// The patch of `present` at (x, y). Gradients without their mean make the search blind to a change of brightness,
    /// as if both patches had their means taken off.
    #[inline(always)]
    fn new(present: &Plane, x: usize, y: usize) -> Self {
        let mut across = [[0.0; PATCH]; PATCH];
        let mut down = [[0.0; PATCH]; PATCH];
        let mut template = [[0.0; PATCH]; PATCH];
        let (mut sum_across, mut sum_down) = ([0.0; PATCH], [0.0; PATCH]);
        for dy in 0..PATCH {
            let above: &[f32; PATCH + 2] = present.around(x, y + dy);
            let here: &[f32; PATCH + 2] = present.around(x, y + dy + 1);
            let below: &[f32; PATCH + 2] = present.around(x, y + dy + 2);
            for dx in 0..PATCH {
                template[dy][dx] = here[dx + 1];
                across[dy][dx] = 0.5 * (here[dx + 2] - here[dx]);
                down[dy][dx] = 0.5 * (below[dx + 1] - above[dx + 1]);
                sum_across[dx] += across[dy][dx];
                sum_down[dx] += down[dy][dx];
            }
        }
        let (mean_across, mean_down) = (total(sum_across) / AREA, total(sum_down) / AREA);
        let (mut aa, mut ad, mut dd) = ([0.0; PATCH], [0.0; PATCH], [0.0; PATCH]);
        for (across, down) in across.iter_mut().zip(&mut down) {
            for i in 0..PATCH {
                across[i] -= mean_across;
                down[i] -= mean_down;
                aa[i] += across[i] * across[i];
                ad[i] += across[i] * down[i];
                dd[i] += down[i] * down[i];
            }
        }
        Self {
            x: x as f32,
            y: y as f32,
            template,
            across,
            down,
            aa: total(aa),
            ad: total(ad),
            dd: total(dd),
        }
    }

    /// Whether it is where it was, rather than having moved by `start`: it did not change, or, where the camera
    /// `is_still`, `start` explains it hardly better.
    #[inline(always)]
    fn stays(&self, before: &Plane, start: [f32; 2], is_still: bool) -> bool {
        if square(start) < ARRIVED {
            return false; // and begins where it should
        }
        let (squares, stay) = self.errors(before, [0.0; 2]);
        squares < NONE || is_still && stay < RELUCTANCE * self.errors(before, start).1 + DAMPING
    }

    /// The squared differences to what lies `motion` away in `before`, and those without their mean.
    #[inline(always)]
    fn errors(&self, before: &Plane, motion: [f32; 2]) -> (f32, f32) {
        let patch = before.patch(self.x + motion[0], self.y + motion[1]);
        let (mut sums, mut squares) = ([0.0; PATCH], [0.0; PATCH]);
        for (row, template) in patch.iter().zip(&self.template) {
            for i in 0..PATCH {
                let difference = row[i] - template[i];
                sums[i] += difference;
                squares[i] += difference * difference;
            }
        }
        let (sum, squares) = (total(sums), total(squares));
        (squares, squares - sum * sum / AREA)
    }

    /// What lies `motion` away in `before`.
    #[inline(always)]
    fn found(&self, before: &Plane, motion: [f32; 2]) -> Found {
        let mut differences = before.patch(self.x + motion[0], self.y + motion[1]);
        let mut sums = [0.0; PATCH];
        for (row, template) in differences.iter_mut().zip(&self.template) {
            for i in 0..PATCH {
                row[i] -= template[i];
                sums[i] += row[i];
            }
        }
        Found {
            motion,
            detailed: self.aa + self.dd > DETAIL,
            differences,
            mean: total(sums) / AREA,
        }
    }

    /// Moves from `start` to where `before` looks most alike: inverse compositional Gauss-Newton (section 2.1 of the
    /// paper).
    #[inline(always)]
    fn descend(&self, before: &Plane, start: [f32; 2]) -> [f32; 2] {
        let (aa, ad, dd) = (self.aa + DAMPING, self.ad, self.dd + DAMPING);
        let inverse = 1.0 / (aa * dd - ad * ad);
        let mut motion = start;
        let (mut best, mut least) = (start, f32::INFINITY);
        for _ in 0..STEPS {
            let patch = before.patch(self.x + motion[0], self.y + motion[1]);
            let (mut a, mut d) = ([0.0; PATCH], [0.0; PATCH]);
            let (mut sums, mut squares) = ([0.0; PATCH], [0.0; PATCH]);
            let rows = patch.iter().zip(&self.template);
            for ((row, template), (across, down)) in rows.zip(self.across.iter().zip(&self.down)) {
                for i in 0..PATCH {
                    let difference = row[i] - template[i];
                    a[i] += across[i] * difference;
                    d[i] += down[i] * difference;
                    sums[i] += difference;
                    squares[i] += difference * difference;
                }
            }
            let sum = total(sums);
            let error = total(squares) - sum * sum / AREA;
            if error >= least {
                break;
            }
            (best, least) = (motion, error);
            let (a, d) = (total(a), total(d));
            let step = [(dd * a - ad * d) * inverse, (aa * d - ad * a) * inverse];
            motion = [motion[0] - step[0], motion[1] - step[1]];
            let way = [motion[0] - start[0], motion[1] - start[1]];
            if square(way) > AREA {
                return start;
            }
            if square(step) < ARRIVED {
                return motion;
            }
        }
        best
    }
}

#[inline(always)]
fn square(vector: [f32; 2]) -> f32 {
    vector[0] * vector[0] + vector[1] * vector[1]
}

/// The sum of the lanes.
#[inline(always)]
fn total(lanes: [f32; PATCH]) -> f32 {
    // By way of memory: else lanes are added up by four from the start, for these sums.
    let [a, b, c, d, e, f, g, h] = std::hint::black_box(lanes);
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
