//! Arithmetic of networks on plain slices, over all cores, at the best level the CPU has.
//!
//! Two shapes of matrix product carry everything: that of [`DirectKernel`] (a packed kernel times
//! the picture's patches, which are read where they lie) and [`dots`] (both sides contiguous along
//! the sum: weight gradients, Gram matrices). [`WinogradKernel`] spares 3x3 convolutions three
//! quarters of their products. Each level (plain Rust, NEON, AVX2 with FMA, AVX-512) is one file
//! behind the trait `Kernel`. Work is spread over rayon's current pool: `ThreadPool::install` around a
//! call bounds its threads. No framework's types appear here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convolution;
mod direct;
mod dots;
mod generic;
mod level;
mod micro;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod share;
mod tiles;
mod transforms;
mod winograd;

pub use convolution::{Geometry, Padding, kernel_gradient, turn_kernel};
pub use direct::{DirectKernel, Epilogue};
pub use dots::{Rows, dots, dots_among};
pub use level::Level;
pub use winograd::WinogradKernel;
