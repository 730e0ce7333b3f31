//! Which camera, which of its modes, and what its errors mean.

use nokhwa::NokhwaError;
use nokhwa::utils::{CameraFormat, CameraInfo, FrameFormat, Resolution};

/// What is said of a device that offers no modes.
pub(super) const NO_CAMERA: &str =
    "is no camera (an output, a node for metadata, or without colours)";

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

/// How far a mode is from what is wanted: too small or slow counts more than too large or fast,
/// which only costs time.
pub(super) fn distance(mode: &CameraFormat, wanted: Wanted) -> f64 {
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
    pub(super) fn is(self, format: FrameFormat) -> bool {
        match self {
            Self::Mjpeg => format == FrameFormat::MJPEG,
            Self::Yuyv => format == FrameFormat::YUYV,
            Self::Nv12 => format == FrameFormat::NV12,
            Self::Rgb => matches!(format, FrameFormat::RAWRGB | FrameFormat::RAWBGR),
        }
    }
}

pub(super) fn choose<'a>(infos: &'a [CameraInfo], choice: &str) -> Option<&'a CameraInfo> {
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

/// The first of `infos` that is a camera, and what came of opening it; `None` where none is.
pub(super) fn first<T>(
    infos: &[CameraInfo],
    mut open: impl FnMut(&CameraInfo) -> Result<T, NokhwaError>,
) -> Option<(&CameraInfo, Result<T, NokhwaError>)> {
    let mut opened = infos.iter().map(|info| (info, open(info)));
    opened.find(|(_, opened)| !opened.as_ref().is_err_and(is_no_camera))
}

pub(super) fn unknown(choice: &str, infos: &[CameraInfo]) -> String {
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

pub(super) fn is_busy(error: &NokhwaError) -> bool {
    error.to_string().contains("os error 16")
}

/// Whether the device sends no pictures, or none in colour.
fn is_no_camera(error: &NokhwaError) -> bool {
    error.to_string().contains(NO_CAMERA)
}

/// What went wrong with a camera, in one line with the remedy.
pub(super) fn explain(name: &str, error: &NokhwaError) -> String {
    let words = one_line(error);
    let has = |part: &str| words.contains(part);
    if is_no_camera(error) {
        format!(
            "`{name}` {NO_CAMERA}: name another one of `repaint webcam --list`, or none to take the first"
        )
    } else if is_busy(error) {
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

pub(super) fn one_line(error: &NokhwaError) -> String {
    let words = error.to_string().replace('\n', " ");
    words
        .strip_prefix("Error: ")
        .map_or(words.clone(), Into::into)
}

/// Sizes with formats and highest rate, largest first.
pub(super) fn describe(modes: &[CameraFormat]) -> Vec<String> {
    let mut sizes: Vec<_> = modes.iter().map(CameraFormat::resolution).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse((size.width() * size.height(), size.width())));
    sizes.dedup();
    let line = |size: &Resolution| {
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

#[cfg(test)]
mod tests {
    use nokhwa::utils::CameraIndex;

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
    fn the_first_camera_is_the_first_that_sends_pictures() {
        let info = |index| CameraInfo::new("X", "", "", CameraIndex::Index(index));
        let infos = [info(0), info(2), info(3)];
        let error = |words: &str| NokhwaError::GeneralError(words.into());
        let found = |says: [&str; 3]| {
            let mut says = says.into_iter();
            let opened = first(&infos, |_| match says.next().unwrap() {
                "" => Ok(()),
                words => Err(error(words)),
            });
            opened.map(|(info, opened)| (info.index().as_string(), opened.is_ok()))
        };
        let (other, busy) = (NO_CAMERA, "busy (os error 16)");
        assert_eq!(found(["", "", ""]), Some(("0".into(), true)));
        assert_eq!(found([other, "", ""]), Some(("2".into(), true)));
        assert_eq!(found([other, busy, ""]), Some(("2".into(), false)));
        assert_eq!(found([other, other, other]), None);
        let words = explain("X", &error(NO_CAMERA));
        assert!(words.starts_with("`X` is no camera ("), "{words}");
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
