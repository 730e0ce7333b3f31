//! Learning a style from one painting: a transformer network fitted against VGG19's losses (Johnson
//! et al. 2016). Everything that needs gradients lives here; [`train()`] is the one loop, and
//! [`optimize`] paints a single picture without a network.
//!
//! Nothing is printed: what happens is told as [`Event`]s.

pub mod adam;
pub mod checkpoint;
pub mod dataset;
pub mod loss;
mod measure;
pub mod optimize;
mod settings;
pub mod vgg;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use candle_core::{Tensor, Var};
use candle_nn::Optimizer;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backend::{Device, candle};
use crate::frame::Frame;
use crate::model::{Metadata, Model};
use crate::network::Network;
use crate::ops::transformer;
use crate::tensors::Precision;
use adam::{Adam, AdamConfig, OneCycle};
use dataset::Dataset;
use loss::{Form, PerceptualLoss, total_variation};
pub use measure::Validation;
use measure::{Preview, validate};
pub use settings::Settings;
use vgg::Vgg19;

/// Gradients with a larger norm, taken over all weights, are shrunk to it.
const CLIP_NORM: f64 = 1.0;

/// Part of the steps in which the learning rate rises.
const RISING: f64 = 0.05;

/// Random numbers of the first weights come from this stream of the seed; a step's from the stream
/// of its number.
const WEIGHT_STREAM: u64 = u64::MAX;

/// Added to the bias of the last convolution: an untrained network paints grey.
const GREY: f64 = 127.0;

/// One training: what to learn from and what to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// How to train.
    pub settings: Settings,
    /// Picture of the painting.
    pub painting: PathBuf,
    /// Folder of photos.
    pub photos: PathBuf,
    /// VGG19's weights.
    pub vgg19: PathBuf,
    /// Model file to write; its stem becomes the model's name. Replaced if it exists.
    pub output: PathBuf,
    /// Folder of photos to measure the finished model on.
    pub validation: Option<PathBuf>,
    /// Picture file that shows the state of the training. Replaced if it exists.
    pub preview: Option<PathBuf>,
    /// Steps between two previews, at least 1.
    pub preview_every: u32,
    /// Steps between two checkpoints, at least 1.
    pub checkpoint_every: u32,
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
    /// The training is over, the model is being measured on this many photos.
    Validating(usize),
}

/// Figures of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps made so far, this one counted.
    pub steps: u32,
    /// Content loss.
    pub content: f32,
    /// Style loss, not weighted.
    pub style: f32,
    /// Total variation, not weighted.
    pub tv: f32,
}

/// How a training ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The model is written. The losses, where there were photos to measure.
    Finished(Option<Validation>),
    /// `stop` was set: the state after `steps` steps is in `checkpoint`.
    Stopped {
        /// Steps made.
        steps: u32,
        /// The checkpoint file.
        checkpoint: PathBuf,
    },
}

/// Trains a network and writes its model file. `stop` ends the training after the current step.
/// With the same seed, settings, photos and threads the result is the same bit by bit.
pub fn train(job: &Job, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
    let settings = &job.settings;
    settings.ensure_sane()?;
    let device = candle::open(job.device)?;
    let painting = dataset::read_scaled(&job.painting, settings.style_size)?;
    let data = Dataset::open(&job.photos, settings.batch, settings.crop, settings.seed)?;
    let validation = match &job.validation {
        Some(folder) => dataset::photos_in(folder)?,
        None => Vec::new(),
    };
    let shown = match validation.is_empty() {
        true => data.paths(),
        false => &validation,
    };
    let preview = match &job.preview {
        Some(place) => Some(Preview::open(place, shown, &device)?),
        None => None,
    };
    let loss = PerceptualLoss::new(
        Vgg19::read(&job.vgg19, &device)?,
        &to_tensor(&painting, &device)?,
        &settings.content_layers,
        &settings.style_layers,
        Form::Relative,
    )?;
    let network = Network::from(settings.network);
    let vars = first_weights(&network, settings.seed, &device)?;
    let named: Vec<(String, Tensor)> = vars
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let weights: BTreeMap<String, Tensor> = named.iter().cloned().collect();
    let checkpoint = checkpoint::place(&job.output);
    let vars = vars.into_iter().map(|(_, var)| var).collect();
    let mut adam = Adam::new(
        vars,
        AdamConfig {
            clip_norm: Some(CLIP_NORM),
            ..AdamConfig::default()
        },
    )?;
    let schedule = OneCycle {
        peak: settings.learning_rate,
        steps: settings.steps,
        rising: RISING,
    };
    let batch_shape = (settings.batch, 3, settings.crop, settings.crop);

    let stopped = std::thread::scope(|scope| {
        let mut batches = data.batches(scope, 0)?;
        for step in 0..settings.steps {
            if stop.load(Ordering::SeqCst) {
                checkpoint::write(&checkpoint, settings, step, &named, &adam)?;
                return Ok(Some(step));
            }
            let batch = batches.take()?;
            for remark in batch.remarks {
                tell(Event::Remark(remark));
            }
            let photos = Tensor::from_vec(batch.pixels, batch_shape, &device)?;
            let painted = transformer(&network, &weights, &photos)?;
            let losses = loss.of(&painted, &photos)?;
            let tv = total_variation(&painted)?;
            let weighted =
                ((&losses.style * settings.style_weight)? + (&tv * settings.tv_weight)?)?;
            let total = (&losses.content + weighted)?;
            let [content, style, tv] = values([&losses.content, &losses.style, &tv])?;
            ensure!(
                (content + style + tv).is_finite(),
                "the losses of step {step} are no numbers (content {content}, style {style}, \
                 total variation {tv}): lower learning_rate (now {})",
                settings.learning_rate
            );
            (adam.config.learning_rate, adam.config.beta1) = schedule.at(step);
            adam.step(&total.backward()?)
                .with_context(|| format!("step {step} went wrong"))?;
            let steps = step + 1;
            tell(Event::Step(Step {
                steps,
                content,
                style,
                tv,
            }));
            if let Some(preview) = &preview
                && (steps.is_multiple_of(job.preview_every) || steps == settings.steps)
            {
                preview.write(&network, &weights)?;
            }
            if steps.is_multiple_of(job.checkpoint_every) && steps < settings.steps {
                checkpoint::write(&checkpoint, settings, steps, &named, &adam)?;
            }
        }
        Ok::<_, anyhow::Error>(None)
    })?;
    if let Some(steps) = stopped {
        return Ok(End::Stopped { steps, checkpoint });
    }

    let losses = match validation.is_empty() {
        true => None,
        false => {
            tell(Event::Validating(validation.len()));
            validate(&network, &weights, &loss, &validation, &device, tell)?
        }
    };
    write_model(job, &weights, losses.as_ref())?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint)
            .with_context(|| format!("could not remove `{}`", checkpoint.display()))?;
    }
    Ok(End::Finished(losses))
}

/// Random weights as PyTorch's `Conv2d` draws them (uniform, up to 1 / sqrt(fan-in)), norms that
/// change nothing; by name, in the order of [`Network::tensors`].
fn first_weights(
    network: &Network,
    seed: u64,
    device: &candle_core::Device,
) -> Result<Vec<(String, Var)>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(WEIGHT_STREAM);
    let layers = network.layers();
    let last = layers.last().map(|layer| layer.bias());
    let mut bound = 1.0; // that of the bias is that of the kernel before it
    let mut weights = Vec::new();
    for (name, shape) in network.tensors() {
        let count: usize = shape.iter().product();
        let is_conv = name.contains("conv2d");
        if shape.len() == 4 {
            bound = ((count / shape[0]) as f32).powf(-0.5);
        }
        let values: Vec<f32> = match (is_conv, name.ends_with(".weight")) {
            (true, _) => (0..count)
                .map(|_| random.random_range(-bound..=bound))
                .collect(),
            (false, is_scale) => vec![f32::from(u8::from(is_scale)); count],
        };
        let mut tensor = Tensor::from_vec(values, shape, device)?;
        if last.as_ref() == Some(&name) {
            tensor = (tensor + GREY)?;
        }
        weights.push((name, Var::from_tensor(&tensor)?));
    }
    Ok(weights)
}

fn write_model(
    job: &Job,
    weights: &BTreeMap<String, Tensor>,
    losses: Option<&Validation>,
) -> Result<()> {
    let settings = &job.settings;
    let stem = job.output.file_stem().unwrap_or_default();
    let metadata = Metadata {
        name: stem.to_string_lossy().into_owned(),
        title: settings.title.clone(),
        painter: settings.painter.clone(),
        year: settings.year.clone(),
        recipe: settings.to_toml()?,
        program: format!("repaint {}", env!("CARGO_PKG_VERSION")),
        losses: losses.map(Validation::to_string).unwrap_or_default(),
        date: today(),
    };
    let tensors = weights
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), checkpoint::values(tensor)?)))
        .collect::<Result<_>>()?;
    Model::new(metadata, tensors)?.write(&job.output, Precision::F32)
}

/// `frame` as (1, 3, H, W), RGB 0..255.
fn to_tensor(frame: &Frame, device: &candle_core::Device) -> Result<Tensor> {
    let mut planes = vec![0.0; frame.pixels.len()];
    frame.to_planes(&mut planes);
    let shape = (1, 3, frame.height, frame.width);
    Ok(Tensor::from_vec(planes, shape, device)?)
}

/// Scalars, fetched from the device in one go.
fn values<const N: usize>(scalars: [&Tensor; N]) -> Result<[f32; N]> {
    let values = Tensor::stack(&scalars, 0)?.to_vec1()?;
    values.try_into().ok().context("a scalar has many values")
}

/// Today's date (UTC), YYYY-MM-DD, by the proleptic Gregorian calendar (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(now.map_or(0, |since| since.as_secs() / 86_400))
}

/// The date `days` days after 1970-01-01.
fn date(days: u64) -> String {
    let days = days + 719_468; // since 0000-03-01, with which the leap day ends the year
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

/// The folder `validation` beside `photos`, if there is one.
pub fn sibling_validation(photos: &Path) -> Option<PathBuf> {
    let folder = photos.canonicalize().ok()?.with_file_name("validation");
    (folder.is_dir() && folder != photos).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar_over_leap_days_and_centuries() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_780), "2026-11-23");
        assert_eq!(date(47_540), "2100-02-28");
        assert_eq!(date(47_541), "2100-03-01");
    }

    #[test]
    fn the_first_weights_fill_their_range_and_follow_from_the_seed() -> Result<()> {
        let network = Network::new([8, 16, 32]);
        let draw = |seed| first_weights(&network, seed, &candle_core::Device::Cpu);
        let weights = draw(7)?;
        let (name, kernel) = &weights[0];
        let kernel = kernel.flatten_all()?.to_vec1::<f32>()?;
        let bound = (3.0f32 * 81.0).powf(-0.5);
        let largest = kernel.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        assert_eq!(name, "conv1.conv2d.weight");
        assert!(largest <= bound && largest > 0.99 * bound, "{largest}");
        assert_eq!(draw(7)?[0].1.flatten_all()?.to_vec1::<f32>()?, kernel);
        assert_ne!(draw(8)?[0].1.flatten_all()?.to_vec1::<f32>()?, kernel);
        Ok(())
    }
}
