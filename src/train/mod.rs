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
mod settings;
mod stability;
mod state;
mod subject;
pub mod vgg;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::backend::{Device, candle};
use crate::colors;
use crate::frame::Frame;
use crate::media::picture;
use crate::model::Model;
use crate::output::Existing;
use crate::photos;
use crate::tensors::Precision;
use adam::OneCycle;
use checkpoint::Origin;
use dataset::Dataset;
use folder::Folder;
use journal::Journal;
use loss::{Form, PerceptualLoss, grid, total_variation};
use measure::{Preview, validate};
pub use measure::{SHORT, Validation};
pub use settings::{Settings, Start};
use subject::Subject;
use vgg::Vgg19;

/// Part of the steps in which the learning rate rises.
const RISING: f64 = 0.05;

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
    run(job, stop, tell).map_err(|error| match candle::is_out_of_memory(&error) {
        true => anyhow::anyhow!(
            "the GPU has too little memory for {} photos of {} pixels at once: lower --batch or \
             --crop, or use --device cpu",
            job.settings.batch,
            job.settings.crop
        ),
        false => error,
    })
}

fn run(job: &Job, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
    let settings = &job.settings;
    settings.ensure_sane()?;
    let device = candle::open(job.device, &mut |text| tell(Event::Remark(text)))?;
    let subject = Subject::open(job, tell)?;
    let data = Dataset::open(
        job.photos.as_deref(),
        settings.batch,
        settings.crop,
        settings.seed,
    )?;
    let validation = match &job.validation {
        Some(folder) => photos::photos_in(folder)?,
        None => Vec::new(),
    };
    let folder = Folder::of(&job.output);
    let checkpoint = folder.checkpoint();
    let origin = Origin::new(settings, &subject.pixels(), &data, &job.vgg19)?;
    let network = settings.network();
    let mut state = subject.state(job, &device)?;
    if job.resume {
        let found = checkpoint::read(&checkpoint, &origin)?;
        state
            .restore(&found)
            .with_context(|| format!("could not go on from `{}`", checkpoint.display()))?;
    }
    let mut loss = PerceptualLoss::new(
        Vgg19::read(&job.vgg19, &device)?,
        &to_tensor(subject.painting(), &device)?,
        &settings.content_layers,
        &settings.style_layers,
        Form::Relative,
    )?;
    let schedule = OneCycle {
        peak: settings.learning_rate,
        steps: settings.steps,
        rising: RISING,
    };
    let shown = match validation.is_empty() {
        true => data.photos(),
        false => &validation,
    };
    folder.create()?;
    if !job.resume {
        checkpoint::remove(&checkpoint)?;
    }
    let preview = Preview::open(&job.preview, shown, &device)?;
    let mut journal = Journal::open(&folder.log(), state.steps())?;
    let batch_shape = (settings.batch, 3, settings.crop, settings.crop);

    let mut stopped = std::thread::scope(|scope| {
        let mut good = state.snapshot()?; // what a training that goes wrong returns to
        let mut batches = data.batches(scope, state.steps() as usize)?;
        let mut last = Instant::now();
        while state.steps() < settings.steps {
            let batch = batches.take()?;
            for remark in batch.remarks {
                tell(Event::Remark(remark));
            }
            let weights = subject.begin_step(&state, &mut loss, &device)?;
            let photos = Tensor::from_vec(batch.pixels, batch_shape, &device)?;
            let shown = stability::paint(&network, &weights, &photos, settings, state.steps())?;
            let losses = loss.of(&shown.painted, &shown.photos)?;
            let tv = total_variation(&shown.painted)?;
            let grid = grid(&shown.painted)?;
            let weighted = [
                (&losses.style * settings.style_factor())?,
                (&tv * settings.tv_weight)?,
                (&grid * settings.grid_weight)?,
            ];
            let mut total = losses.content.clone();
            for part in weighted {
                total = (total + part)?;
            }
            let mut stability = None;
            if let Some(difference) = &shown.difference {
                total = (total + (difference * settings.stability)?)?;
                stability = Some(difference.to_scalar()?);
            }
            let gradients = total.backward()?;
            let [content, style, tv, grid, total] =
                values([&losses.content, &losses.style, &tv, &grid, &total])?;
            let norm = state.norm(&gradients)?;
            if let Some(fault) = state.fault(total, norm) {
                tell(Event::Remark(state.return_to(&good, &fault)?));
                batches = data.batches(scope, state.steps() as usize)?;
                journal.cut(state.steps())?;
                continue;
            }
            // Only a state whose losses have been seen to be sound is one to return to, or to go on from.
            if stop.load(Ordering::SeqCst) {
                checkpoint::write(&checkpoint, &origin, &state.snapshot()?)?;
                return Ok(true);
            }
            let due = state.steps().is_multiple_of(job.checkpoint_every);
            if due && state.steps() > good.steps {
                good = state.snapshot()?;
                checkpoint::write(&checkpoint, &origin, &good)?;
            }
            let (rate, beta1) = schedule.at(state.steps());
            let rate = rate * state.rate();
            state.step(&gradients, norm, total, (rate, beta1))?;
            let steps = state.steps();
            let spent = last.elapsed().as_secs_f64();
            last = Instant::now();
            let step = Step {
                steps,
                content,
                style,
                tv,
                grid,
                stability,
                rate,
                images_per_second: settings.batch as f64 / spent,
                seconds: journal.seconds() + spent,
            };
            journal.add(step)?;
            tell(Event::Step(step));
            if steps.is_multiple_of(job.preview_every) || steps == settings.steps {
                preview.write(&network, &subject.shown(&state, &device)?)?;
                let curves = curves::draw(journal.steps());
                picture::write(&folder.curves(), &curves, Existing::Overwrite)?;
            }
        }
        Ok::<_, anyhow::Error>(false)
    })?;
    let mut losses = None;
    if let (Subject::Style(painting), false) = (&subject, stopped) {
        let mut model = product::model(job, &state.average())?;
        if settings.palette > 0.0 {
            colors::fit(&mut model, painting, data.photos(), settings.palette)?;
            preview.write(&network, &weights_of(&model, &device)?)?;
        }
        if !validation.is_empty() {
            checkpoint::write(&checkpoint, &origin, &state.snapshot()?)?;
            tell(Event::Validating(validation.len()));
            let weights = weights_of(&model, &device)?;
            losses = validate(&network, &weights, &loss, &validation, &device, stop, tell)?;
            stopped = losses.is_none() && stop.load(Ordering::SeqCst);
            model.metadata.losses = losses
                .as_ref()
                .map(Validation::to_string)
                .unwrap_or_default();
        }
        if !stopped {
            model.write(&job.output, Precision::F32)?;
        }
    }
    if stopped {
        return Ok(End::Stopped {
            steps: state.steps(),
            checkpoint,
        });
    }
    if let Subject::Styles(paintings) = &subject {
        product::write_predictor(job, paintings, &state.average())?;
    }
    checkpoint::remove(&checkpoint)?;
    Ok(End::Finished {
        validation: losses,
        skipped: data.skipped(),
        seconds: journal.seconds(),
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

/// The folder `validation` beside `photos`, if there is one.
pub fn sibling_validation(photos: &Path) -> Option<PathBuf> {
    let photos = photos.canonicalize().ok()?;
    let folder = photos.with_file_name("validation");
    (folder.is_dir() && folder != photos).then_some(folder)
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
        let found = Some(path("validation").canonicalize()?);
        assert_eq!(sibling_validation(&path("photos")), found);
        assert_eq!(sibling_validation(&path("validation")), None);
        // The same folder by another name.
        assert_eq!(sibling_validation(&path("other/../validation")), None);
        Ok(())
    }
}
