//! Cameras: V4L2, AVFoundation, Media Foundation. The only place that knows nokhwa.
//!
//! nokhwa waits for ever when a camera sends nothing, and hands old frames to slow readers. So a
//! thread of its own reads every frame at once, and whoever asks gets the newest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nokhwa::pixel_format::RgbFormat;
use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, CameraInfo, FrameFormat, RequestedFormat,
    RequestedFormatType,
};
use nokhwa::{Buffer, NokhwaError};

use super::{LiveSource, Reading};
use crate::frame::Frame;

/// Longest wait for a frame in one call.
const PATIENCE: Duration = Duration::from_millis(250);

/// Longest wait for a camera to open.
const OPENING: Duration = Duration::from_secs(10);

/// Time between two attempts to open a camera that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// Modes tried, best first, before a camera is given up: drivers refuse some that they list.
const ATTEMPTS: usize = 12;

/// What the frames shall be like; the camera's nearest mode is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Shorter side in pixels.
    pub side: u32,
    /// Frames a second.
    pub fps: u32,
    /// Pixel format; any when `None`.
    pub format: Option<PixelFormat>,
}

/// Pixel formats that cameras send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// A JPEG picture each.
    Mjpeg,
    /// 4:2:2, packed.
    Yuyv,
    /// 4:2:0, two planes.
    Nv12,
    /// RGB or BGR.
    Rgb,
}

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
    fn name(&self) -> &str {
        &self.name
    }

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
                let decoded = buffer.decode_image_to_buffer::<RgbFormat>(&mut frame.pixels);
                if decoded.is_err() {
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
    let mode = opened
        .recv_timeout(OPENING)
        .map_err(|_| failed(&"it does not answer: unplug it and plug it in again"))??;
    Ok((Reader { mail }, mode))
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
    let mut failure = NokhwaError::GeneralError("it offers no format that was asked for".into());
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

/// How far a mode is from what is wanted: too small or slow counts more than too large or fast,
/// which only costs time.
fn distance(mode: &CameraFormat, wanted: Wanted) -> f64 {
    let ratio = |have: u32, want: u32| f64::from(have.max(1)) / f64::from(want.max(1));
    let size = ratio(mode.width().min(mode.height()), wanted.side);
    let rate = ratio(mode.frame_rate(), wanted.fps);
    let size = if size < 1.0 {
        4.0 * (1.0 / size - 1.0)
    } else {
        0.5 * (size - 1.0)
    };
    let rate = if rate < 1.0 {
        2.0 * (1.0 / rate - 1.0)
    } else {
        0.1 * (rate - 1.0)
    };
    let format = match mode.format() {
        FrameFormat::YUYV | FrameFormat::NV12 => 0.0,
        FrameFormat::MJPEG => 0.02, // costs decoding
        _ => 0.01,
    };
    size + rate + format
}

impl PixelFormat {
    fn is(self, format: FrameFormat) -> bool {
        match self {
            Self::Mjpeg => format == FrameFormat::MJPEG,
            Self::Yuyv => format == FrameFormat::YUYV,
            Self::Nv12 => format == FrameFormat::NV12,
            Self::Rgb => matches!(format, FrameFormat::RAWRGB | FrameFormat::RAWBGR),
        }
    }
}

/// Every device, by number.
fn query() -> Result<Vec<CameraInfo>> {
    let mut infos = nokhwa::query(ApiBackend::Auto)
        .map_err(|error| anyhow!("could not look for cameras: {}", one_line(&error)))?;
    infos.sort_by_key(|info| info.index().as_index().unwrap_or(u32::MAX));
    Ok(infos)
}

fn choose<'a>(infos: &'a [CameraInfo], choice: &str) -> Option<&'a CameraInfo> {
    let number = choice.strip_prefix("/dev/video").unwrap_or(choice);
    if let Ok(number) = number.parse::<u32>() {
        return infos
            .iter()
            .find(|info| info.index().as_index().ok() == Some(number));
    }
    let part = choice.to_lowercase();
    infos
        .iter()
        .find(|info| info.human_name().to_lowercase().contains(&part))
}

fn unknown(choice: &str, infos: &[CameraInfo]) -> String {
    let known: Vec<_> = infos
        .iter()
        .map(|info| format!("{} {}", info.index().as_string(), info.human_name().trim()))
        .collect();
    let known = match known.is_empty() {
        true => "there is none".to_string(),
        false => format!("there are: {}", known.join(", ")),
    };
    format!("no camera `{choice}` ({known}): plug one in, or play a file with --camera FILE")
}

fn is_busy(error: &NokhwaError) -> bool {
    error.to_string().contains("os error 16")
}

/// What went wrong with a camera, in one line with the remedy.
fn explain(name: &str, error: &NokhwaError) -> String {
    let words = one_line(error);
    let has = |part: &str| words.contains(part);
    if is_busy(error) {
        format!("camera `{name}` is in use by another program: close that first")
    } else if has("os error 13") || has("os error 1)") {
        format!(
            "no permission for camera `{name}`: add yourself to its group with `sudo usermod -aG \
             video $USER` and log in again"
        )
    } else if has("os error 19") || has("os error 2)") || has("os error 6)") {
        format!("camera `{name}` is unplugged")
    } else {
        format!("camera `{name}`: {words}")
    }
}

fn one_line(error: &NokhwaError) -> String {
    error.to_string().replace('\n', " ")
}

/// Sizes with formats and highest rate, largest first.
fn describe(modes: &[CameraFormat]) -> Vec<String> {
    let mut sizes: Vec<_> = modes.iter().map(CameraFormat::resolution).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse((size.width() * size.height(), size.width())));
    sizes.dedup();
    let line = |size: &nokhwa::utils::Resolution| {
        let of_size = || modes.iter().filter(|mode| mode.resolution() == *size);
        let mut formats: Vec<_> = of_size().map(|mode| mode.format().to_string()).collect();
        formats.sort();
        formats.dedup();
        let formats: Vec<_> = formats
            .iter()
            .map(|format| {
                let of_format = of_size().filter(|mode| mode.format().to_string() == *format);
                let fastest = of_format.map(CameraFormat::frame_rate).max().unwrap_or(0);
                format!("{format} {fastest} fps")
            })
            .collect();
        format!("{}x{}: {}", size.width(), size.height(), formats.join(", "))
    };
    sizes.iter().map(line).collect()
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

    fn mode(width: u32, height: u32, format: FrameFormat, fps: u32) -> CameraFormat {
        CameraFormat::new_from(width, height, format, fps)
    }

    fn best(modes: &[CameraFormat], side: u32, fps: u32) -> Option<CameraFormat> {
        let wanted = Wanted {
            side,
            fps,
            format: None,
        };
        let nearest = |a: &&CameraFormat, b: &&CameraFormat| {
            distance(a, wanted).total_cmp(&distance(b, wanted))
        };
        modes.iter().min_by(nearest).copied()
    }

    #[test]
    fn a_usual_webcam_is_opened_in_the_mode_that_suits() {
        use FrameFormat::{MJPEG, YUYV};
        let modes = [
            mode(320, 240, YUYV, 30),
            mode(640, 480, YUYV, 30),
            mode(640, 480, MJPEG, 30),
            mode(1280, 720, YUYV, 10),
            mode(1280, 720, MJPEG, 30),
            mode(1920, 1080, MJPEG, 30),
        ];
        assert_eq!(best(&modes, 480, 30), Some(modes[1]));
        assert_eq!(
            best(&modes, 720, 30),
            Some(modes[4]),
            "fast enough only as MJPEG"
        );
        assert_eq!(best(&modes, 720, 10), Some(modes[3]));
        assert_eq!(best(&modes, 240, 60), Some(modes[0]));
    }

    #[test]
    fn cameras_are_chosen_by_number_path_or_name() {
        let info = |index, name: &str| CameraInfo::new(name, "", "", CameraIndex::Index(index));
        let infos = [info(0, "Integrated Camera"), info(2, "HD Pro Webcam C920")];
        let index = |choice| choose(&infos, choice).map(|info| info.index().as_string());
        assert_eq!(index("2").as_deref(), Some("2"));
        assert_eq!(index("/dev/video0").as_deref(), Some("0"));
        assert_eq!(index("c920").as_deref(), Some("2"));
        assert_eq!(index("1"), None);
        assert!(unknown("1", &infos).contains("2 HD Pro Webcam C920"));
    }

    #[test]
    fn what_devices_say_is_explained_in_one_line() {
        let open = |words: &str| NokhwaError::OpenDeviceError("0".into(), words.into());
        let busy = explain(
            "X",
            &open("V4L2 Error: Device or resource busy (os error 16)"),
        );
        assert!(busy.contains("in use by another program"), "{busy}");
        let denied = explain("X", &open("Permission denied (os error 13)"));
        assert!(denied.contains("usermod"), "{denied}");
        let gone = explain(
            "X",
            &NokhwaError::ReadFrameError("No such device (os error 19)".into()),
        );
        assert!(gone.contains("unplugged"), "{gone}");
    }
}
