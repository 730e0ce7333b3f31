//! The command line as types: what can be typed, and the words that explain it. No input or output.

mod models;
mod optimize;
mod train;
mod values;
#[cfg(feature = "video")]
mod video;
#[cfg(feature = "webcam")]
mod webcam;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::backend::Device;
use crate::kernels::Level;
pub use models::{Fetch, ModelsArgs, ModelsCommand, PrecisionArg};
pub use optimize::{FormArg, OptimizeArgs, OptimizerArg, PoolingArg, StartArg};
pub use train::{EvalArgs, TrainArgs, WidthArg};
use values::{ANY, channels, fraction, short_side, size, times, whole};
#[cfg(feature = "video")]
pub use video::VideoArgs;
#[cfg(feature = "webcam")]
pub use webcam::{CameraFormatArg, WebcamArgs};

/// Turns a webcam, a video file or a picture into a painting, and learns new styles.
#[derive(Debug, Parser)]
#[command(name = "repaint", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line, the program's name first. An error that is a mistake, not a wish for
    /// help, is for [`mistake`].
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let negative = |arg: clap::Arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true), // to be refused for what they are
            false => arg,
        };
        let command = Self::command().mut_subcommands(|command| command.mut_args(negative));
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// A mistake on the command line in one line; `None` for help and version, which are none.
pub fn mistake(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let parts = text.trim().split("\n\n").map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        words.join(" ")
    });
    Some(parts.collect::<Vec<_>>().join("; "))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Paint a video file: every frame painted, sound, timing and rotation kept
    #[cfg(feature = "video")]
    Video(VideoArgs),
    /// Paint a webcam live in a window
    #[cfg(feature = "webcam")]
    Webcam(WebcamArgs),
    /// Paint pictures
    Image(ImageArgs),
    /// Learn a new style from one painting
    Train(Box<TrainArgs>),
    /// Paint one picture after other pictures, pixel by pixel: slow, the best quality
    Optimize(Box<OptimizeArgs>),
    /// Measure a model: content, style and flicker figures
    Eval(EvalArgs),
    /// List, inspect, mix, import, export and remove models
    Models(ModelsArgs),
    /// Measure how fast this computer paints, after checking that it paints right
    Bench(BenchArgs),
}

/// What judges paintings and where it computes, the same in every command that needs it.
#[derive(Args, Clone, Debug)]
pub struct JudgeArgs {
    /// VGG19 weights (safetensors, or torchvision's vgg19-dcbb9e9d.pth)
    #[arg(long, value_name = "FILE")]
    pub vgg19: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    pub device: DeviceArg,
    /// CPU threads; every core when not given
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    pub threads: Option<u16>,
}

/// How to paint, the same in every command.
#[derive(Args, Clone, Debug)]
pub struct PaintArgs {
    /// Style: a name from `repaint models list`, a model file, or a picture to paint like
    #[arg(
        short,
        long,
        alias = "style",
        value_name = "STYLE",
        default_value = "starry_night"
    )]
    pub model: String,
    /// Shorter side of the painted picture in pixels [default: the source's own; for a camera the largest
    /// that holds its rate]
    #[arg(long, value_name = "SHORT_SIDE", value_parser = short_side(16384))]
    pub size: Option<u32>,
    /// How much of the painting shows: 0 is the source, 1 is all paint
    #[arg(long, value_name = "0..1", default_value_t = 1.0, value_parser = fraction)]
    pub strength: f32,
    /// How large strokes are: 2 makes them twice as large, and painting faster; when not given they grow
    /// with pictures whose shorter side has more than 720 pixels
    #[arg(long, value_name = "1..16", value_parser = times)]
    pub strokes: Option<f32>,
    /// Keep the colours of the source; take only brush strokes and brightness from the painting
    #[arg(long)]
    pub keep_colors: bool,
    /// Picture that says where to paint: white is painted, black stays; stretched to the frame
    #[arg(long, value_name = "PICTURE")]
    pub mask: Option<PathBuf>,
    /// CPU threads that compute; every core when not given
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    pub threads: Option<u16>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    pub device: DeviceArg,
    /// CPU instructions to use (generic, neon, avx2, avx512); the best that the CPU has when not given
    #[arg(long, value_name = "LEVEL")]
    pub cpu_level: Option<Level>,
    /// Replace outputs that exist
    #[arg(long)]
    pub overwrite: bool,
}

/// How to paint what moves, the same for video files and cameras.
#[derive(Args, Clone, Debug)]
pub struct FilmArgs {
    /// How steady the painting is: 0 paints every frame for itself, 1 holds on to the last painting
    #[arg(long, value_name = "0..1", default_value_t = crate::steady::USUAL, value_parser = fraction)]
    pub steady: f32,
    /// Use the NVIDIA GPU to decode and encode, too; --codec and --preset choose an encoder themselves
    #[arg(long, value_enum, default_value_t = HwaccelArg::Auto)]
    pub hwaccel: HwaccelArg,
}

/// `--hwaccel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HwaccelArg {
    /// Where the GPU paints, and as far as it can
    Auto,
    /// As far as the NVIDIA GPU can, wherever it paints
    Cuda,
    /// Only the CPU
    None,
}

/// `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    /// The NVIDIA GPU if there is one, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// The NVIDIA GPU
    Cuda,
}

/// `repaint image`.
#[derive(Args, Debug)]
pub struct ImageArgs {
    /// Pictures to paint (png, jpeg, webp, tiff, bmp, gif, heic, and what FFmpeg reads: avif, jxl, tga and others)
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Picture to write (png, jpeg); a folder when there are several inputs
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// How to paint.
    #[command(flatten)]
    pub paint: PaintArgs,
}

/// `repaint bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Model to time: a file, or a name from `repaint models list`
    #[arg(short, long, value_name = "MODEL", conflicts_with_all = ["network", "channels"])]
    pub model: Option<String>,
    /// Width of a network of random values [default: small]
    #[arg(long, value_enum, conflicts_with = "channels")]
    pub network: Option<WidthArg>,
    /// Channels of a network of random values at full, half and quarter resolution
    #[arg(long, value_name = "A,B,C", value_parser = channels)]
    pub channels: Option<[usize; 3]>,
    /// Size of the frame
    #[arg(long, value_name = "WxH", default_value = "640x480", value_parser = size)]
    pub size: (usize, usize),
    /// CPU threads; every core when not given
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    pub threads: Option<u16>,
    /// Frames to time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole::<u16>(1..=ANY))]
    pub runs: u16,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceArg::Cpu)]
    pub device: DeviceArg,
    /// Engine to time
    #[arg(long, value_enum, default_value_t = BenchBackend::Own)]
    pub backend: BenchBackend,
    /// CPU instructions to use (generic, neon, avx2, avx512); the best that the CPU has when not given
    #[arg(long, value_name = "LEVEL")]
    pub cpu_level: Option<Level>,
    /// Time the frames of a film, steadied as `repaint video` does it, instead of a still
    #[arg(long)]
    pub film: bool,
    /// Skip the comparison with the reference
    #[arg(long)]
    pub no_check: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// `--backend` of `repaint bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchBackend {
    /// The engine that paints on this device
    #[value(alias = "cpu")]
    Own,
    /// The reference
    Candle,
}

impl From<DeviceArg> for Device {
    fn from(device: DeviceArg) -> Self {
        match device {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Cuda => Self::Cuda,
        }
    }
}
