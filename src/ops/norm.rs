//! Instance norm with scale, shift and ReLU in one operator (Ulyanov et al. 2016).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::values::{keep_if, read, tensor_like, values};
use crate::kernels::Level;
use crate::network::NORM_EPSILON;

/// Normalises each channel of each picture of `x` (N, C, H, W) to mean 0 and (biased) variance 1,
/// multiplies by `scale` (C), adds `shift` (C), then applies ReLU if asked.
pub fn instance_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, relu: bool) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    for (what, tensor) in [("scale", scale), ("shift", shift)] {
        if tensor.dims() != [channels] {
            let shape = tensor.dims();
            bail!("{what} of an instance norm has shape {shape:?}, expected [{channels}]");
        }
    }
    if height * width == 0 {
        bail!("instance norm of an empty picture");
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::instance_norm(x, scale, shift, relu);
    }
    let area = height * width;
    x.contiguous()?.apply_op3(
        &scale.contiguous()?,
        &shift.contiguous()?,
        InstanceNorm { area, relu },
    )
}

struct InstanceNorm {
    area: usize,
    relu: bool,
}

/// Mean and inverse standard deviation of a plane.
#[derive(Clone, Copy)]
struct Statistics {
    mean: f32,
    inverse: f32,
}

/// The gradients of one plane's scale and shift.
type Sums = (f64, f64);

impl CustomOp3 for InstanceNorm {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let scale = values(scale, scale_layout)?;
        let shift = values(shift, shift_layout)?;
        let least = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(self.area)
            .zip(x.par_chunks(self.area))
            .enumerate()
            .for_each(|(plane, (y, x))| {
                let channel = plane % scale.len();
                Level::detected().vectorize(
                    #[inline(always)]
                    || {
                        let statistics = statistics(x);
                        let factor = scale[channel] * statistics.inverse;
                        let offset = shift[channel] - statistics.mean * factor;
                        for (y, x) in y.iter_mut().zip(x) {
                            let value = x * factor + offset;
                            *y = if value < least { least } else { value };
                        }
                    },
                );
            });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x_grad, sums) = read(x, |x_values| {
            read(y, |y| {
                read(grad, |grad| {
                    read(scale, |scale| Ok(self.gradients(x_values, y, grad, scale)))
                })
            })
        })?;
        let channels = scale.dim(0)?;
        let total = |pick: fn(&Sums) -> f64| -> Vec<f32> {
            (0..channels)
                .map(|channel| sums.iter().skip(channel).step_by(channels).map(pick).sum())
                .map(|sum: f64| sum as f32)
                .collect()
        };
        Ok((
            Some(tensor_like(x_grad, x)?),
            Some(tensor_like(total(|sums| sums.0), scale)?),
            Some(tensor_like(total(|sums| sums.1), shift)?),
        ))
    }
}

impl InstanceNorm {
    /// The gradient of the input, and the sums of every plane.
    fn gradients(
        &self,
        x: &[f32],
        y: &[f32],
        grad: &[f32],
        scale: &[f32],
    ) -> (Vec<f32>, Vec<Sums>) {
        let area = self.area;
        let mut x_grad = vec![0.0; x.len()];
        let sums = x_grad
            .par_chunks_mut(area)
            .zip(x.par_chunks(area).zip(y.par_chunks(area)))
            .zip(grad.par_chunks(area))
            .enumerate()
            .map(|(plane, ((to, (x, y)), grad))| {
                let scale = scale[plane % scale.len()];
                Level::detected().vectorize(
                    #[inline(always)]
                    || self.plane_gradient(x, y, grad, scale, to),
                )
            })
            .collect();
        (x_grad, sums)
    }

    #[inline(always)]
    fn plane_gradient(
        &self,
        x: &[f32],
        y: &[f32],
        grad: &[f32],
        scale: f32,
        to: &mut [f32],
    ) -> Sums {
        let Statistics { mean, inverse } = statistics(x);
        // Where ReLU was off nothing comes back; without ReLU every value counts.
        let least = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        for ((to, y), grad) in to.iter_mut().zip(y).zip(grad) {
            *to = keep_if(*y > least, *grad);
        }
        let shift_grad = sum(to.iter().copied());
        let scale_grad = sum(to
            .iter()
            .zip(x)
            .map(|(grad, x)| grad * ((x - mean) * inverse)));
        let area = self.area as f64;
        let (mean_grad, mean_product) = ((shift_grad / area) as f32, (scale_grad / area) as f32);
        let factor = scale * inverse;
        for (to, x) in to.iter_mut().zip(x) {
            let normal = (x - mean) * inverse;
            *to = factor * (*to - mean_grad - normal * mean_product);
        }
        (scale_grad, shift_grad)
    }
}

#[inline(always)]
fn statistics(plane: &[f32]) -> Statistics {
    let area = plane.len() as f64;
    let mean = (sum(plane.iter().copied()) / area) as f32;
    let variance = sum(plane.iter().map(|x| (x - mean) * (x - mean))) / area;
    Statistics {
        mean,
        inverse: (1.0 / (variance + f64::from(NORM_EPSILON)).sqrt()) as f32,
    }
}

/// The sum in 32 lanes of single precision, emptied into double precision every 4096 values.
#[inline(always)]
fn sum(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    const LANES: usize = 32;
    let mut values = values;
    let mut total = 0.0;
    while values.len() >= LANES {
        let mut lanes = [0.0f32; LANES];
        for _ in 0..(values.len() / LANES).min(4096 / LANES) {
            for lane in &mut lanes {
                *lane += values.next().unwrap_or_default();
            }
        }
        total += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    total + values.map(f64::from).sum::<f64>()
}
