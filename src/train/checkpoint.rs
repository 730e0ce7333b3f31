//! A training's state as a file, from which it goes on bit by bit. Batches follow from seed and step
//! and need no state; what they are made from must be what it was.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use sha2::{Digest, Sha256};

use super::Settings;
use super::dataset::Dataset;
use super::state::Snapshot;
use crate::tensors::{self, Precision};

/// Version of the file format.
const FORMAT: &str = "repaint.checkpoint.3";

/// What a training is made from; with other things it cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    settings: Settings,
    painting: String,
    photos: String,
    vgg19: String,
}

impl Origin {
    /// Of these settings, the pixels of the paintings, the photos by their names, and the file of VGG19's weights,
    /// which has to be readable.
    pub fn new(
        settings: &Settings,
        paintings: &[&[u8]],
        photos: &Dataset,
        vgg19: &Path,
    ) -> Result<Self> {
        let (mut pixels, mut names) = (Sha256::new(), Sha256::new());
        paintings
            .iter()
            .for_each(|painting| pixels.update(painting));
        for name in photos.names() {
            // The folder may move: names below it decide the order of the photos.
            names.update(name.as_encoded_bytes());
            names.update([0]);
        }
        Ok(Self {
            settings: settings.clone(),
            painting: hexadecimal(pixels.finalize()),
            photos: hexadecimal(names.finalize()),
            vgg19: digest_of(vgg19)?,
        })
    }

    fn ensure_same(&self, found: &HashMap<String, String>) -> Result<()> {
        let text = |key: &str| found.get(key).map_or("", String::as_str);
        let settings = Settings::from_toml(text("settings"))?;
        if let Some((name, then, now)) = settings.difference(&self.settings)? {
            bail!("{name} was {then} and is {now} now: leave it, or start anew with --overwrite");
        }
        for (what, key, now) in [
            ("painting", "painting", &self.painting),
            ("photos", "photos", &self.photos),
            ("weights of VGG19", "vgg19", &self.vgg19),
        ] {
            ensure!(
                text(key) == now,
                "the {what} changed since: put back what was there, or start anew with --overwrite"
            );
        }
        Ok(())
    }
}

/// Writes a state: its tensors, and as metadata `format`, `steps`, `returns`, `settings` (TOML),
/// `painting`, `photos` and `vgg19` (SHA-256).
pub fn write(place: &Path, origin: &Origin, state: &Snapshot) -> Result<()> {
    let metadata = [
        ("format", FORMAT.to_string()),
        ("steps", state.steps.to_string()),
        ("returns", state.returns.to_string()),
        ("settings", origin.settings.to_toml()?),
        ("painting", origin.painting.clone()),
        ("photos", origin.photos.clone()),
        ("vgg19", origin.vgg19.clone()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value)).into();
    let bytes = tensors::to_bytes(&state.tensors, &metadata, |_| Precision::F32)?;
    crate::output::write_whole(place, &bytes)
        .with_context(|| format!("could not write checkpoint `{}`", place.display()))
}

/// Reads a state. Fails when there is none, or when it has another origin, and says what differs.
pub fn read(place: &Path, origin: &Origin) -> Result<Snapshot> {
    let name = place.display();
    ensure!(
        place.exists(),
        "no checkpoint `{name}` to go on from: start without --resume"
    );
    let what = || format!("could not go on from `{name}`");
    let broken = || format!("{}, start anew with --overwrite", what());
    let bytes = std::fs::read(place).with_context(broken)?;
    let file = tensors::File::open(&bytes).with_context(broken)?;
    let metadata = &file.metadata;
    let format = metadata.get("format").map_or("", String::as_str);
    ensure!(
        format == FORMAT,
        "`{name}` is no checkpoint of this version ({format:?}, expected {FORMAT:?}): start anew \
         with --overwrite"
    );
    origin.ensure_same(metadata).with_context(what)?;
    let number = |key: &str| {
        let number = metadata.get(key).and_then(|text| text.parse().ok());
        number.with_context(|| format!("`{name}` does not say its {key}: it is damaged"))
    };
    Ok(Snapshot {
        steps: number("steps")?,
        returns: number("returns")?,
        tensors: file.read().with_context(broken)?,
    })
}

/// Removes a state that nobody goes on from any more, if there is one.
pub fn remove(place: &Path) -> Result<()> {
    match std::fs::remove_file(place) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove checkpoint `{}`", place.display()))
        }
        _ => Ok(()),
    }
}

/// A tensor's values, fetched from its device.
pub fn values(tensor: &Tensor) -> Result<tensors::Tensor> {
    Ok(tensors::Tensor {
        shape: tensor.dims().to_vec(),
        data: tensor.flatten_all()?.to_vec1()?,
    })
}

/// SHA-256 of a file, in hexadecimal digits.
pub fn digest_of(place: &Path) -> Result<String> {
    let bytes =
        std::fs::read(place).with_context(|| format!("could not read `{}`", place.display()))?;
    Ok(digest(&bytes))
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
