//! The operators composed of candle's own, for CUDA; only those whose gradients are right are used.
//!
//! Avoided are candle's `max_pool2d` and `upsample_nearest2d` (wrong gradients in 0.11) and strided
//! convolution of sizes that the kernel does not end flush with (its backward fails).

use candle_core::{D, Result, Tensor};

use super::conv::{Conv, Padding};
use super::warp::{Field, Taps};
use crate::network::NORM_EPSILON;

/// See [`super::conv2d`].
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Result<Tensor> {
    let (_, _, kh, kw) = weight.dims4()?;
    let mut padded = match conv.padding {
        Padding::Zero(pad) => x.pad_with_zeros(2, pad, pad)?.pad_with_zeros(3, pad, pad)?,
        Padding::Reflect(0) => x.clone(),
        Padding::Reflect(pad) => {
            let (_, _, height, width) = x.dims4()?;
            let rows = Tensor::new(reflected(height, pad), x.device())?;
            let columns = Tensor::new(reflected(width, pad), x.device())?;
            x.index_select(&rows, 2)?.index_select(&columns, 3)?
        }
    };
    for (dim, kernel) in [(2, kh), (3, kw)] {
        let size = padded.dim(dim)?;
        let used = (size - kernel) / conv.stride * conv.stride + kernel;
        padded = padded.narrow(dim, 0, used)?;
    }
    let mut y = padded.contiguous()?.conv2d(weight, 0, conv.stride, 1, 1)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    }
    if conv.relu { y.relu() } else { Ok(y) }
}

/// See [`super::instance_norm`].
pub fn instance_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, relu: bool) -> Result<Tensor> {
    let flat = x.flatten_from(2)?;
    let centred = flat.broadcast_sub(&flat.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let deviation = (variance + f64::from(NORM_EPSILON))?.sqrt()?;
    let y = centred
        .broadcast_div(&deviation)?
        .broadcast_mul(&scale.reshape((1, (), 1))?)?
        .broadcast_add(&shift.reshape((1, (), 1))?)?
        .reshape(x.shape())?;
    if relu { y.relu() } else { Ok(y) }
}

/// See [`super::upsample_nearest2`].
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    x.reshape((n, c, h, 1, w, 1))?
        .broadcast_as((n, c, h, 2, w, 2))?
        .reshape((n, c, 2 * h, 2 * w))
}

/// See [`super::max_pool2`].
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / 2, w / 2);
    x.narrow(2, 0, 2 * h)?
        .narrow(3, 0, 2 * w)?
        .reshape((n, c, h, 2, w, 2))?
        .max(5)?
        .max(3)
}

/// See [`super::average_pool2`].
pub fn average_pool2(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / 2, w / 2);
    x.narrow(2, 0, 2 * h)?
        .narrow(3, 0, 2 * w)?
        .reshape((n, c, h, 2, w, 2))?
        .mean(5)?
        .mean(3)
}

/// See [`super::warp`].
pub fn warp(x: &Tensor, field: &Field) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let taps: Vec<Taps> = (0..n).flat_map(|picture| field.taps(picture)).collect();
    let flat = x.flatten_from(2)?.contiguous()?;
    let mut sum = flat.zeros_like()?;
    for tap in 0..4 {
        let indices: Vec<u32> = taps.iter().map(|taps| taps.indices[tap] as u32).collect();
        let weights: Vec<f32> = taps.iter().map(|taps| taps.weights[tap]).collect();
        let indices = Tensor::from_vec(indices, (n, 1, h * w), x.device())?;
        let indices = indices.broadcast_as((n, c, h * w))?.contiguous()?;
        let weights = Tensor::from_vec(weights, (n, 1, h * w), x.device())?;
        sum = (sum + flat.gather(&indices, 2)?.broadcast_mul(&weights)?)?;
    }
    sum.reshape((n, c, h, w))
}

/// Indices of a row of `size` values with `pad` mirrored ones on both sides.
fn reflected(size: usize, pad: usize) -> Vec<u32> {
    let (size, pad) = (size as i64, pad as i64);
    (-pad..size + pad)
        .map(|i| {
            let i = i.abs();
            i.min(2 * (size - 1) - i) as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Var};

    use super::*;
    use crate::ops;

    /// Value and gradients of `layer`, for an upstream gradient that differs from value to value.
    fn results(inputs: &[&Var], layer: impl Fn() -> Result<Tensor>) -> Result<Vec<Vec<f32>>> {
        let y = layer()?;
        let grads = (&y * y.cos()?)?.sum_all()?.backward()?;
        let mut results = vec![y];
        for input in inputs {
            results.push(grads.get(input).expect("a gradient").clone());
        }
        results
            .iter()
            .map(|tensor| tensor.flatten_all()?.to_vec1())
            .collect()
    }

    fn assert_equal(ours: Result<Vec<Vec<f32>>>, composed: Result<Vec<Vec<f32>>>) {
        let (ours, composed) = (ours.unwrap(), composed.unwrap());
        assert_eq!(ours.len(), composed.len());
        for (ours, composed) in ours.iter().zip(&composed) {
            assert_eq!(ours.len(), composed.len());
            for (a, b) in ours.iter().zip(composed) {
                assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn composed_convolutions_equal_the_custom_ones() {
        let x = Var::randn(0f32, 1.0, (2, 3, 9, 12), &Device::Cpu).unwrap();
        let weight = Var::randn(0f32, 0.3, (4, 3, 3, 3), &Device::Cpu).unwrap();
        let bias = Var::randn(0f32, 1.0, 4, &Device::Cpu).unwrap();
        for padding in [Padding::Zero(1), Padding::Reflect(1), Padding::Zero(0)] {
            for (stride, relu) in [(1, true), (2, false)] {
                let conv = Conv {
                    stride,
                    padding,
                    relu,
                };
                let inputs = [&x, &weight, &bias];
                assert_equal(
                    results(&inputs, || ops::conv2d(&x, &weight, Some(&bias), conv)),
                    results(&inputs, || conv2d(&x, &weight, Some(&bias), conv)),
                );
            }
        }
    }

    #[test]
    fn composed_norm_enlarging_pooling_and_moving_equal_the_custom_ones() {
        let x = Var::randn(0f32, 1.0, (2, 3, 7, 10), &Device::Cpu).unwrap();
        let scale = Var::randn(1f32, 0.1, 3, &Device::Cpu).unwrap();
        let shift = Var::randn(0f32, 0.1, 3, &Device::Cpu).unwrap();
        let inputs = [&x, &scale, &shift];
        assert_equal(
            results(&inputs, || ops::instance_norm(&x, &scale, &shift, true)),
            results(&inputs, || instance_norm(&x, &scale, &shift, true)),
        );
        assert_equal(
            results(&[&x], || ops::upsample_nearest2(&x)),
            results(&[&x], || upsample_nearest2(&x)),
        );
        assert_equal(
            results(&[&x], || ops::max_pool2(&x)),
            results(&[&x], || max_pool2(&x)),
        );
        assert_equal(
            results(&[&x], || ops::average_pool2(&x)),
            results(&[&x], || average_pool2(&x)),
        );
        let place = |i: usize| [(i % 10) as f32 * 0.9 + 0.7, (i / 10 % 7) as f32 * 1.1 - 0.4];
        let field = Arc::new(Field::new(2, 7, 10, (0..140).map(place).collect()).unwrap());
        assert_equal(
            results(&[&x], || ops::warp(&x, &field)),
            results(&[&x], || warp(&x, &field)),
        );
    }
}
