//! The operators on NVIDIA GPUs: kernels of our own (`kernels.cu`), which `launches` lays out, as
//! plain data that the tests run in an emulator. `device` alone talks to a GPU, and exists with the
//! feature `cuda`.

#[cfg(feature = "cuda")]
mod device;
pub mod launches;

#[cfg(feature = "cuda")]
pub use device::{
    Optimized, Packed, adam, conv2d, gram, instance_norm, max_pool2, mean_square, open, squares,
    upsample_nearest2, warp,
};
