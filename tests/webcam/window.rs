//! The window: keys, mouse, recordings, and what it says of a silent camera.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use repaint::frame::Frame;
use repaint::media::picture;
use repaint::output::Existing;

use super::screen::{SCREEN, Screen};
use super::sound::{assert_ends_with, seconds, sound};
use super::{BLUE, RED, figures, number, read_clip, studio, webcam, write_clip};

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

/// Whether there is a notice: yellow on dark ground at the bottom.
fn told(shot: &Frame) -> bool {
    let yellow = |p: [u8; 3]| p[0] > 240 && (180..220).contains(&p[1]) && p[2] < 90;
    let band = (430..475).flat_map(|y| (100..540).map(move |x| (x, y)));
    band.filter(|&(x, y)| yellow(at(shot, x, y))).count() > 400
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
    let tone = ["--microphone", "lavfi:sine=440,arealtime"];
    let app = App::start(&screen, folder, &tone);
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
    // Pictures and keys take their time on a busy computer.
    assert!((end - lasted).abs() < 0.6, "{end} s of {lasted} s");
    assert!(times.len() > 20, "{} frames", times.len());
    let heard = seconds(&sound(&folder.join("repaint-001.mp4")));
    assert_ends_with(times[times.len() - 1], heard);
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
    let app = App::start(&screen, folder, &["--stats", "stats.json"]);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.wait_for(folder, "a word about the silence", told);
    screen.wait_for(folder, "pictures again", |shot| {
        !told(shot) && is(at(shot, 320, 240), RED)
    });
    screen.press("q");
    app.finish();
    let figures = figures(&folder.join("stats.json"));
    assert!(number(&figures, "longest_gap_ms") > 2500.0, "{figures}");
    assert!(number(&figures, "captured") > 25.0, "it went on: {figures}");
}

#[test]
fn a_style_that_cannot_be_had_is_told_and_the_title_names_the_one_that_is_painted() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    let broken = folder.join("data/repaint/models/c_broken.safetensors");
    std::fs::write(broken, "no model").expect("written");
    let app = App::start(&screen, folder, &[]);
    let title = || screen.xdotool(&["search", "--name", "^repaint - ", "getwindowname"]);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.press("2");
    screen.wait_for(folder, "the blue style", |shot| {
        is(at(shot, 320, 240), BLUE)
    });
    std::thread::sleep(Duration::from_secs(4)); // until the notice of the help is gone
    screen.press("3");
    screen.wait_for(folder, "what is wrong with the style", |shot| {
        told(shot) && is(at(shot, 320, 240), BLUE)
    });
    assert_eq!(title(), "repaint - b_blue");
    screen.press("1");
    screen.wait_for(folder, "the red style again", |shot| {
        !told(shot) && is(at(shot, 320, 240), RED)
    });
    assert_eq!(title(), "repaint - a_red");
    screen.press("q");
    app.finish();
}

#[test]
fn a_recording_of_a_frozen_picture_is_empty_and_no_failure() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    let app = App::start(&screen, folder, &[]);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.press("space");
    std::thread::sleep(Duration::from_millis(500)); // what was on its way arrives
    let hidden = || {
        let entries = std::fs::read_dir(folder).expect("listed");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("listed").file_name();
        entries.map(name).any(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') && name.ends_with(".mp4")
        })
    };
    let wait_for = |wanted: bool| {
        let start = Instant::now();
        while hidden() != wanted {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "hidden: {}",
                !wanted
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    screen.press("r");
    wait_for(true);
    screen.press("r");
    wait_for(false);
    screen.press("r"); // one more, which the end of the program ends
    wait_for(true);
    screen.press("Escape");
    app.finish();
    assert!(!hidden());
    for number in 1..=2 {
        let place = folder.join(format!("repaint-00{number}.mp4"));
        assert!(!place.exists(), "{}", place.display());
    }
}

#[test]
fn quitting_closes_the_window_at_once_and_leaves_styles_unread() {
    let Some(screen) = Screen::start() else {
        return;
    };
    let studio = studio();
    let folder = studio.path();
    for number in 0..100 {
        // each takes a tenth of a second and more to become a style
        let place = folder.join(format!("data/repaint/models/picture_{number}.png"));
        picture::write(&place, &Frame::new(320, 240), Existing::Keep).expect("written");
    }
    // a recording waits for half a second for the end of a sound that ended before
    let tone = ["--microphone", "lavfi:sine=440:d=0.2,arealtime"];
    let mut app = App::start(&screen, folder, &tone);
    screen.wait_for(folder, "the red style", |shot| is(at(shot, 320, 240), RED));
    screen.press("r");
    std::thread::sleep(Duration::from_secs(1));
    screen.press("q");
    let start = Instant::now();
    while !screen
        .xdotool(&["search", "--name", "^repaint - "])
        .is_empty()
    {
        assert!(start.elapsed() < Duration::from_secs(20), "it stays");
    }
    assert!(app.0.try_wait().expect("a child").is_none());
    app.finish();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(folder.join("repaint-001.mp4").is_file());
}
