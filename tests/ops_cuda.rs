//! The operators of training on GPUs without a GPU: their launches and kernels in an emulator, against
//! the operators on the CPU.
#![cfg(unix)] // the emulator is built by the system's C++ compiler

#[path = "cuda/emulator.rs"]
mod emulator;

use candle_core::{Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use repaint::kernels::Geometry;
use repaint::ops::cuda::launches::{self, Arguments, Convolution, Launch};
use repaint::ops::{self, Conv, Padding};

/// Values in the emulator's memory, one tensor after the other.
struct Memory {
    bytes: Vec<u8>,
    random: ChaCha8Rng,
}

impl Memory {
    fn new() -> Self {
        Self {
            bytes: vec![0xff; 128], // place 0 stands for nothing
            random: ChaCha8Rng::seed_from_u64(5),
        }
    }

    fn put(&mut self, values: &[f32]) -> u64 {
        let place = self.bytes.len();
        self.bytes
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.bytes
            .resize(self.bytes.len().next_multiple_of(128), 0xff);
        place as u64
    }

    /// Room for values; until they are written they are no numbers.
    fn room(&mut self, count: usize) -> u64 {
        self.put(&vec![f32::from_bits(u32::MAX); count])
    }

    /// Random values that tensor cores take without rounding, and that sum exactly.
    fn random(&mut self, count: usize) -> Vec<f32> {
        let random = &mut self.random;
        (0..count)
            .map(|_| random.random_range(-16i32..=16) as f32 / 8.0)
            .collect()
    }

    fn run(&mut self, launches: &[Launch]) {
        let launches: Vec<_> = launches.iter().map(describe).collect();
        let after = emulator::run("src/ops/cuda", &self.bytes, &launches, false);
        let backwards = emulator::run("src/ops/cuda", &self.bytes, &launches, true);
        assert!(
            after == backwards,
            "the order of threads changes the result"
        );
        self.bytes = after;
    }

    fn get(&self, place: u64, count: usize) -> Vec<f32> {
        let bytes = &self.bytes[place as usize..][..4 * count];
        let values = bytes.as_chunks::<4>().0.iter();
        values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}

fn describe(launch: &Launch) -> emulator::Launch<'_> {
    let a = &launch.arguments;
    let places = [
        a.source, a.other, a.gate, a.weights, a.bias, a.output, a.sums,
    ];
    let sizes = [
        a.batch, a.channels, a.height, a.width, a.outputs, a.rows, a.columns, a.margin, a.mirrored,
        a.spread, a.relu, a.turned, a.kernel, a.tiles_x, a.tiles_y, a.parts, a.count,
    ];
    let places = places.iter().flat_map(|place| place.to_le_bytes());
    let sizes = sizes.iter().flat_map(|size| size.to_le_bytes());
    let numbers = a.numbers.iter().flat_map(|number| number.to_le_bytes());
    let mut arguments: Vec<u8> = places.chain(sizes).chain(numbers).collect();
    arguments.resize(size_of::<Arguments>(), 0);
    emulator::Launch {
        kernel: &launch.kernel,
        grid: launch.grid,
        threads: launch.threads,
        shared: launch.shared,
        arguments,
    }
}

fn assert_close(what: &str, found: &[f32], expected: &Tensor) {
    let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let away = (found - expected).abs();
        assert!(
            away <= 1e-4 * (1.0 + expected.abs()),
            "{what}, {i}: {found}, not {expected}"
        );
    }
}

/// The gradients of `inputs` for the gradient `upstream` of `y`.
fn gradients(y: &Tensor, upstream: &[f32], inputs: &[&Var]) -> Result<Vec<Tensor>> {
    let upstream = Tensor::from_slice(upstream, y.shape(), &Device::Cpu)?;
    let gradients = (y * upstream)?.sum_all()?.backward()?;
    let gradient = |input: &&Var| gradients.get(input).expect("a gradient").clone();
    Ok(inputs.iter().map(gradient).collect())
}

#[test]
fn convolutions_and_their_gradients_are_those_of_the_cpu() -> Result<()> {
    // Channels around 8, outputs around the 8, 16, 32 and 64 of a block, pictures around its 16x8 pixels.
    let cases = [
        (2, 3, 64, (17, 9), 3, 1, Padding::Zero(1), true),
        (1, 24, 72, (16, 8), 3, 1, Padding::Zero(1), true),
        (1, 9, 20, (7, 21), 3, 1, Padding::Reflect(1), false),
        (2, 12, 16, (33, 18), 3, 2, Padding::Reflect(1), false),
        (1, 5, 40, (12, 12), 3, 2, Padding::Zero(1), true),
        (2, 3, 16, (20, 12), 9, 1, Padding::Reflect(4), false),
        (1, 16, 3, (19, 25), 9, 1, Padding::Reflect(4), false),
        (1, 2, 33, (10, 11), 3, 1, Padding::Zero(0), false),
    ];
    for (batch, channels, outputs, (height, width), kernel, stride, padding, relu) in cases {
        let what = format!("{channels} to {outputs}, {kernel}x{kernel} by {stride}, {padding:?}");
        let geometry = Geometry {
            channels,
            height,
            width,
            kernel,
            stride,
            padding,
        };
        assert!(Convolution::is_known(&geometry));
        let plan = Convolution {
            batch,
            geometry,
            outputs,
            relu,
        };
        let (n, o, rows, columns) = plan.output();
        let area = rows * columns;
        let mut memory = Memory::new();
        let x = memory.random(batch * channels * height * width);
        let weight = memory.random(outputs * channels * kernel * kernel);
        let bias = memory.random(outputs);
        let upstream = memory.random(n * o * area);

        let cpu = &Device::Cpu;
        let x_var = Var::from_slice(&x, (batch, channels, height, width), cpu)?;
        let weight_var = Var::from_slice(&weight, (outputs, channels, kernel, kernel), cpu)?;
        let bias_var = Var::from_slice(&bias, outputs, cpu)?;
        let conv = Conv {
            stride,
            padding,
            relu,
        };
        let y = ops::conv2d(&x_var, &weight_var, Some(&bias_var), conv)?;
        let expected = gradients(&y, &upstream, &[&x_var, &weight_var, &bias_var])?;

        let places = [&x, &weight, &bias, &upstream].map(|values| memory.put(values));
        let [x_at, weight_at, bias_at, upstream_at] = places;
        let [packed, turned] = [false, true].map(|turned| memory.room(plan.packed(turned)));
        let y_at = memory.room(n * o * area);
        let (a, b, c, d) = plan.gradient_shape();
        let padded = memory.room(a * b * c * d);
        let sums = memory.room(plan.parts(false) * n * o * area);
        let sums_back = memory.room(plan.parts(true) * a * b * c * d);
        let masked = memory.room(n * o * area);
        let parts = memory.room(plan.gradient_parts() * weight.len());
        let [x_grad, weight_grad, bias_grad] =
            [x.len(), weight.len(), bias.len()].map(|count| memory.room(count));
        let mut launches = vec![
            plan.pack(false, weight_at, packed),
            plan.pack(true, weight_at, turned),
        ];
        launches.extend(plan.forward(x_at, packed, bias_at, sums, y_at));
        let mut from = upstream_at;
        if relu {
            launches.push(launches::mask(n * o * area, upstream_at, y_at, masked));
            from = masked;
        }
        launches.extend(plan.backward(from, turned, [sums_back, padded], x_grad));
        launches.extend(plan.kernel_gradient(x_at, from, parts, weight_grad));
        launches.push(plan.bias_gradient(from, bias_grad));
        memory.run(&launches);
        assert_close(&what, &memory.get(y_at, n * o * area), &y);
        let found = [
            (x_grad, x.len()),
            (weight_grad, weight.len()),
            (bias_grad, bias.len()),
        ];
        let names = ["input", "kernel", "bias"];
        for ((name, (place, count)), expected) in names.iter().zip(found).zip(&expected) {
            let what = format!("gradient of the {name}, {what}");
            assert_close(&what, &memory.get(place, count), expected);
        }
    }
    Ok(())
}

#[test]
fn norms_and_their_gradients_are_those_of_the_cpu() -> Result<()> {
    for relu in [false, true] {
        let shape = (2, 3, 19, 31);
        let (n, c, h, w) = shape;
        let count = n * c * h * w;
        let mut memory = Memory::new();
        let [x, upstream] = [(); 2].map(|()| memory.random(count));
        let [scale, shift] = [(); 2].map(|()| memory.random(c));
        let x_var = Var::from_slice(&x, shape, &Device::Cpu)?;
        let scale_var = Var::from_slice(&scale, c, &Device::Cpu)?;
        let shift_var = Var::from_slice(&shift, c, &Device::Cpu)?;
        let y = ops::instance_norm(&x_var, &scale_var, &shift_var, relu)?;
        let expected = gradients(&y, &upstream, &[&x_var, &scale_var, &shift_var])?;

        let [x, upstream, scale, shift] =
            [&x, &upstream, &scale, &shift].map(|values| memory.put(values));
        let [y_at, gradient] = [(); 2].map(|()| memory.room(count));
        let (sums, affine) = (memory.room(n * 2 * c), memory.room(2 * c));
        let gate = if relu { y_at } else { 0 };
        memory.run(&[
            launches::norm(shape, 1e-5, x, [scale, shift], relu, y_at),
            launches::norm_backward(shape, 1e-5, [x, upstream, gate, scale], [gradient, sums]),
            launches::reduce(1, sums, n, 2 * c, affine),
        ]);
        assert_close("norm", &memory.get(y_at, count), &y);
        assert_close("gradient", &memory.get(gradient, count), &expected[0]);
        let affine = memory.get(affine, 2 * c);
        assert_close("gradient of the scale", &affine[..c], &expected[1]);
        assert_close("gradient of the shift", &affine[c..], &expected[2]);
    }
    Ok(())
}

#[test]
fn pooling_enlarging_and_moving_are_those_of_the_cpu() -> Result<()> {
    let shape = (2, 3, 9, 14);
    let (n, c, h, w) = shape;
    let count = n * c * h * w;
    let mut memory = Memory::new();
    let x = memory.random(count);
    let small = memory.random(n * c * (h / 2) * (w / 2));
    let large = memory.random(4 * count);
    let places: Vec<[f32; 2]> = (0..n * h * w)
        .map(|i| [(i % w) as f32 * 0.9 + 0.7, (i / w % h) as f32 * 1.25 - 0.5])
        .collect();
    let x_var = Var::from_slice(&x, shape, &Device::Cpu)?;
    let pooled = ops::max_pool2(&x_var)?;
    let pooled_gradient = gradients(&pooled, &small, &[&x_var])?;
    let enlarged = ops::upsample_nearest2(&x_var)?;
    let enlarged_gradient = gradients(&enlarged, &large, &[&x_var])?;
    let field = std::sync::Arc::new(ops::Field::new(n, h, w, places.clone())?);
    let moved = ops::warp(&x_var, &field)?;

    let [x_at, small_at, large_at, field_at] =
        [&x[..], &small, &large, places.as_flattened()].map(|values| memory.put(values));
    let [y, x_grad, x_grad_too, moved_at] =
        [small.len(), count, count, count].map(|count| memory.room(count));
    let larger = memory.room(4 * count);
    memory.run(&[
        launches::pool(shape, x_at, y),
        launches::pool_backward(shape, x_at, small_at, x_grad),
        launches::enlarge(shape, x_at, larger),
        launches::enlarge_backward(shape, large_at, x_grad_too),
        launches::warp(shape, x_at, field_at, moved_at),
    ]);
    assert_close("pooling", &memory.get(y, small.len()), &pooled);
    assert_close(
        "its gradient",
        &memory.get(x_grad, count),
        &pooled_gradient[0],
    );
    assert_close("enlarging", &memory.get(larger, 4 * count), &enlarged);
    let found = memory.get(x_grad_too, count);
    assert_close("its gradient", &found, &enlarged_gradient[0]);
    assert_close("moving", &memory.get(moved_at, count), &moved);
    Ok(())
}

#[test]
fn gram_matrices_and_mean_squares_are_those_of_the_cpu() -> Result<()> {
    for shape in [(2, 3, 17, 9), (1, 80, 20, 31), (3, 24, 5, 4)] {
        let (n, c, h, w) = shape;
        let count = n * c * h * w;
        let mut memory = Memory::new();
        let x = memory.random(count);
        let other = memory.random(c * h * w);
        let x_var = Var::from_slice(&x, shape, &Device::Cpu)?;
        let other_tensor = Tensor::from_slice(&other, (1, c, h, w), &Device::Cpu)?;
        let matrices = (ops::gram(&x_var)? * (c * h * w) as f64)?;
        let mean = ops::mean_square(&x_var, Some(&other_tensor))?;
        let expected = gradients(&mean, &[3.0], &[&x_var])?;
        let own = ops::mean_square(&x_var, None)?;

        let plan = launches::Gram::new(shape);
        let [x_at, other_at, upstream] = [&x[..], &other, &[3.0]].map(|values| memory.put(values));
        let parts = memory.room(plan.parts() * c * c);
        let matrices_at = memory.room(n * c * c);
        let sums = memory.room(launches::square_parts(count));
        let [mean_at, own_at] = [1, 1].map(|count| memory.room(count));
        let gradient = memory.room(count);
        let from = [x_at, other_at];
        let mut launches = plan.matrices(x_at, parts, matrices_at).to_vec();
        launches.extend(launches::mean_square(
            count,
            from,
            other.len(),
            sums,
            mean_at,
        ));
        launches.extend(launches::mean_square(count, [x_at, 0], 1, sums, own_at));
        launches.push(launches::mean_square_backward(
            count,
            from,
            other.len(),
            upstream,
            gradient,
        ));
        memory.run(&launches);
        assert_close(
            "Gram matrices",
            &memory.get(matrices_at, n * c * c),
            &matrices,
        );
        assert_close("mean square", &memory.get(mean_at, 1), &mean);
        assert_close("own mean square", &memory.get(own_at, 1), &own);
        assert_close("its gradient", &memory.get(gradient, count), &expected[0]);
    }
    Ok(())
}

#[test]
fn a_step_of_adam_is_that_of_the_formula() {
    let mut memory = Memory::new();
    let counts = [5, 700];
    let numbers = [0.5, 0.9, 0.99, 0.01, 2.0, 1e-8, 0.75];
    let mut table = Vec::new();
    let mut before = Vec::new();
    for count in counts {
        let mut values = [(); 5].map(|()| memory.random(count));
        values[3]
            .iter_mut()
            .for_each(|square| *square = square.abs());
        let places = [0, 1, 2, 3, 4].map(|i| memory.put(&values[i]));
        table.extend(places.iter().chain([&(count as u64)]).copied());
        before.push((places, values));
    }
    let bytes = table.iter().flat_map(|word| word.to_le_bytes());
    let table = memory.bytes.len() as u64;
    memory.bytes.extend(bytes.collect::<Vec<u8>>());
    memory
        .bytes
        .resize(memory.bytes.len().next_multiple_of(128), 0xff);
    let squares = memory.room(counts.len());
    memory.run(&[
        launches::squares(table, counts.len(), squares),
        launches::adam(table, counts.len(), 700, numbers),
    ]);
    let squares = memory.get(squares, counts.len());
    for ((places, values), square) in before.iter().zip(squares) {
        let [gradients, weights, firsts, seconds, averages] = values;
        let sum: f32 = gradients.iter().map(|gradient| gradient * gradient).sum();
        assert!((sum - square).abs() <= 1e-4 * sum, "{square}, not {sum}");
        let after = places.map(|place| memory.get(place, gradients.len()));
        for i in 0..gradients.len() {
            let gradient = 0.5 * gradients[i];
            let first = 0.9 * firsts[i] + 0.1 * gradient;
            let second = 0.99 * seconds[i] + 0.01 * gradient * gradient;
            let weight = weights[i] - 0.01 * first / (2.0 * second.sqrt() + 1e-8);
            let average = 0.75 * averages[i] + 0.25 * weight;
            let expected = [gradients[i], weight, first, second, average];
            for (after, expected) in after.iter().zip(expected) {
                let away = (after[i] - expected).abs();
                assert!(
                    away <= 1e-5 * (1.0 + expected.abs()),
                    "{} {expected}",
                    after[i]
                );
            }
        }
    }
}
