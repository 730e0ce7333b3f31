//! The pipeline with mock stages: order, reuse of buffers, stopping, and who is blamed for what.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use repaint::frame::Frame;
use repaint::media::{FrameSink, FrameSource};
use repaint::pipeline::{self, Report};

/// Hands out frames numbered from 0; fails or panics at a number when told so.
#[derive(Default)]
struct Source {
    next: u64,
    frames: u64,
    fail_at: Option<u64>,
    buffers: HashSet<usize>,
}

impl FrameSource for Source {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        if Some(self.next) == self.fail_at {
            bail!("the disk is gone");
        }
        if self.next == self.frames {
            return Ok(false);
        }
        frame.shape_like(&Frame::new(16, 8));
        self.buffers.insert(frame.pixels.as_ptr() as usize);
        frame.index = self.next;
        frame.pts = self.next as i64 * 40;
        frame.pixels.fill(self.next as u8);
        self.next += 1;
        Ok(true)
    }
}

/// Notes what comes; fails at a number when told so.
#[derive(Default)]
struct Sink {
    seen: Vec<(u64, i64, u8)>,
    fail_at: Option<u64>,
    buffers: HashSet<usize>,
}

impl FrameSink for Sink {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        if Some(frame.index) == self.fail_at {
            bail!("no space left");
        }
        self.buffers.insert(frame.pixels.as_ptr() as usize);
        self.seen.push((frame.index, frame.pts, frame.pixels[0]));
        Ok(())
    }
}

/// Knows the number of a frame.
fn watch(frame: &Frame, seen: &mut u64) -> Result<()> {
    *seen = frame.index;
    Ok(())
}

fn invert(input: &Frame, seen: &u64, next: Option<&u64>, output: &mut Frame) -> Result<()> {
    assert_eq!(*seen, input.index, "what is known of this frame");
    assert!(next.is_none_or(|next| *next == seen + 1), "and of the next");
    output.shape_like(input);
    for (to, from) in output.pixels.iter_mut().zip(&input.pixels) {
        *to = 255 - from;
    }
    Ok(())
}

fn source(frames: u64) -> Source {
    Source {
        frames,
        ..Source::default()
    }
}

fn run(
    source: &mut Source,
    paint: impl FnMut(&Frame, &u64, Option<&u64>, &mut Frame) -> Result<()> + Send,
    sink: &mut Sink,
) -> Result<Report> {
    pipeline::run(
        source,
        watch,
        paint,
        sink,
        &AtomicBool::new(false),
        |_, _| {},
    )
}

#[test]
fn every_frame_arrives_painted_and_in_order() -> Result<()> {
    let (mut source, mut sink) = (source(100), Sink::default());
    let mut heard = Vec::new();
    let stop = AtomicBool::new(false);
    let report = pipeline::run(&mut source, watch, invert, &mut sink, &stop, |n, _| {
        heard.push(n)
    })?;
    let expected: Vec<_> = (0..100)
        .map(|i| (i, i as i64 * 40, 255 - i as u8))
        .collect();
    assert_eq!(sink.seen, expected);
    assert_eq!(heard, (1..=100).collect::<Vec<_>>());
    assert_eq!((report.frames, report.stopped), (100, false));
    Ok(())
}

#[test]
fn buffers_travel_back_instead_of_being_allocated() -> Result<()> {
    let (mut source, mut sink) = (source(500), Sink::default());
    run(&mut source, invert, &mut sink)?;
    assert!(
        source.buffers.len() <= 10,
        "{} buffers in",
        source.buffers.len()
    );
    assert!(
        sink.buffers.len() <= 6,
        "{} buffers out",
        sink.buffers.len()
    );
    Ok(())
}

#[test]
fn time_is_counted_for_the_stage_that_spends_it() -> Result<()> {
    let (mut source, mut sink) = (source(10), Sink::default());
    let slow = |input: &Frame, seen: &u64, next: Option<&u64>, output: &mut Frame| {
        std::thread::sleep(Duration::from_millis(10));
        invert(input, seen, next, output)
    };
    let report = run(&mut source, slow, &mut sink)?;
    assert!(report.painting >= Duration::from_millis(100), "{report:?}");
    assert!(report.decoding < Duration::from_millis(50), "{report:?}");
    assert!(report.elapsed >= report.painting, "{report:?}");
    Ok(())
}

#[test]
fn a_frame_is_watched_while_the_one_before_is_painted() -> Result<()> {
    let pause = || std::thread::sleep(Duration::from_millis(10));
    let slow_watch = |frame: &Frame, seen: &mut u64| {
        pause();
        watch(frame, seen)
    };
    let slow_paint = |input: &Frame, seen: &u64, next: Option<&u64>, output: &mut Frame| {
        pause();
        invert(input, seen, next, output)
    };
    let (mut source, mut sink) = (source(30), Sink::default());
    let stop = AtomicBool::new(false);
    let report = pipeline::run(
        &mut source,
        slow_watch,
        slow_paint,
        &mut sink,
        &stop,
        |_, _| {},
    )?;
    assert!(report.watching >= Duration::from_millis(300), "{report:?}");
    let one_after_the_other = report.watching + report.painting;
    assert!(report.elapsed < one_after_the_other * 3 / 4, "{report:?}");
    Ok(())
}

#[test]
fn the_next_frame_is_known_where_painting_takes_longest() -> Result<()> {
    let mut known = 0;
    let slow = |input: &Frame, seen: &u64, next: Option<&u64>, output: &mut Frame| {
        std::thread::sleep(Duration::from_millis(5));
        known += u64::from(next.is_some());
        invert(input, seen, next, output)
    };
    run(&mut source(30), slow, &mut Sink::default())?;
    assert!((20..30).contains(&known), "{known} of 30");
    Ok(())
}

#[test]
fn no_frames_make_an_empty_report() -> Result<()> {
    let report = run(&mut source(0), invert, &mut Sink::default())?;
    assert_eq!(report.frames, 0);
    Ok(())
}

#[test]
fn a_failing_source_is_the_cause() {
    let mut source = Source {
        fail_at: Some(20),
        ..source(100)
    };
    let error = run(&mut source, invert, &mut Sink::default()).unwrap_err();
    assert_eq!(format!("{error:#}"), "the disk is gone");
}

#[test]
fn a_failing_sink_is_the_cause_although_the_others_lose_their_neighbour() {
    let mut sink = Sink {
        fail_at: Some(3),
        ..Sink::default()
    };
    let error = run(&mut source(1000), invert, &mut sink).unwrap_err();
    assert_eq!(format!("{error:#}"), "no space left");
}

#[test]
fn a_failing_painter_is_the_cause_and_names_the_frame() {
    let mut sink = Sink::default();
    let fail = |input: &Frame, seen: &u64, next: Option<&u64>, output: &mut Frame| {
        if input.index == 7 {
            bail!("out of memory");
        }
        invert(input, seen, next, output)
    };
    let error = run(&mut source(1000), fail, &mut sink).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "could not paint frame 7: out of memory"
    );
    assert_eq!(sink.seen.len(), 7);
}

#[test]
fn a_panic_becomes_an_error_that_names_the_stage() {
    let explode = |_: &Frame, _: &u64, _: Option<&u64>, _: &mut Frame| -> Result<()> {
        panic!("index out of range")
    };
    let error = run(&mut source(1000), explode, &mut Sink::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the paint stage panicked: index out of range"
    );
}

#[test]
fn stopping_keeps_what_was_painted() -> Result<()> {
    let stop = AtomicBool::new(false);
    let (mut source, mut sink) = (source(u64::MAX), Sink::default());
    let report = pipeline::run(&mut source, watch, invert, &mut sink, &stop, |frames, _| {
        if frames == 30 {
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    assert!(report.stopped);
    assert!((30..60).contains(&report.frames), "{report:?}");
    assert_eq!(sink.seen.len() as u64, report.frames);
    Ok(())
}
