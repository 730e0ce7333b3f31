//! The kernels of `kernels.cu` that compute layers, and what a block of each takes and gives.

use anyhow::{Context, Result};

use crate::network::Layer;

/// Threads that finish a norm, as in `norm.h`.
pub(super) const NORM_THREADS: u32 = 256;

/// Floats from one pixel's products to the next in the last layer, as in `kernels.cu`.
pub(super) const LAST_PIXEL: usize = 29;

/// Which kernel computes a layer; the sizes of its blocks, as in `kernels.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first layer, from bytes.
    First,
    /// 3x3.
    Plain,
    /// 3x3 with step 2.
    Strided,
    /// Nearest x2, then 3x3: four kernels of 2x2 on the small input.
    Doubling,
    /// The last layer, to bytes.
    Last,
}

impl Kind {
    /// Side of the kernel.
    pub fn side(self) -> usize {
        match self {
            Self::First | Self::Last => 9,
            _ => 3,
        }
    }

    /// Warps of a block.
    pub fn warps(self) -> usize {
        match self {
            Self::First | Self::Last => 8,
            _ => 4,
        }
    }

    /// Rows and columns of the output that a block computes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Last => (self.warps(), 32 - (self.side() - 1)),
            _ => (2 * self.warps(), 16),
        }
    }

    /// Rows and columns of the input that a block reads.
    pub fn tile(self) -> (usize, usize) {
        let (rows, columns) = self.block();
        let step = if self == Self::Strided { 2 } else { 1 };
        let extra = if self == Self::First { 2 } else { 0 };
        let length = |pixels: usize| step * (pixels - 1) + self.side();
        (length(rows), length(columns) + extra)
    }

    /// Convolutions that a block computes one after the other.
    pub fn phases(self) -> usize {
        if self == Self::Doubling { 4 } else { 1 }
    }

    /// The kernel for layer `index` of `count`. Fails for layers that none computes.
    pub fn of(layer: &Layer, index: usize, count: usize) -> Result<Kind> {
        let kind = match (layer.kernel, layer.stride, layer.upsample) {
            (9, 1, 1) if index == 0 => Some(Kind::First),
            (9, 1, 1) if index + 1 == count && layer.outputs == 3 => Some(Kind::Last),
            (3, 1, 1) => Some(Kind::Plain),
            (3, 2, 1) => Some(Kind::Strided),
            (3, 1, 2) => Some(Kind::Doubling),
            _ => None,
        };
        let kind = kind.with_context(|| format!("no CUDA kernel for layer `{}`", layer.name))?;
        layer.ensure_place(index, count)?;
        Ok(kind)
    }
}
