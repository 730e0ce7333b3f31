//! Measuring a finished model: what `repaint eval` tells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde::Serialize;

use super::loss::{Form, PerceptualLoss};
use super::measure::{Validation, flicker, validate};
use super::vgg::Vgg19;
use super::{Event, Settings, to_tensor, weights_of};
use crate::backend::{Device, candle};
use crate::frame::Frame;
use crate::model::Model;
use crate::photos;

/// What to measure a model on.
#[derive(Clone, Debug)]
pub struct Exam {
    /// Folder of photos; the program's own pictures without one.
    pub photos: Option<PathBuf>,
    /// Picture of the painting.
    pub style: PathBuf,
    /// Shorter side of the painting in pixels; that of the model's recipe when not given.
    pub style_size: Option<usize>,
    /// VGG19's weights.
    pub vgg19: PathBuf,
    /// Where to compute.
    pub device: Device,
}

/// Figures of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Over the photos.
    pub photos: Validation,
    /// Flicker over the frames of a clip, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

/// Measures `model` as training does at its end, by the layers of its recipe (the defaults for models
/// without one), and the flicker also on `frames`. `None` once `stop` is set. Fails where not one photo
/// can be read.
pub fn evaluate(
    model: &Model,
    exam: &Exam,
    frames: &[Frame],
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Option<Evaluation>> {
    let recipe = recipe(model)
        .with_context(|| format!("the recipe in model `{}` is damaged", model.metadata.name))?;
    let device = candle::open(exam.device, &mut |text| tell(Event::Remark(text)))?;
    let size = exam.style_size.unwrap_or(recipe.style_size);
    let style = photos::read_scaled(&exam.style, size)?;
    let photos = photos::photos_of(exam.photos.as_deref())?;
    let loss = PerceptualLoss::new(
        Vgg19::read(&exam.vgg19, &device)?.with_mirrored_rims(),
        &to_tensor(&style, &device)?,
        &recipe.content_layers,
        &recipe.style_layers,
        Form::Relative,
    )?;
    let weights = weights_of(model, &device)?;
    tell(Event::Validating(photos.len()));
    let network = &model.network;
    let found = validate(network, &weights, &loss, &photos, &device, stop, tell)?;
    let clip = flicker(network, &weights, frames, &device, stop)?;
    if stop.load(Ordering::SeqCst) {
        return Ok(None);
    }
    let photos = found.with_context(|| {
        let folder = exam.photos.as_deref().unwrap_or(Path::new(""));
        format!("not one photo in `{}` can be read", folder.display())
    })?;
    Ok(Some(Evaluation { photos, clip }))
}

/// How the model was trained, as is usual where it does not say. Fails where nothing can be measured so.
fn recipe(model: &Model) -> Result<Settings> {
    let recipe = Settings::from_toml(&model.metadata.recipe)?;
    recipe.ensure_sane()?;
    Ok(recipe)
}
