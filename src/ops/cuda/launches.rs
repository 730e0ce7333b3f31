//! Which kernels of `kernels.cu` an operator runs, and what they are told.
//!
//! Nothing here needs a GPU. A place is the address of a tensor's first value on a GPU, and in the
//! tests' emulator its distance in bytes from the start of the memory; 0 stands for no tensor.

use crate::kernels::{Geometry, Padding};

/// What a kernel is told: `Layer` in `kernels.cu`, which documents it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in kernels.cu")]
pub struct Arguments {
    pub source: u64,
    pub other: u64,
    pub gate: u64,
    pub weights: u64,
    pub bias: u64,
    pub output: u64,
    pub sums: u64,
    pub batch: i32,
    pub channels: i32,
    pub height: i32,
    pub width: i32,
    pub outputs: i32,
    pub rows: i32,
    pub columns: i32,
    pub margin: i32,
    pub mirrored: i32,
    pub spread: i32,
    pub relu: i32,
    pub turned: i32,
    pub kernel: i32,
    pub tiles_x: i32,
    pub tiles_y: i32,
    pub parts: i32,
    pub count: i32,
    pub numbers: [f32; 7],
}

/// One kernel to run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name in `kernels.cu`.
    pub kernel: String,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// What it is told.
    pub arguments: Arguments,
}

/// Sizes of a picture tensor: (N, C, H, W).
pub type Shape = (usize, usize, usize, usize);

/// One variable of a training for [`adam`]: places of its tensors. `Variable` in `kernels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented in kernels.cu")]
pub struct Variable {
    pub gradient: u64,
    pub weight: u64,
    pub first: u64,
    pub second: u64,
    pub average: u64,
    pub count: u64,
}

/// Height and width of the tile of pixels that a block makes.
const TILE: (usize, usize) = (16, 8);

/// Channels that go through shared memory at once.
const CHUNK: usize = 8;

/// Threads of the kernels that make a value each, and of those that sum.
const VALUE_THREADS: usize = 256;
const SUM_THREADS: u32 = 512;

/// Bytes of shared memory with which sums are gathered from the warps of a block.
const SUM_BYTES: u32 = SUM_THREADS / 32 * 8;

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

/// The gradient before ReLU: `upstream` where `gate`, the result of ReLU, is positive.
pub fn mask(count: usize, upstream: u64, gate: u64, output: u64) -> Launch {
    let arguments = Arguments {
        other: upstream,
        gate,
        output,
        ..Arguments::default()
    };
    for_each("masked", count, arguments)
}

/// Adds up `count` arrays of `values` values that follow each other, `times` times.
pub fn reduce(times: usize, parts: u64, count: usize, values: usize, output: u64) -> Launch {
    let arguments = Arguments {
        source: parts,
        output,
        parts: int(count),
        ..Arguments::default()
    };
    let mut launch = for_each("reduced", values, arguments);
    launch.grid[1] = times as u32;
    launch
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

/// Blocks that sum the squares of differences, at most.
const DIFFERENCE_BLOCKS: usize = 256;

/// The mean of the squares of the `count` values of `x` less `other`, which has `repeated` values; it is 0
/// where there is nothing at its place. `sums` is memory for [`square_parts`].
pub fn mean_square(
    count: usize,
    [x, other]: [u64; 2],
    repeated: usize,
    sums: u64,
    output: u64,
) -> [Launch; 2] {
    let parts = square_parts(count);
    let first = Arguments {
        output: sums,
        ..difference(count, [x, other], repeated)
    };
    let second = Arguments {
        source: sums,
        output,
        batch: 1,
        channels: 1,
        height: 1,
        width: int(parts),
        ..Arguments::default()
    };
    [
        summing("squared", parts, first),
        summing("summed", 1, second),
    ]
}

/// Parts that the squares of `count` values are summed in, a value each.
pub fn square_parts(count: usize) -> usize {
    count
        .div_ceil(4 * SUM_THREADS as usize)
        .clamp(1, DIFFERENCE_BLOCKS)
}

/// Its gradient of `x`, for that of the mean at `upstream`.
pub fn mean_square_backward(
    count: usize,
    [x, other]: [u64; 2],
    repeated: usize,
    upstream: u64,
    gradient: u64,
) -> Launch {
    let arguments = Arguments {
        weights: upstream,
        output: gradient,
        ..difference(count, [x, other], repeated)
    };
    for_each("squared_back", count, arguments)
}

fn difference(count: usize, [x, other]: [u64; 2], repeated: usize) -> Arguments {
    let mut numbers = [0.0; 7];
    numbers[0] = 1.0 / count as f32;
    Arguments {
        source: x,
        other,
        channels: int(repeated),
        count: int(count),
        numbers,
        ..Arguments::default()
    }
}

/// Instance norm of `x`, of shape `shape`.
pub fn norm(shape: Shape, epsilon: f32, x: u64, affine: [u64; 2], relu: bool, y: u64) -> Launch {
    let arguments = Arguments {
        source: x,
        weights: affine[0],
        bias: affine[1],
        output: y,
        relu: i32::from(relu),
        ..norm_arguments(shape, epsilon)
    };
    summing("normed", shape.0 * shape.1, arguments)
}

/// Its gradients, for that of the output where `gate` is positive: of `x`, and for each picture those
/// of scale and shift of every channel in `sums` (N, 2, C).
pub fn norm_backward(
    shape: Shape,
    epsilon: f32,
    [x, upstream, gate, scale]: [u64; 4],
    [gradient, sums]: [u64; 2],
) -> Launch {
    let arguments = Arguments {
        source: x,
        gate,
        other: upstream,
        weights: scale,
        output: gradient,
        sums,
        ..norm_arguments(shape, epsilon)
    };
    summing("normed_back", shape.0 * shape.1, arguments)
}

fn norm_arguments((batch, channels, height, width): Shape, epsilon: f32) -> Arguments {
    let mut numbers = [0.0; 7];
    numbers[0] = epsilon;
    Arguments {
        batch: int(batch),
        channels: int(channels),
        height: int(height),
        width: int(width),
        numbers,
        ..Arguments::default()
    }
}

/// The largest of each 2x2 values of `x`.
pub fn pool(shape: Shape, x: u64, y: u64) -> Launch {
    let (batch, channels, height, width) = shape;
    let count = batch * channels * (height / 2) * (width / 2);
    let arguments = Arguments {
        source: x,
        output: y,
        ..halved(shape)
    };
    for_each("pooled", count, arguments)
}

/// Its gradient.
pub fn pool_backward(shape: Shape, x: u64, upstream: u64, gradient: u64) -> Launch {
    let (batch, channels, height, width) = shape;
    let arguments = Arguments {
        source: x,
        other: upstream,
        output: gradient,
        ..halved(shape)
    };
    for_each("pooled_back", batch * channels * height * width, arguments)
}

/// `x` with every pixel twice in both directions.
pub fn enlarge((batch, channels, height, width): Shape, x: u64, y: u64) -> Launch {
    let arguments = Arguments {
        source: x,
        output: y,
        height: int(height),
        width: int(width),
        rows: int(2 * height),
        columns: int(2 * width),
        ..Arguments::default()
    };
    for_each("enlarged", batch * channels * height * width * 4, arguments)
}

/// Its gradient, of `shape`.
pub fn enlarge_backward(shape: Shape, upstream: u64, gradient: u64) -> Launch {
    let (batch, channels, height, width) = shape;
    let arguments = Arguments {
        source: upstream,
        output: gradient,
        ..halved((batch, channels, 2 * height, 2 * width))
    };
    for_each(
        "enlarged_back",
        batch * channels * height * width,
        arguments,
    )
}

fn halved((_, _, height, width): Shape) -> Arguments {
    Arguments {
        height: int(height),
        width: int(width),
        rows: int(height / 2),
        columns: int(width / 2),
        ..Arguments::default()
    }
}

/// `x` moved: `field` holds where each pixel of each picture comes from, (N, H, W, 2), x first.
pub fn warp((batch, channels, height, width): Shape, x: u64, field: u64, y: u64) -> Launch {
    let arguments = Arguments {
        source: x,
        other: field,
        output: y,
        channels: int(channels),
        height: int(height),
        width: int(width),
        ..Arguments::default()
    };
    for_each("moved", batch * channels * height * width, arguments)
}

/// The sum of the squares of the gradient of each of `count` [`Variable`]s in `table`.
pub fn squares(table: u64, count: usize, output: u64) -> Launch {
    let arguments = Arguments {
        source: table,
        output,
        ..Arguments::default()
    };
    summing("squares", count, arguments)
}

/// A step of Adam for each of `count` [`Variable`]s in `table`, the largest of `largest` values.
/// `numbers` are those of `step_adam` in `kernels.cu`.
pub fn adam(table: u64, count: usize, largest: usize, numbers: [f32; 7]) -> Launch {
    let arguments = Arguments {
        source: table,
        numbers,
        ..Arguments::default()
    };
    let mut launch = for_each("stepped", largest, arguments);
    launch.grid[1] = count as u32;
    launch
}

/// A launch of a kernel that makes one value a thread.
fn for_each(kernel: &str, count: usize, arguments: Arguments) -> Launch {
    Launch {
        kernel: kernel.to_string(),
        grid: [count.div_ceil(VALUE_THREADS).max(1) as u32, 1, 1],
        threads: VALUE_THREADS as u32,
        shared: 0,
        arguments: Arguments {
            count: int(count),
            ..arguments
        },
    }
}

/// A launch of a kernel whose blocks sum.
fn summing(kernel: &str, blocks: usize, arguments: Arguments) -> Launch {
    Launch {
        kernel: kernel.to_string(),
        grid: [blocks as u32, 1, 1],
        threads: SUM_THREADS,
        shared: SUM_BYTES,
        arguments,
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

fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
