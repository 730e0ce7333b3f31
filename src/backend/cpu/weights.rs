//! The values of a model in the order in which the kernels read them.

use anyhow::{Context, Result, bail};

use super::kernels::{self, Buffer};
use crate::kernels::Level;
use crate::model::Model;
use crate::network::Layer;

/// Which kernel computes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first layer, from bytes.
    First,
    /// 3x3 with step 2.
    Strided,
    /// 3x3.
    Plain,
    /// Nearest x2, then 3x3.
    Upsampled,
    /// The last layer, to bytes.
    Last,
}

/// A layer with its packed values.
pub(super) struct Packed {
    /// The layer.
    pub layer: Layer,
    /// Its kernel.
    pub kind: Kind,
    /// Channels in that are computed: a picture fills 3 channels, the others are zero.
    pub inputs: usize,
    /// Values from one output pixel to the next: the channels with their padding.
    pub step: usize,
    /// Place of the packed weights.
    pub place: usize,
    /// Output channels computed at once, in turn (first and last layer).
    pub blocks: Vec<usize>,
    /// Bias of each output channel. An instance norm takes it away again, so only a layer without
    /// one uses it.
    pub bias: Vec<f32>,
    /// The norm of each output channel.
    pub norm: Vec<Affine>,
    /// Variance of the rounding of each summand.
    rounding: f64,
    /// Squares of each output channel's taps, summed up for each channel in.
    squares: Vec<f64>,
}

/// Scale and shift of an instance norm's channel (first style).
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    /// Scale.
    pub scale: f32,
    /// Shift.
    pub shift: f32,
}

/// Rounding of a Winograd layer's sums, in units of the last place of values as large as the root
/// of their summands' squares; measured 5 to 12.
const ROUNDING: f64 = 32.0;

/// How much more than independent errors those of the first layer add up to in a strided one: they
/// come from one transformed input and are alike in all channels. For stripes of one level 1 was too
/// little; with 8 a single value of one level more was no longer painted.
const ALIKE: f64 = 2.0;

/// All layers of a model.
pub(super) struct Weights {
    /// The layers in the order of their evaluation.
    pub layers: Vec<Packed>,
    /// The packed weights.
    pub values: Buffer,
}

/// F(4x4, 3x3), points 0, 1, -1, 2, -2, infinity (Lavin & Gray 2016, section 4.3).
const PLAIN: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// F(4x4, 2x2), points 0, 1, -1, 2, infinity, by the same construction.
const PHASE: [[f64; 2]; 5] = [
    [1.0 / 2.0, 0.0],
    [-1.0 / 2.0, -1.0 / 2.0],
    [-1.0 / 6.0, 1.0 / 6.0],
    [1.0 / 6.0, 1.0 / 3.0],
    [0.0, 1.0],
];

/// F(3x3, 3x3), points 0, 1, -1, 2, infinity, likewise.
const LARGE: [[f64; 3]; 5] = [
    [1.0 / 2.0, 0.0, 0.0],
    [-1.0 / 2.0, -1.0 / 2.0, -1.0 / 2.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
    [0.0, 0.0, 1.0],
];

impl Weights {
    /// Packs a model for the kernels of a level. Fails for layers that no kernel computes.
    pub fn pack(model: &Model, level: Level) -> Result<Self> {
        let layers = model.network.layers();
        let lanes = kernels::lanes(level);
        let (mut packed, mut values) = (Vec::<Packed>::new(), Vec::new());
        let mut magnitudes = Vec::<f64>::new(); // of each layer's values after norm and sum
        for (index, layer) in layers.iter().enumerate() {
            let kind = kind(layer, index, layers.len())?;
            let tensor = |name: &str| {
                let tensor = model.tensors.get(name);
                Ok::<_, anyhow::Error>(
                    &tensor.with_context(|| format!("no tensor `{name}`"))?.data[..],
                )
            };
            // The last layer reads groups of 8 channels; two pixels of them are whole registers.
            let before_last = index + 2 == layers.len() && kind == Kind::Upsampled;
            let multiple = if before_last { 8 } else { lanes.max(8) };
            let kernel = tensor(&layer.weight())?;
            let magnitude = magnitudes.last().copied().unwrap_or(255.0);
            let mut norm = Vec::new();
            if let Some(name) = &layer.norm {
                let scales = tensor(&format!("{name}.weight"))?;
                let shifts = tensor(&format!("{name}.bias"))?;
                let both = scales.iter().zip(shifts).take(layer.outputs);
                norm.extend(both.map(|(&scale, &shift)| Affine { scale, shift }));
            }
            let taps = kernel.chunks_exact(layer.kernel * layer.kernel);
            let square = |tap: &f32| f64::from(*tap).powi(2);
            let largest = norm
                .iter()
                .map(|norm| f64::from(norm.scale.hypot(norm.shift)));
            let before = layer.skip.map_or(0.0, |skip| magnitudes[skip]);
            magnitudes.push(before + largest.fold(0.0, f64::max));
            let inputs = match kind {
                Kind::First => layer.inputs.min(3),
                _ => layer.inputs,
            };
            let one = Packed {
                layer: layer.clone(),
                kind,
                inputs,
                step: layer.outputs.next_multiple_of(multiple),
                place: values.len(),
                blocks: kernels::blocks(layer.outputs, kernels::is_wide(level)),
                bias: tensor(&layer.bias())?.to_vec(),
                norm,
                rounding: (ROUNDING * magnitude * f64::from(f32::EPSILON / 2.0)).powi(2),
                squares: taps.map(|taps| taps.iter().map(square).sum()).collect(),
            };
            one.pack(kernel, lanes, &mut values);
            values.resize(values.len().next_multiple_of(16), 0.0);
            packed.push(one);
        }
        let mut buffer = Buffer::zeros(values.len() + 16)?;
        buffer.values_mut()[..values.len()].copy_from_slice(&values);
        Ok(Self {
            layers: packed,
            values: buffer,
        })
    }
}

fn kind(layer: &Layer, index: usize, count: usize) -> Result<Kind> {
    let shape = (layer.kernel, layer.stride, layer.upsample);
    let kind = match shape {
        _ if layer.kernel > kernels::LARGEST => {
            bail!("`{}`: a kernel of {}", layer.name, layer.kernel)
        }
        _ if layer.kernel.is_multiple_of(2) => bail!("`{}`: a kernel of even side", layer.name),
        (_, 1, 1) if index == 0 => Kind::First,
        (_, 1, 1) if index + 1 == count => Kind::Last,
        (_, 2, 1) => Kind::Strided,
        (3, 1, 1) => Kind::Plain,
        (3, 1, 2) => Kind::Upsampled,
        _ => bail!("no kernel for layer `{}`: {shape:?}", layer.name),
    };
    layer.ensure_place(index, count)?;
    Ok(kind)
}

impl Packed {
    /// Variance that rounding alone can give a channel's plane, where `errors` is what it gave those of
    /// the layer before: a plane with less is constant. Without this bound each norm of a plain picture
    /// would enlarge rounding by up to `1 / sqrt(NORM_EPSILON)`, and three of them would paint noise.
    ///
    /// Only strided layers cancel a pattern (stripes of a pixel, ordered dither) and leave the rounding
    /// of the layer before. Others take it over as they do the pattern.
    pub fn noise(&self, channel: usize, errors: &[f64]) -> f64 {
        let inputs = self.squares.len() / self.layer.outputs;
        let squares = &self.squares[channel * inputs..][..inputs];
        let taken: f64 = match self.kind {
            Kind::Strided => squares.iter().zip(errors).map(|(s, error)| s * error).sum(),
            _ => 0.0,
        };
        self.rounding * squares.iter().sum::<f64>() + ALIKE * taken
    }

    fn pack(&self, kernel: &[f32], lanes: usize, values: &mut Vec<f32>) {
        let side = self.layer.kernel;
        let (inputs, outputs) = (self.layer.inputs, self.layer.outputs);
        let taps = |output: usize, input: usize| {
            &kernel[(output * inputs + input) * side * side..][..side * side]
        };
        match self.kind {
            Kind::First | Kind::Last => {
                let points = LARGE.len() * LARGE.len();
                let kernels = side.div_ceil(3);
                let mut first = 0;
                for &block in &self.blocks {
                    // Transformed taps of each kernel of taps, for the block's outputs.
                    let parts: Vec<_> = (0..self.inputs * kernels * kernels)
                        .flat_map(|part| (first..first + block).map(move |output| (part, output)))
                        .map(|(part, output)| {
                            let (input, part) = (part / kernels.pow(2), part % kernels.pow(2));
                            let (top, left) = (part / kernels * 3, part % kernels * 3);
                            transform(&LARGE, &|y, x| {
                                let (y, x) = (top + y, left + x);
                                if y < side && x < side {
                                    f64::from(taps(output, input)[y * side + x])
                                } else {
                                    0.0
                                }
                            })
                        })
                        .collect();
                    for point in 0..points {
                        values.extend(parts.iter().map(|part| part[point]));
                    }
                    first += block;
                }
            }
            Kind::Strided => {
                let depth = self.inputs;
                registers(
                    values,
                    lanes,
                    self.step,
                    1,
                    side * side * depth,
                    |_, k, n| {
                        if n < outputs {
                            taps(n, k % depth)[k / depth]
                        } else {
                            0.0
                        }
                    },
                );
            }
            Kind::Plain => {
                let points = PLAIN.len() * PLAIN.len();
                let all = self.transformed(points, |input, output| {
                    transform(&PLAIN, &|y, x| f64::from(taps(output, input)[y * 3 + x]))
                });
                registers(values, lanes, self.step, points, inputs, |point, k, n| {
                    if n < outputs {
                        all[(n * inputs + k) * points + point]
                    } else {
                        0.0
                    }
                });
            }
            Kind::Upsampled => {
                let points = PHASE.len() * PHASE.len();
                // Odd phases come first: the kernel's order of output values.
                let phases = [(1, 1), (1, 0), (0, 1), (0, 0)].map(|(odd_y, odd_x)| {
                    self.transformed(points, |input, output| {
                        transform(&PHASE, &|y, x| {
                            let taps = taps(output, input);
                            let rows = phase_taps(odd_y, y);
                            let sum = rows.flat_map(|y| {
                                phase_taps(odd_x, x).map(move |x| f64::from(taps[y * 3 + x]))
                            });
                            sum.sum()
                        })
                    })
                });
                registers(
                    values,
                    lanes,
                    4 * self.step,
                    points,
                    inputs,
                    |point, k, n| {
                        let (phase, n) = (n / self.step, n % self.step);
                        if n < outputs {
                            phases[phase][(n * inputs + k) * points + point]
                        } else {
                            0.0
                        }
                    },
                );
            }
        }
    }

    /// The transformed taps of each output and input channel.
    fn transformed(&self, points: usize, each: impl Fn(usize, usize) -> Vec<f32>) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.layer.outputs * self.layer.inputs * points);
        for output in 0..self.layer.outputs {
            for input in 0..self.layer.inputs {
                all.extend(each(input, output));
            }
        }
        all
    }
}

/// The taps of a 3-kernel on the enlarged input that fall on tap `tap` (0 or 1) of a phase's
/// 2-kernel on the small one.
fn phase_taps(odd: usize, tap: usize) -> std::ops::Range<usize> {
    match (odd, tap) {
        (0, 0) => 0..1,
        (0, _) => 1..3,
        (_, 0) => 0..2,
        _ => 2..3,
    }
}

/// `g * taps * g^T`, row by row.
fn transform<const R: usize>(g: &[[f64; R]], taps: &dyn Fn(usize, usize) -> f64) -> Vec<f32> {
    let mut all = Vec::with_capacity(g.len() * g.len());
    for row in g {
        for column in g {
            let mut sum = 0.0;
            for (y, a) in row.iter().enumerate() {
                for (x, b) in column.iter().enumerate() {
                    sum += a * b * taps(y, x);
                }
            }
            all.push(sum as f32);
        }
    }
    all
}

/// Appends `parts` matrices of `depth` by `outputs` in the order of the matrix kernel: by pairs of
/// registers, then by part, then by summand.
fn registers(
    values: &mut Vec<f32>,
    lanes: usize,
    outputs: usize,
    parts: usize,
    depth: usize,
    value: impl Fn(usize, usize, usize) -> f32,
) {
    for first in (0..outputs).step_by(2 * lanes) {
        let width = (outputs - first).min(2 * lanes);
        for part in 0..parts {
            for k in 0..depth {
                values.extend((first..first + width).map(|n| value(part, k, n)));
            }
        }
    }
}
