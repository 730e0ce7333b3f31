//! The reference engine: the network evaluated layer by layer with the operators of `ops`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Backend, Device, ensure_fits, idle_gpu};
use crate::frame::{Carried, Frame};
use crate::model::Model;
use crate::network::{CARRIED, Network};
use crate::ops;

/// The network on candle, on the CPU or a CUDA device.
pub struct Candle {
    device: candle_core::Device,
    /// Everything runs in this pool, which bounds the CPU threads.
    pool: ThreadPool,
    loaded: Option<Loaded>,
    planes: Vec<f32>,
}

struct Loaded {
    network: Network,
    tensors: BTreeMap<String, Tensor>,
}

impl Candle {
    /// Opens the device; see [`super::open`]. The engine has a thread pool of its own.
    pub fn new(device: Device, threads: Option<usize>) -> Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|index| format!("candle-{index}"))
            .build()
            .context("could not start the threads of the engine")?;
        Ok(Self {
            device: open(device, &mut |_| ())?,
            pool,
            loaded: None,
            planes: Vec::new(),
        })
    }

    /// Paints `planes` (3 x height x width, 0..255) with the loaded model: the same shape, neither
    /// clamped nor rounded. `carried` ([`CARRIED`] x height x width) is what a model with memory sees
    /// of its last painting.
    pub fn paint(
        &self,
        planes: &[f32],
        carried: Option<&[f32]>,
        width: usize,
        height: usize,
    ) -> Result<Vec<f32>> {
        let loaded = self.loaded.as_ref().context("no model is loaded")?;
        ensure!(
            width > 0 && height > 0,
            "a picture of {width}x{height} has no pixels"
        );
        ensure!(
            planes.len() == 3 * width * height,
            "{} values for a picture of {width}x{height}, expected 3 for each pixel",
            planes.len()
        );
        self.pool.install(|| {
            let (columns, rows) = (Network::padded(width), Network::padded(height));
            let padded = |planes: &[f32], channels: usize| {
                let mut values = vec![0.0; channels * columns * rows];
                let (from, to) = (planes.chunks_exact(width), values.chunks_exact_mut(columns));
                copy_mirrored(from, to, height, rows);
                Tensor::from_vec(values, (1, channels, rows, columns), &self.device)
            };
            let x = padded(planes, loaded.network.input_channels)?;
            let carried = carried.map(|carried| padded(carried, CARRIED));
            let carried = carried.transpose()?;
            let y = ops::transformer(&loaded.network, &loaded.tensors, &x, carried.as_ref())?;
            let y = y.narrow(2, 0, height)?.narrow(3, 0, width)?;
            Ok(y.flatten_all()?.to_vec1()?)
        })
    }
}

impl Backend for Candle {
    fn name(&self) -> &str {
        if self.device.is_cpu() {
            "candle-cpu"
        } else {
            "candle-cuda"
        }
    }

    fn device(&self) -> Device {
        match self.device.is_cpu() {
            true => Device::Cpu,
            false => Device::Cuda,
        }
    }

    fn load(&mut self, model: &Model) -> Result<()> {
        let tensors = model
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let values =
                    Tensor::from_slice(&tensor.data, tensor.shape.as_slice(), &self.device)
                        .with_context(|| format!("could not load the tensor `{name}`"))?;
                Ok((name.clone(), values))
            })
            .collect::<Result<_>>()?;
        self.loaded = Some(Loaded {
            network: model.network,
            tensors,
        });
        Ok(())
    }

    fn has_memory(&self) -> bool {
        self.loaded
            .as_ref()
            .is_some_and(|loaded| loaded.network.memory)
    }

    fn stylize_after(
        &mut self,
        last: Option<&Carried>,
        input: &Frame,
        output: &mut Frame,
    ) -> Result<()> {
        ensure_fits(input, last)?;
        let mut planes = std::mem::take(&mut self.planes);
        planes.resize(3 * input.width * input.height, 0.0);
        input.to_planes(&mut planes);
        let carried = last.filter(|_| self.has_memory()).map(Carried::to_planes);
        let painted = self.paint(&planes, carried.as_deref(), input.width, input.height)?;
        self.planes = planes;
        output.shape_like(input);
        output.set_from_planes(&painted);
        Ok(())
    }
}

/// Opens the device as candle knows it; [`Device::Auto`] falls back to the CPU. `remark` is told what
/// becomes of an NVIDIA GPU, where there is one.
pub fn open(device: Device, remark: &mut dyn FnMut(String)) -> Result<candle_core::Device> {
    if device == Device::Cpu {
        return Ok(candle_core::Device::Cpu);
    }
    match open_cuda() {
        Ok((opened, card)) => {
            remark(format!("computing on the {card}"));
            Ok(opened)
        }
        Err(error) if device == Device::Cuda => Err(error),
        Err(error) => {
            idle_gpu(&error).into_iter().for_each(remark);
            Ok(candle_core::Device::Cpu)
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda() -> Result<(candle_core::Device, String)> {
    ops::cuda::open().map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().next().unwrap_or_default();
        anyhow::anyhow!(
            "could not open the NVIDIA GPU ({reason}): check `nvidia-smi` or use --device cpu"
        )
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> Result<(candle_core::Device, String)> {
    anyhow::bail!("{}", super::NO_CUDA)
}

/// Whether `error` says that the GPU's memory is full.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    format!("{error:?}").contains("CUDA_ERROR_OUT_OF_MEMORY")
}

/// Copies planes of `height` lines into planes of `rows` line by line, continued to the right and below
/// by their mirror image. Planes that `from` lacks stay as they are.
fn copy_mirrored<'a>(
    from: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'a mut [f32]>,
    height: usize,
    rows: usize,
) {
    let from: Vec<&[f32]> = from.collect();
    for (line, to) in to.take(from.len() / height * rows).enumerate() {
        let (plane, row) = (line / rows, line % rows);
        let from = from[plane * height + mirrored(row, height)];
        let width = from.len();
        to[..width].copy_from_slice(from);
        for (x, to) in to.iter_mut().enumerate().skip(width) {
            *to = from[mirrored(x, width)];
        }
    }
}

/// The place in `0..size` that `position` shows in a row mirrored at its ends again and again.
fn mirrored(position: usize, size: usize) -> usize {
    if size == 1 {
        return 0;
    }
    let period = 2 * (size - 1);
    let position = position % period;
    position.min(period - position)
}
