//! Which kernels of `kernels.cu` an operator runs, and what they are told.
//!
//! Nothing here needs a GPU. A place is the address of a tensor's first value on a GPU, and in the
//! tests' emulator its distance in bytes from the start of the memory; 0 stands for no tensor.

mod convolution;

pub use convolution::{Convolution, Gram};

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

/// Threads of the kernels that make a value each, and of those that sum.
const VALUE_THREADS: usize = 256;
const SUM_THREADS: u32 = 512;

/// Bytes of shared memory with which sums are gathered from the warps of a block.
const SUM_BYTES: u32 = SUM_THREADS / 32 * 8;

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

fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
