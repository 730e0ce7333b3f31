//! Candle operators whose gradients are right and whose CPU side uses every core.
//!
//! On the CPU they are custom operators over `kernels`, on NVIDIA GPUs over the kernels of `cuda`; a few are
//! composed of candle's own there. Every picture tensor is (N, C, H, W), `f32`.

mod composed;
mod conv;
pub mod cuda;
mod gram;
mod norm;
mod resample;
mod transformer;
mod values;
mod warp;

pub use conv::{Conv, FrozenConv, Padding, conv2d};
pub use gram::{gram, mean_square};
pub use norm::instance_norm;
pub use resample::{average_pool2, max_pool2, upsample_nearest2};
pub use transformer::transformer;
pub use warp::{Field, warp};
