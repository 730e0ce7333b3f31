//! Where things were in the frame before, and the last painting carried along with them.
//!
//! The motion is found by dense inverse search (Kroeger et al. 2016, "Fast Optical Flow using
//! Dense Inverse Search") on the brightness of frames that are shrunk to some 20 000 cells, without
//! the paper's variational refinement. No memory is taken after the first two frames.

mod carry;
mod pyramid;
mod search;

use carry::Carrier;
use pyramid::Pyramid;
use search::Field;

use crate::frame::{Carried, Frame};

/// Cells that a frame is shrunk to, about: 160 x 120 is searched in well under a millisecond.
const CELLS: usize = 19_200;

/// Motion is trusted where the brightness (of 255) of a cell differs by less than this from that of
/// its place before. Averages over cells differ less than pixels: this leaves as much of a picture
/// as 12 does for the colours of pixels at a shorter side of 240.
const LIMIT: f32 = 8.0;

/// Between scenes the mean error of a cell is more than this, and more than 0.4 of what it would be
/// without motion. Among frames of nine clips all of 612 pairs from different clips are such cuts;
/// of 1129 pairs that follow each other five are, where the clips really have cuts.
const CUT: f32 = 11.0;

/// Tracks the motion of a sequence of frames.
#[derive(Default)]
pub struct Tracker {
    present: Pyramid,
    before: Pyramid,
    /// Width and height of the frame taken last, (0, 0) for none.
    size: (usize, usize),
    /// Pixels along a side of a cell.
    factor: usize,
    /// Motion from the finest level to the coarsest.
    fields: Vec<Field>,
    /// Whether `fields` hold the motion to the frame taken last.
    tracked: bool,
    /// The row of errors above the one being smoothed.
    line: Vec<f32>,
    carrier: Carrier,
}

impl Tracker {
    /// Takes the next frame and finds where each of its pixels was in the frame before. Returns
    /// false when there is no usable frame before: the first one, another size, a scene cut.
    pub fn advance(&mut self, frame: &Frame) -> bool {
        let size = (frame.width, frame.height);
        let seen = self.size == size;
        self.size = size;
        self.tracked = false;
        if size.0 == 0 || size.1 == 0 {
            return false;
        }
        let area = size.0 as f32 * size.1 as f32;
        let factor = (area / CELLS as f32).sqrt().round() as usize;
        self.factor = factor.clamp(1, size.0.min(size.1).min(256));
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.build(frame, self.factor);
        if !seen {
            return false;
        }
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
        self.tracked = !self.is_cut();
        let field = &mut self.fields[0];
        smooth(&mut field.error, field.width, &mut self.line);
        self.tracked
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.size = (0, 0);
        self.tracked = false;
    }

    /// Carries `painting`, that of the frame before, along the motion. Where there is none
    /// (`advance` returned false, or the painting has another size) nothing is valid.
    pub fn carry(&mut self, painting: &Frame, carried: &mut Carried) {
        let (width, height) = (painting.width, painting.height);
        (carried.width, carried.height) = (width, height);
        carried.pixels.resize(width * height * 3, 0);
        carried.valid.resize(width * height, 0);
        if !self.tracked || self.size != (width, height) {
            carried.pixels.copy_from_slice(&painting.pixels);
            carried.valid.fill(0);
            return;
        }
        self.carrier
            .run(painting, &self.fields[0], self.factor, LIMIT, carried);
    }

    /// Whether the frames show different scenes: what was found explains little of what changed.
    fn is_cut(&self) -> bool {
        let (present, before) = (&self.present.levels[0], &self.before.levels[0]);
        let field = &self.fields[0];
        let rows = (0..field.height).map(|y| (present.row(y), before.row(y)));
        let change: f32 = rows.map(|(a, b)| difference(a, b)).sum();
        let error: f32 = field.error.iter().sum();
        error > CUT * field.error.len() as f32 && error > 0.4 * change
    }
}

/// The sum of absolute differences, in eight lanes: one after the other takes four times as long.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (a - b).abs();
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
