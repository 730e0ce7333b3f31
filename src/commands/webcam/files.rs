//! Where paintings go besides the window: snapshots, recordings that begin and end, the virtual
//! camera.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use super::recorder::{Ended, Format, Recording, free_name, snapshots};
use super::show::lock;
use crate::frame::Frame;
use crate::output::Existing;
use crate::pipeline::worker::Worker;

/// A recording that the window begins and ends and the painter feeds.
pub(super) type Tape = Arc<Mutex<Option<Recording>>>;

/// The virtual camera, which the painter feeds.
pub(super) type Device = Arc<Mutex<Option<Worker<Frame>>>>;

/// How long the virtual camera may take to end.
const DEVICE_PATIENCE: Duration = Duration::from_secs(2);

/// Where files go, and what recordings are like.
pub(super) struct Settings {
    /// Where snapshots and recordings go.
    pub folder: PathBuf,
    /// What recordings are like.
    pub format: Format,
}

/// What is written, and what still has to be completed.
pub(super) struct Files {
    settings: Settings,
    tape: Tape,
    device: Device,
    starting: Option<Starting>,
    ended: Vec<Ended>,
    snapshots: Worker<(PathBuf, Frame)>,
    numbers: (u32, u32), // of the last snapshot and the last recording
    missed: u64,
    failure: Option<Error>, // the first of what the command line asks for
}

/// A recording whose microphone and encoder are being opened, which may take seconds.
struct Starting {
    thread: JoinHandle<Result<Recording>>,
    /// Whether it was not ended before it began.
    wanted: bool,
}

impl Starting {
    /// Begins a recording into `place` in a thread of its own.
    fn begin(place: PathBuf, format: Format) -> Result<Self> {
        let thread = Builder::new()
            .name("begin".into())
            .spawn(move || Recording::begin(&place, Existing::Keep, &format))
            .context("could not start a thread for the recording")?;
        let wanted = true;
        Ok(Self { thread, wanted })
    }

    /// The recording; waits for it.
    fn finish(self) -> Result<Recording> {
        let panicked = |_| Err(anyhow!("the thread of the recording panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }
}

impl Files {
    /// Starts the thread that writes snapshots. The recording that runs on `tape` already, if there
    /// is one, is what the command line asks for.
    pub fn new(settings: Settings, tape: Tape, device: Device) -> Result<Self> {
        if let Some(recording) = lock(&tape).as_mut() {
            recording.owed = true;
        }
        Ok(Self {
            settings,
            tape,
            device,
            starting: None,
            ended: Vec::new(),
            snapshots: snapshots()?,
            numbers: (0, 0),
            missed: 0,
            failure: None,
        })
    }

    /// Whether a recording runs.
    pub fn is_recording(&self) -> bool {
        lock(&self.tape).is_some()
    }

    /// Paintings that recordings left out.
    pub fn missed(&self) -> u64 {
        self.missed + lock(&self.tape).as_ref().map_or(0, Recording::missed)
    }

    /// Writes a painting in the background. Returns what to tell the user.
    pub fn snapshot(&mut self, painting: &Frame) -> String {
        let place = free_name(&self.settings.folder, "png", &mut self.numbers.0);
        match self.snapshots.offer((place.clone(), painting.clone())) {
            true => format!("snapshot: {}", place.display()),
            false => "the snapshots before are still being written".into(),
        }
    }

    /// Has a recording begin, or ends the one that runs or is about to. Returns what to tell the user.
    pub fn toggle_recording(&mut self) -> String {
        let running = lock(&self.tape).take();
        if let Some(recording) = running {
            let words = match recording.duration(Instant::now()) {
                Some(lasted) => format!(
                    "recorded {:.1} s: {}",
                    lasted.as_secs_f64(),
                    recording.place().display()
                ),
                None => "nothing was recorded".into(), // frozen all the time, say
            };
            self.end(recording);
            return words;
        }
        if let Some(starting) = &mut self.starting {
            starting.wanted = !starting.wanted;
            return match starting.wanted {
                true => "the recording begins".into(),
                false => "nothing is recorded".into(),
            };
        }
        let place = free_name(&self.settings.folder, "mp4", &mut self.numbers.1);
        match Starting::begin(place, self.settings.format.clone()) {
            Ok(starting) => {
                self.starting = Some(starting);
                "the recording begins".into()
            }
            Err(error) => format!("{error:#}"),
        }
    }

    /// Feeds the recording that has begun, if one has just done so. Returns what to tell the user.
    pub fn started(&mut self) -> Option<String> {
        let begun = |starting: &mut Starting| starting.thread.is_finished();
        let starting = self.starting.take_if(begun)?;
        let wanted = starting.wanted;
        match starting.finish() {
            Ok(recording) if wanted => {
                let place = recording.place().display();
                let words = format!("recording {}: {place}", recording.sound());
                *lock(&self.tape) = Some(recording);
                Some(words)
            }
            Ok(recording) => {
                self.end(recording);
                None
            }
            Err(error) => wanted.then(|| format!("{error:#}")),
        }
    }

    /// Lets go of recordings that are whole. Returns what to tell the user of those that broke off,
    /// of microphones that are lost, of snapshots that could not be written and of a virtual camera that
    /// takes nothing any more.
    pub fn troubles(&mut self) -> Result<Vec<String>> {
        let failed = lock(&self.tape).take_if(|recording| recording.has_failed());
        if let Some(recording) = failed {
            self.end(recording);
        }
        let whole = self.ended.extract_if(.., |ended| ended.is_finished());
        let mut results: Vec<_> = whole.map(|ended| (ended.owed, ended.finish())).collect();
        let failed = lock(&self.device).take_if(|device| device.has_failed());
        results.extend(failed.map(|device| (true, device.finish())));
        if self.snapshots.has_failed() {
            let failed = std::mem::replace(&mut self.snapshots, snapshots()?);
            results.push((false, failed.finish()));
        }
        let running = lock(&self.tape).as_mut().and_then(Recording::go_on);
        let mut words: Vec<_> = running.into_iter().collect();
        for (owed, result) in results {
            if let Err(error) = result {
                words.push(format!("{error:#}"));
                if owed {
                    self.failure.get_or_insert(error);
                }
            }
        }
        Ok(words)
    }

    /// Whether what the command line asks for failed and nothing takes paintings any more.
    pub fn are_lost(&self) -> bool {
        self.failure.is_some() && lock(&self.tape).is_none() && lock(&self.device).is_none()
    }

    /// Waits for snapshots and recordings to be whole and for the virtual camera to end. The first
    /// failure of what the command line asks for, or else of what was still being written, is the
    /// error.
    pub fn finish(mut self) -> Result<()> {
        let running = lock(&self.tape).take();
        // One that did not begin has lost nothing.
        let started = self.starting.take().map(Starting::finish);
        for recording in running.into_iter().chain(started.and_then(Result::ok)) {
            self.end(recording);
        }
        let snapshots = self.snapshots.finish();
        let mut ends: Vec<Result<()>> = vec![self.failure.map_or(Ok(()), Err)];
        ends.extend(self.ended.into_iter().map(Ended::finish));
        ends.push(snapshots);
        let device = lock(&self.device).take();
        ends.extend(device.map(|device| device.finish_within(DEVICE_PATIENCE)));
        ends.into_iter().collect()
    }

    /// Lets a recording be completed in the background.
    fn end(&mut self, recording: Recording) {
        self.missed += recording.missed();
        self.ended.push(recording.end(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    /// Files in `folder`, whose tape is empty.
    fn files(folder: &std::path::Path) -> Result<Files> {
        let settings = Settings {
            folder: folder.to_path_buf(),
            format: Format {
                size: (64, 48),
                rate: (25, 1),
                hwaccel: crate::media::Hwaccel::None,
                microphone: None,
            },
        };
        Files::new(settings, Tape::default(), Device::default())
    }

    /// Begins a recording; what is told of it.
    fn begin(files: &mut Files) -> String {
        assert_eq!(files.toggle_recording(), "the recording begins");
        let start = Instant::now();
        loop {
            if let Some(words) = files.started() {
                return words;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "it does not");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is told until nothing is completed any more.
    fn troubles(files: &mut Files) -> Result<Vec<String>> {
        let (start, mut told) = (Instant::now(), files.troubles()?);
        while !files.ended.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
            told.extend(files.troubles()?);
        }
        Ok(told)
    }

    #[test]
    fn a_recording_that_cannot_be_completed_is_told_at_once_and_let_go_of() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = files(folder.path())?;
        for number in 1..=2 {
            let words = begin(&mut files);
            assert!(words.starts_with("recording without sound: "), "{words}");
            if let Some(recording) = lock(&files.tape).as_mut() {
                recording.take(&Frame::new(64, 48), Instant::now());
            }
            let place = folder.path().join(format!("repaint-00{number}.mp4"));
            if number == 2 {
                std::fs::write(&place, "taken")?;
            }
            files.toggle_recording();
            let told = troubles(&mut files)?;
            assert!(place.is_file());
            assert_eq!(told.len(), number - 1, "{told:?}");
            assert!(told.iter().all(|words| words.contains("repaint-002.mp4")));
        }
        files.finish()
    }

    #[test]
    fn who_begins_a_recording_does_not_wait_and_may_end_it_before_it_has_begun() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = files(folder.path())?;
        // A microphone that takes its time.
        let (held, hold) = std::sync::mpsc::channel::<()>();
        let (place, format) = (folder.path().join("a.mp4"), files.settings.format.clone());
        let thread = std::thread::spawn(move || {
            let _ = hold.recv();
            Recording::begin(&place, Existing::Keep, &format)
        });
        files.starting = Some(Starting {
            thread,
            wanted: true,
        });
        assert_eq!(files.started(), None);
        assert!(!files.is_recording());
        assert_eq!(files.toggle_recording(), "nothing is recorded");
        assert_eq!(files.toggle_recording(), "the recording begins");
        assert_eq!(files.toggle_recording(), "nothing is recorded");
        drop(held);
        let start = Instant::now();
        while files.starting.is_some() {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
            assert_eq!(files.started(), None);
        }
        assert!(!files.is_recording());
        files.toggle_recording();
        files.finish()?; // while another one begins
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn a_virtual_camera_that_fails_is_told_once_and_is_the_error_in_the_end() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = files(folder.path())?;
        let device = Worker::start("virtual camera", 1, |_: &mut Frame| bail!("it is gone"))?;
        device.send(Frame::default());
        *lock(&files.device) = Some(device);
        let start = Instant::now();
        while lock(&files.device)
            .as_ref()
            .is_some_and(|device| !device.has_failed())
        {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
        }
        assert!(!files.are_lost());
        begin(&mut files);
        assert_eq!(files.troubles()?, ["it is gone"]);
        assert_eq!(files.troubles()?, [""; 0]);
        assert!(!files.are_lost(), "a recording runs");
        *lock(&files.tape) = None;
        assert!(files.are_lost());
        assert_eq!(files.finish().unwrap_err().to_string(), "it is gone");
        Ok(())
    }
}
