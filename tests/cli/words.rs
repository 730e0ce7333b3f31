//! What mistakes are called: values of options, files of another kind, places.

use std::path::Path;
use std::process::Command;

use super::{assert_misused, assert_refused, playground, repaint};

#[cfg(feature = "webcam")]
#[test]
fn numbers_that_are_none_are_told_in_plain_words() {
    let folder = playground();
    let image = ["image", "picture.png", "-o", "a.png"];
    let video = ["video", "clip.mp4", "a.mp4"];
    let train = ["train", "picture.png"];
    let optimize = ["optimize", "picture.png", "picture.png", "-o", "a.png"];
    let side = "expected the shorter side in pixels, a whole number from 1 to 16384, such as 480";
    let weight = "expected a number of 0 or more";
    for (command, option, value, words) in [
        (&image[..], "--size", "480p", side),
        (&image, "--size", "640x480", side),
        (&image, "--size", "0", side),
        (
            &image,
            "--threads",
            "two",
            "expected a whole number from 1 to 1024",
        ),
        (
            &video,
            "--crf",
            "64",
            "expected a whole number from 0 to 63",
        ),
        (
            &video,
            "--crf",
            "-1",
            "expected a whole number from 0 to 63",
        ),
        (&train, "--steps", "0", "expected a whole number above 0"),
        (&train, "--steps", "1.5", "expected a whole number above 0"),
        (
            &train,
            "--steps",
            "5000000000",
            "expected a whole number from 1 to 4294967295",
        ),
        (
            &train,
            "--crop",
            "130",
            "expected a multiple of 4 from 32 to 1024",
        ),
        (&train, "--style-weight", "-1", weight),
        (&train, "--tv-weight", "much", weight),
        (&train, "--learning-rate", "0", "expected a number above 0"),
        (&train, "--palette", "2", "expected a number from 0 to 1"),
        (
            &optimize,
            "--seed",
            "x",
            "expected a whole number of 0 or more",
        ),
        (
            &optimize,
            "--style-scale",
            "9",
            "expected a number from 0.05 to 4",
        ),
        (
            &["bench"],
            "--runs",
            "70000",
            "expected a whole number from 1 to 65535",
        ),
    ] {
        let args = [command, &[option, value]].concat();
        assert_misused(folder.path(), &args, &[option, value, words]);
    }
    let webcam = ["webcam", "--frames", "0"];
    assert_misused(folder.path(), &webcam, &["expected a whole number above 0"]);
}

#[test]
fn files_of_another_kind_are_told_with_the_remedy() {
    let folder = playground();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.png"), "").expect("written");
    std::fs::copy(path("text.mp4"), path("text.jpg")).expect("copied");
    let image = ["image", "picture.png", "-o", "a.png", "--model"];
    let remedy = "not a safetensors file: name a model file, a picture, or a style from \
                  `repaint models list`";
    for name in ["text.mp4", "clip.mp4"] {
        let args = [&image[..], &[name]].concat();
        assert_refused(folder.path(), &args, &[name, remedy]);
        let args = ["models", "import", name];
        assert_refused(folder.path(), &args, &[name, "name a PyTorch network"]);
    }
    let args = ["image", "empty.png", "-o", "a.png"];
    assert_refused(folder.path(), &args, &["picture `empty.png` is empty"]);
    let args = ["image", "text.jpg", "-o", "a.png"];
    let words = "error: `text.jpg` is not a picture that can be read: convert it to png or jpeg\n";
    let said = repaint(folder.path(), &args).stderr;
    assert_eq!(String::from_utf8_lossy(&said), words);
    let args = ["models", "recolor", "picture.png", "udnie"];
    let words = "`udnie` is a style: first the style, then the picture";
    assert_refused(folder.path(), &args, &[words]);
}

#[test]
#[cfg(feature = "video")]
fn a_picture_is_no_film() {
    let folder = playground();
    let lake = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/lake.jpg");
    std::fs::copy(lake, folder.path().join("lake.jpg")).expect("copied");
    let words = "`lake.jpg` is a picture: paint it with `repaint image`";
    assert_refused(folder.path(), &["video", "lake.jpg", "a.mp4"], &[words]);
    std::fs::copy(
        folder.path().join("text.mp4"),
        folder.path().join("text.jpg"),
    )
    .expect("copied");
    let words = "could not decode a single frame of `text.jpg`";
    assert_refused(folder.path(), &["video", "text.jpg", "a.mp4"], &[words]);
    // PNG files may hold animations.
    let output = repaint(folder.path(), &["video", "picture.png", "a.mkv"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("a.mkv: 1 frame in"), "{output:?}");
}

#[test]
fn options_that_would_mean_nothing_are_refused() {
    let folder = playground();
    let layers = |option, more: &[&'static str]| {
        let args = ["optimize", "picture.png", "-o", "a.png", option, "conv1_1"];
        [&args[..], more].concat()
    };
    for args in [
        layers("--reconstruct", &["--style-weight", "3"]),
        layers("--reconstruct", &["--style-scale", "2"]),
        layers("--reconstruct-style", &["--content-weight", "3"]),
    ] {
        assert_misused(folder.path(), &args, &["cannot be used with"]);
    }
    for start in ["content", "style"] {
        let args = layers("--reconstruct", &["--start", start]);
        assert_refused(folder.path(), &args, &["from noise: leave out --start"]);
        let args = "optimize picture.png picture.png -o a.png --noise 0.5 --start";
        let args: Vec<_> = args.split(' ').chain([start]).collect();
        assert_refused(folder.path(), &args, &["--noise is for --start noise"]);
    }
}

#[test]
fn what_a_shell_left_alone_is_told() {
    let folder = playground();
    for args in [
        &["image", "picture.png", "-o", "~/a.png"][..],
        &["image", "picture.png", "text.mp4", "-o", "~/painted"],
    ] {
        assert_refused(folder.path(), args, &["does not expand ~ in quotes"]);
    }
}

#[test]
fn what_exists_is_told_with_what_to_do() {
    let folder = playground();
    let path = |name: &str| folder.path().join(name);
    let models = path("data/repaint/models");
    std::fs::create_dir_all(&models).expect("made");
    std::fs::write(models.join("picture.safetensors"), "dear").expect("written");
    let words = "picture.safetensors` exists: choose another place with -o or add --overwrite";
    assert_refused(folder.path(), &["train", "picture.png"], &[words]);

    std::fs::copy(path("picture.png"), path("photo.png")).expect("copied");
    let state = repaint::train::optimize::checkpoint_place(Path::new("photo.png"));
    std::fs::write(path(&state.to_string_lossy()), "state").expect("written");
    let args = ["optimize", "picture.png", "picture.png", "-o", "photo.png"];
    assert_refused(
        folder.path(),
        &args,
        &["interrupted", "--resume", "--overwrite"],
    );
}

#[test]
fn levels_are_called_as_the_option_has_them() {
    let folder = playground();
    let other = match cfg!(target_arch = "aarch64") {
        true => "avx2",
        false => "neon",
    };
    let words = format!("this CPU has no {other}: its highest level is ");
    let args = ["bench", "--cpu-level", other];
    assert_refused(folder.path(), &args, &[&words]);
    let highest = repaint::kernels::Level::supported().to_string();
    assert_refused(folder.path(), &args, &[&highest]);
}

#[test]
fn a_level_that_does_not_exist_is_refused_wherever_it_is_named() {
    let folder = playground();
    let expected = "expected generic, neon, avx2 or avx512";
    let args = ["bench", "--cpu-level", "avx3"];
    assert_misused(folder.path(), &args, &["'avx3'", "--cpu-level", expected]);
    for (level, code) in [("avx3", 1), ("generic", 0), ("", 0)] {
        let output = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .args(["models", "list"])
            .env("REPAINT_CPU_LEVEL", level)
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        if code == 1 {
            let words = format!("error: REPAINT_CPU_LEVEL is `avx3`: {expected}");
            assert_eq!(said.trim_end(), words);
        }
    }
}
