//! Tiles of pictures to transformed lanes and back: the two outer steps of Winograd's convolution.
//!
//! Tiles are numbered row by row through all pictures. Padding is read by index, never stored.

use std::ops::Range;

use super::convolution::Padding;
use super::direct::Epilogue;
use super::micro::{Kernel, Vector};
use super::share::Shared;
use super::transforms::{self, OUTPUTS, POINTS};

/// Most lanes of a panel, and of a vector.
const WIDTH: usize = 48;
const LANES: usize = 16;

/// Values of a line of tiles before the transform, with room for whole vectors.
const LINE: usize = OUTPUTS * (WIDTH + LANES);

/// Sizes of a picture, of what becomes of it, and its tiles.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub tile_rows: usize,
    pub tile_columns: usize,
    pub padding: Padding,
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
    /// The grid of a 3x3 convolution with at most 2 values of padding.
    pub fn new(height: usize, width: usize, padding: Padding) -> Self {
        let pad = padding.size();
        assert!(pad <= 2 && height.min(width) + 2 * pad >= 3, "sizes");
        let (out_height, out_width) = (height + 2 * pad - 2, width + 2 * pad - 2);
        Self {
            height,
            width,
            out_height,
            out_width,
            tile_rows: out_height.div_ceil(OUTPUTS),
            tile_columns: out_width.div_ceil(OUTPUTS),
            padding,
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

    /// The place in `0..size` that `position` stands for, counted from the padding's first value;
    /// nothing beyond the padding: that belongs to outputs beyond the picture.
    #[inline(always)]
    fn place(&self, position: usize, size: usize) -> Option<usize> {
        match position < size + 2 * self.padding.size() {
            true => self.padding.place(position, size),
            false => None,
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
    lines: [[f32; LINE]; POINTS],
    phases: [[[f32; LINE / 4]; 4]; POINTS],
}

impl Scratch {
    /// Memory that nothing was written to.
    pub const EMPTY: Self = Self {
        lines: [[0.0; LINE]; POINTS],
        phases: [[[0.0; LINE / 4]; 4]; POINTS],
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
    /// Transforms `tiles`, at most a panel, of one channel to lanes from `to` on.
    ///
    /// # Safety
    /// The CPU has the kernel's instructions; the lanes are nobody else's.
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
        self.grid.runs(tiles, |run| {
            self.read_lines(run, channel, &mut scratch.lines);
            // SAFETY: the caller's promise is the same.
            unsafe { transform_run::<K>(run.count, scratch, planes, to + run.at) };
        });
    }

    /// Reads the six lines that a run's tiles stand on, with padding.
    #[inline(always)]
    fn read_lines(&self, run: Run, channel: usize, lines: &mut [[f32; LINE]; POINTS]) {
        let Grid { height, width, .. } = self.grid;
        let pad = self.grid.padding.size();
        let plane = (run.picture * self.channels + channel) * height;
        let first = run.column * OUTPUTS;
        let length = (run.count + 1) * OUTPUTS;
        let before = pad.saturating_sub(first);
        let inside = (pad + width - first).min(length);
        let start = first + before - pad;
        for (y, line) in lines.iter_mut().enumerate() {
            let line = &mut line[..length];
            let Some(y) = self.grid.place(run.row * OUTPUTS + y, height) else {
                line.fill(0.0);
                continue;
            };
            let row = (plane + y) * width;
            let middle = &mut line[before..inside];
            let from = row + start..row + start + middle.len();
            match self.gate {
                None => middle.copy_from_slice(&self.values[from]),
                Some(gate) => {
                    let values = self.values[from.clone()].iter().zip(&gate[from]);
                    for (to, (value, gate)) in middle.iter_mut().zip(values) {
                        *to = if *gate > 0.0 { *value } else { 0.0 };
                    }
                }
            }
            for x in (0..before).chain(inside..length) {
                line[x] = match self.grid.place(first + x, width) {
                    Some(x) if self.gate.is_none_or(|gate| gate[row + x] > 0.0) => {
                        self.values[row + x]
                    }
                    _ => 0.0,
                };
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
        let least = if self.epilogue.relu {
            0.0
        } else {
            f32::NEG_INFINITY
        };
        let mut lines = [[0.0; LINE]; OUTPUTS];
        for lane in (0..tiles.len()).step_by(K::LANES) {
            let from = planes.values.at(from + lane);
            // SAFETY: the caller's promise is the same; a line has room for a panel.
            unsafe {
                transform_products::<K>(from, planes.pitch, bias, least, |y| {
                    lines[y][OUTPUTS * lane..].as_mut_ptr()
                });
            }
        }
        grid.runs(tiles, |run| {
            let x = run.column * OUTPUTS;
            let count = (OUTPUTS * run.count).min(grid.out_width - x);
            let plane = (run.picture * self.channels + channel) * grid.out_height;
            for (y, line) in (run.row * OUTPUTS..grid.out_height).zip(&lines) {
                let start = (plane + y) * grid.out_width + x;
                let to = self.values.at(start);
                self.values.at(start + count - 1);
                // SAFETY: inside the result; these tiles are the caller's alone.
                unsafe { std::slice::from_raw_parts_mut(to, count) }
                    .copy_from_slice(&line[OUTPUTS * run.at..][..count]);
            }
        });
    }
}

/// Transforms `count` tiles that lie in the lines to lanes from `to` on, at every point.
///
/// # Safety
/// The CPU has the kernel's instructions; the lanes are nobody else's.
#[inline(always)]
unsafe fn transform_run<K: Kernel>(
    count: usize,
    scratch: &mut Scratch,
    planes: &Planes,
    to: usize,
) {
    let Scratch { lines, phases } = scratch;
    let at = |values: &[f32], index: usize| values.as_ptr().wrapping_add(index);
    // SAFETY: `count` is at most a panel, for which lines and phases have room in whole vectors.
    unsafe {
        for x in (0..(count + 1) * OUTPUTS).step_by(K::LANES) {
            let mut column = [K::Vector::splat(0.0); POINTS];
            for (value, line) in column.iter_mut().zip(lines.iter()) {
                *value = K::Vector::load(at(line, x));
            }
            for (value, line) in transforms::input(column).into_iter().zip(lines.iter_mut()) {
                value.store(line.as_mut_ptr().wrapping_add(x));
            }
        }
        for (line, phases) in lines.iter().zip(phases.iter_mut()) {
            for tile in (0..count).step_by(K::LANES) {
                let from = |v: usize| K::Vector::load(at(line, OUTPUTS * tile + v * K::LANES));
                let fourths = K::Vector::split_fourths([from(0), from(1), from(2), from(3)]);
                for (phase, values) in phases.iter_mut().zip(fourths) {
                    values.store(phase.as_mut_ptr().wrapping_add(tile));
                }
            }
            // The last tile reaches into a fourth that no vector may have held.
            (phases[0][count], phases[1][count]) = (line[4 * count], line[4 * count + 1]);
        }
        for (y, phases) in phases.iter().enumerate() {
            for tile in (0..count).step_by(K::LANES) {
                let from = |phase: usize, tile: usize| K::Vector::load(at(&phases[phase], tile));
                let row = transforms::input([
                    from(0, tile),
                    from(1, tile),
                    from(2, tile),
                    from(3, tile),
                    from(0, tile + 1),
                    from(1, tile + 1),
                ]);
                for (x, value) in row.into_iter().enumerate() {
                    let point = y * POINTS + x;
                    let to = planes.values.at(point * planes.pitch + to + tile);
                    match count - tile {
                        rest if rest < K::LANES => value.store_first(rest, to),
                        _ => value.store(to),
                    }
                }
            }
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
