//! The packed and blocked matrix product, spread over all cores.
//!
//! As in Goto & van de Geijn 2008, with the roles turned to suit wide right sides: a block of the
//! right side is packed into the core's own L2, the left panels stream past it. Each core packs
//! what it needs itself, so cores never wait for one another.

use std::ops::Range;

use rayon::prelude::*;

use super::level::{Level, WithKernel};
use super::micro::{Kernel, Start, Tile};
use super::share::{Line, Shared, with_buffer};

/// Longest sum before results go back to memory: 256 x 480 values fill half of a 1 MiB L2, and a
/// left panel of 8 x 256 a sixth of L1.
const DEPTH: usize = 256;

/// Most columns of a packed block.
const COLUMNS: usize = 480;

/// The right side of a product: `depth` rows, of which panels are read as they are needed.
pub trait PanelSource: Sync {
    /// Writes `rows` x `columns` of the right side number `batch` into `panel`: `width` values for
    /// each row, of which the first `columns.len()` count.
    fn pack(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        width: usize,
        panel: &mut [f32],
    );
}

/// A right side that lies in memory row by row, one after the other for each of a batch.
pub struct Matrix<'a> {
    /// The values: batch x rows x columns.
    pub values: &'a [f32],
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
}

impl PanelSource for Matrix<'_> {
    #[inline(always)]
    fn pack(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        width: usize,
        panel: &mut [f32],
    ) {
        for (line, row) in panel.chunks_exact_mut(width).zip(rows) {
            let start = (batch * self.rows + row) * self.columns;
            let from = &self.values[start + columns.start..start + columns.end];
            line[..from.len()].copy_from_slice(from);
        }
    }
}

/// The left side of a product, packed into panels of the rows of a register tile.
pub struct PackedRows {
    level: Level,
    lines: Vec<Line>,
    rows: usize,
    depth: usize,
}

impl PackedRows {
    /// Packs `values`, `rows` x `depth` row by row, for products at `level`.
    pub fn new(level: Level, values: &[f32], rows: usize, depth: usize) -> Self {
        assert_eq!(values.len(), rows * depth, "left side of a product");
        let level = level.min(Level::supported());
        let lines = level.with_kernel(PackRows {
            values,
            rows,
            depth,
        });
        Self {
            level,
            lines,
            rows,
            depth,
        }
    }
}

struct PackRows<'a> {
    values: &'a [f32],
    rows: usize,
    depth: usize,
}

impl WithKernel for PackRows<'_> {
    type Output = Vec<Line>;

    fn run<K: Kernel>(self) -> Vec<Line> {
        let panel = panel_lines::<K>(self.depth);
        let mut lines = vec![Line::ZERO; self.rows.div_ceil(K::ROWS) * panel];
        lines
            .par_chunks_mut(panel.max(1))
            .zip(self.values.par_chunks((K::ROWS * self.depth).max(1)))
            .for_each(|(lines, values)| {
                // SAFETY: the CPU has the instructions of the kernel it is run with.
                unsafe {
                    K::vectorize(|| interleave::<K>(values, self.depth, Line::values_mut(lines)));
                }
            });
        lines
    }
}

/// Turns up to `K::ROWS` rows of `depth` values into `depth` groups of `K::ROWS`.
#[inline(always)]
fn interleave<K: Kernel>(values: &[f32], depth: usize, panel: &mut [f32]) {
    if values.len() == K::ROWS * depth {
        for (k, group) in panel.chunks_exact_mut(K::ROWS).take(depth).enumerate() {
            for (r, value) in group.iter_mut().enumerate() {
                *value = values[r * depth + k];
            }
        }
    } else {
        for (r, row) in values.chunks_exact(depth).enumerate() {
            for (k, value) in row.iter().enumerate() {
                panel[k * K::ROWS + r] = *value;
            }
        }
    }
}

/// Lines that a left panel of `depth` takes.
fn panel_lines<K: Kernel>(depth: usize) -> usize {
    (depth * K::ROWS).div_ceil(Line::VALUES)
}

/// What happens to the sums of a product.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// `result = left * right` for every right side of a batch: each `result` is `left`'s rows x
/// `columns`, one after the other.
pub fn gemm<B: PanelSource>(
    left: &PackedRows,
    right: &B,
    columns: usize,
    epilogue: Epilogue,
    result: &mut [f32],
) {
    let area = left.rows * columns;
    if area == 0 {
        return;
    }
    assert_eq!(result.len() % area, 0, "result of a product");
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), left.rows, "bias of a product");
    }
    left.level.with_kernel(Product {
        left,
        right,
        columns,
        epilogue,
        batch: result.len() / area,
        result: Shared::new(result),
    });
}

struct Product<'a, B> {
    left: &'a PackedRows,
    right: &'a B,
    columns: usize,
    epilogue: Epilogue<'a>,
    batch: usize,
    result: Shared,
}

impl<B: PanelSource> WithKernel for Product<'_, B> {
    type Output = ();

    /// Cuts the results into blocks, at least two for each thread where there is enough to do.
    fn run<K: Kernel>(self) {
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 2 * threads };
        let panels = self.columns.div_ceil(K::WIDTH);
        let blocks = panels
            .div_ceil((COLUMNS / K::WIDTH).max(1))
            .max(wanted.div_ceil(self.batch))
            .min(panels);
        let block_panels = panels.div_ceil(blocks);
        let blocks = panels.div_ceil(block_panels);
        let row_panels = self.left.rows.div_ceil(K::ROWS);
        let bands = threads.div_ceil(self.batch * blocks).min(row_panels);
        let band_panels = row_panels.div_ceil(bands);
        let bands = row_panels.div_ceil(band_panels);
        let this = &self;
        (0..self.batch * blocks * bands)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (band, rest) = (task % bands, task / bands);
                let (block, batch) = (rest % blocks, rest / blocks);
                let columns = block * block_panels * K::WIDTH
                    ..((block + 1) * block_panels * K::WIDTH).min(this.columns);
                let panels = band * band_panels..((band + 1) * band_panels).min(row_panels);
                let (_, depth) = this.passes();
                with_buffer(depth * block_panels * K::WIDTH, |buffer| {
                    // SAFETY: the CPU has the instructions of the kernel it is run with.
                    unsafe { K::vectorize(|| this.block::<K>(batch, columns, panels, buffer)) }
                });
            });
    }
}

impl<B: PanelSource> Product<'_, B> {
    /// Number of ranges that the sums are cut into, and their length.
    fn passes(&self) -> (usize, usize) {
        let passes = self.left.depth.div_ceil(DEPTH).max(1);
        (passes, self.left.depth.div_ceil(passes))
    }

    /// Computes some left panels x some columns of one result. `buffer` holds the packed columns.
    #[inline(always)]
    fn block<K: Kernel>(
        &self,
        batch: usize,
        columns: Range<usize>,
        panels: Range<usize>,
        buffer: &mut [f32],
    ) {
        let (passes, depth) = self.passes();
        for pass in 0..passes {
            let sums = pass * depth..((pass + 1) * depth).min(self.left.depth);
            let right_panel = sums.len() * K::WIDTH;
            for (i, start) in columns.clone().step_by(K::WIDTH).enumerate() {
                let range = start..(start + K::WIDTH).min(columns.end);
                let panel = &mut buffer[i * right_panel..(i + 1) * right_panel];
                self.right.pack(batch, sums.clone(), range, K::WIDTH, panel);
            }
            for panel in panels.clone() {
                for (i, start) in columns.clone().step_by(K::WIDTH).enumerate() {
                    let width = K::WIDTH.min(columns.end - start);
                    let right = &buffer[i * right_panel..(i + 1) * right_panel];
                    self.tile::<K>(batch, panel, sums.clone(), right, start, width);
                }
            }
        }
    }

    /// Computes one register tile over one range of the sums.
    #[inline(always)]
    fn tile<K: Kernel>(
        &self,
        batch: usize,
        panel: usize,
        sums: Range<usize>,
        right: &[f32],
        column: usize,
        width: usize,
    ) {
        let left = self.left;
        let row = panel * K::ROWS;
        let rows = K::ROWS.min(left.rows - row);
        let values = Line::values(&left.lines);
        let panel_values = panel_lines::<K>(left.depth) * Line::VALUES;
        let a = &values[panel * panel_values + sums.start * K::ROWS..];
        assert!(a.len() >= sums.len() * K::ROWS && right.len() >= sums.len() * K::WIDTH);
        let start = match self.epilogue.bias {
            _ if sums.start > 0 => Start::Accumulate,
            Some(bias) => Start::Bias(bias[row..row + rows].as_ptr()),
            None => Start::Zero,
        };
        let first = (batch * left.rows + row) * self.columns + column;
        let c = self.result.at(first);
        self.result
            .at(first + (rows - 1) * self.columns + width - 1);
        let mut tile = Tile {
            depth: sums.len(),
            a: a.as_ptr(),
            b: right.as_ptr(),
            c,
            pitch: self.columns,
            start,
            relu: self.epilogue.relu && sums.end == left.depth,
        };
        let vectors = width.div_ceil(K::LANES);
        if width == vectors * K::LANES {
            // SAFETY: the slices above cover the tile, and no other task has its results.
            unsafe { K::tile(rows, vectors, &tile) };
            return;
        }
        // The last vector is cut short: compute beside the result, copy the columns that count.
        let mut beside = [Line::ZERO; 8 * 48 / Line::VALUES];
        let values = Line::values_mut(&mut beside);
        assert!(K::ROWS * K::WIDTH <= values.len());
        tile.c = values.as_mut_ptr();
        tile.pitch = K::WIDTH;
        for (r, line) in values.chunks_exact_mut(K::WIDTH).take(rows).enumerate() {
            // SAFETY: `width` values of each of these rows of the result are this task's.
            let from = unsafe { std::slice::from_raw_parts(c.add(r * self.columns), width) };
            line[..width].copy_from_slice(from);
        }
        // SAFETY: `beside` holds a whole tile.
        unsafe { K::tile(rows, vectors, &tile) };
        for (r, line) in Line::values(&beside)
            .chunks_exact(K::WIDTH)
            .take(rows)
            .enumerate()
        {
            // SAFETY: as above.
            let to = unsafe { std::slice::from_raw_parts_mut(c.add(r * self.columns), width) };
            to.copy_from_slice(&line[..width]);
        }
    }
}
