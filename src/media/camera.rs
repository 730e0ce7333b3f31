//! Cameras: V4L2, AVFoundation, Media Foundation. The only place that knows nokhwa.
//!
//! nokhwa waits for ever when a camera sends nothing, and hands old frames to slow readers. So a
//! thread of its own reads every frame at once, and whoever asks gets the newest.

mod decode;
mod modes;
mod reader;

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nokhwa::NokhwaError;
use nokhwa::pixel_format::RgbFormat;
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, CameraInfo, FrameFormat, RequestedFormat,
    RequestedFormatType,
};

use decode::decode;
use modes::{NO_CAMERA, choose, describe, distance, explain, first, is_busy, one_line, unknown};
use reader::{Opened, Opening, Reader};

use super::{LiveSource, Reading};
use crate::frame::Frame;

pub use modes::{PixelFormat, Wanted};

/// Longest wait for a frame in one call.
const PATIENCE: Duration = Duration::from_millis(250);

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
    opening: Option<Opening>,
    next_try: Instant,
    trouble: String,
    frames: u64,
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

/// Opens the camera that `choice` means: a number, a path such as /dev/video2, or part of a name; the first camera
/// when `None`. Fails in one line for cameras that are unknown, busy or forbidden.
pub fn open(choice: Option<&str>, wanted: Wanted) -> Result<Camera> {
    let infos = query()?;
    let (info, started) = match choice {
        Some(choice) => {
            let info = choose(&infos, choice).with_context(|| unknown(choice, &infos))?;
            (info, start(info, wanted))
        }
        None => first(&infos, |info| start(info, wanted))
            .context("no camera: plug one in, or play a file with --camera FILE")?,
    };
    let name = info.human_name().trim().to_string();
    let (reader, mode) = started.map_err(|error| anyhow!(explain(&name, &error)))?;
    Ok(Camera {
        index: info.index().clone(),
        name,
        wanted,
        mode,
        reader: Some(reader),
        opening: None,
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
        match reader.wait(PATIENCE) {
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
            Some(Err(error)) => Ok(self.lose(&error)),
        }
    }
}

impl Camera {
    /// Goes on opening a camera that was lost, for as long as one call may take.
    fn open_again(&mut self) -> Reading {
        let opening = match self.opening.take() {
            Some(opening) => Ok(opening),
            None => {
                let wait = self.next_try.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    std::thread::sleep(wait.min(PATIENCE));
                    return Reading::Trouble(self.trouble.clone());
                }
                begin(&self.index, self.wanted)
            }
        };
        match opening.and_then(|opening| opening.wait(PATIENCE)) {
            Ok(Opened::Yes(reader, mode)) => {
                (self.reader, self.mode) = (Some(reader), mode);
                Reading::Nothing
            }
            Ok(Opened::NotYet(opening)) => {
                self.opening = Some(opening);
                Reading::Trouble(self.trouble.clone())
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Gives the camera up for a while.
    fn lose(&mut self, error: &NokhwaError) -> Reading {
        self.reader = None;
        self.trouble = format!("{}; waiting for it", explain(&self.name, error));
        self.next_try = Instant::now() + RETRY;
        Reading::Trouble(self.trouble.clone())
    }
}

/// Opens a camera and waits for it; tries once more where a program that holds it may just be closing.
fn start(info: &CameraInfo, wanted: Wanted) -> Result<(Reader, CameraFormat), NokhwaError> {
    let once = || begin(info.index(), wanted)?.finish();
    match once() {
        Err(error) if is_busy(&error) => {
            std::thread::sleep(RETRY);
            once()
        }
        started => started,
    }
}

/// Begins to open a camera in the mode nearest to `wanted`.
fn begin(index: &CameraIndex, wanted: Wanted) -> Result<Opening, NokhwaError> {
    let index = index.clone();
    let open = move || {
        open_best(&index, wanted).map(|camera| {
            let mode = camera.camera_format();
            (camera, mode)
        })
    };
    Opening::begin(open, nokhwa::Camera::frame)
}

/// Opens the camera in the mode nearest to `wanted` that its driver accepts, and starts it.
fn open_best(index: &CameraIndex, wanted: Wanted) -> Result<nokhwa::Camera, NokhwaError> {
    let mut modes = modes(index)?;
    if modes.is_empty() {
        return Err(NokhwaError::GeneralError(NO_CAMERA.into()));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_camera_that_takes_its_time_to_open_holds_nobody_up() -> Result<()> {
        let (held, hold) = sync_channel::<()>(0);
        let mode = CameraFormat::new_from(2, 2, FrameFormat::RAWRGB, 30);
        let open = move || {
            let _ = hold.recv();
            Ok(((), mode))
        };
        let mut camera = Camera {
            index: CameraIndex::Index(0),
            name: "X".into(),
            wanted: Wanted {
                side: 480,
                fps: 30,
                format: None,
            },
            mode,
            reader: None,
            opening: Some(Opening::begin(open, |_| {
                Err(NokhwaError::ReadFrameError(
                    "No such device (os error 19)".into(),
                ))
            })?),
            next_try: Instant::now(),
            trouble: String::new(),
            frames: 0,
        };
        let (start, mut frame) = (Instant::now(), Frame::default());
        for _ in 0..2 {
            let reading = camera.read(&mut frame)?;
            assert!(matches!(reading, Reading::Trouble(_)), "{reading:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(4));
        drop(held);
        let mut told = String::new();
        while told.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
            if let Reading::Trouble(words) = camera.read(&mut frame)? {
                told = words;
            }
        }
        assert!(told.contains("`X` is unplugged; waiting for it"), "{told}");
        Ok(())
    }
}
