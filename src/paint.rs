//! What is done to a frame: the backend paints it, then strength and colours of the source are
//! mixed back in. Where frames come from and go to is `pipeline`'s business.

use anyhow::Result;
use rayon::prelude::*;

use crate::backend::{Backend, Device};
use crate::frame::{Frame, luma, mix};
use crate::mask::Mask;
use crate::steady::{Bars, Seen, Steadier, Watcher};
use crate::strokes::{Enlarger, Strokes};

/// Bytes that one task mixes, whole pixels: some 20 us of work.
const SHARE: usize = 3 << 14;

/// A backend with a loaded model, and how much of its painting is shown.
pub struct Painter {
    backend: Box<dyn Backend>,
    strength: f32,
    keep_colors: bool,
    mask: Option<Mask>,
    watcher: Watcher,
    seen: Seen,
    steadier: Steadier,
    /// The painting of a frame that is painted smaller.
    small: Frame,
    enlarger: Enlarger,
}

impl Painter {
    /// `strength` goes from 0 (the source) to 1 (all paint). `keep_colors` takes the brightness of
    /// the painting and the colours of the source.
    pub fn new(backend: Box<dyn Backend>, strength: f32, keep_colors: bool) -> Self {
        Self {
            backend,
            strength,
            keep_colors,
            mask: None,
            watcher: Watcher::default(),
            seen: Seen::default(),
            steadier: Steadier::default(),
            small: Frame::default(),
            enlarger: Enlarger::default(),
        }
    }

    /// Paints only where `mask` says; everywhere by default.
    pub fn set_mask(&mut self, mask: Option<Mask>) {
        self.mask = mask;
    }

    /// Takes what [`Painter::paint`] is given for the frames of a film, which is steadied by `amount`,
    /// from 0 (the default: every picture for itself) to 1.
    pub fn set_steadiness(&mut self, amount: f32) {
        self.watcher.set(amount);
    }

    /// Changes how large strokes are in what [`Painter::paint`] is given; as the network paints them by default.
    pub fn set_strokes(&mut self, strokes: Strokes) {
        self.watcher.set_strokes(strokes);
    }

    /// Goes on with another backend, which has a model loaded, and returns the one before.
    pub fn exchange(&mut self, backend: Box<dyn Backend>) -> Box<dyn Backend> {
        self.watcher.reset();
        std::mem::replace(&mut self.backend, backend)
    }

    /// Changes the strength, from 0 (the source) to 1 (all paint).
    pub fn set_strength(&mut self, strength: f32) {
        self.strength = strength;
    }

    /// Chooses whose colours are shown: the source's, or the painting's.
    pub fn set_keep_colors(&mut self, keep_colors: bool) {
        self.keep_colors = keep_colors;
    }

    /// What computes; see [`Backend::name`].
    pub fn backend(&self) -> &str {
        self.backend.name()
    }

    /// Where it paints; see [`Backend::device`].
    pub fn device(&self) -> Device {
        self.backend.device()
    }

    /// Paints `input` into `output`, which takes on its size, number and time. At strength 0 the
    /// network does not run.
    pub fn paint(&mut self, input: &Frame, output: &mut Frame) -> Result<()> {
        let mut seen = std::mem::take(&mut self.seen);
        if self.strength > 0.0 {
            self.watcher.look(input, &mut seen)?;
        } else {
            self.watcher.reset();
        }
        let painted = self.paint_seen(input, &seen, None, output);
        self.seen = seen;
        painted
    }

    /// As [`Painter::paint`], for a frame that another [`Watcher`] has `seen`, as it has the `next` one, if
    /// that is known already.
    pub fn paint_seen(
        &mut self,
        input: &Frame,
        seen: &Seen,
        next: Option<&Seen>,
        output: &mut Frame,
    ) -> Result<()> {
        if self.strength <= 0.0 {
            output.shape_like(input);
            output.pixels.copy_from_slice(&input.pixels);
            return Ok(());
        }
        let painting = match seen.small() {
            Some(_) => &mut self.small,
            None => &mut *output,
        };
        match seen.held() {
            None => {
                let input = seen.small().unwrap_or(input);
                self.backend.stylize(input, painting)?;
            }
            Some(_) => {
                let steadier = &mut self.steadier;
                self.backend.stylize_next(seen, next, steadier, painting)?;
            }
        }
        if let Some(small) = seen.small() {
            self.enlarger.run(&self.small, small, input, output);
        }
        if self.keep_colors {
            keep_colors(&input.pixels, &mut output.pixels);
        }
        let strength = self.strength * seen.shown();
        if strength < 1.0 {
            blend(&input.pixels, &mut output.pixels, strength);
        }
        if seen.bars() != Bars::default() {
            seen.bars().keep(input, output);
        }
        if let Some(mask) = &mut self.mask {
            mask.apply(input, output)?;
        }
        Ok(())
    }
}

/// Gives the painting the chrominance of the source. In Y'CbCr of BT.601 R, G and B are the luma
/// plus a sum of Cb and Cr alone, so another luma adds the same amount to all three. Both are RGB
/// pixels of pictures of one size.
pub fn keep_colors(source: &[u8], painting: &mut [u8]) {
    in_shares(source, painting, |source, painting| {
        for (paint, pixel) in painting.chunks_exact_mut(3).zip(source.chunks_exact(3)) {
            let brighter = (luma(paint) - luma(pixel) + 128) >> 8;
            for (value, &source) in paint.iter_mut().zip(pixel) {
                *value = (i32::from(source) + brighter).clamp(0, 255) as u8;
            }
        }
    });
}

/// Moves the painting towards the source: `strength` of it stays.
fn blend(source: &[u8], painting: &mut [u8], strength: f32) {
    let weight = 256 - (strength * 256.0).round() as u16;
    in_shares(source, painting, |source, painting| {
        mix(painting, source, weight);
    });
}

/// Lets `change` change the painting by the source, a share at a time on every core.
fn in_shares(source: &[u8], painting: &mut [u8], change: impl Fn(&[u8], &mut [u8]) + Sync) {
    let shares = painting.par_chunks_mut(SHARE).zip(source.par_chunks(SHARE));
    shares.for_each(|(painting, source)| change(source, painting));
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::frame::Carried;
    use crate::model::Model;

    /// Paints the negative of a picture.
    struct Inverter;

    impl Backend for Inverter {
        fn name(&self) -> &str {
            "inverter"
        }

        fn load(&mut self, _model: &Model) -> Result<()> {
            bail!("has no models")
        }

        fn has_memory(&self) -> bool {
            false
        }

        fn stylize_after(
            &mut self,
            _last: Option<&Carried>,
            input: &Frame,
            output: &mut Frame,
        ) -> Result<()> {
            output.shape_like(input);
            for (to, from) in output.pixels.iter_mut().zip(&input.pixels) {
                *to = 255 - from;
            }
            Ok(())
        }
    }

    fn paint(strength: f32, keep_colors: bool, pixels: &[u8]) -> Vec<u8> {
        let mut input = Frame::new(pixels.len() / 3, 1);
        (input.index, input.pts) = (3, 40);
        input.pixels.copy_from_slice(pixels);
        let mut output = Frame::default();
        let mut painter = Painter::new(Box::new(Inverter), strength, keep_colors);
        painter.paint(&input, &mut output).unwrap();
        assert_eq!((output.index, output.pts), (3, 40));
        output.pixels
    }

    #[test]
    fn strength_moves_from_the_source_to_the_painting() {
        let source = [0, 100, 255, 10, 20, 30];
        assert_eq!(paint(0.0, false, &source), source);
        assert_eq!(paint(0.5, false, &source), [128, 128, 128, 128, 128, 128]);
        assert_eq!(paint(1.0, false, &source), [255, 155, 0, 245, 235, 225]);
    }

    #[test]
    fn bars_beside_a_film_stay_as_they_are() {
        let mut input = Frame::new(64, 96);
        let picture = 3 * 64 * 12..3 * 64 * 84;
        for (i, value) in input.pixels[picture.clone()].iter_mut().enumerate() {
            *value = 60 + (i * 37 % 97) as u8;
        }
        let mut output = Frame::default();
        let mut painter = Painter::new(Box::new(Inverter), 1.0, false);
        painter.paint(&input, &mut output).unwrap();
        assert_eq!(output.pixels[0], 255, "a picture is painted as a whole");
        painter.set_steadiness(0.5);
        for _ in 0..3 {
            painter.paint(&input, &mut output).unwrap();
            assert!(output.pixels[..picture.start].iter().all(|&v| v == 0));
            assert!(output.pixels[picture.end..].iter().all(|&v| v == 0));
            assert!(output.pixels[picture.clone()].iter().all(|&v| v > 90));
        }
    }

    #[test]
    fn kept_colours_take_only_the_brightness_of_the_painting() {
        let source = [100, 120, 140];
        let kept = paint(1.0, true, &source);
        assert_eq!(kept[1] - kept[0], 20);
        assert_eq!(kept[2] - kept[1], 20);
        let painted = luma(&[155, 135, 115]);
        assert!((luma(&kept) - painted).abs() <= 256, "{kept:?}");
    }
}
