//! The colours of a painting for a network that has its strokes. Losses that keep the photograph and hold
//! paintings still make them paler than the painting; a map of colours brings that back.

use anyhow::{Context, Result, ensure};

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::frame::Frame;
use crate::model::Model;
use crate::palette::Palette;
use crate::photos::{Photo, spread};

/// Most photos that are painted to see in which colours a network paints.
const PHOTOS: usize = 12;

/// Their shorter side, in pixels.
const SHORT: usize = 256;

/// Gives what `model` paints of `photos` the colours of `painting`, or a part of the way (0..1). Fails where
/// not one photo can be read.
pub fn fit(model: &mut Model, painting: &Frame, photos: &[Photo], part: f64) -> Result<()> {
    let inputs = model.network.input_channels;
    ensure!(
        inputs == 3,
        "`{}` sees {inputs} channels: only networks that see RGB alone can be given colours",
        model.metadata.name
    );
    let mut engine = Cpu::new(None, None)?;
    engine.load(model)?;
    let mut painted = Vec::new();
    let readable = spread(photos, PHOTOS).filter_map(|photo| photo.read_scaled(SHORT).ok());
    for photo in readable.take(PHOTOS) {
        let mut frame = Frame::default();
        engine.stylize(&photo, &mut frame)?;
        painted.push(frame);
    }
    let own = Palette::of(&painted).context("not one photo can be read to see the colours on")?;
    let aim = Palette::of([painting]).context("the picture of the colours is empty")?;
    model.recolor(&own.map_to(&aim, part));
    Ok(())
}
