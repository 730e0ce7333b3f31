//! The storages of a PyTorch file: what kind of values they hold, and where their bytes are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use zip::ZipArchive;

use super::MAX_NAME;
use super::graph::{Graph, Id, Node};
use super::machine;

/// Longest pickle read, in bytes; that of a network with a thousand tensors has 150 kB.
const MAX_PICKLE: u64 = 16 << 20;

/// First number of a legacy file, little-endian (`torch.serialization.MAGIC_NUMBER`).
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Type of the values in a storage.
#[derive(Clone, Copy)]
pub enum Kind {
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

    /// The values of little-endian bytes; none of those that are not floating point.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&b| value(b)).collect()
        }
        match self {
            Self::F16 => map(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => map(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => map(bytes, f32::from_le_bytes),
            Self::F64 => map(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::Other(_) => Vec::new(),
        }
    }
}

/// What a tensor says of its storage.
pub struct Storage {
    key: String,
    /// Type of the values.
    pub kind: Kind,
    /// Values in the storage.
    pub count: usize,
    /// Where the tensor's part begins: old files hold storages that are views of others.
    pub view: usize,
}

impl Storage {
    /// Reads the tuple `("storage", class, key, device, count[, None or (key, view, count)])`.
    pub fn parse(graph: &Graph, id: Id) -> Result<Self> {
        let Node::Sequence(items) = graph.get(id) else {
            bail!("a storage without a description")
        };
        let [_, class, key, _, count, rest @ ..] = items.as_slice() else {
            bail!("a storage without a description")
        };
        let (Node::Global(class), Some(key)) = (graph.get(*class), graph.text(*key)) else {
            bail!("a storage without a class or key")
        };
        ensure!(key.len() <= MAX_NAME, "a storage of too long a name");
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
pub enum Storages {
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
    /// Opens a file of either format, and gives its storages, the graph of its values and the root.
    pub fn open(mut file: File) -> Result<(Self, Graph, Id)> {
        let mut start = Vec::new();
        (&file).take(MAX_PICKLE).read_to_end(&mut start)?;
        file.rewind()?;
        match start.as_slice() {
            [b'P', b'K', 3, 4, ..] => Self::open_zip(file),
            [0x80, ..] => Self::open_legacy(file, &start),
            _ => bail!("it was not made by torch.save"),
        }
    }

    fn open_zip(file: File) -> Result<(Self, Graph, Id)> {
        let mut archive =
            ZipArchive::new(file).context("a cut off or damaged zip archive, get it anew")?;
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
    pub fn read(&mut self, storage: &Storage, start: usize, count: usize) -> Result<Vec<u8>> {
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
