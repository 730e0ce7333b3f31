//! The arguments of `repaint webcam`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{ANY, whole};
use super::{FilmArgs, PaintArgs};
use crate::media::camera::PixelFormat;

/// `repaint webcam`.
#[derive(Args, Debug)]
pub struct WebcamArgs {
    /// Camera by its number, path or part of its name, or a video file, played as if it were live; the first
    /// camera when not given
    #[arg(long, value_name = "CAMERA")]
    pub camera: Option<String>,
    /// List the cameras, their modes and the microphones
    #[arg(long)]
    pub list: bool,
    /// Pixel format to ask the camera for; the one that suits size and rate best when not given
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub camera_format: Option<CameraFormatArg>,
    /// How to paint.
    #[command(flatten)]
    pub paint: PaintArgs,
    /// How to paint what moves.
    #[command(flatten)]
    pub film: FilmArgs,
    /// Frames a second to reach: the painting gets smaller until it does, never larger than --size
    /// [default: the camera's, at most 30; none with --size]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=240))]
    pub fps: Option<u32>,
    /// Exchange left and right, like a mirror
    #[arg(long)]
    pub mirror: bool,
    /// Record the painting to this file (mp4, m4v, mov, mkv, webm)
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Microphone that recordings listen to, by part of its name; or `none`. The usual one when not given,
    /// none with a video file as the camera
    #[arg(long, value_name = "MICROPHONE")]
    pub microphone: Option<String>,
    /// V4L2 output device that other programs see as a camera, such as /dev/video10
    #[arg(long, value_name = "DEVICE")]
    pub virtual_camera: Option<PathBuf>,
    /// Open no window
    #[arg(long)]
    pub headless: bool,
    /// End after this many pictures
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=ANY))]
    pub frames: Option<u64>,
    /// End this long after the first picture, or after the start while none comes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Write frame rates, drops, latency and mean resolution to this file (JSON) at the end
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Folder for snapshots and recordings made by key; the current one when not given
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `--camera-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CameraFormatArg {
    /// JPEG pictures
    Mjpeg,
    /// YUV 4:2:2
    Yuyv,
    /// YUV 4:2:0
    Nv12,
    /// RGB or BGR
    Rgb,
}

impl From<CameraFormatArg> for PixelFormat {
    fn from(format: CameraFormatArg) -> Self {
        match format {
            CameraFormatArg::Mjpeg => Self::Mjpeg,
            CameraFormatArg::Yuyv => Self::Yuyv,
            CameraFormatArg::Nv12 => Self::Nv12,
            CameraFormatArg::Rgb => Self::Rgb,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e9 => Ok(value),
        _ => Err("expected a number of seconds above 0".to_string()),
    }
}
