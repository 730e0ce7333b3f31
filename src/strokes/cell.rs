//! How a painting follows its source in a cell: the slope of its brightness over the source's.

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

impl Cell {
    /// Adds a pixel, of the source and of the painting.
    pub fn take(&mut self, source: &[u8], painted: &[u8]) {
        let [source, painted] = [source, painted].map(brightness);
        self.add(&Self {
            pixels: 1.0,
            source,
            painted,
            source_squared: source * source,
            product: source * painted,
        });
    }

    /// Adds the pixels of another.
    pub fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.source += other.source;
        self.painted += other.painted;
        self.source_squared += other.source_squared;
        self.product += other.product;
    }

    /// The slope of the painting over the source.
    pub fn slope(&self) -> f32 {
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
