//! Nearest-neighbour enlargement and maximum pooling, both by 2.

use candle_core::{Result, Tensor};

use super::composed;

/// Doubles height and width of `x` (N, C, H, W) by repeating every value.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    composed::upsample_nearest2(x)
}

/// The largest of each 2x2 values of `x` (N, C, H, W): (N, C, H / 2, W / 2); an odd last row or
/// column is left out.
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    composed::max_pool2(x)
}
