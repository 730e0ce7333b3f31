//! Large kernels (9x9) through nested transforms.
//!
//! A 9x9 kernel is 3x3 kernels of 3x3 taps. With F(3x3, 3x3) the tiles step by 3, as the kernels of
//! taps do, so that all nine share the transformed input: each of the 25 points becomes a 3x3
//! convolution over tiles, 25 products for each pair of channels and pixel instead of 81. Lanes run
//! along x; a row of pixels is split into thirds so that neighbouring tiles are neighbouring lanes.

use super::planar::Window;
use super::vector::{Vector, at, at_mut};
use super::winograd::input;
use super::{Area, Memory, Tiling};

/// Outputs of a tile in each direction, and step between tiles.
pub(in crate::backend::cpu) const STEP: usize = 3;

/// Side of a transformed tile.
const SIDE: usize = 5;

/// Products of a tile.
const POINTS: usize = SIDE * SIDE;

/// Rows of split pixels that are kept: a power of two above what a tile spans.
const RING: usize = 8;

/// Most kernels of taps in a row.
const MOST: usize = LARGEST / STEP;

/// Side of the largest kernel: the table of its rows lies on the stack.
pub(in crate::backend::cpu) const LARGEST: usize = 63;

/// The distances and weights of a layer.
pub(in crate::backend::cpu) struct Nested {
    /// Units, counted in tiles; columns are multiples of 16.
    pub tiling: Tiling,
    /// Channels in.
    pub inputs: usize,
    /// Output channels computed at once, in turn.
    pub blocks: Vec<usize>,
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// Place of the packed weights.
    pub weights: usize,
}

/// What a layer reads and writes; rows and columns may lie outside of the picture.
pub(super) trait Ends {
    /// Packs columns `first..first + count` of row `y` as planes of `plane` values.
    ///
    /// # Safety
    /// There is room for a register more.
    unsafe fn pack<V: Vector>(
        &self,
        memory: &Memory,
        place: (isize, isize),
        count: usize,
        planes: (*mut f32, usize),
    );

    /// Where the outputs of row `y` from column `x` on go, from row to row, from channel to channel.
    fn place(&self, memory: &Memory, spare: *mut f32, y: usize, x: usize) -> Place;

    /// Takes `rows` rows of outputs in `columns` that were written to [`Self::place`].
    ///
    /// # Safety
    /// They were.
    unsafe fn finish<V: Vector>(
        &self,
        memory: &Memory,
        spare: *mut f32,
        rows: (usize, usize),
        columns: (usize, usize),
    );
}

/// Room for outputs.
pub(super) struct Place {
    pub to: *mut f32,
    pub pitch: usize,
    pub plane: usize,
}

/// Lengths of the parts of scratch memory, in values.
struct Lengths {
    /// One channel of a row as it is packed.
    line: usize,
    /// A third of it, split.
    third: usize,
    /// A row of one channel's transformed tiles.
    tiles: usize,
    /// A row of one channel's products.
    products: usize,
}

impl Nested {
    /// Kernels of taps in each direction.
    fn kernels(&self) -> usize {
        self.kernel.div_ceil(STEP)
    }

    fn outputs(&self) -> usize {
        self.blocks.iter().sum()
    }

    fn lengths(&self) -> Lengths {
        let tiles = self.tiling.columns.next_multiple_of(16);
        let reach = (self.kernels() + 1).next_multiple_of(16);
        Lengths {
            line: STEP * (tiles + reach) + 16,
            third: tiles + reach,
            tiles: tiles + reach,
            products: tiles,
        }
    }

    /// Values of a point's transformed tiles: a line more than they are, so that the points do not
    /// fall on the same cache sets.
    fn point(&self) -> usize {
        self.kernels() * self.inputs * self.lengths().tiles + 16
    }

    /// Values of scratch memory, without what [`Ends`] needs.
    pub fn scratch(&self) -> usize {
        let lengths = self.lengths();
        let packed = self.inputs * (lengths.line + RING * STEP * lengths.third);
        packed + POINTS * (self.point() + self.outputs() * lengths.products + 16)
    }

    /// The pixels of a unit in an output of `height` x `width`.
    pub fn pixels(&self, tiles: Area, height: usize, width: usize) -> Area {
        Area {
            top: tiles.top * STEP,
            bottom: height.min(tiles.bottom * STEP),
            left: tiles.left * STEP,
            right: width.min(tiles.right * STEP),
        }
    }

    /// Computes the unit `tiles` of an output of `height` x `width`.
    ///
    /// # Safety
    /// As for [`super::Job::run_as`]; `scratch` has room for [`Self::scratch`] and `spare` for what
    /// the ends need.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector>(
        &self,
        memory: &Memory,
        ends: &impl Ends,
        tiles: Area,
        (height, width): (usize, usize),
        (scratch, spare): (*mut f32, *mut f32),
    ) {
        let lengths = self.lengths();
        let kernels = self.kernels();
        let ring = at_mut(scratch, self.inputs * lengths.line);
        let slot = self.inputs * STEP * lengths.third;
        let transformed = at_mut(ring, RING * slot);
        let products = at_mut(transformed, POINTS * self.point());
        let pixels = self.pixels(tiles, height, width);
        let pad = (self.kernel / 2) as isize;
        let count = STEP * (tiles.right - tiles.left + kernels - 1) + SIDE - STEP;
        let mut packed = 0;
        for row in 0..tiles.bottom - tiles.top + kernels - 1 {
            // SAFETY: the parts of the scratch memory are laid out for the tiling's largest unit;
            // the outputs of these tiles belong to this unit alone.
            unsafe {
                while packed < row * STEP + SIDE {
                    let y = (pixels.top + packed) as isize - pad;
                    let place = (y, pixels.left as isize - pad);
                    ends.pack::<V>(memory, place, count, (scratch, lengths.line));
                    let slot = at_mut(ring, packed % RING * slot);
                    self.split::<V>(scratch, slot, count);
                    packed += 1;
                }
                let to = at_mut(transformed, row % kernels * self.inputs * lengths.tiles);
                self.transform::<V>(ring, row * STEP, to, tiles.right - tiles.left + kernels - 1);
                let Some(done) = (row + 1).checked_sub(kernels) else {
                    continue;
                };
                self.multiply::<V>(memory, transformed, done, tiles, products);
                let top = pixels.top + done * STEP;
                let bottom = pixels.bottom.min(top + STEP);
                let place = ends.place(memory, spare, top, pixels.left);
                self.write::<V>(products, tiles.right - tiles.left, bottom - top, &place);
                let columns = (pixels.left, pixels.right);
                ends.finish::<V>(memory, spare, (top, bottom), columns);
            }
        }
    }

    /// Splits each channel of a packed row into thirds.
    #[inline(always)]
    unsafe fn split<V: Vector>(&self, line: *const f32, to: *mut f32, count: usize) {
        let lengths = self.lengths();
        for channel in 0..self.inputs {
            let line = at(line, channel * lengths.line);
            let to = at_mut(to, channel * STEP * lengths.third);
            for i in (0..count.div_ceil(STEP)).step_by(V::LANES) {
                // SAFETY: lines and thirds are whole registers long, with a register of slack.
                unsafe {
                    let from = at(line, STEP * i);
                    let values = V::split_thirds([
                        V::load(from),
                        V::load(at(from, V::LANES)),
                        V::load(at(from, 2 * V::LANES)),
                    ]);
                    for (third, values) in values.iter().enumerate() {
                        values.store(at_mut(to, third * lengths.third + i));
                    }
                }
            }
        }
    }

    /// Transforms a row of `count` tiles whose first row of pixels is number `first`.
    #[inline(always)]
    unsafe fn transform<V: Vector>(
        &self,
        ring: *const f32,
        first: usize,
        to: *mut f32,
        count: usize,
    ) {
        let lengths = self.lengths();
        let slot = self.inputs * STEP * lengths.third;
        for channel in 0..self.inputs {
            let ring = at(ring, channel * STEP * lengths.third);
            let to = at_mut(to, channel * lengths.tiles);
            for i in (0..count).step_by(V::LANES) {
                let mut half = [[V::splat(0.0); SIDE]; SIDE];
                for y in 0..SIDE {
                    let row = at(ring, (first + y) % RING * slot + i);
                    let mut values = [V::splat(0.0); SIDE];
                    for (x, value) in values.iter_mut().enumerate() {
                        let place = x % STEP * lengths.third + x / STEP;
                        // SAFETY: thirds have a register of slack.
                        *value = unsafe { V::load(at(row, place)) };
                    }
                    let values = input::<V, SIDE>(values);
                    for x in 0..SIDE {
                        half[x][y] = values[x];
                    }
                }
                for (x, column) in half.iter().enumerate() {
                    let column = input::<V, SIDE>(*column);
                    for (y, value) in column.iter().enumerate() {
                        let point = (y * SIDE + x) * self.point();
                        // SAFETY: rows of tiles are whole registers long.
                        unsafe { value.store(at_mut(to, point + i)) };
                    }
                }
            }
        }
    }

    /// Convolves the tiles of each point, from row `row` of the unit on.
    #[inline(always)]
    unsafe fn multiply<V: Vector>(
        &self,
        memory: &Memory,
        transformed: *const f32,
        row: usize,
        tiles: Area,
        products: *mut f32,
    ) {
        let lengths = self.lengths();
        let kernels = self.kernels();
        let mut rows = [0; MOST];
        for (y, place) in rows.iter_mut().enumerate().take(kernels) {
            *place = (row + y) % kernels * self.inputs * lengths.tiles;
        }
        let (mut first, mut weights) = (0, self.weights);
        for &outputs in &self.blocks {
            let window = Window {
                inputs: self.inputs,
                outputs,
                rows: &rows[..kernels],
                registers: (tiles.right - tiles.left).div_ceil(V::LANES),
                plane: lengths.tiles,
                out_plane: lengths.products,
            };
            for point in 0..POINTS {
                let from = at(transformed, point * self.point());
                let plane = point * (self.outputs() * lengths.products + 16);
                let to = at_mut(products, plane + first * lengths.products);
                // SAFETY: tiles and products have room for whole registers; the weights hold
                // every block and point.
                unsafe { V::convolve_row(&window, from, memory.weights(weights), to) };
                weights += outputs * self.inputs * kernels * kernels;
            }
            first += outputs;
        }
    }

    /// Transforms a row of `count` tiles' products to `rows` rows of outputs.
    #[inline(always)]
    unsafe fn write<V: Vector>(
        &self,
        products: *const f32,
        count: usize,
        rows: usize,
        place: &Place,
    ) {
        let lengths = self.lengths();
        let point = self.outputs() * lengths.products + 16;
        for channel in 0..self.outputs() {
            let products = at(products, channel * lengths.products);
            for i in (0..count).step_by(V::LANES) {
                let mut half = [[V::splat(0.0); SIDE]; STEP];
                for x in 0..SIDE {
                    let mut column = [V::splat(0.0); SIDE];
                    for (y, value) in column.iter_mut().enumerate() {
                        // SAFETY: the products of every point are there.
                        *value = unsafe { V::load(at(products, (y * SIDE + x) * point + i)) };
                    }
                    let column = output(column);
                    for y in 0..STEP {
                        half[y][x] = column[y];
                    }
                }
                let to = at_mut(place.to, channel * place.plane + STEP * i);
                for (y, row) in half.iter().enumerate().take(rows) {
                    let row = V::join_thirds(output(*row));
                    for (x, values) in row.iter().enumerate() {
                        // SAFETY: rows of outputs have room for three times the tiles' registers.
                        unsafe { values.store(at_mut(to, y * place.pitch + x * V::LANES)) };
                    }
                }
            }
        }
    }
}

/// One direction of F(3, 3)'s transform of products to outputs: points 0, 1, -1, 2, infinity.
#[inline(always)]
fn output<V: Vector>(m: [V; SIDE]) -> [V; STEP] {
    let (two, four) = (V::splat(2.0), V::splat(4.0));
    let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
    [
        m[0].add(sum).add(m[3]),
        two.fma(m[3], difference),
        four.fma(m[3], sum).add(m[4]),
    ]
}
