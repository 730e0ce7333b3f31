//! The planar kernel: a small convolution with lanes along x and weights broadcast.
//!
//! One register block is 8 output channels by 3 registers of pixels (or 3 channels by up to 8) where
//! there are 32 registers, 6 by 2 (3 by 4) where there are 16. The 9x9 layers run it once for each point of their
//! transform.

use super::vector::{Vector, at, at_mut};

/// One row of outputs for a few output channels.
pub(in crate::backend::cpu) struct Window<'a> {
    /// Channels in.
    pub inputs: usize,
    /// Channels out, one of [`blocks`].
    pub outputs: usize,
    /// Where each row under the kernel starts in the input: as many as the kernel is high and wide.
    pub rows: &'a [usize],
    /// Registers of pixels to compute.
    pub registers: usize,
    /// Values between two channels of the input.
    pub plane: usize,
    /// Values between two channels of the result.
    pub out_plane: usize,
}

/// Splits output channels into the blocks that the kernel of a level computes at once.
pub(in crate::backend::cpu) fn blocks(outputs: usize, wide: bool) -> Vec<usize> {
    let mut rest = outputs;
    let mut blocks = Vec::new();
    let sizes: &[usize] = if wide {
        &[8, 4, 3, 2, 1]
    } else {
        &[6, 3, 2, 1]
    };
    for &size in sizes {
        while rest >= size {
            blocks.push(size);
            rest -= size;
        }
    }
    blocks
}

impl Window<'_> {
    /// Writes the row of outputs to `out`; `w` holds for each input channel and tap the weights of
    /// the block's output channels.
    ///
    /// # Safety
    /// Every place that the fields describe is readable in `from` and `w`, writable in `out`.
    #[inline(always)]
    pub unsafe fn row<V: Vector>(&self, from: *const f32, w: *const f32, out: *mut f32) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            match (V::WIDE, self.outputs) {
                (true, 8) => self.columns::<V, 8>(3, from, w, out),
                (true, 4) => self.columns::<V, 4>(6, from, w, out),
                (true, 3) => self.columns::<V, 3>(8, from, w, out),
                (true, 2) => self.columns::<V, 2>(8, from, w, out),
                (true, 1) => self.columns::<V, 1>(8, from, w, out),
                (false, 6) => self.columns::<V, 6>(2, from, w, out),
                (false, 3) => self.columns::<V, 3>(4, from, w, out),
                (false, 2) => self.columns::<V, 2>(4, from, w, out),
                (false, 1) => self.columns::<V, 1>(8, from, w, out),
                _ => unreachable!("`blocks` gives no other sizes"),
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<V: Vector, const C: usize>(
        &self,
        most: usize,
        from: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        // Blocks of equal width: 14 registers are twice 7, not 8 and 6.
        let blocks = self.registers.div_ceil(most);
        let (width, more) = (self.registers / blocks, self.registers % blocks);
        let mut done = 0;
        for block in 0..blocks {
            let registers = width + usize::from(block < more);
            let (from, out) = (at(from, done * V::LANES), at_mut(out, done * V::LANES));
            // SAFETY: the caller's promise holds for each part.
            unsafe {
                match registers {
                    1 => self.block::<V, C, 1>(from, w, out),
                    2 => self.block::<V, C, 2>(from, w, out),
                    3 if most > 2 => self.block::<V, C, 3>(from, w, out),
                    4 if most > 3 => self.block::<V, C, 4>(from, w, out),
                    5 if most > 4 => self.block::<V, C, 5>(from, w, out),
                    6 if most > 4 => self.block::<V, C, 6>(from, w, out),
                    7 if most > 6 => self.block::<V, C, 7>(from, w, out),
                    8 if most > 6 => self.block::<V, C, 8>(from, w, out),
                    _ => unreachable!("blocks have at most `most` registers"),
                }
            }
            done += registers;
        }
    }

    #[inline(always)]
    unsafe fn block<V: Vector, const C: usize, const X: usize>(
        &self,
        from: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        let mut sums = [[V::splat(0.0); X]; C];
        let mut w = w;
        for input in 0..self.inputs {
            for row in self.rows {
                let mut from = at(from, input * self.plane + row);
                for _ in 0..self.rows.len() {
                    // SAFETY: the caller promises the input under the window and the weights of
                    // each tap. What there are fewer of stays in registers.
                    unsafe {
                        if C < X {
                            let mut weights = [V::splat(0.0); C];
                            for (c, weight) in weights.iter_mut().enumerate() {
                                *weight = V::splat(*at(w, c));
                            }
                            for x in 0..X {
                                let pixels = V::load(at(from, x * V::LANES));
                                for c in 0..C {
                                    sums[c][x] = weights[c].fma(pixels, sums[c][x]);
                                }
                            }
                        } else {
                            let mut pixels = [V::splat(0.0); X];
                            for (x, pixels) in pixels.iter_mut().enumerate() {
                                *pixels = V::load(at(from, x * V::LANES));
                            }
                            for c in 0..C {
                                let weight = V::splat(*at(w, c));
                                for x in 0..X {
                                    sums[c][x] = weight.fma(pixels[x], sums[c][x]);
                                }
                            }
                        }
                    }
                    w = at(w, C);
                    from = at(from, 1);
                }
            }
        }
        for (c, sums) in sums.iter().enumerate() {
            for (x, sum) in sums.iter().enumerate() {
                // SAFETY: the caller promises room for whole registers of each channel.
                unsafe { sum.store(at_mut(out, c * self.out_plane + x * V::LANES)) };
            }
        }
    }
}
