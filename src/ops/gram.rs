//! Gram matrices: which features occur together, wherever they are (Gatys et al. 2016).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::values::{read, tensor_like, values};
use crate::kernels::{DirectKernel, Geometry, Level, Padding, Rows, dots_among};

/// The Gram matrices (N, C, C) of `x` (N, C, H, W), divided by C * H * W (Johnson et al. 2016).
pub fn gram(x: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::gram(x);
    }
    let area = height * width;
    x.contiguous()?.apply_op1(Gram { channels, area })
}

/// The mean of the squares of `x` less `other`, which may be 1 along the first dimension and is then
/// repeated, or of `x` itself. `other` gets no gradient.
pub fn mean_square(x: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
    let other = other.map(Tensor::detach);
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::mean_square(x, other.as_ref());
    }
    match other {
        Some(other) => x.broadcast_sub(&other)?.sqr()?.mean_all(),
        None => x.sqr()?.mean_all(),
    }
}

struct Gram {
    channels: usize,
    area: usize,
}

impl Gram {
    /// One over the number of features of a picture.
    fn share(&self) -> f32 {
        1.0 / (self.channels * self.area) as f32
    }
}

impl CustomOp1 for Gram {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let (n, channels, _, _) = layout.shape().dims4()?;
        let starts: Vec<usize> = (0..channels).map(|channel| channel * self.area).collect();
        let mut matrices = vec![0.0; n * channels * channels];
        let pictures = x.chunks_exact((channels * self.area).max(1));
        for (matrix, picture) in matrices.chunks_exact_mut(channels * channels).zip(pictures) {
            let rows = Rows {
                values: picture,
                starts: &starts,
                batch_pitch: 0,
                pitch: 0,
            };
            dots_among(Level::detected(), &rows, (1, 1, self.area), matrix);
        }
        let share = self.share();
        matrices.iter_mut().for_each(|value| *value *= share);
        Ok((CpuStorage::F32(matrices), (n, channels, channels).into()))
    }

    /// With G = F F^T the gradient of F is (dG + dG^T) F.
    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let both = ((grad + grad.t()?)? * f64::from(self.share()))?;
        let channels = self.channels;
        let pixels = Geometry {
            channels,
            height: 1,
            width: self.area,
            kernel: 1,
            stride: 1,
            padding: Padding::Zero(0),
        };
        let gradient = read(x, |x| {
            read(&both, |both| {
                let kernels: Vec<_> = both
                    .chunks_exact((channels * channels).max(1))
                    .map(|matrix| {
                        DirectKernel::new(Level::detected(), matrix, channels, channels, 1)
                    })
                    .collect();
                Ok(DirectKernel::convolve_each(&kernels, x, &pixels))
            })
        })?;
        Ok(Some(tensor_like(gradient, x)?))
    }
}
