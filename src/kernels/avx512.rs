//! Register tiles for AVX-512: 32 registers of 16 values.
//!
//! A tile of 8 x 48 holds 24 sums, 3 right vectors and 1 left value: 11 loads for 24 FMAs, where
//! the core has two of each a cycle. 8 rows fit every layer's width (multiples of 8) exactly.

use std::arch::x86_64::*;

use super::micro::{DotTile, Kernel, Start, Tile, dispatch};

/// The level's kernel.
pub(super) struct Avx512;

impl Kernel for Avx512 {
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
    // SAFETY: the panels hold `depth` groups, the result `R` rows of `V` vectors.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for (r, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                *sum = match t.start {
                    Start::Zero => _mm512_setzero_ps(),
                    Start::Bias(bias) => _mm512_set1_ps(*bias.add(r)),
                    Start::Accumulate => _mm512_loadu_ps(t.c.add(r * t.pitch + v * 16)),
                };
            }
        }
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.depth {
            let mut right = [_mm512_setzero_ps(); V];
            for (v, value) in right.iter_mut().enumerate() {
                *value = _mm512_load_ps(b.add(v * 16));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*a.add(r));
                for (sum, right) in row.iter_mut().zip(right) {
                    *sum = _mm512_fmadd_ps(left, right, *sum);
                }
            }
            a = a.add(Avx512::ROWS);
            b = b.add(Avx512::WIDTH);
        }
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                let value = if t.relu {
                    _mm512_max_ps(*sum, _mm512_setzero_ps())
                } else {
                    *sum
                };
                _mm512_storeu_ps(t.c.add(r * t.pitch + v * 16), value);
            }
        }
    }
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
                    *value = _mm512_maskz_loadu_ps(mask, a.add(a_at + x));
                }
                for (c, b) in t.b.iter().enumerate().take(C) {
                    let right = _mm512_maskz_loadu_ps(mask, b.add(b_at + x));
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
