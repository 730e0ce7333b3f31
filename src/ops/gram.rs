//! Gram matrices: which features occur together, wherever they are (Gatys et al. 2016).

use candle_core::{Result, Tensor};

/// The Gram matrices (N, C, C) of `x` (N, C, H, W), divided by C * H * W (Johnson et al. 2016).
pub fn gram(x: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    let flat = x.flatten_from(2)?;
    flat.matmul(&flat.t()?)? / (channels * height * width) as f64
}
