//! Register tiles for AVX2 with FMA: 16 registers of 8 values.
//!
//! A tile of 6 x 16 holds 12 sums, 2 right vectors and 1 left value: 8 loads for 12 FMAs. 4 x 24
//! would fit layers of 8 channels better, but takes the last register and spills.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::micro::{self, DotTile, Kernel, Tile, Vector, dispatch};

/// The level's kernel.
pub(super) struct Avx2;

impl Kernel for Avx2 {
    type Vector = F32x8;
    const ROWS: usize = 6;
    const LANES: usize = 8;
    const WIDTH: usize = 16;
    const DOT_ROWS: usize = 3;
    const DOT_COLUMNS: usize = 4;

    unsafe fn tile(rows: usize, vectors: usize, t: &Tile) {
        dispatch!(rows, vectors, [1 2 3 4 5 6], [1 2], tile, (t));
    }

    unsafe fn dot_tile(t: &DotTile, sums: &mut [f32]) {
        dispatch!(t.a.len(), t.b.len(), [1 2 3], [1 2 3 4], dot_tile, (t, sums));
    }

    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        // SAFETY: the caller vouches for the instructions.
        unsafe { vectorize(work) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn vectorize<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise is the same.
    unsafe { micro::tile::<Avx2, R, V>(t) }
}

#[target_feature(enable = "avx2,fma")]
#[allow(
    clippy::needless_range_loop,
    reason = "constant indices keep the sums in registers"
)]
unsafe fn dot_tile<const R: usize, const C: usize>(t: &DotTile, out: &mut [f32]) {
    // SAFETY: each row holds `lines` lines of `length` values; the mask keeps the last load inside.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); C]; R];
        let whole = t.length / 8 * 8;
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let tail = _mm256_cmpgt_epi32(_mm256_set1_epi32((t.length - whole) as i32), lanes);
        for line in 0..t.lines {
            let a: [_; R] = from_fn(|r| t.a[r].wrapping_add(line * t.pitch.0));
            let b: [_; C] = from_fn(|c| t.b[c].wrapping_add(line * t.pitch.1));
            for x in (0..whole).step_by(8) {
                let left = a.map(|a| _mm256_loadu_ps(a.wrapping_add(x)));
                for c in 0..C {
                    let right = _mm256_loadu_ps(b[c].wrapping_add(x));
                    for r in 0..R {
                        sums[r][c] = _mm256_fmadd_ps(left[r], right, sums[r][c]);
                    }
                }
            }
            if whole < t.length {
                let left = a.map(|a| _mm256_maskload_ps(a.wrapping_add(whole), tail));
                for c in 0..C {
                    let right = _mm256_maskload_ps(b[c].wrapping_add(whole), tail);
                    for r in 0..R {
                        sums[r][c] = _mm256_fmadd_ps(left[r], right, sums[r][c]);
                    }
                }
            }
        }
        for (out, row) in out.chunks_exact_mut(Avx2::DOT_COLUMNS).zip(sums) {
            let mut four = [_mm256_setzero_ps(); Avx2::DOT_COLUMNS];
            four[..C].copy_from_slice(&row);
            let pairs = [
                _mm256_hadd_ps(four[0], four[1]),
                _mm256_hadd_ps(four[2], four[3]),
            ];
            let halves = _mm256_hadd_ps(pairs[0], pairs[1]);
            let high = _mm256_extractf128_ps::<1>(halves);
            let sum = _mm_add_ps(_mm256_castps256_ps128(halves), high);
            _mm_storeu_ps(
                out.as_mut_ptr(),
                _mm_add_ps(_mm_loadu_ps(out.as_ptr()), sum),
            );
        }
    }
}

/// A register of values.
#[derive(Clone, Copy)]
pub(super) struct F32x8(__m256);

impl Vector for F32x8 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    fn prefetch(value: *const f32) {
        // SAFETY: every CPU of this architecture has the instruction, and no address is a fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(value.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for the instructions and the memory.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_mul_ps(self.0, factor.0)) }
    }

    #[inline(always)]
    unsafe fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let kept = _mm256_cmp_ps::<_CMP_GT_OQ>(gate.0, _mm256_setzero_ps());
            Self(_mm256_and_ps(self.0, kept))
        }
    }

    #[inline(always)]
    unsafe fn split_fourths([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let halves = |a: Self, b: Self| {
                let low = _mm256_permute2f128_ps::<0x20>(a.0, b.0);
                (low, _mm256_permute2f128_ps::<0x31>(a.0, b.0))
            };
            let ((a, b), (c, d)) = (halves(a, c), halves(b, d));
            transpose4([a, b, c, d]).map(Self)
        }
    }

    #[inline(always)]
    unsafe fn join_fourths([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let [a, b, c, d] = transpose4([a.0, b.0, c.0, d.0]);
            [
                _mm256_permute2f128_ps::<0x20>(a, b),
                _mm256_permute2f128_ps::<0x20>(c, d),
                _mm256_permute2f128_ps::<0x31>(a, b),
                _mm256_permute2f128_ps::<0x31>(c, d),
            ]
            .map(Self)
        }
    }
}

/// Transposes the 4x4 matrices in the halves of four rows.
#[inline(always)]
unsafe fn transpose4([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab, cd),
            _mm256_shuffle_ps::<0xEE>(ab, cd),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
        ]
    }
}
