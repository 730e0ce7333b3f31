//! What layers of VGG19 see of a picture, at once or gathered from strips.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::super::vgg::Vgg19;
use super::strips::{Strip, features_of};
use crate::ops::gram;

/// A strip has this part of the features that a block may have at once: few enough for little
/// memory, enough for little overlap.
pub(super) const STRIP: usize = 4;

/// What a picture should have in common with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The features themselves.
    Content,
    /// Their Gram matrix.
    Style,
}

/// Features or Gram matrices of layers, gathered from strips.
#[derive(Default)]
pub(super) struct Parts(BTreeMap<String, (Kind, Vec<Tensor>)>);

impl Parts {
    /// Adds what a layer sees of a strip.
    pub fn add(&mut self, layer: &str, strip: &Strip, kind: Kind, features: &Tensor) -> Result<()> {
        let part = match kind {
            Kind::Content => features.clone(),
            Kind::Style => (gram(features)? * strip.share())?, // a mean over positions
        };
        let parts = &mut self
            .0
            .entry(layer.to_string())
            .or_insert((kind, Vec::new()));
        parts.1.push(part);
        Ok(())
    }

    /// All that was gathered, by layer.
    pub fn join(self) -> Result<BTreeMap<String, Tensor>> {
        let join = |(layer, (kind, parts)): (String, (Kind, Vec<Tensor>))| {
            let whole = match kind {
                Kind::Content => Tensor::cat(&parts, 2)?,
                Kind::Style => Tensor::stack(&parts, 0)?.sum(0)?,
            };
            Ok((layer, whole))
        };
        self.0.into_iter().map(join).collect()
    }
}

/// What the named layers see in the input `x` of block `first`: features or Gram matrices.
pub(super) fn see(
    vgg: &Vgg19,
    first: usize,
    x: &Tensor,
    kind: Kind,
    names: &[String],
    most_features: usize,
) -> Result<BTreeMap<String, Tensor>> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    if features_of(vgg, first, x)? <= most_features {
        let mut seen = vgg.features_from(first, x, names)?;
        if kind == Kind::Style {
            for features in seen.values_mut() {
                *features = gram(features)?;
            }
        }
        return Ok(seen);
    }
    let mut parts = Parts::default();
    let strips = Strip::all(vgg, first, x, most_features / STRIP)?;
    let pooled = pass(vgg, first, x, &strips, |strip, features| {
        for name in names {
            if let Some(features) = features.get(name) {
                parts.add(name, strip, kind, features)?;
            }
        }
        Ok(())
    })?;
    let mut seen = parts.join()?;
    let deeper: Vec<String> = names
        .iter()
        .filter(|name| !seen.contains_key(*name))
        .cloned()
        .collect();
    seen.extend(see(vgg, first + 1, &pooled, kind, &deeper, most_features)?);
    Ok(seen)
}

/// One pass over the strips of a block with the input `x`, each shown to `look` with its features.
/// Returns the next block's input.
pub(super) fn pass(
    vgg: &Vgg19,
    block: usize,
    x: &Tensor,
    strips: &[Strip],
    mut look: impl FnMut(&Strip, &BTreeMap<String, Tensor>) -> Result<()>,
) -> Result<Tensor> {
    let mut pooled = Vec::new();
    for strip in strips {
        let features = strip.features(vgg, block, &strip.take(x)?)?;
        look(strip, &features)?;
        let last = features.last_key_value().context("a block has no layer")?;
        pooled.push(vgg.pool(last.1)?);
    }
    Ok(Tensor::cat(&pooled, 2)?)
}
