//! Arithmetic of networks on plain slices, over all cores, at the best level the CPU has.
//!
//! Two shapes of matrix product carry everything: [`gemm`] (packed and blocked, its right side read
//! through a [`PanelSource`], which makes convolution an implicit product) and [`dots`] (both sides
//! contiguous along the sum: weight gradients, Gram matrices). Each level (plain Rust, AVX2 with
//! FMA, AVX-512) is one file behind the trait `Kernel`. Work is spread over rayon's current pool:
//! `ThreadPool::install` around a call bounds its threads. No framework's types appear here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convolution;
mod dots;
mod gemm;
mod generic;
mod level;
mod micro;
mod share;
mod transforms;
mod winograd;

pub use convolution::{Geometry, Padding, Patches, kernel_gradient, turn_kernel};
pub use dots::{Rows, dots};
pub use gemm::{Epilogue, Matrix, PackedRows, PanelSource, gemm};
pub use level::Level;
pub use winograd::WinogradKernel;
