//! `repaint optimize` as types.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::JudgeArgs;
use super::values::{ANY, learning_rate, number, share, short_side, weight, whole};
use crate::train::loss::Form;
use crate::train::optimize::{LayerWeight, Optimizer, Start};
use crate::train::vgg::Pooling;

/// `repaint optimize`.
#[derive(Args, Debug)]
pub struct OptimizeArgs {
    /// Picture to paint; with --reconstruct-style the picture to take the texture from
    pub content: PathBuf,
    /// Pictures to paint after, each with its share if there are several: a.jpg:0.7 b.jpg:0.3
    #[arg(
        value_name = "STYLE",
        required_unless_present_any = ["reconstruct", "reconstruct_style", "all_layers"],
        conflicts_with_all = ["reconstruct", "reconstruct_style", "all_layers"],
    )]
    pub styles: Vec<String>,
    /// Picture to write (png, jpeg)
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Shorter side of the painted picture in pixels; the content's own when not given, with a longer
    /// side of at most 512 (256 with --all-layers)
    #[arg(long, value_name = "SHORT_SIDE", value_parser = short_side(2048))]
    pub size: Option<u32>,
    /// Sizes to work through, each twice the one before; chosen by the size when not given
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=7))]
    pub scales: Option<u32>,
    /// Steps at the smallest size; each larger size gets half as many steps as the one before [default: 500;
    /// 100 with --all-layers]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=ANY))]
    pub steps: Option<u32>,
    /// How the pixels are moved [default: lbfgs]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerArg>,
    /// Step size: levels of 0..255 for adam [default: 5], a factor for lbfgs [default: 1]
    #[arg(long, value_name = "X", value_parser = learning_rate)]
    pub learning_rate: Option<f64>,
    /// Weight of the content [default: 1]
    #[arg(long, value_name = "X", value_parser = weight, conflicts_with = "reconstruct_style")]
    pub content_weight: Option<f64>,
    /// Weight of the style against the content [default: 10]
    #[arg(long, value_name = "X", value_parser = weight, conflicts_with = "reconstruct")]
    pub style_weight: Option<f64>,
    /// Weight of the total variation: more is smoother [default: 15; 0 where layers are reconstructed]
    #[arg(long, value_name = "X", value_parser = weight)]
    pub tv_weight: Option<f64>,
    /// VGG19 layers whose features are kept, such as conv3_2:0.5,conv4_2:1 [default: conv4_2]
    #[arg(
        long,
        value_name = "LAYERS",
        value_delimiter = ',',
        conflicts_with_all = ["reconstruct", "reconstruct_style", "all_layers"],
    )]
    pub content_layers: Option<Vec<LayerWeight>>,
    /// VGG19 layers whose Gram matrices are aimed at, such as conv1_1:0.5,conv2_1:1 [default:
    /// conv1_1,conv2_1,conv3_3,conv4_4,conv5_1]
    #[arg(
        long,
        value_name = "LAYERS",
        value_delimiter = ',',
        conflicts_with_all = ["reconstruct", "reconstruct_style", "all_layers"],
    )]
    pub style_layers: Option<Vec<LayerWeight>>,
    /// How losses are scaled [default: relative]
    #[arg(long, value_enum)]
    pub losses: Option<FormArg>,
    /// What lies between the blocks of VGG19 [default: max]
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
    /// What the picture starts from [default: noise]
    #[arg(long, value_enum)]
    pub start: Option<StartArg>,
    /// Part of noise in the start, the rest is content [default: 0.7; 1 with --reconstruct]
    #[arg(long, value_name = "0..1", value_parser = share)]
    pub noise: Option<f64>,
    /// Longer side of the style pictures as a part of the painted one's: smaller means finer strokes
    /// [default: 1]
    #[arg(
        long,
        value_name = "X",
        value_parser = |text: &str| number(text, 0.05, 4.0),
        conflicts_with = "reconstruct",
    )]
    pub style_scale: Option<f64>,
    /// Keep the colours of the source; take only brush strokes and brightness from the painting
    #[arg(long)]
    pub keep_colors: bool,
    /// Show what these VGG19 layers keep of the picture: its features alone, from noise
    #[arg(
        long,
        value_name = "LAYERS",
        value_delimiter = ',',
        conflicts_with = "reconstruct_style"
    )]
    pub reconstruct: Option<Vec<LayerWeight>>,
    /// Show what the Gram matrices of these VGG19 layers keep of the picture: a texture, from noise
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pub reconstruct_style: Option<Vec<LayerWeight>>,
    /// One labelled picture of every layer's reconstruction, from shallow to deep; with
    /// --reconstruct-style of the first, the first two, ... of its layers
    #[arg(long, conflicts_with_all = ["reconstruct", "resume", "preview"])]
    pub all_layers: bool,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(0..=ANY))]
    pub seed: u64,
    /// Picture that shows the state of the work, rewritten every --preview-every steps
    #[arg(long, value_name = "FILE.png")]
    pub preview: Option<PathBuf>,
    /// Steps between two previews
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole::<u32>(1..=ANY))]
    pub preview_every: u32,
    /// Steps between two checkpoints, which lie beside the output until it is finished
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=ANY))]
    pub checkpoint_every: u32,
    /// Go on from the checkpoint beside the output
    #[arg(long)]
    pub resume: bool,
    /// VGG19, and where it computes
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Replace outputs that exist
    #[arg(long)]
    pub overwrite: bool,
}

/// `--optimizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// Adam
    Adam,
    /// L-BFGS
    Lbfgs,
}

/// `--losses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// Relative to what is aimed at, so that one style weight fits every pair of pictures
    Relative,
    /// Mean squared differences, as in the papers
    Absolute,
}

/// `--pooling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingArg {
    /// As VGG19 was trained
    Max,
    /// As the paper recommends for optimisation
    Average,
}

/// `--start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StartArg {
    /// Noise mixed with the content
    Noise,
    /// The content
    Content,
    /// The first style
    Style,
}

impl From<OptimizerArg> for Optimizer {
    fn from(optimizer: OptimizerArg) -> Self {
        match optimizer {
            OptimizerArg::Adam => Self::Adam,
            OptimizerArg::Lbfgs => Self::Lbfgs,
        }
    }
}

impl From<FormArg> for Form {
    fn from(form: FormArg) -> Self {
        match form {
            FormArg::Relative => Self::Relative,
            FormArg::Absolute => Self::Absolute,
        }
    }
}

impl From<PoolingArg> for Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Max => Self::Max,
            PoolingArg::Average => Self::Average,
        }
    }
}

impl From<StartArg> for Start {
    fn from(start: StartArg) -> Self {
        match start {
            StartArg::Noise => Self::Noise,
            StartArg::Content => Self::Content,
            StartArg::Style => Self::Style,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::told_default;
    use super::*;
    use crate::train::optimize::Settings;

    #[test]
    fn the_help_tells_the_defaults() {
        let usual = Settings::default();
        let layers = |layers: &[LayerWeight]| {
            assert!(layers.iter().all(|layer| layer.weight == 1.0));
            let names: Vec<_> = layers.iter().map(|layer| layer.layer.as_str()).collect();
            names.join(",")
        };
        for (option, value) in [
            ("steps", usual.steps.to_string()),
            ("optimizer", format!("{:?}", usual.optimizer).to_lowercase()),
            ("content-weight", usual.content_weight.to_string()),
            ("style-weight", usual.style_weight.to_string()),
            ("tv-weight", usual.tv_weight.to_string()),
            ("content-layers", layers(&usual.content_layers)),
            ("style-layers", layers(&usual.style_layers)),
            ("losses", format!("{:?}", usual.form).to_lowercase()),
            ("pooling", format!("{:?}", usual.pooling).to_lowercase()),
            ("start", format!("{:?}", usual.start).to_lowercase()),
            ("noise", usual.noise.to_string()),
            ("style-scale", usual.style_scale.to_string()),
        ] {
            assert_eq!(told_default::<OptimizeArgs>(option), value, "--{option}");
        }
    }
}
