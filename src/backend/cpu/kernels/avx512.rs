//! AVX-512F: 16 lanes, 32 registers.

use std::arch::x86_64::*;

use super::thirds::{lanes, masks, places};
use super::vector::{Vector, at, entry_points};

/// Sixteen values.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct F32x16(__m512);

const MASKS: [[u32; 3]; 3] = masks::<16>();
const LANES: [[i32; 16]; 3] = lanes::<16>();
const PLACES: [[i32; 16]; 3] = places::<16>();

/// The lanes of `values` in the order of `lanes`.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn permute(values: __m512, lanes: &[i32; 16]) -> F32x16 {
    // SAFETY: 16 lanes are readable.
    unsafe {
        let lanes = _mm512_loadu_si512(lanes.as_ptr().cast());
        F32x16(_mm512_permutexvar_ps(lanes, values))
    }
}

/// Transposes the 4x4 matrices in the quarters of four rows.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn transpose4([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the caller's promise is the same.
    unsafe {
        let (ab, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps(ab, cd, 0x44),
            _mm512_shuffle_ps(ab, cd, 0xEE),
            _mm512_shuffle_ps(ab_high, cd_high, 0x44),
            _mm512_shuffle_ps(ab_high, cd_high, 0xEE),
        ]
    }
}

impl Vector for F32x16 {
    const LANES: usize = 16;
    const ROWS: usize = 12;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 16 readable values; only this level's entry points come here.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 16 writable values; the vector proves the level.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the caller promises 16 writable bytes; the vector proves the level.
        unsafe {
            let clamped = _mm512_min_ps(
                _mm512_max_ps(self.0, _mm512_setzero_ps()),
                _mm512_set1_ps(255.0),
            );
            let whole = _mm512_cvttps_epi32(_mm512_add_ps(clamped, _mm512_set1_ps(0.5)));
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(whole));
        }
    }

    /// Two 8x8 transpositions side by side: pixels 0-7 in the lower halves, 8-15 in the upper.
    #[inline(always)]
    unsafe fn load_channels(from: *const f32, step: usize) -> [Self; 8] {
        // SAFETY: the caller promises 8 readable values at each of the 16 pixels; only this level's
        // entry points come here.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                let low = _mm256_castps_pd(_mm256_loadu_ps(at(from, i * step)));
                let high = _mm256_castps_pd(_mm256_loadu_ps(at(from, (i + 8) * step)));
                *row = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1));
            }
            let [a, b, c, d, e, f, g, h] = rows;
            let (low, high) = (transpose4([a, b, c, d]), transpose4([e, f, g, h]));
            let lower = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let upper = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            let mut out = [Self(a); 8];
            for i in 0..4 {
                let (low, high) = (_mm512_castps_pd(low[i]), _mm512_castps_pd(high[i]));
                let first = _mm512_permutex2var_pd(low, lower, high);
                let second = _mm512_permutex2var_pd(low, upper, high);
                out[i] = Self(_mm512_castpd_ps(first));
                out[i + 4] = Self(_mm512_castpd_ps(second));
            }
            out
        }
    }

    #[inline(always)]
    fn split_thirds([a, b, c]: [Self; 3]) -> [Self; 3] {
        let mut thirds = [a; 3];
        for (k, third) in thirds.iter_mut().enumerate() {
            // SAFETY: the vectors prove the level.
            unsafe {
                let ab = _mm512_mask_blend_ps(MASKS[1][k] as __mmask16, a.0, b.0);
                let abc = _mm512_mask_blend_ps(MASKS[2][k] as __mmask16, ab, c.0);
                *third = permute(abc, &LANES[k]);
            }
        }
        thirds
    }

    #[inline(always)]
    fn join_thirds([a, b, c]: [Self; 3]) -> [Self; 3] {
        let mut registers = [a; 3];
        // SAFETY: the vectors prove the level.
        unsafe {
            let a = permute(a.0, &PLACES[0]).0;
            let b = permute(b.0, &PLACES[1]).0;
            let c = permute(c.0, &PLACES[2]).0;
            for (v, register) in registers.iter_mut().enumerate() {
                let ab = _mm512_mask_blend_ps(MASKS[v][1] as __mmask16, a, b);
                register.0 = _mm512_mask_blend_ps(MASKS[v][2] as __mmask16, ab, c);
            }
        }
        registers
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: only this level's entry points come here.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    entry_points!("avx512f");
}
