//! What a training writes beside its model: `OUT.training`, a folder that the model does not need.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::photos::TRAINING;

/// The folder of one training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    place: PathBuf,
}

impl Folder {
    /// The folder that belongs to the model file `output`, which need not exist.
    pub fn of(output: &Path) -> Self {
        Self {
            place: output.with_extension(TRAINING),
        }
    }

    /// Makes the folder where it is missing.
    pub fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.place)
            .with_context(|| format!("could not make the folder `{}`", self.place.display()))
    }

    /// The state from which an interrupted training goes on; gone when it is finished.
    pub fn checkpoint(&self) -> PathBuf {
        self.place.join("checkpoint.safetensors")
    }

    /// The log, one JSON object a line for each step.
    pub fn log(&self) -> PathBuf {
        self.place.join("log.jsonl")
    }

    /// The picture of the loss curves.
    pub fn curves(&self) -> PathBuf {
        self.place.join("losses.png")
    }

    /// What the network makes of a few photos.
    pub fn preview(&self) -> PathBuf {
        self.place.join("preview.png")
    }
}
