//! `repaint models` as types.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::fraction;
use crate::model::Precision;

/// `repaint models`.
#[derive(Args, Debug)]
pub struct ModelsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ModelsCommand,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the models that --model knows
    List,
    /// Show what a model is and how it was made
    Show {
        /// A file, or a name from `repaint models list`
        model: String,
    },
    /// Make a model of a picture, in one pass and without training, or of a pytorch/examples network (.pth, .model)
    Import {
        /// Picture to paint like, or network to import
        file: PathBuf,
        /// What predicts the style of a picture, made by `repaint train` from a folder of paintings; the
        /// program's own when not given
        #[arg(long, value_name = "FILE")]
        predictor: Option<PathBuf>,
        /// Model file to write; a file of the same name in the user's model folder when not given
        #[arg(short, long, value_name = "OUT")]
        output: Option<PathBuf>,
        /// Title of the painting
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// Painter of the painting
        #[arg(long, value_name = "TEXT")]
        painter: Option<String>,
        /// Replace a model that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Write a model as a file of its own, to keep or to give away
    Export {
        /// A file, or a name from `repaint models list`
        model: String,
        /// Model file to write; its name becomes the model's
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// Bits of each value: 16 halves the file and changes no picture visibly
        #[arg(long, value_enum, default_value_t = PrecisionArg::F16)]
        precision: PrecisionArg,
        /// Replace a file that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Mix styles that were trained from one beginning, as the built-in ones were
    Mix {
        /// Two or more models, each with its share if they differ: udnie:0.7 great_wave:0.3
        #[arg(required = true, num_args = 2.., value_name = "MODEL[:SHARE]")]
        models: Vec<String>,
        /// Model file to write; one named after the styles in the user's model folder when not given
        #[arg(short, long, value_name = "OUT")]
        output: Option<PathBuf>,
        /// Title of the mixture
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// Replace a model that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Give a style the colours of a picture: its strokes, the picture's palette
    Recolor {
        /// A file, or a name from `repaint models list`
        model: String,
        /// Picture whose colours it is to have
        picture: PathBuf,
        /// How much of them, 0 to 1
        #[arg(long, value_name = "0..1", default_value_t = 1.0, value_parser = fraction)]
        palette: f32,
        /// Folder of photographs to see the style's own colours on; three pictures of the program's own when
        /// not given
        #[arg(long, value_name = "DIR")]
        photos: Option<PathBuf>,
        /// Model file to write; one named after style and picture in the user's model folder when not given
        #[arg(short, long, value_name = "OUT")]
        output: Option<PathBuf>,
        /// Title of the new style
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// Replace a model that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Remove styles from your model folder
    Remove {
        /// Names from `repaint models list`
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Download what training needs: torchvision's VGG19 (574 MB, 80 MB of it kept)
    Fetch {
        /// What to download
        #[arg(value_enum)]
        what: Fetch,
    },
}

/// `--precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 16-bit floating point
    F16,
    /// 32-bit floating point
    F32,
}

/// What `repaint models fetch` downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fetch {
    /// The loss network that training needs
    Vgg19,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F16 => Self::F16,
            PrecisionArg::F32 => Self::F32,
        }
    }
}
