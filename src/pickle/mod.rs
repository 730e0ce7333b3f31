//! Reads the tensors of a PyTorch file, in both formats of `torch.save`, without PyTorch.
//!
//! The zip format (since 1.6) has `data.pkl` and one entry for each storage; the legacy format is
//! five pickles in a row and then the storages. Nothing in the file is executed, and nothing that
//! it says of sizes is believed before the bytes are there.

mod graph;
mod machine;
mod storage;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::tensors::Tensor;
use graph::{Graph, Id, Node};
use storage::{Kind, Storage, Storages};

/// Values that may be read beyond one for each byte of the file: an honest file holds at least
/// two bytes for each, small ones with shared storages less.
const SPARE_VALUES: u64 = 1 << 20;

/// Most values read: forty times those of the largest network that is trained, three times those of VGG19's
/// convolutions.
const MAX_VALUES: u64 = 64 << 20;

/// Longest name of a tensor accepted, in bytes.
const MAX_NAME: usize = 256;

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
    let found = std::fs::metadata(path).with_context(what)?;
    ensure!(!found.is_dir(), "{}: it is a folder", what());
    ensure!(found.is_file(), "{}: it is not a file of bytes", what());
    let file = File::open(path).with_context(what)?;
    read(file, &wanted).with_context(what)
}

fn read(file: File, wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
    let mut budget = (file.metadata()?.len() + SPARE_VALUES).min(MAX_VALUES);
    let (mut storages, graph, root) = Storages::open(file)?;
    let entries: Vec<_> = state_dict(&graph, root)?
        .iter()
        .filter(|(_, value)| matches!(graph.get(*value), Node::Tensor { .. }))
        .filter_map(|(name, value)| Some((graph.text(*name)?, *value)))
        .collect();
    let module = entries.iter().all(|(name, _)| name.starts_with("module."));
    let mut tensors = BTreeMap::new();
    for (name, value) in entries {
        let plain = name.len() <= MAX_NAME && !name.contains(char::is_control);
        ensure!(plain, "the name of a tensor is not plain text");
        let name = name
            .strip_prefix("module.")
            .filter(|_| module)
            .unwrap_or(name);
        if wanted(name)
            && let Some(tensor) = read_tensor(&graph, value, &mut storages, &mut budget)
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
    if let Kind::Other(_) = storage.kind {
        return Ok(None);
    }
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
        .with_context(|| format!("shape {shape:?} is too large for the file or for a network"))?;
    let start = start.context("no offset")?;
    let bytes = storages.read(&storage, start, extent)?;
    let values = storage.kind.decode(&bytes);
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
