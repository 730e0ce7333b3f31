//! `repaint bench`: checks an engine against the reference, then times it.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backend::candle::Candle;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Device};
use crate::cli::{BenchArgs, BenchBackend};
use crate::frame::Frame;
use crate::model::Model;
use crate::network::{Network, Width};

/// Frames painted before the first that is timed.
const WARM_UP: usize = 2;

/// An engine on the bench.
enum Engine {
    Cpu(Box<Cpu>),
    Candle(Box<Candle>),
}

/// Figures of a run; times in milliseconds.
#[derive(serde::Serialize)]
struct Figures {
    engine: String,
    channels: [usize; 3],
    size: [usize; 2],
    threads: usize,
    runs: usize,
    largest_difference: Option<u8>,
    median_ms: f64,
    p95_ms: f64,
    min_ms: f64,
    fps: f64,
    gflops: f64,
    /// Shortest time of each layer: other programs lengthen some, never all.
    layers: Vec<(String, f64)>,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    let model = match (&args.model, &args.channels) {
        (Some(name), _) => Model::find(name)?,
        (None, Some(channels)) => Model::random(Network::new(*channels), 1)?,
        (None, None) => {
            let width = args.network.map_or(Width::Small, Width::from);
            Model::random(width.into(), 1)?
        }
    };
    let threads = args.threads.map(usize::from);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cores);
    let (width, height) = args.size;
    let input = random_frame(width, height);
    let mut output = Frame::default();
    let mut engine = Engine::open(args, threads)?;
    engine.backend().load(&model)?;
    engine.backend().stylize(&input, &mut output)?;
    let largest_difference = match &engine {
        Engine::Cpu(_) if !args.no_check => {
            let mut reference = Candle::new(Device::Cpu, Some(threads))?;
            reference.load(&model)?;
            let mut expected = Frame::default();
            reference.stylize(&input, &mut expected)?;
            Some(difference(&output, &expected))
        }
        _ => None,
    };
    let (mut times, mut layers) = (Vec::new(), Vec::new());
    for run in 0..WARM_UP + usize::from(args.runs) {
        let start = Instant::now();
        engine.backend().stylize(&input, &mut output)?;
        if run >= WARM_UP {
            times.push(start.elapsed());
            layers.push(engine.layer_times());
        }
    }
    times.sort();
    let median_ms = milliseconds(times[times.len() / 2]);
    let macs = model.network.macs_per_pixel() * (width * height) as f64;
    let figures = Figures {
        engine: engine.backend().name().to_string(),
        channels: model.network.channels,
        size: [width, height],
        threads,
        runs: times.len(),
        largest_difference,
        median_ms,
        p95_ms: milliseconds(times[(times.len() * 95).div_ceil(100) - 1]),
        min_ms: milliseconds(times[0]),
        fps: 1e3 / median_ms,
        gflops: 2.0 * macs / median_ms / 1e6,
        layers: shortest(&layers),
    };
    if args.json {
        say!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(())
}

impl Engine {
    fn open(args: &BenchArgs, threads: usize) -> Result<Self> {
        Ok(match args.backend {
            BenchBackend::Cpu => {
                let level = args.cpu_level.map(Into::into);
                Self::Cpu(Box::new(Cpu::new(Some(threads), level)?))
            }
            BenchBackend::Candle => {
                Self::Candle(Box::new(Candle::new(Device::Cpu, Some(threads))?))
            }
        })
    }

    fn backend(&mut self) -> &mut dyn Backend {
        match self {
            Self::Cpu(engine) => engine.as_mut(),
            Self::Candle(engine) => engine.as_mut(),
        }
    }

    fn layer_times(&self) -> Vec<(String, Duration)> {
        match self {
            Self::Cpu(engine) => engine
                .layer_times()
                .map(|(name, time)| (name.to_string(), time))
                .collect(),
            Self::Candle(_) => Vec::new(),
        }
    }
}

fn print(figures: &Figures) {
    let [a, b, c] = figures.channels;
    let [width, height] = figures.size;
    say!(
        "{}, {} threads: {a},{b},{c} channels at {width}x{height}, {} runs",
        figures.engine,
        figures.threads,
        figures.runs
    );
    if let Some(difference) = figures.largest_difference {
        say!("largest difference from the reference: {difference}/255");
    }
    say!(
        "median {:.2} ms, p95 {:.2} ms, min {:.2} ms: {:.1} frames/s, {:.0} GFLOP/s (direct count)",
        figures.median_ms,
        figures.p95_ms,
        figures.min_ms,
        figures.fps,
        figures.gflops
    );
    let sum: f64 = figures.layers.iter().map(|layer| layer.1).sum();
    for (name, time) in &figures.layers {
        let share = 100.0 * time / sum;
        say!("  {name:12} {time:8.3} ms {share:5.1} %");
    }
}

fn shortest(runs: &[Vec<(String, Duration)>]) -> Vec<(String, f64)> {
    let layers = runs.first().into_iter().flatten().enumerate();
    layers
        .map(|(layer, (name, _))| {
            let times = runs.iter().map(|run| run[layer].1);
            (name.clone(), milliseconds(times.min().unwrap_or_default()))
        })
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The largest difference of a value between two frames of one size.
pub fn difference(a: &Frame, b: &Frame) -> u8 {
    let pairs = a.pixels.iter().zip(&b.pixels);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// A picture of slowly changing colours with noise, the same on every call.
pub fn random_frame(width: usize, height: usize) -> Frame {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut frame = Frame::new(width, height);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        let (x, y) = (i / 3 % width, i / 3 / width);
        let wave = ((x * (i % 3 + 1)) as f32 / 37.0).sin() + (y as f32 / 23.0).cos();
        *value = (127.0 + 45.0 * wave + 30.0 * random.random::<f32>()) as u8;
    }
    frame
}
