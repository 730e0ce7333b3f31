//! AVX2 with FMA: 8 lanes, 16 registers.

use std::arch::x86_64::*;

use super::thirds::{lanes, masks, places};
use super::vector::{Vector, at, entry_points};

/// Eight values.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct F32x8(__m256);

const MASKS: [[u32; 3]; 3] = masks::<8>();
const LANES: [[i32; 8]; 3] = lanes::<8>();
const PLACES: [[i32; 8]; 3] = places::<8>();

/// Takes third `K` of three registers (`JOIN` 0), or what three thirds give to register `K` (1).
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn blend<const K: usize, const JOIN: usize>(a: __m256, b: __m256, c: __m256) -> __m256 {
    let masks = match JOIN {
        0 => [MASKS[1][K], MASKS[2][K]],
        _ => [MASKS[K][1], MASKS[K][2]],
    };
    // SAFETY: the caller's promise is the same.
    unsafe {
        let ab = _mm256_blendv_ps(a, b, select(masks[0]));
        _mm256_blendv_ps(ab, c, select(masks[1]))
    }
}

/// All bits of the lanes whose bit is set: a constant after inlining.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn select(mask: u32) -> __m256 {
    let mut lanes = [0; 8];
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = -((mask >> i & 1) as i32);
    }
    // SAFETY: 8 lanes are readable.
    unsafe { _mm256_castsi256_ps(_mm256_loadu_si256(lanes.as_ptr().cast())) }
}

/// The lanes of `values` in the order of `lanes`.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn permute(values: __m256, lanes: &[i32; 8]) -> F32x8 {
    // SAFETY: 8 lanes are readable.
    unsafe {
        let lanes = _mm256_loadu_si256(lanes.as_ptr().cast());
        F32x8(_mm256_permutevar8x32_ps(values, lanes))
    }
}

/// Transposes the 4x4 matrices in the lower and the upper halves of four rows.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn transpose4([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller's promise is the same.
    unsafe {
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps(ab, cd, 0x44),
            _mm256_shuffle_ps(ab, cd, 0xEE),
            _mm256_shuffle_ps(ab_high, cd_high, 0x44),
            _mm256_shuffle_ps(ab_high, cd_high, 0xEE),
        ]
    }
}

impl Vector for F32x8 {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 8 readable values; only this level's entry points come here.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 8 writable values; the vector proves the level.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the caller promises 8 writable bytes; the vector proves the level.
        unsafe {
            let clamped = _mm256_min_ps(
                _mm256_max_ps(self.0, _mm256_setzero_ps()),
                _mm256_set1_ps(255.0),
            );
            let whole = _mm256_cvttps_epi32(_mm256_add_ps(clamped, _mm256_set1_ps(0.5)));
            let (low, high) = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256(whole, 1),
            );
            let words = _mm_packus_epi32(low, high);
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words));
        }
    }

    #[inline(always)]
    unsafe fn load_channels(from: *const f32, step: usize) -> [Self; 8] {
        // SAFETY: the caller promises 8 readable values at each of the 8 pixels; only this level's
        // entry points come here.
        unsafe {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm256_loadu_ps(at(from, i * step));
            }
            let [a, b, c, d, e, f, g, h] = rows;
            let (low, high) = (transpose4([a, b, c, d]), transpose4([e, f, g, h]));
            let mut out = [Self(a); 8];
            for i in 0..4 {
                out[i] = Self(_mm256_permute2f128_ps(low[i], high[i], 0x20));
                out[i + 4] = Self(_mm256_permute2f128_ps(low[i], high[i], 0x31));
            }
            out
        }
    }

    #[inline(always)]
    fn split_thirds([a, b, c]: [Self; 3]) -> [Self; 3] {
        // SAFETY: the vectors prove the level.
        unsafe {
            [
                permute(blend::<0, 0>(a.0, b.0, c.0), &LANES[0]),
                permute(blend::<1, 0>(a.0, b.0, c.0), &LANES[1]),
                permute(blend::<2, 0>(a.0, b.0, c.0), &LANES[2]),
            ]
        }
    }

    #[inline(always)]
    fn join_thirds([a, b, c]: [Self; 3]) -> [Self; 3] {
        // SAFETY: the vectors prove the level.
        unsafe {
            let a = permute(a.0, &PLACES[0]).0;
            let b = permute(b.0, &PLACES[1]).0;
            let c = permute(c.0, &PLACES[2]).0;
            [
                Self(blend::<0, 1>(a, b, c)),
                Self(blend::<1, 1>(a, b, c)),
                Self(blend::<2, 1>(a, b, c)),
            ]
        }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: only this level's entry points come here.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, summand.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }

    entry_points!("avx2,fma");
}
