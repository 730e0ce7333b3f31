//! What training minimises: content and style losses over VGG19's features (Gatys et al. 2016,
//! Johnson et al. 2016), and total variation.

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::vgg::Vgg19;
use crate::network::Network;
use crate::ops::{gram, mean_square};

/// Mean squares of Gram matrices and features below which losses are no longer taken relative to
/// them, but to this: pictures of one colour have next to nothing in deep layers. Those of paintings
/// are above 100 times as large.
pub const LEAST_MEAN_SQUARE: f64 = 1e-3;

/// How losses are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Divided by the size of what is aimed at, so that one style weight fits every painting:
    /// |F - Fc|^2 / |Fc|^2, and the mean over layers of |G - Gs|^2 / |Gs|^2.
    #[default]
    Relative,
    /// Mean squared differences, summed over layers, as in the papers.
    Absolute,
}

/// The losses of one painting in VGG19's eyes.
pub struct PerceptualLoss {
    vgg: Vgg19,
    form: Form,
    content_layers: Vec<String>,
    layers: Vec<String>, // those of the content and of the style
    style_layers: Vec<String>,
    style: Goals,
}

/// What style layers are to become.
#[derive(Clone)]
pub struct Goals(Vec<Goal>);

/// What a style layer is to become.
#[derive(Clone)]
struct Goal {
    layer: String,
    gram: Tensor, // (1, C, C)
    mean_square: f64,
}

/// Content and style losses, scalars with a graph.
pub struct Losses {
    /// How far the painted picture is from its photo.
    pub content: Tensor,
    /// How far the painted picture is from the painting.
    pub style: Tensor,
}

impl PerceptualLoss {
    /// The losses against `painting` (1, 3, H, W; RGB 0..255; at least 16x16). Fails when VGG19
    /// lacks a layer.
    pub fn new(
        vgg: Vgg19,
        painting: &Tensor,
        content_layers: &[String],
        style_layers: &[String],
        form: Form,
    ) -> Result<Self> {
        let mut layers = [content_layers, style_layers].concat();
        layers.sort();
        layers.dedup();
        let mut loss = Self {
            vgg,
            form,
            content_layers: content_layers.to_vec(),
            layers,
            style_layers: style_layers.to_vec(),
            style: Goals(Vec::new()),
        };
        loss.style = loss.goals(painting)?;
        Ok(loss)
    }

    /// What the losses aim at with another painting, of the same kind as [`PerceptualLoss::new`] takes.
    pub fn goals(&self, painting: &Tensor) -> Result<Goals> {
        let features = self.vgg.features(painting, &self.style_layers)?;
        let goals = features.into_iter().map(|(layer, features)| {
            let gram = gram(&features)?;
            let mean_square = f64::from(gram.sqr()?.mean_all()?.to_scalar::<f32>()?);
            Ok(Goal {
                layer,
                gram,
                mean_square: mean_square.max(LEAST_MEAN_SQUARE),
            })
        });
        Ok(Goals(goals.collect::<Result<_>>()?))
    }

    /// Aims at these from now on.
    pub fn aim(&mut self, goals: Goals) {
        self.style = goals;
    }

    /// The losses of `painted` against the photos `content`, both (N, 3, H, W), RGB 0..255. Nothing
    /// is tracked for `content`, as long as it is no variable.
    pub fn of(&self, painted: &Tensor, content: &Tensor) -> Result<Losses> {
        // Side by side: each fills what threads the other leaves idle between two layers.
        let (aims, found) = rayon::join(
            || self.vgg.features(content, &self.content_layers),
            || self.vgg.features(painted, &self.layers),
        );
        let (aims, found) = (aims?, found?);
        let features = |layer: &String| found.get(layer).context("a layer is missing");
        let mut content = Vec::new();
        for (layer, aim) in &aims {
            let difference = mean_square(features(layer)?, Some(aim))?;
            content.push(match self.form {
                // Not read back: a GPU would have to finish first.
                Form::Relative => {
                    difference.div(&mean_square(aim, None)?.maximum(LEAST_MEAN_SQUARE)?)?
                }
                Form::Absolute => difference,
            });
        }
        let mut style = Vec::new();
        for goal in &self.style.0 {
            let size = match self.form {
                Form::Relative => goal.mean_square,
                Form::Absolute => 1.0,
            };
            let gram = gram(features(&goal.layer)?)?;
            let difference = mean_square(&gram, Some(&goal.gram))?;
            style.push((difference / size)?);
        }
        Ok(Losses {
            content: self.join(&content)?,
            style: self.join(&style)?,
        })
    }

    /// VGG19 itself.
    pub fn vgg(&self) -> &Vgg19 {
        &self.vgg
    }

    fn join(&self, layers: &[Tensor]) -> Result<Tensor> {
        let stacked = Tensor::stack(layers, 0)?;
        Ok(match self.form {
            Form::Relative => stacked.mean_all()?,
            Form::Absolute => stacked.sum_all()?,
        })
    }
}

/// Mean squared difference between neighbours of `x` (N, 3, H, W; 0..255), below each other plus
/// beside each other, with pixels taken as 0..1.
pub fn total_variation(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let vertical = (x.narrow(2, 1, height - 1)? - x.narrow(2, 0, height - 1)?)?;
    let horizontal = (x.narrow(3, 1, width - 1)? - x.narrow(3, 0, width - 1)?)?;
    let sum = (mean_square(&vertical, None)? + mean_square(&horizontal, None)?)?;
    Ok((sum / (255.0 * 255.0))?)
}

/// Sides of the squares in which [`grid`] looks, in pixels: a multiple of [`Network::MULTIPLE`]. Each place on the grid
/// has 64 pixels in one, and calm places hold some.
const SQUARE: usize = 32;

/// What in `x` (N, 3, H, W; 0..255; at least 32x32) repeats with the grid of the network's strided layers: the
/// variance of the means of the pixels that are alike to it, by their row and column modulo 4, in squares
/// of 32x32 pixels, with pixels taken as 0..1. A network that sees nothing can paint nothing else than such a
/// checkerboard (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts").
pub fn grid(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (step, planes) = (Network::MULTIPLE, batch * channels);
    let (down, along, times) = (height / SQUARE, width / SQUARE, SQUARE / step);
    let x = x
        .narrow(2, 0, down * SQUARE)?
        .narrow(3, 0, along * SQUARE)?
        .contiguous()?;
    let rows = x
        .reshape((planes, down, times, step * along * SQUARE))?
        .mean(2)?;
    let means = rows
        .reshape((planes * down * step, along, times, step))?
        .mean(2)?;
    let means = means.reshape((planes * down, step, along, step))?;
    let pattern = means.broadcast_sub(&means.mean_keepdim((1, 3))?)?;
    Ok((mean_square(&pattern.contiguous()?, None)? / (255.0 * 255.0))?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::train::motion::normal;

    const HEIGHT: usize = 72; // a rest of 8 belongs to no square
    const WIDTH: usize = 96;

    fn picture(value: impl FnMut(usize) -> f32) -> Result<Tensor> {
        let values: Vec<f32> = (0..2 * 3 * HEIGHT * WIDTH).map(value).collect();
        Ok(Tensor::from_vec(
            values,
            (2, 3, HEIGHT, WIDTH),
            &Device::Cpu,
        )?)
    }

    /// Grey levels squared.
    fn found(picture: &Tensor) -> Result<f64> {
        Ok(f64::from(grid(picture)?.to_scalar::<f32>()?) * 255.0 * 255.0)
    }

    #[test]
    fn what_repeats_every_four_pixels_is_found_whole_and_nothing_else() -> Result<()> {
        // Of variance 5 (0, 2, 4, 6) in rows, columns or both.
        for shift in [0, 1] {
            let columns = found(&picture(|i| 90.0 + 2.0 * ((i + shift) % 4) as f32)?)?;
            let rows = found(&picture(|i| 90.0 + 2.0 * ((i / WIDTH + shift) % 4) as f32)?)?;
            let both = found(&picture(|i| 2.0 * ((i + i / WIDTH) % 4) as f32)?)?;
            for variance in [columns, rows, both] {
                assert!((variance - 5.0).abs() < 1e-3, "{variance}");
            }
        }
        let plain = found(&picture(|i| (i / (HEIGHT * WIDTH)) as f32)?)?;
        let slow = found(&picture(|i| {
            60.0 * ((i % WIDTH / 8 + i / WIDTH / 16) % 2) as f32
        })?)?;
        assert!(plain < 1e-6 && slow < 1e-6, "{plain} {slow}");
        // One of 64 pixels' worth: noise of a variance of 400 leaves 400 / 64, less a sixteenth.
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let noise = found(&picture(|_| 128.0 + 20.0 * normal(&mut random))?)?;
        assert!((5.3..6.5).contains(&noise), "{noise}");
        Ok(())
    }

    #[test]
    fn a_step_along_its_gradient_takes_the_grid_away_and_leaves_the_rest() -> Result<()> {
        let pattern = |i: usize| 2.0 * ((i + i / WIDTH) % 4) as f32;
        let wave = |i: usize| 40.0 * (i as f32 * 0.11).sin();
        let both = Var::from_tensor(&picture(|i| 100.0 + wave(i) + pattern(i))?)?;
        let before = found(&both)?;
        let gradients = grid(&both)?.backward()?;
        let gradient = gradients.get(&both).context("no gradient")?;
        // The step that takes the pattern itself: 64 pixels share a mean, 16 means a square.
        let squares = 2 * 3 * 2 * 3;
        let full = f64::from(squares * 16 * 64) * 255.0 * 255.0 / 2.0;
        let after = (both.as_tensor() - (gradient * full)?)?;
        let left = found(&after)?;
        assert!(before > 4.0 && left < 1e-4, "{before} {left}");
        let rest = gradient.narrow(2, 64, 8)?.abs()?.sum_all()?;
        assert_eq!(rest.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
