//! Products and transformed convolutions against plain loops, at every level the CPU has.

mod common;

use common::assert_close;
use repaint::kernels::{Epilogue, Level, Matrix, PackedRows, Padding, Rows, WinogradKernel};
use repaint::kernels::{dots, gemm};

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
fn products_match_a_triple_loop_at_every_level() {
    for level in Level::all_supported() {
        for rows in [1, 3, 4, 6, 7, 8, 9, 17] {
            for columns in [1, 7, 8, 15, 16, 17, 47, 48, 49, 97, 500] {
                for depth in [1, 2, 255, 257, 600] {
                    check_product(level, rows, columns, depth);
                }
            }
        }
    }
}

fn check_product(level: Level, rows: usize, columns: usize, depth: usize) {
    const BATCH: usize = 2;
    let left = noise(rows * depth, 1);
    let right = noise(BATCH * depth * columns, 2);
    let bias = noise(rows, 3);
    let mut expected = vec![0.0; BATCH * rows * columns];
    for batch in 0..BATCH {
        for row in 0..rows {
            for column in 0..columns {
                let sum: f64 = (0..depth)
                    .map(|k| {
                        let right = right[(batch * depth + k) * columns + column];
                        f64::from(left[row * depth + k]) * f64::from(right)
                    })
                    .sum();
                expected[(batch * rows + row) * columns + column] = sum as f32 + bias[row];
            }
        }
    }
    let packed = PackedRows::new(level, &left, rows, depth);
    let matrix = Matrix {
        values: &right,
        rows: depth,
        columns,
    };
    let what = format!("{level:?} {rows}x{depth}x{columns}");
    for relu in [false, true] {
        let mut found = vec![f32::NAN; expected.len()];
        let epilogue = Epilogue {
            bias: Some(&bias),
            relu,
        };
        gemm(&packed, &matrix, columns, epilogue, &mut found);
        if relu {
            expected
                .iter_mut()
                .for_each(|value| *value = value.max(0.0));
        }
        let scale = expected.iter().fold(1.0f32, |max, v| max.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-5 * scale,
                "{what}: {found} {expected}"
            );
        }
    }
}

#[test]
fn dot_products_match_a_triple_loop_at_every_level() {
    const BATCH: usize = 2;
    const LINES: usize = 3;
    for level in Level::all_supported() {
        for (left, right) in [(1, 1), (3, 5), (4, 6), (5, 13)] {
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
        for padding in [
            Padding::Zero(0),
            Padding::Zero(1),
            Padding::Zero(2),
            Padding::Reflect(1),
        ] {
            for (height, width) in sizes {
                let mirrored = matches!(padding, Padding::Reflect(_));
                let smallest = if mirrored {
                    2
                } else {
                    3 - 2 * padding.size().min(1)
                };
                if height.min(width) >= smallest {
                    for (outputs, channels) in [(1, 1), (6, 3), (9, 17)] {
                        check_transformed(level, padding, (height, width), outputs, channels);
                    }
                }
            }
        }
        // So many channels that a block's inputs do not stay in the cache.
        check_transformed(level, Padding::Zero(1), (40, 60), 20, 300);
    }
}

fn check_transformed(
    level: Level,
    padding: Padding,
    (height, width): (usize, usize),
    outputs: usize,
    channels: usize,
) {
    const BATCH: usize = 2;
    let pad = padding.size();
    let (out_height, out_width) = (height + 2 * pad - 2, width + 2 * pad - 2);
    let input = noise(BATCH * channels * height * width, 1);
    let gate = noise(input.len(), 4);
    let weight = noise(outputs * channels * 9, 2);
    let bias = noise(outputs, 3);
    let place = |position: usize, size: usize| match padding {
        Padding::Zero(pad) => position.checked_sub(pad).filter(|at| *at < size),
        Padding::Reflect(pad) if position < pad => Some(pad - position),
        Padding::Reflect(pad) if position < pad + size => Some(position - pad),
        Padding::Reflect(pad) => Some(2 * size + pad - 2 - position),
    };
    let mut expected = Vec::new();
    for (batch, output) in (0..BATCH).flat_map(|b| (0..outputs).map(move |o| (b, o))) {
        for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
            let mut sum = f64::from(bias[output]);
            for (channel, tap) in (0..channels).flat_map(|c| (0..9).map(move |tap| (c, tap))) {
                if let (Some(y), Some(x)) = (place(y + tap / 3, height), place(x + tap % 3, width))
                {
                    let at = ((batch * channels + channel) * height + y) * width + x;
                    let value = if gate[at] > 0.0 { input[at] } else { 0.0 };
                    sum += f64::from(value)
                        * f64::from(weight[(output * channels + channel) * 9 + tap]);
                }
            }
            expected.push(sum as f32);
        }
    }
    let kernel = WinogradKernel::new(level, &weight, outputs, channels);
    let what = format!("{level:?} {padding:?} {height}x{width} {channels} -> {outputs}");
    for relu in [false, true] {
        let mut found = vec![f32::NAN; expected.len()];
        let epilogue = Epilogue {
            bias: Some(&bias),
            relu,
        };
        kernel.convolve(
            &input,
            Some(&gate),
            (height, width),
            padding,
            epilogue,
            &mut found,
        );
        if relu {
            expected
                .iter_mut()
                .for_each(|value| *value = value.max(0.0));
        }
        assert_close(&what, &found, &expected, 1e-5);
    }
}
