//! How a painting follows its source in a cell: the slope of its brightness over the source's.

use super::enlarger::{BLOCK, CELL};
use crate::frame::luma;

/// Variance of brightness, of 255 squared, that halves the slope: what varies less is noise.
const NOISE: f32 = 50.0;

/// Steepest slope, up and down: more would make bright lines of every edge.
const STEEPEST: f32 = 1.0;

/// Sums over pixels of the brightness of source and painting.
#[derive(Clone, Copy, Default)]
pub(super) struct Cell {
    pixels: f32,
    source: f32,
    painted: f32,
    source_squared: f32,
    product: f32,
}

/// Fills a row of cells with their pixels, of rows of the source and of the painting that are `width` pixels wide.
#[inline(always)]
pub(super) fn fill(cells: &mut [Cell], source: &[u8], painted: &[u8], width: usize) {
    let rows = source.len() / (3 * width);
    for (block, cells) in cells.chunks_mut(BLOCK / CELL).enumerate() {
        let from = block * BLOCK;
        let count = BLOCK.min(width - from);
        let [mut brightness_of, mut painted_of] = [[0.0; BLOCK]; 2];
        let [mut squared, mut product] = [[0.0; BLOCK]; 2];
        for row in 0..rows {
            let at = 3 * (row * width + from);
            let [source, painted] =
                [source, painted].map(|p| p[at..at + 3 * count].as_chunks::<3>().0);
            let sums = brightness_of.iter_mut().zip(&mut painted_of);
            let sums = sums.zip(&mut squared).zip(&mut product);
            for ((source, painted), (((a, b), c), d)) in source.iter().zip(painted).zip(sums) {
                let [source, painted] = [source, painted].map(|pixel| brightness(pixel));
                *a += source;
                *b += painted;
                *c += source * source;
                *d += source * painted;
            }
        }
        for (i, cell) in cells.iter_mut().enumerate() {
            let sum = |of: &[f32; BLOCK]| of[i * CELL..][..CELL].iter().sum();
            *cell = Cell {
                pixels: (rows * CELL.min(count - i * CELL)) as f32,
                source: sum(&brightness_of),
                painted: sum(&painted_of),
                source_squared: sum(&squared),
                product: sum(&product),
            };
        }
    }
}

/// Fills `slopes` with those of a row of cells, each found in its pixels and its neighbours'. `near` are that row and
/// those above and below, as far as there are any.
#[inline(always)]
pub(super) fn find_slopes(near: &[Cell], slopes: &mut [f32]) {
    let columns = slopes.len();
    let column = |x: usize| {
        let mut sum = Cell::default();
        near[x..]
            .iter()
            .step_by(columns)
            .for_each(|cell| sum.add(cell));
        sum
    };
    let (mut left, mut middle) = (Cell::default(), column(0));
    for (x, slope) in slopes.iter_mut().enumerate() {
        let right = match x + 1 < columns {
            true => column(x + 1),
            false => Cell::default(),
        };
        let mut sum = left;
        sum.add(&middle);
        sum.add(&right);
        *slope = sum.slope();
        (left, middle) = (middle, right);
    }
}

impl Cell {
    /// Adds the pixels of another.
    #[inline(always)]
    fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.source += other.source;
        self.painted += other.painted;
        self.source_squared += other.source_squared;
        self.product += other.product;
    }

    /// The slope of the painting over the source.
    #[inline(always)]
    fn slope(&self) -> f32 {
        let source = self.source / self.pixels;
        let variance = self.source_squared / self.pixels - source * source;
        let covariance = (self.product - source * self.painted) / self.pixels;
        (covariance / (variance + NOISE)).clamp(-STEEPEST, STEEPEST)
    }
}

/// Brightness of an RGB pixel, from 0 to 255.
#[inline(always)]
pub(super) fn brightness(pixel: &[u8]) -> f32 {
    luma(pixel) as f32 / 256.0
}
