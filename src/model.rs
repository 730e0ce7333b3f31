//! The model file: a trained network as safetensors, with metadata that says what it is.
//!
//! Loading trusts nothing: sizes, names, shapes and types are checked before memory is taken, and
//! what is wrong is said in one line. The arithmetic belongs to `backend`.

mod mix;
mod recolor;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::folders::stem;
use crate::network::{Layer, Network};
use crate::tensors;

pub use crate::tensors::{Precision, Tensor};

/// Version of the file format; a file with a higher one was made by a later program.
pub const FORMAT_VERSION: u32 = 1;

/// A trained network: its shape, its values and where it comes from.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is and how it was made.
    pub metadata: Metadata,
    /// The shape.
    pub network: Network,
    /// Every tensor of [`Network::tensors`], by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// What a model file says of itself. Empty strings stand for "not known".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Short name, as in `--model`.
    pub name: String,
    /// Title of the painting.
    pub title: String,
    /// Who painted it.
    pub painter: String,
    /// When it was painted.
    pub year: String,
    /// The training settings as TOML.
    pub recipe: String,
    /// Version of the program that wrote the file.
    pub program: String,
    /// Relative content and style losses over the validation photos, as text for people.
    pub losses: String,
    /// Day of the training, YYYY-MM-DD.
    pub date: String,
}

impl Metadata {
    fn to_map(&self, network: &Network) -> BTreeMap<String, String> {
        let [a, b, c] = network.channels;
        let mut map = BTreeMap::from([
            ("format", format!("repaint.{FORMAT_VERSION}")),
            ("channels", format!("{a},{b},{c}")),
            ("residual_blocks", network.residual_blocks.to_string()),
        ]);
        map.extend([
            ("name", self.name.clone()),
            ("title", self.title.clone()),
            ("painter", self.painter.clone()),
            ("year", self.year.clone()),
            ("recipe", self.recipe.clone()),
            ("program", self.program.clone()),
            ("losses", self.losses.clone()),
            ("date", self.date.clone()),
        ]);
        map.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_string(), value))
            .collect()
    }

    /// Reads the known keys; others, as later programs may write them, are passed over.
    fn from_map(map: &HashMap<String, String>) -> Self {
        let get = |key: &str| map.get(key).cloned().unwrap_or_default();
        Self {
            name: get("name"),
            title: get("title"),
            painter: get("painter"),
            year: get("year"),
            recipe: get("recipe"),
            program: get("program"),
            losses: get("losses"),
            date: get("date"),
        }
    }
}

impl Model {
    /// A model of random values, the same for the same seed. Its paintings fill the range of a
    /// picture, so that comparing two engines on them says something.
    pub fn random(network: Network, seed: u64) -> Result<Self> {
        network.ensure_sane()?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let layers = network.layers();
        let tensors = network.tensors().into_iter().map(|(name, shape)| {
            let of = |layer: &&Layer| name == layer.weight() || name == layer.bias();
            let (middle, reach) = match layers.iter().find(of) {
                Some(layer) => {
                    let summands = (layer.inputs * layer.kernel * layer.kernel) as f32;
                    match (&layer.norm, name == layer.bias()) {
                        (Some(_), _) => (0.0, summands.powf(-0.5)),
                        (None, false) => (0.0, 120.0 * summands.powf(-0.5)),
                        (None, true) => (127.0, 20.0),
                    }
                }
                None if name.ends_with(".weight") => (1.0, 0.3),
                None => (0.0, 0.3),
            };
            let value = |_| middle + reach * (2.0 * random.random::<f32>() - 1.0);
            let data = (0..shape.iter().product()).map(value).collect();
            (name, Tensor { shape, data })
        });
        Self::new(Metadata::default(), tensors.collect())
    }

    /// Puts a model together; fails when the tensors are not those of a network or hold values
    /// that are not finite.
    pub fn new(metadata: Metadata, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let shapes = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect();
        let network = Network::from_shapes(&shapes).context("not a transformer network")?;
        for (name, tensor) in &tensors {
            let (values, shape) = (tensor.data.len(), &tensor.shape);
            ensure!(
                values == shape.iter().product::<usize>(),
                "`{name}` has {values} values for shape {shape:?}"
            );
            if let Some(i) = tensor.data.iter().position(|value| !value.is_finite()) {
                bail!(
                    "value {i} of `{name}` is {}: its training went wrong, train it anew",
                    tensor.data[i]
                );
            }
        }
        Ok(Self {
            metadata,
            network,
            tensors,
        })
    }

    /// Reads a model from the bytes of its file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = tensors::File::open(bytes)?;
        // Other programs write keys of this name too: PyTorch's safetensors says `pt`.
        if let Some(version) = file
            .metadata
            .get("format")
            .and_then(|format| format.strip_prefix("repaint."))
        {
            ensure!(
                !version.starts_with("predictor"),
                "it predicts styles and is none: see `repaint models import PICTURE --predictor FILE`"
            );
            ensure!(
                version.bytes().all(|byte| byte.is_ascii_digit()),
                "no model: it is a file of repaint's of another kind ({version:?})"
            );
            ensure!(
                version.parse::<u32>().is_ok_and(|v| v <= FORMAT_VERSION),
                "format {version:?} is newer than this program's ({FORMAT_VERSION}): update repaint"
            );
        }
        Network::from_shapes(&file.shapes()).context("not a transformer network")?;
        Self::new(Metadata::from_map(&file.metadata), file.read()?)
    }

    /// Reads a model file. A model without a name takes the file's.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || format!("could not open model `{}`", path.display());
        let bytes = tensors::read_file(path).with_context(what)?;
        let mut model = Self::from_bytes(&bytes)
            .map_err(|error| {
                if is_pytorch(path, &bytes) {
                    let name = path.display();
                    anyhow!("a PyTorch file: run `repaint models import {name}` first")
                } else if tensors::is_safetensors(&bytes) {
                    error
                } else {
                    anyhow!(
                        "{error}: name a model file, a picture, or a style from `repaint models list`"
                    )
                }
            })
            .with_context(what)?;
        if model.metadata.name.is_empty() {
            model.metadata.name = stem(path);
        }
        Ok(model)
    }

    /// The bytes of the model's file; the same model always gives the same bytes.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>> {
        tensors::to_bytes(&self.tensors, &self.metadata.to_map(&self.network), |_| {
            precision
        })
    }

    /// Writes the model's file, replacing what was there once it is whole.
    pub fn write(&self, path: &Path, precision: Precision) -> Result<()> {
        let what = || format!("could not write model `{}`", path.display());
        let bytes = self.to_bytes(precision).with_context(what)?;
        crate::output::write_whole(path, &bytes).with_context(what)
    }

    /// Makes a model of a pytorch/examples network: a state dict as `torch.save` writes it, of which
    /// statistics that old instance norms kept and never used are left out, or a safetensors file.
    pub fn import(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            return Self::read(path);
        }
        let used = |name: &str| {
            let key = name.rsplit('.').next().unwrap_or_default();
            !["running_mean", "running_var", "num_batches_tracked"].contains(&key)
        };
        let tensors = crate::pickle::read_tensors_named(path, used).map_err(|error| {
            match tensors::read_file(path) {
                Ok(bytes) if !begins_as_pytorch(&bytes) => anyhow!(
                    "could not import `{}`: it was not made by torch.save: name a PyTorch network (.pth, \
                     .model), a model file (.safetensors) or a picture",
                    path.display()
                ),
                _ => error,
            }
        })?;
        let metadata = Metadata {
            name: stem(path),
            program: concat!("repaint ", env!("CARGO_PKG_VERSION"), ", imported").to_string(),
            ..Metadata::default()
        };
        Self::new(metadata, tensors)
            .with_context(|| format!("could not import `{}`", path.display()))
    }
}

/// Whether a file that is no model looks like one of PyTorch's, by its name or first bytes.
fn is_pytorch(path: &Path, bytes: &[u8]) -> bool {
    let named = path.extension().is_some_and(|extension| {
        ["pth", "pt", "model"].contains(&extension.to_string_lossy().as_ref())
    });
    named || begins_as_pytorch(bytes)
}

/// Whether the first bytes are those of one of the two formats of `torch.save`.
fn begins_as_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 2, 0x8a, 10])
}
