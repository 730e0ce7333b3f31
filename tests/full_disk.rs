//! Films onto a disk that gets full: what fits is kept as a film that plays, and the program says in
//! time that the whole will not fit. The disk is one in memory, in a namespace of the test's own.
#![cfg(all(target_os = "linux", feature = "webcam"))]

#[path = "common/clips.rs"]
mod clips;

use std::path::Path;
use std::process::{Command, Output};

use clips::{has_ffmpeg, make, number};

/// Size of the disk in KiB.
const DISK: u64 = 8192;

/// Runs a script of `sh` in `folder` as one who may mount disks; `args` are `$0`, `$1` and so on.
fn in_namespace(folder: &Path, script: &str, args: &[&str]) -> std::io::Result<Output> {
    Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .args(args)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"))
        .output()
}

/// A folder with `film.mkv`: 20 s of noise with sound, which is more than the disk takes. `None`, with
/// words, where the test cannot run.
fn studio() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a folder");
    let mounted = in_namespace(folder.path(), "mkdir d && mount -t tmpfs tmpfs d", &[]);
    if !mounted.is_ok_and(|done| done.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "no disk can be mounted");
        println!("skipped: no disk can be mounted here");
        return None;
    }
    if !has_ffmpeg() {
        return None;
    }
    let noise = "testsrc2=s=160x120:r=25:d=20,noise=alls=60:allf=t";
    let film = folder.path().join("film.mkv");
    make(
        &format!("-f lavfi -i {noise} -f lavfi -i sine=d=20 -c:v libx264 -crf 10 -c:a aac"),
        &film,
    );
    Some(folder)
}

/// Runs `repaint` with `args`, parted by spaces, in `folder`. The folder `disk` there is a small disk
/// with the file `old.mp4`; `kept` gets what is on it afterwards. The exit code and what was said.
fn run(folder: &Path, args: &str) -> (Option<i32>, String) {
    run_on(&format!("tmpfs -o size={DISK}k"), folder, args)
}

/// As [`run`], with a disk of the type `disk`.
fn run_on(disk: &str, folder: &Path, args: &str) -> (Option<i32>, String) {
    let script = "mkdir -p disk kept && mount -t $2 small disk || exit 99
        echo old > disk/old.mp4
        \"$0\" $1 --strength 0 --device cpu
        code=$?
        cp -a disk/. kept/ && exit $code";
    let program = env!("CARGO_BIN_EXE_repaint");
    let done = in_namespace(folder, script, &[program, args, disk]);
    let done = done.expect("the namespace of before");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), said)
}

/// Fails unless the film `name` nearly fills the disk and plays, and its `streams` last as long as its
/// frames.
fn ensure_plays(folder: &Path, name: &str, streams: &[&str], said: &str) {
    let film = folder.join("kept").join(name);
    let length = std::fs::metadata(&film).expect(said).len();
    assert!(length > DISK * 1024 / 2, "{length} bytes: {said}");
    let shown = clips::frames(&film).expect("frames").len() as f64 / 25.0;
    assert!((1.0..29.0).contains(&shown), "{shown} s");
    for stream in streams {
        let entry = match *stream {
            WHOLE => "format=duration",
            _ => "stream=duration",
        };
        let seconds = number(&film, stream, entry).expect("a length");
        let off = (seconds - shown).abs();
        assert!(off < 0.2, "{name}, {stream}: {seconds} of {shown} s");
    }
}

/// All streams: Matroska tells their length alone.
const WHOLE: &str = "";

#[test]
fn what_fits_onto_a_disk_is_kept() {
    let Some(folder) = studio() else { return };
    for (name, preset, streams) in [
        ("out.mp4", "ultrafast", &["v", "a"][..]),
        ("out.mkv", "ultrafast", &[WHOLE]),
        ("slow.mp4", "slow", &["v", "a"]),
    ] {
        let args = format!("video film.mkv disk/{name} --crf 1 --preset {preset}");
        let (code, said) = run(folder.path(), &args);
        assert_eq!(code, Some(1), "{said}");
        let foreseen = said.find("its disk has room for 8.").expect(&said);
        let kept = format!("`disk/{name}` holds the film up to here");
        assert!(foreseen < said.find(&kept).expect(&said), "{said}");
        assert!(said.contains("which the end of the file takes"), "{said}");
        ensure_plays(folder.path(), name, streams, &said);
    }
}

#[test]
fn a_film_that_fits_is_not_warned_of() {
    let Some(folder) = studio() else { return };
    let (code, said) = run(folder.path(), "video film.mkv disk/small.mp4 --crf 40");
    assert_eq!((code, said.contains("room")), (Some(0), false), "{said}");
}

#[test]
fn a_disk_that_does_not_tell_its_size_takes_films() {
    let Some(folder) = studio() else { return };
    // Nobody knows how much a ramfs takes; it says 0.
    let args = "video film.mkv disk/out.mp4 --crf 40";
    let (code, said) = run_on("ramfs", folder.path(), args);
    assert_eq!((code, said.contains("room")), (Some(0), false), "{said}");
}

#[test]
fn a_film_that_does_not_fit_replaces_none() {
    let Some(folder) = studio() else { return };
    let args = "video film.mkv disk/old.mp4 --crf 1 --overwrite";
    let (code, said) = run(folder.path(), args);
    assert_eq!(code, Some(1), "{said}");
    let kept = std::fs::read(folder.path().join("kept/old.mp4")).expect("the old film");
    assert_eq!(kept, b"old\n", "{said}");
    assert!(
        said.contains("`disk/old-1.mp4` holds the film up to here"),
        "{said}"
    );
    ensure_plays(folder.path(), "old-1.mp4", &["v", "a"], &said);
}

#[test]
fn a_recording_is_kept_as_far_as_it_fits() {
    let Some(folder) = studio() else { return };
    let args = "webcam --camera film.mkv --headless --record disk/talk.mp4 --duration 30";
    let (code, said) = run(folder.path(), args);
    assert_eq!(code, Some(1), "{said}");
    let kept = "`disk/talk.mp4` holds the film up to here";
    assert!(said.contains(kept), "{said}");
    ensure_plays(folder.path(), "talk.mp4", &["v"], &said);
}
