//! Convolution with padding, bias and ReLU in one operator.

use candle_core::{Result, Tensor, bail};

use super::composed;

/// What lies outside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many zeros on every side.
    Zero(usize),
    /// This many mirrored values on every side, the border itself not repeated.
    Reflect(usize),
}

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
    let (_, channels, height, width) = x.dims4()?;
    let (outputs, inputs, kernel_height, kernel_width) = weight.dims4()?;
    if channels != inputs {
        bail!("convolution over {inputs} channels got {channels}");
    }
    if let Some(bias) = bias
        && bias.dims() != [outputs]
    {
        bail!("bias has shape {:?}, expected [{outputs}]", bias.dims());
    }
    if conv.stride == 0 {
        bail!("convolution with a stride of 0");
    }
    let pad = match conv.padding {
        Padding::Zero(pad) => pad,
        Padding::Reflect(pad) if pad < height.min(width) || pad == 0 => pad,
        Padding::Reflect(pad) => {
            bail!("{width}x{height} is too small to mirror {pad} values around it")
        }
    };
    if height + 2 * pad < kernel_height || width + 2 * pad < kernel_width {
        bail!("{width}x{height} with {pad} around it is smaller than the kernel");
    }
    composed::conv2d(x, weight, bias, conv)
}
