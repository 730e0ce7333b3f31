//! Stride-1 3x3 layers, plain or after nearest x2 enlargement, through Winograd's small transforms
//! (Lavin & Gray 2016), lanes along channels, so that the transforms shuffle nothing.
//!
//! Plain layers are F(4x4, 3x3): 36 products for 16 outputs instead of 144. Nearest x2 + 3x3 is
//! four 2x2 kernels, one for each phase of the output, on the small input. All four share the
//! transform of a 5x5 tile with F(4x4, 2x2): 25 products a phase instead of 64 (or 144 on the large
//! input); the odd phases of a tile start one pixel before the even ones, so that a tile yields the
//! 8x8 outputs from 8t-1 on, and an odd pixel and its even neighbour lie side by side in memory.

use super::gemm::Panel;
use super::vector::{Vector, at, at_mut};
use super::{Area, Memory, Partials, Source, Tensor, Tiling};

/// Outputs of a tile in each direction (of each phase).
pub(in crate::backend::cpu) const TILE: usize = 4;

/// The layer, its places and distances.
pub(in crate::backend::cpu) struct Winograd {
    /// Input, channels side by side, with a border of one.
    pub source: Source,
    /// Output, channels side by side; a pixel of margin on the left and 7 on the right of each row.
    pub out: Tensor,
    /// Units, counted in tiles; a unit is one row of them.
    pub tiling: Tiling,
    /// Whether the input is enlarged first.
    pub upsample: bool,
    /// Place of the packed weights.
    pub weights: usize,
    /// Output values of a product: channels with padding, times four when enlarged.
    pub outputs: usize,
    /// Sums for the norm.
    pub partials: Partials,
}

/// Scratch memory of a unit: packed strip, transformed input, products.
struct Scratch {
    strip: *mut f32,
    pitch: usize,
    transformed: *mut f32,
    transformed_plane: usize,
    products: *mut f32,
    products_plane: usize,
}

impl Winograd {
    /// Side of a transformed tile.
    fn points(&self) -> usize {
        if self.upsample { 5 } else { 6 }
    }

    /// Values of the strip's row, of a plane of transformed input and of a plane of products. A
    /// line between planes keeps them from falling on the same cache sets.
    fn lengths(&self) -> [usize; 3] {
        let (tiles, step) = (self.tiling.columns, self.source.tensor.step);
        let columns = (tiles - 1) * TILE + self.points();
        [columns * step, tiles * step + 16, tiles * 32 + 16]
    }

    /// Values of scratch memory.
    pub fn scratch(&self) -> usize {
        let [pitch, transformed, products] = self.lengths();
        let points = self.points();
        points * pitch.next_multiple_of(16) + points * points * (transformed + products)
    }

    /// Does one unit.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`].
    #[inline(always)]
    pub unsafe fn run<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            if self.upsample {
                self.run_with::<V, 5>(memory, unit, worker);
            } else {
                self.run_with::<V, 6>(memory, unit, worker);
            }
        }
    }

    #[inline(always)]
    unsafe fn run_with<V: Vector, const N: usize>(
        &self,
        memory: &Memory,
        unit: usize,
        worker: usize,
    ) {
        let tiles = self.tiling.area(unit);
        let [pitch, transformed_plane, products_plane] = self.lengths();
        let strip = memory.scratch(worker);
        let transformed = at_mut(strip, N * pitch.next_multiple_of(16));
        let scratch = Scratch {
            strip,
            pitch,
            transformed,
            transformed_plane,
            products: at_mut(transformed, N * N * transformed_plane),
            products_plane,
        };
        let count = tiles.right - tiles.left;
        // SAFETY: the scratch memory was laid out for the tiling's largest unit; the outputs of
        // these tiles belong to this unit alone.
        unsafe {
            self.pack::<V, N>(memory, &scratch, tiles);
            for tile in 0..count {
                self.transform_input::<V, N>(&scratch, tile);
            }
            let registers = self.outputs / V::LANES;
            for register in (0..registers).step_by(2) {
                let vectors = (registers - register).min(2);
                self.multiply::<V, N>(memory, &scratch, count, register, vectors);
                for tile in 0..count {
                    for vector in 0..vectors {
                        let from = at(scratch.products, (tile * vectors + vector) * V::LANES);
                        let place = (tiles.top, tiles.left + tile);
                        let value = (register + vector) * V::LANES;
                        self.transform_output::<V, N>(memory, &scratch, from, place, value);
                    }
                }
            }
            let area = self.written(tiles);
            self.partials.sum::<V>(memory, unit, &self.out, area);
        }
    }

    /// The pixels of the output that a unit writes.
    fn written(&self, tiles: Area) -> Area {
        let edge = |tile: usize, end: usize| {
            let first = match self.upsample {
                false => tile * TILE,
                true => (tile * 2 * TILE).saturating_sub(1),
            };
            first.min(end)
        };
        Area {
            top: edge(tiles.top, self.out.height),
            bottom: edge(tiles.bottom, self.out.height),
            left: edge(tiles.left, self.out.width),
            right: edge(tiles.right, self.out.width),
        }
    }

    #[inline(always)]
    unsafe fn pack<V: Vector, const N: usize>(
        &self,
        memory: &Memory,
        scratch: &Scratch,
        tiles: Area,
    ) {
        let tensor = &self.source.tensor;
        let columns = (tiles.right - tiles.left - 1) * TILE + N;
        let first = (tiles.left * TILE) as isize - 1;
        for row in 0..N {
            let y = (tiles.top * TILE + row) as isize - 1;
            let inside = self.source.border.index(y, tensor.height);
            let to = at_mut(scratch.strip, row * scratch.pitch);
            // SAFETY: the strip has room for the unit's columns; the tiles' own pixels, which are
            // kept, are those from the strip's second row and column on.
            unsafe {
                self.source.pack::<V>(memory, inside, first, columns, to);
                if (1..=TILE).contains(&row) && y == inside as isize {
                    let left = (tiles.left * TILE).min(tensor.width);
                    let right = (tiles.right * TILE).min(tensor.width);
                    let from = at(to, tensor.step);
                    self.source.keep(memory, inside, (left, right), from);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transform_input<V: Vector, const N: usize>(&self, scratch: &Scratch, tile: usize) {
        let step = self.source.tensor.step;
        for channel in (0..step).step_by(V::LANES) {
            let from = at(scratch.strip, tile * TILE * step + channel);
            let to = at_mut(scratch.transformed, tile * step + channel);
            let mut half = [[V::splat(0.0); N]; N];
            for x in 0..N {
                let mut column = [V::splat(0.0); N];
                for (y, value) in column.iter_mut().enumerate() {
                    // SAFETY: the tile's pixels are in the strip.
                    *value = unsafe { V::load(at(from, y * scratch.pitch + x * step)) };
                }
                let column = input::<V, N>(column);
                for y in 0..N {
                    half[y][x] = column[y];
                }
            }
            for (y, row) in half.iter().enumerate() {
                let row = input::<V, N>(*row);
                for (x, value) in row.iter().enumerate() {
                    let plane = (y * N + x) * scratch.transformed_plane;
                    // SAFETY: each plane has room for every tile.
                    unsafe { value.store(at_mut(to, plane)) };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<V: Vector, const N: usize>(
        &self,
        memory: &Memory,
        scratch: &Scratch,
        count: usize,
        register: usize,
        vectors: usize,
    ) {
        let depth = self.source.tensor.channels;
        let panel = Panel {
            count,
            row: self.source.tensor.step,
            segments: &[0],
            depth,
            step: 1,
            out_row: vectors * V::LANES,
        };
        for point in 0..N * N {
            let from = at(scratch.transformed, point * scratch.transformed_plane);
            let to = at_mut(scratch.products, point * scratch.products_plane);
            let block = register * N * N + point * vectors;
            let weights = memory.weights(self.weights + block * V::LANES * depth);
            // SAFETY: the planes hold every tile; the weights hold every point and register.
            unsafe { V::multiply(&panel, vectors, from, weights, to) };
        }
    }

    /// Writes the 16 outputs of `tile` (row, column) for the register of output values that starts
    /// with `value`.
    #[inline(always)]
    unsafe fn transform_output<V: Vector, const N: usize>(
        &self,
        memory: &Memory,
        scratch: &Scratch,
        from: *const f32,
        tile: (usize, usize),
        value: usize,
    ) {
        let mut half = [[V::splat(0.0); N]; TILE];
        for x in 0..N {
            let mut column = [V::splat(0.0); N];
            for (y, value) in column.iter_mut().enumerate() {
                // SAFETY: the products of every point are there.
                *value = unsafe { V::load(at(from, (y * N + x) * scratch.products_plane)) };
            }
            let column = output::<V, N>(column);
            for y in 0..TILE {
                half[y][x] = column[y];
            }
        }
        let step = self.out.step;
        // Distance between outputs, the first row, and the first value (a pixel further left than
        // column 0 when enlarged: the margin).
        let (scale, top, value) = match self.upsample {
            false => (1, (tile.0 * TILE) as isize, value),
            true => {
                let odd = value < 2 * step;
                let top = (tile.0 * 2 * TILE) as isize - isize::from(odd);
                (2, top, value % (2 * step))
            }
        };
        let left = self.out.origin + tile.1 * TILE * scale * step + value - (scale - 1) * step;
        for (y, row) in half.iter().enumerate() {
            let row = output::<V, N>(*row);
            let y = top + (y * scale) as isize;
            if y < 0 || y >= self.out.height as isize {
                continue;
            }
            let to = memory.at(left + y as usize * self.out.pitch);
            for (x, value) in row.iter().enumerate() {
                // SAFETY: the row belongs to the unit, its ends have a margin for the tile.
                unsafe { value.store(at_mut(to, x * scale * step)) };
            }
        }
    }
}

/// One direction of the transform of an input tile: points 0, 1, -1, 2, (-2,) infinity.
#[inline(always)]
pub(super) fn input<V: Vector, const N: usize>(d: [V; N]) -> [V; N] {
    let two = V::splat(2.0);
    let mut t = d;
    if N == 6 {
        let (four, five) = (V::splat(4.0), V::splat(-5.0));
        let minus_four = V::splat(-4.0);
        t[0] = four.fma(d[0], five.fma(d[2], d[4]));
        t[5] = four.fma(d[1], five.fma(d[3], d[5]));
        let (even, odd) = (minus_four.fma(d[2], d[4]), minus_four.fma(d[1], d[3]));
        (t[1], t[2]) = (even.add(odd), even.sub(odd));
        let (even, odd) = (d[4].sub(d[2]), two.mul(d[3].sub(d[1])));
        (t[3], t[4]) = (even.add(odd), even.sub(odd));
    } else {
        let (minus_two, minus_three) = (V::splat(-2.0), V::splat(-3.0));
        let outer = d[3].sub(d[1]);
        t[0] = two.fma(d[0].sub(d[2]), outer);
        t[1] = minus_two.fma(d[1], d[3].sub(d[2]));
        t[2] = two.fma(d[1], minus_three.fma(d[2], d[3]));
        t[3] = outer;
        t[4] = minus_two.fma(outer, d[4].sub(d[2]));
    }
    t
}

/// One direction of the transform of products to outputs.
#[inline(always)]
fn output<V: Vector, const N: usize>(m: [V; N]) -> [V; TILE] {
    let (two, four, eight) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
    let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
    if N == 6 {
        let (outer_sum, outer_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum).add(outer_sum),
            two.fma(outer_difference, difference),
            four.fma(outer_sum, sum),
            eight.fma(outer_difference, difference).add(m[5]),
        ]
    } else {
        [
            m[0].add(sum).add(m[3]),
            two.fma(m[3], difference),
            four.fma(m[3], sum),
            eight.fma(m[3], difference).add(m[4]),
        ]
    }
}
