//! Tiles of pictures to transformed lanes and back: the two outer steps of Winograd's convolution.
//!
//! Tiles are numbered row by row through all pictures. Padding is by zeros, which are never stored.

use std::ops::Range;

use super::direct::Epilogue;
use super::micro::{Kernel, Vector};
use super::share::{Line, Shared};
use super::transforms::{self, OUTPUTS, POINTS};

/// Most lanes of a panel, and of a vector.
const WIDTH: usize = 48;
const LANES: usize = 16;

/// Values of a line of tiles before the transform, with room for whole vectors.
const LINE: usize = OUTPUTS * (WIDTH + LANES);

/// Values of a line outside the picture.
static ZEROS: [f32; LINE] = [0.0; LINE];

/// Sizes of a picture, of what becomes of it, and its tiles.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub height: usize,
    pub width: usize,
    pub pad: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub tile_rows: usize,
    pub tile_columns: usize,
}

/// Neighbouring tiles of one row of a picture, `at` lanes into a panel.
#[derive(Clone, Copy)]
struct Run {
    at: usize,
    count: usize,
    picture: usize,
    row: usize,
    column: usize,
}

impl Grid {
    /// The grid of a 3x3 convolution with `pad` zeros around the picture, at most 2.
    pub fn new(height: usize, width: usize, pad: usize) -> Self {
        assert!(pad <= 2 && height.min(width) + 2 * pad >= 3, "sizes");
        let (out_height, out_width) = (height + 2 * pad - 2, width + 2 * pad - 2);
        Self {
            height,
            width,
            pad,
            out_height,
            out_width,
            tile_rows: out_height.div_ceil(OUTPUTS),
            tile_columns: out_width.div_ceil(OUTPUTS),
        }
    }

    /// The runs that `tiles` consist of, at most a panel.
    #[inline(always)]
    fn runs(&self, tiles: Range<usize>, mut work: impl FnMut(Run)) {
        let mut tile = tiles.start;
        while tile < tiles.end {
            let (row, column) = (tile / self.tile_columns, tile % self.tile_columns);
            let count = (self.tile_columns - column).min(tiles.end - tile);
            work(Run {
                at: tile - tiles.start,
                count,
                picture: row / self.tile_rows,
                row: row % self.tile_rows,
                column,
            });
            tile += count;
        }
    }
}

/// A plane of values for each point.
pub(super) struct Planes {
    pub values: Shared,
    pub pitch: usize,
}

impl Planes {
    /// Planes that start every `pitch` values.
    pub fn new(values: &mut [f32], pitch: usize) -> Self {
        Self {
            values: Shared::new(values),
            pitch,
        }
    }
}

/// Tiles before the transform in one direction, and before that in the other.
pub(super) struct Scratch {
    /// For each line of the tiles, transformed across the lines: the values of a run.
    lines: [[f32; LINE]; POINTS],
    /// For each line: the first, second, ... value of all tiles of a panel.
    values: [[[f32; WIDTH + LANES]; POINTS]; POINTS],
}

impl Scratch {
    /// Memory that nothing was written to.
    pub const EMPTY: Self = Self {
        lines: [[0.0; LINE]; POINTS],
        values: [[[0.0; WIDTH + LANES]; POINTS]; POINTS],
    };
}

/// Pictures (batch x channels x height x width) that count as 0 where `gate` is not positive.
pub(super) struct Pictures<'a> {
    pub values: &'a [f32],
    pub gate: Option<&'a [f32]>,
    pub channels: usize,
    pub grid: Grid,
}

impl Pictures<'_> {
    /// Transforms `tiles`, at most a panel, of one channel to the panel of lanes at `to`.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions; the panel is nobody else's.
    #[inline(always)]
    pub unsafe fn transform<K: Kernel>(
        &self,
        tiles: Range<usize>,
        channel: usize,
        scratch: &mut Scratch,
        planes: &Planes,
        to: usize,
    ) {
        assert!(K::WIDTH <= WIDTH && K::LANES <= LANES && tiles.len() <= K::WIDTH);
        let count = tiles.len();
        // SAFETY: the caller's promise is the same.
        unsafe {
            self.grid.runs(tiles, |run| {
                match self.gate {
                    None => self.across::<K, false>(run, channel, self.values, scratch),
                    Some(gate) => self.across::<K, true>(run, channel, gate, scratch),
                }
                split::<K>(run, scratch);
            });
            along::<K>(count, scratch, planes, to);
        }
    }

    /// Transforms the six lines that a run's tiles stand on, each value with those below it; where
    /// `GATED`, those whose `gate` is positive.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions.
    #[inline(always)]
    unsafe fn across<K: Kernel, const GATED: bool>(
        &self,
        run: Run,
        channel: usize,
        gate: &[f32],
        scratch: &mut Scratch,
    ) {
        let Grid {
            height, width, pad, ..
        } = self.grid;
        let plane = (run.picture * self.channels + channel) * height;
        let first = run.column * OUTPUTS;
        let length = (run.count + 1) * OUTPUTS;
        let before = pad.saturating_sub(first);
        let inside = (pad + width - first).min(length);
        let middle = inside - before;
        let mut narrow = [[[0.0; LANES]; 2]; POINTS];
        let lines: [[&[f32]; 2]; POINTS] = std::array::from_fn(|y| {
            let y = (run.row * OUTPUTS + y).wrapping_sub(pad);
            if y >= height {
                return [&ZEROS[..middle.max(LANES)]; 2];
            }
            let start = (plane + y) * width + first + before - pad;
            [self.values, gate].map(|values| &values[start..start + middle])
        });
        let lines = match middle < K::LANES {
            false => lines,
            true => {
                for (narrow, line) in narrow.iter_mut().zip(lines) {
                    for (to, from) in narrow.iter_mut().zip(line) {
                        to[..middle].copy_from_slice(&from[..middle]);
                    }
                }
                narrow
                    .each_ref()
                    .map(|line| line.each_ref().map(|values| &values[..]))
            }
        };
        let next = height * width; // the same place of the next channel
        // The last vector overlaps the one before it.
        let last = middle.saturating_sub(K::LANES);
        for x in (0..last).step_by(K::LANES).chain([last]) {
            // SAFETY: each line has a vector from `x` on, whether of the picture or narrow.
            unsafe {
                // A loop, since `map` of arrays is not compiled for the kernel's instructions.
                let mut column = [K::Vector::splat(0.0); POINTS];
                for (value, [values, gate]) in column.iter_mut().zip(&lines) {
                    let (values, gate) = (
                        values.as_ptr().wrapping_add(x),
                        gate.as_ptr().wrapping_add(x),
                    );
                    K::Vector::prefetch(values.wrapping_add(next));
                    *value = K::Vector::load(values);
                    if GATED {
                        K::Vector::prefetch(gate.wrapping_add(next));
                        *value = value.where_positive(K::Vector::load(gate));
                    }
                }
                let column = transforms::input(column);
                for (value, line) in column.into_iter().zip(&mut scratch.lines) {
                    value.store(line[before + x..][..LANES].as_mut_ptr());
                }
            }
        }
        for line in &mut scratch.lines {
            line[..before].fill(0.0);
            line[inside..length].fill(0.0);
        }
    }
}

/// Splits a run's lines into the values of its tiles, at the run's place in the panel.
///
/// # Safety
/// The CPU has the kernel's instructions.
#[inline(always)]
unsafe fn split<K: Kernel>(run: Run, scratch: &mut Scratch) {
    let Scratch { lines, values } = scratch;
    assert!(run.at + run.count <= WIDTH);
    for (line, values) in lines.iter().zip(values) {
        let line = line.as_ptr();
        let [a, b, c, d, e, f] = values.each_mut().map(|values| values.as_mut_ptr());
        // SAFETY: lines and values have room for whole vectors behind a panel's last tile.
        unsafe {
            for tile in (0..run.count).step_by(K::LANES) {
                let from =
                    |v: usize| K::Vector::load(line.wrapping_add(OUTPUTS * tile + v * K::LANES));
                let fourths = K::Vector::split_fourths([from(0), from(1), from(2), from(3)]);
                for (to, fourth) in [a, b, c, d].into_iter().zip(fourths) {
                    fourth.store(to.wrapping_add(run.at + tile));
                }
            }
            // A tile's last two values are the first two of the next.
            let last = run.at + run.count - 1;
            for tile in (run.at..last).step_by(K::LANES) {
                K::Vector::load(a.wrapping_add(tile + 1)).store(e.wrapping_add(tile));
                K::Vector::load(b.wrapping_add(tile + 1)).store(f.wrapping_add(tile));
            }
            *e.wrapping_add(last) = *line.wrapping_add(OUTPUTS * run.count);
            *f.wrapping_add(last) = *line.wrapping_add(OUTPUTS * run.count + 1);
        }
    }
}

/// Transforms `count` tiles along their lines to the panel of lanes at `to`, at every point.
///
/// # Safety
/// The CPU has the kernel's instructions; the panel is nobody else's.
#[inline(always)]
unsafe fn along<K: Kernel>(count: usize, scratch: &Scratch, planes: &Planes, to: usize) {
    for (y, values) in scratch.values.iter().enumerate() {
        for tile in (0..count).step_by(K::LANES) {
            // SAFETY: the values of a panel are whole vectors; the caller vouches for the rest.
            unsafe {
                let row = values
                    .each_ref()
                    .map(|values| K::Vector::load(values.as_ptr().wrapping_add(tile)));
                for (x, value) in transforms::input(row).into_iter().enumerate() {
                    let point = y * POINTS + x;
                    value.store(planes.values.at(point * planes.pitch + to + tile));
                }
            }
        }
    }
}

/// What the pictures become (batch x channels x output height x output width).
pub(super) struct Results<'a> {
    pub values: Shared,
    pub epilogue: Epilogue<'a>,
    pub channels: usize,
    pub grid: Grid,
}

impl Results<'_> {
    /// Makes `tiles`, at most a panel, of one channel from products that start at `from`.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions; `from` has a panel at each point; nobody else writes
    /// these tiles.
    #[inline(always)]
    pub unsafe fn transform<K: Kernel>(
        &self,
        tiles: Range<usize>,
        channel: usize,
        planes: &Planes,
        from: usize,
    ) {
        let grid = &self.grid;
        let bias = self.epilogue.bias.map_or(0.0, |bias| bias[channel]);
        let least = match self.epilogue.relu {
            true => 0.0,
            false => f32::NEG_INFINITY,
        };
        for lane in (0..tiles.len()).step_by(K::LANES) {
            let from = planes.values.at(from + lane);
            let tiles = tiles.start + lane..tiles.end.min(tiles.start + lane + K::LANES);
            let place = |run: Run| {
                let plane = (run.picture * self.channels + channel) * grid.out_height;
                (plane + run.row * OUTPUTS) * grid.out_width + run.column * OUTPUTS
            };
            let (row, column) = (
                tiles.start / grid.tile_columns,
                tiles.start % grid.tile_columns,
            );
            let rows = row % grid.tile_rows * OUTPUTS;
            let whole = (column + K::LANES) * OUTPUTS <= grid.out_width
                && rows + OUTPUTS <= grid.out_height
                && tiles.len() == K::LANES;
            // SAFETY: a vector of whole tiles lies inside the result, and these tiles are the
            // caller's alone; any other goes beside it.
            unsafe {
                if whole {
                    grid.runs(tiles, |run| {
                        let start = place(run);
                        let end = start + 3 * grid.out_width + OUTPUTS * K::LANES - 1;
                        self.values.at(end);
                        let next = grid.out_height * grid.out_width; // of the next channel
                        transform_products::<K>(from, planes.pitch, bias, least, |y| {
                            let to = self.values.at(start + y * grid.out_width);
                            for ahead in (0..OUTPUTS * K::LANES).step_by(Line::VALUES) {
                                K::Vector::prefetch(to.wrapping_add(next + ahead));
                            }
                            to
                        });
                    });
                    continue;
                }
            }
            let mut beside = [[0.0; OUTPUTS * LANES]; OUTPUTS];
            // SAFETY: as above.
            unsafe {
                transform_products::<K>(from, planes.pitch, bias, least, |y| {
                    beside[y].as_mut_ptr()
                });
            }
            grid.runs(tiles, |run| {
                let count = (OUTPUTS * run.count).min(grid.out_width - run.column * OUTPUTS);
                let rows = OUTPUTS.min(grid.out_height - run.row * OUTPUTS);
                for (y, line) in beside.iter().take(rows).enumerate() {
                    let start = place(run) + y * grid.out_width;
                    let to = self.values.at(start);
                    self.values.at(start + count - 1);
                    let from = &line[OUTPUTS * run.at..][..count];
                    // SAFETY: inside the result; these tiles are the caller's alone.
                    unsafe { from.as_ptr().copy_to_nonoverlapping(to, count) };
                }
            });
        }
    }
}

/// Makes a vector of tiles' outputs: four vectors for each of four rows, written where `row` says.
///
/// # Safety
/// The CPU has the kernel's instructions; `from` has a vector at each point, a row room for four.
#[inline(always)]
unsafe fn transform_products<K: Kernel>(
    from: *const f32,
    pitch: usize,
    bias: f32,
    least: f32,
    mut row: impl FnMut(usize) -> *mut f32,
) {
    // SAFETY: the caller vouches for the instructions and the memory.
    unsafe {
        let mut half = [[K::Vector::splat(0.0); POINTS]; OUTPUTS];
        for x in 0..POINTS {
            let mut column = [K::Vector::splat(0.0); POINTS];
            for (y, value) in column.iter_mut().enumerate() {
                *value = K::Vector::load(from.wrapping_add((y * POINTS + x) * pitch));
            }
            for (half, value) in half.iter_mut().zip(transforms::output(column)) {
                half[x] = value;
            }
        }
        // In this order of arguments NaN stays NaN.
        let (bias, least) = (K::Vector::splat(bias), K::Vector::splat(least));
        for (y, half) in half.into_iter().enumerate() {
            let fourths = transforms::output(half).map(|value| least.max(value.add(bias)));
            let to = row(y);
            for (v, values) in K::Vector::join_fourths(fourths).into_iter().enumerate() {
                values.store(to.wrapping_add(v * K::LANES));
            }
        }
    }
}
