//! Painting by optimisation: the pixels of one picture are moved until VGG19 sees the content of one
//! picture and the style of others in it (Gatys, Ecker, Bethge 2016). [`optimize`] is the one loop.
//!
//! With one of the two losses alone it shows what layers keep of a picture. Nothing is printed: what
//! happens is told as [`Event`]s.

pub mod descent;
mod features;
mod lbfgs;
pub mod objective;
mod scales;
mod settings;
mod sheet;
mod state;
mod strips;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::checkpoint::{digest, digest_of};
use super::to_tensor;
use super::vgg::Vgg19;
use crate::backend::{Device, candle};
use crate::frame::Frame;
use crate::media::picture;
use crate::output::Existing;
use crate::paint::keep_colors;
use crate::scale;
use descent::Descent;
pub use objective::Losses;
use objective::Objective;
use scales::Scale;
pub use settings::{LayerWeight, Optimizer, Settings, Start};
pub use sheet::{Cell, contact_sheet};
use state::Saved;

/// Longer side of the result when no size is asked for and the content is larger, in pixels.
pub const USUAL: usize = 512;

/// Mean colour (R, G, B) and reach of the noise that a picture starts from, in levels: as in the
/// texts, within 20 of the middle of photographs.
const NOISE: ([f32; 3], f32) = ([123.68, 116.779, 103.939], 20.0);

/// One optimisation: what to look at and what to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// How to optimise.
    pub settings: Settings,
    /// Picture whose features are aimed at.
    pub content: Option<PathBuf>,
    /// Pictures whose Gram matrices are aimed at, and their weights.
    pub styles: Vec<(PathBuf, f64)>,
    /// VGG19's weights.
    pub vgg19: PathBuf,
    /// Picture file to write. Replaced if it exists.
    pub output: PathBuf,
    /// Picture file that shows the state. Replaced if it exists.
    pub preview: Option<PathBuf>,
    /// Steps between two previews, at least 1.
    pub preview_every: u32,
    /// Steps between two states on disk, at least 1.
    pub checkpoint_every: u32,
    /// Whether to go on from the state beside the output.
    pub resume: bool,
    /// Where to compute.
    pub device: Device,
}

/// What happens during an optimisation.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something that the user wants to know.
    Remark(String),
    /// A step was made.
    Step(Step),
    /// A picture of a contact sheet is done: what it shows, and how near it is to the original.
    Cell {
        /// Its label.
        label: String,
        /// Peak signal-to-noise ratio in dB, where the original is aimed at.
        psnr: Option<f64>,
    },
}

/// Figures of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is being made, in a contact sheet.
    pub label: Option<String>,
    /// Width and height in pixels.
    pub size: (usize, usize),
    /// Steps made at this size, this one counted.
    pub steps: u32,
    /// Steps to make at this size.
    pub of: u32,
    /// Pixels times steps: done so far.
    pub done: u64,
    /// Pixels times steps: all.
    pub all: u64,
    /// The losses.
    pub losses: Losses,
}

/// How an optimisation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The picture is written; its width and height.
    Finished(usize, usize),
    /// `stop` was set: the picture as it was is written, and the state to go on from, if one is kept.
    Stopped(Option<PathBuf>),
}

/// Where the state of an interrupted optimisation lies: beside its picture.
pub fn checkpoint_place(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".checkpoint.safetensors");
    output.with_file_name(name)
}

/// Optimises a picture and writes it. `stop` ends the work after the current step. With the same
/// settings and pictures the result is the same bit by bit, also when it was stopped and resumed.
pub fn optimize(job: &Job, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
    run(job, stop, tell).map_err(|error| match candle::is_out_of_memory(&error) {
        true => anyhow::anyhow!(
            "the GPU has too little memory for a picture of this size: lower --size, or use \
             --device cpu"
        ),
        false => error,
    })
}

fn run(job: &Job, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<End> {
    let scene = Scene::open(job, USUAL, tell)?;
    let place = checkpoint_place(&job.output);
    let settings = serde_json::to_string(&job.settings)?;
    let pictures = format!("{}, {}", scene.fingerprint(), digest_of(&job.vgg19)?);
    let saved = match job.resume {
        true => Some(Saved::read(&place, &settings, &pictures)?),
        false => None,
    };
    let (mut made, mut blind) = (0, false);
    let result = scene.paint(&job.settings, saved, &mut |moment| {
        made += 1;
        let keep = |place| picture::write(place, &moment.show(&scene)?, Existing::Overwrite);
        tell(Event::Step(moment.step.clone()));
        if let Some(preview) = &job.preview
            && made % job.preview_every == 0
            && !blind
            && let Err(error) = keep(preview)
        {
            blind = true;
            let words = format!("{error:#}: the work goes on without previews");
            tell(Event::Remark(words));
        }
        let stopped = stop.load(Ordering::SeqCst);
        if stopped || made % job.checkpoint_every == 0 {
            let saved = Saved {
                scale: moment.scale,
                steps: moment.step.steps,
                state: moment.descent.state()?,
            };
            match saved.write(&place, &settings, &pictures) {
                Err(error) if !stopped => {
                    tell(Event::Remark(format!(
                        "{error:#}: the work goes on without"
                    )));
                }
                written => written?,
            }
        }
        if stopped {
            keep(&job.output)?;
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(frame) = result else {
        return Ok(End::Stopped(Some(place)));
    };
    picture::write(&job.output, &frame, Existing::Overwrite)?;
    if let Some(preview) = &job.preview
        && let Err(error) = picture::write(preview, &frame, Existing::Overwrite)
    {
        tell(Event::Remark(format!("{error:#}")));
    }
    if place.exists() {
        std::fs::remove_file(&place)
            .with_context(|| format!("could not remove `{}`", place.display()))?;
    }
    Ok(End::Finished(frame.width, frame.height))
}

/// The pictures and what looks at them.
struct Scene {
    content: Option<Frame>,
    styles: Vec<(Frame, f64)>,
    vgg: Vgg19,
    device: candle_core::Device,
    usual: usize,
    keep_colors: bool,
}

/// The state after a step.
struct Moment<'a> {
    scale: usize,
    step: Step,
    descent: &'a Descent,
    last: Scale,
}

impl Moment<'_> {
    /// The picture as it is now, at its final size.
    fn show(&self, scene: &Scene) -> Result<Frame> {
        scene.finish(&to_frame(&self.descent.picture()?)?, &self.last)
    }
}

impl Scene {
    /// Reads everything. Without a size in the settings the longer side is at most `usual`.
    fn open(job: &Job, usual: usize, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        job.settings.ensure_sane()?;
        let content = job.content.as_deref().map(picture::read).transpose()?;
        let styles = job
            .styles
            .iter()
            .map(|(path, weight)| Ok((picture::read(path)?, *weight)))
            .collect::<Result<Vec<_>>>()?;
        let device = candle::open(job.device, &mut |text| tell(Event::Remark(text)))?;
        let vgg = Vgg19::read(&job.vgg19, &device)?.with_pooling(job.settings.pooling);
        Ok(Self {
            content,
            styles,
            vgg,
            device,
            usual,
            keep_colors: job.settings.keep_colors,
        })
    }

    /// The picture that gives the result its shape: the content, else the first style.
    fn original(&self) -> Result<&Frame> {
        let style = self.styles.first().map(|(style, _)| style);
        self.content
            .as_ref()
            .or(style)
            .context("no picture is given")
    }

    /// A text that differs for other pictures or other weights of theirs.
    fn fingerprint(&self) -> String {
        let content = self.content.iter().map(|frame| (frame, 1.0));
        let styles = self.styles.iter().map(|(frame, weight)| (frame, *weight));
        let sums = content.chain(styles).map(|(frame, weight)| {
            let (sum, width) = (digest(&frame.pixels), frame.width);
            format!("{sum} {width} {weight}")
        });
        sums.collect::<Vec<_>>().join(", ")
    }

    /// Works through all sizes, shows `watch` every step, and gives the picture; `None` where
    /// `watch` broke off.
    fn paint(
        &self,
        settings: &Settings,
        mut saved: Option<Saved>,
        watch: &mut dyn FnMut(&Moment) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Frame>> {
        let original = self.original()?;
        let scales = scales::plan(settings, (original.width, original.height), self.usual)?;
        let last = *scales.last().context("no size")?;
        let work = |scale: &Scale| (scale.width * scale.height) as u64 * u64::from(scale.steps);
        let all = scales.iter().map(work).sum();
        let first = saved.as_ref().map_or(0, |saved| saved.scale);
        let mut done: u64 = scales.iter().take(first).map(work).sum();
        let mut frame = Frame::default();
        for (index, scale) in scales.iter().enumerate().skip(first) {
            let (content, styles) = self.at(scale, settings.style_scale)?;
            let objective = Objective::new(&self.vgg, settings, content.as_ref(), &styles)?;
            let shape = (1, 3, scale.height, scale.width);
            let (mut descent, begin) = match saved.take() {
                Some(Saved { steps, state, .. }) => {
                    let descent = Descent::from_state(settings, state, shape, &self.device)?;
                    (descent, steps)
                }
                None => {
                    let start = match frame.width {
                        0 => start(settings, shape, content.as_ref(), &styles)?,
                        _ => {
                            let frame = scale::resized(&frame, scale.width, scale.height)?;
                            to_tensor(&frame, &self.device)?
                        }
                    };
                    (Descent::new(settings, &start, &objective)?, 0)
                }
            };
            drop((content, styles));
            let area = (scale.width * scale.height) as u64;
            for made in begin..scale.steps {
                let step = descent.step(&objective);
                let Some(losses) = step.with_context(|| format!("step {made} went wrong"))? else {
                    break; // as low as it gets at this size
                };
                let moment = Moment {
                    scale: index,
                    step: Step {
                        label: None,
                        size: (scale.width, scale.height),
                        steps: made + 1,
                        of: scale.steps,
                        done: done + area * u64::from(made + 1),
                        all,
                        losses,
                    },
                    descent: &descent,
                    last,
                };
                if watch(&moment)?.is_break() {
                    return Ok(None);
                }
            }
            done += work(scale);
            frame = to_frame(&descent.picture()?)?;
        }
        self.finish(&frame, &last).map(Some)
    }

    /// Content and styles as they are looked at beside a picture of `scale`.
    #[allow(clippy::type_complexity)]
    fn at(&self, scale: &Scale, style_scale: f64) -> Result<(Option<Tensor>, Vec<(Tensor, f64)>)> {
        let content = self.content.as_ref().map(|content| {
            let content = scale::resized(content, scale.width, scale.height)?;
            to_tensor(&content, &self.device)
        });
        let styles = self.styles.iter().map(|(style, weight)| {
            let style = scales::style_at(style, scale, style_scale)?;
            Ok((to_tensor(&style, &self.device)?, *weight))
        });
        Ok((content.transpose()?, styles.collect::<Result<_>>()?))
    }

    /// `frame` at the final size, with the colours of the content if they are kept.
    fn finish(&self, frame: &Frame, last: &Scale) -> Result<Frame> {
        let mut frame = scale::resized(frame, last.width, last.height)?;
        if let (true, Some(content)) = (self.keep_colors, &self.content) {
            let content = scale::resized(content, last.width, last.height)?;
            keep_colors(&content.pixels, &mut frame.pixels);
        }
        Ok(frame)
    }
}

/// What the first size begins with.
fn start(
    settings: &Settings,
    shape: (usize, usize, usize, usize),
    content: Option<&Tensor>,
    styles: &[(Tensor, f64)],
) -> Result<Tensor> {
    let part = match (settings.start, content) {
        (Start::Style, _) => {
            let (style, _) = styles.first().context("no style to start from")?;
            let mut frame = to_frame(style)?;
            frame = scale::resized(&frame, shape.3, shape.2)?;
            return to_tensor(&frame, style.device());
        }
        (Start::Content, Some(content)) => return Ok(content.clone()),
        (Start::Noise, Some(_)) => settings.noise,
        (_, None) => 1.0,
    };
    let other = content.or(styles.first().map(|(style, _)| style));
    let device = other.context("no picture is given")?.device();
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    let (means, reach) = NOISE;
    let plane = |mean: f32| (0..shape.2 * shape.3).map(move |_| mean);
    let noise = means.into_iter().flat_map(plane);
    let noise: Vec<f32> = noise
        .map(|mean| mean + random.random_range(-reach..=reach))
        .collect();
    let noise = Tensor::from_vec(noise, shape, device)?;
    Ok(match content {
        Some(content) => ((noise * part)? + (content * (1.0 - part))?)?,
        None => noise,
    })
}

/// A picture (1, 3, H, W; 0..255) as a frame.
fn to_frame(picture: &Tensor) -> Result<Frame> {
    let (_, channels, height, width) = picture.dims4()?;
    ensure!(channels == 3, "a picture of {channels} channels");
    let mut frame = Frame::new(width, height);
    frame.set_from_planes(&picture.flatten_all()?.to_vec1()?);
    Ok(frame)
}
