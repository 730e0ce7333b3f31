//! The model file: a trained network as safetensors, with metadata that says what it is.
//!
//! Loading trusts nothing: sizes, names, shapes and types are checked before memory is taken, and
//! what is wrong is said in one line. The arithmetic belongs to `backend`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::network::Network;

/// Version of the file format; a file with a higher one was made by a later program.
pub const FORMAT_VERSION: u32 = 1;

/// Largest header accepted, in bytes: hundreds of times what the largest network needs.
const MAX_HEADER: u64 = 4 << 20;

/// Largest model file accepted, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// The models inside the program: name and file.
const BUILT_IN: &[(&str, &[u8])] = &[];

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

/// Values of one tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
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

/// Where a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Inside the program.
    BuiltIn,
    /// A file of the user's.
    File(PathBuf),
}

/// Type of the stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 16-bit floating point: half the size, for distribution.
    F16,
    /// 32-bit floating point.
    F32,
}

impl Metadata {
    fn to_map(&self, network: &Network) -> HashMap<String, String> {
        let [a, b, c] = network.channels;
        let mut map = HashMap::from([
            ("format".to_string(), format!("repaint.{FORMAT_VERSION}")),
            ("channels".to_string(), format!("{a},{b},{c}")),
            (
                "residual_blocks".to_string(),
                network.residual_blocks.to_string(),
            ),
        ]);
        for (key, value) in self.fields() {
            if !value.is_empty() {
                map.insert(key.to_string(), value.clone());
            }
        }
        map
    }

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

    fn fields(&self) -> [(&'static str, &String); 8] {
        [
            ("name", &self.name),
            ("title", &self.title),
            ("painter", &self.painter),
            ("year", &self.year),
            ("recipe", &self.recipe),
            ("program", &self.program),
            ("losses", &self.losses),
            ("date", &self.date),
        ]
    }
}

impl Model {
    /// Puts a model together; fails when the tensors are not those of a network or hold values
    /// that are not finite.
    pub fn new(metadata: Metadata, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let shapes = tensors
            .iter()
            .map(|(name, t)| (name.clone(), t.shape.clone()))
            .collect();
        let network = Network::from_shapes(&shapes)?;
        for (name, tensor) in &tensors {
            if let Some(i) = tensor.data.iter().position(|v| !v.is_finite()) {
                bail!(
                    "value {i} of `{name}` is {}: the training went wrong",
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
        ensure!(
            bytes.len() >= 8,
            "only {} bytes: not a safetensors file",
            bytes.len()
        );
        let header = u64::from_le_bytes(bytes[..8].try_into()?);
        ensure!(
            header <= MAX_HEADER,
            "not a safetensors file (a header of {header} bytes)"
        );
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(explain)?;
        let map = head.metadata().clone().unwrap_or_default();
        if let Some(format) = map.get("format") {
            let version = format
                .strip_prefix("repaint.")
                .and_then(|v| v.parse::<u32>().ok());
            let version = version.with_context(|| format!("unknown format `{format}`"))?;
            ensure!(
                version <= FORMAT_VERSION,
                "format version {version}, this program reads up to {FORMAT_VERSION}: update repaint"
            );
        }
        let file = SafeTensors::deserialize(bytes).map_err(explain)?;
        let shapes = file
            .iter()
            .map(|(name, view)| (name.to_string(), view.shape().to_vec()))
            .collect();
        Network::from_shapes(&shapes).context("not a transformer network")?;
        let tensors = file
            .iter()
            .map(|(name, view)| Ok((name.to_string(), decode(name, &view)?)))
            .collect::<Result<_>>()?;
        Self::new(Metadata::from_map(&map), tensors)
    }

    /// Reads a model file.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || format!("could not open model `{}`", path.display());
        let size = std::fs::metadata(path).with_context(what)?.len();
        ensure!(
            size <= MAX_FILE,
            "{}: {size} bytes is no model of this program",
            what()
        );
        let bytes = std::fs::read(path).with_context(what)?;
        let mut model = Self::from_bytes(&bytes).with_context(what)?;
        if model.metadata.name.is_empty() {
            let stem = path.file_stem().unwrap_or_default();
            model.metadata.name = stem.to_string_lossy().into_owned();
        }
        Ok(model)
    }

    /// The bytes of the model's file.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>> {
        let encoded: Vec<_> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name, &tensor.shape, encode(&tensor.data, precision)))
            .collect();
        let dtype = match precision {
            Precision::F16 => Dtype::F16,
            Precision::F32 => Dtype::F32,
        };
        let views = encoded
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((
                    name.as_str(),
                    TensorView::new(dtype, shape.to_vec(), bytes)?,
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(safetensors::serialize(
            views,
            Some(self.metadata.to_map(&self.network)),
        )?)
    }

    /// Writes the model's file: beside `path` first, then renamed.
    pub fn write(&self, path: &Path, precision: Precision) -> Result<()> {
        let what = || format!("could not write model `{}`", path.display());
        let bytes = self.to_bytes(precision)?;
        crate::output::write_whole(path, &bytes).with_context(what)
    }

    /// Finds a model by path, then by name in the user's model folder, then among the built-in.
    pub fn find(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.is_file() {
            return Self::read(path);
        }
        let mut known = Vec::new();
        for (found, origin) in list() {
            if found == name {
                return Self::open(&found, &origin);
            }
            known.push(found);
        }
        known.dedup();
        bail!(
            "could not open model `{name}`: no such file (known: {})",
            known.join(", ")
        )
    }

    /// Opens a model that [`list`] named.
    pub fn open(name: &str, origin: &Origin) -> Result<Self> {
        match origin {
            Origin::File(path) => Self::read(path),
            Origin::BuiltIn => {
                let (_, bytes) = BUILT_IN
                    .iter()
                    .find(|(built_in, _)| *built_in == name)
                    .with_context(|| format!("no built-in model `{name}`"))?;
                Self::from_bytes(bytes).with_context(|| format!("built-in model `{name}`"))
            }
        }
    }
}

/// Names and origins of the models that `--model` knows: the user's, then the built-in ones.
pub fn list() -> Vec<(String, Origin)> {
    let mut models = Vec::new();
    if let Some(folder) = user_folder()
        && let Ok(entries) = std::fs::read_dir(folder)
    {
        for path in entries.flatten().map(|entry| entry.path()) {
            if path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
                && let Some(stem) = path.file_stem()
            {
                models.push((stem.to_string_lossy().into_owned(), Origin::File(path)));
            }
        }
    }
    models.sort_by(|a, b| a.0.cmp(&b.0));
    models.extend(
        BUILT_IN
            .iter()
            .map(|(name, _)| (name.to_string(), Origin::BuiltIn)),
    );
    models
}

/// The user's model folder: `repaint/models` in the XDG data folder.
pub fn user_folder() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("repaint/models"))
}

fn explain(error: safetensors::SafeTensorError) -> anyhow::Error {
    anyhow::anyhow!("not a whole safetensors file ({error})")
}

fn decode(name: &str, view: &TensorView) -> Result<Tensor> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&chunk| f32::from_le_bytes(chunk))
            .collect(),
        Dtype::F16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&chunk| f16::from_le_bytes(chunk).to_f32())
            .collect(),
        other => bail!("`{name}` has type {other:?}, expected F32 or F16"),
    };
    Ok(Tensor {
        shape: view.shape().to_vec(),
        data,
    })
}

fn encode(data: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Precision::F16 => data
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect(),
    }
}
