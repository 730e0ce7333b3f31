//! Live pacing with mock stages: the newest frame wins, drops are counted, errors keep their cause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use repaint::frame::Frame;
use repaint::media::{LiveSource, Reading};
use repaint::pipeline::live::{self, Live, Newest, Picture, Shot, Taken};
use repaint::pipeline::worker::Worker;

/// A camera that sends a frame every `interval`, and fails or falls silent when told so.
struct Camera {
    interval: Duration,
    next: u64,
    fail_at: Option<u64>,
    silent_at: Option<u64>,
}

impl Default for Camera {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(5),
            next: 0,
            fail_at: None,
            silent_at: None,
        }
    }
}

impl LiveSource for Camera {
    fn size(&self) -> (usize, usize) {
        (16, 8)
    }

    fn frame_rate(&self) -> (i32, i32) {
        (200, 1)
    }

    fn read(&mut self, frame: &mut Frame) -> Result<Reading> {
        std::thread::sleep(self.interval);
        if Some(self.next) == self.fail_at {
            bail!("the camera burns");
        }
        if self.silent_at.is_some_and(|at| self.next >= at) {
            return Ok(Reading::Trouble("unplugged".into()));
        }
        frame.shape_like(&Frame::new(16, 8));
        frame.index = self.next;
        self.next += 1;
        Ok(Reading::Frame(Instant::now()))
    }
}

fn copy(shot: Option<&Shot>, picture: &mut Picture) -> Result<bool> {
    let Some(shot) = shot else {
        return Ok(false);
    };
    picture.at = shot.at;
    picture.painting.shape_like(&shot.frame);
    Ok(true)
}

/// Shows until `frames` pictures came or the stages ended; returns their numbers.
fn show(live: &Live, frames: usize, pause: Duration) -> Result<Vec<u64>> {
    let mut seen = Vec::new();
    while seen.len() < frames {
        match live.next(Duration::from_secs(5)) {
            Taken::Value(picture) => {
                seen.push(picture.painting.index);
                live.give_back(picture);
                std::thread::sleep(pause);
            }
            Taken::Nothing => bail!("no picture for five seconds"),
            Taken::Closed => break,
        }
    }
    Ok(seen)
}

/// Asserts that frames came in order and that some were left out.
#[track_caller]
fn assert_skips(seen: &[u64]) {
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    let span = seen[seen.len() - 1] - seen[0];
    assert!(span as usize >= seen.len(), "none was left out: {seen:?}");
}

#[test]
fn a_fast_chain_shows_every_frame_in_order() -> Result<()> {
    let mut camera = Camera {
        interval: Duration::from_millis(20),
        ..Camera::default()
    };
    let passed = AtomicU64::new(0);
    let count = |_: &Picture| {
        passed.fetch_add(1, Ordering::Relaxed);
    };
    let seen = live::run(&mut camera, copy, count, |live| {
        show(live, 10, Duration::ZERO)
    })?;
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    // A machine that does other things, too, may miss some.
    let next = seen.windows(2).filter(|pair| pair[1] == pair[0] + 1);
    assert!(next.count() > seen.len() / 2, "{seen:?}");
    assert!(passed.load(Ordering::Relaxed) >= 10);
    Ok(())
}

#[test]
fn a_slow_painter_drops_frames_and_paints_the_newest() -> Result<()> {
    let mut latencies = Vec::new();
    let slow = |shot: Option<&Shot>, picture: &mut Picture| {
        if let Some(shot) = shot {
            latencies.push(shot.at.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        copy(shot, picture)
    };
    let (seen, captured, dropped) = live::run(
        &mut Camera::default(),
        slow,
        |_| (),
        |live| {
            let seen = show(live, 10, Duration::ZERO)?;
            Ok((seen, live.captured(), live.unpainted() + live.unshown()))
        },
    )?;
    assert_skips(&seen);
    let shown = seen.len() as u64;
    assert!(dropped > 0, "none of {captured} dropped");
    // All that was captured was shown, dropped, or is on its way.
    assert!(
        (captured - 3..=captured).contains(&(shown + dropped)),
        "{captured} captured, {shown} shown, {dropped} dropped"
    );
    latencies.sort();
    let median = latencies[latencies.len() / 2];
    assert!(median < Duration::from_millis(40), "old frames: {median:?}");
    Ok(())
}

#[test]
fn a_slow_window_gets_the_newest_painting() -> Result<()> {
    let pause = Duration::from_millis(50);
    let (seen, dropped) = live::run(
        &mut Camera::default(),
        copy,
        |_| (),
        |live| Ok((show(live, 8, pause)?, live.unpainted() + live.unshown())),
    )?;
    assert_skips(&seen);
    assert!(dropped > 0);
    Ok(())
}

#[test]
fn a_failing_camera_is_the_cause() {
    let mut camera = Camera {
        fail_at: Some(5),
        ..Camera::default()
    };
    let ended = live::run(
        &mut camera,
        copy,
        |_| (),
        |live| show(live, usize::MAX, Duration::ZERO),
    );
    assert_eq!(ended.unwrap_err().to_string(), "the camera burns");
}

#[test]
fn a_panicking_painter_ends_the_run_with_its_name() {
    let explode = |_: Option<&Shot>, _: &mut Picture| -> Result<bool> { panic!("out of paint") };
    let ended = live::run(
        &mut Camera::default(),
        explode,
        |_| (),
        |live| show(live, usize::MAX, Duration::ZERO),
    );
    let words = ended.unwrap_err().to_string();
    assert_eq!(words, "the paint stage panicked: out of paint");
}

#[test]
fn a_silent_camera_leaves_the_window_alive_and_says_why() -> Result<()> {
    let mut camera = Camera {
        silent_at: Some(3),
        ..Camera::default()
    };
    let asked = AtomicU64::new(0);
    let paint = |shot: Option<&Shot>, picture: &mut Picture| {
        asked.fetch_add(u64::from(shot.is_none()), Ordering::Relaxed);
        copy(shot, picture)
    };
    let trouble = live::run(
        &mut camera,
        paint,
        |_| (),
        |live| {
            std::thread::sleep(Duration::from_millis(300));
            Ok(live.trouble())
        },
    )?;
    assert_eq!(trouble.as_deref(), Some("unplugged"));
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        asked >= 2,
        "the painter was asked {asked} times without a shot"
    );
    Ok(())
}

#[test]
fn what_is_replaced_comes_back_to_be_filled_again() {
    let slot = Newest::<Vec<u8>>::default();
    let first = slot.put(vec![1; 100]);
    assert!(first.is_empty());
    let back = slot.put(vec![2; 100]);
    assert_eq!((back, slot.replaced()), (vec![1; 100], 1));
    assert_eq!(slot.take(Duration::ZERO), Taken::Value(vec![2; 100]));
    assert_eq!(slot.take(Duration::ZERO), Taken::Nothing);
    slot.give_back(vec![3; 100]);
    assert_eq!(slot.put(Vec::new()), vec![3; 100]);
}

#[test]
fn a_worker_refuses_what_it_has_no_room_for_and_tells_its_error() -> Result<()> {
    let slow = Worker::start("slow", 1, |_: &mut u32| {
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    })?;
    let taken = (0..10).filter(|&i| slow.offer(i)).count();
    assert!((1..=2).contains(&taken), "{taken}");
    slow.finish()?;
    let failing = Worker::start("failing", 4, |n: &mut u32| match n {
        2 => bail!("two is one too many"),
        _ => Ok(()),
    })?;
    for n in 0..5 {
        failing.send(n);
    }
    assert_eq!(
        failing.finish().unwrap_err().to_string(),
        "two is one too many"
    );
    Ok(())
}
