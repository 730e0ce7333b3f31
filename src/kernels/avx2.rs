//! Register tiles for AVX2 with FMA: 16 registers of 8 values.
//!
//! A tile of 6 x 16 holds 12 sums, 2 right vectors and 1 left value: 8 loads for 12 FMAs. 4 x 24
//! would fit layers of 8 channels better, but takes the last register and spills.

use std::arch::x86_64::*;

use super::micro::{DotTile, Kernel, Start, Tile, dispatch};

/// The level's kernel.
pub(super) struct Avx2;

impl Kernel for Avx2 {
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

/// The vector number `index` from `start` on.
#[inline(always)]
fn vector(start: *const f32, index: usize) -> *const f32 {
    start.cast::<[f32; 8]>().wrapping_add(index).cast()
}

#[target_feature(enable = "avx2,fma")]
fn vectorize<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[target_feature(enable = "avx2,fma")]
#[allow(
    clippy::needless_range_loop,
    reason = "constant indices keep the sums in registers"
)]
unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the panels hold `depth` groups, the result `R` rows of `V` vectors.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); V]; R];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.depth {
            let mut right = [_mm256_setzero_ps(); V];
            for v in 0..V {
                right[v] = _mm256_load_ps(vector(b, v));
            }
            for r in 0..R {
                let left = _mm256_broadcastss_ps(_mm_load_ss(a.wrapping_add(r)));
                for v in 0..V {
                    sums[r][v] = _mm256_fmadd_ps(left, right[v], sums[r][v]);
                }
            }
            a = a.wrapping_add(Avx2::ROWS);
            b = b.wrapping_add(Avx2::WIDTH);
        }
        match t.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for r in 0..R {
                    let bias = _mm256_broadcastss_ps(_mm_load_ss(bias.wrapping_add(r)));
                    for v in 0..V {
                        sums[r][v] = _mm256_add_ps(sums[r][v], bias);
                    }
                }
            }
            Start::Accumulate => {
                let mut c = t.c;
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = _mm256_add_ps(sums[r][v], _mm256_loadu_ps(vector(c, v)));
                    }
                    c = c.wrapping_add(t.pitch);
                }
            }
        }
        // In this order of arguments NaN stays NaN.
        let least = _mm256_set1_ps(if t.relu { 0.0 } else { f32::NEG_INFINITY });
        let mut c = t.c;
        for r in 0..R {
            for v in 0..V {
                let value = _mm256_max_ps(least, sums[r][v]);
                _mm256_storeu_ps(vector(c, v).cast_mut(), value);
            }
            c = c.wrapping_add(t.pitch);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dot_tile<const R: usize, const C: usize>(t: &DotTile, out: &mut [f32]) {
    // SAFETY: each row holds `lines` lines of `length` values; the mask keeps the last load inside.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); C]; R];
        let rest = (t.length % 8) as i32;
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let tail = _mm256_cmpgt_epi32(_mm256_set1_epi32(rest), lanes);
        for line in 0..t.lines {
            let (a_at, b_at) = (line * t.pitch.0, line * t.pitch.1);
            for x in (0..t.length).step_by(8) {
                let load = |at: *const f32| {
                    if x + 8 <= t.length {
                        _mm256_loadu_ps(at.wrapping_add(x))
                    } else {
                        _mm256_maskload_ps(at.wrapping_add(x), tail)
                    }
                };
                let mut left = [_mm256_setzero_ps(); R];
                for (value, a) in left.iter_mut().zip(t.a) {
                    *value = load(a.wrapping_add(a_at));
                }
                for (c, b) in t.b.iter().enumerate().take(C) {
                    let right = load(b.wrapping_add(b_at));
                    for (row, left) in sums.iter_mut().zip(left) {
                        row[c] = _mm256_fmadd_ps(left, right, row[c]);
                    }
                }
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                let mut lanes = [0.0f32; 8];
                _mm256_storeu_ps(lanes.as_mut_ptr(), *sum);
                out[r * Avx2::DOT_COLUMNS + c] += lanes.iter().sum::<f32>();
            }
        }
    }
}
