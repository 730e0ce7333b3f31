//! Convolutions with their gradients, and Gram matrices, which are made like a kernel's gradient.

use super::{Arguments, Launch, Shape, for_each, int, reduce, summing};
use crate::kernels::{Geometry, Padding};

/// Height and width of the tile of pixels that a block makes.
const TILE: (usize, usize) = (16, 8);

/// Channels that go through shared memory at once.
const CHUNK: usize = 8;

/// Threads of a convolution, and of a kernel's gradient.
const CONVOLUTION_THREADS: u32 = 128;
const GRADIENT_THREADS: u32 = 96;

/// Blocks that fill a large card: four for each of its multiprocessors.
const BLOCKS: usize = 528;

/// Most outputs that a block of a kernel's gradient takes.
const GRADIENT_OUTPUTS: usize = 64;

/// A convolution with its gradients.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Pictures.
    pub batch: usize,
    /// Sizes of the input and of the kernel.
    pub geometry: Geometry,
    /// Channels of the output.
    pub outputs: usize,
    /// Whether ReLU comes last.
    pub relu: bool,
}

/// The outputs that a block makes: `tiles` times 8 in each of `across` warps.
struct Block {
    tiles: usize,
    across: usize,
}

impl Block {
    fn of(outputs: usize) -> Self {
        let (tiles, across) = match outputs {
            0..=8 => (1, 1),
            9..=16 => (2, 1),
            17..=32 => (4, 1),
            _ => (4, 2),
        };
        Self { tiles, across }
    }

    fn outputs(&self) -> usize {
        8 * self.tiles * self.across
    }

    /// Values of a kernel, packed.
    fn packed(&self, outputs: usize, channels: usize, taps: usize) -> usize {
        let blocks = outputs.div_ceil(self.outputs()) * self.across;
        blocks * channels.div_ceil(CHUNK) * taps * self.tiles * 64
    }
}

impl Convolution {
    /// Whether there are kernels for it: 3x3 with a stride of 1 or 2, and 9x9.
    pub fn is_known(geometry: &Geometry) -> bool {
        matches!((geometry.kernel, geometry.stride), (3, 1 | 2) | (9, 1))
    }

    /// Shape of the output.
    pub fn output(&self) -> Shape {
        let (height, width) = self.geometry.output();
        (self.batch, self.outputs, height, width)
    }

    /// Values that the kernel takes when it is packed for the convolution, or `turned` for the
    /// gradient of its input.
    pub fn packed(&self, turned: bool) -> usize {
        let (outputs, channels) = self.sides(turned);
        Block::of(outputs).packed(outputs, channels, self.geometry.kernel.pow(2))
    }

    /// Packs `kernel` (O, C, K, K).
    pub fn pack(&self, turned: bool, kernel: u64, packed: u64) -> Launch {
        let (outputs, channels) = self.sides(turned);
        let arguments = Arguments {
            source: kernel,
            output: packed,
            outputs: int(outputs),
            channels: int(channels),
            kernel: int(self.geometry.kernel),
            turned: i32::from(turned),
            parts: int(Block::of(outputs).tiles),
            ..Arguments::default()
        };
        for_each("packed", self.packed(turned), arguments)
    }

    /// Outputs and channels of the convolution, or of the one that makes the input's gradient.
    fn sides(&self, turned: bool) -> (usize, usize) {
        match turned {
            false => (self.outputs, self.geometry.channels),
            true => (self.geometry.channels, self.outputs),
        }
    }

    /// Parts that the convolution, or `turned` the gradient of its input, is summed in: one where
    /// there are blocks enough to fill a card, else several, of as many values as the result each.
    pub fn parts(&self, turned: bool) -> usize {
        let (_, _, rows, columns) = match turned {
            false => self.output(),
            true => self.gradient_shape(),
        };
        let (outputs, channels) = self.sides(turned);
        let [across, down] = tiles(rows, columns);
        let blocks = across * down * outputs.div_ceil(Block::of(outputs).outputs()) * self.batch;
        let most = (channels.div_ceil(CHUNK) / 2).max(1);
        (BLOCKS / blocks.max(1)).clamp(1, most)
    }

    /// The convolution itself. `sums` is memory for its [`Convolution::parts`].
    pub fn forward(&self, x: u64, packed: u64, bias: u64, sums: u64, y: u64) -> Vec<Launch> {
        let g = &self.geometry;
        let (rows, columns) = g.output();
        let arguments = Arguments {
            source: x,
            weights: packed,
            bias,
            output: y,
            sums,
            height: int(g.height),
            width: int(g.width),
            rows: int(rows),
            columns: int(columns),
            margin: int(g.padding.size()),
            mirrored: i32::from(matches!(g.padding, Padding::Reflect(_))),
            relu: i32::from(self.relu),
            ..Arguments::default()
        };
        self.convolve(false, g.stride, arguments)
    }

    /// Whether the gradient of the input is made with its padding first, of the shape of
    /// [`Convolution::gradient_shape`], and then folded.
    pub fn folds(&self) -> bool {
        matches!(self.geometry.padding, Padding::Reflect(pad) if pad > 0)
    }

    /// Shape of the gradient of the input before it is folded.
    pub fn gradient_shape(&self) -> Shape {
        let g = &self.geometry;
        let pad = if self.folds() {
            2 * g.padding.size()
        } else {
            0
        };
        (self.batch, g.channels, g.height + pad, g.width + pad)
    }

    /// The gradient of the input for that of the output: a convolution with the kernel packed turned.
    /// `sums` is memory for its [`Convolution::parts`], `padded` for [`Convolution::gradient_shape`]
    /// where it folds.
    pub fn backward(
        &self,
        upstream: u64,
        packed: u64,
        [sums, padded]: [u64; 2],
        gradient: u64,
    ) -> Vec<Launch> {
        let g = &self.geometry;
        let (height, width) = g.output();
        let folds = self.folds();
        let (_, _, rows, columns) = self.gradient_shape();
        let reach = match folds {
            true => g.kernel - 1,
            false => g.kernel - 1 - g.padding.size(),
        };
        let arguments = Arguments {
            source: upstream,
            weights: packed,
            output: if folds { padded } else { gradient },
            sums,
            height: int(height),
            width: int(width),
            rows: int(rows),
            columns: int(columns),
            margin: int(reach),
            spread: int(g.stride),
            ..Arguments::default()
        };
        let mut launches = self.convolve(true, 1, arguments);
        if folds {
            let arguments = Arguments {
                source: padded,
                output: gradient,
                height: int(rows),
                width: int(columns),
                rows: int(g.height),
                columns: int(g.width),
                margin: int(g.padding.size()),
                ..Arguments::default()
            };
            let count = self.batch * g.channels * g.height * g.width;
            launches.push(for_each("folded", count, arguments));
        }
        launches
    }

    fn convolve(&self, turned: bool, stride: usize, arguments: Arguments) -> Vec<Launch> {
        let kernel = self.geometry.kernel;
        let (outputs, channels) = self.sides(turned);
        let block = Block::of(outputs);
        let [across, down] = tiles(arguments.rows as usize, arguments.columns as usize);
        let (pixels, pitch) = patch(kernel, stride);
        let parts = self.parts(turned);
        let arguments = Arguments {
            batch: int(self.batch),
            channels: int(channels),
            outputs: int(outputs),
            tiles_x: int(across),
            tiles_y: int(down),
            parts: int(parts),
            ..arguments
        };
        let mut launches = vec![Launch {
            kernel: format!("{}_{}", name(kernel, stride), block.outputs()),
            grid: [
                (across * down) as u32,
                outputs.div_ceil(block.outputs()) as u32,
                (self.batch * parts) as u32,
            ],
            threads: CONVOLUTION_THREADS,
            shared: (4 * (2 * CHUNK * pitch + pixels)) as u32,
            arguments,
        }];
        if parts > 1 {
            let area = arguments.rows as usize * arguments.columns as usize;
            launches.push(for_each("joined", self.batch * outputs * area, arguments));
        }
        launches
    }

    /// Parts that the gradient of the kernel is summed in: each takes as many values as the kernel.
    pub fn gradient_parts(&self) -> usize {
        let (rows, columns) = self.geometry.output();
        let [across, down] = tiles(rows, columns);
        let [x, z] = self.gradient_blocks();
        (BLOCKS / (x * z)).clamp(1, across * down * self.batch)
    }

    /// Blocks along the columns and rows of the gradient.
    fn gradient_blocks(&self) -> [usize; 2] {
        let columns = self
            .geometry
            .channels
            .div_ceil(gradient_channels(self.geometry.kernel));
        [columns, self.outputs.div_ceil(GRADIENT_OUTPUTS)]
    }

    /// The gradient of the kernel for that of the output. `parts` is memory for
    /// [`Convolution::gradient_parts`].
    pub fn kernel_gradient(&self, x: u64, upstream: u64, parts: u64, gradient: u64) -> Vec<Launch> {
        let g = &self.geometry;
        let count = self.gradient_parts();
        let values = self.outputs * g.channels * g.kernel * g.kernel;
        vec![
            self.gradient_in_parts(x, upstream, count, parts),
            reduce(1, parts, count, values, gradient),
        ]
    }

    fn gradient_in_parts(&self, x: u64, upstream: u64, count: usize, parts: u64) -> Launch {
        let g = &self.geometry;
        let (rows, columns) = g.output();
        let [across, down] = tiles(rows, columns);
        let [blocks_x, blocks_z] = self.gradient_blocks();
        let (pixels, pitch) = patch(g.kernel, g.stride);
        let outputs = match self.outputs {
            0..=16 => 16,
            17..=32 => 32,
            _ => GRADIENT_OUTPUTS,
        };
        let shared = outputs * (TILE.0 * TILE.1 + 4) + gradient_channels(g.kernel) * pitch + pixels;
        Launch {
            kernel: format!("{}_gradient_{outputs}", name(g.kernel, g.stride)),
            grid: [blocks_x as u32, count as u32, blocks_z as u32],
            threads: GRADIENT_THREADS,
            shared: 4 * shared as u32,
            arguments: Arguments {
                source: x,
                other: upstream,
                output: parts,
                batch: int(self.batch),
                channels: int(g.channels),
                height: int(g.height),
                width: int(g.width),
                outputs: int(self.outputs),
                rows: int(rows),
                columns: int(columns),
                margin: int(g.padding.size()),
                mirrored: i32::from(matches!(g.padding, Padding::Reflect(_))),
                tiles_x: int(across),
                tiles_y: int(down),
                parts: int(count),
                ..Arguments::default()
            },
        }
    }

    /// The gradient of the bias for that of the output.
    pub fn bias_gradient(&self, upstream: u64, gradient: u64) -> Launch {
        let (rows, columns) = self.geometry.output();
        let arguments = Arguments {
            source: upstream,
            output: gradient,
            batch: int(self.batch),
            channels: int(self.outputs),
            height: int(rows),
            width: int(columns),
            ..Arguments::default()
        };
        summing("summed", self.outputs, arguments)
    }
}

/// The products of all pairs of channels of each picture, summed over its pixels: (N, C, C).
pub struct Gram {
    products: Convolution,
    parts: usize, // of a picture
}

impl Gram {
    /// For pictures of `shape`.
    pub fn new((batch, channels, height, width): Shape) -> Self {
        let geometry = Geometry {
            channels,
            height,
            width,
            kernel: 1,
            stride: 1,
            padding: Padding::Zero(0),
        };
        let products = Convolution {
            batch,
            geometry,
            outputs: channels,
            relu: false,
        };
        let parts = (products.gradient_parts() / batch.max(1)).max(1);
        Self { products, parts }
    }

    /// Parts that the products are summed in, of as many values as a matrix each.
    pub fn parts(&self) -> usize {
        self.products.batch * self.parts
    }

    /// The matrices of `x`. `parts` is memory for [`Gram::parts`].
    pub fn matrices(&self, x: u64, parts: u64, output: u64) -> [Launch; 2] {
        let values = self.products.outputs.pow(2);
        let products = &self.products;
        [
            products.gradient_in_parts(x, x, self.parts(), parts),
            reduce(products.batch, parts, self.parts, values, output),
        ]
    }
}

fn name(kernel: usize, stride: usize) -> &'static str {
    match (kernel, stride) {
        (3, 1) => "three",
        (3, _) => "strided",
        (1, _) => "one",
        _ => "nine",
    }
}

/// Channels of a block of a kernel's gradient.
fn gradient_channels(kernel: usize) -> usize {
    match kernel {
        1 => 72,
        3 => 8,
        _ => 1,
    }
}

/// Pixels of the patch that a tile needs, and values from one channel's patch to the next.
fn patch(kernel: usize, stride: usize) -> (usize, usize) {
    let side = |length: usize| stride * (length - 1) + kernel;
    let pixels = side(TILE.0) * side(TILE.1);
    (pixels, (pixels + 7) / 16 * 16 + 8)
}

/// Tiles beside and below each other.
fn tiles(rows: usize, columns: usize) -> [usize; 2] {
    [columns.div_ceil(TILE.1), rows.div_ceil(TILE.0)]
}
