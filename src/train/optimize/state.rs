//! The state of an optimisation in one file beside its output, from which it goes on bit by bit.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::descent::State;
use crate::tensors::{self, Precision};

/// Version of the file format.
const FORMAT: &str = "repaint.optimize.2";

/// Where an optimisation stands.
pub struct Saved {
    /// Number of the size, from 0.
    pub scale: usize,
    /// Steps made at it.
    pub steps: u32,
    /// The picture and what the optimiser knows.
    pub state: State,
}

impl Saved {
    /// Writes the file `place`; `settings` and `pictures` are texts that have to be the same when it
    /// is read.
    pub fn write(&self, place: &Path, settings: &str, pictures: &str) -> Result<()> {
        let (texts, tensors) = &self.state;
        let mut metadata = texts.clone();
        metadata.extend([
            ("format".to_string(), FORMAT.to_string()),
            ("settings".to_string(), settings.to_string()),
            ("pictures".to_string(), pictures.to_string()),
            ("scale".to_string(), self.scale.to_string()),
            ("steps".to_string(), self.steps.to_string()),
        ]);
        let bytes = tensors::to_bytes(tensors, &metadata, |_| Precision::F32)?;
        crate::output::write_whole(place, &bytes)
            .with_context(|| format!("could not write state `{}`", place.display()))
    }

    /// Reads the file `place`. Fails where it was written for other settings or pictures.
    pub fn read(place: &Path, settings: &str, pictures: &str) -> Result<Self> {
        let name = place.display();
        ensure!(
            place.exists(),
            "no state `{name}` to go on from: start without --resume"
        );
        let what = || format!("could not go on from `{name}`");
        let bytes = std::fs::read(place).with_context(what)?;
        Self::from_bytes(&bytes, settings, pictures).with_context(what)
    }

    fn from_bytes(bytes: &[u8], settings: &str, pictures: &str) -> Result<Self> {
        let file = tensors::File::open(bytes)?;
        let text = |name: &str| {
            let text = file.metadata.get(name);
            text.with_context(|| format!("no `{name}` in it: it is no state of an optimisation"))
        };
        let format = text("format")?;
        ensure!(format == FORMAT, "its format is `{format}`, not {FORMAT}");
        ensure!(
            text("settings")? == settings,
            "it was written with other settings: give the same options, or leave out --resume"
        );
        ensure!(
            text("pictures")? == pictures,
            "it belongs to other pictures, or other weights of VGG19: name the same ones, or leave out \
             --resume"
        );
        let texts = file.metadata.iter().map(|(k, v)| (k.clone(), v.clone()));
        Ok(Self {
            scale: text("scale")?.parse()?,
            steps: text("steps")?.parse()?,
            state: (texts.collect::<BTreeMap<_, _>>(), file.read()?),
        })
    }
}
