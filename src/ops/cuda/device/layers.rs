//! The layers between convolutions on the GPU, and their gradients; and moved pictures.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::{address, device_of, empty, no_cpu, place, place_of, run, tensor};
use crate::network::NORM_EPSILON;
use crate::ops::cuda::launches;
use crate::ops::warp::Field;

/// See [`crate::ops::instance_norm`].
pub fn instance_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, relu: bool) -> Result<Tensor> {
    let shape = x.dims4()?;
    let (scale, shift) = (scale.contiguous()?, shift.contiguous()?);
    x.contiguous()?
        .apply_op3(&scale, &shift, Norm { shape, relu })
}

struct Norm {
    shape: launches::Shape,
    relu: bool,
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        no_cpu()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        scale: &CudaStorage,
        scale_layout: &Layout,
        shift: &CudaStorage,
        shift_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let device = &x.device;
        let shape = x_layout.shape().clone();
        let y = empty(device, shape.elem_count())?;
        let affine = [
            place_of(scale, scale_layout)?,
            place_of(shift, shift_layout)?,
        ];
        let from = place_of(x, x_layout)?;
        let launch = launches::norm(self.shape, NORM_EPSILON, from, affine, self.relu, place(&y));
        run(device, &[launch])?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _shift: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let device = device_of(x)?;
        let grad = grad.contiguous()?;
        let gate = if self.relu { address(y)? } else { 0 };
        let (batch, channels, ..) = self.shape;
        let gradient = empty(device, x.elem_count())?;
        let sums = empty(device, batch * 2 * channels)?;
        let affine = empty(device, 2 * channels)?;
        let from = [address(x)?, address(&grad)?, gate, address(scale)?];
        let launch = launches::norm_backward(
            self.shape,
            NORM_EPSILON,
            from,
            [place(&gradient), place(&sums)],
        );
        let reduce = launches::reduce(1, place(&sums), batch, 2 * channels, place(&affine));
        run(device, &[launch, reduce])?;
        let affine = tensor(affine, device, (2, channels));
        let (scale_grad, shift_grad) = (affine.get(0)?, affine.get(1)?);
        let gradient = tensor(gradient, device, x.shape());
        Ok((Some(gradient), Some(scale_grad), Some(shift_grad)))
    }
}

/// See [`crate::ops::max_pool2`].
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    let shape = x.dims4()?;
    x.contiguous()?.apply_op1(MaxPool { shape })
}

/// See [`crate::ops::upsample_nearest2`].
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    let shape = x.dims4()?;
    x.contiguous()?.apply_op1(Upsample { shape })
}

/// Shapes are those of the input.
struct MaxPool {
    shape: launches::Shape,
}

struct Upsample {
    shape: launches::Shape,
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_cpu()
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, c, h, w) = self.shape;
        let shape = Shape::from((n, c, h / 2, w / 2));
        let y = empty(&x.device, shape.elem_count())?;
        let launch = launches::pool(self.shape, place_of(x, layout)?, place(&y));
        run(&x.device, &[launch])?;
        Ok((CudaStorage::wrap_cuda_slice(y, x.device.clone()), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let device = device_of(x)?;
        let grad = grad.contiguous()?;
        let gradient = empty(device, x.elem_count())?;
        let places = [address(x)?, address(&grad)?, place(&gradient)];
        let launch = launches::pool_backward(self.shape, places[0], places[1], places[2]);
        run(device, &[launch])?;
        Ok(Some(tensor(gradient, device, x.shape())))
    }
}

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_cpu()
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, c, h, w) = self.shape;
        let shape = Shape::from((n, c, 2 * h, 2 * w));
        let y = empty(&x.device, shape.elem_count())?;
        let launch = launches::enlarge(self.shape, place_of(x, layout)?, place(&y));
        run(&x.device, &[launch])?;
        Ok((CudaStorage::wrap_cuda_slice(y, x.device.clone()), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let device = device_of(x)?;
        let grad = grad.contiguous()?;
        let gradient = empty(device, x.elem_count())?;
        let launch = launches::enlarge_backward(self.shape, address(&grad)?, place(&gradient));
        run(device, &[launch])?;
        Ok(Some(tensor(gradient, device, x.shape())))
    }
}

/// See [`crate::ops::warp`]; the result has no graph.
pub fn warp(x: &Tensor, field: &Field) -> Result<Tensor> {
    let device = device_of(x)?;
    let shape = x.dims4()?;
    let x = x.contiguous()?;
    let field = device.clone_htod(field.places().as_flattened())?;
    let y = empty(device, x.elem_count())?;
    let launch = launches::warp(shape, address(&x)?, place(&field), place(&y));
    run(device, &[launch])?;
    Ok(tensor(y, device, x.shape()))
}
