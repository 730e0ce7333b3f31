//! Instance norm with scale, shift and ReLU in one operator (Ulyanov et al. 2016).

use candle_core::{Result, Tensor};

use super::composed;

/// Normalises each channel of each picture of `x` (N, C, H, W) to mean 0 and (biased) variance 1,
/// multiplies by `scale` (C), adds `shift` (C), then applies ReLU if asked.
pub fn instance_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, relu: bool) -> Result<Tensor> {
    composed::instance_norm(x, scale, shift, relu)
}
