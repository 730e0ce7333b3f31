//! Times training's arithmetic at 2x3x192x192: each convolution of VGG19, all of them, and the
//! transformer networks. Times are core seconds, so a busy machine disturbs them little; the
//! backward figures include candle's own sums. Rates count the multiplications of the plain loop,
//! of which Winograd's transforms leave a quarter.

use candle_core::{DType, Device, Result, Tensor, Var};
use repaint::network::{Network, Width};
use repaint::ops::{Conv, FrozenConv, Padding, max_pool2, transformer};

/// Outputs of each layer; 0 is a pooling.
const LAYERS: [usize; 17] = [
    64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512,
];

/// Seconds that the process has spent on cores, which other processes do not lengthen.
fn core_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let (batch, crop) = (2, 192);
    let settings = Conv {
        stride: 1,
        padding: Padding::Zero(1),
        relu: true,
    };
    let best = |runs: usize, work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let mut best = f64::MAX;
        for _ in 0..runs {
            let start = core_seconds();
            work()?;
            best = best.min(core_seconds() - start);
        }
        Ok(best)
    };
    let (mut channels, mut size) = (3, crop);
    let mut kernels = Vec::new();
    for outputs in LAYERS {
        if outputs == 0 {
            size /= 2;
            kernels.push(None);
            continue;
        }
        let x = Tensor::randn(0f32, 1.0, (batch, channels, size, size), &device)?;
        let deviation = (2.0 / (channels * 9) as f32).sqrt();
        let weight = Tensor::randn(0f32, deviation, (outputs, channels, 3, 3), &device)?;
        let conv = FrozenConv::new(
            &weight,
            &Tensor::zeros(outputs, DType::F32, &device)?,
            settings,
        );
        let flops = (2 * batch * channels * 9 * outputs * size * size) as f64;
        let seconds = best(5, &mut || conv.forward(&x).map(drop))?;
        let input = Var::from_tensor(&x)?;
        let y = conv.forward(&input)?.sum_all()?;
        let backward = best(5, &mut || y.backward().map(drop))?;
        println!(
            "{channels:4} -> {outputs:4} at {size:3}: forward {:6.1} ms {:4.0} GFLOP/s, \
             backward {:6.1} ms {:4.0} GFLOP/s",
            seconds * 1e3,
            flops / seconds / 1e9,
            backward * 1e3,
            flops / backward / 1e9
        );
        kernels.push(Some(conv));
        channels = outputs;
    }
    let x = Var::rand(-1f32, 1.0, (batch, 3, crop, crop), &device)?;
    let forward = |x: &Tensor| -> Result<Tensor> {
        let mut y = x.clone();
        for kernel in &kernels {
            y = match kernel {
                Some(kernel) => kernel.forward(&y)?,
                None => max_pool2(&y)?,
            };
        }
        y.to_dtype(DType::F32)
    };
    let only_forward = best(5, &mut || forward(&x.as_tensor().detach()).map(drop))?;
    let both = best(5, &mut || forward(&x)?.sum_all()?.backward().map(drop))?;
    println!(
        "all layers: forward {:.0} ms, forward and backward {:.0} ms",
        only_forward * 1e3,
        both * 1e3
    );
    let x = Tensor::rand(0f32, 255.0, (batch, 3, crop, crop), &device)?;
    for width in [Width::Small, Width::Medium] {
        let network = Network::from(width);
        let tensors = network
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let variable = Var::randn(0f32, 0.1, shape, &device)?;
                Ok((name, variable.as_tensor().clone()))
            })
            .collect::<Result<_>>()?;
        let forward = || transformer(&network, &tensors, &x, None);
        let only_forward = best(5, &mut || forward().map(drop))?;
        let both = best(5, &mut || forward()?.sum_all()?.backward().map(drop))?;
        println!(
            "{width:?} transformer: forward {:.0} ms, forward and backward {:.0} ms",
            only_forward * 1e3,
            both * 1e3
        );
    }
    Ok(())
}
