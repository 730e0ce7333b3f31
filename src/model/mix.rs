//! Mixtures of styles: networks whose values lie between those of others.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::{Metadata, Model, Tensor};

/// Least cosine between the kernels of networks that can be mixed. Those of which one began with the other have
/// 0.77 to 0.95 (pairs of the built-in styles, and at medium width), those that began with the same random
/// values 0.16, which mix as well (style loss of the mean between those of both); two of pytorch/examples,
/// whose mean is a blur, have 0.01.
const LEAST_ALIKE: f64 = 0.1;

impl Model {
    /// The mean of two or more models, each with its share (above 0, of any sum). Where networks were trained
    /// from one beginning (`repaint train --start`, or the same random values) everything between them paints,
    /// as fast and as steady as they do. Fails for networks of other shapes and for unrelated ones, whose mean
    /// is a blur.
    pub fn mix(parts: &[(Self, f64)]) -> Result<Self> {
        ensure!(
            parts.len() >= 2,
            "one style alone is no mixture: name two or more"
        );
        let (first, _) = &parts[0];
        for (model, _) in &parts[1..] {
            let names = format!(
                "`{}` and `{}` cannot be mixed",
                first.metadata.name, model.metadata.name
            );
            ensure!(
                model.network == first.network,
                "{names}: their networks differ, {} and {}",
                described(first),
                described(model)
            );
            ensure!(
                alike(first, model) >= LEAST_ALIKE,
                "{names}: they were not trained from one beginning, so that their mean is a blur; train one \
                 with `--start` the other"
            );
        }
        let sum: f64 = parts.iter().map(|(_, share)| share).sum();
        let mean = |name: &String, tensor: &Tensor| {
            let mut data = vec![0.0f64; tensor.data.len()];
            for (model, share) in parts {
                for (mean, value) in data.iter_mut().zip(&model.tensors[name].data) {
                    *mean += f64::from(*value) * share / sum;
                }
            }
            Tensor {
                shape: tensor.shape.clone(),
                data: data.into_iter().map(|value| value as f32).collect(),
            }
        };
        let tensors: BTreeMap<_, _> = first
            .tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), mean(name, tensor)))
            .collect();
        Self::new(about(parts, sum), tensors)
    }
}

/// Shape of a network, for people.
fn described(model: &Model) -> String {
    let ([a, b, c], blocks) = (model.network.channels, model.network.residual_blocks);
    let memory = match model.network.memory {
        true => " with memory",
        false => " without memory",
    };
    format!("{a}-{b}-{c} of {blocks} blocks{memory}")
}

/// Cosine between all kernels of two networks of one shape.
fn alike(a: &Model, b: &Model) -> f64 {
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for layer in a.network.layers() {
        let name = layer.weight();
        for (&a, &b) in a.tensors[&name].data.iter().zip(&b.tensors[&name].data) {
            let (a, b) = (f64::from(a), f64::from(b));
            both += a * b;
            of_a += a * a;
            of_b += b * b;
        }
    }
    both / f64::sqrt(of_a * of_b).max(f64::MIN_POSITIVE)
}

/// What a mixture says of itself.
fn about(parts: &[(Model, f64)], sum: f64) -> Metadata {
    let join = |of: fn(&Metadata) -> &str, between: &str| {
        let mut all: Vec<&str> = parts.iter().map(|(model, _)| of(&model.metadata)).collect();
        all.retain(|text| !text.is_empty());
        all.dedup();
        all.join(between)
    };
    let shares = parts.iter().map(|(model, share)| {
        let name = model.metadata.name.replace(char::is_control, " ");
        format!("{name} {:.3}", share / sum)
    });
    Metadata {
        title: join(|about| &about.title, " and "),
        painter: join(|about| &about.painter, ", "),
        recipe: format!("# mixed: {}\n", shares.collect::<Vec<_>>().join(", ")),
        program: concat!("repaint ", env!("CARGO_PKG_VERSION"), ", mixed").to_string(),
        ..Metadata::default()
    }
}
