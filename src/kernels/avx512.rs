//! Register tiles for AVX-512: 32 registers of 16 values.
//!
//! A tile of 8 x 48 holds 24 sums, 3 right vectors and 1 left value: 11 loads for 24 FMAs, where
//! the core has two of each a cycle. 8 rows fit every layer's width (multiples of 8) exactly.

use std::arch::x86_64::*;

use super::micro::{self, DotTile, Kernel, Tile, Vector, dispatch};

/// The level's kernel.
pub(super) struct Avx512;

impl Kernel for Avx512 {
    type Vector = F32x16;
    const ROWS: usize = 8;
    const LANES: usize = 16;
    const WIDTH: usize = 48;
    const DOT_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 6;

    unsafe fn tile(rows: usize, vectors: usize, t: &Tile) {
        dispatch!(rows, vectors, [1 2 3 4 5 6 7 8], [1 2 3], tile, (t));
    }

    unsafe fn dot_tile(t: &DotTile, sums: &mut [f32]) {
        dispatch!(t.a.len(), t.b.len(), [1 2 3 4], [1 2 3 4 5 6], dot_tile, (t, sums));
    }

    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        // SAFETY: the caller vouches for the instructions.
        unsafe { vectorize(work) }
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn vectorize<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise is the same.
    unsafe { micro::tile::<Avx512, R, V>(t) }
}

#[target_feature(enable = "avx512f")]
unsafe fn dot_tile<const R: usize, const C: usize>(t: &DotTile, out: &mut [f32]) {
    // SAFETY: each row holds `lines` lines of `length` values; the mask keeps the last load inside.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); C]; R];
        let tail = (1u32 << (t.length % 16)) as u16 - 1;
        for line in 0..t.lines {
            let (a_at, b_at) = (line * t.pitch.0, line * t.pitch.1);
            let mut step = |x: usize, mask: __mmask16| {
                let mut left = [_mm512_setzero_ps(); R];
                for (value, a) in left.iter_mut().zip(t.a) {
                    *value = _mm512_maskz_loadu_ps(mask, a.wrapping_add(a_at + x));
                }
                for (c, b) in t.b.iter().enumerate().take(C) {
                    let right = _mm512_maskz_loadu_ps(mask, b.wrapping_add(b_at + x));
                    for (row, left) in sums.iter_mut().zip(left) {
                        row[c] = _mm512_fmadd_ps(left, right, row[c]);
                    }
                }
            };
            for x in (0..t.length / 16 * 16).step_by(16) {
                step(x, !0);
            }
            if tail != 0 {
                step(t.length / 16 * 16, tail);
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                out[r * Avx512::DOT_COLUMNS + c] += _mm512_reduce_add_ps(*sum);
            }
        }
    }
}

/// A register of values.
#[derive(Clone, Copy)]
pub(super) struct F32x16(__m512);

impl Vector for F32x16 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    fn prefetch(value: *const f32) {
        // SAFETY: every CPU of this architecture has the instruction, and no address is a fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(value.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_mul_ps(self.0, factor.0)) }
    }

    #[inline(always)]
    unsafe fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let kept = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps());
            Self(_mm512_maskz_mov_ps(kept, self.0))
        }
    }

    #[inline(always)]
    unsafe fn split_fourths([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let (even_ab, odd_ab) = (pick(a, b, &EVEN), pick(a, b, &ODD));
            let (even_cd, odd_cd) = (pick(c, d, &EVEN), pick(c, d, &ODD));
            [
                pick(even_ab, even_cd, &EVEN),
                pick(odd_ab, odd_cd, &EVEN),
                pick(even_ab, even_cd, &ODD),
                pick(odd_ab, odd_cd, &ODD),
            ]
        }
    }

    #[inline(always)]
    unsafe fn join_fourths([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let (even, even_high) = (pick(a, c, &LOW), pick(a, c, &HIGH));
            let (odd, odd_high) = (pick(b, d, &LOW), pick(b, d, &HIGH));
            [
                pick(even, odd, &LOW),
                pick(even, odd, &HIGH),
                pick(even_high, odd_high, &LOW),
                pick(even_high, odd_high, &HIGH),
            ]
        }
    }
}

/// Lanes of two registers, one after the other.
type Lanes = [i32; 16];

const EVEN: Lanes = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const ODD: Lanes = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
const LOW: Lanes = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
const HIGH: Lanes = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];

/// Those `lanes` of `a` and `b`.
#[inline(always)]
unsafe fn pick(a: F32x16, b: F32x16, lanes: &Lanes) -> F32x16 {
    // SAFETY: the caller vouches for the instructions; there are 16 lanes to read.
    unsafe {
        let lanes = _mm512_loadu_si512(lanes.as_ptr().cast());
        F32x16(_mm512_permutex2var_ps(a.0, lanes, b.0))
    }
}
