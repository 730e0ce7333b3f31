//! The direct kernel of the 9x9 layers: lanes along x, weights broadcast.
//!
//! One register block is 8 output channels by 3 registers of pixels with AVX-512 (the last layer's
//! 3 channels by 8), 4 by 3 (3 by 4) with 16 registers. The input is a packed strip of planes whose
//! borders are in place.

use super::vector::{Vector, at, at_mut};

/// One row of outputs for a few output channels.
pub(in crate::backend::cpu) struct Window {
    /// Channels in.
    pub inputs: usize,
    /// Channels out, one of [`blocks`].
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Pixels to compute; up to a register more are written.
    pub width: usize,
    /// Values between two channels of the input strip.
    pub plane: usize,
    /// Values between two rows of the input strip.
    pub pitch: usize,
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
        &[4, 3, 2, 1]
    };
    for &size in sizes {
        while rest >= size {
            blocks.push(size);
            rest -= size;
        }
    }
    blocks
}

impl Window {
    /// Writes the row of outputs to `out`; `w` holds for each input channel and tap the weights of
    /// the block's output channels.
    ///
    /// # Safety
    /// Every place that the fields describe is readable in `from` and `w`, writable in `out`, with
    /// the width rounded up to whole registers.
    #[inline(always)]
    pub unsafe fn row<V: Vector>(&self, from: *const f32, w: *const f32, out: *mut f32) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            match (V::WIDE, self.outputs) {
                (true, 8) => self.columns::<V, 8, 3>(from, w, out),
                (true, 4) => self.columns::<V, 4, 6>(from, w, out),
                (true, 3) => self.columns::<V, 3, 8>(from, w, out),
                (true, 2) => self.columns::<V, 2, 8>(from, w, out),
                (true, 1) => self.columns::<V, 1, 8>(from, w, out),
                (false, 4) => self.columns::<V, 4, 3>(from, w, out),
                (false, 3) => self.columns::<V, 3, 4>(from, w, out),
                (false, 2) => self.columns::<V, 2, 4>(from, w, out),
                (false, 1) => self.columns::<V, 1, 4>(from, w, out),
                _ => unreachable!("`blocks` gives no other sizes"),
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<V: Vector, const C: usize, const X: usize>(
        &self,
        from: *const f32,
        w: *const f32,
        out: *mut f32,
    ) {
        let total = self.width.div_ceil(V::LANES);
        let mut done = 0;
        while done < total {
            let (from, out) = (at(from, done * V::LANES), at_mut(out, done * V::LANES));
            let rest = total - done;
            // SAFETY: the caller's promise holds for each part.
            unsafe {
                done += if rest >= X {
                    self.block::<V, C, X>(from, w, out);
                    X
                } else if X > 4 && rest >= 4 {
                    self.block::<V, C, 4>(from, w, out);
                    4
                } else if rest >= 2 {
                    self.block::<V, C, 2>(from, w, out);
                    2
                } else {
                    self.block::<V, C, 1>(from, w, out);
                    1
                };
            }
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
            for y in 0..self.kernel {
                let mut from = at(from, input * self.plane + y * self.pitch);
                for _ in 0..self.kernel {
                    // SAFETY: the caller promises the strip under the window and the weights of
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
