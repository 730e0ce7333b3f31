//! Register tiles for NEON: 32 registers of 4 values.
//!
//! A tile of 8 x 12 holds 24 sums, 3 right vectors and 8 left values in 2 vectors, which the
//! multiplication takes one by one: 5 loads for 24 FMAs.

use std::arch::aarch64::*;
use std::array::from_fn;

use super::micro::{self, DotTile, Kernel, Tile, Vector, dispatch};

/// The level's kernel.
pub(super) struct Neon;

impl Kernel for Neon {
    type Vector = F32x4;
    const ROWS: usize = 8;
    const LANES: usize = 4;
    const WIDTH: usize = 12;
    const DOT_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 4;

    unsafe fn tile(rows: usize, vectors: usize, t: &Tile) {
        dispatch!(rows, vectors, [1 2 3 4 5 6 7 8], [1 2 3], tile, (t));
    }

    // As the default, but for the left values: each is a lane of a vector.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "constant indices keep the sums in registers"
    )]
    unsafe fn product<const R: usize, const V: usize>(
        rows: impl Iterator<Item = *const f32>,
        mut a: *const f32,
    ) -> [[F32x4; V]; R] {
        // SAFETY: the left panel holds a group of 8 for each row, each row `V` vectors.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); V]; R];
            for row in rows {
                let left = [vld1q_f32(a), vld1q_f32(vector(a, 1))];
                let mut right = [vdupq_n_f32(0.0); V];
                for v in 0..V {
                    right[v] = vld1q_f32(vector(row, v));
                }
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = fma_lane(sums[r][v], right[v], left[r / 4], r % 4);
                    }
                }
                a = a.wrapping_add(Neon::ROWS);
            }
            sums.map(|row| row.map(F32x4))
        }
    }

    unsafe fn dot_tile(t: &DotTile, sums: &mut [f32]) {
        dispatch!(t.a.len(), t.b.len(), [1 2 3 4], [1 2 3 4], dot_tile, (t, sums));
    }

    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// The vector number `index` from `start` on.
#[inline(always)]
fn vector(start: *const f32, index: usize) -> *const f32 {
    start.cast::<[f32; 4]>().wrapping_add(index).cast()
}

/// `sum + lane * factor`, for a lane that is known once the code is inlined.
#[inline(always)]
fn fma_lane(sum: float32x4_t, factor: float32x4_t, lanes: float32x4_t, lane: usize) -> float32x4_t {
    // SAFETY: every CPU of this architecture has the instructions.
    unsafe {
        match lane {
            0 => vfmaq_laneq_f32::<0>(sum, factor, lanes),
            1 => vfmaq_laneq_f32::<1>(sum, factor, lanes),
            2 => vfmaq_laneq_f32::<2>(sum, factor, lanes),
            _ => vfmaq_laneq_f32::<3>(sum, factor, lanes),
        }
    }
}

unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise is the same.
    unsafe { micro::tile::<Neon, R, V>(t) }
}

#[allow(
    clippy::needless_range_loop,
    reason = "constant indices keep the sums in registers"
)]
unsafe fn dot_tile<const R: usize, const C: usize>(t: &DotTile, out: &mut [f32]) {
    // SAFETY: each row holds `lines` lines of `length` values; what is behind the last whole
    // vector of a line is copied value by value.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); C]; R];
        let whole = t.length / 4 * 4;
        let last = |line: *const f32| {
            let mut values = [0.0; 4];
            for (i, value) in values.iter_mut().take(t.length - whole).enumerate() {
                *value = *line.wrapping_add(whole + i);
            }
            vld1q_f32(values.as_ptr())
        };
        for line in 0..t.lines {
            let a: [_; R] = from_fn(|r| t.a[r].wrapping_add(line * t.pitch.0));
            let b: [_; C] = from_fn(|c| t.b[c].wrapping_add(line * t.pitch.1));
            for x in (0..whole).step_by(4) {
                let left = a.map(|a| vld1q_f32(a.wrapping_add(x)));
                for c in 0..C {
                    let right = vld1q_f32(b[c].wrapping_add(x));
                    for r in 0..R {
                        sums[r][c] = vfmaq_f32(sums[r][c], left[r], right);
                    }
                }
            }
            if whole < t.length {
                let left = a.map(last);
                for c in 0..C {
                    let right = last(b[c]);
                    for r in 0..R {
                        sums[r][c] = vfmaq_f32(sums[r][c], left[r], right);
                    }
                }
            }
        }
        for (out, row) in out.chunks_exact_mut(Neon::DOT_COLUMNS).zip(sums) {
            for (out, sum) in out.iter_mut().zip(row) {
                *out += vaddvq_f32(sum);
            }
        }
    }
}

/// A register of values.
#[derive(Clone, Copy)]
pub(super) struct F32x4(float32x4_t);

/// Transposes a 4x4 matrix of four rows.
#[inline(always)]
unsafe fn transpose4([a, b, c, d]: [F32x4; 4]) -> [F32x4; 4] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let [ab, cd] = [vtrnq_f32(a.0, b.0), vtrnq_f32(c.0, d.0)];
        let low = |a, b| F32x4(vcombine_f32(vget_low_f32(a), vget_low_f32(b)));
        let high = |a, b| F32x4(vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
        [
            low(ab.0, cd.0),
            low(ab.1, cd.1),
            high(ab.0, cd.0),
            high(ab.1, cd.1),
        ]
    }
}

impl Vector for F32x4 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vdupq_n_f32(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { Self(vld1q_f32(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vaddq_f32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vsubq_f32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vmulq_f32(self.0, factor.0)) }
    }

    #[inline(always)]
    unsafe fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vfmaq_f32(summand.0, self.0, factor.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let kept = vandq_u32(vreinterpretq_u32_f32(self.0), vcgtzq_f32(gate.0));
            Self(vreinterpretq_f32_u32(kept))
        }
    }

    #[inline(always)]
    unsafe fn split_fourths(values: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller's promise is the same.
        unsafe { transpose4(values) }
    }

    #[inline(always)]
    unsafe fn join_fourths(fourths: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller's promise is the same.
        unsafe { transpose4(fourths) }
    }
}
