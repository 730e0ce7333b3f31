//! 3x3 layers with step 2: a packed strip of input rows times weights, lanes along output channels.
//!
//! The input may be planar (the first layer's output) or have its channels side by side; only the
//! distances in the strip differ.

use super::gemm::Panel;
use super::vector::{Vector, at, at_mut};
use super::{Memory, Partials, Source, Tensor, Tiling};

/// The layer, its places and distances.
pub(in crate::backend::cpu) struct Strided {
    /// Input.
    pub source: Source,
    /// Output, channels side by side.
    pub out: Tensor,
    /// Units of the output.
    pub tiling: Tiling,
    /// Place of the packed weights.
    pub weights: usize,
    /// Sums for the norm.
    pub partials: Partials,
    kernel: usize,
    /// From one row of the strip to the next, in values.
    pitch: usize,
    /// From one channel to the next.
    plane: usize,
    /// From one pixel to the next.
    step: usize,
    segments: Vec<usize>,
}

impl Strided {
    /// Lays out the strip for a kernel of side `kernel`.
    pub fn new(
        source: Source,
        out: Tensor,
        tiling: Tiling,
        kernel: usize,
        weights: usize,
        partials: Partials,
    ) -> Self {
        let columns = 2 * (tiling.columns - 1) + kernel;
        let (plane, step, pitch) = if source.tensor.plane == 1 {
            (1, source.tensor.step, columns * source.tensor.step)
        } else {
            let plane = columns + 16; // packing writes up to a register too much
            (plane, 1, plane * source.tensor.channels)
        };
        let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| y * pitch + x * step));
        Self {
            segments: taps.collect(),
            source,
            out,
            tiling,
            weights,
            partials,
            kernel,
            pitch,
            plane,
            step,
        }
    }

    /// Values of scratch memory for the strip.
    pub fn scratch(&self) -> usize {
        self.pitch * (2 * (self.tiling.rows - 1) + self.kernel) + 16
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        let area = self.tiling.area(unit);
        let strip = memory.scratch(worker);
        let tensor = &self.source.tensor;
        let pad = (self.kernel / 2) as isize;
        let first = 2 * area.left as isize - pad;
        let columns = 2 * (area.right - area.left - 1) + self.kernel;
        for row in 0..2 * (area.bottom - area.top - 1) + self.kernel {
            let y = (2 * area.top + row) as isize - pad;
            let y = self.source.border.index(y, tensor.height);
            let to = at_mut(strip, row * self.pitch);
            // SAFETY: the strip was laid out for the tiling's largest unit.
            unsafe {
                if self.plane == 1 {
                    self.source.pack::<V>(memory, y, first, columns, to);
                } else {
                    for c in 0..tensor.channels {
                        let to = at_mut(to, c * self.plane);
                        self.source
                            .pack_plane::<V>(memory, (c, y), first, columns, to);
                    }
                }
            }
        }
        let panel = Panel {
            count: area.right - area.left,
            row: 2 * self.step,
            segments: &self.segments,
            depth: tensor.channels,
            step: self.plane,
            out_row: self.out.step,
        };
        let summands = self.segments.len() * panel.depth;
        let registers = self.out.step / V::LANES;
        for register in (0..registers).step_by(2) {
            let weights = memory.weights(self.weights + register * V::LANES * summands);
            for y in area.top..area.bottom {
                let from = at(strip, 2 * (y - area.top) * self.pitch);
                let to = memory.at(self.out.at(y, area.left) + register * V::LANES);
                // SAFETY: the strip holds every tap; the weights hold every register; the output's
                // pixels belong to this unit alone.
                unsafe { V::multiply(&panel, (registers - register).min(2), from, weights, to) };
            }
        }
        // SAFETY: the unit wrote the area, and has its own place in the table.
        unsafe {
            self.partials.sum::<V>(memory, unit, &self.out, area);
        }
    }
}
