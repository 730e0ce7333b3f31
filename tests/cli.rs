//! Mistakes that users make: each gets one line that names the thing and the remedy, exit code 1 or
//! 2, and nothing under the output's name.

mod common;

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
    let before = listing(folder);
    let output = repaint(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(
        matches!(code, Some(1 | 2)),
        "{args:?}: exit {code:?}: {said}"
    );
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
    assert_refused(folder.path(), &args, &["--strength", "2", "0 to 1"]);
    let args = ["image", "picture.png", "-o", "out.png", "--strength", "NaN"];
    assert_refused(folder.path(), &args, &["--strength", "NaN"]);
    let args = ["video", "clip.mp4", "out.mp4", "--strength", "-1"];
    assert_refused(folder.path(), &args, &["--strength", "-1", "0 to 1"]);
    assert_refused(folder.path(), &["video", "clip.mp4"], &["OUTPUT", "--help"]);
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

/// The first Ctrl-C says that a second one gives up what is done; that leaves nothing behind.
#[cfg(all(unix, feature = "video"))]
#[test]
fn who_gives_up_twice_leaves_nothing_behind() {
    use std::io::BufRead;

    let folder = tempfile::tempdir().expect("a folder");
    let network = repaint::network::Network::new([32, 64, 128]); // a second a frame
    let model = repaint::model::Model::random(network, 1).expect("a model");
    let place = folder.path().join("slow.safetensors");
    model
        .write(&place, repaint::model::Precision::F16)
        .expect("written");
    let before = listing(folder.path());
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/clip.mp4");
    let mut child = Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["video", clip, "a.mp4", "--model", "slow.safetensors"])
        .args(["--size", "720", "--device", "cpu"])
        .current_dir(folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let id = child.id().to_string();
    let interrupt = || {
        let killed = Command::new("kill").args(["-INT", &id]).status();
        assert!(killed.expect("kill starts").success());
    };
    let begun =
        |files: Vec<(_, Vec<u8>)>| files.iter().filter(|file| !file.1.is_empty()).count() > 1;
    while !begun(listing(folder.path())) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    interrupt();
    let mut said = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    let mut stderr = std::io::BufReader::new(stderr);
    stderr.read_line(&mut said).expect("words");
    assert!(said.contains("Ctrl-C again"), "{said}");
    interrupt();
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    assert_eq!(listing(folder.path()), before);
}

/// As `nohup` has it.
#[cfg(all(target_os = "linux", feature = "video"))]
#[test]
fn a_film_goes_on_when_its_terminal_closes_if_it_is_to() {
    let folder = playground();
    let begun = |script: &str| {
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_repaint")])
            .current_dir(folder.path())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let id = child.id().to_string();
        let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".repaint-");
        let begins = std::time::Instant::now();
        while !listing(folder.path())
            .iter()
            .any(|(name, bytes)| hidden(name) && !bytes.is_empty())
        {
            assert!(begins.elapsed().as_secs() < 60, "no film was begun");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let killed = Command::new("kill").args(["-HUP", &id]).status();
        assert!(killed.expect("kill starts").success());
        child.wait().expect("an end").code()
    };
    let film = "exec \"$1\" video clip.mp4 a.mp4 --overwrite --device cpu";
    assert_eq!(begun(&format!("trap '' HUP; {film}")), Some(0));
    // Who runs the tests by `nohup` has the films go on, too.
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("a mask").trim(), 16).expect("a mask");
    let expected = if ignored & 1 == 1 { 0 } else { 130 };
    assert_eq!(begun(film), Some(expected));
}

/// A pipe would be waited for without end.
#[cfg(unix)]
#[test]
fn of_several_pictures_those_that_are_no_files_are_told() {
    let folder = playground();
    let made = Command::new("mkfifo")
        .arg(folder.path().join("pipe.png"))
        .status();
    assert!(made.expect("mkfifo starts").success());
    let args = ["image", "pipe.png", "picture.png", "-o", "painted"];
    let output = repaint(folder.path(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`pipe.png` is not a regular file"), "{said}");
    assert!(folder.path().join("painted/picture.png").is_file());
    std::fs::remove_file(folder.path().join("pipe.png")).expect("removed");
    let args = ["image", "one.png", "other.png", "-o", "new"];
    assert_refused(folder.path(), &args, &["no picture `one.png`"]);
    let args = ["image", "picture.png", "-o", "a.jpg", "--size", "65536"];
    assert_refused(folder.path(), &args, &["65536"]);
}

/// Everything that is said goes to a reader that has gone.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_has_gone_ends_no_work() {
    let folder = playground();
    let (reader, gone) = std::io::pipe().expect("a pipe");
    drop(reader);
    let said = gone.try_clone().expect("a pipe");
    let status = Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["image", "picture.png", "text.mp4", "-o", "painted"])
        .current_dir(folder.path())
        .stdout(gone)
        .stderr(said)
        .status()
        .expect("the program starts");
    assert_eq!(status.code(), Some(1), "one of the two is no picture");
    assert!(folder.path().join("painted/picture.png").is_file());
}

#[test]
fn several_pictures_are_painted_as_one_by_one_and_told_of_in_their_order() {
    let folder = playground();
    let (mut names, mut expected) = (Vec::new(), String::new());
    for i in 0..9 {
        let name = format!("{i}.png");
        // The larger ones first, so that later ones are done before them.
        let mut frame = repaint::frame::Frame::new(40 * (9 - i), 30 + i);
        for (at, value) in frame.pixels.iter_mut().enumerate() {
            *value = ((at * (i + 3) / 5) ^ (at / 90)) as u8;
        }
        let place = folder.path().join(&name);
        repaint::media::picture::write(&place, &frame, repaint::output::Existing::Keep).unwrap();
        expected += &format!("painted/{name}: {}x{}\n", frame.width, frame.height);
        names.push(name);
    }
    names.insert(4, "text.mp4".to_string());
    let mut args = vec!["image", "-o", "painted"];
    args.extend(names.iter().map(String::as_str));
    let output = repaint(folder.path(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 10 pictures could not be painted: text.mp4"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let single = repaint(folder.path(), &["image", "7.png", "-o", "single.png"]);
    assert!(single.status.success());
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("painted/7.png"), bytes("single.png"));
}
