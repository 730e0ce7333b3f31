//! The thread that opens a camera and reads it, and where it lays what it read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nokhwa::utils::CameraFormat;
use nokhwa::{Buffer, NokhwaError};

/// Longest wait for a camera to open.
const OPENING: Duration = Duration::from_secs(10);

/// A camera that is read.
pub(super) struct Reader {
    mail: Arc<Mail>,
}

/// Newest frame or the end; the thread stops when nobody wants its mail.
#[derive(Default)]
struct Mail {
    newest: Mutex<Option<Result<(Buffer, Instant), NokhwaError>>>,
    came: Condvar,
    unwanted: AtomicBool,
}

/// A camera that is being opened. Dropped, it lets go of one that opens later.
pub(super) struct Opening {
    reader: Reader,
    answer: Receiver<Result<CameraFormat, NokhwaError>>,
    deadline: Instant,
}

/// How far the opening of a camera has come.
pub(super) enum Opened {
    /// It is open in this mode.
    Yes(Reader, CameraFormat),
    /// It takes longer.
    NotYet(Opening),
}

impl Opening {
    /// Starts a thread that has `open` open a camera, which some systems tie to its thread, and reads it with `read`.
    pub fn begin<C: 'static>(
        open: impl FnOnce() -> Result<(C, CameraFormat), NokhwaError> + Send + 'static,
        read: fn(&mut C) -> Result<Buffer, NokhwaError>,
    ) -> Result<Self, NokhwaError> {
        let mail = Arc::new(Mail::default());
        let (ready, answer): (SyncSender<_>, _) = sync_channel(1);
        let letters = Arc::clone(&mail);
        let thread = std::thread::Builder::new().name("camera".into());
        thread
            .spawn(move || match open() {
                Err(error) => {
                    let _ = ready.send(Err(error)); // who asked may have given up
                }
                Ok((mut camera, mode)) => {
                    let _ = ready.send(Ok(mode));
                    read_all(|| read(&mut camera), &letters);
                }
            })
            .map_err(|error| NokhwaError::GeneralError(error.to_string()))?;
        Ok(Self {
            reader: Reader { mail },
            answer,
            deadline: Instant::now() + OPENING,
        })
    }

    /// Waits for the camera at most for `patience`. Fails when it cannot be opened, or does not answer for ten seconds.
    pub fn wait(self, patience: Duration) -> Result<Opened, NokhwaError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.answer.recv_timeout(left.min(patience)) {
            Ok(mode) => Ok(Opened::Yes(self.reader, mode?)),
            Err(RecvTimeoutError::Timeout) if left > patience => Ok(Opened::NotYet(self)),
            Err(_) => Err(NokhwaError::GeneralError(
                "it does not answer: unplug it and plug it in again".into(),
            )),
        }
    }

    /// Waits until the camera is open; fails as [`Opening::wait`] does.
    pub fn finish(mut self) -> Result<(Reader, CameraFormat), NokhwaError> {
        loop {
            match self.wait(OPENING)? {
                Opened::Yes(reader, mode) => return Ok((reader, mode)),
                Opened::NotYet(opening) => self = opening,
            }
        }
    }
}

impl Reader {
    /// Waits for mail, at most for `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Result<(Buffer, Instant), NokhwaError>> {
        let newest = self.mail.newest.lock();
        let newest = newest.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .mail
            .came
            .wait_timeout_while(newest, patience, |newest| newest.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The thread may wait for a frame that never comes; it ends with the next one, or with the
        // program.
        self.mail.unwanted.store(true, Ordering::Relaxed);
    }
}

/// Reads until the camera fails or nobody wants its frames any more.
fn read_all(mut read: impl FnMut() -> Result<Buffer, NokhwaError>, mail: &Mail) {
    while !mail.unwanted.load(Ordering::Relaxed) {
        let frame = read().map(|buffer| (buffer, Instant::now()));
        let ended = frame.is_err();
        *mail.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
        mail.came.notify_one();
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use nokhwa::utils::{FrameFormat, Resolution};

    use super::*;

    /// A camera that opens once the sender is gone, and then sends black pictures.
    fn slow() -> (SyncSender<()>, Opening) {
        let (held, hold) = sync_channel(0);
        let open = move || {
            let _ = hold.recv();
            Ok(((), CameraFormat::new_from(2, 2, FrameFormat::RAWRGB, 30)))
        };
        let black = |_: &mut ()| {
            let size = Resolution::new(2, 2);
            Ok(Buffer::new(size, &[0; 12], FrameFormat::RAWRGB))
        };
        (held, Opening::begin(open, black).unwrap())
    }

    #[test]
    fn a_camera_that_takes_its_time_to_open_is_waited_for_piece_by_piece() {
        let (held, mut opening) = slow();
        for _ in 0..3 {
            let start = Instant::now();
            opening = match opening.wait(Duration::from_millis(20)) {
                Ok(Opened::NotYet(opening)) => opening,
                _ => panic!("it has opened"),
            };
            assert!(start.elapsed() < Duration::from_secs(5), "it held us up");
        }
        drop(held);
        let (reader, mode) = opening.finish().unwrap();
        assert_eq!(mode.width(), 2);
        assert!(reader.wait(Duration::from_secs(10)).unwrap().is_ok());
    }

    #[test]
    fn a_camera_that_does_not_answer_is_given_up() {
        let (_held, mut opening) = slow();
        opening.deadline = Instant::now();
        let error = opening.finish().err().unwrap().to_string();
        assert!(error.contains("does not answer"), "{error}");
    }

    #[test]
    fn a_camera_whose_driver_panics_is_given_up_at_once() {
        let open = || -> Result<((), CameraFormat), NokhwaError> {
            std::panic::resume_unwind(Box::new("no such mode"))
        };
        let opening = Opening::begin(open, |()| unreachable!()).unwrap();
        assert!(opening.wait(Duration::from_secs(5)).is_err());
    }
}
