//! Mistakes that users make: each gets one line that names the thing and the remedy, exit code 1 or
//! 2, and nothing under the output's name.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod interrupted;
mod words;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs the program in `folder`, with a model folder of its own so that the user's plays no part.
fn repaint(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(args)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"))
        .output()
        .expect("the program starts")
}

/// Asserts that the command fails as a command should, names every one of `words`, and leaves the
/// folder as it was.
#[track_caller]
fn assert_refused(folder: &Path, args: &[&str], words: &[&str]) {
    assert_ends(folder, args, 1, words);
}

/// As [`assert_refused`], for what the command line itself has wrong.
#[track_caller]
fn assert_misused(folder: &Path, args: &[&str], words: &[&str]) {
    assert_ends(folder, args, 2, words);
}

#[track_caller]
fn assert_ends(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = listing(folder);
    let output = repaint(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
    assert!(said.starts_with("error: "), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{args:?} does not say `{word}`: {said}"
        );
    }
    assert_eq!(listing(folder), before, "{args:?} left something behind");
}

/// Every file of the folder with its bytes.
fn listing(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            (
                entry.file_name(),
                std::fs::read(entry.path()).unwrap_or_default(),
            )
        })
        .collect();
    files.sort();
    files
}

/// A folder with a good clip, a good picture and broken things.
fn playground() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let root = folder.path();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let clip = std::fs::read(samples.join("clip.mp4")).expect("samples/clip.mp4");
    std::fs::write(root.join("clip.mp4"), &clip).expect("written");
    std::fs::write(root.join("half.mp4"), &clip[..clip.len() / 2]).expect("written");
    std::fs::write(root.join("text.mp4"), "not a film\n".repeat(50)).expect("written");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/starry_night.safetensors");
    let model = std::fs::read(model).expect("weights/starry_night.safetensors");
    std::fs::write(root.join("half.safetensors"), &model[..model.len() / 2]).expect("written");
    let mut poisoned = model;
    let last = poisoned.len() - 2;
    poisoned[last..].copy_from_slice(&[0x00, 0x7e]); // NaN as little-endian f16
    std::fs::write(root.join("nan.safetensors"), poisoned).expect("written");
    std::fs::create_dir(root.join("folder")).expect("made");
    std::fs::write(root.join("taken.mp4"), "something dear").expect("written");
    let (output, input) = (root.join("picture.png"), repaint::frame::Frame::new(32, 24));
    let existing = repaint::output::Existing::Keep;
    repaint::media::picture::write(&output, &input, existing).expect("written");
    folder
}

#[test]
fn a_missing_input_is_named() {
    let folder = playground();
    assert_refused(
        folder.path(),
        &["video", "nowhere.mp4", "out.mp4"],
        &["nowhere.mp4"],
    );
    assert_refused(
        folder.path(),
        &["image", "nowhere.png", "-o", "out.png"],
        &["nowhere.png"],
    );
}

#[test]
fn a_folder_is_no_input() {
    let folder = playground();
    assert_refused(folder.path(), &["video", "folder", "out.mp4"], &["folder"]);
    assert_refused(
        folder.path(),
        &["image", "folder", "-o", "out.png"],
        &["folder"],
    );
}

#[test]
fn a_text_file_is_no_film() {
    let folder = playground();
    assert_refused(
        folder.path(),
        &["video", "text.mp4", "out.mp4"],
        &["text.mp4"],
    );
}

#[test]
fn a_film_cut_short_is_refused() {
    let folder = playground();
    // the index of this file is at its front: cut in the middle it still plays, cut in the index not
    assert_refused(
        folder.path(),
        &["video", "half.mp4", "out.mp4"],
        &["half.mp4", "cut off", "get the whole file"],
    );
    let clip = std::fs::read(folder.path().join("half.mp4")).expect("readable");
    std::fs::write(folder.path().join("stub.mp4"), &clip[..600]).expect("written");
    assert_refused(
        folder.path(),
        &["video", "stub.mp4", "out.mp4"],
        &["stub.mp4"],
    );
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let folder = playground();
    assert_refused(
        folder.path(),
        &["video", "clip.mp4", "no/such/out.mp4"],
        &["no/such"],
    );
    assert_refused(
        folder.path(),
        &["image", "picture.png", "-o", "no/such/out.png"],
        &["no/such"],
    );
    assert_refused(folder.path(), &["video", "clip.mp4", "folder"], &["folder"]);
    assert_refused(
        folder.path(),
        &["video", "clip.mp4", "/proc/out.mp4"],
        &["/proc", "choose another"],
    );
}

#[test]
fn an_ending_that_no_container_has_is_named() {
    let folder = playground();
    assert_refused(
        folder.path(),
        &["video", "clip.mp4", "out.qqq"],
        &["out.qqq"],
    );
    assert_refused(
        folder.path(),
        &["image", "picture.png", "-o", "out.qqq"],
        &["out.qqq"],
    );
}

#[test]
fn an_unknown_model_lists_the_known_ones() {
    let folder = playground();
    let args = ["video", "clip.mp4", "out.mp4", "--model", "stary_nite"];
    assert_refused(
        folder.path(),
        &args,
        &["stary_nite", "known: ", "starry_night"],
    );
}

#[test]
fn a_model_cut_short_or_with_nan_is_refused() {
    let folder = playground();
    let args = [
        "video",
        "clip.mp4",
        "out.mp4",
        "--model",
        "half.safetensors",
    ];
    assert_refused(folder.path(), &args, &["half.safetensors"]);
    let args = [
        "image",
        "picture.png",
        "-o",
        "out.png",
        "--model",
        "nan.safetensors",
    ];
    assert_refused(folder.path(), &args, &["nan.safetensors", "NaN"]);
}

#[test]
fn a_strength_above_one_is_refused() {
    let folder = playground();
    let args = ["video", "clip.mp4", "out.mp4", "--strength", "2"];
    assert_misused(folder.path(), &args, &["--strength", "2", "0 to 1"]);
    let args = ["image", "picture.png", "-o", "out.png", "--strength", "NaN"];
    assert_misused(folder.path(), &args, &["--strength", "NaN"]);
    let args = ["video", "clip.mp4", "out.mp4", "--strength", "-1"];
    assert_misused(folder.path(), &args, &["--strength", "-1", "0 to 1"]);
    assert_misused(folder.path(), &["video", "clip.mp4"], &["OUTPUT", "--help"]);
}

#[test]
fn the_input_is_never_overwritten() {
    let folder = playground();
    let args = ["video", "clip.mp4", "folder/../clip.mp4", "--overwrite"];
    assert_refused(folder.path(), &args, &["clip.mp4"]);
    let args = ["image", "picture.png", "-o", "./picture.png", "--overwrite"];
    assert_refused(folder.path(), &args, &["picture.png"]);
}

#[test]
fn an_existing_output_is_kept_without_overwrite() {
    let folder = playground();
    assert_refused(
        folder.path(),
        &["video", "clip.mp4", "taken.mp4"],
        &["taken.mp4", "--overwrite"],
    );
}

#[test]
fn an_unknown_encoder_is_named() {
    let folder = playground();
    let args = ["video", "clip.mp4", "out.mp4", "--codec", "libx999"];
    assert_refused(folder.path(), &args, &["libx999"]);
}

#[test]
fn cuda_without_a_card_says_so() {
    let folder = playground();
    let args = ["image", "picture.png", "-o", "out.png", "--device", "cuda"];
    if Path::new("/proc/driver/nvidia/version").exists() {
        println!("skipped: this machine has an NVIDIA driver");
        return;
    }
    assert_refused(folder.path(), &args, &["--device cpu"]);
}
