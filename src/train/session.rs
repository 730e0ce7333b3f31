//! One training, from its first step to its model.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use super::adam::OneCycle;
use super::checkpoint::{self, Origin};
use super::dataset::Dataset;
use super::folder::Folder;
use super::journal::Journal;
use super::loss::{Form, PerceptualLoss, grid, total_variation};
use super::measure::{Preview, Validation, validate};
use super::stability::Painted;
use super::state::State;
use super::subject::Subject;
use super::vgg::Vgg19;
use super::{
    End, Event, Job, Settings, Step, curves, product, stability, to_tensor, values, weights_of,
};
use crate::backend::candle;
use crate::colors;
use crate::media::picture;
use crate::model::Model;
use crate::network::Network;
use crate::output::Existing;
use crate::photos::{Photo, photos_in};
use crate::tensors::Precision;

/// Part of the steps in which the learning rate rises.
const RISING: f64 = 0.05;

/// Everything that a training needs.
pub struct Session<'a> {
    job: &'a Job,
    device: Device,
    network: Network,
    subject: Subject,
    data: Dataset,
    validation: Vec<Photo>,
    loss: PerceptualLoss,
    schedule: OneCycle,
    state: State,
    folder: Folder,
    checkpoint: PathBuf,
    origin: Origin,
    journal: Journal,
    preview: Preview,
}

impl<'a> Session<'a> {
    /// Reads what is learned from, and the state to go on from, if that is asked for. Makes the folder of the
    /// training, without the checkpoint of an earlier one unless it goes on from there.
    pub fn open(job: &'a Job, tell: &mut dyn FnMut(Event)) -> Result<Self> {
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
            Some(folder) => photos_in(folder)?,
            None => Vec::new(),
        };
        let folder = Folder::of(&job.output);
        let checkpoint = folder.checkpoint();
        let origin = Origin::new(settings, &subject.pixels(), &data, &job.vgg19)?;
        let mut state = subject.state(job, &device)?;
        if job.resume {
            let found = checkpoint::read(&checkpoint, &origin)?;
            state
                .restore(&found)
                .with_context(|| format!("could not go on from `{}`", checkpoint.display()))?;
        }
        let loss = PerceptualLoss::new(
            Vgg19::read(&job.vgg19, &device)?.with_mirrored_rims(),
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
        let preview = Preview::open(&job.preview, shown, &device)?;
        folder.create()?;
        if !job.resume {
            checkpoint::remove(&checkpoint)?;
        }
        Ok(Self {
            job,
            device,
            network: settings.network(),
            subject,
            data,
            validation,
            loss,
            schedule,
            journal: Journal::open(&folder.log(), state.steps())?,
            state,
            folder,
            checkpoint,
            origin,
            preview,
        })
    }

    /// Makes the steps and writes the model. Ends after the current step once `stop` is set.
    pub fn run(mut self, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
        if self.learn(stop, tell)? {
            match self.finish(stop, tell) {
                Ok(Some(end)) => {
                    checkpoint::remove(&self.checkpoint)?;
                    return Ok(end);
                }
                Ok(None) => self.keep()?, // stopped
                // A full disk, say: no step has to be made again.
                Err(error) => {
                    return Err(match self.keep() {
                        Ok(()) => {
                            error.context("its steps are kept and --resume goes on from there")
                        }
                        Err(_) => error,
                    });
                }
            }
        }
        Ok(End::Stopped {
            steps: self.state.steps(),
            checkpoint: self.checkpoint,
        })
    }

    /// Makes the steps that are left. False once `stop` is set: the state is on disk then.
    fn learn(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<bool> {
        let Self {
            job,
            device,
            network,
            subject,
            data,
            loss,
            schedule,
            state,
            folder,
            checkpoint,
            origin,
            journal,
            preview,
            ..
        } = self;
        let (settings, data) = (&job.settings, &*data);
        let shape = (settings.batch, 3, settings.crop, settings.crop);
        let (mut blind, mut mute) = (false, false);
        std::thread::scope(|scope| {
            let mut good = state.snapshot()?; // what a training that goes wrong returns to
            let mut batches = data.batches(scope, state.steps() as usize)?;
            let mut last = Instant::now();
            while state.steps() < settings.steps {
                let batch = batches.take()?;
                for remark in batch.remarks {
                    tell(Event::Remark(remark));
                }
                let weights = subject.begin_step(state, loss, device)?;
                let photos = Tensor::from_vec(batch.pixels, shape, device)?;
                let shown = stability::paint(network, &weights, &photos, settings, state.steps())?;
                let losses = Losses::of(&shown, loss)?;
                let total = losses.total(settings)?;
                let gradients = total.backward()?;
                let (step, total) = losses.read(&total)?;
                let norm = state.norm(&gradients)?;
                if let Some(fault) = state.fault(total, norm) {
                    tell(Event::Remark(state.return_to(&good, &fault)?));
                    batches = data.batches(scope, state.steps() as usize)?;
                    journal.cut(state.steps())?;
                    continue;
                }
                // Only a state whose losses have been seen to be sound is one to return to, or to go on from.
                if stop.load(Ordering::SeqCst) {
                    checkpoint::write(checkpoint, origin, &state.snapshot()?)?;
                    return Ok(false);
                }
                let due = state.steps().is_multiple_of(job.checkpoint_every);
                if due && state.steps() > good.steps {
                    good = state.snapshot()?;
                    if let Err(error) = checkpoint::write(checkpoint, origin, &good) {
                        tell(Event::Remark(format!(
                            "{error:#}: training goes on without"
                        )));
                    }
                }
                let (rate, beta1) = schedule.at(state.steps());
                let rate = rate * state.rate();
                state.step(&gradients, norm, total, (rate, beta1))?;
                let spent = last.elapsed().as_secs_f64();
                last = Instant::now();
                let step = Step {
                    steps: state.steps(),
                    rate,
                    images_per_second: settings.batch as f64 / spent,
                    seconds: journal.seconds() + spent,
                    ..step
                };
                if let Err(error) = journal.add(step)
                    && !std::mem::replace(&mut mute, true)
                {
                    tell(Event::Remark(format!("{error:#}: training goes on")));
                }
                tell(Event::Step(step));
                let steps = step.steps;
                if !blind && (steps.is_multiple_of(job.preview_every) || steps == settings.steps) {
                    let curves = curves::draw(journal.steps());
                    let drawn = preview
                        .write(network, &subject.shown(state, device)?)
                        .and_then(|()| {
                            picture::write(&folder.curves(), &curves, Existing::Overwrite)
                        });
                    if let Err(error) = drawn {
                        blind = true;
                        tell(Event::Remark(format!(
                            "{error:#}: training goes on without previews"
                        )));
                    }
                }
            }
            Ok(true)
        })
    }

    /// Writes what was learned, with the colours of its painting, and measures it. `None` once `stop` is set.
    fn finish(&self, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Option<End>> {
        let (job, average) = (self.job, self.state.average());
        let mut found = None;
        match &self.subject {
            Subject::Styles(paintings) => product::write_predictor(job, paintings, &average)?,
            Subject::Style(painting) => {
                let mut model = product::model(job, &average)?;
                if job.settings.palette > 0.0 {
                    let (photos, part) = (self.data.photos(), job.settings.palette);
                    colors::fit(&mut model, painting, photos, part)?;
                }
                if !self.validation.is_empty() {
                    if let Err(error) = self.keep() {
                        tell(Event::Remark(format!("{error:#}")));
                    }
                    tell(Event::Validating(self.validation.len()));
                    found = self.measure(&model, stop, tell)?;
                    if found.is_none() && stop.load(Ordering::SeqCst) {
                        return Ok(None);
                    }
                    model.metadata.losses = found.map(|v| v.to_string()).unwrap_or_default();
                }
                model.write(&job.output, Precision::F32)?;
                let weights = weights_of(&model, &self.device)?;
                if let Err(error) = self.preview.write(&self.network, &weights) {
                    tell(Event::Remark(format!("{error:#}")));
                }
            }
        }
        Ok(Some(End::Finished {
            validation: found,
            skipped: self.data.skipped(),
            seconds: self.journal.seconds(),
        }))
    }

    fn measure(
        &self,
        model: &Model,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Option<Validation>> {
        let weights = weights_of(model, &self.device)?;
        let (network, loss, photos) = (&self.network, &self.loss, &self.validation);
        validate(network, &weights, loss, photos, &self.device, stop, tell)
    }

    fn keep(&self) -> Result<()> {
        checkpoint::write(&self.checkpoint, &self.origin, &self.state.snapshot()?)
    }
}

/// The losses of a step, with a graph, not weighted.
struct Losses {
    content: Tensor,
    style: Tensor,
    tv: Tensor,
    grid: Tensor,
    stability: Option<Tensor>,
}

impl Losses {
    fn of(shown: &Painted, loss: &PerceptualLoss) -> Result<Self> {
        let perceptual = loss.of(&shown.painted, &shown.photos)?;
        Ok(Self {
            content: perceptual.content,
            style: perceptual.style,
            tv: total_variation(&shown.painted)?,
            grid: grid(&shown.painted)?,
            stability: shown.difference.clone(),
        })
    }

    /// What training lowers.
    fn total(&self, settings: &Settings) -> Result<Tensor> {
        let mut total = self.content.clone();
        for (part, weight) in [
            (Some(&self.style), settings.style_factor()),
            (Some(&self.tv), settings.tv_weight),
            (Some(&self.grid), settings.grid_weight),
            (self.stability.as_ref(), settings.stability),
        ] {
            if let Some(part) = part {
                total = (total + (part * weight)?)?;
            }
        }
        Ok(total)
    }

    /// The values, those of the log and the total, in one go from the device.
    fn read(&self, total: &Tensor) -> Result<(Step, f32)> {
        let stability = self.stability.as_ref().unwrap_or(&self.content);
        let [content, style, tv, grid, stability, total] = values([
            &self.content,
            &self.style,
            &self.tv,
            &self.grid,
            stability,
            total,
        ])?;
        let step = Step {
            content,
            style,
            tv,
            grid,
            stability: self.stability.is_some().then_some(stability),
            ..Step::default()
        };
        Ok((step, total))
    }
}
