//! Several pictures at once, and those among them that are none.

use std::path::Path;

use super::{playground, repaint};

/// A pipe would be waited for without end.
#[cfg(unix)]
#[test]
fn of_several_pictures_those_that_are_no_files_are_told() {
    let folder = playground();
    let made = std::process::Command::new("mkfifo")
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
    super::assert_refused(folder.path(), &args, &["no picture `one.png`"]);
    let args = ["image", "picture.png", "-o", "a.jpg", "--size", "65536"];
    super::assert_misused(folder.path(), &args, &["65536"]);
}

/// Everything that is said goes to a reader that has gone.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_has_gone_ends_no_work() {
    let folder = playground();
    let (reader, gone) = std::io::pipe().expect("a pipe");
    drop(reader);
    let said = gone.try_clone().expect("a pipe");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["image", "picture.png", "text.mp4", "-o", "painted"])
        .current_dir(folder.path())
        .stdout(gone)
        .stderr(said)
        .status()
        .expect("the program starts");
    assert_eq!(status.code(), Some(1), "one of the two is no picture");
    assert!(folder.path().join("painted/picture.png").is_file());
}

/// What shells do elsewhere.
#[cfg(windows)]
#[test]
fn wildcards_stand_for_the_files_that_fit() {
    let folder = playground();
    let (picture, other) = ["picture.png", "picture_2.png"]
        .map(|name| folder.path().join(name))
        .into();
    std::fs::copy(picture, other).unwrap();
    let args = ["image", "pict*.png", "-o", "painted"];
    let output = repaint(folder.path(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for name in ["picture.png", "picture_2.png"] {
        assert!(folder.path().join("painted").join(name).is_file());
    }
    let output = repaint(folder.path(), &["image", "*.tga", "-o", "painted"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`*.tga`"), "{said}");
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
        let painted = Path::new("painted").join(&name);
        let (painted, width, height) = (painted.display(), frame.width, frame.height);
        expected += &format!("{painted}: {width}x{height}\n");
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

#[cfg(feature = "video")]
#[test]
fn strokes_grow_and_the_size_stays() {
    use repaint::frame::Frame;
    use repaint::media::decode::Decoder;
    use repaint::media::picture;
    use repaint::output::Existing;
    use repaint::scale::resized;

    let folder = playground();
    let path = |name: &str| folder.path().join(name);
    let paint = |args: &[&str]| -> Frame {
        let output = repaint(folder.path(), args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        picture::read(&path(args[3])).unwrap()
    };
    let lake = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/lake.jpg");
    let own = paint(&["image", lake, "-o", "own.png"]);
    let twice = paint(&["image", lake, "-o", "twice.png", "--strokes", "2"]);
    assert_eq!((own.width, own.height), (twice.width, twice.height));
    assert!(own != twice);

    // Those of a picture that is large enough grow by themselves.
    let poster = resized(&picture::read(Path::new(lake)).unwrap(), 2880, 2160).unwrap();
    picture::write(&path("poster.png"), &poster, Existing::Keep).unwrap();
    let strokes = |times: &str| {
        paint(&[
            "image",
            "poster.png",
            "-o",
            "p.png",
            "--overwrite",
            "--strokes",
            times,
        ])
    };
    let [own, thrice] = ["1", "3"].map(strokes);
    let auto = paint(&["image", "poster.png", "-o", "auto.png"]);
    assert_eq!((auto.width, auto.height), (2880, 2160));
    assert!(auto == thrice && auto != own);

    let video = [
        "video",
        "clip.mp4",
        "a.mp4",
        "--size",
        "128",
        "--strokes",
        "1.5",
    ];
    let output = repaint(folder.path(), &video);
    assert!(output.status.success(), "{output:?}");
    let film = Decoder::open(&path("a.mp4"), None).unwrap();
    assert_eq!(film.info().width.min(film.info().height), 128);
    let image = ["image", lake, "-o", "no.png", "--strokes", "0.5"];
    super::assert_misused(folder.path(), &image, &["expected a number from 1 to 16"]);
}

#[cfg(feature = "video")]
#[test]
fn a_mask_says_where_pictures_and_films_are_painted() {
    use repaint::frame::Frame;
    use repaint::media::decode::Decoder;
    use repaint::media::{FrameSource, picture};
    use repaint::output::Existing;

    let folder = playground();
    let path = |name: &str| folder.path().join(name);
    let (mut input, mut mask) = (Frame::new(64, 48), Frame::new(2, 2));
    for (at, value) in input.pixels.iter_mut().enumerate() {
        *value = ((at * 7 / 5) ^ (at / 90)) as u8;
    }
    mask.pixels[6..].fill(255); // the lower half
    for (name, frame) in [("in.png", &input), ("mask.png", &mask)] {
        picture::write(&path(name), frame, Existing::Keep).expect("a picture");
    }
    for args in [
        &["-o", "whole.png"][..],
        &["-o", "part.png", "--mask", "mask.png"],
    ] {
        let output = repaint(folder.path(), &[&["image", "in.png"], args].concat());
        assert!(output.status.success(), "{output:?}");
    }
    let [whole, part] = ["whole.png", "part.png"].map(|name| picture::read(&path(name)).unwrap());
    let rows = |frame: &Frame, from: usize, to: usize| frame.pixels[from * 192..to * 192].to_vec();
    assert!(
        rows(&part, 0, 8) == rows(&input, 0, 8),
        "black stays as it was"
    );
    assert!(
        rows(&part, 40, 48) == rows(&whole, 40, 48),
        "white is painted"
    );
    assert!(rows(&whole, 0, 8) != rows(&input, 0, 8));

    let mut films = Vec::new();
    for (name, args) in [
        ("film.mkv", &["--mask", "mask.png"][..]),
        ("plain.mkv", &["--strength", "0"]),
    ] {
        let video = ["video", "clip.mp4", name, "--size", "64", "--crf", "1"];
        let output = repaint(folder.path(), &[&video[..], args].concat());
        assert!(output.status.success(), "{output:?}");
        let (mut film, mut frame) = (Decoder::open(&path(name), None).unwrap(), Frame::default());
        assert!(film.read(&mut frame).unwrap());
        films.push(frame);
    }
    let away = |from: usize, to: usize| {
        let bytes = films[0].width * 3;
        let pairs = films[0].pixels[from * bytes..to * bytes]
            .iter()
            .zip(&films[1].pixels[from * bytes..]);
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / ((to - from) * bytes) as f64
    };
    assert!(
        away(0, 16) < 2.0 && away(48, 64) > 10.0,
        "{} {}",
        away(0, 16),
        away(48, 64)
    );

    let refused = |args: &[&str], words: &str| super::assert_refused(folder.path(), args, &[words]);
    let image = ["image", "in.png", "-o", "new.png", "--mask"];
    refused(&[&image[..], &["no.png"]].concat(), "no picture `no.png`");
    refused(
        &[&image[..], &["clip.mp4"]].concat(),
        "`clip.mp4` is not a picture that can be read: a mask is one picture",
    );
    refused(
        &[&image[..], &["folder"]].concat(),
        "`folder` is a folder: a mask is one picture",
    );
    refused(
        &[&image[..], &["text.mp4"]].concat(),
        "`text.mp4` is not a picture that can be read: a mask is one picture",
    );
    let onto = [
        "image",
        "in.png",
        "-o",
        "mask.png",
        "--mask",
        "mask.png",
        "--overwrite",
    ];
    refused(&onto, "`mask.png` is the input itself");
    let onto = "image in.png -o mask.png --model mask.png --overwrite";
    refused(
        &onto.split(' ').collect::<Vec<_>>(),
        "`mask.png` is the input itself",
    );
}
