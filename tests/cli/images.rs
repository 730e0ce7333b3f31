//! Several pictures at once, and those among them that are none.

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
    super::assert_refused(folder.path(), &args, &["65536"]);
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
