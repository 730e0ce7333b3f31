//! Films that are given up, and films whose terminal closes.
#![cfg(all(target_os = "linux", feature = "video"))]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command};

use super::{listing, playground};

/// A film that takes a second a frame, in the making, and what the program says.
struct SlowFilm {
    folder: tempfile::TempDir,
    child: Child,
    said: BufReader<ChildStderr>,
}

impl SlowFilm {
    fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let network = repaint::network::Network::new([32, 64, 128]);
        let model = repaint::model::Model::random(network, 1).expect("a model");
        let place = folder.path().join("slow.safetensors");
        model
            .write(&place, repaint::model::Precision::F16)
            .expect("written");
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/clip.mp4");
        let mut child = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .args(["video", clip, "a.mp4", "--model", "slow.safetensors"])
            .args(["--size", "720", "--device", "cpu"])
            .current_dir(folder.path())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        Self {
            folder,
            child,
            said,
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status();
        assert!(killed.expect("kill starts").success());
    }

    /// Waits for a line that holds `words`.
    fn hear(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let read = self.said.read_line(&mut line).expect("words");
            assert!(read > 0, "it ends without `{words}`");
        }
    }
}

/// The first Ctrl-C says that a second one gives up what is done; that leaves nothing behind.
#[test]
fn who_gives_up_twice_leaves_nothing_behind() {
    let mut film = SlowFilm::begin();
    let begun =
        |files: Vec<(_, Vec<u8>)>| files.iter().filter(|file| !file.1.is_empty()).count() > 1;
    while !begun(listing(film.folder.path())) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    film.signal("-INT");
    film.hear("Ctrl-C again");
    film.signal("-INT");
    assert_eq!(film.child.wait().expect("an end").code(), Some(130));
    let left = listing(film.folder.path());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, "slow.safetensors");
}

/// As `timeout` and closing terminals ask.
#[test]
fn who_is_asked_to_end_twice_keeps_the_film() {
    let mut film = SlowFilm::begin();
    film.hear("fps"); // a frame is painted
    film.signal("-TERM");
    film.hear("stopping");
    film.signal("-TERM");
    film.hear("`a.mp4` holds");
    assert_eq!(film.child.wait().expect("an end").code(), Some(130));
    assert!(film.folder.path().join("a.mp4").exists());
}

/// As `nohup` has it.
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

/// Without care a signal ends the program there and then.
#[test]
fn a_film_larger_than_files_may_be_is_an_error_and_leaves_nothing_behind() {
    let folder = playground();
    let before = listing(folder.path());
    let film = "ulimit -f 100; exec \"$1\" video clip.mp4 a.mp4 --size 240 --device cpu";
    let output = Command::new("sh")
        .args(["-c", film, "sh", env!("CARGO_BIN_EXE_repaint")])
        .current_dir(folder.path())
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("a.mp4"), "{said}");
    assert_eq!(listing(folder.path()), before, "{said}");
}
