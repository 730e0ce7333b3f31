//! Cameras: V4L2, AVFoundation, Media Foundation. The only place that knows nokhwa.
//!
//! nokhwa waits for ever when a camera sends nothing, and hands old frames to slow readers. So a
//! thread of its own reads every frame at once, and whoever asks gets the newest.

mod decode;
mod modes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nokhwa::pixel_format::RgbFormat;
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, CameraInfo, FrameFormat, RequestedFormat,
    RequestedFormatType,
};
use nokhwa::{Buffer, NokhwaError};

use decode::decode;
use modes::{choose, describe, distance, explain, is_busy, one_line, unknown};

use super::{LiveSource, Reading};
use crate::frame::Frame;

pub use modes::{PixelFormat, Wanted};

/// Longest wait for a frame in one call.
const PATIENCE: Duration = Duration::from_millis(250);

/// Longest wait for a camera to open.
const OPENING: Duration = Duration::from_secs(10);

/// Longest wait for the user to allow cameras, where the system asks.
const ANSWER: Duration = Duration::from_secs(60);

/// Time between two attempts to open a camera that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// Modes tried, best first, before a camera is given up: drivers refuse some that they list.
const ATTEMPTS: usize = 12;

/// A camera that is plugged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its number.
    pub index: String,
    /// Its name.
    pub name: String,
    /// Sizes, each with its formats and rates, for people.
    pub modes: Vec<String>,
    /// Why its modes are not known.
    pub trouble: Option<String>,
}

/// An open camera.
pub struct Camera {
    index: CameraIndex,
    name: String,
    wanted: Wanted,
    mode: CameraFormat,
    reader: Option<Reader>,
    next_try: Instant,
    trouble: String,
    frames: u64,
}

/// The thread that reads, and where it lays what it read.
struct Reader {
    mail: Arc<Mail>,
}

/// Newest frame or the end; the reader stops when nobody wants its mail.
#[derive(Default)]
struct Mail {
    newest: Mutex<Option<Result<(Buffer, Instant), NokhwaError>>>,
    came: Condvar,
    unwanted: AtomicBool,
}

/// The cameras that are plugged in, by number.
pub fn list() -> Result<Vec<Description>> {
    let mut found = Vec::new();
    for info in query()? {
        let mut description = Description {
            index: info.index().as_string(),
            name: info.human_name().trim().to_string(),
            ..Description::default()
        };
        match modes(info.index()) {
            Ok(modes) if modes.is_empty() => continue, // an output, or a node for metadata
            Ok(modes) => description.modes = describe(&modes),
            Err(error) => description.trouble = Some(explain(&description.name, &error)),
        }
        found.push(description);
    }
    Ok(found)
}

/// Opens the camera that `choice` means: a number, a path such as /dev/video2, or part of a name.
/// Fails in one line for cameras that are unknown, busy or forbidden.
pub fn open(choice: &str, wanted: Wanted) -> Result<Camera> {
    let infos = query()?;
    let info = choose(&infos, choice).with_context(|| unknown(choice, &infos))?;
    let name = info.human_name().trim().to_string();
    let (reader, mode) = match start(info.index(), wanted) {
        Err(error) if is_busy(&error) => {
            std::thread::sleep(RETRY); // a program that is just closing
            start(info.index(), wanted)
        }
        started => started,
    }
    .map_err(|error| anyhow!(explain(&name, &error)))?;
    Ok(Camera {
        index: info.index().clone(),
        name,
        wanted,
        mode,
        reader: Some(reader),
        next_try: Instant::now(),
        trouble: String::new(),
        frames: 0,
    })
}

impl LiveSource for Camera {
    fn size(&self) -> (usize, usize) {
        (self.mode.width() as usize, self.mode.height() as usize)
    }

    fn frame_rate(&self) -> (i32, i32) {
        (self.mode.frame_rate().max(1) as i32, 1)
    }

    fn read(&mut self, frame: &mut Frame) -> Result<Reading> {
        let Some(reader) = &self.reader else {
            return Ok(self.open_again());
        };
        match reader.wait() {
            None => Ok(Reading::Nothing),
            Some(Ok((buffer, at))) => {
                let size = buffer.resolution();
                (frame.width, frame.height) = (size.width() as usize, size.height() as usize);
                frame.index = self.frames;
                frame.pixels.resize(frame.width * frame.height * 3, 0);
                if !decode(&buffer, &mut frame.pixels) {
                    return Ok(Reading::Nothing); // a damaged picture: the next one comes soon
                }
                self.frames += 1;
                Ok(Reading::Frame(at))
            }
            Some(Err(error)) => {
                self.reader = None;
                self.trouble = format!("{}; waiting for it", explain(&self.name, &error));
                self.next_try = Instant::now() + RETRY;
                Ok(Reading::Trouble(self.trouble.clone()))
            }
        }
    }
}

impl Camera {
    /// Tries to open a camera that was lost.
    fn open_again(&mut self) -> Reading {
        let wait = self.next_try.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.min(PATIENCE));
            return Reading::Trouble(self.trouble.clone());
        }
        match start(&self.index, self.wanted) {
            Ok((reader, mode)) => {
                (self.reader, self.mode) = (Some(reader), mode);
                Reading::Nothing
            }
            Err(error) => {
                self.trouble = format!("{}; waiting for it", explain(&self.name, &error));
                self.next_try = Instant::now() + RETRY;
                Reading::Trouble(self.trouble.clone())
            }
        }
    }
}

impl Reader {
    /// Waits for mail.
    fn wait(&self) -> Option<Result<(Buffer, Instant), NokhwaError>> {
        let newest = self.mail.newest.lock();
        let newest = newest.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .mail
            .came
            .wait_timeout_while(newest, PATIENCE, |newest| newest.is_none());
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

/// Starts a thread that opens the camera, which some systems tie to its thread, and reads it.
fn start(index: &CameraIndex, wanted: Wanted) -> Result<(Reader, CameraFormat), NokhwaError> {
    let mail = Arc::new(Mail::default());
    let (ready, opened): (SyncSender<_>, Receiver<_>) = sync_channel(1);
    let (index, letters) = (index.clone(), Arc::clone(&mail));
    let thread = std::thread::Builder::new().name("camera".into());
    let failed = |error: &dyn std::fmt::Display| NokhwaError::GeneralError(error.to_string());
    thread
        .spawn(move || match open_best(&index, wanted) {
            Err(error) => {
                let _ = ready.send(Err(error));
            }
            Ok(mut camera) => {
                let _ = ready.send(Ok(camera.camera_format()));
                read_all(&mut camera, &letters);
            }
        })
        .map_err(|error| failed(&error))?;
    let reader = Reader { mail }; // dropped by an error, it lets go of a camera that opens later
    let mode = opened
        .recv_timeout(OPENING)
        .map_err(|_| failed(&"it does not answer: unplug it and plug it in again"))??;
    Ok((reader, mode))
}

/// Reads until the camera fails or nobody wants its frames any more.
fn read_all(camera: &mut nokhwa::Camera, mail: &Mail) {
    while !mail.unwanted.load(Ordering::Relaxed) {
        let frame = camera.frame().map(|buffer| (buffer, Instant::now()));
        let ended = frame.is_err();
        *mail.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
        mail.came.notify_one();
        if ended {
            return;
        }
    }
}

/// Opens the camera in the mode nearest to `wanted` that its driver accepts, and starts it.
fn open_best(index: &CameraIndex, wanted: Wanted) -> Result<nokhwa::Camera, NokhwaError> {
    let mut modes = modes(index)?;
    modes.retain(|mode| wanted.format.is_none_or(|format| format.is(mode.format())));
    modes.sort_by(|a, b| distance(a, wanted).total_cmp(&distance(b, wanted)));
    modes.dedup();
    let mut failure = NokhwaError::GeneralError(
        "it offers no such format, see --list, or leave out --camera-format".into(),
    );
    for mode in modes.into_iter().take(ATTEMPTS) {
        let (kind, formats) = (RequestedFormatType::Exact(mode), [mode.format()]);
        let opened = attempt(index, RequestedFormat::with_formats(kind, &formats));
        let opened = opened.and_then(|mut camera| {
            camera.open_stream()?;
            Ok(camera)
        });
        match opened {
            Ok(camera) => return Ok(camera),
            Err(error) if is_busy(&error) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Opens the camera once, and once more after a reset when it was left in a state that nokhwa does
/// not understand.
fn attempt(
    index: &CameraIndex,
    request: RequestedFormat<'_>,
) -> Result<nokhwa::Camera, NokhwaError> {
    match nokhwa::Camera::new(index.clone(), request) {
        Err(NokhwaError::GetPropertyError { property, error })
            if property.contains("FrameRate") || property == "FrameFormat" =>
        {
            if !reset(index) {
                return Err(NokhwaError::GetPropertyError { property, error });
            }
            nokhwa::Camera::new(index.clone(), request)
        }
        opened => opened,
    }
}

/// The modes that a camera offers; none for nodes that are no cameras.
fn modes(index: &CameraIndex) -> Result<Vec<CameraFormat>, NokhwaError> {
    let any = RequestedFormat::new::<RgbFormat>(RequestedFormatType::None);
    let mut modes = match attempt(index, any) {
        Ok(mut camera) => camera.compatible_camera_formats()?,
        Err(error) if error.to_string().contains("Fufill") => Vec::new(),
        Err(error) => return Err(error),
    };
    modes.retain(|mode| mode.format() != FrameFormat::GRAY);
    Ok(modes)
}

/// Every device, by number. Asks the user's permission first where the system wants it (macOS).
fn query() -> Result<Vec<CameraInfo>> {
    ensure!(
        is_allowed(),
        "no permission for cameras: allow them for this terminal in the settings of the system"
    );
    let mut infos = nokhwa::query(ApiBackend::Auto)
        .map_err(|error| anyhow!("could not look for cameras: {}", one_line(&error)))?;
    infos.sort_by_key(|info| info.index().as_index().unwrap_or(u32::MAX));
    Ok(infos)
}

/// Whether the user allows cameras; at once where nobody is asked.
fn is_allowed() -> bool {
    let (answer, answered) = sync_channel(1);
    nokhwa::nokhwa_initialize(move |allowed| {
        let _ = answer.try_send(allowed);
    });
    answered.recv_timeout(ANSWER).unwrap_or(false)
}

/// Puts a V4L2 device into a plain state; `false` where that cannot be done.
#[cfg(target_os = "linux")]
fn reset(index: &CameraIndex) -> bool {
    use super::v4l2::{CAPTURE, set_format, set_interval};
    let Ok(number) = index.as_index() else {
        return false;
    };
    let path = format!("/dev/video{number}");
    let Ok(device) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    else {
        return false;
    };
    let formats = [*b"YUYV", *b"NV12", *b"MJPG", *b"RGB3"];
    let set = |fourcc: [u8; 4]| {
        set_format(&device, CAPTURE, (640, 480), fourcc)
            .is_ok_and(|format| format.fourcc == u32::from_le_bytes(fourcc))
    };
    formats.into_iter().any(set) && set_interval(&device, CAPTURE, (1, 30)).is_ok()
}

/// Other systems leave no such state behind.
#[cfg(not(target_os = "linux"))]
fn reset(_index: &CameraIndex) -> bool {
    false
}
