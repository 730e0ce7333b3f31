//! `repaint webcam` as a person uses it: a file played live, in a window on a virtual screen, with
//! real key presses. Needs Xvfb, xdotool and ffmpeg.
#![cfg(all(feature = "video", feature = "webcam", target_os = "linux"))]

#[path = "common/flat_models.rs"]
mod flat_models;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flat_models::write_flat_model;
use repaint::frame::Frame;
use repaint::media::decode::{Decoder, VideoInfo};
use repaint::media::encode::{EncodeSettings, Encoder, Ending};
use repaint::media::{FrameSink, FrameSource, picture};
use repaint::output::Existing;
use tempfile::TempDir;

const RED: [u8; 3] = [220, 40, 40];
const BLUE: [u8; 3] = [40, 60, 220];

/// Size of the virtual screen.
const SCREEN: (usize, usize) = (800, 600);

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

/// A green clip with frames at the given ticks of 1/25 s.
fn write_clip(path: &Path, ticks: &[i64]) {
    let info = VideoInfo::new(320, 240, (25, 1));
    let settings = EncodeSettings::default();
    let mut encoder = Encoder::create(path, Existing::Keep, &info, &settings, None).expect("made");
    let mut frame = Frame::new(320, 240);
    for pixel in frame.pixels.chunks_exact_mut(3) {
        pixel.copy_from_slice(&[30, 180, 60]);
    }
    for &tick in ticks {
        frame.pts = tick;
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

/// A virtual screen without a window manager.
struct Screen {
    server: Child,
    display: String,
}

impl Screen {
    /// Starts one; `None` where its programs are missing, unless `CI` is set.
    fn start() -> Option<Self> {
        for program in ["Xvfb", "xdotool", "ffmpeg"] {
            if Command::new(program).arg("-help").output().is_err() {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "{program} is missing and CI is set"
                );
                println!("skipped: {program} is missing");
                return None;
            }
        }
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{}x{}x24", SCREEN.0, SCREEN.1))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut number = String::new();
        let stdout = server.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut number)
            .expect("its display");
        let display = format!(":{}", number.trim());
        Some(Self { server, display })
    }

    fn xdotool(&self, args: &[&str]) -> String {
        let output = Command::new("xdotool")
            .args(args)
            .env("DISPLAY", &self.display)
            .output()
            .expect("xdotool runs");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    fn press(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    fn picture(&self, folder: &Path) -> Frame {
        let path = folder.join("screen.png");
        let size = format!("{}x{}", SCREEN.0, SCREEN.1);
        let grabbed = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-y",
                "-f",
                "x11grab",
                "-draw_mouse",
                "0",
                "-video_size",
                &size,
            ])
            .args(["-i", &self.display, "-frames:v", "1", "-update", "1"])
            .arg(&path)
            .status()
            .expect("ffmpeg runs");
        assert!(grabbed.success());
        picture::read(&path).expect("a screenshot")
    }

    /// Waits until the screenshot is as `wanted` says, and fails with `what` after ten seconds.
    #[track_caller]
    fn wait_for(&self, folder: &Path, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let start = Instant::now();
        loop {
            let shot = self.picture(folder);
            if wanted(&shot) {
                return shot;
            }
            if start.elapsed() > Duration::from_secs(10) {
                let kept = std::env::temp_dir().join("repaint-webcam-test.png");
                let _ = picture::write(&kept, &shot, Existing::Overwrite);
                panic!("the window does not show {what}; see {}", kept.display());
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The program with its window.
struct App(Child);

impl App {
    fn start(screen: &Screen, folder: &Path, args: &[&str]) -> Self {
        let child = webcam(folder, args)
            .env("DISPLAY", &screen.display)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    /// Waits for the end, which must be a good one.
    #[track_caller]
    fn finish(mut self) {
        let start = Instant::now();
        while self.0.try_wait().expect("a child").is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.0.wait().expect("a child");
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        }
        assert!(status.success(), "{status}: {said}");
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The colour at a place of the window, which is 640x480 in the middle of the screen.
fn at(shot: &Frame, x: usize, y: usize) -> [u8; 3] {
    on_screen(shot, (SCREEN.0 - 640) / 2 + x, (SCREEN.1 - 480) / 2 + y)
}

fn on_screen(shot: &Frame, x: usize, y: usize) -> [u8; 3] {
    let place = (y * shot.width + x) * 3;
    [0, 1, 2].map(|i| shot.pixels[place + i])
}

fn is(found: [u8; 3], color: [u8; 3]) -> bool {
    found.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 12)
}

fn is_green(color: [u8; 3]) -> bool {
    color[1] > 140 && color[0] < 80 && color[2] < 110
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

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[track_caller]
fn assert_refused(command: &mut Command, words: &[&str]) {
    let (output, said) = run(command);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

#[test]
fn keys_switch_style_split_and_mirror_and_take_snapshots() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    let app = App::start(&screen, folder, &["--stats", "stats.json", "--size", "240"]);
    screen.wait_for(folder, "the red style", |shot| {
        is(at(shot, 320, 240), RED) && is(at(shot, 630, 470), RED)
    });
    assert_eq!(
        screen.xdotool(&["search", "--name", "^repaint - a_red$", "getwindowname"]),
        "repaint - a_red"
    );
    screen.press("2");
    screen.wait_for(folder, "the blue style", |shot| {
        is(at(shot, 320, 240), BLUE)
    });
    screen.press("Left");
    screen.wait_for(folder, "the style to the left", |shot| {
        is(at(shot, 320, 240), RED)
    });
    screen.press("p");
    screen.press("s");
    screen.wait_for(folder, "the split view", |shot| {
        is_green(at(shot, 200, 300)) && is(at(shot, 500, 300), RED)
    });
    // the line follows the mouse that takes hold of it
    let line = ((SCREEN.0 / 2).to_string(), (SCREEN.1 / 2).to_string());
    screen.xdotool(&[
        "mousemove",
        &line.0,
        &line.1,
        "sleep",
        "0.2",
        "mousedown",
        "1",
    ]);
    screen.xdotool(&[
        "sleep",
        "0.2",
        "mousemove",
        "620",
        "300",
        "sleep",
        "0.2",
        "mouseup",
        "1",
    ]);
    screen.wait_for(folder, "the line moved to the right", |shot| {
        is_green(at(shot, 500, 300))
    });
    screen.press("s");
    for _ in 0..10 {
        screen.press("Down");
    }
    screen.wait_for(folder, "the source at strength 0", |shot| {
        is_green(at(shot, 500, 300))
    });
    screen.press("h");
    let help = screen.wait_for(folder, "the help", |shot| {
        let light = shot
            .pixels
            .chunks_exact(3)
            .filter(|p| *p == [255; 3])
            .count();
        light > 2500
    });
    assert!(
        !is_green(at(&help, 320, 240)) || at(&help, 320, 240)[1] < 100,
        "darkened"
    );
    screen.press("Escape");
    app.finish();
    let snapshot = picture::read(&folder.join("repaint-001.png")).expect("a snapshot");
    assert_eq!((snapshot.width, snapshot.height), (320, 240));
    assert!(
        snapshot
            .pixels
            .chunks_exact(3)
            .all(|p| is([p[0], p[1], p[2]], RED))
    );
    let figures = figures(&folder.join("stats.json"));
    assert!(number(&figures, "shown") > 10.0, "{figures}");
    for name in [
        "captured_fps",
        "shown_fps",
        "latency_p50_ms",
        "latency_p95_ms",
        "longest_gap_ms",
    ] {
        assert!(number(&figures, name) > 0.0, "{figures}");
    }
    assert_eq!(number(&figures, "mean_side"), 240.0, "{figures}");
}

#[test]
fn a_recording_lasts_as_long_as_it_was() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    let app = App::start(&screen, folder, &[]);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.press("r");
    let start = Instant::now();
    screen.wait_for(folder, "the sign of a recording", |shot| {
        let red = |x: usize, y: usize| {
            let [r, g, b] = at(shot, x, y);
            r > 225 && g < 60 && b < 50
        };
        (560..640).any(|x| (2..30).any(|y| red(x, y) && !is(at(shot, x, y), RED)))
            || (560..640).any(|x| (2..30).any(|y| at(shot, x, y)[0] < 120))
    });
    std::thread::sleep(Duration::from_secs(2));
    screen.press("2");
    std::thread::sleep(Duration::from_secs(1));
    screen.press("r");
    let lasted = start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(500));
    screen.press("q");
    app.finish();
    let (times, last, end) = read_clip(&folder.join("repaint-001.mp4"));
    assert!(
        (end - lasted).abs() < 2.0 / 25.0 + 0.1,
        "{end} s of {lasted} s"
    );
    assert!(times.len() > 20, "{} frames", times.len());
    // an even grid: every time is a multiple of 1/25 s
    for time in &times {
        assert!((time * 25.0 - (time * 25.0).round()).abs() < 0.02, "{time}");
    }
    let centre = (last.height / 2 * last.width + last.width / 2) * 3;
    let color = [0, 1, 2].map(|i| last.pixels[centre + i]);
    assert!(is(color, BLUE), "{color:?}");
}

#[test]
fn the_picture_keeps_its_aspect_in_every_window_and_fills_the_screen() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    let app = App::start(&screen, folder, &[]);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.press("f");
    screen.wait_for(folder, "the whole screen", |shot| {
        is(on_screen(shot, 10, 590), RED) && is(on_screen(shot, 790, 590), RED)
    });
    screen.press("f");
    screen.wait_for(folder, "the window again", |shot| {
        is(at(shot, 320, 240), RED) && is(on_screen(shot, 10, 590), [0; 3])
    });
    let window = screen.xdotool(&["search", "--name", "^repaint - "]);
    screen.xdotool(&[
        "windowmove",
        &window,
        "0",
        "0",
        "windowsize",
        &window,
        "800",
        "300",
    ]);
    screen.wait_for(folder, "black beside the picture", |shot| {
        is(on_screen(shot, 400, 200), RED)
            && is(on_screen(shot, 590, 200), RED)
            && is(on_screen(shot, 610, 200), [0; 3])
            && is(on_screen(shot, 190, 200), [0; 3])
    });
    screen.xdotool(&["mousemove", "400", "150"]); // keys go to the window under the mouse
    screen.press("Escape");
    app.finish();
}

#[test]
fn a_camera_that_falls_silent_is_reported_and_goes_on() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    std::fs::remove_file(folder.join("clip.mp4")).expect("removed");
    let ticks: Vec<i64> = (0..25).chain(100..150).collect(); // silent from 1 s to 4 s
    write_clip(&folder.join("clip.mp4"), &ticks);
    let app = App::start(
        &screen,
        folder,
        &["--duration", "6", "--stats", "stats.json"],
    );
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.wait_for(folder, "a word about the silence", |shot| {
        // the notice is yellow on dark ground at the bottom
        let yellow = |p: [u8; 3]| p[0] > 240 && (180..220).contains(&p[1]) && p[2] < 90;
        let band = (430..475).flat_map(|y| (100..540).map(move |x| (x, y)));
        band.filter(|&(x, y)| yellow(at(shot, x, y))).count() > 400
    });
    app.finish();
    let figures = figures(&folder.join("stats.json"));
    assert!(number(&figures, "longest_gap_ms") > 2900.0, "{figures}");
    assert!(number(&figures, "shown") > 40.0, "it went on: {figures}");
}

#[test]
fn without_a_window_a_silent_camera_is_told_in_the_terminal() {
    let studio = studio();
    let folder = studio.path();
    std::fs::remove_file(folder.join("clip.mp4")).expect("removed");
    let ticks: Vec<i64> = (0..25).chain(75..150).collect(); // silent from 1 s to 3 s
    write_clip(&folder.join("clip.mp4"), &ticks);
    let args = ["--headless", "--record", "a.mp4", "--duration", "4"];
    let (output, said) = run(&mut webcam(folder, &args));
    assert!(output.status.success(), "{said}");
    let told = said.contains("the camera sends nothing\nthe camera is back\n");
    assert!(told, "{said}");
}

#[test]
fn headless_records_as_many_frames_as_asked_with_their_times() {
    let studio = studio();
    let folder = studio.path();
    let args = [
        "--headless",
        "--frames",
        "30",
        "--record",
        "out.mp4",
        "--stats",
        "stats.json",
    ];
    let (output, said) = run(&mut webcam(folder, &args));
    assert!(output.status.success(), "{said}");
    let (times, _, end) = read_clip(&folder.join("out.mp4"));
    assert_eq!(times.len(), 30);
    let figures = figures(&folder.join("stats.json"));
    assert_eq!(number(&figures, "shown"), 30.0);
    let seconds = number(&figures, "seconds");
    assert!((end - seconds).abs() < 3.0 / 25.0, "{end} s of {seconds} s");
}

#[test]
fn what_cannot_work_is_refused_in_one_line() {
    let studio = studio();
    let folder = studio.path();
    assert_refused(&mut webcam(folder, &[]), &["no display", "--headless"]);
    assert_refused(&mut webcam(folder, &["--headless"]), &["--record"]);
    let none = ["--headless", "--record", "a.mp4", "--camera", "nosuch"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_repaint"));
    command.arg("webcam").args(none).current_dir(folder);
    assert_refused(&mut command, &["no camera `nosuch`", "--camera FILE"]);
    let device = ["--headless", "--virtual-camera", "/dev/video98"];
    assert_refused(
        &mut webcam(folder, &device),
        &["modprobe v4l2loopback video_nr=98"],
    );
    let taken = ["--headless", "--record", "clip.mp4"];
    assert_refused(&mut webcam(folder, &taken), &["clip.mp4", "--overwrite"]);
    let input = ["--headless", "--record", "clip.mp4", "--overwrite"];
    assert_refused(&mut webcam(folder, &input), &["clip.mp4", "input"]);
    let figures = ["--headless", "--record", "a.mp4", "--stats", "clip.mp4"];
    assert_refused(&mut webcam(folder, &figures), &["clip.mp4", "--overwrite"]);
    let same = ["--headless", "--record", "a.mp4", "--stats", "a.mp4"];
    assert_refused(&mut webcam(folder, &same), &["a.mp4", "two files"]);
    let lost = ["--stats", "a.json"];
    assert_refused(&mut webcam(folder, &lost), &["no display"]);
    let ending = ["--headless", "--record", "a.gif"];
    assert_refused(&mut webcam(folder, &ending), &["a.gif", ".mp4"]);
    let left: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .collect();
    assert_eq!(left.len(), 2, "left behind: {left:?}");
}
