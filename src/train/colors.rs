//! The colours of a painting for a network that has its strokes. Losses that keep the photograph and hold
//! paintings still make them paler than the painting; a map of colours brings that back.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use super::dataset::{self, Photo};
use super::measure::{SHORT, paint, ready};
use super::{Settings, weights_of};
use crate::frame::Frame;
use crate::model::Model;
use crate::palette::Palette;

/// Most photos that are painted to see in which colours a network paints.
const PHOTOS: usize = 12;

/// Gives what `model` paints of `photos` the colours of `painting`, or a part of the way (0..1). Fails where
/// not one photo can be read.
pub fn fit(
    model: &mut Model,
    painting: &Frame,
    photos: &[Photo],
    part: f64,
    device: &Device,
) -> Result<()> {
    let inputs = model.network.input_channels;
    ensure!(
        inputs == 3,
        "`{}` sees {inputs} channels: only networks that see RGB alone can be given colours",
        model.metadata.name
    );
    let weights = weights_of(model, device)?;
    let mut frames = Vec::new();
    for photo in photos.iter().step_by(photos.len().div_ceil(PHOTOS).max(1)) {
        let Ok(photo) = photo.read_scaled(SHORT) else {
            continue;
        };
        let painted = paint(&model.network, &weights, &ready(&photo, device)?)?;
        let (_, _, height, width) = painted.dims4()?;
        let mut frame = Frame::new(width, height);
        frame.set_from_planes(&painted.flatten_all()?.to_vec1()?);
        frames.push(frame);
    }
    let own = Palette::of(&frames).context("not one photo can be read to see the colours on")?;
    let aim = Palette::of([painting]).context("the picture of the colours is empty")?;
    model.recolor(&own.map_to(&aim, part));
    Ok(())
}

/// The style of `model` in the colours of the picture `colors`, seen on the photos below a folder or on the
/// program's own.
pub fn recolored(
    mut model: Model,
    colors: &Path,
    photos: Option<&Path>,
    part: f64,
) -> Result<Model> {
    let size = Settings::default().style_size;
    let picture = dataset::read_scaled(colors, size)?;
    let photos = dataset::photos_of(photos)?;
    fit(&mut model, &picture, &photos, part, &Device::Cpu)?;
    Ok(model)
}
