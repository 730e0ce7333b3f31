//! From a painting to a network that paints like it, in one pass and without training.
//!
//! Ghiasi et al. (2017, "Exploring the structure of a real-time, arbitrary neural artistic stylization
//! network") predict the scales and shifts of a network's norms from a painting, with a network that sees it.
//! Here a linear map predicts all weights of the small network, kernels too, from a picture's
//! [`descriptor`]: what comes out is a model like those that were trained for one painting, as fast and as
//! steady in films. `train` makes the map.

pub mod descriptor;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::frame::Frame;
use crate::model::{Metadata, Model};
use crate::tensors::{self, Precision, Tensor};
use descriptor::{NUMBERS, describe};

/// Format of the file, as its metadata says.
const FORMAT: &str = "repaint.predictor.1";

/// Shorter side at which pictures are described, in pixels.
pub const SHORT: usize = 384;

/// Numbers that are further than this many deviations from the paintings that were seen are taken for no
/// further: a linear map knows nothing of what lies there.
const FURTHEST: f32 = 2.5;

/// Names of tensors: of the map to places, and before those of the network.
const MIDDLE: &str = "middle";
const ROWS: &str = "rows";
/// Before the name of a network's tensor: its value in the middle of all paintings.
pub const BASE: &str = "base.";
/// Before the name of a network's tensor: what is added to it along each direction. In files a whole number
/// for each value, up to 127.
pub const DIRECTIONS: &str = "directions.";
/// Before the name of a network's tensor, in files: what 1 stands for, along each direction.
const UNITS: &str = "units.";

/// Largest number in 8 bits. What directions of 8 bits predict paints pixels that differ by at most 1 of 255 from those
/// of directions of 16 bits.
const MOST: f32 = 127.0;

/// Where a picture lies among the paintings that were seen: along each direction, 0 in the middle.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// Descriptor of the middle.
    pub middle: [f32; NUMBERS],
    /// What makes deviations of each direction out of a descriptor's distance from the middle.
    pub rows: Vec<[f32; NUMBERS]>,
}

impl Places {
    /// The place of a picture whose shorter side has about [`SHORT`] pixels: one value for each direction,
    /// together of a length of about 1.
    pub fn of(&self, picture: &Frame) -> Vec<f32> {
        self.of_numbers(&describe(picture))
    }

    /// The place of a picture with this descriptor.
    pub fn of_numbers(&self, numbers: &[f32; NUMBERS]) -> Vec<f32> {
        let size = (self.rows.len() as f32).sqrt();
        let along = |row: &[f32; NUMBERS]| {
            let parts = row.iter().zip(numbers.iter().zip(&self.middle));
            let sum: f32 = parts
                .map(|(row, (number, middle))| row * (number - middle))
                .sum();
            sum.clamp(-FURTHEST, FURTHEST) / size
        };
        self.rows.iter().map(along).collect()
    }
}

/// The map from paintings to networks.
pub struct Predictor {
    places: Places,
    /// By the name of the network's tensor: its value in the middle, and its directions beside each other.
    parts: BTreeMap<String, (Tensor, Vec<f32>)>,
}

impl Predictor {
    /// The one inside the program.
    pub fn built_in() -> Result<Self> {
        Self::from_bytes(include_bytes!("../weights/predictor.safetensors"))
            .context("built-in predictor")
    }

    /// Reads the file of a predictor.
    pub fn read(path: &Path) -> Result<Self> {
        let found = tensors::read_file(path).and_then(|bytes| Self::from_bytes(&bytes));
        found.with_context(|| format!("could not open predictor `{}`", path.display()))
    }

    /// Reads a predictor from the bytes of its file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = tensors::File::open(bytes)?;
        let format = file.metadata.get("format").map_or("", String::as_str);
        ensure!(
            format == FORMAT,
            "no predictor of this version ({format:?}, expected {FORMAT:?})"
        );
        let mut tensors = file.read_with_integers()?;
        let (middle, rows) = (take(&mut tensors, MIDDLE)?, take(&mut tensors, ROWS)?);
        let numbers = |values: &[f32]| -> Result<[f32; NUMBERS]> {
            let found = values.len();
            values
                .try_into()
                .ok()
                .with_context(|| format!("{found} numbers of a picture, expected {NUMBERS}"))
        };
        let places = Places {
            middle: numbers(&middle.data)?,
            rows: rows
                .data
                .chunks(NUMBERS)
                .map(numbers)
                .collect::<Result<_>>()?,
        };
        let names: Vec<String> = tensors
            .keys()
            .filter_map(|name| Some(name.strip_prefix(BASE)?.to_string()))
            .collect();
        let mut parts = BTreeMap::new();
        for name in names {
            let base = take(&mut tensors, &format!("{BASE}{name}"))?;
            let mut directions = take(&mut tensors, &format!("{DIRECTIONS}{name}"))?.data;
            let units = take(&mut tensors, &format!("{UNITS}{name}"))?.data;
            let (wanted, found) = (base.data.len() * places.rows.len(), directions.len());
            ensure!(
                found == wanted,
                "`{DIRECTIONS}{name}` has {found} values, expected {wanted}"
            );
            ensure!(
                units.len() == places.rows.len(),
                "`{UNITS}{name}` has {} values, expected {}",
                units.len(),
                places.rows.len()
            );
            let steps = directions.chunks_mut(base.data.len().max(1));
            for (direction, unit) in steps.zip(units) {
                direction.iter_mut().for_each(|value| *value *= unit);
            }
            parts.insert(name, (base, directions));
        }
        Ok(Self { places, parts })
    }

    /// The network that paints like `picture`, whose shorter side has about [`SHORT`] pixels.
    pub fn model(&self, picture: &Frame) -> Result<Model> {
        let place = self.places.of(picture);
        let tensors = self.parts.iter().map(|(name, (base, directions))| {
            let mut tensor = base.clone();
            for (at, direction) in place.iter().zip(directions.chunks(base.data.len().max(1))) {
                for (value, step) in tensor.data.iter_mut().zip(direction) {
                    *value += at * step;
                }
            }
            (name.clone(), tensor)
        });
        let metadata = Metadata {
            program: concat!("repaint ", env!("CARGO_PKG_VERSION"), ", predicted").to_string(),
            ..Metadata::default()
        };
        Model::new(metadata, tensors.collect())
    }
}

fn take(tensors: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    let found = tensors.remove(name);
    found.with_context(|| format!("no tensor `{name}`"))
}

/// The bytes of a predictor's file: `parts` by the name of the network's tensor after [`BASE`] or
/// [`DIRECTIONS`], the latter (directions, ...), and what the file says of itself. Fails on values that are not
/// finite.
pub fn to_bytes(
    places: &Places,
    parts: BTreeMap<String, Tensor>,
    mut about: BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut tensors = BTreeMap::new();
    for (name, mut tensor) in parts {
        if let Some(network) = name.strip_prefix(DIRECTIONS) {
            let units = round(&mut tensor, &name)?;
            tensors.insert(format!("{UNITS}{network}"), units);
        }
        tensors.insert(name, tensor);
    }
    let rows = Tensor {
        shape: vec![places.rows.len(), NUMBERS],
        data: places.rows.concat(),
    };
    let middle = Tensor {
        shape: vec![NUMBERS],
        data: places.middle.to_vec(),
    };
    tensors.extend([(ROWS.to_string(), rows), (MIDDLE.to_string(), middle)]);
    about.insert("format".to_string(), FORMAT.to_string());
    tensors::to_bytes(&tensors, &about, |name| {
        match (name.starts_with(DIRECTIONS), name.starts_with(UNITS)) {
            (true, _) => Precision::I8,
            (_, true) => Precision::F32, // may be smaller than f16 tells apart
            _ => Precision::F16,
        }
    })
}

/// Makes whole numbers up to [`MOST`] of each direction, and gives what 1 stands for along it.
fn round(directions: &mut Tensor, name: &str) -> Result<Tensor> {
    let count = directions.shape.first().copied().unwrap_or(0);
    let length = directions.data.len() / count.max(1);
    let mut units = Vec::with_capacity(count);
    for direction in directions.data.chunks_mut(length.max(1)) {
        ensure!(
            direction.iter().all(|value| value.is_finite()),
            "`{name}` holds values that are not finite: its training went wrong"
        );
        let most = direction.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let unit = most / MOST;
        for value in direction.iter_mut() {
            *value = if unit > 0.0 {
                (*value / unit).round()
            } else {
                0.0
            };
        }
        units.push(unit);
    }
    Ok(Tensor {
        shape: vec![units.len()],
        data: units,
    })
}
