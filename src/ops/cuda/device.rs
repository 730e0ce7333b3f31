//! Candle's tensors and the kernels of `kernels.cu`.
//!
//! Everything runs on the one stream of the tensors' device, in the order of the calls: memory that
//! was given back may be used again at once.

mod convolution;
mod layers;
mod losses;
mod optimizer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST_SHARED;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

use super::launches::{Arguments, Launch};

pub use convolution::{Packed, conv2d};
pub use layers::{instance_norm, max_pool2, upsample_nearest2, warp};
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
    let context = Arc::clone(device.cuda_stream().context());
    keep_memory(context.cu_device());
    let device = Device::Cuda(device);
    try_out(&device)?;
    Ok((device, context.name().map_err(candle_core::Error::wrap)?))
}

/// Lets the driver keep memory that a step of a training gives back for the next one. Otherwise it goes
/// back to the card whenever the host waits for a loss. Not timed on a card yet.
fn keep_memory(card: sys::CUdevice) {
    const THRESHOLD: sys::CUmemPool_attribute =
        sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let (mut pool, mut bytes) = (std::ptr::null_mut(), u64::MAX);
    // SAFETY: the card is open; the driver fills in the pool's handle, and reads 8 bytes for this attribute.
    // A card that has no pools, or does not answer, only computes more slowly.
    unsafe {
        if sys::cuDeviceGetDefaultMemPool(&mut pool, card) == sys::CUresult::CUDA_SUCCESS {
            sys::cuMemPoolSetAttribute(pool, THRESHOLD, (&raw mut bytes).cast());
        }
    }
}

/// Runs one of each kind of candle's own kernels that trainings need. They are loaded when they are first
/// used, and a program built for another card, or by a toolkit newer than the driver, has them in vain.
fn try_out(device: &Device) -> Result<()> {
    let tried = || {
        let x = Tensor::from_vec(vec![1.0f32, 2.0], 2, device)?;
        let y = ((&x * 3.0)? + x.sqr()?)?.sum_all()?; // affine, binary, unary, reduce
        Tensor::stack(&[&y, &y], 0)?.to_vec1::<f32>()
    };
    match tried() {
        Ok(found) if found == [14.0, 14.0] => Ok(()),
        Ok(found) => bail!("the GPU computes {found:?} where 14 is right"),
        Err(error) => bail!(
            "candle's kernels do not run on it, {}: update the driver, or build the program with \
             CUDA_COMPUTE_CAP=80",
            error.to_string().lines().next().unwrap_or_default()
        ),
    }
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
