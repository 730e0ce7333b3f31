//! What an optimisation can be told: defaults and checks.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::super::loss::Form;
use super::super::vgg::{Pooling, Vgg19};

/// Usual weight of the total variation. 1 leaves coloured specks between the strokes, 50 blurs them;
/// with 15 instead of 1 the losses of 150 steps rise by 1 % (content) and 4 % (style).
const USUAL_TV: f64 = 15.0;

/// Longest side of a picture that is optimised, in pixels.
pub const LONGEST: usize = 2048;

/// Settings of an optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Shorter side of the result in pixels; the picture's own when `None`.
    pub size: Option<usize>,
    /// Number of sizes worked through, each twice the one before; chosen by the size when `None`.
    pub scales: Option<u32>,
    /// Steps at the smallest size; each larger one gets half of those before it.
    pub steps: u32,
    /// How the pixels are moved.
    pub optimizer: Optimizer,
    /// Step size: levels of 0..255 for Adam, a factor for L-BFGS; the optimiser's usual one when
    /// `None`.
    pub learning_rate: Option<f64>,
    /// How losses are scaled.
    pub form: Form,
    /// Weight of the content loss.
    pub content_weight: f64,
    /// Weight of the style loss.
    pub style_weight: f64,
    /// Weight of the total variation (pixels in 0..1): more is smoother.
    pub tv_weight: f64,
    /// Layers whose features are to stay those of the content.
    pub content_layers: Vec<LayerWeight>,
    /// Layers whose Gram matrices are to become those of the style.
    pub style_layers: Vec<LayerWeight>,
    /// What lies between VGG19's blocks.
    pub pooling: Pooling,
    /// What the picture starts from.
    pub start: Start,
    /// Part of noise in [`Start::Noise`], the rest is content.
    pub noise: f64,
    /// Longer side of the style pictures, as a part of that of the result.
    pub style_scale: f64,
    /// Whether the result has the colours of the content.
    pub keep_colors: bool,
    /// Seed of the noise.
    pub seed: u64,
}

/// How the pixels are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Kingma & Ba 2015.
    Adam,
    /// Limited-memory BFGS (Liu & Nocedal 1989).
    Lbfgs,
}

/// What the picture starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Noise mixed with the content.
    Noise,
    /// The content.
    Content,
    /// The first style picture.
    Style,
}

/// A layer of VGG19 and its weight among those of its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerWeight {
    /// Name of the layer.
    pub layer: String,
    /// Its weight.
    pub weight: f64,
}

impl LayerWeight {
    /// Layers of equal weight.
    pub fn all(layers: &[&str]) -> Vec<Self> {
        let one = |layer: &&str| Self {
            layer: layer.to_string(),
            weight: 1.0,
        };
        layers.iter().map(one).collect()
    }
}

impl FromStr for LayerWeight {
    type Err = anyhow::Error;

    /// `conv1_1` or `conv1_1:0.5`.
    fn from_str(text: &str) -> Result<Self> {
        let (layer, weight) = text.split_once(':').unwrap_or((text, "1"));
        Vgg19::ensure_layer(layer)?;
        match weight.parse::<f64>() {
            Ok(weight) if weight.is_finite() && weight > 0.0 => Ok(Self {
                layer: layer.to_string(),
                weight,
            }),
            _ => bail!("`{weight}` is no weight of layer {layer}: expected a number above 0"),
        }
    }
}

impl fmt::Display for LayerWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layer, self.weight)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: None,
            scales: None,
            steps: 500,
            optimizer: Optimizer::Lbfgs,
            learning_rate: None,
            form: Form::Relative,
            content_weight: 1.0,
            style_weight: 10.0,
            tv_weight: USUAL_TV,
            content_layers: LayerWeight::all(&["conv4_2"]),
            style_layers: LayerWeight::all(&[
                "conv1_1", "conv2_1", "conv3_3", "conv4_4", "conv5_1",
            ]),
            pooling: Pooling::Max,
            start: Start::Noise,
            noise: 0.7,
            style_scale: 1.0,
            keep_colors: false,
            seed: 0,
        }
    }
}

impl Settings {
    /// Shows what `layer` keeps of a picture: the content loss alone, from nothing but noise.
    pub fn reconstruct_content(&self, layers: Vec<LayerWeight>) -> Self {
        Self {
            content_layers: layers,
            style_layers: Vec::new(),
            tv_weight: 0.0,
            start: Start::Noise,
            noise: 1.0,
            ..self.clone()
        }
    }

    /// Shows what the Gram matrices of `layers` keep of a picture: a texture, from nothing but
    /// noise.
    pub fn reconstruct_style(&self, layers: Vec<LayerWeight>) -> Self {
        Self {
            content_layers: Vec::new(),
            style_layers: layers,
            tv_weight: 0.0,
            start: Start::Noise,
            noise: 1.0,
            keep_colors: false,
            ..self.clone()
        }
    }

    /// Fails for values with which nothing can be optimised, naming the first.
    pub fn ensure_sane(&self) -> Result<()> {
        for (name, value) in [
            ("content_weight", self.content_weight),
            ("style_weight", self.style_weight),
            ("tv_weight", self.tv_weight),
        ] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "{name} {value} is no weight: expected 0 or more"
            );
        }
        let rate = self.learning_rate.unwrap_or(1.0);
        ensure!(
            rate.is_finite() && rate > 0.0,
            "learning_rate {rate} is not above 0"
        );
        ensure!(self.steps > 0, "0 steps: expected 1 or more");
        ensure!(
            (0.0..=1.0).contains(&self.noise),
            "noise {} is out of range (0 to 1)",
            self.noise
        );
        ensure!(
            (0.05..=4.0).contains(&self.style_scale),
            "style_scale {} is out of range (0.05 to 4)",
            self.style_scale
        );
        for (name, layers) in [
            ("content_layers", &self.content_layers),
            ("style_layers", &self.style_layers),
        ] {
            for (i, layer) in layers.iter().enumerate() {
                let twice = layers[..i].iter().any(|other| other.layer == layer.layer);
                ensure!(!twice, "{name} has `{}` twice", layer.layer);
                Vgg19::ensure_layer(&layer.layer).with_context(|| format!("in {name}"))?;
            }
        }
        ensure!(
            !self.content_layers.is_empty() || !self.style_layers.is_empty(),
            "no layers: name some of the content or of the style"
        );
        Ok(())
    }
}
