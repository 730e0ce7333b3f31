//! A thread for work that must not hold up the picture: encoding, writing files and devices.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::words;

/// A named thread that handles messages in order, with a short queue before it. It ends at its
/// first error, which [`Worker::finish`] returns.
pub struct Worker<M> {
    name: &'static str,
    messages: Sender<M>,
    done: Receiver<M>,
    thread: JoinHandle<Result<()>>,
}

impl<M: Send + 'static> Worker<M> {
    /// Starts the thread. At most `capacity` messages wait. Messages that were handled come back
    /// through [`Worker::done`], so that their memory can be used again.
    pub fn start(
        name: &'static str,
        capacity: usize,
        mut handle: impl FnMut(&mut M) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (messages, to_handle) = bounded::<M>(capacity);
        let (handled, done) = bounded(capacity);
        let thread = Builder::new()
            .name(name.into())
            .spawn(move || {
                for mut message in to_handle {
                    handle(&mut message)?;
                    // A full way back only means that the memory is not needed again.
                    let _ = handled.try_send(message);
                }
                Ok(())
            })
            .with_context(|| format!("could not start the {name} thread"))?;
        Ok(Self {
            name,
            messages,
            done,
            thread,
        })
    }

    /// Hands over a message unless the queue is full or the thread has ended; says whether it was
    /// taken. Never waits.
    pub fn offer(&self, message: M) -> bool {
        match self.messages.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Hands over a message that must arrive; waits for a place in the queue. A thread that ended
    /// does not take it, and [`Worker::finish`] says why.
    pub fn send(&self, message: M) {
        let _ = self.messages.send(message);
    }

    /// A message that was handled.
    pub fn done(&self) -> Option<M> {
        self.done.try_recv().ok()
    }

    /// Whether the thread ended by itself, which only an error makes it do.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Hands over nothing more: the thread ends once it has handled what waits. The memory of what
    /// it hands back goes with it.
    pub fn close(self) -> Closed {
        Closed {
            name: self.name,
            thread: self.thread,
        }
    }

    /// Waits until every message is handled and returns the error, if there was one.
    pub fn finish(self) -> Result<()> {
        self.close().finish()
    }

    /// As [`Worker::finish`], but gives up after `patience` on a thread that hangs in a device.
    pub fn finish_within(self, patience: Duration) -> Result<()> {
        let closed = self.close();
        let since = Instant::now();
        while !closed.is_finished() {
            ensure!(
                since.elapsed() <= patience,
                "the {} thread hangs: its device takes nothing",
                closed.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        closed.finish()
    }
}

/// A [`Worker`] that gets no more messages.
pub struct Closed {
    name: &'static str,
    thread: JoinHandle<Result<()>>,
}

impl Closed {
    /// Whether every message is handled, or the thread failed: [`Closed::finish`] does not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until every message is handled and returns the error, if there was one.
    pub fn finish(self) -> Result<()> {
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            Err(anyhow!(
                "the {} thread panicked: {}",
                self.name,
                words(&*panic)
            ))
        };
        self.thread.join().unwrap_or_else(panicked)
    }
}
