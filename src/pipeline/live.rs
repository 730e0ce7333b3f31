//! Live pacing: capture, paint and show overlap in threads of their own, and the newest frame wins.
//!
//! Between two stages lies one slot. Who comes with a newer frame takes back the buffers of the one
//! that nobody fetched, which counts as dropped; in steady state nothing is allocated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::join;
use crate::frame::Frame;
use crate::media::{LiveSource, Reading};

/// How long the painter waits for a frame before it looks whether anything else is to be done.
const PATIENCE: Duration = Duration::from_millis(50);

/// Buffers kept for later: one in each hand beside the slot.
const SPARES: usize = 2;

/// A frame as the camera took it.
#[derive(Debug)]
pub struct Shot {
    /// The frame.
    pub frame: Frame,
    /// When it was taken.
    pub at: Instant,
}

impl Default for Shot {
    fn default() -> Self {
        Self {
            frame: Frame::default(),
            at: Instant::now(),
        }
    }
}

/// A painted frame.
#[derive(Debug)]
pub struct Picture {
    /// What was painted, at the size of the painting.
    pub source: Frame,
    /// The painting.
    pub painting: Frame,
    /// Width and height at which it was painted, in pixels, where it was enlarged from there.
    pub painted: (usize, usize),
    /// When the frame was taken.
    pub at: Instant,
}

impl Default for Picture {
    fn default() -> Self {
        Self {
            source: Frame::default(),
            painting: Frame::default(),
            painted: (0, 0),
            at: Instant::now(),
        }
    }
}

/// A slot for one value, in which the newest wins.
pub struct Newest<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    value: Option<T>,
    spares: Vec<T>,
    replaced: u64,
    closed: bool,
}

/// What [`Newest::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// A value.
    Value(T),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl<T: Default> Default for Newest<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                value: None,
                spares: Vec::new(),
                replaced: 0,
                closed: false,
            }),
            filled: Condvar::new(),
        }
    }
}

impl<T: Default> Newest<T> {
    /// Lays a value into the slot. Returns one to fill next: the value it replaces, one that was
    /// given back, or a fresh one.
    pub fn put(&self, value: T) -> T {
        let mut state = self.lock();
        let old = state.value.replace(value);
        state.replaced += u64::from(old.is_some());
        let next = old.or_else(|| state.spares.pop());
        drop(state);
        self.filled.notify_one();
        next.unwrap_or_default()
    }

    /// Takes the value out of the slot; waits for one at most for `patience`.
    pub fn take(&self, patience: Duration) -> Taken<T> {
        let empty = |state: &mut State<T>| state.value.is_none() && !state.closed;
        let waited = self
            .filled
            .wait_timeout_while(self.lock(), patience, empty)
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = waited.0;
        match state.value.take() {
            Some(value) => Taken::Value(value),
            None if state.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    /// Returns a value that is done with, to be filled again.
    pub fn give_back(&self, value: T) {
        let mut state = self.lock();
        if state.spares.len() < SPARES {
            state.spares.push(value);
        }
    }

    /// Values that were replaced before anyone took them.
    pub fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// The state stays whole whatever panics elsewhere.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the stages of a live run share with the caller's thread.
#[derive(Default)]
pub struct Live {
    shots: Newest<Shot>,
    pictures: Newest<Picture>,
    captured: AtomicU64,
    trouble: Mutex<Option<String>>,
    ended: AtomicBool,
}

impl Live {
    /// Waits for the next painted picture, at most for `patience`. [`Taken::Closed`] means that a
    /// stage failed; return, and [`run`] says why.
    pub fn next(&self, patience: Duration) -> Taken<Picture> {
        self.pictures.take(patience)
    }

    /// Returns a picture that is no longer shown.
    pub fn give_back(&self, picture: Picture) {
        self.pictures.give_back(picture);
    }

    /// Frames captured so far.
    pub fn captured(&self) -> u64 {
        self.captured.load(Ordering::Relaxed)
    }

    /// Frames that a newer one replaced before they were painted.
    pub fn unpainted(&self) -> u64 {
        self.shots.replaced()
    }

    /// Paintings that a newer one replaced before they were shown.
    pub fn unshown(&self) -> u64 {
        self.pictures.replaced()
    }

    /// Why the camera gives no picture, while it gives none.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, words: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.shots.close();
        self.pictures.close();
    }
}

/// Ends every stage when one of them ends, be it by a panic.
struct EndAll<'a>(&'a Live);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Captures from `source`, paints with `paint`, shows with `show`, each in a thread of its own and
/// `show` on the caller's, until `show` returns or a stage fails.
///
/// `paint` fills the picture from the shot and says whether there is a picture to show; it is also
/// called without a shot when none came for a while, so that what else changed can be painted.
/// `pass_on` sees each picture before it is shown and must not wait.
pub fn run<T>(
    source: &mut dyn LiveSource,
    mut paint: impl FnMut(Option<&Shot>, &mut Picture) -> Result<bool> + Send,
    mut pass_on: impl FnMut(&Picture) + Send,
    show: impl FnOnce(&Live) -> Result<T>,
) -> Result<T> {
    let live = &Live::default();
    let (captured, painted, shown) = std::thread::scope(|scope| {
        let capture = Builder::new()
            .name("capture".into())
            .spawn_scoped(scope, move || {
                let _end = EndAll(live);
                capture(source, live)
            });
        let paint = Builder::new()
            .name("paint".into())
            .spawn_scoped(scope, move || {
                let _end = EndAll(live);
                paint_newest(&mut paint, &mut pass_on, live)
            });
        let shown = {
            let _end = EndAll(live);
            show(live)
        };
        (join("capture", capture), join("paint", paint), shown)
    });
    captured?;
    painted?;
    shown
}

fn capture(source: &mut dyn LiveSource, live: &Live) -> Result<()> {
    let mut shot = Shot::default();
    while !live.ended.load(Ordering::Relaxed) {
        match source.read(&mut shot.frame)? {
            Reading::Frame(at) => {
                shot.at = at;
                live.captured.fetch_add(1, Ordering::Relaxed);
                live.set_trouble(None);
                shot = live.shots.put(shot);
            }
            Reading::Nothing => {}
            Reading::Trouble(words) => live.set_trouble(Some(words)),
        }
    }
    Ok(())
}

fn paint_newest(
    paint: &mut impl FnMut(Option<&Shot>, &mut Picture) -> Result<bool>,
    pass_on: &mut impl FnMut(&Picture),
    live: &Live,
) -> Result<()> {
    let mut picture = Picture::default();
    loop {
        let shot = match live.shots.take(PATIENCE) {
            Taken::Value(shot) => Some(shot),
            Taken::Nothing => None,
            Taken::Closed => return Ok(()),
        };
        let painted = paint(shot.as_ref(), &mut picture).context("could not paint")?;
        if let Some(shot) = shot {
            live.shots.give_back(shot);
        }
        if painted {
            pass_on(&picture);
            picture = live.pictures.put(picture);
        }
    }
}
