//! The operators against PyTorch's values and gradients, the products against a triple loop.

mod common;

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var};
use common::{assert_close, reference};
use repaint::kernels::{Epilogue, Level, Matrix, PackedRows, Rows, WinogradKernel, dots, gemm};
use repaint::ops::{self, Conv, Padding};

/// Runs one entry of `ops.safetensors` through `layer` and compares value and gradients.
fn check(name: &str, layer: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let Some(path) = reference("ops.safetensors") else {
        return;
    };
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let inputs: Vec<Var> = (0..)
        .map_while(|i| tensors.get(&format!("{name}.x{i}")))
        .map(|x| Var::from_tensor(x).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "no entry {name}");
    let arguments: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    let y = layer(&arguments).unwrap();
    let expected = &tensors[&format!("{name}.y")];
    assert_eq!(y.dims(), expected.dims(), "{name}: shape");
    assert_close(name, &flat(&y), &flat(expected), 1e-4);
    let upstream = &tensors[&format!("{name}.upstream")];
    let grads = (y * upstream)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    for (i, x) in inputs.iter().enumerate() {
        let what = format!("{name}: gradient {i}");
        let grad = grads.get(x).expect(&what);
        let expected = &tensors[&format!("{name}.grad{i}")];
        assert_close(&what, &flat(grad), &flat(expected), 1e-3);
    }
}

fn conv(stride: usize, padding: Padding) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |x| {
        let settings = Conv {
            stride,
            padding,
            relu: false,
        };
        ops::conv2d(&x[0], &x[1], Some(&x[2]), settings)
    }
}

#[test]
fn convolutions_with_mirrored_padding_match_pytorch() {
    check("conv3_stride1", conv(1, Padding::Reflect(1)));
    check("conv9", conv(1, Padding::Reflect(4)));
}

#[test]
fn strided_convolutions_of_even_and_odd_sizes_match_pytorch() {
    check("conv3_stride2_even", conv(2, Padding::Reflect(1)));
    check("conv3_stride2_odd", conv(2, Padding::Reflect(1)));
}

#[test]
fn a_convolution_with_zero_padding_matches_pytorch() {
    check("conv3_zero_pad", conv(1, Padding::Zero(1)));
}

#[test]
fn enlarging_a_tensor_that_is_used_twice_matches_pytorch() {
    check("upsample_twice_used", |x| {
        ops::upsample_nearest2(&x[0])? + ops::upsample_nearest2(&x[0].sqr()?)?
    });
}

#[test]
fn pooling_instance_norm_and_gram_match_pytorch() {
    check("max_pool2", |x| ops::max_pool2(&x[0]));
    check("instance_norm", |x| {
        ops::instance_norm(&x[0], &x[1], &x[2], false)
    });
    check("gram", |x| ops::gram(&x[0]));
}

#[test]
fn relu_inside_an_operator_is_relu_after_it() {
    let device = Device::Cpu;
    let x = Var::randn(0f32, 1.0, (2, 3, 13, 10), &device).unwrap();
    let weight = Var::randn(0f32, 0.3, (5, 3, 3, 3), &device).unwrap();
    let scale = Var::randn(1f32, 0.1, 5, &device).unwrap();
    let shift = Var::randn(0f32, 0.5, 5, &device).unwrap();
    let upstream = Tensor::randn(0f32, 1.0, (2, 5, 7, 5), &device).unwrap();
    let run = |inside: bool| {
        let relu = |y: Tensor| if inside { Ok(y) } else { y.relu() };
        let settings = Conv {
            stride: 2,
            padding: Padding::Reflect(1),
            relu: inside,
        };
        let y = relu(ops::conv2d(&x, &weight, Some(&shift), settings)?)?;
        let y = relu(ops::instance_norm(&y, &scale, &shift, inside)?)?;
        let grads = (&y * &upstream)?.sum_all()?.backward()?;
        let mut results = vec![y];
        for variable in [&x, &weight, &scale, &shift] {
            results.push(grads.get(variable).unwrap().clone());
        }
        results
            .iter()
            .map(|t| t.flatten_all()?.to_vec1::<f32>())
            .collect::<Result<Vec<_>>>()
    };
    let (inside, after) = (run(true).unwrap(), run(false).unwrap());
    for (i, (inside, after)) in inside.iter().zip(&after).enumerate() {
        assert_close(&format!("result {i}"), inside, after, 1e-5);
    }
}

#[test]
fn a_frozen_kernel_gets_no_gradient() {
    let x = Var::ones((1, 2, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let weight = Tensor::ones((3, 2, 3, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let settings = Conv {
        stride: 1,
        padding: Padding::Zero(1),
        relu: true,
    };
    let y = ops::conv2d(&x, &weight, None, settings).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&weight).is_none());
    assert!(grads.get(&x).is_some());
}

#[test]
fn a_convolution_refuses_what_does_not_fit() {
    let x = Tensor::zeros((1, 2, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let refused = |kernel: (usize, usize, usize, usize), stride, padding| {
        let weight = Tensor::zeros(kernel, candle_core::DType::F32, &Device::Cpu).unwrap();
        let settings = Conv {
            stride,
            padding,
            relu: false,
        };
        ops::conv2d(&x, &weight, None, settings)
            .unwrap_err()
            .to_string()
    };
    let message = refused((1, 2, 9, 9), 1, Padding::Reflect(4));
    assert!(message.contains("too small to mirror 4"), "{message}");
    let message = refused((1, 3, 3, 3), 1, Padding::Zero(1));
    assert!(message.contains("over 3 channels got 2"), "{message}");
    let message = refused((1, 2, 3, 3), 0, Padding::Zero(1));
    assert!(message.contains("stride of 0"), "{message}");
    let message = refused((1, 2, 7, 7), 1, Padding::Zero(1));
    assert!(message.contains("smaller than the kernel"), "{message}");
}

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
                    let value = input[((batch * channels + channel) * height + y) * width + x];
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
        kernel.convolve(&input, (height, width), padding, epilogue, &mut found);
        if relu {
            expected
                .iter_mut()
                .for_each(|value| *value = value.max(0.0));
        }
        assert_close(&what, &found, &expected, 1e-5);
    }
}
