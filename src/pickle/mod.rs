//! Reads the tensors of a PyTorch file, in both formats of `torch.save`, without PyTorch.
//!
//! The zip format (since 1.6) has `data.pkl` and one entry for each storage; the legacy format is
//! five pickles in a row and then the storages. Nothing in the file is executed, and nothing that
//! it says of sizes is believed before the bytes are there.

mod machine;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use zip::ZipArchive;

use crate::tensors::Tensor;
use machine::{Graph, Id, Node};

/// Longest pickle read, in bytes; that of a network with a thousand tensors has 150 kB.
const MAX_PICKLE: u64 = 16 << 20;

/// Values that may be read beyond one for each byte of the file: an honest file holds at least
/// two bytes for each, small ones with shared storages less.
const SPARE_VALUES: u64 = 1 << 20;

/// Longest name of a tensor accepted, in bytes.
const MAX_NAME: usize = 256;

/// First number of a legacy file, little-endian (`torch.serialization.MAGIC_NUMBER`).
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The floating-point tensors of a state dict by name; see [`read_tensors_named`].
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    read_tensors_named(path, |_| true)
}

/// The floating-point tensors of a state dict whose names are `wanted`; the values of others are
/// not read. A state dict inside a checkpoint (`state_dict`, `model_state_dict` or `model`) is
/// found, and `module.` before every name is dropped.
pub fn read_tensors_named(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Tensor>> {
    let what = || format!("could not read PyTorch file `{}`", path.display());
    ensure!(!path.is_dir(), "{}: it is a folder", what());
    let file = File::open(path).with_context(what)?;
    read(file, &wanted).with_context(what)
}

fn read(mut file: File, wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
    let found = file.metadata()?;
    ensure!(found.is_file(), "it is not a file of bytes");
    let mut start = Vec::new();
    (&file).take(MAX_PICKLE).read_to_end(&mut start)?;
    file.rewind()?;
    let (mut storages, graph, root) = match start.as_slice() {
        [b'P', b'K', 3, 4, ..] => Storages::open_zip(file)?,
        [0x80, ..] => Storages::open_legacy(file, &start)?,
        _ => bail!("it was not made by torch.save"),
    };
    let entries = state_dict(&graph, root)?;
    let names = entries.iter().filter_map(|(name, _)| graph.text(*name));
    let module = names.clone().all(|name| name.starts_with("module."));
    let mut budget = found.len() + SPARE_VALUES;
    let mut tensors = BTreeMap::new();
    for (name, value) in entries {
        let Some(name) = graph.text(*name) else {
            continue;
        };
        let plain = name.len() <= MAX_NAME && !name.contains(char::is_control);
        ensure!(plain, "the name of a tensor is not plain text");
        let name = name
            .strip_prefix("module.")
            .filter(|_| module)
            .unwrap_or(name);
        if let Node::Tensor { .. } = graph.get(*value)
            && wanted(name)
            && let Some(tensor) = read_tensor(&graph, *value, &mut storages, &mut budget)
                .with_context(|| format!("tensor `{name}`"))?
        {
            tensors.insert(name.to_string(), tensor);
        }
    }
    Ok(tensors)
}

/// The entries of the dict that holds tensors: the root, or one that a checkpoint wraps.
fn state_dict(graph: &Graph, root: Id) -> Result<&[(Id, Id)]> {
    let dict = |id| match graph.get(id) {
        Node::Dict(entries) => Some(entries.as_slice()),
        _ => None,
    };
    let has_tensor = |entries: &[(Id, Id)]| {
        entries
            .iter()
            .any(|(_, value)| matches!(graph.get(*value), Node::Tensor { .. }))
    };
    let Some(entries) = dict(root) else {
        let class = match graph.get(root) {
            Node::Object(class) => graph.get(*class),
            _ => &Node::None,
        };
        match class {
            Node::Global(class) => bail!(
                "it holds a whole {class:?} object: save its `state_dict()` with PyTorch instead"
            ),
            _ => bail!("it holds no dict of tensors"),
        }
    };
    let wrapped = || {
        let named = |(name, _): &&(Id, Id)| {
            let name = graph.text(*name);
            matches!(name, Some("state_dict" | "model_state_dict" | "model"))
        };
        entries
            .iter()
            .filter(named)
            .find_map(|(_, value)| dict(*value))
    };
    Some(entries)
        .filter(|entries| has_tensor(entries))
        .or_else(|| wrapped().filter(|entries| has_tensor(entries)))
        .context("it holds no dict of tensors")
}

/// Reads one tensor; `None` when its values are integers. Takes what it needs from `budget`.
fn read_tensor(
    graph: &Graph,
    tensor: Id,
    storages: &mut Storages,
    budget: &mut u64,
) -> Result<Option<Tensor>> {
    let Node::Tensor {
        storage,
        offset,
        shape,
        strides,
    } = graph.get(tensor)
    else {
        bail!("no tensor")
    };
    let Node::Persistent(storage) = graph.get(*storage) else {
        bail!("its storage is not in the file")
    };
    let storage = Storage::parse(graph, *storage)?;
    let (shape, strides) = (graph.sizes(*shape)?, graph.sizes(*strides)?);
    ensure!(
        shape.len() == strides.len() && shape.len() <= 8,
        "shape {shape:?} with strides {strides:?}"
    );
    let too_large = || format!("shape {shape:?} is too large for the file");
    let product = |count: usize, &size: &usize| count.checked_mul(size);
    let count = shape.iter().try_fold(1, product).with_context(too_large)?;
    if count == 0 {
        let data = Vec::new();
        return Ok(Some(Tensor { shape, data }));
    }
    // Values from the first to the last that the strides reach.
    let reach = |sum: usize, (&size, &stride): (&usize, &usize)| {
        sum.checked_add((size - 1).checked_mul(stride)?)
    };
    let mut dimensions = shape.iter().zip(&strides);
    let extent = dimensions.try_fold(1, reach).with_context(too_large)?;
    let start = graph.size(*offset)?.checked_add(storage.view);
    let end = start.and_then(|start| start.checked_add(extent));
    ensure!(
        end.is_some_and(|end| end <= storage.count),
        "shape {shape:?} reaches beyond its storage of {} values",
        storage.count
    );
    *budget = budget
        .checked_sub(count.max(extent) as u64)
        .with_context(too_large)?;
    let start = start.context("no offset")?;
    let bytes = storages.read(&storage, start, extent)?;
    let Some(values) = storage.kind.decode(&bytes) else {
        return Ok(None);
    };
    let data = match extent == count && is_row_major(&shape, &strides) {
        true => values,
        false => gather(&values, &shape, &strides, count),
    };
    Ok(Some(Tensor { shape, data }))
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}

/// The values in row-major order.
fn gather(values: &[f32], shape: &[usize], strides: &[usize], count: usize) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let mut place = 0;
    let mut data = Vec::with_capacity(count);
    for _ in 0..count {
        data.push(values[place]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            place -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    data
}

/// Type of the values in a storage.
#[derive(Clone, Copy)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    /// Not floating point; of so many bytes.
    Other(usize),
}

impl Kind {
    /// The type behind a storage class such as `torch.FloatStorage`.
    fn of_class(class: &str) -> Result<Self> {
        let name = class.rsplit('.').next().unwrap_or_default();
        Ok(match name.strip_suffix("Storage").unwrap_or_default() {
            "Half" => Self::F16,
            "BFloat16" => Self::Bf16,
            "Float" => Self::F32,
            "Double" => Self::F64,
            "Bool" | "Byte" | "Char" | "QInt8" | "QUInt8" => Self::Other(1),
            "Short" => Self::Other(2),
            "Int" | "QInt32" => Self::Other(4),
            "Long" | "ComplexFloat" => Self::Other(8),
            "ComplexDouble" => Self::Other(16),
            _ => bail!("unknown storage class {class:?}"),
        })
    }

    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(size) => size,
        }
    }

    fn decode(self, bytes: &[u8]) -> Option<Vec<f32>> {
        fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
            Some(bytes.as_chunks().0.iter().map(|&b| value(b)).collect())
        }
        match self {
            Self::F16 => map(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => map(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => map(bytes, f32::from_le_bytes),
            Self::F64 => map(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::Other(_) => None,
        }
    }
}

/// What a tensor says of its storage.
struct Storage {
    key: String,
    kind: Kind,
    /// Values in the storage.
    count: usize,
    /// Where the tensor's part begins: old files hold storages that are views of others.
    view: usize,
}

impl Storage {
    /// Reads the tuple `("storage", class, key, device, count[, None or (key, view, count)])`.
    fn parse(graph: &Graph, id: Id) -> Result<Self> {
        let Node::Sequence(items) = graph.get(id) else {
            bail!("a storage without a description")
        };
        let [_, class, key, _, count, rest @ ..] = items.as_slice() else {
            bail!("a storage without a description")
        };
        let (Node::Global(class), Some(key)) = (graph.get(*class), graph.text(*key)) else {
            bail!("a storage without a class or key")
        };
        let view = match rest.first().map(|&id| graph.get(id)) {
            Some(Node::Sequence(view)) if view.len() == 3 => graph.size(view[1])?,
            _ => 0,
        };
        Ok(Self {
            key: key.to_string(),
            kind: Kind::of_class(class)?,
            count: graph.size(*count)?,
            view,
        })
    }
}

/// The bytes of the storages.
enum Storages {
    Zip {
        archive: ZipArchive<File>,
        /// Path of the storages' entries before their keys.
        prefix: String,
    },
    Legacy {
        file: File,
        /// Where each storage begins in the file, by key.
        places: HashMap<String, u64>,
    },
}

impl Storages {
    fn open_zip(file: File) -> Result<(Self, Graph, Id)> {
        let mut archive = ZipArchive::new(file).context("damaged zip archive")?;
        let mut names = archive.file_names_raw();
        let folder = names
            .find_map(|name| std::str::from_utf8(name).ok()?.strip_suffix("data.pkl"))
            .context("a zip archive that torch.save did not make")?
            .to_string();
        drop(names);
        if let Ok(order) = archive.by_name(&format!("{folder}byteorder")) {
            let mut text = String::new();
            order.take(16).read_to_string(&mut text)?;
            ensure!(text.trim() != "big", "its values are big-endian");
        }
        let mut pickle = Vec::new();
        let entry = archive.by_name(&format!("{folder}data.pkl"))?;
        entry.take(MAX_PICKLE).read_to_end(&mut pickle)?;
        let (graph, root) = machine::read(&mut pickle.as_slice()).context("data.pkl")?;
        let prefix = format!("{folder}data/");
        Ok((Self::Zip { archive, prefix }, graph, root))
    }

    /// `start` holds the first [`MAX_PICKLE`] bytes of the file, and with them the pickles.
    fn open_legacy(mut file: File, start: &[u8]) -> Result<(Self, Graph, Id)> {
        let mut rest = start;
        let (graph, magic) = machine::read(&mut rest).context("magic number")?;
        let magic = matches!(graph.get(magic), Node::Long(bytes) if bytes == MAGIC);
        ensure!(magic, "it was not made by torch.save");
        let (graph, protocol) = machine::read(&mut rest).context("protocol number")?;
        let protocol = graph.size(protocol)?;
        ensure!(protocol == 1001, "its protocol is {protocol}, not 1001");
        let (graph, system) = machine::read(&mut rest).context("system")?;
        if let Node::Dict(entries) = graph.get(system) {
            let big = entries.iter().any(|(name, value)| {
                graph.text(*name) == Some("little_endian")
                    && matches!(graph.get(*value), Node::Bool(false))
            });
            ensure!(!big, "its values are big-endian");
        }
        let (graph, root) = machine::read(&mut rest).context("state dict")?;
        let (keys, list) = machine::read(&mut rest).context("list of storages")?;
        let mut known = HashMap::new();
        for id in graph.persistent() {
            let storage = Storage::parse(&graph, id)?;
            known.insert(storage.key.clone(), storage);
        }
        let Node::Sequence(list) = keys.get(list) else {
            bail!("no list of storages")
        };
        let size = file.metadata()?.len();
        let mut place = (start.len() - rest.len()) as u64;
        let mut places = HashMap::new();
        for key in list {
            let storage = keys.text(*key).and_then(|key| known.get(key));
            let storage = storage.context("a storage that no tensor uses")?;
            let mut count = [0; 8];
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut count)
                .map_err(|_| anyhow!("truncated: get it anew"))?;
            ensure!(
                u64::from_le_bytes(count) == storage.count as u64,
                "a storage of {} values, expected {}",
                u64::from_le_bytes(count),
                storage.count
            );
            places.insert(storage.key.clone(), place + 8);
            place = storage
                .count
                .checked_mul(storage.kind.size())
                .and_then(|bytes| place.checked_add(8)?.checked_add(bytes as u64))
                .filter(|&place| place <= size)
                .context("truncated: get it anew")?;
        }
        Ok((Self::Legacy { file, places }, graph, root))
    }

    /// The bytes of `count` values from `start` on, both inside the storage.
    fn read(&mut self, storage: &Storage, start: usize, count: usize) -> Result<Vec<u8>> {
        let size = storage.kind.size();
        let end = (start + count).checked_mul(size).context("no such size")?;
        let (skip, wanted) = ((start * size) as u64, (end - start * size) as u64);
        let mut bytes = Vec::new();
        match self {
            Self::Zip { archive, prefix } => {
                let name = format!("{prefix}{}", storage.key);
                let mut entry = archive
                    .by_name(&name)
                    .with_context(|| format!("storage {:?}", storage.key))?;
                std::io::copy(&mut entry.by_ref().take(skip), &mut std::io::sink())?;
                entry.by_ref().take(wanted).read_to_end(&mut bytes)?;
                // The checksum is compared at the end of the entry.
                std::io::copy(&mut entry, &mut std::io::sink())?;
            }
            Self::Legacy { file, places } => {
                let place = places.get(&storage.key).context("its storage is missing")?;
                file.seek(SeekFrom::Start(place + skip))?;
                file.take(wanted).read_to_end(&mut bytes)?;
            }
        }
        ensure!(bytes.len() as u64 == wanted, "truncated: get it anew");
        Ok(bytes)
    }
}
