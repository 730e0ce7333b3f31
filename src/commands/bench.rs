//! `repaint bench`: checks an engine against the reference, then times it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::checks::set_threads;
use crate::backend::candle::Candle;
use crate::backend::check::{difference, film, random_frame};
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::backend::{self, Backend, Device};
use crate::cli::{BenchArgs, BenchBackend};
use crate::frame::Frame;
use crate::model::Model;
use crate::network::{Network, Width};
use crate::steady::{self, Seen, Steadier, Watcher};
use crate::styles;

/// Frames painted before the first that is timed.
const WARM_UP: usize = 2;

/// An engine on the bench.
enum Engine {
    Cpu(Box<Cpu>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Cuda>),
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
    /// Median of what it takes to watch a frame of a film, which other frames are painted beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    watch_ms: Option<f64>,
    /// Median of what the GPU itself takes, without the bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_ms: Option<f64>,
    /// Shortest time of each layer: other programs lengthen some, never all.
    layers: Vec<(String, f64)>,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    let model = match (&args.model, &args.channels) {
        (Some(name), _) => styles::find(name)?,
        (None, Some(channels)) => Model::random(Network::new(*channels), 1)?,
        (None, None) => {
            let width = args.network.map_or(Width::Small, Width::from);
            Model::random(width.into(), 1)?
        }
    };
    set_threads(args.threads)?;
    let threads = args.threads.map(usize::from);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cores);
    let (width, height) = args.size;
    let input = random_frame(width, height);
    let mut output = Frame::default();
    let mut engine = Engine::open(args, threads)?;
    engine.backend().load(&model)?;
    engine.backend().stylize(&input, &mut output)?;
    let reference = match args.no_check {
        true => None,
        false => engine.reference(threads)?,
    };
    let largest_difference = match reference {
        Some(mut reference) => {
            reference.load(&model)?;
            let mut expected = Frame::default();
            reference.stylize(&input, &mut expected)?;
            Some(difference(&output, &expected))
        }
        None => None,
    };
    let mut film = args.film.then(|| Film::new(width, height));
    let runs = WARM_UP + usize::from(args.runs);
    let watch_times = film.as_mut().map(|film| film.watch(runs)).transpose()?;
    let (mut times, mut layers, mut gpu_times) = (Vec::new(), Vec::new(), Vec::new());
    let ahead = film.is_some() && engine.paints_ahead();
    for run in 0..runs {
        let start = Instant::now();
        match &mut film {
            Some(film) => film.paint(run, engine.backend(), &mut output)?,
            None => engine.backend().stylize(&input, &mut output)?,
        }
        if run >= WARM_UP {
            times.push(start.elapsed());
            // Looking inside would give a frame that is begun already the time to be done.
            if !ahead {
                gpu_times.extend(engine.gpu_time()?);
                layers.push(engine.layer_times()?);
            }
        }
    }
    for _ in 0..if ahead { args.runs } else { 0 } {
        gpu_times.extend(engine.gpu_time()?);
        layers.push(engine.layer_times()?);
    }
    times.sort();
    let median_ms = median(&mut times).unwrap_or_default();
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
        watch_ms: watch_times.and_then(|mut times| median(&mut times)),
        gpu_ms: median(&mut gpu_times),
        layers: shortest(&layers),
    };
    if args.json {
        say!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(())
}

/// A film on the bench: two frames in turns, each of which follows from the other.
struct Film {
    frames: [Frame; 2],
    seen: [Seen; 2],
    steadier: Steadier,
}

impl Film {
    fn new(width: usize, height: usize) -> Self {
        Self {
            frames: film(width, height),
            seen: Default::default(),
            steadier: Steadier::default(),
        }
    }

    /// Watches `runs` frames, at least 3, and says how long each took but for the first two.
    fn watch(&mut self, runs: usize) -> Result<Vec<Duration>> {
        let mut watcher = Watcher::new(steady::USUAL);
        let mut look = |run: usize| {
            let start = Instant::now();
            watcher.look(&self.frames[run % 2], &mut self.seen[run % 2])?;
            Ok(start.elapsed())
        };
        (0..runs).map(&mut look).skip(WARM_UP).collect()
    }

    fn paint(&mut self, run: usize, engine: &mut dyn Backend, output: &mut Frame) -> Result<()> {
        let (seen, next) = (&self.seen[run % 2], &self.seen[(run + 1) % 2]);
        engine.stylize_next(seen, Some(next), &mut self.steadier, output)
    }
}

impl Engine {
    fn open(args: &BenchArgs, threads: usize) -> Result<Self> {
        let device = Device::from(args.device);
        if args.backend == BenchBackend::Candle {
            return Ok(Self::Candle(Box::new(Candle::new(device, Some(threads))?)));
        }
        if device != Device::Cpu {
            #[cfg(feature = "cuda")]
            if let Ok(engine) = Cuda::new() {
                return Ok(Self::Cuda(Box::new(engine)));
            }
            // An error where the GPU was asked for, a remark where it lies idle.
            if let Some(text) = backend::open(device, Some(threads), None)?.remark {
                remark!("{text}");
            }
        }
        Ok(Self::Cpu(Box::new(Cpu::new(
            Some(threads),
            args.cpu_level,
        )?)))
    }

    fn backend(&mut self) -> &mut dyn Backend {
        match self {
            Self::Cpu(engine) => engine.as_mut(),
            #[cfg(feature = "cuda")]
            Self::Cuda(engine) => engine.as_mut(),
            Self::Candle(engine) => engine.as_mut(),
        }
    }

    /// Whether it begins with a frame before its turn.
    fn paints_ahead(&self) -> bool {
        match self {
            Self::Cpu(_) | Self::Candle(_) => false,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => true,
        }
    }

    /// What the paintings are held against.
    fn reference(&self, threads: usize) -> Result<Option<Box<dyn Backend>>> {
        Ok(match self {
            Self::Cpu(_) => Some(Box::new(Candle::new(Device::Cpu, Some(threads))?)),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Some(Box::new(Cpu::new(Some(threads), None)?)),
            Self::Candle(_) => None,
        })
    }

    /// How long the GPU takes for the last frame, without the bus.
    fn gpu_time(&mut self) -> Result<Option<Duration>> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(engine) => engine.replay().map(Some),
            _ => Ok(None),
        }
    }

    fn layer_times(&mut self) -> Result<Vec<(String, Duration)>> {
        match self {
            Self::Cpu(engine) => Ok(engine
                .layer_times()
                .map(|(name, time)| (name.to_string(), time))
                .collect()),
            #[cfg(feature = "cuda")]
            Self::Cuda(engine) => engine.launch_times(),
            Self::Candle(_) => Ok(Vec::new()),
        }
    }
}

fn print(figures: &Figures) {
    let [a, b, c] = figures.channels;
    let [width, height] = figures.size;
    say!(
        "{}, {} threads: {a},{b},{c} channels at {width}x{height}, {} runs{}",
        figures.engine,
        figures.threads,
        figures.runs,
        figures.watch_ms.map_or("", |_| " of a film"),
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
    if let Some(gpu_ms) = figures.gpu_ms {
        say!(
            "{gpu_ms:.3} ms of that on the GPU, without the bus: {:.1} frames/s",
            1e3 / gpu_ms
        );
    }
    if let Some(watch_ms) = figures.watch_ms {
        say!("{watch_ms:.2} ms more to watch a frame, beside the painting of the one before");
    }
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

/// Sorts; in milliseconds.
fn median(times: &mut [Duration]) -> Option<f64> {
    times.sort();
    times.get(times.len() / 2).copied().map(milliseconds)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
