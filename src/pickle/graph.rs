//! The values of a pickle as a graph: nodes in a list, which name each other by their places.

use anyhow::{Context, Result, bail, ensure};

/// Most values in one pickle; a state dict needs about thirty for each tensor.
pub const MAX_NODES: usize = 1 << 20;

/// Place of a node in a [`Graph`].
pub type Id = usize;

/// A value of the pickle.
#[derive(Clone, Debug)]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// An integer that does not, as little-endian bytes.
    Long(Vec<u8>),
    /// Text.
    Text(String),
    /// A tuple, list or set.
    Sequence(Vec<Id>),
    /// A dict or OrderedDict, in order.
    Dict(Vec<(Id, Id)>),
    /// A class or function: `torch.FloatStorage`.
    Global(String),
    /// A persistent identifier: PyTorch's storages.
    Persistent(Id),
    /// A tensor: persistent identifier of its storage, offset, shape and strides in values.
    Tensor {
        /// The storage.
        storage: Id,
        /// Index of the first value in the storage.
        offset: Id,
        /// Sequence of sizes.
        shape: Id,
        /// Sequence of strides.
        strides: Id,
    },
    /// A number with a fraction.
    Float,
    /// What calling the class or function at this place would have given.
    Object(Id),
}

/// The values of one pickle.
#[derive(Debug, Default)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    /// Entries copied from one node to another.
    pub(super) copied: usize,
}

impl Graph {
    /// The value at `id`.
    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The integer at `id`, not negative.
    pub fn size(&self, id: Id) -> Result<usize> {
        match self.get(id) {
            Node::Int(value) => {
                usize::try_from(*value).with_context(|| format!("{value} is no size"))
            }
            _ => bail!("a size that is no integer"),
        }
    }

    /// The integers of the sequence at `id`.
    pub fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let Node::Sequence(items) = self.get(id) else {
            bail!("a shape that is no tuple")
        };
        items.iter().map(|&item| self.size(item)).collect()
    }

    /// The text at `id`, if it is text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values that persistent identifiers name.
    pub fn persistent(&self) -> impl Iterator<Item = Id> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// Puts a value at the end of the list.
    pub fn add(&mut self, node: Node) -> Result<Id> {
        self.nodes.push(node);
        self.ensure_bounded()?;
        Ok(self.nodes.len() - 1)
    }

    /// Refuses graphs that have grown beyond [`MAX_NODES`].
    pub fn ensure_bounded(&self) -> Result<()> {
        ensure!(
            self.nodes.len() + self.copied <= MAX_NODES,
            "more than {MAX_NODES} values: no state dict"
        );
        Ok(())
    }
}
