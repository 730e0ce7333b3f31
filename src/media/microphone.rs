//! Microphones: a thread of its own reads each and lays what was heard on a shelf, as whoever writes it
//! may be busy.

mod sources;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::SoundFormat;
use super::decode::live::LiveDecoder;

pub use super::decode::live::Heard;
pub use sources::{DEFAULT, Microphone, find, list};

/// Longest wait for a microphone to open and be heard.
const OPENING: Duration = Duration::from_secs(3);

/// Time between two looks at a microphone that had nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// How far ahead of time sound may be that comes faster than it can be heard, as that of FFmpeg's generators.
const HURRY: Duration = Duration::from_millis(500);

/// Most sound that waits for whoever writes it; the oldest is given up for more.
const WAITING: Duration = Duration::from_secs(30);

/// A microphone that is listened to, until this is dropped.
pub struct Listening {
    shelf: Arc<Shelf>,
    format: SoundFormat,
}

/// Where sound waits; the thread stops when nobody wants it.
#[derive(Default)]
struct Shelf {
    pieces: Mutex<VecDeque<Heard>>,
    came: Condvar,
    unwanted: AtomicBool,
}

impl Microphone {
    /// Listens from now on. What the receiver gets is why nothing is heard any more.
    pub fn listen(&self) -> Result<(Listening, Receiver<String>)> {
        let shelf = Arc::new(Shelf::default());
        let (opened, opening) = sync_channel(1);
        let (troubles, trouble) = sync_channel(1); // there is one at most
        let (microphone, to) = (self.clone(), Arc::clone(&shelf));
        Builder::new()
            .name("microphone".into())
            .spawn(move || run(&microphone, &to, &opened, &troubles))
            .context("could not start the microphone thread")?;
        let format = match opening.recv_timeout(OPENING) {
            Ok(opened) => opened?,
            Err(RecvTimeoutError::Timeout) => {
                shelf.unwanted.store(true, Ordering::Relaxed);
                bail!("microphone `{}` does not answer", self.name)
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the microphone thread panicked"),
        };
        Ok((Listening { shelf, format }, trouble))
    }
}

impl Listening {
    /// How it is sampled.
    pub fn format(&self) -> SoundFormat {
        self.format
    }

    /// What was heard next, if it is here already.
    pub fn next(&self) -> Option<Heard> {
        self.shelf.pieces().pop_front()
    }

    /// What was heard next; waits for it until `deadline`.
    pub fn wait_for_next(&self, deadline: Instant) -> Option<Heard> {
        let mut pieces = self.shelf.pieces();
        while pieces.is_empty() {
            let patience = deadline.checked_duration_since(Instant::now())?;
            let waited = self.shelf.came.wait_timeout(pieces, patience);
            pieces = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pieces.pop_front()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shelf.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Shelf {
    fn pieces(&self) -> MutexGuard<'_, VecDeque<Heard>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lay(&self, heard: Heard, format: SoundFormat) {
        let most = WAITING.as_secs() as usize * format.rate as usize * usize::from(format.channels);
        let mut pieces = self.pieces();
        pieces.push_back(heard);
        let mut waiting: usize = pieces.iter().map(|heard| heard.samples.len()).sum();
        while waiting > most {
            waiting -= pieces.pop_front().map_or(waiting, |old| old.samples.len());
        }
        drop(pieces);
        self.came.notify_one();
    }
}

/// The thread that reads.
fn run(
    microphone: &Microphone,
    shelf: &Shelf,
    opened: &SyncSender<Result<SoundFormat>>,
    troubles: &SyncSender<String>,
) {
    let name = &microphone.name;
    let decoder = LiveDecoder::open(&microphone.device, &microphone.url)
        .with_context(|| format!("could not open microphone `{name}`"));
    let mut decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => {
            let _ = opened.send(Err(error)); // who asked may have given up
            return;
        }
    };
    let _ = opened.send(Ok(decoder.format()));
    let (begun, mut lasted) = (Instant::now(), Duration::ZERO);
    while !shelf.unwanted.load(Ordering::Relaxed) {
        let heard = match lasted > begun.elapsed() + HURRY {
            true => Ok(None),
            false => decoder.read(),
        };
        match heard {
            Ok(Some(heard)) => {
                lasted += decoder.format().duration(heard.samples.len());
                shelf.lay(heard, decoder.format());
            }
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => {
                let words = format!("microphone `{name}`: {error:#}: no sound from here on");
                let _ = troubles.send(words); // nobody may want to know any more
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_sound_is_given_up_where_nobody_takes_it() {
        let (shelf, start) = (Shelf::default(), Instant::now());
        let format = SoundFormat {
            rate: 100,
            channels: 2,
        };
        for second in 0..40 {
            let samples = vec![0.0; 200];
            let at = start + Duration::from_secs(second);
            shelf.lay(Heard { samples, at }, format);
        }
        let oldest = shelf.pieces().front().map(|heard| heard.at);
        assert_eq!(oldest, Some(start + Duration::from_secs(10)));
        assert_eq!(shelf.pieces().len(), 30);
    }
}
