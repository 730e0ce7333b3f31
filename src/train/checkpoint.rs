//! The state of a training in one file, from which it can go on bit by bit: weights, both of Adam's
//! running means, the step and the settings. Batches follow from seed and step and need no state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::Settings;
use super::adam::Adam;
use crate::tensors::{self, Precision};

/// Version of the file format.
const FORMAT: &str = "repaint.checkpoint.1";

/// Where the checkpoint of a training lies: beside its output.
pub fn place(output: &Path) -> PathBuf {
    output.with_extension("checkpoint.safetensors")
}

/// Writes the state after `steps` steps: tensors `NAME`, `adam.first.NAME` and `adam.second.NAME`,
/// metadata `format`, `steps` and `settings` (TOML). `weights` are in the order of `adam`'s
/// variables.
pub fn write(
    place: &Path,
    settings: &Settings,
    steps: u32,
    weights: &[(String, Tensor)],
    adam: &Adam,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for ((name, weight), moments) in weights.iter().zip(adam.moments()) {
        tensors.insert(name.clone(), values(weight)?);
        tensors.insert(format!("adam.first.{name}"), values(&moments.first)?);
        tensors.insert(format!("adam.second.{name}"), values(&moments.second)?);
    }
    let metadata = BTreeMap::from([
        ("format".to_string(), FORMAT.to_string()),
        ("steps".to_string(), steps.to_string()),
        ("settings".to_string(), settings.to_toml()?),
    ]);
    let bytes = tensors::to_bytes(&tensors, &metadata, Precision::F32)?;
    crate::output::write_whole(place, &bytes)
        .with_context(|| format!("could not write checkpoint `{}`", place.display()))
}

/// A tensor's values, fetched from its device.
pub fn values(tensor: &Tensor) -> Result<tensors::Tensor> {
    Ok(tensors::Tensor {
        shape: tensor.dims().to_vec(),
        data: tensor.flatten_all()?.to_vec1()?,
    })
}
