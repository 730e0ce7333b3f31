//! Convolution with padding, bias and ReLU in one operator.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::values::{keep_if, read, tensor_like, values};
pub use crate::kernels::Padding;
use crate::kernels::{
    DirectKernel, Epilogue, Geometry, Level, WinogradKernel, kernel_gradient, turn_kernel,
};

/// Channels on both sides from which on a 3x3 convolution with stride 1 goes through Winograd's
/// transforms: with fewer they cost more than the multiplications they save. Only with padding by
/// zeros, as VGG19 and every gradient have it: what goes through an instance norm is computed
/// directly, since rounding in a plain area, where the deviation is 0, would be magnified 316 times
/// (1 / sqrt(eps)).
const WINOGRAD_CHANNELS: usize = 64;

/// The same where a gradient will come back: at 64, VGG19's shallowest layers, the transforms'
/// rounding tips so many ReLUs and maxima that the first gradients of a training move by 1.2e-3 of
/// full scale; from 128 on by less than 3e-4.
const TRACKED_WINOGRAD_CHANNELS: usize = 128;

/// Settings of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Step in both directions, at least 1.
    pub stride: usize,
    /// What lies outside the picture.
    pub padding: Padding,
    /// Whether ReLU comes last.
    pub relu: bool,
}

/// Convolves `x` (N, C, H, W) with `weight` (O, C, K, K), adds `bias` (O) and applies ReLU where
/// `conv` says so. The result is (N, O, (H + 2 pad - K) / stride + 1, ...). Gradients of `weight`
/// and `bias` are computed only where they are tracked. Fails where a size does not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Result<Tensor> {
    convolution(x, weight, bias, conv, None)
}

/// A convolution whose kernel never changes: what is computed from it is computed once.
pub struct FrozenConv {
    weight: Tensor,
    bias: Tensor,
    conv: Conv,
    kernels: Arc<Kernels>,
}

impl FrozenConv {
    /// A convolution with `weight` (O, C, K, K) and `bias` (O), for which no gradients are computed.
    pub fn new(weight: &Tensor, bias: &Tensor, conv: Conv) -> Self {
        Self {
            weight: weight.detach(),
            bias: bias.detach(),
            conv,
            kernels: Arc::default(),
        }
    }

    /// The same convolution with other values outside the picture.
    pub fn with_padding(&self, padding: Padding) -> Self {
        let mut conv = self.conv;
        conv.padding = padding;
        Self::new(&self.weight, &self.bias, conv)
    }

    /// Convolves `x` as [`conv2d`] does.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = Some(&self.bias);
        convolution(x, &self.weight, bias, self.conv, Some(&self.kernels))
    }
}

fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    conv: Conv,
    frozen: Option<&Arc<Kernels>>,
) -> Result<Tensor> {
    let kernels = frozen.cloned().unwrap_or_default();
    let geometry = check(x, weight, bias, conv)?;
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(weight.dim(0)?, x.dtype(), x.device())?,
    };
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let packed = kernels.gpu.clone();
        return cuda::conv2d(x, weight, &bias, geometry, conv.relu, packed);
    }
    let operator = Convolution {
        geometry,
        outputs: weight.dim(0)?,
        relu: conv.relu,
        tracked: [x, weight, &bias].iter().any(|tensor| tensor.track_op()),
        frozen: frozen.is_some(),
        kernels,
    };
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias, operator)
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Result<Geometry> {
    let (_, channels, height, width) = x.dims4()?;
    let (outputs, inputs, kernel, kernel_width) = weight.dims4()?;
    if channels != inputs {
        bail!("convolution over {inputs} channels got {channels}");
    }
    if kernel != kernel_width || kernel == 0 {
        bail!("convolution with a kernel of {kernel}x{kernel_width}, expected a square");
    }
    if let Some(bias) = bias
        && bias.dims() != [outputs]
    {
        bail!("bias has shape {:?}, expected [{outputs}]", bias.dims());
    }
    if conv.stride == 0 {
        bail!("convolution with a stride of 0");
    }
    let pad = conv.padding.size();
    if pad >= kernel {
        bail!("padding of {pad} around a kernel of {kernel}, expected less");
    }
    if matches!(conv.padding, Padding::Reflect(_)) && pad > 0 && pad >= height.min(width) {
        bail!("{width}x{height} is too small to mirror {pad} values around it");
    }
    if (height + 2 * pad).min(width + 2 * pad) < kernel {
        bail!("{width}x{height} with {pad} around it is smaller than the kernel");
    }
    Ok(Geometry {
        channels,
        height,
        width,
        kernel,
        stride: conv.stride,
        padding: conv.padding,
    })
}

struct Convolution {
    geometry: Geometry,
    outputs: usize,
    relu: bool,
    tracked: bool, // whether a gradient will come back
    frozen: bool,  // whether the kernel never changes
    kernels: Arc<Kernels>,
}

/// A kernel as the products want it, made when it is first needed.
#[derive(Default)]
struct Kernels {
    tracked: OnceLock<Kernel>,
    untracked: OnceLock<Kernel>,
    backward: OnceLock<Kernel>, // turned
    #[cfg(feature = "cuda")]
    gpu: Arc<cuda::Packed>,
}

enum Kernel {
    Direct(DirectKernel),
    Winograd(WinogradKernel),
}

impl Kernel {
    /// `least` is the number of channels that Winograd's transforms are for.
    fn new(weight: &[f32], outputs: usize, geometry: &Geometry, least: usize) -> Self {
        let level = Level::detected();
        let channels = geometry.channels;
        let fits = geometry.kernel == 3 && geometry.stride == 1;
        if fits && channels.min(outputs) >= least {
            Self::Winograd(WinogradKernel::new(level, weight, outputs, channels))
        } else {
            let size = geometry.kernel;
            Self::Direct(DirectKernel::new(level, weight, outputs, channels, size))
        }
    }

    /// Convolves `x`, taken as 0 where `gate` is not positive.
    fn convolve(
        &self,
        x: &[f32],
        gate: Option<&[f32]>,
        geometry: &Geometry,
        epilogue: Epilogue,
    ) -> Vec<f32> {
        let (height, width) = (geometry.height, geometry.width);
        match (self, geometry.padding) {
            (Self::Direct(kernel), _) => kernel.convolve(x, gate, geometry, epilogue),
            (Self::Winograd(kernel), Padding::Zero(pad)) => {
                kernel.convolve(x, gate, (height, width), pad, epilogue)
            }
            (Self::Winograd(kernel), Padding::Reflect(pad)) => {
                let padded = |values: &[f32]| geometry.padding.padded(values, height, width);
                let (x, gate) = (padded(x), gate.map(padded));
                let size = (height + 2 * pad, width + 2 * pad);
                kernel.convolve(&x, gate.as_deref(), size, 0, epilogue)
            }
        }
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let epilogue = Epilogue {
            bias: Some(values(bias, bias_layout)?),
            relu: self.relu,
        };
        let weight = values(weight, weight_layout)?;
        let (outputs, geometry) = (self.outputs, &self.geometry);
        let (kernel, mut least) = match self.tracked {
            true => (&self.kernels.tracked, TRACKED_WINOGRAD_CHANNELS),
            false => (&self.kernels.untracked, WINOGRAD_CHANNELS),
        };
        if matches!(geometry.padding, Padding::Reflect(_)) && !self.frozen {
            least = usize::MAX; // networks that paint: their norms multiply what the transforms round
        }
        let kernel = kernel.get_or_init(|| Kernel::new(weight, outputs, geometry, least));
        let y = kernel.convolve(values(x, x_layout)?, None, geometry, epilogue);
        let (height, width) = self.geometry.output();
        let shape = (x_layout.dims()[0], self.outputs, height, width);
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // Only the picture's gradient can take ReLU on its way.
        let gated =
            self.relu && !weight.track_op() && !bias.track_op() && self.geometry.stride == 1;
        read(grad, |grad| {
            let upstream = if self.relu && !gated {
                Cow::Owned(read(y, |y| Ok(masked(grad, y)))?)
            } else {
                Cow::Borrowed(grad)
            };
            let x_grad = || match x.track_op() {
                true => read(weight, |weight| {
                    read(y, |y| {
                        let gate = gated.then_some(y);
                        let gradient = self.input_gradient(weight, &upstream, gate);
                        tensor_like(gradient, x).map(Some)
                    })
                }),
                false => Ok(None),
            };
            let weight_grad = || match weight.track_op() {
                true => read(x, |x| {
                    let gradient = self.weight_gradient(x, &upstream);
                    tensor_like(gradient, weight).map(Some)
                }),
                false => Ok(None),
            };
            let (x_grad, weight_grad) = rayon::join(x_grad, weight_grad);
            let bias_grad = match bias.track_op() {
                true => Some(tensor_like(self.bias_gradient(&upstream), bias)?),
                false => None,
            };
            Ok((x_grad?, weight_grad?, bias_grad))
        })
    }
}

impl Convolution {
    /// The gradient of the input: the convolution of the upstream gradient, pulled apart by the
    /// stride, with the turned kernel; then the padding is folded back. With stride 1 the upstream
    /// gradient can be cut to 0 where `gate` is not positive.
    fn input_gradient(&self, weight: &[f32], upstream: &[f32], gate: Option<&[f32]>) -> Vec<f32> {
        let g = &self.geometry;
        let (height, width) = g.output();
        let pad = g.padding.size();
        // Rows and columns that the strided kernel leaves out at the end count as well.
        let apart = |size: usize| size + 2 * pad + 1 - g.kernel;
        let (apart_height, apart_width) = (apart(g.height), apart(g.width));
        let upstream = if g.stride == 1 {
            Cow::Borrowed(upstream)
        } else {
            Cow::Owned(pulled_apart(
                upstream,
                (height, width),
                (apart_height, apart_width),
                g.stride,
            ))
        };
        let reach = match g.padding {
            Padding::Zero(pad) => g.kernel - 1 - pad,
            Padding::Reflect(_) => g.kernel - 1,
        };
        let back = Geometry {
            channels: self.outputs,
            height: apart_height,
            width: apart_width,
            kernel: g.kernel,
            stride: 1,
            padding: Padding::Zero(reach),
        };
        let kernel = self.kernels.backward.get_or_init(|| {
            let turned = turn_kernel(weight, self.outputs, g.channels, g.kernel * g.kernel);
            Kernel::new(&turned, g.channels, &back, WINOGRAD_CHANNELS)
        });
        let gradient = kernel.convolve(&upstream, gate, &back, Epilogue::default());
        if matches!(g.padding, Padding::Zero(_)) || pad == 0 {
            return gradient;
        }
        let padded_area = (g.height + 2 * pad) * (g.width + 2 * pad);
        let area = g.height * g.width;
        let mut folded = vec![0.0; gradient.len() / padded_area * area];
        folded
            .par_chunks_mut(area)
            .zip(gradient.par_chunks(padded_area))
            .for_each(|(plane, padded)| g.padding.fold(padded, g.height, g.width, plane));
        folded
    }

    fn weight_gradient(&self, x: &[f32], upstream: &[f32]) -> Vec<f32> {
        kernel_gradient(Level::detected(), x, upstream, self.outputs, &self.geometry)
    }

    fn bias_gradient(&self, upstream: &[f32]) -> Vec<f32> {
        let (height, width) = self.geometry.output();
        let area = height * width;
        let sums: Vec<f64> = upstream
            .par_chunks(area)
            .map(|plane| plane.iter().map(|value| f64::from(*value)).sum())
            .collect();
        let batch = sums.chunks_exact(self.outputs);
        let mut gradient = vec![0.0; self.outputs];
        for sums in batch {
            for (to, sum) in gradient.iter_mut().zip(sums) {
                *to += *sum as f32;
            }
        }
        gradient
    }
}

/// `grad` where `y` is positive, else 0: the gradient before ReLU.
fn masked(grad: &[f32], y: &[f32]) -> Vec<f32> {
    const PIECE: usize = 1 << 14;
    let mut masked = vec![0.0; grad.len()];
    masked
        .par_chunks_mut(PIECE)
        .zip(grad.par_chunks(PIECE).zip(y.par_chunks(PIECE)))
        .for_each(|(to, (grad, y))| {
            Level::detected().vectorize(
                #[inline(always)]
                || {
                    for ((to, grad), y) in to.iter_mut().zip(grad).zip(y) {
                        *to = keep_if(*y > 0.0, *grad);
                    }
                },
            );
        });
    masked
}

/// Planes of size `from` with `stride - 1` zeros between neighbours, in planes of size `to`.
fn pulled_apart(
    planes: &[f32],
    from: (usize, usize),
    to: (usize, usize),
    stride: usize,
) -> Vec<f32> {
    let mut apart = vec![0.0; planes.len() / (from.0 * from.1) * to.0 * to.1];
    apart
        .par_chunks_mut(to.0 * to.1)
        .zip(planes.par_chunks(from.0 * from.1))
        .for_each(|(apart, plane)| {
            let lines = apart.chunks_mut(stride * to.1);
            for (line, row) in lines.zip(plane.chunks_exact(from.1)) {
                for (to, value) in line.iter_mut().step_by(stride).zip(row) {
                    *to = *value;
                }
            }
        });
    apart
}
