//! The values of a model in the order in which the kernels of `kernels.cu` read them.

use anyhow::{Context, Result};
use half::f16;

use super::kind::Kind;
use crate::model::Model;
use crate::network::{CARRIED, Layer, NORM_EPSILON};

/// Values that lie and are multiplied together: 16 bytes of f16.
pub(super) const OCTET: usize = 8;

/// What the sums of a channel would come to if all inputs were as large as they usually are and of
/// the sign of their weight. f16 ends 64 times above; most sums are a twentieth of it.
const USUAL_SUM: f64 = 1024.0;

/// Largest weight: a quarter of where f16 ends.
const LARGEST_WEIGHT: f64 = 16384.0;

/// Rounding of a weight, in parts of it: f16 has 11 bits. Half of that is the most.
const ROUNDING: f64 = 1.0 / 2048.0;

/// Largest value of a carried painting's channel.
const LARGEST_CARRIED: f64 = 2.0;

/// A layer with the places of its packed values.
pub(super) struct Packed {
    /// The layer.
    pub layer: Layer,
    /// Its kernel.
    pub kind: Kind,
    /// Groups of 8 channels of the layer before.
    pub source_octets: usize,
    /// Groups of 8 channels of the output.
    pub octets: usize,
    /// Groups of 8 products that a block computes at once: 1, 2, 4 or 8.
    pub tiles: usize,
    /// Steps of 16 summands in each phase.
    pub steps: usize,
    /// Bytes of the packed weights.
    pub weights: usize,
    /// Bytes where the table begins that says where in the tile each 8 summands do.
    pub begins: usize,
    /// Bytes of four values a channel: scale, shift, epsilon of the norm and the variance that
    /// rounding alone can give, or what the last layer's sums are multiplied by, and their bias.
    pub affine: usize,
}

/// All layers of a model, packed.
pub struct Weights {
    /// The layers in the order of their evaluation.
    pub(super) layers: Vec<Packed>,
    /// The packed values.
    pub(super) bytes: Vec<u8>,
}

/// Eight summands of a product: where they begin in the tile, in bytes, and the weight of each for
/// an output.
struct Summands<'a> {
    begin: usize,
    weight: Box<dyn Fn(usize, usize) -> f32 + 'a>,
}

impl Packed {
    /// Bytes from one pixel of the tile to the next: an odd number of octets, so that 8 pixels side
    /// by side lie in different banks; in the first layer R, G, B and nothing.
    pub fn pixel(&self) -> usize {
        match self.kind {
            Kind::First => 8,
            _ => 2 * OCTET * ((self.source_octets + self.carried_octets()) | 1),
        }
    }

    fn carried_octets(&self) -> usize {
        self.layer.carried.div_ceil(OCTET)
    }

    /// Blocks that share the output channels of a tile.
    pub fn chunks(&self) -> usize {
        self.octets.div_ceil(self.tiles)
    }

    /// The summands of a phase, eight at a time.
    fn summands<'a>(&'a self, kernel: &'a [f32], phase: usize) -> Vec<Summands<'a>> {
        let (side, inputs) = (self.kind.side(), self.layer.inputs);
        let columns = self.kind.tile().1;
        let weight = move |output: usize, input: usize, row: usize, column: usize| {
            let known = output < self.layer.outputs && input < inputs && column < side;
            let place = ((output * inputs + input) * side + row) * side + column;
            if known { kernel[place] } else { 0.0 }
        };
        let mut summands = Vec::new();
        let mut add = |begin: usize, weight: Box<dyn Fn(usize, usize) -> f32 + 'a>| {
            summands.push(Summands { begin, weight });
        };
        let octets = self.source_octets + self.carried_octets();
        let place = |row: usize, column: usize, octet: usize| {
            (row * columns + column) * self.pixel() + octet * 2 * OCTET
        };
        match self.kind {
            Kind::First => {
                for row in 0..side {
                    for pair in 0..side.div_ceil(2) {
                        let weight = move |output, i: usize| match i % 4 {
                            3 => 0.0,
                            color => weight(output, color, row, 2 * pair + i / 4),
                        };
                        add(place(row, 2 * pair, 0), Box::new(weight));
                    }
                }
            }
            Kind::Plain | Kind::Strided => {
                let before = inputs - self.layer.carried;
                for tap in 0..side * side {
                    let (row, column) = (tap / side, tap % side);
                    for octet in 0..octets {
                        // The channels of a carried painting begin an octet of their own.
                        let (first, most) = match octet.checked_sub(self.source_octets) {
                            Some(_) => (before, self.layer.carried),
                            None => (octet * OCTET, before.saturating_sub(octet * OCTET)),
                        };
                        let weight = move |output, i: usize| match i < most {
                            true => weight(output, first + i, row, column),
                            false => 0.0,
                        };
                        add(place(row, column, octet), Box::new(weight));
                    }
                }
            }
            Kind::Doubling => {
                // Rows of the kernel that fall on one row of the small input.
                const SHARED: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];
                let (below, beside) = (phase / 2, phase % 2);
                for tap in 0..4 {
                    let (row, column) = (tap / 2, tap % 2);
                    let (rows, columns) = (SHARED[below][row], SHARED[beside][column]);
                    for octet in 0..octets {
                        let weight = move |output, i: usize| {
                            let taps = rows
                                .iter()
                                .flat_map(|r| columns.iter().map(move |c| (r, c)));
                            let input = octet * OCTET + i;
                            taps.map(|(r, c)| weight(output, input, *r, *c)).sum()
                        };
                        add(place(below + row, beside + column, octet), Box::new(weight));
                    }
                }
            }
            Kind::Last => {
                for row in 0..side {
                    for octet in 0..octets {
                        let weight = move |product: usize, i: usize| {
                            let (column, color) = (product / 3, product % 3);
                            weight(color, octet * OCTET + i, row, column)
                        };
                        add(place(row, 0, octet), Box::new(weight));
                    }
                }
            }
        }
        summands
    }

    /// Appends the weights and the table of beginnings; `scale` multiplies each output.
    fn pack(&mut self, kernel: &[f32], scale: &[f64], bytes: &mut Vec<u8>) {
        let mut begins = Vec::<i32>::new();
        self.weights = bytes.len();
        let mut steps = 0;
        for phase in 0..self.kind.phases() {
            let summands = self.summands(kernel, phase);
            steps = summands.len().div_ceil(2);
            let begin = |octet: usize| summands.get(octet).map_or(0, |octet| octet.begin as i32);
            begins.extend((0..2 * steps).map(begin));
            let value = |summand: usize, product: usize| {
                let octet = summands.get(summand / OCTET);
                let weight = octet.map_or(0.0, |o| (o.weight)(product, summand % OCTET));
                let output = match self.kind {
                    Kind::Last => product % 3,
                    _ => product,
                };
                f16::from_f64(f64::from(weight) * scale.get(output).unwrap_or(&0.0))
            };
            for chunk in 0..self.chunks() {
                for step in 0..steps {
                    for pair in 0..self.tiles.div_ceil(2) {
                        for lane in 0..32 {
                            for tile in 2 * pair..self.tiles.min(2 * pair + 2) {
                                let product = (chunk * self.tiles + tile) * OCTET + lane / 4;
                                for i in [0, 1, 8, 9] {
                                    let summand = step * 16 + lane % 4 * 2 + i;
                                    let value = value(summand, product);
                                    bytes.extend(value.to_le_bytes());
                                }
                            }
                        }
                    }
                }
            }
        }
        self.steps = steps;
        align(bytes);
        self.begins = bytes.len();
        bytes.extend(begins.iter().flat_map(|begin| begin.to_le_bytes()));
        align(bytes);
    }
}

impl Weights {
    /// Packs a model. Fails for layers that no kernel computes.
    pub fn pack(model: &Model) -> Result<Self> {
        let layers = model.network.layers();
        let mut bytes = vec![0; 16]; // place 0 means that there is nothing
        let mut packed = Vec::<Packed>::new();
        let mut usual = Vec::<Vec<f64>>::new(); // size of each layer's channels, normed and summed
        for (index, layer) in layers.iter().enumerate() {
            let tensor = |name: &str| {
                let tensor = model.tensors.get(name);
                Ok::<_, anyhow::Error>(
                    &tensor.with_context(|| format!("no tensor `{name}`"))?.data[..],
                )
            };
            let kind = Kind::of(layer, index, layers.len())?;
            let octets = layer.outputs.div_ceil(OCTET);
            let mut one = Packed {
                layer: layer.clone(),
                kind,
                source_octets: packed.last().map_or(0, |before| before.octets),
                octets,
                tiles: match kind {
                    Kind::Last => 4,
                    _ => octets.next_power_of_two().min(8),
                },
                steps: 0,
                weights: 0,
                begins: 0,
                affine: 0,
            };
            let kernel = tensor(&layer.weight())?;
            let inputs: Vec<f64> = match usual.last() {
                Some(before) => {
                    let carried = std::iter::repeat_n(LARGEST_CARRIED, CARRIED);
                    before.iter().copied().chain(carried).collect()
                }
                None => vec![255.0; layer.inputs],
            };
            let scales = scales(layer, kernel, &inputs);
            one.pack(kernel, &scales, &mut bytes);
            one.affine = bytes.len();
            let mut size = vec![0.0; layer.outputs];
            if let Some(norm) = &layer.norm {
                let scale = tensor(&format!("{norm}.weight"))?; // the first style's come first
                let shift = tensor(&format!("{norm}.bias"))?;
                for (channel, factor) in scales.iter().enumerate() {
                    let epsilon = (f64::from(NORM_EPSILON) * factor * factor) as f32;
                    let noise = match kind {
                        Kind::Doubling => noise(layer, kernel, &inputs, channel) * factor * factor,
                        _ => 0.0,
                    };
                    put(
                        &mut bytes,
                        [scale[channel], shift[channel], epsilon, noise as f32],
                    );
                    let before = layer.skip.map_or(0.0, |skip| usual[skip][channel]);
                    size[channel] = before.hypot(f64::from(scale[channel].hypot(shift[channel])));
                }
            } else {
                for (factor, bias) in scales.iter().zip(tensor(&layer.bias())?) {
                    put(&mut bytes, [(1.0 / factor) as f32, *bias, 0.0, 0.0]);
                }
            }
            // Channels that only fill an octet: their norm is 0.
            let missing = octets * OCTET - layer.outputs;
            (0..missing).for_each(|_| put(&mut bytes, [0.0, 0.0, 1.0, 0.0]));
            usual.push(size);
            packed.push(one);
        }
        Ok(Self {
            layers: packed,
            bytes,
        })
    }

    /// Whether the network looks at what it painted last.
    pub fn has_memory(&self) -> bool {
        self.layers.iter().any(|packed| packed.layer.carried > 0)
    }
}

/// What each output's weights are multiplied by, a power of two: instance norm takes it away again,
/// and in between all channels use the range of f16 alike.
fn scales(layer: &Layer, kernel: &[f32], inputs: &[f64]) -> Vec<f64> {
    let taps = layer.kernel * layer.kernel;
    let outputs = kernel.chunks_exact(layer.inputs * taps);
    let scale = |weights: &[f32]| {
        let (mut sum, mut largest) = (0.0f64, 0.0f64);
        for (weights, input) in weights.chunks_exact(taps).zip(inputs) {
            for weight in weights {
                let weight = f64::from(weight.abs());
                sum += weight * input;
                largest = largest.max(weight);
            }
        }
        let most = (USUAL_SUM / sum).min(LARGEST_WEIGHT / largest);
        match most.is_finite() {
            true => most.log2().floor().clamp(-60.0, 60.0).exp2(),
            false => 1.0, // no weight at all
        }
    };
    outputs.map(scale).collect()
}

/// The variance that the rounding of weights can give output `channel` of a doubling layer whose
/// input is constant: each of its four kernels is rounded for itself. Without this bound a plain
/// frame would get dots, since a norm enlarges them by up to 316.
fn noise(layer: &Layer, kernel: &[f32], inputs: &[f64], channel: usize) -> f64 {
    let taps = layer.kernel * layer.kernel;
    let weights = &kernel[channel * layer.inputs * taps..][..layer.inputs * taps];
    let squares = weights
        .chunks_exact(taps)
        .zip(inputs)
        .map(|(weights, input)| {
            let sum: f64 = weights.iter().map(|w| f64::from(*w).powi(2)).sum();
            sum * (input * ROUNDING).powi(2)
        });
    squares.sum()
}

fn put(bytes: &mut Vec<u8>, values: [f32; 4]) {
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(16), 0);
}
