//! Learning a style from one painting: a transformer network fitted against VGG19's losses (Johnson
//! et al. 2016). Everything that needs gradients lives here; [`train()`] is the one loop, and
//! [`optimize`] paints a single picture without a network.
//!
//! Nothing is printed: what happens is told as [`Event`]s.

pub mod adam;
mod checkpoint;
mod curves;
pub mod dataset;
pub mod evaluate;
pub mod folder;
mod journal;
pub mod loss;
mod measure;
mod motion;
pub mod optimize;
mod paintings;
mod product;
mod session;
mod settings;
mod stability;
mod state;
mod subject;
pub mod vgg;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::backend::{Device, candle};
use crate::frame::Frame;
use crate::model::Model;
use crate::photos;
pub use measure::{SHORT, Validation};
use session::Session;
pub use settings::{Settings, Start};

/// One training: what to learn from and what to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// How to train.
    pub settings: Settings,
    /// Picture of the painting.
    pub painting: PathBuf,
    /// Folder of photos; the program's own pictures without one.
    pub photos: Option<PathBuf>,
    /// VGG19's weights.
    pub vgg19: PathBuf,
    /// Model file to write; its stem becomes the model's name. Replaced if it exists.
    pub output: PathBuf,
    /// Folder of photos to measure the finished model on.
    pub validation: Option<PathBuf>,
    /// Picture file that shows the state of the training. Replaced if it exists.
    pub preview: PathBuf,
    /// Steps between two previews, at least 1.
    pub preview_every: u32,
    /// Steps between two checkpoints, at least 1.
    pub checkpoint_every: u32,
    /// Whether to go on from the checkpoint of an interrupted training.
    pub resume: bool,
    /// Where to compute.
    pub device: Device,
}

/// What happens during a training.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something went wrong that the training outlives.
    Remark(String),
    /// A step was made.
    Step(Step),
    /// So many paintings are looked at before the first step.
    Looking(usize),
    /// The training is over, the model is being measured on this many photos.
    Validating(usize),
}

/// Figures of one step, as the log has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Steps made so far, this one counted.
    #[serde(rename = "step")]
    pub steps: u32,
    /// Content loss.
    pub content: f32,
    /// Style loss, not weighted.
    pub style: f32,
    /// Total variation, not weighted.
    pub tv: f32,
    /// What repeats with the network's grid ([`loss::grid`], whose root is the figure of [`Validation`]), not weighted.
    #[serde(default)]
    pub grid: f32,
    /// Mean difference between the painting of a moved photo and the moved painting, not weighted;
    /// `None` where steadiness is not trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<f32>,
    /// Learning rate.
    pub rate: f64,
    /// Photos a second in this step.
    pub images_per_second: f64,
    /// Seconds spent on all steps so far, interruptions not counted.
    pub seconds: f64,
}

/// How a training ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The model is written.
    Finished {
        /// The losses, where there were photos to measure.
        validation: Option<Validation>,
        /// Photos that could not be read.
        skipped: usize,
        /// Seconds spent on all steps, interruptions not counted.
        seconds: f64,
    },
    /// `stop` was set: the state after `steps` steps is in `checkpoint`.
    Stopped {
        /// Steps made.
        steps: u32,
        /// The checkpoint file.
        checkpoint: PathBuf,
    },
}

/// Trains a network and writes its model file. `stop` ends the training after the current step, or the
/// photo that the finished network is measured on.
/// With the same seed, settings, photos and threads the result is the same bit by bit, in one go or
/// resumed after any interruption, unless a step goes wrong after that: it returns to where the training
/// was resumed.
pub fn train(job: &Job, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
    let end = Session::open(job, tell).and_then(|session| session.run(stop, tell));
    end.map_err(|error| match candle::is_out_of_memory(&error) {
        true => anyhow::anyhow!(
            "the GPU has too little memory for {} photos of {} pixels at once: lower --batch or \
             --crop, or use --device cpu",
            job.settings.batch,
            job.settings.crop
        ),
        false => error,
    })
}

/// `frame` as (1, 3, H, W), RGB 0..255.
fn to_tensor(frame: &Frame, device: &candle_core::Device) -> Result<Tensor> {
    let mut planes = vec![0.0; frame.pixels.len()];
    frame.to_planes(&mut planes);
    let shape = (1, 3, frame.height, frame.width);
    Ok(Tensor::from_vec(planes, shape, device)?)
}

/// The weights of `model` as tensors, by name.
fn weights_of(model: &Model, device: &candle_core::Device) -> Result<BTreeMap<String, Tensor>> {
    let tensors = model.tensors.iter();
    let tensors = tensors.map(|(name, tensor)| {
        let values = Tensor::from_slice(&tensor.data, tensor.shape.as_slice(), device)?;
        Ok((name.clone(), values))
    });
    tensors.collect()
}

/// Scalars, fetched from the device in one go.
fn values<const N: usize>(scalars: [&Tensor; N]) -> Result<[f32; N]> {
    let values = Tensor::stack(&scalars, 0)?.to_vec1()?;
    values.try_into().ok().context("a scalar has many values")
}

/// The folder `validation` beside `photos`, if there is one and it holds pictures.
pub fn sibling_validation(photos: &Path) -> Option<PathBuf> {
    let photos = photos.canonicalize().ok()?;
    let folder = photos.with_file_name("validation");
    let is_other = folder.is_dir() && folder != photos;
    (is_other && photos::photos_in(&folder).is_ok()).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_to_learn_from_are_not_measured_on() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for name in ["photos", "validation", "other"] {
            std::fs::create_dir(path(name))?;
        }
        assert_eq!(sibling_validation(&path("photos")), None, "it is empty");
        std::fs::write(path("validation/a.png"), "")?;
        let found = Some(path("validation").canonicalize()?);
        assert_eq!(sibling_validation(&path("photos")), found);
        assert_eq!(sibling_validation(&path("validation")), None);
        // The same folder by another name.
        assert_eq!(sibling_validation(&path("other/../validation")), None);
        Ok(())
    }
}
