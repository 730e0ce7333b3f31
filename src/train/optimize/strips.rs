//! A block of VGG19 in horizontal strips, which need less memory than the whole and give the same.
//!
//! Each strip takes as many rows more on both sides as its block has convolutions: zeros that the
//! convolutions put where the picture goes on then never reach the rows that count.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;

use super::super::vgg::Vgg19;

/// Features of one layer that a strip has, about: few enough for little memory, enough for little
/// overlap.
const STRIP_FEATURES: usize = 1 << 24;

/// Features of each layer of a block with the input `x`.
pub fn features_of(vgg: &Vgg19, block: usize, x: &Tensor) -> Result<usize> {
    let (_, _, height, width) = x.dims4()?;
    Ok(vgg.channels(block) * height * width)
}

/// A strip of a block's input.
pub struct Strip {
    /// Rows that count. They begin at an even row, and there are at least two.
    pub rows: Range<usize>,
    taken: Range<usize>,
    height: usize,
}

impl Strip {
    /// The strips of the input `x` of a block.
    pub fn all(vgg: &Vgg19, block: usize, x: &Tensor) -> Result<Vec<Self>> {
        let (_, _, height, _) = x.dims4()?;
        let wanted = features_of(vgg, block, x)?.div_ceil(STRIP_FEATURES);
        Ok(Self::cut(height, wanted, vgg.block(block).count()))
    }

    /// At most `wanted` strips of `height` rows with a reach of `reach` rows.
    fn cut(height: usize, wanted: usize, reach: usize) -> Vec<Self> {
        let length = height.div_ceil(wanted.max(1)).next_multiple_of(2);
        let count = (height / length).max(1); // the last takes what is left over
        let strip = |index: usize| {
            let end = if index + 1 == count {
                height
            } else {
                (index + 1) * length
            };
            let rows = index * length..end;
            let taken = rows.start.saturating_sub(reach)..(rows.end + reach).min(height);
            Self {
                rows,
                taken,
                height,
            }
        };
        (0..count).map(strip).collect()
    }

    /// The part of the rows of the whole that this strip stands for.
    pub fn share(&self) -> f64 {
        self.rows.len() as f64 / self.height as f64
    }

    /// The rows of `x` that the strip needs.
    pub fn take(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.narrow(2, self.taken.start, self.taken.len())?
            .contiguous()?)
    }

    /// The rows of features of the whole that count in this strip.
    pub fn of(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features
            .narrow(2, self.rows.start, self.rows.len())?
            .contiguous()?)
    }

    /// The rows that count of every layer's features, for what [`Strip::take`] took.
    pub fn features(
        &self,
        vgg: &Vgg19,
        block: usize,
        taken: &Tensor,
    ) -> Result<BTreeMap<String, Tensor>> {
        let above = self.rows.start - self.taken.start;
        let mut features = BTreeMap::new();
        let mut x = taken.clone();
        for layer in vgg.block(block) {
            x = layer.run(&x)?;
            let rows = x.narrow(2, above, self.rows.len())?.contiguous()?;
            features.insert(layer.name.clone(), rows);
        }
        Ok(features)
    }

    /// The rows of the next block's input that this strip gives, as a place in the whole.
    pub fn pooled_rows(&self) -> Range<usize> {
        self.rows.start / 2..self.rows.start / 2 + self.rows.len() / 2
    }

    /// Adds `part`, a gradient of what was taken, to that of the whole.
    pub fn add_to(&self, whole: &Tensor, part: &Tensor) -> Result<Tensor> {
        let below = self.height - self.taken.end;
        let part = part.pad_with_zeros(2, self.taken.start, below)?;
        Ok((whole + part)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_cover_every_row_once_and_start_at_even_rows() {
        for height in [2, 3, 33, 64, 501] {
            for wanted in [1, 2, 3, 7, 100] {
                let mut next = 0;
                for strip in Strip::cut(height, wanted, 2) {
                    assert_eq!(strip.rows.start, next);
                    assert!(next % 2 == 0 && strip.rows.len() >= 2);
                    next = strip.rows.end;
                }
                assert_eq!(next, height);
            }
        }
    }
}
