//! What a training can be told: defaults, recipe files and checks.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::vgg::Vgg19;
use crate::network::{Network, Width};
use crate::styles;

/// Settings of a training, as recipes and model files hold them (TOML).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Title of the painting.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Who painted it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub painter: String,
    /// When it was painted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub year: String,
    /// Width of the network.
    pub network: Width,
    /// Whether the network also sees its last painting, carried along the motion.
    pub memory: bool,
    /// What the weights are before the first step.
    pub start: Start,
    /// Training steps.
    pub steps: u32,
    /// Photos in a step.
    pub batch: usize,
    /// Side of the square cut from each photo, in pixels, a multiple of 4.
    pub crop: usize,
    /// Shorter side of the painting in pixels: smaller means finer strokes.
    pub style_size: usize,
    /// Weight of the style loss; the content loss has weight 1.
    pub style_weight: f64,
    /// Weight of the total variation of the painted picture (pixels in 0..1): more is smoother.
    pub tv_weight: f64,
    /// Weight of the grid in the painted picture (see [`super::loss::grid`]; pixels in 0..1).
    pub grid_weight: f64,
    /// Weight of the steadiness: how closely the painting of a moved photo follows the moved painting. 0
    /// trains for stills.
    pub stability: f64,
    /// How much of the painting's colours the finished network is given (see [`crate::palette`]), 0..1.
    pub palette: f64,
    /// Highest rate of the one-cycle schedule.
    pub learning_rate: f64,
    /// Layers of VGG19 whose features are to stay those of the photo.
    pub content_layers: Vec<String>,
    /// Layers of VGG19 whose Gram matrices are to become those of the painting.
    pub style_layers: Vec<String>,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What the weights of a network are before the first step; `predicted`, `built-in`, `random` or a model in
/// recipes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Start {
    /// Those that are predicted from the painting, of the small network alone (see [`crate::predict`]): 60 steps
    /// from there are worth 150 from the mean of the built-in styles (`training/README.md`).
    #[default]
    Predicted,
    /// The mean of the built-in styles of this width: as near to a new painting after 60 steps as the one of
    /// them that is best for it, which no figure tells beforehand (`training/README.md`).
    BuiltIn,
    /// Random values.
    Random,
    /// Those of a model of the same width, a file or a name.
    Model(String),
}

impl From<String> for Start {
    fn from(text: String) -> Self {
        match text.as_str() {
            "predicted" => Self::Predicted,
            "built-in" => Self::BuiltIn,
            "random" => Self::Random,
            _ => Self::Model(text),
        }
    }
}

impl From<Start> for String {
    fn from(start: Start) -> Self {
        match start {
            Start::Predicted => "predicted".to_string(),
            Start::BuiltIn => "built-in".to_string(),
            Start::Random => "random".to_string(),
            Start::Model(name) => name,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::usual(Width::Small, None)
    }
}

impl Settings {
    /// The defaults for a network of this width that begins so: a style that begins with others needs a
    /// thirteenth of the steps. Without `start` it is what is predicted, or the built-in styles, where some have
    /// this width.
    pub fn usual(network: Width, start: Option<Start>) -> Self {
        let start = start.unwrap_or_else(|| match network {
            Width::Small => Start::Predicted,
            _ if styles::has_built_in(network) => Start::BuiltIn,
            _ => Start::Random,
        });
        let (steps, crop) = match start {
            Start::Random => (2000, 192),
            Start::Predicted => (100, 144),
            Start::BuiltIn | Start::Model(_) => (150, 144),
        };
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Self {
            title: String::new(),
            painter: String::new(),
            year: String::new(),
            network,
            memory: true,
            start,
            steps,
            batch: 2,
            crop,
            style_size: 384,
            style_weight: 2.0, // 1 is timid, 5 loses the photo
            tv_weight: 0.5,
            grid_weight: 2000.0, // leaves little but chance, 0 a weave of dots
            stability: 9.0,      // 4 steadies little, 8 without more style loses the strokes
            palette: 0.5,
            learning_rate: 4e-3,
            content_layers: names(&["conv4_2"]),
            style_layers: names(&["conv1_1", "conv2_1", "conv3_3", "conv4_4", "conv5_1"]),
            seed: 0,
        }
    }

    /// Reads a recipe: what it does not name has the usual value, a name it should not have is an error.
    /// `network` and `start` go before what the recipe says of them.
    pub fn from_recipe(text: &str, network: Option<Width>, start: Option<Start>) -> Result<Self> {
        let recipe = Self::from_toml(text)?; // which names the line of a mistake
        let mut named: toml::Table = text.parse().context("no recipe")?;
        let network = network.unwrap_or(recipe.network);
        named.remove("network");
        let start = start.or(named.remove("start").map(|_| recipe.start));
        let mut all = toml::Table::try_from(Self::usual(network, start))?;
        all.extend(named);
        Ok(all.try_into()?)
    }

    /// Reads all settings, as [`Self::to_toml`] writes them.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| {
                let before = &text[..span.start.min(text.len())];
                1 + before.matches('\n').count()
            });
            let message = error.message().replace('\n', " ");
            match line {
                Some(line) => anyhow::anyhow!("line {line}: {message}"),
                None => anyhow::anyhow!("{message}"),
            }
        })
    }

    /// The factor of the style loss. Steadiness draws paintings towards their photos; a style that is
    /// to stay as strong at any `stability` has to draw harder: at 9 by a fifth.
    pub fn style_factor(&self) -> f64 {
        self.style_weight * (1.0 + self.stability / 45.0)
    }

    /// The network to train.
    pub fn network(&self) -> Network {
        let network = Network::from(self.network);
        match self.memory {
            true => network.with_memory(),
            false => network,
        }
    }

    /// All settings as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("could not write the settings as TOML")
    }

    /// The first setting in which `other` differs: its name, the value here and the value there.
    pub fn difference(&self, other: &Self) -> Result<Option<(String, String, String)>> {
        let table = |settings| {
            toml::Table::try_from(settings).context("could not write the settings as TOML")
        };
        let (ours, theirs) = (table(self)?, table(other)?);
        let text = |value: Option<&toml::Value>| {
            value.map_or_else(|| "nothing".to_string(), toml::Value::to_string)
        };
        let names = ours.keys().chain(theirs.keys());
        Ok(names
            .map(|name| (name, ours.get(name), theirs.get(name)))
            .find(|(_, ours, theirs)| ours != theirs)
            .map(|(name, ours, theirs)| (name.clone(), text(ours), text(theirs))))
    }

    /// Fails for values with which nothing can be trained, naming the first.
    pub fn ensure_sane(&self) -> Result<()> {
        let within = |name: &str, value: usize, low: usize, high: usize| {
            ensure!(
                (low..=high).contains(&value),
                "{name} {value} is out of range ({low} to {high})"
            );
            Ok(())
        };
        within("steps", self.steps as usize, 1, u32::MAX as usize)?;
        within("batch", self.batch, 1, 256)?;
        within("crop", self.crop, 32, 1024)?;
        within("style_size", self.style_size, 32, 4096)?;
        ensure!(
            self.crop.is_multiple_of(Network::MULTIPLE),
            "crop {} is not a multiple of {}",
            self.crop,
            Network::MULTIPLE
        );
        for (name, value) in [
            ("style_weight", self.style_weight),
            ("tv_weight", self.tv_weight),
            ("grid_weight", self.grid_weight),
            ("stability", self.stability),
        ] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "{name} {value} is no weight: expected 0 or more"
            );
        }
        ensure!(
            (0.0..=1.0).contains(&self.palette),
            "palette {} is out of range (0 to 1)",
            self.palette
        );
        ensure!(
            self.learning_rate.is_finite() && self.learning_rate > 0.0,
            "learning_rate {} is not above 0",
            self.learning_rate
        );
        ensure!(
            i64::try_from(self.seed).is_ok(), // TOML knows no larger integers
            "seed {} is too large (at most {})",
            self.seed,
            i64::MAX
        );
        for (name, layers) in [
            ("content_layers", &self.content_layers),
            ("style_layers", &self.style_layers),
        ] {
            ensure!(!layers.is_empty(), "{name} is empty: name a layer of VGG19");
            for (i, layer) in layers.iter().enumerate() {
                ensure!(!layers[..i].contains(layer), "{name} has `{layer}` twice");
                Vgg19::ensure_layer(layer).with_context(|| format!("in {name}"))?;
            }
        }
        Ok(())
    }
}
