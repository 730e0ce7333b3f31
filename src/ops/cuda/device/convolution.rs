//! Convolutions on the GPU, and their gradients.

use std::sync::{Arc, OnceLock};

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use super::{address, device_of, empty, no_cpu, parts, place, place_of, run, tensor};
use crate::kernels::Geometry;
use crate::ops::cuda::launches::{self, Convolution};

/// A kernel packed for the convolution, and turned for its gradient, when it is first needed.
#[derive(Default)]
pub struct Packed {
    forward: OnceLock<CudaSlice<f32>>,
    turned: OnceLock<CudaSlice<f32>>,
}

impl Packed {
    /// Where `kernel`, packed, lies.
    fn place(
        &self,
        device: &CudaDevice,
        plan: &Convolution,
        turned: bool,
        kernel: u64,
    ) -> Result<u64> {
        let cell = if turned { &self.turned } else { &self.forward };
        if let Some(packed) = cell.get() {
            return Ok(place(packed));
        }
        let packed = empty(device, plan.packed(turned))?;
        run(device, &[plan.pack(turned, kernel, place(&packed))])?;
        Ok(place(cell.get_or_init(|| packed)))
    }
}

/// See [`crate::ops::conv2d`]; the kernel is packed into `packed`, or lies there from before.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    geometry: Geometry,
    relu: bool,
    packed: Arc<Packed>,
) -> Result<Tensor> {
    if !Convolution::is_known(&geometry) {
        bail!(
            "no operator on the GPU for a kernel of {0}x{0} with a stride of {1}",
            geometry.kernel,
            geometry.stride
        );
    }
    let plan = Convolution {
        batch: x.dim(0)?,
        geometry,
        outputs: weight.dim(0)?,
        relu,
    };
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    x.contiguous()?
        .apply_op3(&weight, &bias, Conv { plan, packed })
}

struct Conv {
    plan: Convolution,
    packed: Arc<Packed>,
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
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
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let device = &x.device;
        let kernel = place_of(weight, weight_layout)?;
        let packed = self.packed.place(device, &self.plan, false, kernel)?;
        let shape = Shape::from(self.plan.output());
        let y = empty(device, shape.elem_count())?;
        let sums = parts(device, self.plan.parts(false), shape.elem_count())?;
        let [x, bias] = [place_of(x, x_layout)?, place_of(bias, bias_layout)?];
        let sums_at = sums.as_ref().map_or(0, place);
        run(
            device,
            &self.plan.forward(x, packed, bias, sums_at, place(&y)),
        )?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (device, plan) = (device_of(x)?, &self.plan);
        let mut grad = grad.contiguous()?;
        if plan.relu {
            let count = grad.elem_count();
            let masked = empty(device, count)?;
            let launch = launches::mask(count, address(&grad)?, address(y)?, place(&masked));
            run(device, &[launch])?;
            grad = tensor(masked, device, grad.shape());
        }
        let upstream = address(&grad)?;
        let x_grad = match x.track_op() {
            true => {
                let packed = self.packed.place(device, plan, true, address(weight)?)?;
                let gradient = empty(device, x.elem_count())?;
                let count = Shape::from(plan.gradient_shape()).elem_count();
                let padded = match plan.folds() {
                    true => Some(empty(device, count)?),
                    false => None,
                };
                let sums = parts(device, plan.parts(true), count)?;
                let between = [&sums, &padded].map(|memory| memory.as_ref().map_or(0, place));
                let launches = plan.backward(upstream, packed, between, place(&gradient));
                run(device, &launches)?;
                Some(tensor(gradient, device, x.shape()))
            }
            false => None,
        };
        let weight_grad = match weight.track_op() {
            true => {
                let count = weight.elem_count();
                let parts = empty(device, plan.gradient_parts() * count)?;
                let gradient = empty(device, count)?;
                let from = address(x)?;
                let to = [&parts, &gradient].map(place);
                run(device, &plan.kernel_gradient(from, upstream, to[0], to[1]))?;
                Some(tensor(gradient, device, weight.shape()))
            }
            false => None,
        };
        let bias_grad = match bias.track_op() {
            true => {
                let gradient = empty(device, bias.elem_count())?;
                run(device, &[plan.bias_gradient(upstream, place(&gradient))])?;
                Some(tensor(gradient, device, bias.shape()))
            }
            false => None,
        };
        Ok((x_grad, weight_grad, bias_grad))
    }
}
