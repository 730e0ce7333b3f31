//! `repaint webcam` as a person uses it: a file played live, in a window on a virtual screen with real
//! key presses, and without one. The window needs Xvfb, xdotool and ffmpeg.
#![cfg(all(feature = "webcam", target_os = "linux"))]

#[path = "../common/flat_models.rs"]
mod flat_models;
mod headless;
mod screen;
mod sound;
mod window;

use std::path::Path;
use std::process::Command;

use flat_models::write_flat_model;
use repaint::frame::Frame;
use repaint::media::decode::{Decoder, VideoInfo};
use repaint::media::encode::{Beside, EncodeSettings, Encoder, Ending};
use repaint::media::{FrameSink, FrameSource};
use repaint::output::Existing;
use tempfile::TempDir;

const RED: [u8; 3] = [220, 40, 40];
const BLUE: [u8; 3] = [40, 60, 220];

/// A folder with two styles, `a_red` and `b_blue`, and a clip of 320x240 at 25 frames a second.
fn studio() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let models = folder.path().join("data/repaint/models");
    std::fs::create_dir_all(&models).expect("made");
    write_flat_model(&models.join("a_red.safetensors"), RED);
    write_flat_model(&models.join("b_blue.safetensors"), BLUE);
    write_clip(
        &folder.path().join("clip.mp4"),
        &(0..50).collect::<Vec<_>>(),
    );
    folder
}

/// A clip in two greens, since one alone is shown as it is, with frames at the given ticks of 1/25 s.
fn write_clip(path: &Path, ticks: &[i64]) {
    write_frames(path, ticks, |frame| {
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[[30, 165, 60], [30, 210, 60]][i % 320 / 16 % 2]);
        }
    });
}

/// A clip of two seconds that no encoder makes small.
fn write_noise(path: &Path) {
    let mut state = 1u32;
    write_frames(path, &(0..50).collect::<Vec<_>>(), |frame| {
        for value in &mut frame.pixels {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 24) as u8;
        }
    });
}

fn write_frames(path: &Path, ticks: &[i64], mut fill: impl FnMut(&mut Frame)) {
    let info = VideoInfo::new(320, 240, (25, 1));
    let settings = EncodeSettings::default();
    let mut encoder =
        Encoder::create(path, Existing::Keep, &info, &settings, Beside::Nothing).expect("made");
    let mut frame = Frame::new(320, 240);
    for &tick in ticks {
        fill(&mut frame);
        frame.pts = tick;
        encoder.write(&frame).expect("written");
    }
    encoder.finish(Ending::Cut).expect("finished");
}

/// The sample's frames, so many a second.
fn write_faster(path: &Path, rate: i32) {
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/clip.mp4");
    let mut decoder = Decoder::open(Path::new(clip), None).expect("the sample");
    let mut info = decoder.info().clone();
    (info.frame_rate, info.time_base) = ((rate, 1), (1, rate));
    let settings = EncodeSettings::default();
    let mut encoder =
        Encoder::create(path, Existing::Keep, &info, &settings, Beside::Nothing).expect("made");
    let mut frame = Frame::default();
    while decoder.read(&mut frame).expect("it plays") {
        frame.pts = frame.index as i64;
        encoder.write(&frame).expect("written");
    }
    encoder.finish(Ending::Cut).expect("finished");
}

fn webcam(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_repaint"));
    command
        .args(["webcam", "--camera", "clip.mp4", "--model", "a_red"])
        .args(args)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"))
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("XDG_RUNTIME_DIR");
    command
}

fn figures(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).expect("the figures");
    serde_json::from_slice(&text).expect("JSON")
}

fn number(figures: &serde_json::Value, name: &str) -> f64 {
    figures[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {figures}"))
}

/// The frames of a clip: their times in seconds, and the last one.
fn read_clip(path: &Path) -> (Vec<f64>, Frame, f64) {
    let mut decoder = Decoder::open(path, None).expect("a clip");
    let (num, den) = decoder.info().time_base;
    let seconds = |ticks: i64| ticks as f64 * f64::from(num) / f64::from(den);
    let (mut times, mut frame) = (Vec::new(), Frame::default());
    while decoder.read(&mut frame).expect("it plays") {
        times.push(seconds(frame.pts));
    }
    (times, frame, seconds(decoder.end()))
}
