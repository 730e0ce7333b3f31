//! What a vector register can do: the one trait that every kernel is written against.
//!
//! Kernels are generic over it and `#[inline(always)]` down to the intrinsics, so that each level's
//! entry points, which alone carry `#[target_feature]`, hold the whole kernel compiled for it.

use super::gemm::Panel;
use super::planar::Window;
use super::{Job, Memory};

/// A register of `f32` lanes of one level. Values exist only inside the level's entry points, so
/// that holding one proves that the CPU has its instructions.
pub(in crate::backend::cpu) trait Vector: Copy {
    /// Values in a register.
    const LANES: usize;
    /// Pixels of a register block of the matrix kernel, which is two registers wide: with its
    /// operands it fills the 16 or 32 registers.
    const ROWS: usize;
    /// Whether there are 32 registers, enough for the wide blocks of the 9x9 kernels.
    const WIDE: bool;

    /// Reads `LANES` values.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes `LANES` values.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store(self, to: *mut f32);

    /// Writes the lanes as bytes, clamped to 0..255 and rounded to the nearest; NaN becomes 0.
    ///
    /// # Safety
    /// `LANES` bytes are writable.
    unsafe fn store_bytes(self, to: *mut u8);

    /// Reads 8 channels of `LANES` pixels that lie `step` values apart: one register a channel.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load_channels(from: *const f32, step: usize) -> [Self; 8];

    /// Splits three registers of consecutive values into every third from the first, the second
    /// and the third value on.
    fn split_thirds(values: [Self; 3]) -> [Self; 3];

    /// The reverse of [`Self::split_thirds`].
    fn join_thirds(thirds: [Self; 3]) -> [Self; 3];

    /// The same value in each lane.
    fn splat(value: f32) -> Self;

    /// `self + other`.
    fn add(self, other: Self) -> Self;

    /// `self - other`.
    fn sub(self, other: Self) -> Self;

    /// `self * other`.
    fn mul(self, other: Self) -> Self;

    /// `self * factor + summand`.
    fn fma(self, factor: Self, summand: Self) -> Self;

    /// The larger of the two; `other` where `self` is NaN.
    fn max(self, other: Self) -> Self;

    /// [`Panel::multiply`], compiled for the level on its own.
    ///
    /// # Safety
    /// As there; the CPU has the level.
    unsafe fn multiply(panel: &Panel, vectors: usize, a: *const f32, w: *const f32, out: *mut f32);

    /// [`Window::row`], compiled for the level on its own.
    ///
    /// # Safety
    /// As there; the CPU has the level.
    unsafe fn convolve_row(window: &Window, from: *const f32, w: *const f32, out: *mut f32);

    /// [`Job::run_as`], compiled for the level.
    ///
    /// # Safety
    /// As there; the CPU has the level.
    unsafe fn run(job: &Job, memory: &Memory, unit: usize, worker: usize);
}

/// The entry points of a level: the generic kernels compiled with its instructions.
macro_rules! entry_points {
    ($($feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn multiply(
            panel: &$crate::backend::cpu::kernels::gemm::Panel,
            vectors: usize,
            a: *const f32,
            w: *const f32,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise is the same.
            unsafe { panel.multiply::<Self>(vectors, a, w, out) }
        }

        $(#[target_feature(enable = $feature)])?
        unsafe fn convolve_row(
            window: &$crate::backend::cpu::kernels::planar::Window,
            from: *const f32,
            w: *const f32,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise is the same.
            unsafe { window.row::<Self>(from, w, out) }
        }

        $(#[target_feature(enable = $feature)])?
        unsafe fn run(
            job: &$crate::backend::cpu::kernels::Job,
            memory: &$crate::backend::cpu::kernels::Memory,
            unit: usize,
            worker: usize,
        ) {
            // SAFETY: the caller's promise is the same.
            unsafe { job.run_as::<Self>(memory, unit, worker) }
        }
    };
}
pub(super) use entry_points;

/// What `$work` gives, where `$register` is the [`Vector`] of `$level`.
macro_rules! with_level {
    ($level:expr, $register:ident => $work:expr) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Level::Avx512 => {
                type $register = $crate::backend::cpu::kernels::avx512::F32x16;
                $work
            }
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Level::Avx2 => {
                type $register = $crate::backend::cpu::kernels::avx2::F32x8;
                $work
            }
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Level::Neon => {
                type $register = $crate::backend::cpu::kernels::neon::F32x4;
                $work
            }
            _ => {
                type $register = $crate::backend::cpu::kernels::generic::F32x4;
                $work
            }
        }
    };
}
pub(super) use with_level;

/// `pointer + values`, without the checks that builds with assertions put into pointer arithmetic:
/// they would cost most of the time of the inner loops.
#[inline(always)]
pub(super) fn at(pointer: *const f32, values: usize) -> *const f32 {
    pointer.wrapping_add(values)
}

/// As [`at`], to write to.
#[inline(always)]
pub(super) fn at_mut(pointer: *mut f32, values: usize) -> *mut f32 {
    pointer.wrapping_add(values)
}
