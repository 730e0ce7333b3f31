//! The values of CPU tensors as slices.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// The values of a contiguous CPU tensor, as a custom operator gets it.
pub fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("an operator got a tensor that is not contiguous"),
    }
}

/// Reads the values of a CPU tensor in row-major order.
pub fn read<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(values(storage, layout)?),
        _ => bail!("an operator for the CPU got a tensor of another device"),
    }
}

/// A CPU tensor of the shape of `like`.
pub fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// `value` if `condition`, else 0, without a branch that would keep loops from being vectorised.
#[inline(always)]
pub fn keep_if(condition: bool, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & 0u32.wrapping_sub(u32::from(condition)))
}
