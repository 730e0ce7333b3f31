//! Gram matrices and mean squares.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{address, device_of, empty, no_cpu, place, place_of, run, tensor};
use crate::ops::cuda::launches;

/// See [`crate::ops::gram`].
pub fn gram(x: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    let share = 1.0 / (channels * height * width) as f64;
    x.contiguous()?.apply_op1(GramMatrices { share })
}

struct GramMatrices {
    share: f64,
}

impl CustomOp1 for GramMatrices {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_cpu()
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &x.device;
        let shape = layout.shape().dims4()?;
        let (n, c, ..) = shape;
        let plan = launches::Gram::new(shape);
        let parts = empty(device, plan.parts() * c * c)?;
        let sums = empty(device, n * c * c)?;
        let launches = plan.matrices(place_of(x, layout)?, place(&parts), place(&sums));
        run(device, &launches)?;
        let sums = CudaStorage::wrap_cuda_slice(sums, device.clone());
        let shape = Shape::from((n, c, c));
        let layout = Layout::contiguous(&shape);
        Ok((sums.affine(&layout, self.share, 0.0)?, shape))
    }

    /// With G = F F^T the gradient of F is (dG + dG^T) F.
    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let both = ((grad + grad.t()?)? * self.share)?;
        let gradient = both.matmul(&x.flatten_from(2)?.detach())?;
        Ok(Some(gradient.reshape(x.shape())?))
    }
}

/// See [`crate::ops::mean_square`]; `other` has no graph.
pub fn mean_square(x: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
    let other = other.map(Tensor::contiguous).transpose()?;
    x.contiguous()?.apply_op1(MeanSquare { other })
}

struct MeanSquare {
    other: Option<Tensor>,
}

impl MeanSquare {
    /// Where the other values lie, and how many they are.
    fn other(&self) -> Result<(u64, usize)> {
        match &self.other {
            Some(other) => Ok((address(other)?, other.elem_count())),
            None => Ok((0, 1)),
        }
    }
}

impl CustomOp1 for MeanSquare {
    fn name(&self) -> &'static str {
        "mean_square"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_cpu()
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &x.device;
        let count = layout.shape().elem_count();
        let (other, repeated) = self.other()?;
        let sums = empty(device, launches::square_parts(count))?;
        let mean = empty(device, 1)?;
        let from = [place_of(x, layout)?, other];
        let launches = launches::mean_square(count, from, repeated, place(&sums), place(&mean));
        run(device, &launches)?;
        let mean = CudaStorage::wrap_cuda_slice(mean, device.clone());
        Ok((mean, Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let device = device_of(x)?;
        let grad = grad.contiguous()?;
        let (other, repeated) = self.other()?;
        let count = x.elem_count();
        let gradient = empty(device, count)?;
        let launch = launches::mean_square_backward(
            count,
            [address(x)?, other],
            repeated,
            address(&grad)?,
            place(&gradient),
        );
        run(device, &[launch])?;
        Ok(Some(tensor(gradient, device, x.shape())))
    }
}
