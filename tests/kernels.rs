//! Convolutions and dot products against plain loops, at every level the CPU has.

mod common;

use common::assert_close;
use repaint::kernels::{DirectKernel, Epilogue, Geometry, Level, Padding, Rows, WinogradKernel};
use repaint::kernels::{dots, dots_among};

/// Values without a pattern that an index error could hide in.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

#[test]
fn direct_convolutions_match_a_plain_loop_at_every_level() {
    for level in Level::all_supported() {
        // Widths around those of registers, tiles and blocks.
        for outputs in [1, 3, 4, 6, 7, 8, 9, 17] {
            for width in [1, 7, 8, 15, 16, 17, 47, 48, 49, 97, 194] {
                check_direct(
                    level,
                    outputs,
                    &geometry((3, width), 5, (1, 1), Padding::Zero(0)),
                );
            }
        }
        // Channels that take one pass, just more, and several.
        for channels in [1, 31, 32, 33, 70, 300] {
            check_direct(
                level,
                7,
                &geometry((9, 21), channels, (3, 1), Padding::Zero(1)),
            );
            check_direct(
                level,
                7,
                &geometry((1, 21), channels, (1, 1), Padding::Zero(0)),
            );
        }
        for (kernel, stride) in [(3, 1), (3, 2), (5, 3), (9, 1)] {
            for pad in [0, 1, kernel / 2, kernel - 1] {
                let sizes = [(kernel, kernel), (13, 70), (40, 19), (31, 111)];
                for (height, width) in sizes {
                    let zeros = geometry((height, width), 4, (kernel, stride), Padding::Zero(pad));
                    check_direct(level, 5, &zeros);
                    if pad < height.min(width) {
                        let padding = Padding::Reflect(pad);
                        check_direct(level, 5, &Geometry { padding, ..zeros });
                    }
                }
            }
        }
    }
}

fn geometry(
    (height, width): (usize, usize),
    channels: usize,
    (kernel, stride): (usize, usize),
    padding: Padding,
) -> Geometry {
    Geometry {
        channels,
        height,
        width,
        kernel,
        stride,
        padding,
    }
}

fn check_direct(level: Level, outputs: usize, geometry: &Geometry) {
    let case = Case::new(outputs, geometry);
    let size = geometry.kernel;
    let kernel = DirectKernel::new(level, &case.weight, outputs, geometry.channels, size);
    case.check(level, |epilogue| {
        kernel.convolve(&case.input, Some(&case.gate), geometry, epilogue)
    });
}

#[test]
fn dot_products_match_a_triple_loop_at_every_level() {
    const BATCH: usize = 2;
    const LINES: usize = 3;
    for level in Level::all_supported() {
        for (left, right) in [(1, 1), (3, 5), (4, 6), (5, 13), (19, 19)] {
            for length in [1, 7, 8, 15, 16, 17, 2500] {
                let a = noise(left * BATCH * LINES * length, 1);
                let b = noise(right * BATCH * LINES * length, 2);
                let starts = |rows: usize| -> Vec<usize> {
                    (0..rows).map(|row| row * LINES * length).collect()
                };
                let (a_starts, b_starts) = (starts(left), starts(right));
                let rows = |values, starts, count| Rows {
                    values,
                    starts,
                    batch_pitch: count * LINES * length,
                    pitch: length,
                };
                let mut found = vec![f32::NAN; left * right];
                dots(
                    level,
                    &rows(&a, &a_starts, left),
                    &rows(&b, &b_starts, right),
                    (BATCH, LINES, length),
                    &mut found,
                );
                let mut expected = vec![0.0f64; left * right];
                for batch in 0..BATCH {
                    for (i, expected) in expected.iter_mut().enumerate() {
                        for k in 0..LINES * length {
                            let row = |count: usize, row: usize| {
                                (batch * count + row) * LINES * length + k
                            };
                            *expected += f64::from(a[row(left, i / right)])
                                * f64::from(b[row(right, i % right)]);
                        }
                    }
                }
                if left == right {
                    let mut twice = vec![f32::NAN; left * left];
                    let rows = rows(&a, &a_starts, left);
                    dots_among(level, &rows, (BATCH, LINES, length), &mut twice);
                    let mut found = vec![f32::NAN; left * left];
                    dots(level, &rows, &rows, (BATCH, LINES, length), &mut found);
                    assert_close("among", &twice, &found, 1e-6);
                }
                let expected: Vec<f32> = expected.iter().map(|value| *value as f32).collect();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{level:?} {left}x{right}x{length}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn transformed_convolutions_match_a_plain_loop_at_every_level() {
    let sizes = [
        (1, 1),
        (3, 1),
        (2, 5),
        (4, 4),
        (5, 9),
        (6, 67),
        (12, 200),
        (31, 29),
    ];
    for level in Level::all_supported() {
        for pad in 0..3 {
            for (height, width) in sizes {
                if height.min(width) + 2 * pad >= 3 {
                    for (outputs, channels) in [(1, 1), (6, 3), (9, 17)] {
                        check_transformed(level, pad, (height, width), outputs, channels);
                    }
                }
            }
        }
        // So many channels that a block's inputs do not stay in the cache.
        check_transformed(level, 1, (40, 60), 20, 300);
    }
}

fn check_transformed(
    level: Level,
    pad: usize,
    size: (usize, usize),
    outputs: usize,
    channels: usize,
) {
    let geometry = geometry(size, channels, (3, 1), Padding::Zero(pad));
    let case = Case::new(outputs, &geometry);
    let kernel = WinogradKernel::new(level, &case.weight, outputs, channels);
    case.check(level, |epilogue| {
        kernel.convolve(&case.input, Some(&case.gate), size, pad, epilogue)
    });
}

/// A convolution of two pictures and what a plain loop makes of them.
struct Case {
    what: String,
    input: Vec<f32>,
    gate: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    expected: Vec<f32>,
}

impl Case {
    fn new(outputs: usize, g: &Geometry) -> Self {
        const BATCH: usize = 2;
        let (out_height, out_width) = g.output();
        let area = g.kernel * g.kernel;
        let input = noise(BATCH * g.channels * g.height * g.width, 1);
        let gate = noise(input.len(), 4);
        let weight = noise(outputs * g.channels * area, 2);
        let bias = noise(outputs, 3);
        let place = |position: usize, size: usize| match g.padding {
            Padding::Zero(pad) => position.checked_sub(pad).filter(|at| *at < size),
            Padding::Reflect(pad) if position < pad => Some(pad - position),
            Padding::Reflect(pad) if position < pad + size => Some(position - pad),
            Padding::Reflect(pad) => Some(2 * size + pad - 2 - position),
        };
        let mut expected = Vec::new();
        for (batch, output) in (0..BATCH).flat_map(|b| (0..outputs).map(move |o| (b, o))) {
            for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
                let mut sum = f64::from(bias[output]);
                for i in 0..g.channels * area {
                    let (channel, ky, kx) = (i / area, i % area / g.kernel, i % g.kernel);
                    let y = place(y * g.stride + ky, g.height);
                    if let (Some(y), Some(x)) = (y, place(x * g.stride + kx, g.width)) {
                        let at = ((batch * g.channels + channel) * g.height + y) * g.width + x;
                        let value = if gate[at] > 0.0 { input[at] } else { 0.0 };
                        let weight = weight[output * g.channels * area + i];
                        sum += f64::from(value) * f64::from(weight);
                    }
                }
                expected.push(sum as f32);
            }
        }
        Self {
            what: format!("{g:?} -> {outputs}"),
            input,
            gate,
            weight,
            bias,
            expected,
        }
    }

    /// Compares what `convolve` makes, with and without ReLU.
    fn check(&self, level: Level, convolve: impl Fn(Epilogue) -> Vec<f32>) {
        for relu in [false, true] {
            let bias = Some(self.bias.as_slice());
            let found = convolve(Epilogue { bias, relu });
            let least = if relu { 0.0 } else { f32::NEG_INFINITY };
            let expected: Vec<f32> = self.expected.iter().map(|value| value.max(least)).collect();
            assert_close(&format!("{level:?} {}", self.what), &found, &expected, 1e-5);
        }
    }
}
