//! The reference engine: the network evaluated layer by layer with the operators of `ops`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Backend, Device};
use crate::frame::Frame;
use crate::model::Model;
use crate::network::Network;
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
            device: open(device)?,
            pool,
            loaded: None,
            planes: Vec::new(),
        })
    }

    /// Paints `planes` (3 x height x width, 0..255) with the loaded model: the same shape, neither
    /// clamped nor rounded.
    pub fn paint(&self, planes: &[f32], width: usize, height: usize) -> Result<Vec<f32>> {
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
            let inputs = loaded.network.input_channels;
            let mut values = vec![0.0; inputs * columns * rows];
            let (from, to) = (planes.chunks_exact(width), values.chunks_exact_mut(columns));
            copy_mirrored(from, to, width, height, rows);
            let x = Tensor::from_vec(values, (1, inputs, rows, columns), &self.device)?;
            let y = ops::transformer(&loaded.network, &loaded.tensors, &x)?;
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

    fn stylize(&mut self, input: &Frame, output: &mut Frame) -> Result<()> {
        let mut planes = std::mem::take(&mut self.planes);
        planes.resize(3 * input.width * input.height, 0.0);
        input.to_planes(&mut planes);
        let painted = self.paint(&planes, input.width, input.height)?;
        self.planes = planes;
        output.shape_like(input);
        output.set_from_planes(&painted);
        Ok(())
    }
}

/// Opens the device as candle knows it; [`Device::Auto`] falls back to the CPU.
pub fn open(device: Device) -> Result<candle_core::Device> {
    let cuda = || {
        if cfg!(feature = "cuda") {
            candle_core::Device::new_cuda(0).map_err(|error| {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default();
                anyhow!("could not open the NVIDIA GPU ({reason}): check `nvidia-smi` or use --device cpu")
            })
        } else {
            Err(anyhow!(
                "this program was built without CUDA: build with `--features cuda` or use --device cpu"
            ))
        }
    };
    match device {
        Device::Cpu => Ok(candle_core::Device::Cpu),
        Device::Cuda => cuda(),
        Device::Auto => Ok(cuda().unwrap_or(candle_core::Device::Cpu)),
    }
}

/// Copies three planes line by line, continued to the right and below by their mirror image.
fn copy_mirrored<'a>(
    from: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'a mut [f32]>,
    width: usize,
    height: usize,
    rows: usize,
) {
    let from: Vec<&[f32]> = from.collect();
    for (line, to) in to.take(3 * rows).enumerate() {
        let (plane, row) = (line / rows, line % rows);
        let from = from[plane * height + mirrored(row, height)];
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
