//! Plain Rust: 4 lanes, which every 64-bit CPU has as registers (SSE2, NEON).

use super::vector::{Vector, at, entry_points};

/// Four values.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct F32x4([f32; 4]);

/// Multiplies and adds in one step where the target has an instruction for it.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

impl F32x4 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for F32x4 {
    const LANES: usize = 4;
    const ROWS: usize = 6;
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 4 readable values.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 4 writable values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        let bytes = self.0.map(|value| (value + 0.5) as u8);
        // SAFETY: the caller promises 4 writable bytes.
        unsafe { to.cast::<[u8; 4]>().write_unaligned(bytes) }
    }

    #[inline(always)]
    unsafe fn load_channels(from: *const f32, step: usize) -> [Self; 8] {
        std::array::from_fn(|channel| {
            Self(std::array::from_fn(|pixel| {
                // SAFETY: the caller promises 8 readable values at each of the 4 pixels.
                unsafe { *at(from, pixel * step + channel) }
            }))
        })
    }

    #[inline(always)]
    fn split_thirds(values: [Self; 3]) -> [Self; 3] {
        std::array::from_fn(|third| {
            Self(std::array::from_fn(|i| {
                let place = 3 * i + third;
                values[place / 4].0[place % 4]
            }))
        })
    }

    #[inline(always)]
    fn join_thirds(thirds: [Self; 3]) -> [Self; 3] {
        std::array::from_fn(|register| {
            Self(std::array::from_fn(|i| {
                let place = 4 * register + i;
                thirds[place % 3].0[place / 3]
            }))
        })
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        Self(std::array::from_fn(|i| {
            multiply_add(self.0[i], factor.0[i], summand.0[i])
        }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    entry_points!();
}
