//! `repaint train` and `repaint eval` as types.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::JudgeArgs;
use super::values::{ANY, learning_rate, share, weight, whole};
use crate::network::{Network, Width};
use crate::train::Start;

/// `repaint train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Picture of the painting to learn from; a folder of paintings, with `--recipe training/predictor.toml
    /// -o OUT`, to learn how to predict the styles of others
    pub painting: PathBuf,
    /// Folder of photographs to train on; three pictures of the program's own when not given
    #[arg(long, value_name = "DIR")]
    pub photos: Option<PathBuf>,
    /// Model file to write (safetensors), by default one of the painting's name in your model folder, for
    /// `--model NAME`; beside it appears the folder OUT.training with preview, loss curves, log and
    /// checkpoint
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Settings as TOML; what is given on the command line wins
    #[arg(long, value_name = "FILE.toml")]
    pub recipe: Option<PathBuf>,
    /// Width of the network [default: small]
    #[arg(long, value_enum)]
    pub network: Option<WidthArg>,
    /// Training steps [default: 100; 150 for medium networks and with another --start, 2000 for large networks
    /// and with --start random]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=ANY))]
    pub steps: Option<u32>,
    /// Photographs in a step [default: 2]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=256))]
    pub batch: Option<u32>,
    /// Side of the square cut from each photograph, in pixels [default: 144; 192 for large networks and
    /// with --start random]
    #[arg(long, value_name = "N", value_parser = crop)]
    pub crop: Option<u32>,
    /// Weight of the style against the content [default: 2]
    #[arg(long, value_name = "X", value_parser = weight)]
    pub style_weight: Option<f64>,
    /// Weight of the total variation: more is smoother [default: 0.5]
    #[arg(long, value_name = "X", value_parser = weight)]
    pub tv_weight: Option<f64>,
    /// Weight of what repeats every 4 pixels, the grid of the network: more has fewer dots in calm places
    /// [default: 2000]
    #[arg(long, value_name = "X", value_parser = weight)]
    pub grid_weight: Option<f64>,
    /// How much of the painting's colours the finished network is given, 0 to 1: training alone leaves paintings
    /// paler [default: 0.5]
    #[arg(long, value_name = "0..1", value_parser = share)]
    pub palette: Option<f64>,
    /// Whether the network also sees its last painting, which steadies it in motion [default: true]
    #[arg(long, value_name = "true|false")]
    pub memory: Option<bool>,
    /// What to start with: `predicted` (from the painting, for small networks), `built-in` (the mean of the built-in
    /// styles), `random`, or a model of the same width, a file or name [default: predicted; built-in for medium
    /// networks, random for large ones]
    #[arg(long, value_name = "MODEL")]
    pub start: Option<Start>,
    /// Weight of the steadiness in motion: more flickers less and paints a little more timidly, 0 is for
    /// stills [default: 9]
    #[arg(long, value_name = "X", value_parser = weight)]
    pub stability: Option<f64>,
    /// Shorter side of the painting in pixels: smaller means finer strokes [default: 384]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(32..=4096))]
    pub style_size: Option<u32>,
    /// Highest learning rate [default: 0.004]
    #[arg(long, value_name = "X", value_parser = learning_rate)]
    pub learning_rate: Option<f64>,
    /// Seed of every random choice [default: 0]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Picture that shows the state of the training, rewritten every --preview-every steps; preview.png
    /// in the folder OUT.training when not given
    #[arg(long, value_name = "FILE.png")]
    pub preview: Option<PathBuf>,
    /// Steps between two previews
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=ANY))]
    pub preview_every: u32,
    /// Steps between two checkpoints, which lie in the folder OUT.training until the model is finished
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=ANY))]
    pub checkpoint_every: u32,
    /// Go on from the checkpoint of an interrupted training; everything else as it was given then
    #[arg(long)]
    pub resume: bool,
    /// Photographs to measure the finished model on; the folder `validation` beside --photos, if there
    /// is one, when not given
    #[arg(long, value_name = "DIR")]
    pub validation: Option<PathBuf>,
    /// Title of the painting, for the model's metadata
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Painter of the painting, for the model's metadata
    #[arg(long, value_name = "TEXT")]
    pub painter: Option<String>,
    /// Year of the painting, for the model's metadata
    #[arg(long, value_name = "TEXT")]
    pub year: Option<String>,
    /// VGG19, and where it computes
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Replace an output that exists
    #[arg(long)]
    pub overwrite: bool,
}

/// `repaint eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Style model: a file, or a name from `repaint models list`
    pub model: String,
    /// Folder of photographs that it was not trained on; the program's own pictures when not given
    #[arg(long, value_name = "DIR")]
    pub photos: Option<PathBuf>,
    /// Picture of the painting that it learned from
    #[arg(long, value_name = "PAINTING")]
    pub style: PathBuf,
    /// Shorter side of the painting in pixels; the one that the model was trained with when not given
    #[arg(long, value_name = "N", value_parser = whole::<u32>(32..=4096))]
    pub style_size: Option<u32>,
    /// Video file on whose frames flicker is measured too, as photos and as `repaint video` paints them
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
    /// VGG19, and where it computes
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// A side that networks can halve twice.
fn crop(text: &str) -> Result<u32, String> {
    let side = whole::<u32>(32..=1024)(text).ok();
    side.filter(|side| side.is_multiple_of(Network::MULTIPLE as u32))
        .ok_or_else(|| "expected a multiple of 4 from 32 to 1024".to_string())
}

/// `--network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WidthArg {
    /// 8-16-32 channels: real time on a CPU
    Small,
    /// 16-32-64 channels
    Medium,
    /// 32-64-128 channels, as in the paper
    Large,
}

impl From<WidthArg> for Width {
    fn from(width: WidthArg) -> Self {
        match width {
            WidthArg::Small => Self::Small,
            WidthArg::Medium => Self::Medium,
            WidthArg::Large => Self::Large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::told_default;
    use super::*;
    use crate::train::Settings;

    #[test]
    fn the_help_tells_the_defaults() {
        let usual = Settings::default();
        let width = Width::default();
        let width = [WidthArg::Small, WidthArg::Medium, WidthArg::Large]
            .into_iter()
            .find(|arg| Width::from(*arg) == width)
            .and_then(|arg| arg.to_possible_value());
        for (option, value) in [
            ("network", width.expect("a width").get_name().to_string()),
            ("steps", usual.steps.to_string()),
            ("batch", usual.batch.to_string()),
            ("crop", usual.crop.to_string()),
            ("style-weight", usual.style_weight.to_string()),
            ("tv-weight", usual.tv_weight.to_string()),
            ("grid-weight", usual.grid_weight.to_string()),
            ("palette", usual.palette.to_string()),
            ("memory", usual.memory.to_string()),
            ("start", usual.start.into()),
            ("stability", usual.stability.to_string()),
            ("style-size", usual.style_size.to_string()),
            ("learning-rate", usual.learning_rate.to_string()),
            ("seed", usual.seed.to_string()),
        ] {
            assert_eq!(told_default::<TrainArgs>(option), value, "--{option}");
        }
    }
}
