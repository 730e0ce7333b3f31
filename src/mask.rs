//! Masks: where a picture is painted, and where it stays as it was.

use anyhow::Result;
use rayon::prelude::*;

use crate::frame::{Frame, mix};
use crate::scale::Scaler;

/// Pixels that one task mixes: some 20 us of work.
const SHARE: usize = 1 << 14;

/// A picture whose brightness says how much paint shows at each place.
pub struct Mask {
    picture: Frame,
    scaler: Scaler,
    scaled: Frame,
    /// How much of the source stays at each pixel of `scaled`, in 1/256.
    weights: Vec<u16>,
}

impl Mask {
    /// Paint shows where `picture` is white, nothing of it where that is black.
    pub fn new(picture: Frame) -> Self {
        Self {
            picture,
            scaler: Scaler::default(),
            scaled: Frame::default(),
            weights: Vec::new(),
        }
    }

    /// Brings the `source` back where the mask, stretched to its size, is dark. Both frames have one size.
    pub fn apply(&mut self, source: &Frame, painting: &mut Frame) -> Result<()> {
        let size = (source.width, source.height);
        if (self.scaled.width, self.scaled.height) != size {
            self.scaler
                .run(&self.picture, size, false, &mut self.scaled)?;
            let (pixels, _) = self.scaled.pixels.as_chunks::<3>();
            self.weights.clear();
            self.weights.extend(pixels.iter().map(|pixel| {
                let sum: u32 = pixel.iter().map(|&value| u32::from(value)).sum();
                256 - (sum * 256 / (3 * 255)) as u16
            }));
        }
        let paint = painting.pixels.par_chunks_mut(3 * SHARE);
        let source = source.pixels.par_chunks(3 * SHARE);
        let weights = self.weights.par_chunks(SHARE);
        paint
            .zip(source)
            .zip(weights)
            .for_each(|((paint, source), weights)| {
                let (paint, source) = (paint.as_chunks_mut::<3>().0, source.as_chunks::<3>().0);
                for ((paint, source), &weight) in paint.iter_mut().zip(source).zip(weights) {
                    mix(paint, source, weight);
                }
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize, height: usize, level: u8) -> Frame {
        let mut frame = Frame::new(width, height);
        frame.pixels.fill(level);
        frame
    }

    #[test]
    fn paint_shows_as_far_as_the_mask_is_bright() -> Result<()> {
        let mut picture = plain(4, 1, 0);
        for (pixel, level) in picture
            .pixels
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip([0, 128, 255, 255])
        {
            pixel.fill(level);
        }
        let (source, mut painting) = (plain(4, 1, 7), plain(4, 1, 255));
        let mut mask = Mask::new(picture);
        mask.apply(&source, &mut painting)?;
        let levels: Vec<u8> = painting.pixels.iter().step_by(3).copied().collect();
        assert_eq!(levels, [7, 131, 255, 255]);
        Ok(())
    }

    #[test]
    fn a_mask_is_stretched_to_each_size_that_comes() -> Result<()> {
        let mut picture = plain(2, 2, 255);
        picture.pixels[..6].fill(0);
        let mut mask = Mask::new(picture);
        for (width, height) in [(8, 12), (640, 64), (8, 12), (1, 2)] {
            let (source, mut painting) = (plain(width, height, 10), plain(width, height, 200));
            mask.apply(&source, &mut painting)?;
            assert_eq!(painting.pixels[0], 10, "{width}x{height}");
            assert_eq!(painting.pixels.last(), Some(&200), "{width}x{height}");
        }
        Ok(())
    }
}
