//! The matrix kernel: pixels times weights, lanes along output channels.
//!
//! One register block is 12 pixels by 2 registers of channels with AVX-512 (24 sums, 2 weights, the
//! rest for the broadcast values) and 6 by 2 with 16 registers. It serves the strided layers, whose
//! sum runs over several segments of a packed strip, and the products of the Winograd layers, whose
//! sum is one segment.

use super::vector::{Vector, at, at_mut};

/// One product: `count` pixels by one or two registers of output channels.
pub(in crate::backend::cpu) struct Panel<'a> {
    /// Pixels.
    pub count: usize,
    /// Values between two pixels of the left side.
    pub row: usize,
    /// Where each part of the sum starts in the left side.
    pub segments: &'a [usize],
    /// Summands in each part.
    pub depth: usize,
    /// Values between two summands of the left side.
    pub step: usize,
    /// Values between two pixels of the result.
    pub out_row: usize,
}

impl Panel<'_> {
    /// Writes the product of `a` and `w`, whose `vectors` registers of weights follow each other
    /// summand by summand, to `out`.
    ///
    /// # Safety
    /// Every place that the fields describe is readable in `a` and `w`, writable in `out`.
    #[inline(always)]
    pub unsafe fn multiply<V: Vector>(
        &self,
        vectors: usize,
        a: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        // Blocks of equal height: 40 pixels are four times 10, not three times 12 and one of 4.
        let blocks = self.count.div_ceil(V::ROWS);
        let (height, more) = (self.count / blocks, self.count % blocks);
        let mut first = 0;
        for block in 0..blocks {
            let rows = height + usize::from(block < more);
            let (a, out) = (at(a, first * self.row), at_mut(out, first * self.out_row));
            // SAFETY: the caller's promise holds for each block.
            unsafe {
                if vectors == 2 {
                    self.rows::<V, 2>(rows, a, w, out);
                } else {
                    self.rows::<V, 1>(rows, a, w, out);
                }
            }
            first += rows;
        }
    }

    #[inline(always)]
    unsafe fn rows<V: Vector, const N: usize>(
        &self,
        rows: usize,
        a: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            match rows {
                1 => self.block::<V, 1, N>(a, w, out),
                2 => self.block::<V, 2, N>(a, w, out),
                3 => self.block::<V, 3, N>(a, w, out),
                4 => self.block::<V, 4, N>(a, w, out),
                5 => self.block::<V, 5, N>(a, w, out),
                6 => self.block::<V, 6, N>(a, w, out),
                7 if V::ROWS > 6 => self.block::<V, 7, N>(a, w, out),
                8 if V::ROWS > 6 => self.block::<V, 8, N>(a, w, out),
                9 if V::ROWS > 6 => self.block::<V, 9, N>(a, w, out),
                10 if V::ROWS > 6 => self.block::<V, 10, N>(a, w, out),
                11 if V::ROWS > 6 => self.block::<V, 11, N>(a, w, out),
                12 if V::ROWS > 6 => self.block::<V, 12, N>(a, w, out),
                _ => unreachable!("blocks are at most ROWS high"),
            }
        }
    }

    #[inline(always)]
    unsafe fn block<V: Vector, const M: usize, const N: usize>(
        &self,
        a: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        let mut sums = [[V::splat(0.0); N]; M];
        let mut w = w;
        for &segment in self.segments {
            let mut a = at(a, segment);
            for _ in 0..self.depth {
                let mut weights = [V::splat(0.0); N];
                for (n, weight) in weights.iter_mut().enumerate() {
                    // SAFETY: the caller promises N registers of weights for each summand.
                    *weight = unsafe { V::load(at(w, n * V::LANES)) };
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller promises the summands of each pixel.
                    let value = V::splat(unsafe { *at(a, m * self.row) });
                    for n in 0..N {
                        sums[n] = value.fma(weights[n], sums[n]);
                    }
                }
                w = at(w, N * V::LANES);
                a = at(a, self.step);
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                // SAFETY: the caller promises room for N registers at each pixel.
                unsafe { sum.store(at_mut(out, m * self.out_row + n * V::LANES)) };
            }
        }
    }
}
