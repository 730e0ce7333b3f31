//! Candle's tensors and the kernels of `kernels.cu`.
//!
//! Everything runs on the one stream of the tensors' device, in the order of the calls: memory that
//! was given back may be used again at once.

mod losses;
mod optimizer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST_SHARED;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp3, Device, Layout, Result, Shape,
    Storage, Tensor, bail,
};

use super::launches::{self, Arguments, Convolution, Launch};
use crate::kernels::Geometry;
use crate::network::NORM_EPSILON;
use crate::ops::warp::Field;

pub use losses::{gram, mean_square};
pub use optimizer::{Optimized, adam, squares};

/// `kernels.cu`, compiled by `build.rs`.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/training.fatbin"));

// SAFETY: plain integers and floats in the layout of C, which `Layer` in kernels.cu repeats.
unsafe impl DeviceRepr for Arguments {}

/// Opens the first card and loads the kernels; says its name, too.
pub fn open() -> Result<(Device, String)> {
    #[cfg(target_os = "linux")]
    crate::nvidia::load_toolkit().map_err(|error| candle_core::Error::msg(format!("{error:#}")))?;
    let device = CudaDevice::new_with_stream(0)?;
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(true); // tf32, as the kernels here
    // SAFETY: all work on the device's tensors is on its one stream, so nothing has to wait for
    // another one. Events for every tensor would cost as much time as small kernels.
    unsafe { device.disable_event_tracking() };
    Kernels::of(&device)?;
    let name = device.cuda_stream().context().name();
    Ok((
        Device::Cuda(device),
        name.map_err(candle_core::Error::wrap)?,
    ))
}

/// The kernels on the GPU; those that were used, by name.
struct Kernels {
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
}

impl Kernels {
    /// The kernels on the card of `device`, loaded once: a program has one card.
    fn of(device: &CudaDevice) -> Result<&'static Self> {
        static LOADED: OnceLock<Kernels> = OnceLock::new();
        if let Some(kernels) = LOADED.get() {
            return Ok(kernels);
        }
        let stream = device.cuda_stream();
        let module = stream
            .context()
            .load_module(Ptx::from_binary(KERNELS.to_vec()));
        let module = module.map_err(candle_core::Error::wrap)?;
        let functions = Mutex::default();
        Ok(LOADED.get_or_init(|| Self { module, functions }))
    }

    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&launch.kernel) {
            return Ok(function.clone());
        }
        let found = self.module.load_function(&launch.kernel);
        let function = found.map_err(candle_core::Error::wrap)?;
        let allowed = function.set_attribute(MOST_SHARED, launch.shared as i32);
        allowed.map_err(candle_core::Error::wrap)?;
        functions.insert(launch.kernel.clone(), function.clone());
        Ok(function)
    }
}

/// Runs kernels, one after the other.
fn run(device: &CudaDevice, launches: &[Launch]) -> Result<()> {
    let kernels = Kernels::of(device)?;
    let stream = device.cuda_stream();
    for launch in launches {
        let function = kernels.function(launch)?;
        let [x, y, z] = launch.grid;
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared,
        };
        let start = 0u64; // places are addresses
        let mut builder = stream.launch_builder(&function);
        builder.arg(&start).arg(&launch.arguments);
        // SAFETY: the kernels take these two arguments; the places are those of tensors of the sizes
        // that the launch was made for, and the emulator in tests/ops_cuda.rs watches that kernels
        // stay within them.
        unsafe { builder.launch(config) }.map_err(candle_core::Error::wrap)?;
    }
    Ok(())
}

/// Memory for `count` values, which may hold anything.
fn empty(device: &CudaDevice, count: usize) -> Result<CudaSlice<f32>> {
    if i32::try_from(count).is_err() {
        bail!("{count} values are too many for an operator on the GPU");
    }
    // SAFETY: every operator writes all of its output before anything reads it.
    unsafe { device.alloc::<f32>(count) }
}

/// Memory for the parts of a result of `count` values, where there are several.
fn parts(device: &CudaDevice, parts: usize, count: usize) -> Result<Option<CudaSlice<f32>>> {
    match parts {
        1 => Ok(None),
        parts => empty(device, parts * count).map(Some),
    }
}

fn place<T: DeviceRepr>(slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(slice.stream()).0
}

/// Where the values of a contiguous tensor lie, as a custom operator gets it.
fn place_of(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    match layout.contiguous_offsets() {
        Some((from, _)) => Ok(place(storage.as_cuda_slice::<f32>()?) + 4 * from as u64),
        None => bail!("an operator got a tensor that is not contiguous"),
    }
}

/// Where the values of a contiguous tensor lie.
fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => place_of(storage, layout),
        _ => bail!("an operator for the GPU got a tensor of another device"),
    }
}

fn device_of(tensor: &Tensor) -> Result<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device),
        _ => bail!("an operator for the GPU got a tensor of another device"),
    }
}

/// A tensor of these values, without a graph.
fn tensor(values: CudaSlice<f32>, device: &CudaDevice, shape: impl Into<Shape>) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

fn no_cpu<T>() -> Result<T> {
    bail!("an operator for the GPU got a tensor of the CPU")
}

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
