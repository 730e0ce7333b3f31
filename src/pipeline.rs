//! The path of a frame through threads: decode, watch, paint, encode, each stage in one of its own.
//!
//! Every frame passes in order through short queues, and its buffer travels back to be filled
//! again: in steady state nothing is allocated. The end of the stream is a dropped sender. A stage
//! that fails hangs up on its neighbours, which end quietly, so that the one error is the cause.
//!
//! This file paces files, where every frame counts; [`live`] paces what happens now, where the
//! newest frame wins.

pub mod live;
pub mod worker;

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::frame::Frame;
use crate::media::{FrameSink, FrameSource};

/// Frames between two stages. Four even out key frames and encoder bursts of some 100 ms; more
/// would only cost memory (25 MB a frame at 4K) and delay the answer to Ctrl-C.
const QUEUE: usize = 4;

/// Frames that were watched and wait for the painter: the one after that which it paints, so that an engine
/// may begin with it, and one more, as watching takes the same time for every frame.
const WATCHED: usize = 2;

/// Buffers in circulation on either side of the painter: full queues, one in each hand, two in the painter's.
const BUFFERS: usize = QUEUE + WATCHED + 4;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Frames that the sink took.
    pub frames: u64,
    /// Whether the stop flag ended the run before the source did.
    pub stopped: bool,
    /// From the first thread's start to the last one's end.
    pub elapsed: Duration,
    /// Time spent decoding, without waiting.
    pub decoding: Duration,
    /// Time spent watching, without waiting.
    pub watching: Duration,
    /// Time spent painting, without waiting.
    pub painting: Duration,
    /// Time spent encoding, without waiting.
    pub encoding: Duration,
}

impl Report {
    /// Frames a second over the whole run.
    pub fn fps(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Takes every frame of `source` through `watch` and `paint` to `sink`, in order. `watch` finds out what
/// is to be known of a frame before it is painted; `paint` fills its last argument from these two, and
/// is told of the next frame, too, where that was watched already.
/// `stop` ends the run: frames already painted still reach the sink. `progress` hears, after each
/// frame, how many the sink has taken, and may look at it.
///
/// Fails with the error of the stage that failed first along the path; a panic becomes an error
/// that names its stage.
pub fn run<S, T, P, K>(
    source: &mut S,
    watch: impl FnMut(&Frame, &mut T) -> Result<()> + Send,
    paint: P,
    sink: &mut K,
    stop: &AtomicBool,
    progress: impl FnMut(u64, &K) + Send,
) -> Result<Report>
where
    S: FrameSource + Send,
    T: Default + Send,
    P: FnMut(&Frame, &T, Option<&T>, &mut Frame) -> Result<()> + Send,
    K: FrameSink + Send,
{
    let start = Instant::now();
    let (decoded, to_watch) = bounded(QUEUE);
    let (watched, to_paint) = bounded(WATCHED);
    let (painted, to_encode) = bounded(QUEUE);
    let (empty, to_fill) = bounded(BUFFERS);
    let (known, to_know) = bounded(WATCHED + 3);
    let (used, to_reuse) = bounded(BUFFERS);
    let (decoding, watching, painting, encoding) = std::thread::scope(|scope| {
        let stage = |name: &str| Builder::new().name(name.into());
        let decode =
            stage("decode").spawn_scoped(scope, move || decode(source, &decoded, &to_fill, stop));
        let watch = stage("watch").spawn_scoped(scope, move || {
            watch_frames(watch, &to_watch, &watched, &to_know)
        });
        // A full or closed way back only means that the buffer is not needed again.
        let give_back = move |(frame, seen)| {
            let _ = empty.try_send(frame);
            let _ = known.try_send(seen);
        };
        let paint = stage("paint").spawn_scoped(scope, move || {
            paint_frames(paint, &to_paint, give_back, (&painted, &to_reuse), stop)
        });
        let encode =
            stage("encode").spawn_scoped(scope, move || encode(sink, &to_encode, &used, progress));
        (
            join("decode", decode),
            join("watch", watch),
            join("paint", paint),
            join("encode", encode),
        )
    });
    let (decoding, watching) = (decoding?, watching?);
    let (painting, encoding) = (painting?, encoding?);
    Ok(Report {
        frames: encoding.frames,
        stopped: decoding.stopped || painting.stopped,
        elapsed: start.elapsed(),
        decoding: decoding.busy,
        watching: watching.busy,
        painting: painting.busy,
        encoding: encoding.busy,
    })
}

/// What one stage did.
#[derive(Default)]
struct Stage {
    frames: u64,
    busy: Duration,
    stopped: bool,
}

impl Stage {
    /// Does a piece of work and counts its time.
    fn timed<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.busy += start.elapsed();
        result
    }

    /// Whether the stage is to end early.
    fn is_stopped(&mut self, stop: &AtomicBool) -> bool {
        self.stopped = stop.load(Ordering::Relaxed);
        self.stopped
    }
}

fn decode(
    source: &mut impl FrameSource,
    decoded: &Sender<Frame>,
    to_fill: &Receiver<Frame>,
    stop: &AtomicBool,
) -> Result<Stage> {
    let mut stage = Stage::default();
    loop {
        let mut frame = to_fill.try_recv().unwrap_or_default();
        if !stage.timed(|| source.read(&mut frame))? || stage.is_stopped(stop) {
            return Ok(stage);
        }
        stage.frames += 1;
        if decoded.send(frame).is_err() {
            return Ok(stage); // a later stage ended and says why
        }
    }
}

fn watch_frames<T: Default>(
    mut watch: impl FnMut(&Frame, &mut T) -> Result<()>,
    decoded: &Receiver<Frame>,
    watched: &Sender<(Frame, T)>,
    to_know: &Receiver<T>,
) -> Result<Stage> {
    let mut stage = Stage::default();
    for frame in decoded {
        let mut seen = to_know.try_recv().unwrap_or_default();
        stage
            .timed(|| watch(&frame, &mut seen))
            .with_context(|| format!("could not watch frame {}", frame.index))?;
        stage.frames += 1;
        if watched.send((frame, seen)).is_err() {
            break; // as in `decode`
        }
    }
    Ok(stage)
}

/// `output`: where paintings go, and buffers for them.
fn paint_frames<T>(
    mut paint: impl FnMut(&Frame, &T, Option<&T>, &mut Frame) -> Result<()>,
    to_paint: &Receiver<(Frame, T)>,
    give_back: impl Fn((Frame, T)),
    output: (&Sender<Frame>, &Receiver<Frame>),
    stop: &AtomicBool,
) -> Result<Stage> {
    let (mut stage, mut ahead) = (Stage::default(), None);
    while let Some((frame, seen)) = ahead.take().or_else(|| to_paint.recv().ok()) {
        if stage.is_stopped(stop) {
            break;
        }
        ahead = to_paint.try_recv().ok();
        let next = ahead.as_ref().map(|(_, seen)| seen);
        let mut painting = output.1.try_recv().unwrap_or_default();
        stage
            .timed(|| paint(&frame, &seen, next, &mut painting))
            .with_context(|| format!("could not paint frame {}", frame.index))?;
        stage.frames += 1;
        give_back((frame, seen));
        if output.0.send(painting).is_err() {
            break; // the encoder ended and says why
        }
    }
    Ok(stage)
}

fn encode<K: FrameSink>(
    sink: &mut K,
    to_encode: &Receiver<Frame>,
    used: &Sender<Frame>,
    mut progress: impl FnMut(u64, &K),
) -> Result<Stage> {
    let mut stage = Stage::default();
    for frame in to_encode {
        stage.timed(|| sink.write(&frame))?;
        stage.frames += 1;
        progress(stage.frames, sink);
        let _ = used.try_send(frame); // as in `run`
    }
    Ok(stage)
}

/// Waits for a stage; a panic becomes an error.
fn join<T>(name: &str, thread: std::io::Result<ScopedJoinHandle<'_, Result<T>>>) -> Result<T> {
    let thread = thread.with_context(|| format!("could not start the {name} thread"))?;
    thread
        .join()
        .unwrap_or_else(|panic| Err(anyhow!("the {name} stage panicked: {}", words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
