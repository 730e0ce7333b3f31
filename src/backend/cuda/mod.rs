//! The engine for NVIDIA GPUs: every layer one launch on tensor cores, f16 in memory, f32 in sums.
//!
//! `weights` packs a model for the kernels of `kernels.cu`, whose shapes `kind` knows, `program` lays
//! its launches and their outputs out for a size of frame, `film` has those that steady a film; all are plain data. `device`, `graph` and `bus` alone talk to a GPU, through cudarc, and exist with the
//! feature `cuda`. README.md beside this file says how the layers are computed.

#[cfg(feature = "cuda")]
mod bus;
#[cfg(feature = "cuda")]
mod device;
pub mod film;
#[cfg(feature = "cuda")]
mod graph;
mod kind;
pub mod program;
mod weights;

#[cfg(feature = "cuda")]
pub use device::Cuda;
pub use weights::Weights;

impl Weights {
    /// The packed values: the beginning of every program's arena.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
