//! 3x3 convolution with stride 1 through Winograd's F(4x4, 3x3): 36 products of matrices over tiles
//! of 4x4 outputs, a quarter of the multiplications (Lavin & Gray 2016).
//!
//! Lanes run along neighbouring tiles, so that the products are those of the packed register tiles.
//! Tiles are worked on in blocks, through all three steps, while they are in the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::convolution::Padding;
use super::gemm::Epilogue;
use super::level::{Level, WithKernel};
use super::micro::{Kernel, Start, Tile, Vector};
use super::share::{Line, Shared, with_buffer};
use super::transforms::{self, OUTPUTS, POINTS};

/// Products of a tile.
const PRODUCTS: usize = POINTS * POINTS;

/// Bytes of transformed input that stay in a core's own cache (1 MiB of L2, half of it for other
/// things). A block that fits is multiplied with a few output channels at a time; one that does
/// not, point by point.
const CACHED: usize = 512 << 10;

/// Panels of output channels that are multiplied with a cached block before their outputs are
/// transformed.
const GROUP: usize = 4;

/// Most lanes of a register tile, and of a vector.
const WIDTH: usize = 48;
const LANES: usize = 16;

/// Values of a line of tiles before the transform, with room for whole vectors.
const LINE: usize = 4 * (WIDTH + LANES);

/// A transformed and packed kernel.
pub struct WinogradKernel {
    level: Level,
    outputs: usize,
    channels: usize,
    lines: Vec<Line>, // panels of outputs x products x channels x outputs of a panel
}

/// Sizes of what is convolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    tile_rows: usize,
    tile_columns: usize,
}

impl WinogradKernel {
    /// Transforms `kernel`, `outputs` x `channels` x 3 x 3, for convolutions at `level`.
    pub fn new(level: Level, kernel: &[f32], outputs: usize, channels: usize) -> Self {
        assert_eq!(kernel.len(), outputs * channels * 9, "kernel of 3x3");
        let level = level.min(Level::supported());
        let lines = level.with_kernel(PackKernel { kernel, channels });
        Self {
            level,
            outputs,
            channels,
            lines,
        }
    }

    /// Convolves pictures (batch x channels x `height` x `width`) with at most 2 values of padding
    /// into `result` (batch x outputs x (`height` + 2 pad - 2) x (`width` + 2 pad - 2)).
    pub fn convolve(
        &self,
        input: &[f32],
        (height, width): (usize, usize),
        padding: Padding,
        epilogue: Epilogue,
        result: &mut [f32],
    ) {
        let pad = padding.size();
        assert!(pad <= 2 && height.min(width) + 2 * pad >= 3, "sizes");
        let (out_height, out_width) = (height + 2 * pad - 2, width + 2 * pad - 2);
        let sizes = Sizes {
            height,
            width,
            out_height,
            out_width,
            tile_rows: out_height.div_ceil(OUTPUTS),
            tile_columns: out_width.div_ceil(OUTPUTS),
        };
        let picture = self.outputs * out_height * out_width;
        if picture == 0 || result.is_empty() {
            return;
        }
        let batch = result.len() / picture;
        assert_eq!(result.len(), batch * picture, "result of a convolution");
        assert_eq!(input.len(), batch * self.channels * height * width, "input");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), self.outputs, "bias of a convolution");
        }
        self.level.with_kernel(Convolve {
            kernel: self,
            input,
            padding,
            sizes,
            tiles: batch * sizes.tile_rows * sizes.tile_columns,
            epilogue,
            result: Shared::new(result),
        });
    }
}

/// Lines of a panel of outputs at one point.
fn panel_lines<K: Kernel>(channels: usize) -> usize {
    (channels * K::ROWS).div_ceil(Line::VALUES)
}

struct PackKernel<'a> {
    kernel: &'a [f32],
    channels: usize,
}

impl WithKernel for PackKernel<'_> {
    type Output = Vec<Line>;

    fn run<K: Kernel>(self) -> Vec<Line> {
        let outputs = self.kernel.len() / (9 * self.channels).max(1);
        let point = panel_lines::<K>(self.channels);
        let mut lines = vec![Line::ZERO; outputs.div_ceil(K::ROWS) * PRODUCTS * point];
        lines
            .par_chunks_mut((PRODUCTS * point).max(1))
            .zip(self.kernel.par_chunks((K::ROWS * self.channels * 9).max(1)))
            .for_each(|(lines, kernels)| {
                let values = Line::values_mut(lines);
                for (i, kernel) in kernels.chunks_exact(9).enumerate() {
                    let (row, channel) = (i / self.channels, i % self.channels);
                    let at = |i: usize| f64::from(kernel[i]);
                    let columns =
                        [0, 1, 2].map(|x| transforms::kernel([at(x), at(3 + x), at(6 + x)]));
                    for y in 0..POINTS {
                        let products = transforms::kernel(columns.map(|column| column[y]));
                        for (x, product) in products.into_iter().enumerate() {
                            let start = (y * POINTS + x) * point * Line::VALUES;
                            values[start + channel * K::ROWS + row] = product as f32;
                        }
                    }
                }
            });
        lines
    }
}

struct Convolve<'a> {
    kernel: &'a WinogradKernel,
    input: &'a [f32],
    padding: Padding,
    sizes: Sizes,
    tiles: usize, // of the whole batch
    epilogue: Epilogue<'a>,
    result: Shared,
}

/// Where the work of a block is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// On this thread: the others have blocks of their own.
    Alone,
    /// Step by step on all threads: there are fewer blocks than threads can share.
    Shared,
}

impl Spread {
    /// Does `count` pieces of work.
    fn each(self, count: usize, work: impl Fn(usize) + Sync + Send) {
        match self {
            Self::Alone => (0..count).for_each(work),
            Self::Shared => (0..count).into_par_iter().with_max_len(1).for_each(work),
        }
    }
}

impl WithKernel for Convolve<'_> {
    type Output = ();

    fn run<K: Kernel>(self) {
        assert!(K::WIDTH <= WIDTH && K::LANES <= LANES);
        let threads = rayon::current_num_threads();
        let panels = self.tiles.div_ceil(K::WIDTH);
        if panels < 2 * threads && threads > 1 {
            self.block::<K>(0..self.tiles, Spread::Shared);
            return;
        }
        let panel_bytes = size_of::<f32>() * PRODUCTS * self.kernel.channels * K::WIDTH;
        let block = match CACHED / panel_bytes.max(1) {
            0 => 2,
            fitting => fitting,
        };
        let blocks = panels.div_ceil(block).next_multiple_of(threads);
        let tiles = panels.div_ceil(blocks) * K::WIDTH;
        (0..self.tiles.div_ceil(tiles))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|block| {
                let end = ((block + 1) * tiles).min(self.tiles);
                self.block::<K>(block * tiles..end, Spread::Alone);
            });
    }
}

/// A block's memory: for each point panels x channels x lanes of inputs, outputs x panels x lanes
/// of products. A line more between points keeps them from falling on the same cache sets.
struct Memory {
    inputs: Shared,
    input_pitch: usize,
    products: Shared,
    product_pitch: usize,
    panels: usize,
}

/// Tiles before the transform in one direction, and before that in the other.
struct Scratch {
    lines: [[f32; LINE]; POINTS],
    phases: [[[f32; LINE / 4]; 4]; POINTS],
}

impl Scratch {
    const EMPTY: Self = Self {
        lines: [[0.0; LINE]; POINTS],
        phases: [[[0.0; LINE / 4]; 4]; POINTS],
    };
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

impl Convolve<'_> {
    /// Takes some tiles through all three steps.
    fn block<K: Kernel>(&self, tiles: Range<usize>, spread: Spread) {
        let channels = self.kernel.channels;
        let outputs = self.kernel.outputs.div_ceil(K::ROWS); // counted in panels
        let panels = tiles.len().div_ceil(K::WIDTH);
        let input_pitch = panels * channels * K::WIDTH + Line::VALUES;
        let cached = size_of::<f32>() * PRODUCTS * input_pitch <= CACHED;
        let group = match spread {
            Spread::Alone if cached => GROUP.min(outputs),
            _ => outputs,
        };
        let product_pitch = group * K::ROWS * panels * K::WIDTH + Line::VALUES;
        let (pieces, bands) = match spread {
            Spread::Alone => (1, 1),
            Spread::Shared => (4 * rayon::current_num_threads(), 2),
        };
        let part = |piece: usize, pieces: usize, of: Range<usize>| {
            let length = of.len().div_ceil(pieces);
            let start = (of.start + piece * length).min(of.end);
            start..(start + length).min(of.end)
        };
        with_buffer(PRODUCTS * (input_pitch + product_pitch), |buffer| {
            let (inputs, products) = buffer.split_at_mut(PRODUCTS * input_pitch);
            let memory = Memory {
                inputs: Shared::new(inputs),
                input_pitch,
                products: Shared::new(products),
                product_pitch,
                panels,
            };
            spread.each(pieces, |piece| {
                let channels = part(piece, pieces, 0..channels);
                // SAFETY: the CPU has the instructions of the kernel this is run with.
                unsafe {
                    K::vectorize(|| self.transform_inputs::<K>(&memory, tiles.clone(), channels));
                }
            });
            for first in (0..outputs).step_by(group) {
                let group = first..(first + group).min(outputs);
                spread.each(PRODUCTS * bands, |item| {
                    let outputs = part(item % bands, bands, group.clone());
                    self.multiply::<K>(&memory, tiles.len(), item / bands, first, outputs);
                });
                let rows = first * K::ROWS..(group.end * K::ROWS).min(self.kernel.outputs);
                spread.each(pieces, |piece| {
                    let rows = part(piece, pieces, rows.clone());
                    let first = first * K::ROWS;
                    // SAFETY: as above.
                    unsafe {
                        K::vectorize(|| {
                            self.transform_outputs::<K>(&memory, tiles.clone(), first, rows);
                        });
                    }
                });
            }
        });
    }

    /// The runs that `tiles` consist of, at most a panel.
    #[inline(always)]
    fn runs(&self, tiles: Range<usize>, mut work: impl FnMut(Run)) {
        let Sizes {
            tile_rows,
            tile_columns,
            ..
        } = self.sizes;
        let mut tile = tiles.start;
        while tile < tiles.end {
            let (row, column) = (tile / tile_columns, tile % tile_columns);
            let count = (tile_columns - column).min(tiles.end - tile);
            work(Run {
                at: tile - tiles.start,
                count,
                picture: row / tile_rows,
                row: row % tile_rows,
                column,
            });
            tile += count;
        }
    }

    #[inline(always)]
    fn transform_inputs<K: Kernel>(
        &self,
        memory: &Memory,
        tiles: Range<usize>,
        channels: Range<usize>,
    ) {
        let mut scratch = Scratch::EMPTY;
        for (panel, start) in tiles.clone().step_by(K::WIDTH).enumerate() {
            let end = (start + K::WIDTH).min(tiles.end);
            for channel in channels.clone() {
                let to = (panel * self.kernel.channels + channel) * K::WIDTH;
                self.runs(start..end, |run| {
                    self.read_lines(run, channel, &mut scratch.lines);
                    // SAFETY: the CPU has the instructions; this channel's lanes are this
                    // thread's alone.
                    unsafe { transform_run::<K>(run.count, &mut scratch, memory, to + run.at) };
                });
            }
        }
    }

    /// Reads the six lines that a run's tiles stand on, with padding. What lies beyond the padding
    /// belongs to outputs beyond the picture.
    #[inline(always)]
    fn read_lines(&self, run: Run, channel: usize, lines: &mut [[f32; LINE]; POINTS]) {
        let Sizes { height, width, .. } = self.sizes;
        let pad = self.padding.size();
        let plane = (run.picture * self.kernel.channels + channel) * height;
        let place = |position: usize, size: usize| match position < size + 2 * pad {
            true => self.padding.place(position, size),
            false => None,
        };
        let first = run.column * OUTPUTS;
        let length = (run.count + 1) * OUTPUTS;
        let before = pad.saturating_sub(first);
        let inside = (pad + width - first).min(length);
        for (y, line) in lines.iter_mut().enumerate() {
            let line = &mut line[..length];
            let Some(y) = place(run.row * OUTPUTS + y, height) else {
                line.fill(0.0);
                continue;
            };
            let row = &self.input[(plane + y) * width..][..width];
            line[before..inside].copy_from_slice(&row[first + before - pad..][..inside - before]);
            for x in (0..before).chain(inside..length) {
                line[x] = place(first + x, width).map_or(0.0, |x| row[x]);
            }
        }
    }

    /// Multiplies the tiles' inputs at one point with the kernels of some panels of outputs.
    fn multiply<K: Kernel>(
        &self,
        memory: &Memory,
        tiles: usize,
        point: usize,
        first: usize,
        outputs: Range<usize>,
    ) {
        let channels = self.kernel.channels;
        let values = Line::values(&self.kernel.lines);
        let kernel = panel_lines::<K>(channels) * Line::VALUES;
        let pitch = memory.panels * K::WIDTH;
        for output in outputs {
            let a = &values[(output * PRODUCTS + point) * kernel..][..channels * K::ROWS];
            let row = (output - first) * K::ROWS;
            for panel in 0..memory.panels {
                let b = point * memory.input_pitch + panel * channels * K::WIDTH;
                let c = point * memory.product_pitch + row * pitch + panel * K::WIDTH;
                let lanes = (tiles - panel * K::WIDTH).min(K::WIDTH);
                let tile = Tile {
                    depth: channels,
                    a: a.as_ptr(),
                    b: memory.inputs.at(b),
                    c: memory.products.at(c),
                    pitch,
                    start: Start::Zero,
                    relu: false,
                };
                // SAFETY: the memory has room for whole panels of lanes and outputs; no other
                // thread has these products.
                unsafe { K::tile(K::ROWS, lanes.div_ceil(K::LANES), &tile) };
            }
        }
    }

    /// Makes the output channels `rows` from products, whose first row is `first`.
    #[inline(always)]
    fn transform_outputs<K: Kernel>(
        &self,
        memory: &Memory,
        tiles: Range<usize>,
        first: usize,
        rows: Range<usize>,
    ) {
        let sizes = self.sizes;
        let mut lines = [[0.0; LINE]; OUTPUTS];
        for row in rows {
            let bias = self.epilogue.bias.map_or(0.0, |bias| bias[row]);
            for (panel, start) in tiles.clone().step_by(K::WIDTH).enumerate() {
                let end = (start + K::WIDTH).min(tiles.end);
                let at = ((row - first) * memory.panels + panel) * K::WIDTH;
                for lane in (0..end - start).step_by(K::LANES) {
                    let from = memory.products.at(at + lane);
                    let pitch = memory.product_pitch;
                    // SAFETY: the CPU has the instructions; every point has whole panels.
                    unsafe {
                        transform_products::<K>(from, pitch, bias, self.epilogue.relu, |y| {
                            lines[y][4 * lane..].as_mut_ptr()
                        });
                    }
                }
                self.runs(start..end, |run| {
                    let x = run.column * OUTPUTS;
                    let count = (OUTPUTS * run.count).min(sizes.out_width - x);
                    let y = run.row * OUTPUTS;
                    let plane = (run.picture * self.kernel.outputs + row) * sizes.out_height;
                    for (y, line) in (y..sizes.out_height).zip(&lines) {
                        let start = (plane + y) * sizes.out_width + x;
                        let to = self.result.at(start);
                        self.result.at(start + count - 1);
                        // SAFETY: inside the result; this row's tiles are this thread's alone.
                        unsafe { std::slice::from_raw_parts_mut(to, count) }
                            .copy_from_slice(&line[OUTPUTS * run.at..][..count]);
                    }
                });
            }
        }
    }
}

/// Transforms `count` tiles that lie in the lines to lanes from `to` on, at every point.
///
/// # Safety
/// The CPU has the kernel's instructions; the lanes are within the memory, and nobody else's.
#[inline(always)]
unsafe fn transform_run<K: Kernel>(
    count: usize,
    scratch: &mut Scratch,
    memory: &Memory,
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
                let from = |v: usize| K::Vector::load(at(line, 4 * tile + v * K::LANES));
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
                    let to = memory.inputs.at(point * memory.input_pitch + to + tile);
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
    relu: bool,
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
        let bias = K::Vector::splat(bias);
        // In this order of arguments NaN stays NaN.
        let least = K::Vector::splat(if relu { 0.0 } else { f32::NEG_INFINITY });
        for (y, half) in half.into_iter().enumerate() {
            let fourths = transforms::output(half).map(|value| least.max(value.add(bias)));
            let to = row(y);
            for (v, values) in K::Vector::join_fourths(fourths).into_iter().enumerate() {
                values.store(to.wrapping_add(v * K::LANES));
            }
        }
    }
}
