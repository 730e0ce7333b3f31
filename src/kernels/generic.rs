//! Register tiles in plain Rust, for every CPU: 4 x 8, which the compiler keeps in 8 registers of 4.

use super::micro::{self, DotTile, Kernel, Tile, Vector, dispatch};

/// The level's kernel.
pub(super) struct Generic;

const LANES: usize = 8;

impl Kernel for Generic {
    type Vector = [f32; LANES];
    const ROWS: usize = 4;
    const LANES: usize = LANES;
    const WIDTH: usize = LANES;
    const DOT_ROWS: usize = 2;
    const DOT_COLUMNS: usize = 2;

    unsafe fn tile(rows: usize, vectors: usize, t: &Tile) {
        dispatch!(rows, vectors, [1 2 3 4], [1], tile, (t));
    }

    unsafe fn dot_tile(t: &DotTile, sums: &mut [f32]) {
        dispatch!(t.a.len(), t.b.len(), [1 2], [1 2], dot_tile, (t, sums));
    }

    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise is the same.
    unsafe { micro::tile::<Generic, R, V>(t) }
}

unsafe fn dot_tile<const R: usize, const C: usize>(t: &DotTile, out: &mut [f32]) {
    let mut sums = [[[0.0f32; LANES]; C]; R];
    for line in 0..t.lines {
        for x in (0..t.length).step_by(LANES) {
            let count = LANES.min(t.length - x);
            for (r, row) in sums.iter_mut().enumerate() {
                for (c, sum) in row.iter_mut().enumerate() {
                    // SAFETY: each row holds `lines` lines of `length` values.
                    let (left, right) = unsafe {
                        let left = t.a[r].add(line * t.pitch.0 + x);
                        let right = t.b[c].add(line * t.pitch.1 + x);
                        (
                            std::slice::from_raw_parts(left, count),
                            std::slice::from_raw_parts(right, count),
                        )
                    };
                    for ((sum, left), right) in sum.iter_mut().zip(left).zip(right) {
                        *sum += left * right;
                    }
                }
            }
        }
    }
    for (r, row) in sums.iter().enumerate() {
        for (c, sum) in row.iter().enumerate() {
            out[r * Generic::DOT_COLUMNS + c] += sum.iter().sum::<f32>();
        }
    }
}

impl Vector for [f32; LANES] {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for LANES values to read.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for room for LANES values.
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] - other[i])
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        std::array::from_fn(|i| self[i] * factor[i])
    }

    #[inline(always)]
    unsafe fn fma(self, factor: Self, summand: Self) -> Self {
        std::array::from_fn(|i| self[i] * factor[i] + summand[i])
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        std::array::from_fn(|i| {
            if self[i] > other[i] {
                self[i]
            } else {
                other[i]
            }
        })
    }

    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        std::array::from_fn(|i| if gate[i] > 0.0 { self[i] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn split_fourths(values: [Self; 4]) -> [Self; 4] {
        let values = values.as_flattened();
        std::array::from_fn(|fourth| std::array::from_fn(|i| values[4 * i + fourth]))
    }

    #[inline(always)]
    unsafe fn join_fourths(fourths: [Self; 4]) -> [Self; 4] {
        std::array::from_fn(|v| std::array::from_fn(|i| fourths[i % 4][(v * LANES + i) / 4]))
    }
}
