//! Left sides of products, packed into panels of the rows of a register tile.

use rayon::prelude::*;

use super::level::WithKernel;
use super::micro::Kernel;
use super::share::Line;

/// Packs `rows` rows of `depth` values.
pub(super) struct PackRows<'a> {
    /// The rows, one after the other.
    pub values: &'a [f32],
    /// Their number.
    pub rows: usize,
    /// Values of a row.
    pub depth: usize,
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
                    K::vectorize(
                        #[inline(always)]
                        || interleave::<K>(values, self.depth, Line::values_mut(lines)),
                    );
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

/// Lines that a panel of kernels with `depth` values takes.
pub(super) fn panel_lines<K: Kernel>(depth: usize) -> usize {
    (depth * K::ROWS).div_ceil(Line::VALUES)
}
