//! A fixed team of worker threads for work that comes in bursts of well under a millisecond.
//!
//! Workers spin briefly for the next burst, because the layers of a frame follow each other at
//! once, then sleep. A burst never waits for a worker that has not woken up or has lost its core
//! to another program before it began: the others do its share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a worker spins for more work before it sleeps: longer than the caller needs between
/// two layers.
const PATIENCE: Duration = Duration::from_micros(100);

/// In [`Shared::state`]: workers may enter the burst. The bits above count bursts, those below the
/// workers that entered.
const OPEN: u64 = 1 << 31;
const BURST: u64 = 1 << 32;

type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// The threads and what they share with the caller.
pub(super) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: AtomicU64,
    left: AtomicUsize,
    work: Mutex<Option<Work<'static>>>,
    sleepers: Mutex<Vec<Thread>>,
    panicked: AtomicBool,
    ended: AtomicBool,
}

impl Team {
    /// Starts a team of `threads`, the caller being one of them.
    pub fn new(threads: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            sleepers: Mutex::new(Vec::with_capacity(threads)),
            ..Shared::default()
        });
        let mut team = Self {
            shared,
            workers: Vec::new(),
        };
        for worker in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new()
                .name(format!("paint-{worker}"))
                .spawn(move || shared.serve(worker))
                .context("could not start a worker thread")?;
            team.workers.push(thread);
        }
        Ok(team)
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` with the number of each worker that comes in time, among them the caller as
    /// number 0, and returns when all have come back. Whoever comes must find something to do or
    /// return.
    pub fn run(&mut self, work: Work) {
        if self.workers.is_empty() {
            return work(0);
        }
        let shared = &self.shared;
        // SAFETY: workers take the reference only after entering the open burst, and this function
        // returns, even by a panic of `work`, only after the burst is closed and they have left.
        let lasting = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        *lock(&shared.work) = Some(lasting);
        shared.left.store(0, Ordering::Relaxed);
        let burst = shared.state.load(Ordering::Relaxed) / BURST + 1;
        shared.state.store((burst * BURST) | OPEN, Ordering::SeqCst);
        for sleeper in lock(&shared.sleepers).drain(..) {
            sleeper.unpark();
        }
        let own = catch_unwind(AssertUnwindSafe(|| work(0)));
        let entered = shared.state.fetch_and(!OPEN, Ordering::AcqRel) & (OPEN - 1);
        let mut spins = 0_u32;
        while shared.left.load(Ordering::Acquire) != entered as usize {
            spins += 1;
            if spins.is_multiple_of(1 << 12) {
                std::thread::yield_now(); // a worker may be waiting for this very core
            }
            std::hint::spin_loop();
        }
        *lock(&shared.work) = None;
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(
            !shared.panicked.load(Ordering::Relaxed),
            "a worker panicked"
        );
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panic was reported by the burst it happened in.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn serve(&self, worker: usize) {
        let mut done = 0; // the last burst that this worker took part in
        while let Some(burst) = self.enter(done) {
            done = burst;
            let work = *lock(&self.work);
            if let Some(work) = work
                && catch_unwind(AssertUnwindSafe(|| work(worker))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.left.fetch_add(1, Ordering::Release);
        }
    }

    /// Waits for a burst other than `done` and enters it; `None` when the team ends.
    fn enter(&self, done: u64) -> Option<u64> {
        let mut since = Instant::now();
        let mut spins = 0_u32;
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state & OPEN != 0 && state / BURST != done {
                let entered = self.state.compare_exchange(
                    state,
                    state + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    return Some(state / BURST);
                }
                continue;
            }
            spins += 1;
            if spins.is_multiple_of(64) && since.elapsed() > PATIENCE {
                if self.ended.load(Ordering::SeqCst) {
                    return None;
                }
                self.sleep(done);
                since = Instant::now();
            }
            std::hint::spin_loop();
        }
    }

    /// Sleeps until a burst opens or the team ends; may return early.
    fn sleep(&self, done: u64) {
        lock(&self.sleepers).push(std::thread::current());
        let state = self.state.load(Ordering::SeqCst);
        let called = state & OPEN != 0 && state / BURST != done;
        if !called && !self.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        let own = std::thread::current().id();
        lock(&self.sleepers).retain(|thread| thread.id() != own);
    }
}

/// Locks; a panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
