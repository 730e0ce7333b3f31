//! 3x3 convolution with stride 1 through Winograd's F(4x4, 3x3): 36 products of matrices over tiles
//! of 4x4 outputs, a quarter of the multiplications (Lavin & Gray 2016).
//!
//! Lanes run along neighbouring tiles, so that the products are those of the packed register tiles.
//! Tiles are worked on in blocks, through all three steps, while they are in the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::direct::Epilogue;
use super::level::{Level, WithKernel};
use super::micro::{Kernel, Right, Start, Tile};
use super::pack::panel_lines;
use super::share::{Line, with_buffer, written};
use super::tiles::{Grid, Pictures, Planes, Results, Scratch};
use super::transforms::{self, POINTS};

/// Products of a tile.
const PRODUCTS: usize = POINTS * POINTS;

/// Bytes of transformed input that stay in a core's own cache (1 MiB of L2, half of it for other
/// things). A block that fits is multiplied with a few output channels at a time; one that does
/// not, point by point.
const CACHED: usize = 512 << 10;

/// Panels of output channels that are multiplied with a cached block before their outputs are
/// transformed.
const GROUP: usize = 4;

/// A transformed and packed kernel.
pub struct WinogradKernel {
    level: Level,
    outputs: usize,
    channels: usize,
    lines: Vec<Line>, // panels of outputs x products x channels x outputs of a panel
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

    /// Convolves pictures (batch x channels x `height` x `width`) with `pad` zeros around them, at
    /// most 2: batch x outputs x (`height` + 2 pad - 2) x (`width` + 2 pad - 2). Where a `gate` of
    /// the pictures' shape is not positive, they count as 0.
    pub fn convolve(
        &self,
        input: &[f32],
        gate: Option<&[f32]>,
        (height, width): (usize, usize),
        pad: usize,
        epilogue: Epilogue,
    ) -> Vec<f32> {
        let grid = Grid::new(height, width, pad);
        let picture = self.channels * height * width;
        assert!(picture > 0, "convolution of nothing");
        let batch = input.len() / picture;
        assert_eq!(input.len(), batch * picture, "input");
        assert!(gate.is_none_or(|gate| gate.len() == input.len()), "gate");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), self.outputs, "bias of a convolution");
        }
        let length = batch * self.outputs * grid.out_height * grid.out_width;
        if batch * self.outputs == 0 {
            return Vec::new();
        }
        let convolve = |values| {
            self.level.with_kernel(Convolve {
                kernel: self,
                pictures: Pictures {
                    values: input,
                    gate,
                    channels: self.channels,
                    grid,
                },
                results: Results {
                    values,
                    epilogue,
                    channels: self.outputs,
                    grid,
                },
                tiles: batch * grid.tile_rows * grid.tile_columns,
            });
        };
        // SAFETY: the tiles cover the results.
        unsafe { written(length, convolve) }
    }
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
    pictures: Pictures<'a>,
    results: Results<'a>,
    tiles: usize, // of the whole batch
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
        let threads = rayon::current_num_threads();
        let panels = self.tiles.div_ceil(K::WIDTH);
        if panels < 5 * threads && threads > 1 {
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

/// A block's memory: at each point panels x channels x lanes of inputs, and outputs x panels x lanes
/// of products.
struct Memory {
    inputs: Planes,
    products: Planes,
    panels: usize,
}

impl Convolve<'_> {
    /// Takes some tiles through all three steps.
    fn block<K: Kernel>(&self, tiles: Range<usize>, spread: Spread) {
        let channels = self.kernel.channels;
        let outputs = self.kernel.outputs.div_ceil(K::ROWS); // counted in panels
        let panels = tiles.len().div_ceil(K::WIDTH);
        // A line more between points keeps them from falling on the same cache sets.
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
                inputs: Planes::new(inputs, input_pitch),
                products: Planes::new(products, product_pitch),
                panels,
            };
            let panels = tiles.clone().step_by(K::WIDTH).enumerate();
            let panels = panels.map(|(i, start)| (i, start..(start + K::WIDTH).min(tiles.end)));
            spread.each(pieces, |piece| {
                // SAFETY: the CPU has the instructions of the kernel this is run with; each channel
                // has lanes of its own.
                unsafe {
                    K::vectorize(
                        #[inline(always)]
                        || {
                            let mut scratch = Scratch::EMPTY;
                            for channel in part(piece, pieces, 0..channels) {
                                for (i, tiles) in panels.clone() {
                                    let to = (i * channels + channel) * K::WIDTH;
                                    let (pictures, planes) = (&self.pictures, &memory.inputs);
                                    pictures.transform::<K>(
                                        tiles,
                                        channel,
                                        &mut scratch,
                                        planes,
                                        to,
                                    );
                                }
                            }
                        },
                    );
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
                    // SAFETY: as above, for the output channels.
                    unsafe {
                        K::vectorize(
                            #[inline(always)]
                            || {
                                for row in part(piece, pieces, rows.clone()) {
                                    for (i, tiles) in panels.clone() {
                                        let row_of_panel = row - first * K::ROWS;
                                        let from = (row_of_panel * memory.panels + i) * K::WIDTH;
                                        let results = &self.results;
                                        results.transform::<K>(tiles, row, &memory.products, from);
                                    }
                                }
                            },
                        );
                    }
                });
            }
        });
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
                let b = point * memory.inputs.pitch + panel * channels * K::WIDTH;
                let c = point * memory.products.pitch + row * pitch + panel * K::WIDTH;
                let lanes = (tiles - panel * K::WIDTH).min(K::WIDTH);
                let tile = Tile {
                    a: a.as_ptr(),
                    b: memory.inputs.values.at(b),
                    right: Right::Panel(channels),
                    c: memory.products.values.at(c),
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
}
