//! What training minimises: content and style losses over VGG19's features (Gatys et al. 2016,
//! Johnson et al. 2016), and total variation.

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::vgg::Vgg19;
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
    style: Vec<Goal>,
}

/// What a style layer is to become.
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
        let features = vgg.features(painting, style_layers)?;
        let style = features
            .into_iter()
            .map(|(layer, features)| {
                let gram = gram(&features)?;
                let mean_square = f64::from(gram.sqr()?.mean_all()?.to_scalar::<f32>()?);
                Ok(Goal {
                    layer,
                    gram,
                    mean_square: mean_square.max(LEAST_MEAN_SQUARE),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut layers = [content_layers, style_layers].concat();
        layers.sort();
        layers.dedup();
        Ok(Self {
            vgg,
            form,
            content_layers: content_layers.to_vec(),
            layers,
            style,
        })
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
        for goal in &self.style {
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
