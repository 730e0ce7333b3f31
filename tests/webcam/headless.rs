//! Without a window: recordings, and what is refused.

use std::path::Path;
use std::process::{Command, Output};

use repaint::detail::sharpness;
use repaint::scale::resized;

use super::{figures, number, read_clip, studio, webcam, write_clip, write_faster, write_noise};

pub fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// The names in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("listed");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("listed").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[track_caller]
pub fn assert_refused(command: &mut Command, words: &[&str]) {
    let (output, said) = run(command);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
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
    assert!((end - seconds).abs() < 0.4, "{end} s of {seconds} s");
}

#[test]
fn the_duration_ends_a_run_to_which_no_picture_comes() {
    let studio = studio();
    let folder = studio.path();
    write_clip(&folder.join("late.mkv"), &[500, 501]); // its first frame is due after 20 s
    std::fs::rename(folder.join("late.mkv"), folder.join("clip.mp4")).expect("renamed");
    let args = ["--headless", "--duration", "0.5"];
    let run = |output: [&str; 2]| webcam(folder, &[&args[..], &output].concat());
    let start = std::time::Instant::now();
    assert_refused(
        &mut run(["--stats", "b.json"]),
        &["no picture came from `clip.mp4` in 0.5 s", "--duration"],
    );
    let said = ["no frame was painted", "a.mp4"];
    assert_refused(&mut run(["--record", "a.mp4"]), &said);
    assert!(start.elapsed().as_secs() < 15, "it went on");
    assert_eq!(number(&figures(&folder.join("b.json")), "shown"), 0.0);
    assert!(!folder.join("a.mp4").exists());
}

#[test]
fn a_recording_that_breaks_off_ends_a_run_without_a_window() {
    let studio = studio();
    let folder = studio.path();
    std::fs::remove_file(folder.join("clip.mp4")).expect("removed");
    write_noise(&folder.join("clip.mp4"));
    let args = "--headless --record a.mp4 --stats b.json --strength 0 --duration 60";
    let mut limited = Command::new("sh");
    let command = webcam(folder, &args.split(' ').collect::<Vec<_>>());
    limited
        .args(["-c", "ulimit -f 100; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"));
    let start = std::time::Instant::now();
    assert_refused(&mut limited, &["a.mp4", "File too large"]);
    assert!(start.elapsed().as_secs() < 30, "it went on");
    assert!(number(&figures(&folder.join("b.json")), "shown") > 0.0);
    assert_eq!(listing(folder), ["b.json", "clip.mp4", "data"]);
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
    assert_eq!(listing(folder), ["clip.mp4", "data"]);
}

#[test]
fn what_is_painted_small_to_hold_a_rate_has_the_edges_of_the_source() {
    let studio = studio();
    let folder = studio.path();
    // More frames a second than any size but a small one is painted at.
    let clip = folder.join("fast.mp4");
    write_faster(&clip, 240);
    let clip = clip.to_str().expect("a name");
    let paint = |more: &[&str], place: &str| {
        let stats = format!("{place}.json");
        let own = [
            "--headless",
            "--frames",
            "60",
            "--record",
            place,
            "--stats",
            &stats,
        ];
        let args = [&own[..], &["--camera", clip, "--model", "udnie"], more].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_repaint"));
        let (output, said) = run(command.arg("webcam").args(args).current_dir(folder));
        assert!(output.status.success(), "{said}");
        let (_, last, _) = read_clip(&folder.join(place));
        (last, number(&figures(&folder.join(&stats)), "mean_side"))
    };
    let (held, side) = paint(&["--fps", "240"], "held.mp4");
    assert!(side < 240.0, "painted at {side}");
    assert_eq!((held.width, held.height), (640, 360));
    // The same enlarged without the source has lost all that is finer than its own pixels.
    let blurred = resized(&held, 256, 144).and_then(|small| resized(&small, 640, 360));
    let [sharp, blurred] = [&held, &blurred.expect("scaled")].map(sharpness);
    assert!(sharp > 1.5 * blurred, "{sharp} {blurred}");
    // A resolution that was asked for is that of the recording.
    let (asked, side) = paint(&["--size", "144"], "asked.mp4");
    assert_eq!((asked.width, asked.height, side), (256, 144, 144.0));
}
