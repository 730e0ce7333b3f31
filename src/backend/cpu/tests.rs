//! Each layer's kernel at each level against a convolution of plain loops in `f64`, on sizes below,
//! at and above its tiles and units.

use super::kernels::{
    self, Border, Buffer, Job, Memory, Moments, Partials, Source, Strided, TILE, Tensor, Tiling,
    Winograd,
};
use super::threads::Team;
use super::weights::{Kind, Weights};
use crate::kernels::Level;
use crate::model::Model;
use crate::network::Network;

/// Values between the parts of a test's arena.
const PART: usize = 1 << 20;

/// A layer of a random network, and what it computes.
struct Case {
    level: Level,
    layer: usize,
    height: usize,
    width: usize,
    /// Input as the layer sees it: height x width x channels.
    input: Vec<f64>,
    inputs: usize,
}

impl Case {
    /// Runs the layer's kernel with units of `rows` x `columns`; compares sums and statistics.
    fn check(&self, weights: &Weights, kernel: &[f32], rows: usize, columns: usize) {
        let packed = &weights.layers[self.layer];
        let layer = &packed.layer;
        let (height, width) = (
            self.height * layer.upsample / layer.stride,
            self.width * layer.upsample / layer.stride,
        );
        let step = self.inputs.next_multiple_of(16);
        let tensor =
            |part: usize, height: usize, width: usize, channels: usize, step: usize| Tensor {
                origin: part * PART + step,
                height,
                width,
                channels,
                step,
                pitch: (width + 8) * step,
                plane: 1,
            };
        let source = Source {
            tensor: tensor(0, self.height, self.width, self.inputs, step),
            norm: 3 * PART,
            norm_channels: step,
            floor: f32::NEG_INFINITY,
            skip: None,
            keep: None,
            border: match packed.kind {
                Kind::Upsampled => Border::Clamp,
                _ => Border::Reflect,
            },
        };
        let out = tensor(1, height, width, layer.outputs, packed.step);
        let partials = Partials {
            at: 2 * PART,
            channels: packed.step.next_multiple_of(16),
        };
        let lanes = kernels::lanes(self.level);
        let tiles = |length: usize| (length + usize::from(layer.upsample == 2)).div_ceil(TILE);
        let job = match packed.kind {
            Kind::Strided => {
                let tiling = Tiling {
                    height,
                    width,
                    rows,
                    columns,
                };
                Job::Strided(Strided::new(
                    source,
                    out,
                    tiling,
                    3,
                    packed.place,
                    partials,
                    None,
                ))
            }
            _ => Job::Winograd(Winograd {
                source,
                out,
                tiling: Tiling {
                    height: tiles(self.height),
                    width: tiles(self.width),
                    rows: 1,
                    columns,
                },
                upsample: layer.upsample == 2,
                weights: packed.place,
                outputs: (packed.step * layer.upsample.pow(2)).next_multiple_of(lanes),
                partials,
            }),
        };
        let mut arena = Buffer::zeros(4 * PART + 2 * job.scratch() + 64).unwrap();
        let values = arena.values_mut();
        for (i, value) in self.input.iter().enumerate() {
            let (pixel, c) = (i / self.inputs, i % self.inputs);
            let tensor = &source.tensor;
            let place = pixel / self.width * tensor.pitch + pixel % self.width * step + c;
            values[tensor.origin + place] = *value as f32 / 2.0 + 0.25;
        }
        for c in 0..self.inputs {
            values[3 * PART + c] = 2.0; // undoes what was done to the input
            values[3 * PART + step + c] = -0.5;
        }
        let scratch = (4 * PART, job.scratch());
        let weights = weights.values.values();
        let memory = Memory::new(values, scratch, weights, (&[], None), &mut []);
        let mut team = Team::new(2).unwrap();
        let backwards = self.width % 2 == 1;
        kernels::run(self.level, &job, &memory, &mut team, backwards);
        let what = format!(
            "{:?}, {}, {}x{} in units of {rows}x{columns}",
            self.level, layer.name, self.width, self.height
        );
        let values = arena.values();
        let (mut sums, mut squares) = (vec![0.0; layer.outputs], vec![0.0; layer.outputs]);
        for pixel in 0..height * width {
            let (y, x) = (pixel / width, pixel % width);
            for n in 0..layer.outputs {
                let expected = self.convolve(kernel, layer.stride, layer.upsample, (y, x), n);
                let found = f64::from(values[out.origin + y * out.pitch + x * out.step + n]);
                assert!(
                    (found - expected).abs() < 2e-5,
                    "{what}: row {y}, column {x}, channel {n} is {found}, expected {expected}"
                );
                sums[n] += found;
                squares[n] += found * found;
            }
        }
        let count = (height * width) as f64;
        let mut moments = Moments::new(layer.outputs);
        partials.merge(values, job.units(), &mut moments);
        for (n, (mean, variance)) in moments.means.iter().zip(&moments.variances).enumerate() {
            let expected = sums[n] / count;
            assert!(
                (mean - expected).abs() < 1e-5,
                "{what}: mean of {n}: {mean}"
            );
            let expected = squares[n] / count - expected * expected;
            assert!(
                (variance - expected).abs() < 1e-4,
                "{what}: variance of {n}"
            );
        }
    }

    /// One output by the definition: enlarge, reflect, multiply, sum.
    fn convolve(
        &self,
        kernel: &[f32],
        stride: usize,
        upsample: usize,
        (y, x): (usize, usize),
        n: usize,
    ) -> f64 {
        let at = |position: isize, length: usize| {
            kernels::reflect(position, length * upsample) / upsample
        };
        let mut sum = 0.0;
        for c in 0..self.inputs {
            for tap in 0..9 {
                let y = at((y * stride + tap / 3) as isize - 1, self.height);
                let x = at((x * stride + tap % 3) as isize - 1, self.width);
                let value = self.input[(y * self.width + x) * self.inputs + c];
                sum += value * f64::from(kernel[(n * self.inputs + c) * 9 + tap]);
            }
        }
        sum
    }
}

#[test]
fn each_3x3_layer_computes_what_plain_loops_compute() {
    let network = Network {
        residual_blocks: 1,
        ..Network::new([13, 18, 21])
    };
    let model = Model::random(network, 11).unwrap();
    for level in Level::all_supported() {
        let weights = Weights::pack(&model, level).unwrap();
        for (layer, packed) in weights.layers.iter().enumerate() {
            if matches!(packed.kind, Kind::First | Kind::Last) {
                continue;
            }
            if packed.kind == Kind::Strided && layer == 1 {
                continue; // reads planes: held against the reference as part of whole networks
            }
            let kernel = &model.tensors[&packed.layer.weight()].data;
            for (width, height) in [(2, 2), (4, 6), (8, 4), (10, 14), (32, 2), (2, 18), (52, 6)] {
                let inputs = packed.layer.inputs;
                let value = |i: usize| ((i * 7919) % 1000) as f64 / 500.0 - 1.0;
                let case = Case {
                    level,
                    layer,
                    height,
                    width,
                    input: (0..height * width * inputs).map(value).collect(),
                    inputs,
                };
                for (rows, columns) in [(1, 1), (2, 5), (4, 12), (9, 40)] {
                    case.check(&weights, kernel, rows, columns);
                }
            }
        }
    }
}
