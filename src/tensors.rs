//! Named tensors as a safetensors file: checked values out of bytes, and bytes out of values.
//!
//! Bytes are not trusted: lengths, offsets, shapes and names are checked before a value is read,
//! and every error is one line. What the tensors mean belongs to `model` and to `train`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use half::f16;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde_json::json;

/// Largest header accepted, in bytes: hundreds of times what the largest network needs.
const MAX_HEADER: u64 = 4 << 20;

/// Largest model file accepted, in bytes: forty times the largest network that is trained.
const MAX_FILE: u64 = 256 << 20;

/// Longest name of a tensor accepted, in bytes.
const MAX_NAME: usize = 256;

/// Values of one tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
}

/// Type of the stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 8-bit integers, for whole numbers from -127 to 127: what they count is said elsewhere.
    I8,
    /// 16-bit floating point: half the size, for distribution.
    F16,
    /// 32-bit floating point.
    F32,
}

/// A safetensors file whose header has been checked; its values are still bytes.
pub struct File<'a> {
    /// The text that the file carries beside its tensors.
    pub metadata: HashMap<String, String>,
    tensors: SafeTensors<'a>,
}

/// The bytes of a file of at most 256 MiB. Counts what is read, since devices have no size.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    ensure!(!found.is_dir(), "it is a folder: name a file in it");
    ensure!(found.is_file(), "it is not a file of bytes");
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE,
        "more than {} MiB is no model of this program",
        MAX_FILE >> 20
    );
    Ok(bytes)
}

/// Whether a file begins as safetensors files do, with the length of a header and a brace.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    match bytes.split_first_chunk() {
        Some((length, [b'{', ..])) => (2..=MAX_HEADER).contains(&u64::from_le_bytes(*length)),
        _ => false,
    }
}

impl<'a> File<'a> {
    /// Checks the header of a file's bytes: that it describes exactly the bytes that follow it, by
    /// names of printable text.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let (length, rest) = bytes
            .split_first_chunk()
            .with_context(|| format!("not a safetensors file (only {} bytes)", bytes.len()))?;
        let length = u64::from_le_bytes(*length);
        ensure!((2..=MAX_HEADER).contains(&length), "not a safetensors file");
        let header = rest.get(..length as usize).with_context(|| {
            let size = bytes.len();
            format!("truncated: a header of {length} bytes in a file of {size}; get it anew")
        })?;
        // The header is checked on its own first: `SafeTensors::deserialize` adds the end of the
        // tensors to the header's length without looking for overflow (safetensors 0.8.0).
        let head: Metadata = serde_json::from_slice(header)
            .map_err(|error| anyhow!("not a safetensors file ({})", printable(&error)))?;
        let (have, need) = (rest.len() - header.len(), head.data_len());
        ensure!(
            have >= need,
            "truncated: {have} of {need} bytes of values; get it anew"
        );
        ensure!(
            have == need,
            "{} bytes too many behind the values: the file is damaged",
            have - need
        );
        for name in head.tensors().keys() {
            ensure!(
                name.len() <= MAX_NAME && !name.contains(char::is_control),
                "the name of a tensor is not plain text: the file is damaged"
            );
        }
        Ok(Self {
            metadata: head.metadata().clone().unwrap_or_default(),
            tensors: SafeTensors::deserialize(bytes)
                .map_err(|error| anyhow!("not a safetensors file ({})", printable(&error)))?,
        })
    }

    /// Name and shape of every tensor.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensors
            .iter()
            .map(|(name, view)| (name.to_string(), view.shape().to_vec()))
            .collect()
    }

    /// Every tensor by name. Fails on values that are not f32 or f16.
    pub fn read(&self) -> Result<BTreeMap<String, Tensor>> {
        self.decode(&[Dtype::F32, Dtype::F16])
    }

    /// As [`File::read`], for files that also hold [`Precision::I8`].
    pub fn read_with_integers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.decode(&[Dtype::F32, Dtype::F16, Dtype::I8])
    }

    fn decode(&self, known: &[Dtype]) -> Result<BTreeMap<String, Tensor>> {
        let known = known.iter().copied();
        self.tensors
            .iter()
            .map(|(name, view)| {
                ensure!(
                    known.clone().any(|known| known == view.dtype()),
                    "`{name}` holds values of type {}, expected F32 or F16",
                    view.dtype()
                );
                Ok((name.to_string(), decode(&view)))
            })
            .collect()
    }
}

/// The bytes of a safetensors file, of tensors in a `precision` by their names. The same tensors and metadata always
/// give the same bytes. Fails on finite values that it cannot hold.
pub fn to_bytes(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
    precision: impl Fn(&str) -> Precision,
) -> Result<Vec<u8>> {
    let mut header = BTreeMap::from([("__metadata__", json!(metadata))]);
    let mut values = Vec::new();
    for (name, tensor) in tensors {
        let (start, precision) = (values.len(), precision(name));
        let dtype = match precision {
            Precision::I8 => Dtype::I8,
            Precision::F16 => Dtype::F16,
            Precision::F32 => Dtype::F32,
        };
        encode(name, &tensor.data, precision, &mut values)?;
        header.insert(
            name,
            json!({
                "dtype": dtype,
                "shape": tensor.shape,
                "data_offsets": [start, values.len()],
            }),
        );
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' '); // the values are aligned
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    bytes.append(&mut values);
    Ok(bytes)
}

fn decode(view: &TensorView) -> Tensor {
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
        _ => bytes
            .iter()
            .map(|&byte| f32::from(byte.cast_signed()))
            .collect(),
    };
    Tensor {
        shape: view.shape().to_vec(),
        data,
    }
}

fn encode(name: &str, data: &[f32], precision: Precision, bytes: &mut Vec<u8>) -> Result<()> {
    match precision {
        Precision::I8 => {
            for &value in data {
                ensure!(
                    value.fract() == 0.0 && value.abs() <= 127.0,
                    "`{name}` holds {value}, which 8 bits cannot: write it as f16"
                );
                bytes.push((value as i8).cast_unsigned());
            }
        }
        Precision::F32 => bytes.extend(data.iter().flat_map(|value| value.to_le_bytes())),
        Precision::F16 => {
            for &value in data {
                let rounded = f16::from_f32(value);
                ensure!(
                    rounded.is_finite() || !value.is_finite(),
                    "`{name}` holds {value}, more than f16 can (65504): write it as f32"
                );
                bytes.extend(rounded.to_le_bytes());
            }
        }
    }
    Ok(())
}

/// An error's text as one short line: headers of hostile files find their way into it.
fn printable(error: &dyn std::error::Error) -> String {
    let text: String = error.to_string().chars().take(160).collect();
    text.replace(char::is_control, " ")
}
