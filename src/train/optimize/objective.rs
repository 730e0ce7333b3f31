//! What an optimisation minimises (Gatys et al. 2016, equation 7), and its gradient by the pixels.
//!
//! VGG19 is walked block by block. A block whose features would take too much memory is worked
//! through in strips that overlap by what its convolutions reach, so that no seam arises: once
//! forward, for Gram matrices (sums over strips) and the next block's input; and once more, with
//! gradients, when those of the next block's input are known. Nothing of it is kept in between.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Tensor, Var};

use super::super::loss::{Form, LEAST_MEAN_SQUARE, total_variation};
use super::super::vgg::Vgg19;
use super::features::{Kind, Parts, STRIP, pass, see};
use super::settings::{LayerWeight, Settings};
use super::strips::{Strip, features_of};
use crate::ops::gram;

/// Features (channels x height x width) that a block may have to be worked through at once: VGG19
/// then keeps less than 3 GB. The first block of a picture of 1 megapixel has as many.
const MOST_FEATURES: usize = 1 << 26;

/// The losses at one picture, not weighted, and their weighted sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// How far the features are from those of the content.
    pub content: f64,
    /// How far the Gram matrices are from those of the style.
    pub style: f64,
    /// Total variation.
    pub tv: f64,
    /// The weighted sum, which is minimised.
    pub total: f64,
}

/// The function of a picture that is minimised.
pub struct Objective<'a> {
    vgg: &'a Vgg19,
    goals: Vec<Goal>,
    weights: [f64; 3], // content, style, total variation
    most_features: usize,
}

/// What one layer is to become.
struct Goal {
    layer: String,
    kind: Kind,
    aim: Tensor,
    weight: f64,
}

impl Goal {
    /// The part of a goal for features that a strip stands for.
    fn in_strip(&self, strip: &Strip) -> Result<Self> {
        Ok(Self {
            layer: self.layer.clone(),
            aim: strip.of(&self.aim)?,
            ..*self
        })
    }

    /// Content: the loss of features. Style: of a Gram matrix.
    fn loss(&self, found: &Tensor) -> candle_core::Result<Tensor> {
        (found - &self.aim)?.sqr()?.mean_all()? * self.weight
    }
}

impl<'a> Objective<'a> {
    /// The objective for a picture of the size of `content` (1, 3, H, W; 0..255). Gram matrices of
    /// several `styles` (1, 3, any size) are averaged with their weights.
    pub fn new(
        vgg: &'a Vgg19,
        settings: &Settings,
        content: Option<&Tensor>,
        styles: &[(Tensor, f64)],
    ) -> Result<Self> {
        Self::with_most_features(vgg, settings, content, styles, MOST_FEATURES)
    }

    /// As [`Objective::new`]; blocks with more features a layer than `most_features` are worked
    /// through in strips, which changes nothing but time and memory.
    pub fn with_most_features(
        vgg: &'a Vgg19,
        settings: &Settings,
        content: Option<&Tensor>,
        styles: &[(Tensor, f64)],
        most_features: usize,
    ) -> Result<Self> {
        let mut objective = Self {
            vgg,
            goals: Vec::new(),
            weights: [
                settings.content_weight,
                settings.style_weight,
                settings.tv_weight,
            ],
            most_features,
        };
        let see = |picture: &Tensor, kind, layers: &[LayerWeight]| {
            let names: Vec<String> = layers.iter().map(|layer| layer.layer.clone()).collect();
            see(vgg, 0, &vgg.input(picture)?, kind, &names, most_features)
        };
        if let Some(content) = content {
            let layers = &settings.content_layers;
            let aims = see(content, Kind::Content, layers)?;
            objective.aim_at(Kind::Content, layers, aims, settings.form)?;
        }
        let layers = &settings.style_layers;
        let all: f64 = styles.iter().map(|(_, weight)| weight).sum();
        let mut mean: BTreeMap<String, Tensor> = BTreeMap::new();
        for (style, weight) in styles {
            for (layer, gram) in see(style, Kind::Style, layers)? {
                let gram = (gram * (weight / all))?;
                let sum = match mean.remove(&layer) {
                    Some(sum) => (sum + gram)?,
                    None => gram,
                };
                mean.insert(layer, sum);
            }
        }
        objective.aim_at(Kind::Style, layers, mean, settings.form)?;
        Ok(objective)
    }

    fn aim_at(
        &mut self,
        kind: Kind,
        layers: &[LayerWeight],
        mut aims: BTreeMap<String, Tensor>,
        form: Form,
    ) -> Result<()> {
        let all: f64 = layers.iter().map(|layer| layer.weight).sum();
        for LayerWeight { layer, weight } in layers {
            let Some(aim) = aims.remove(layer) else {
                continue; // there is no such picture
            };
            let weight = match form {
                Form::Relative => {
                    let mean_square = f64::from(aim.sqr()?.mean_all()?.to_scalar::<f32>()?);
                    weight / all / mean_square.max(LEAST_MEAN_SQUARE)
                }
                Form::Absolute => *weight,
            };
            self.goals.push(Goal {
                layer: layer.clone(),
                kind,
                aim,
                weight,
            });
        }
        Ok(())
    }

    /// Losses and the gradient of their weighted sum at `picture` (1, 3, H, W; 0..255).
    pub fn at(&self, picture: &Tensor) -> Result<(Losses, Tensor)> {
        let mut losses = Losses::default();
        let picture = Var::from_tensor(&picture.detach())?;
        let tv = total_variation(&picture)?;
        losses.tv = scalar(&tv)?;
        let mut gradient = match self.weights[2] > 0.0 {
            true => {
                let gradients = (tv * self.weights[2])?.backward()?;
                let gradient = gradients.get(&picture).context("no gradient")?;
                gradient.clone()
            }
            false => picture.zeros_like()?,
        };
        let input = self.vgg.input(&picture.detach())?; // a shift: the same gradient
        if let Some(deep) = self.descend(0, &input, &mut losses)? {
            gradient = (gradient + deep)?;
        }
        let [content, style, tv] = self.weights;
        losses.total = content * losses.content + style * losses.style + tv * losses.tv;
        Ok((losses, gradient))
    }

    /// Adds the losses of the layers from block `first` on to `losses`; the gradient of their
    /// weighted sum by that block's input `x`, `None` where there are none.
    fn descend(&self, first: usize, x: &Tensor, losses: &mut Losses) -> Result<Option<Tensor>> {
        let names = self.names_from(first);
        if names.is_empty() {
            return Ok(None);
        }
        if features_of(self.vgg, first, x)? > self.most_features {
            return self.descend_in_strips(first, x, losses).map(Some);
        }
        let x = Var::from_tensor(x)?;
        let features = self.vgg.features_from(first, &x, &names)?;
        let mut terms = Vec::new();
        for goal in &self.goals {
            let Some(features) = features.get(&goal.layer) else {
                continue;
            };
            let loss = match goal.kind {
                Kind::Content => goal.loss(features)?,
                Kind::Style => goal.loss(&gram(features)?)?,
            };
            terms.push(self.count(goal.kind, &loss, losses)?);
        }
        drop(features);
        gradient_of(&terms, &x).map(Some)
    }

    /// As [`Objective::descend`], in two passes over the strips of the block.
    fn descend_in_strips(&self, block: usize, x: &Tensor, losses: &mut Losses) -> Result<Tensor> {
        let mut grams = Parts::default();
        let strips = Strip::all(self.vgg, block, x, self.most_features / STRIP)?;
        let pooled = pass(self.vgg, block, x, &strips, |strip, features| {
            for goal in &self.goals {
                let Some(features) = features.get(&goal.layer) else {
                    continue;
                };
                match goal.kind {
                    Kind::Style => grams.add(&goal.layer, strip, Kind::Style, features)?,
                    Kind::Content => {
                        let loss = (goal.in_strip(strip)?.loss(features)? * strip.share())?;
                        self.count(Kind::Content, &loss, losses)?;
                    }
                }
            }
            Ok(())
        })?;
        let deep = self.descend(block + 1, &pooled, losses)?;
        drop(pooled);
        let mut slopes = BTreeMap::new(); // of the weighted style loss by each Gram matrix
        for (layer, gram) in grams.join()? {
            let gram = Var::from_tensor(&gram)?;
            let mine = |goal: &&Goal| goal.kind == Kind::Style && goal.layer == layer;
            if let Some(goal) = self.goals.iter().find(mine) {
                let term = self.count(Kind::Style, &goal.loss(&gram)?, losses)?;
                slopes.insert(layer, gradient_of(&[term], &gram)?);
            }
        }

        let mut gradient = x.zeros_like()?;
        for strip in &strips {
            let input = Var::from_tensor(&strip.take(x)?)?;
            let features = strip.features(self.vgg, block, &input)?;
            let mut terms = Vec::new(); // their gradients are those of the losses
            for goal in &self.goals {
                let Some(features) = features.get(&goal.layer) else {
                    continue;
                };
                let term = match (goal.kind, slopes.get(&goal.layer)) {
                    (Kind::Content, _) => {
                        (goal.in_strip(strip)?.loss(features)? * self.weights[0])?
                    }
                    (Kind::Style, Some(slope)) => (gram(features)? * slope)?.sum_all()?,
                    (Kind::Style, None) => continue,
                };
                terms.push((term * strip.share())?);
            }
            if let (Some(deep), Some((_, last))) = (&deep, features.last_key_value()) {
                let rows = strip.pooled_rows();
                let slope = deep.narrow(2, rows.start, rows.len())?;
                terms.push((self.vgg.pool(last)? * slope)?.sum_all()?);
            }
            drop(features);
            if !terms.is_empty() {
                gradient = strip.add_to(&gradient, &gradient_of(&terms, &input)?)?;
            }
        }
        Ok(gradient)
    }

    /// Adds a loss to those of its kind and weights it.
    fn count(&self, kind: Kind, loss: &Tensor, losses: &mut Losses) -> Result<Tensor> {
        let (sum, weight) = match kind {
            Kind::Content => (&mut losses.content, self.weights[0]),
            Kind::Style => (&mut losses.style, self.weights[1]),
        };
        *sum += scalar(loss)?;
        Ok((loss * weight)?)
    }

    /// Layers with goals in block `first` or behind it.
    fn names_from(&self, first: usize) -> Vec<String> {
        let mut names: Vec<String> = self
            .goals
            .iter()
            .map(|goal| goal.layer.clone())
            .filter(|name| self.vgg.block_of(name) >= Some(first))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The gradient of the sum of `terms` by `x`.
fn gradient_of(terms: &[Tensor], x: &Tensor) -> Result<Tensor> {
    let gradients = Tensor::stack(terms, 0)?.sum_all()?.backward()?;
    gradients.get(x).context("no gradient").cloned()
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}
