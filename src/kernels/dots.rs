//! Dot products of every left with every right row, both read from where they lie.
//!
//! The sums of weight gradients and Gram matrices run along what is contiguous in memory, so that
//! packing would only copy. Threads share out the results, never the sums: values do not depend on
//! the number of threads.

use rayon::prelude::*;

use super::level::{Level, WithKernel};
use super::micro::{DotTile, Kernel};
use super::share::Shared;

/// Values of a row that are summed before moving on to other rows.
const BLOCK: usize = 384;

/// Tiles of right rows that stay in L1 while the left rows pass by: 12 rows of a block are 18 KiB.
const GROUP: usize = 3;

/// Rows in memory. Each consists of `batch` x `lines` lines of contiguous values.
pub struct Rows<'a> {
    /// The memory.
    pub values: &'a [f32],
    /// Where the first line of each row starts.
    pub starts: &'a [usize],
    /// Values from one of the batch to the next.
    pub batch_pitch: usize,
    /// Values from one line to the next.
    pub pitch: usize,
}

/// Writes the dot products of all `left` with all `right` rows, each of `batch` x `lines` lines of
/// `length` values, into `result` (left x right).
pub fn dots(
    level: Level,
    left: &Rows,
    right: &Rows,
    shape: (usize, usize, usize),
    result: &mut [f32],
) {
    product(level, left, right, shape, false, result);
}

/// Writes the dot products of all `rows` with one another, as [`dots`] does, but each only once.
pub fn dots_among(level: Level, rows: &Rows, shape: (usize, usize, usize), result: &mut [f32]) {
    product(level, rows, rows, shape, true, result);
    let count = rows.starts.len();
    for row in 1..count {
        for column in 0..row {
            result[row * count + column] = result[column * count + row];
        }
    }
}

/// Writes the dot products; of a `symmetric` result what lies below the diagonal need not be right.
fn product(
    level: Level,
    left: &Rows,
    right: &Rows,
    shape: (usize, usize, usize),
    symmetric: bool,
    result: &mut [f32],
) {
    assert_eq!(result.len(), left.starts.len() * right.starts.len());
    let (batch, lines, length) = shape;
    result.fill(0.0);
    if result.is_empty() || batch * lines * length == 0 {
        return;
    }
    for rows in [left, right] {
        let last = rows.starts.iter().max().copied().unwrap_or(0);
        let end = last + (batch - 1) * rows.batch_pitch + (lines - 1) * rows.pitch + length;
        assert!(end <= rows.values.len(), "row outside of the memory");
    }
    level.with_kernel(Dots {
        left,
        right,
        batch,
        lines,
        length,
        symmetric,
        result: Shared::new(result),
    });
}

struct Dots<'a> {
    left: &'a Rows<'a>,
    right: &'a Rows<'a>,
    batch: usize,
    lines: usize,
    length: usize,
    symmetric: bool,
    result: Shared,
}

impl WithKernel for Dots<'_> {
    type Output = ();

    /// Each task takes all left rows and some tiles of right rows.
    fn run<K: Kernel>(self) {
        let tiles = self.right.starts.len().div_ceil(K::DOT_COLUMNS);
        let tasks = (4 * rayon::current_num_threads()).min(tiles);
        let columns = tiles.div_ceil(tasks) * K::DOT_COLUMNS;
        let this = &self;
        (0..self.right.starts.len().div_ceil(columns))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let end = ((task + 1) * columns).min(this.right.starts.len());
                this.columns::<K>(task * columns, end);
            });
    }
}

impl Dots<'_> {
    /// Computes the results of the right rows `from..to`, block after block of the sums.
    fn columns<K: Kernel>(&self, from: usize, to: usize) {
        let lines = (BLOCK / self.length).clamp(1, self.lines);
        let length = self.length.min(BLOCK);
        for batch in 0..self.batch {
            for line in (0..self.lines).step_by(lines) {
                for start in (0..self.length).step_by(length) {
                    let offset = |rows: &Rows| batch * rows.batch_pitch + line * rows.pitch + start;
                    let block = Block {
                        offsets: (offset(self.left), offset(self.right)),
                        lines: lines.min(self.lines - line),
                        length: length.min(self.length - start),
                    };
                    self.block::<K>(from, to, &block);
                }
            }
        }
    }

    fn block<K: Kernel>(&self, from: usize, to: usize, block: &Block) {
        let pointers = |rows: &Rows, starts: &[usize], offset: usize| {
            let mut pointers = [rows.values.as_ptr(); 8];
            for (pointer, start) in pointers.iter_mut().zip(starts) {
                *pointer = rows.values[start + offset..].as_ptr();
            }
            pointers
        };
        let group = GROUP * K::DOT_COLUMNS;
        for first in (from..to).step_by(group) {
            for (i, rows) in self.left.starts.chunks(K::DOT_ROWS).enumerate() {
                let row = i * K::DOT_ROWS;
                let a = pointers(self.left, rows, block.offsets.0);
                for column in (first..(first + group).min(to)).step_by(K::DOT_COLUMNS) {
                    if self.symmetric && column + K::DOT_COLUMNS <= row {
                        continue;
                    }
                    let starts = &self.right.starts[column..(column + K::DOT_COLUMNS).min(to)];
                    let b = pointers(self.right, starts, block.offsets.1);
                    let tile = DotTile {
                        a: &a[..rows.len()],
                        b: &b[..starts.len()],
                        lines: block.lines,
                        length: block.length,
                        pitch: (self.left.pitch, self.right.pitch),
                    };
                    self.tile::<K>(&tile, row, column);
                }
            }
        }
    }

    /// Adds a tile's dot products to the result from `row` and `column` on.
    fn tile<K: Kernel>(&self, tile: &DotTile, row: usize, column: usize) {
        let mut sums = [0.0f32; 64];
        // SAFETY: the CPU has the kernel's instructions; `product` checked the last row's end.
        unsafe { K::dot_tile(tile, &mut sums) };
        for (r, sums) in sums.chunks(K::DOT_COLUMNS).take(tile.a.len()).enumerate() {
            let first = (row + r) * self.right.starts.len() + column;
            for (c, sum) in sums.iter().take(tile.b.len()).enumerate() {
                // SAFETY: inside the result, and these columns are this task's alone.
                unsafe { *self.result.at(first + c) += sum };
            }
        }
    }
}

/// A part of the sums.
struct Block {
    offsets: (usize, usize),
    lines: usize,
    length: usize,
}
