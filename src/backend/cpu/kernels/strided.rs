//! 3x3 layers with step 2: a packed strip of input rows times weights, lanes along output channels.
//!
//! The input may be planar (the first layer's output) or have its channels side by side; only the
//! distances in the strip differ. A carried painting may follow a planar input's channels: its bytes
//! become `f32` while the strip is packed, as the picture's do in the first layer.

use super::gemm::Panel;
use super::vector::{Vector, at, at_mut};
use super::{Memory, Partials, Source, Tensor, Tiling};
use crate::network::CARRIED;

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
    /// The carried painting, where the layer sees one.
    appended: Option<Appended>,
    kernel: usize,
    /// From one row of the strip to the next, in values.
    pitch: usize,
    /// From one channel to the next.
    plane: usize,
    /// From one pixel to the next.
    step: usize,
    segments: Vec<usize>,
}

/// Where a carried painting's pixels lie in the padded picture.
pub(in crate::backend::cpu) struct Appended {
    /// Column of the painting for each column of the padded picture.
    pub columns: Vec<usize>,
    /// The same for rows.
    pub rows: Vec<usize>,
    /// Width of the painting.
    pub width: usize,
}

impl Strided {
    /// Lays out the strip for a kernel of side `kernel`. Only a planar source can have something
    /// `appended`.
    pub fn new(
        source: Source,
        out: Tensor,
        tiling: Tiling,
        kernel: usize,
        weights: usize,
        partials: Partials,
        appended: Option<Appended>,
    ) -> Self {
        let columns = 2 * (tiling.columns - 1) + kernel;
        let (plane, step, pitch) = if source.tensor.plane == 1 {
            (1, source.tensor.step, columns * source.tensor.step)
        } else {
            let plane = columns + 16; // packing writes up to a register too much
            let channels = source.tensor.channels + appended.as_ref().map_or(0, |_| CARRIED);
            (plane, 1, plane * channels)
        };
        let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| y * pitch + x * step));
        Self {
            segments: taps.collect(),
            source,
            out,
            tiling,
            weights,
            partials,
            appended,
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
                    if let Some(appended) = &self.appended {
                        let to = at_mut(to, tensor.channels * self.plane);
                        let border = |x| self.source.border.index(x, tensor.width);
                        appended.pack(memory, y, first, columns, border, (to, self.plane));
                    }
                }
            }
        }
        let panel = Panel {
            count: area.right - area.left,
            row: 2 * self.step,
            segments: &self.segments,
            depth: tensor.channels + self.appended.as_ref().map_or(0, |_| CARRIED),
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

impl Appended {
    /// Packs `count` pixels of row `y` of the padded picture from column `first` on as planes: R, G, B
    /// in 0..2 where they are valid, and where they are. `border` finds columns outside.
    ///
    /// # Safety
    /// The strip has room for them.
    #[inline(always)]
    unsafe fn pack(
        &self,
        memory: &Memory,
        y: usize,
        first: isize,
        count: usize,
        border: impl Fn(isize) -> usize,
        (to, plane): (*mut f32, usize),
    ) {
        // SAFETY: the caller's promise; planes are at least `count` values apart.
        let mut planes = [0, 1, 2, 3]
            .map(|c| unsafe { std::slice::from_raw_parts_mut(at_mut(to, c * plane), count) });
        let Some(carried) = memory.carried else {
            planes.iter_mut().for_each(|plane| plane.fill(0.0));
            return;
        };
        let line = self.rows[y] * self.width;
        let pixels = &carried.pixels[line * 3..][..self.width * 3];
        let valid = &carried.valid[line..][..self.width];
        let end = first + count as isize;
        let inside = first.clamp(0, self.width as isize)..end.clamp(0, self.width as isize);
        let place = |x: isize| (x - first) as usize;
        for x in (first..inside.start).chain(inside.end.max(first)..end) {
            let from = self.columns[border(x)];
            let trust = f32::from(valid[from]) / 255.0;
            for c in 0..3 {
                planes[c][place(x)] = f32::from(pixels[from * 3 + c]) * (trust / 127.5);
            }
            planes[3][place(x)] = trust;
        }
        if inside.is_empty() {
            return;
        }
        let to = place(inside.start)..place(inside.end);
        let inside = inside.start as usize..inside.end as usize;
        let pixels = &pixels[inside.start * 3..inside.end * 3];
        let valid = &valid[inside];
        for (c, plane) in planes.iter_mut().enumerate() {
            let plane = &mut plane[to.clone()];
            if c < 3 {
                let pixels = pixels.chunks_exact(3).zip(valid);
                for (value, (pixel, &trust)) in plane.iter_mut().zip(pixels) {
                    *value = f32::from(pixel[c]) * f32::from(trust) * (1.0 / (127.5 * 255.0));
                }
            } else {
                for (value, &trust) in plane.iter_mut().zip(valid) {
                    *value = f32::from(trust) * (1.0 / 255.0);
                }
            }
        }
    }
}
