//! What every convolution shares: sizes, padding, and the way back to picture and kernel.
//!
//! Backward to the picture, stride 1: a convolution with the turned kernel. Backward to the kernel:
//! dot products of shifted rows.

use rayon::prelude::*;

use super::dots::{Rows, dots};
use super::level::Level;

/// What lies outside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many zeros on every side.
    Zero(usize),
    /// This many mirrored values on every side, the border itself not repeated.
    Reflect(usize),
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of the input.
    pub channels: usize,
    /// Height of the input.
    pub height: usize,
    /// Width of the input.
    pub width: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// What lies outside the input.
    pub padding: Padding,
}

impl Padding {
    /// Values on every side.
    pub fn size(self) -> usize {
        match self {
            Self::Zero(size) | Self::Reflect(size) => size,
        }
    }

    /// Planes of `height` x `width` values with their padding.
    pub fn padded(self, planes: &[f32], height: usize, width: usize) -> Vec<f32> {
        let pad = self.size();
        let (area, line) = (height * width, width + 2 * pad);
        let mut padded = vec![0.0; planes.len() / area * (height + 2 * pad) * line];
        let pairs = padded
            .par_chunks_mut((height + 2 * pad) * line)
            .zip(planes.par_chunks(area));
        pairs.for_each(|(padded, plane)| {
            for (y, to) in padded.chunks_exact_mut(line).enumerate() {
                let Some(y) = self.place(y, height) else {
                    continue;
                };
                let from = &plane[y * width..][..width];
                to[pad..pad + width].copy_from_slice(from);
                for x in (0..pad).chain(width + pad..line) {
                    if let Some(at) = self.place(x, width) {
                        to[x] = from[at];
                    }
                }
            }
        });
        padded
    }

    /// The gradient of a plane of `height` x `width` from that of the plane with its padding: what
    /// a mirrored value got goes to the value it mirrors, what a zero got is lost.
    pub fn fold(self, padded: &[f32], height: usize, width: usize, plane: &mut [f32]) {
        let pad = self.size();
        plane.fill(0.0);
        for (y, from) in padded.chunks_exact(width + 2 * pad).enumerate() {
            let Some(y) = self.place(y, height) else {
                continue;
            };
            let to = &mut plane[y * width..(y + 1) * width];
            for (to, from) in to.iter_mut().zip(&from[pad..]) {
                *to += from;
            }
            for x in (0..pad).chain(width + pad..width + 2 * pad) {
                if let Some(at) = self.place(x, width) {
                    to[at] += from[x];
                }
            }
        }
    }

    /// The place in `0..size` that `position` (from the padding's first value) stands for; `None`
    /// is zero.
    #[inline(always)]
    pub(super) fn place(self, position: usize, size: usize) -> Option<usize> {
        match self {
            Self::Zero(pad) => position.checked_sub(pad).filter(|at| *at < size),
            Self::Reflect(pad) => {
                let at = position.abs_diff(pad);
                Some(at.min((2 * (size - 1)).wrapping_sub(at)))
            }
        }
    }
}

impl Geometry {
    /// Height and width of the output.
    pub fn output(&self) -> (usize, usize) {
        let pad = 2 * self.padding.size();
        let size = |input: usize| (input + pad - self.kernel) / self.stride + 1;
        (size(self.height), size(self.width))
    }

    /// Values of a picture: channels x height x width.
    pub fn picture(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Values of a patch: channels x kernel height x kernel width.
    pub fn patch(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }
}

/// The kernel (outputs x inputs x height x width) that carries gradients back: inputs x outputs,
/// turned by half a turn.
pub fn turn_kernel(kernel: &[f32], outputs: usize, inputs: usize, area: usize) -> Vec<f32> {
    let mut turned = vec![0.0; kernel.len()];
    turned
        .par_chunks_mut((outputs * area).max(1))
        .enumerate()
        .for_each(|(input, turned)| {
            for (output, to) in turned.chunks_exact_mut(area).enumerate() {
                let from = &kernel[(output * inputs + input) * area..][..area];
                to.iter_mut()
                    .zip(from.iter().rev())
                    .for_each(|(to, from)| *to = *from);
            }
        });
    turned
}

/// The gradient of the kernel (outputs x channels x height x width) of a convolution of `input`
/// whose outputs have the gradient `upstream` (batch x outputs x output pixels).
pub fn kernel_gradient(
    level: Level,
    input: &[f32],
    upstream: &[f32],
    outputs: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let g = geometry;
    let (output_height, output_width) = g.output();
    let pad = g.padding.size();
    // Each row, with its padding, as `stride` lines: every stride-th value from 0, from 1, ...
    let phase = (g.width + 2 * pad).div_ceil(g.stride);
    let row = phase * g.stride;
    let rows = g.height + 2 * pad;
    let mut padded = vec![0.0; input.len() / (g.height * g.width) * rows * row];
    padded
        .par_chunks_mut(rows * row)
        .zip(input.par_chunks(g.height * g.width))
        .for_each(|(padded, plane)| {
            for (y, line) in padded.chunks_exact_mut(row).enumerate() {
                let Some(y) = g.padding.place(y, g.height) else {
                    continue;
                };
                let from = &plane[y * g.width..(y + 1) * g.width];
                let mut put = |x: usize, value: f32| {
                    line[x % g.stride * phase + x / g.stride] = value;
                };
                for x in (0..pad).chain(pad + g.width..g.width + 2 * pad) {
                    if let Some(at) = g.padding.place(x, g.width) {
                        put(x, from[at]);
                    }
                }
                match g.stride {
                    1 => line[pad..pad + g.width].copy_from_slice(from),
                    _ => (pad..).zip(from).for_each(|(x, value)| put(x, *value)),
                }
            }
        });
    let starts: Vec<usize> = (0..g.patch())
        .map(|i| {
            let (kx, ky) = (i % g.kernel, i / g.kernel % g.kernel);
            let channel = i / (g.kernel * g.kernel);
            (channel * rows + ky) * row + kx % g.stride * phase + kx / g.stride
        })
        .collect();
    let area = output_height * output_width;
    let upstream_starts: Vec<usize> = (0..outputs).map(|output| output * area).collect();
    let batch = upstream.len() / (outputs * area).max(1);
    let mut gradient = vec![0.0; outputs * g.patch()];
    dots(
        level,
        &Rows {
            values: upstream,
            starts: &upstream_starts,
            batch_pitch: outputs * area,
            pitch: output_width,
        },
        &Rows {
            values: &padded,
            starts: &starts,
            batch_pitch: g.channels * rows * row,
            pitch: g.stride * row,
        },
        (batch, output_height, output_width),
        &mut gradient,
    );
    gradient
}
