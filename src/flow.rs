//! Where things were in the frame before, and the last painting carried along with them.
//!
//! The motion is found by dense inverse search (Kroeger et al. 2016, "Fast Optical Flow using
//! Dense Inverse Search") on the brightness of frames that are shrunk to some 20 000 cells, without
//! the paper's variational refinement. No memory is taken after the first two frames.

mod carry;
mod pyramid;
mod search;

pub use carry::{Carrier, MOST_BLUR, ROWS, RUN};
use pyramid::{Light, PATCH, Pyramid};
use search::Field;

use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernels::Level;

/// Cells that a frame is shrunk to, about: 160 x 120 is searched in well under a millisecond.
const CELLS: usize = 19_200;

/// Motion is trusted where the brightness (of 255) of a cell differs by less than this from that of
/// its place before. Averages over cells differ less than pixels: this leaves as much of a picture
/// as 12 does for the colours of pixels at a shorter side of 240.
pub const LIMIT: f32 = 8.0;

/// Between scenes the mean error of a cell is more than this, and more than 0.4 of what it would be
/// without motion. Among frames of nine clips all of 612 pairs from different clips are such cuts;
/// of 1129 pairs that follow each other five are, where the clips really have cuts.
const CUT: f32 = 11.0;

/// Deviation of the brightness of pictures, from which on errors count as they are. In darker and in foggy pictures
/// they count for more: else one dark scene shines through the next, and all of it through a fade to black.
const CONTRAST: f32 = 30.0;

/// Least deviation that counts: in a picture without any, noise is all there is.
const LEAST_CONTRAST: f32 = 1.0;

/// Part that may be left of what changed from frame to frame where all of it counts as another light.
const BY_LIGHT: f32 = 0.7;

/// Rows of cells whose colours one task compares: some 20 us of work.
const ROWS_TOGETHER: usize = 8;

/// Part of a difference of colours that counts as one of brightness: what covers another thing of the same
/// brightness has no place before.
const COLORS: f32 = 0.25;

/// The squares of pixels, the cells, whose motion is known in frames of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    /// Pixels along a side of a cell.
    pub side: usize,
    /// Cells along a row.
    pub width: usize,
    /// Rows of cells. A frame of fewer pixels than a patch has counts as one that is repeated.
    pub height: usize,
}

impl Cells {
    /// The cells of frames of `width` x `height` pixels, neither of them 0.
    pub fn of(width: usize, height: usize) -> Self {
        let area = width as f32 * height as f32;
        let side = (area / CELLS as f32).sqrt().round() as usize;
        let side = side.clamp(1, width.min(height).min(256));
        Self {
            side,
            width: (width / side).max(PATCH),
            height: (height / side).max(PATCH),
        }
    }
}

/// Where each cell of a frame was in the frame before.
#[derive(Clone, Debug, Default)]
pub struct Motion {
    /// The cells.
    pub cells: Cells,
    /// How many cells to the right it was, for each.
    pub across: Vec<f32>,
    /// How many cells further down.
    pub down: Vec<f32>,
    /// How far its brightness (0..255) and colours are from those of its place before, smoothed; more where pictures
    /// have little contrast.
    pub error: Vec<f32>,
}

/// Tracks the motion of a sequence of frames.
#[derive(Default)]
pub struct Tracker {
    present: Pyramid,
    before: Pyramid,
    /// Width and height of the frame taken last, (0, 0) for none.
    size: (usize, usize),
    /// Motion from the finest level to the coarsest.
    fields: Vec<Field>,
    /// The row of errors above the one being smoothed.
    line: Vec<f32>,
    /// Of the frame taken last.
    light: Light,
}

impl Tracker {
    /// Takes the next frame and writes into `motion` where its cells were in the frame before. Returns
    /// false, and no motion, when there is no usable frame before: the first one, another size, a
    /// scene cut.
    pub fn advance(&mut self, frame: &Frame, motion: &mut Motion) -> bool {
        let size = (frame.width, frame.height);
        let seen = self.size == size;
        self.size = size;
        if size.0 == 0 || size.1 == 0 {
            return false;
        }
        motion.cells = Cells::of(size.0, size.1);
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.build(frame, motion.cells.side);
        let before = std::mem::replace(&mut self.light, self.present.levels[0].light());
        if !seen {
            return false;
        }
        self.follow_light(before);
        let levels = self.present.levels.len();
        self.fields.resize_with(levels, Field::default);
        for level in (0..levels).rev() {
            let (fine, coarse) = self.fields.split_at_mut(level + 1);
            fine[level].search(
                &self.present.levels[level],
                &self.before.levels[level],
                coarse.first(),
            );
        }
        let contrast = self.light.contrast.max(before.contrast);
        let scale = (CONTRAST / contrast.max(LEAST_CONTRAST)).max(1.0);
        if self.is_cut(scale) {
            return false;
        }
        self.add_colors();
        let field = &mut self.fields[0];
        field.error.iter_mut().for_each(|error| *error *= scale);
        smooth(&mut field.error, field.width, &mut self.line);
        // The vectors change places, so that none is copied and none is new.
        std::mem::swap(&mut motion.across, &mut field.across);
        std::mem::swap(&mut motion.down, &mut field.down);
        std::mem::swap(&mut motion.error, &mut field.error);
        true
    }

    /// How far the brightness of the frame taken last deviates from its mean, of 255.
    pub fn contrast(&self) -> f32 {
        self.light.contrast
    }

    /// Shows the frame before in the light of the present one where that explains what changed: the film fades, or
    /// the camera gets used to the light. Paintings do not change with it.
    fn follow_light(&mut self, before: Light) {
        let light = self.light;
        if before.contrast < LEAST_CONTRAST || light.contrast < LEAST_CONTRAST {
            return;
        }
        let planes = (&self.present.levels[0], &self.before.levels[0]);
        let rows = (0..planes.0.height).map(|y| (planes.0.row(y), planes.1.row(y)));
        let (mut change, mut rest) = (0.0, 0.0);
        for (here, there) in rows {
            change += difference(here, there, |there| there);
            rest += difference(here, there, |there| light.of(before, there));
        }
        if rest < BY_LIGHT * change {
            self.before.relight(before, light);
        }
    }

    /// Adds the differences of colours to the errors.
    fn add_colors(&mut self) {
        let (present, before) = (&self.present.colors, &self.before.colors);
        let field = &mut self.fields[0];
        let width = field.width;
        let rows = field.error.par_chunks_exact_mut(width);
        let rows = rows.zip(field.across.par_chunks_exact(width));
        let rows = rows.zip(field.down.par_chunks_exact(width)).enumerate();
        let level = Level::detected();
        let rows = rows.take(present.height()).with_min_len(ROWS_TOGETHER);
        rows.for_each(|(y, ((error, across), down))| {
            level.vectorize(
                #[inline(always)]
                || {
                    let ways = across.iter().zip(down).zip(present.row(y));
                    for (x, (error, ((across, down), here))) in
                        error.iter_mut().zip(ways).enumerate()
                    {
                        let there = before.at(x as f32 + across, y as f32 + down);
                        let apart = (here[0] - there[0]).abs() + (here[1] - there[1]).abs();
                        *error += COLORS * apart;
                    }
                },
            );
        });
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.size = (0, 0);
    }

    /// Whether the frames show different scenes: what was found explains little of what changed.
    fn is_cut(&self, scale: f32) -> bool {
        let (present, before) = (&self.present.levels[0], &self.before.levels[0]);
        let field = &self.fields[0];
        let rows = (0..field.height).map(|y| (present.row(y), before.row(y)));
        let change: f32 = rows.map(|(a, b)| difference(a, b, |b| b)).sum();
        let error: f32 = field.error.iter().sum();
        scale * error > CUT * field.error.len() as f32 && error > 0.4 * change
    }
}

/// The sum of absolute differences of `a` to what `b` is `seen` as, in eight lanes: one after the other takes four
/// times as long.
#[inline(always)]
fn difference(a: &[f32], b: &[f32], seen: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (a - seen(*b)).abs();
        }
    }
    lanes.iter().sum()
}

/// Weights 1, 2, 1 in both directions; the rim is repeated.
fn smooth(values: &mut [f32], width: usize, above: &mut Vec<f32>) {
    let height = values.len() / width;
    for row in values.chunks_exact_mut(width) {
        let mut left = row[0];
        for x in 0..width {
            let here = row[x];
            let right = row[(x + 1).min(width - 1)];
            row[x] = 0.25 * (left + right) + 0.5 * here;
            left = here;
        }
    }
    above.clear();
    above.extend_from_slice(&values[..width]);
    for y in 0..height {
        let (rows, below) = values[y * width..].split_at_mut(width);
        let below = below.get(..width);
        for x in 0..width {
            let here = rows[x];
            let next = below.map_or(here, |below| below[x]);
            rows[x] = 0.25 * (above[x] + next) + 0.5 * here;
            above[x] = here;
        }
    }
}

#[cfg(test)]
mod tests;
