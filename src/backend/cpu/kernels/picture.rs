//! The first and the last layer: convolutions between bytes of a picture and tensors.
//!
//! Bytes become `f32` while the first layer packs its strip; the last layer clamps, rounds and
//! stores bytes. The picture is padded and cropped by index.

use super::nested::{Ends, Nested, Place, STEP};
use super::vector::{Vector, at, at_mut};
use super::{Memory, Partials, Source, Tensor};

/// Channels of a picture.
const RGB: usize = 3;

/// The first layer.
pub(in crate::backend::cpu) struct First {
    /// Distances and weights.
    pub nested: Nested,
    /// Width of the reflected border.
    pub pad: usize,
    /// Column of the picture for each column of the padded one, from `-pad` on.
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
    pub nested: Nested,
    /// Height and width of the picture, without its padding.
    pub size: (usize, usize),
    /// Input, channels side by side.
    pub source: Source,
    /// Bias of each channel.
    pub bias: [f32; RGB],
}

impl First {
    /// Values of scratch memory.
    pub fn scratch(&self) -> usize {
        self.nested.scratch()
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        let tiles = self.nested.tiling.area(unit);
        let scratch = memory.scratch(worker);
        let size = (self.out.height, self.out.width);
        let pixels = self.nested.pixels(tiles, size.0, size.1);
        // SAFETY: the scratch memory has room; the unit writes the pixels that it then sums up, and
        // has its own place in the table.
        unsafe {
            self.nested
                .run::<V>(memory, self, tiles, size, (scratch, scratch));
            self.partials
                .sum_planes::<V>(memory, unit, &self.out, pixels);
        }
    }
}

impl Ends for First {
    #[inline(always)]
    unsafe fn pack<V: Vector>(
        &self,
        memory: &Memory,
        (y, first): (isize, isize),
        count: usize,
        (to, plane): (*mut f32, usize),
    ) {
        // Tiles at the end reach further than the tables: what is there counts for nothing.
        let index = |table: &[usize], place: isize| {
            let place = place + self.pad as isize;
            table[(place as usize).min(table.len() - 1)]
        };
        let y = index(&self.rows, y);
        let pixels = &memory.input[y * self.width * RGB..][..self.width * RGB];
        let inside = first.max(0)..(first + count as isize).min(self.width as isize);
        let end = first + count as isize;
        let outside = (first..inside.start.min(end)).chain(inside.end.max(first)..end);
        // SAFETY: the caller's promise.
        unsafe {
            for x in outside {
                let pixel = &pixels[index(&self.columns, x) * RGB..][..RGB];
                for channel in 0..self.nested.inputs {
                    let place = channel * plane + (x - first) as usize;
                    *at_mut(to, place) = f32::from(pixel[channel]);
                }
            }
            if inside.is_empty() {
                return;
            }
            let bytes = &pixels[inside.start as usize * RGB..inside.end as usize * RGB];
            let to = at_mut(to, (inside.start - first) as usize);
            for channel in 0..self.nested.inputs {
                let to = at_mut(to, channel * plane);
                for (i, pixel) in bytes.chunks_exact(RGB).enumerate() {
                    *at_mut(to, i) = f32::from(pixel[channel]);
                }
            }
        }
    }

    #[inline(always)]
    fn place(&self, memory: &Memory, _spare: *mut f32, y: usize, x: usize) -> Place {
        Place {
            to: memory.at(self.out.at(y, x)),
            pitch: self.out.pitch,
            plane: self.out.plane,
        }
    }

    #[inline(always)]
    unsafe fn finish<V: Vector>(
        &self,
        _memory: &Memory,
        _spare: *mut f32,
        _rows: (usize, usize),
        _columns: (usize, usize),
    ) {
    }
}

impl Last {
    /// Values of scratch memory: the transforms', rows of results and one of them as bytes.
    pub fn scratch(&self) -> usize {
        self.nested.scratch() + (STEP + 1) * RGB * self.row()
    }

    /// Values of a row of results.
    fn row(&self) -> usize {
        STEP * self.nested.tiling.columns.next_multiple_of(16) + 16
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        let tiles = self.nested.tiling.area(unit);
        let scratch = memory.scratch(worker);
        let parts = (scratch, at_mut(scratch, self.nested.scratch()));
        // SAFETY: the scratch memory has room; the pixels belong to this unit alone.
        unsafe { self.nested.run::<V>(memory, self, tiles, self.size, parts) };
    }
}

impl Ends for Last {
    #[inline(always)]
    unsafe fn pack<V: Vector>(
        &self,
        memory: &Memory,
        (y, first): (isize, isize),
        count: usize,
        planes: (*mut f32, usize),
    ) {
        let y = self.source.border.index(y, self.source.tensor.height);
        // SAFETY: the caller's promise.
        unsafe {
            self.source
                .pack_transposed::<V>(memory, y, first, count, planes);
        }
    }

    #[inline(always)]
    fn place(&self, _memory: &Memory, spare: *mut f32, _y: usize, _x: usize) -> Place {
        Place {
            to: spare,
            pitch: RGB * self.row(),
            plane: self.row(),
        }
    }

    #[inline(always)]
    unsafe fn finish<V: Vector>(
        &self,
        memory: &Memory,
        spare: *mut f32,
        (top, bottom): (usize, usize),
        (left, right): (usize, usize),
    ) {
        let width = right - left;
        let bytes = at_mut(spare, STEP * RGB * self.row()).cast::<u8>();
        for y in top..bottom {
            let sums = at(spare, (y - top) * RGB * self.row());
            // SAFETY: the results are there, with room for a row of bytes behind them; the row of
            // the picture belongs to this unit alone.
            unsafe {
                for (channel, &bias) in self.bias.iter().enumerate() {
                    let bias = V::splat(bias);
                    let sums = at(sums, channel * self.row());
                    let bytes = bytes.wrapping_add(channel * self.row());
                    for x in (0..width).step_by(V::LANES) {
                        let value = V::load(at(sums, x)).add(bias);
                        value.store_bytes(bytes.wrapping_add(x));
                    }
                }
                let planes = std::slice::from_raw_parts(bytes, RGB * self.row());
                let to = memory.output((y * self.size.1 + left) * RGB);
                let pixels = std::slice::from_raw_parts_mut(to, width * RGB);
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
