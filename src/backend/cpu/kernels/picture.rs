//! The first and the last layer: direct convolutions between bytes of a picture and tensors.
//!
//! Bytes become `f32` while the first layer packs its strip; the last layer clamps, rounds and
//! stores bytes. The picture is padded and cropped by index.

use super::direct::Window;
use super::vector::{Vector, at, at_mut};
use super::{Memory, Partials, Source, Tensor, Tiling};

/// Channels of a picture.
const RGB: usize = 3;

/// A direct layer's place in memory.
#[derive(Clone, Debug)]
pub(in crate::backend::cpu) struct Direct {
    /// Units of the output; columns are multiples of 16 or the whole width.
    pub tiling: Tiling,
    /// Channels in.
    pub inputs: usize,
    /// Output channels computed at once, in turn.
    pub blocks: Vec<usize>,
    /// Side of the kernel.
    pub kernel: usize,
    /// Place of the packed weights.
    pub weights: usize,
}

/// The first layer.
pub(in crate::backend::cpu) struct First {
    /// Distances and weights.
    pub direct: Direct,
    /// As [`Direct::tiling`].
    pub tiling: Tiling,
    /// Column of the picture for each column of the padded one, from `-(kernel / 2)` on.
    pub columns: Vec<usize>,
    /// The same for rows.
    pub rows: Vec<usize>,
    /// Width of the picture.
    pub width: usize,
    /// Output, planar.
    pub out: Tensor,
    /// Sums for the norm.
    pub partials: Partials,
}

/// The last layer.
pub(in crate::backend::cpu) struct Last {
    /// Distances and weights.
    pub direct: Direct,
    /// As [`Direct::tiling`]; covers the picture, not its padding.
    pub tiling: Tiling,
    /// Input, channels side by side.
    pub source: Source,
    /// Bias of each channel.
    pub bias: [f32; RGB],
}

impl Direct {
    /// From one row of the strip to the next: whole registers, the window, and a register of slack.
    fn pitch(&self) -> usize {
        (self.tiling.columns.next_multiple_of(16) + self.kernel + 16).next_multiple_of(16)
    }

    fn plane(&self) -> usize {
        self.pitch() * (self.tiling.rows + self.kernel - 1) + 16
    }

    fn strip(&self) -> usize {
        self.plane() * self.inputs
    }

    /// Convolves rows `top..bottom` of a strip; `out(row)` says where the results of a row go.
    ///
    /// # Safety
    /// The strip holds the rows under the kernel; there is room for the results.
    #[inline(always)]
    unsafe fn convolve<V: Vector>(
        &self,
        memory: &Memory,
        strip: *const f32,
        row: usize,
        width: usize,
        (out, out_plane): (*mut f32, usize),
    ) {
        let (mut first, mut weights) = (0, self.weights);
        for &outputs in &self.blocks {
            let window = Window {
                inputs: self.inputs,
                outputs,
                kernel: self.kernel,
                width,
                plane: self.plane(),
                pitch: self.pitch(),
                out_plane,
            };
            let from = at(strip, row * self.pitch());
            let to = at_mut(out, first * out_plane);
            // SAFETY: the caller's promise; the weights hold every block.
            unsafe { V::convolve_row(&window, from, memory.weights(weights), to) };
            weights += outputs * self.inputs * self.kernel * self.kernel;
            first += outputs;
        }
    }
}

impl First {
    /// Values of scratch memory for the strip.
    pub fn scratch(&self) -> usize {
        self.direct.strip()
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        let area = self.tiling.area(unit);
        let strip = memory.scratch(worker);
        let count = area.right - area.left + self.direct.kernel - 1;
        for row in 0..area.bottom - area.top + self.direct.kernel - 1 {
            let y = self.rows[area.top + row];
            let pixels = &memory.input[y * self.width * RGB..][..self.width * RGB];
            let to = at_mut(strip, row * self.direct.pitch());
            // SAFETY: the strip has room for the unit's rows and columns.
            unsafe { self.pack(pixels, area.left, count, to) };
        }
        for y in area.top..area.bottom {
            let out = (memory.at(self.out.at(y, area.left)), self.out.plane);
            let width = area.right - area.left;
            // SAFETY: the strip was packed for these rows; they belong to this unit alone.
            unsafe {
                self.direct
                    .convolve::<V>(memory, strip, y - area.top, width, out);
            }
        }
        // SAFETY: the unit wrote the area, and has its own place in the table.
        unsafe {
            self.partials.sum_planes::<V>(memory, unit, &self.out, area);
        }
    }

    /// Spreads `count` pixels of a row over planes, from padded column `left` on.
    ///
    /// # Safety
    /// `to` has room for them in each plane.
    #[inline(always)]
    unsafe fn pack(&self, pixels: &[u8], left: usize, count: usize, to: *mut f32) {
        let plane = self.direct.plane();
        let pad = self.direct.kernel / 2;
        let inside = left.max(pad)..(left + count).min(pad + self.width);
        for channel in 0..self.direct.inputs {
            let to = at_mut(to, channel * plane);
            let outside = (left..inside.start).chain(inside.end.max(left)..left + count);
            for column in outside {
                let byte = pixels[self.columns[column] * RGB + channel];
                // SAFETY: the caller's promise.
                unsafe { *at_mut(to, column - left) = f32::from(byte) };
            }
            if inside.is_empty() {
                continue;
            }
            let start = (inside.start - pad) * RGB;
            let bytes = pixels[start..start + inside.len() * RGB].chunks_exact(RGB);
            for (i, pixel) in bytes.enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *at_mut(to, inside.start - left + i) = f32::from(pixel[channel]) };
            }
        }
    }
}

impl Last {
    /// Values of scratch memory: the strip, a row of results and the same as bytes.
    pub fn scratch(&self) -> usize {
        self.direct.strip() + RGB * 2 * self.row()
    }

    fn row(&self) -> usize {
        self.tiling.columns.next_multiple_of(16) + 16
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        let area = self.tiling.area(unit);
        let strip = memory.scratch(worker);
        let sums = at_mut(strip, self.direct.strip());
        let bytes = at_mut(sums, RGB * self.row()).cast::<u8>();
        let pad = (self.direct.kernel / 2) as isize;
        let width = area.right - area.left;
        let count = width + self.direct.kernel - 1;
        for row in 0..area.bottom - area.top + self.direct.kernel - 1 {
            let y = (area.top + row) as isize - pad;
            let y = self.source.border.index(y, self.source.tensor.height);
            let to = at_mut(strip, row * self.direct.pitch());
            let first = area.left as isize - pad;
            // SAFETY: the strip has room for the unit's rows and columns.
            unsafe {
                let planes = (to, self.direct.plane());
                self.source
                    .pack_transposed::<V>(memory, y, first, count, planes);
            }
        }
        for y in area.top..area.bottom {
            let place = (y * self.tiling.width + area.left) * RGB;
            // SAFETY: the strip was packed for these rows; the scratch memory has room for a row of
            // sums and bytes; the row of the picture belongs to this unit alone.
            unsafe {
                self.direct
                    .convolve::<V>(memory, strip, y - area.top, width, (sums, self.row()));
                for (channel, &bias) in self.bias.iter().enumerate() {
                    let bias = V::splat(bias);
                    let (sums, bytes) = (
                        at(sums, channel * self.row()),
                        bytes.wrapping_add(channel * self.row()),
                    );
                    for x in (0..width).step_by(V::LANES) {
                        let value = V::load(at(sums, x)).add(bias);
                        value.store_bytes(bytes.wrapping_add(x));
                    }
                }
                let planes = std::slice::from_raw_parts(bytes, RGB * self.row());
                let pixels = std::slice::from_raw_parts_mut(memory.output(place), width * RGB);
                interleave(planes, self.row(), pixels);
            }
        }
    }
}

/// Puts bytes of three planes side by side.
#[inline(always)]
fn interleave(planes: &[u8], plane: usize, pixels: &mut [u8]) {
    let (red, rest) = planes.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let bytes = red.iter().zip(green).zip(blue);
    for (pixel, ((red, green), blue)) in pixels.chunks_exact_mut(RGB).zip(bytes) {
        pixel.copy_from_slice(&[*red, *green, *blue]);
    }
}
