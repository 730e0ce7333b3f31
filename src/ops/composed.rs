//! Operators composed of candle's own, for CUDA, where training does not need them to be fast.

use candle_core::{Result, Tensor};

use super::warp::{Field, Taps};

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
    fn composed_pooling_and_moving_equal_the_custom_ones() {
        let x = Var::randn(0f32, 1.0, (2, 3, 7, 10), &Device::Cpu).unwrap();
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
