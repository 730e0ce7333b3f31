//! Films on a disk that breaks: reading fails (tests/unreadable/read.c) in the decoder or in what
//! copies the sound. What there is before it is kept, and the program says so.
#![cfg(all(target_os = "linux", feature = "video"))]

#[path = "common/clips.rs"]
mod clips;

use std::path::Path;
use std::process::Command;

use clips::{has_ffmpeg, make, number};

/// Converts `film` of `folder` to `output` while reading fails in `thread` from the middle
/// of the file on; the exit code and what the program said.
fn convert(folder: &Path, film: &str, output: &[&str], thread: &str) -> (Option<i32>, String) {
    let length = std::fs::metadata(folder.join(film)).expect("a film").len();
    let library = folder.join("read.so");
    if !library.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unreadable/read.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .expect("a C compiler, as linking needs one");
        assert!(status.success(), "the library does not compile");
    }
    let done = Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["video", film])
        .args(output)
        .args(["--strength", "0", "--size", "32", "--device", "cpu"])
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"))
        .env("LD_PRELOAD", library)
        .env("UNREAD_FILE", film)
        .env("UNREAD_THREAD", thread)
        .env("UNREAD_FROM", (length / 2).to_string())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), said)
}

#[test]
fn a_film_is_kept_up_to_where_it_cannot_be_read() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = "-f lavfi -i testsrc2=s=160x120:r=25:d=8 -f lavfi -i sine=d=8";
    for ending in ["mp4", "mkv", "ts"] {
        let film = format!("film.{ending}");
        make(
            &format!("{both} -c:v libx264 -b:v 2M -c:a aac -movflags +faststart"),
            &folder.path().join(&film),
        );
        for thread in ["decode", "encode"] {
            let output = format!("{thread}_{ending}.mp4");
            let (code, said) = convert(folder.path(), &film, &[&output], thread);
            assert_eq!(code, Some(1), "{output}: {said}");
            let kept = format!("`{output}` holds the film up to here");
            let reason = format!("could not read `{film}` to its end: Input/output error");
            assert!(said.contains(&kept) && said.contains(&reason), "{said}");
            let output = folder.path().join(output);
            for stream in ["v", "a"] {
                let seconds = number(&output, stream, "stream=duration").expect("a length");
                assert!((0.5..7.0).contains(&seconds), "{said}: {stream} {seconds}");
            }
        }
    }
}

#[test]
fn sound_that_cannot_be_read_to_its_end_leaves_the_whole_picture() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = "-f lavfi -i testsrc2=s=64x64:r=25:d=8 -f lavfi -i sine=d=60";
    make(
        &format!("{both} -c:v libx264 -c:a aac -movflags +faststart"),
        &folder.path().join("film.mp4"),
    );
    // What comes after the last frame is read in the main thread.
    let (code, said) = convert(folder.path(), "film.mp4", &["a.mp4"], "repaint");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`a.mp4` holds the film up to here"), "{said}");
    let frames = number(&folder.path().join("a.mp4"), "v", "stream=nb_read_frames");
    assert_eq!(frames, Some(200.0));
    let sound = number(&folder.path().join("a.mp4"), "a", "stream=duration");
    assert!(sound.is_some_and(|s| (7.9..50.0).contains(&s)), "{sound:?}");
}

#[test]
fn a_film_that_is_replaced_stays_when_the_new_one_breaks_off() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let picture = "-f lavfi -i testsrc2=s=160x120:r=25:d=8";
    make(
        &format!("{picture} -c:v libx264 -b:v 2M"),
        &folder.path().join("film.mkv"),
    );
    for thread in ["decode", "encode"] {
        std::fs::write(folder.path().join("old.mp4"), "dear").expect("written");
        let output = ["old.mp4", "--overwrite"];
        let (code, said) = convert(folder.path(), "film.mkv", &output, thread);
        assert_eq!(code, Some(1), "{said}");
        let kept = match thread {
            "decode" => "`old-1.mp4` holds the film up to here",
            _ => "`old-2.mp4` holds the film up to here",
        };
        assert!(said.contains(kept), "{said}");
        let old = std::fs::read(folder.path().join("old.mp4")).expect("it is there");
        assert_eq!(old, b"dear", "{said}");
    }
}
