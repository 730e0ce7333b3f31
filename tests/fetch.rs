//! Fetching VGG19 from a server on loopback that breaks off, refuses, changes or lies.

#[path = "common/torch_file.rs"]
mod torch_file;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, mpsc};

use repaint::fetch::{self, Fetched, Source};
use repaint::tensors::File;
use sha2::{Digest, Sha256};
use torch_file::TorchFile;

const CONVOLUTIONS: [u32; 16] = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34];

/// Written to while a process is started, read while a download holds its lock: until it runs its
/// own program, a started process shares the open files of all tests, and with them their locks.
static STARTING: RwLock<()> = RwLock::new(());

fn no_process_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// A file with the tensor names of torchvision's VGG19, and values of a few kilobytes.
fn tiny_vgg19() -> Vec<u8> {
    let mut file = TorchFile::default();
    for i in CONVOLUTIONS {
        file.add(&format!("features.{i}.weight"), &[2, 10], &[i as f32; 20]);
        file.add(&format!("features.{i}.bias"), &[2], &[0.5; 2]);
    }
    file.add("classifier.0.weight", &[5000], &[1.0; 5000]);
    file.legacy()
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the server answers one request.
#[derive(Clone)]
struct Answer {
    status: &'static str,
    content: Vec<u8>,
    tag: &'static str,
    /// Whether it understands ranges.
    ranges: bool,
    /// Bytes after which it hangs up.
    hang_up: usize,
}

fn whole(content: &[u8]) -> Answer {
    Answer {
        status: "200 OK",
        content: content.to_vec(),
        tag: "\"one\"",
        ranges: true,
        hang_up: usize::MAX,
    }
}

/// Starts a server that gives these answers in turn and reports the range of each request.
fn serve(answers: Vec<Answer>) -> (String, mpsc::Receiver<Option<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/vgg19.pth", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let range = give(stream, answer);
            sender.send(range).unwrap();
        }
    });
    (url, requests)
}

fn give(mut stream: TcpStream, answer: Answer) -> Option<usize> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap().to_lowercase();
        if let Some(start) = line.strip_prefix("range: bytes=") {
            range = Some(start.trim_end_matches('-').parse::<usize>().unwrap());
        }
        if line.is_empty() {
            break;
        }
    }
    let total = answer.content.len();
    let start = range.filter(|_| answer.ranges).unwrap_or(0).min(total);
    let (status, extent) = match range.filter(|_| answer.ranges) {
        Some(from) if from >= total => (
            "416 Range Not Satisfiable",
            format!("content-range: bytes */{total}\r\n"),
        ),
        Some(from) => {
            let last = total - 1;
            (
                "206 Partial Content",
                format!("content-range: bytes {from}-{last}/{total}\r\n"),
            )
        }
        None => (answer.status, String::new()),
    };
    let body = &answer.content[start..];
    let (length, tag) = (body.len(), answer.tag);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\netag: {tag}\r\n{extent}\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The client may have hung up first.
    let _ = stream.write_all(&body[..length.min(answer.hang_up)]);
    range
}

fn fetch(url: &str, sha256: &str, place: &Path) -> Result<Fetched, String> {
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let _guard = no_process_starts();
    fetch::vgg19(Source { url, sha256 }, place, go_on).map_err(|error| {
        let error = format!("{error:#}");
        assert!(!error.contains('\n'), "{error}");
        error
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn assert_convolutions_kept(place: &Path) {
    let bytes = fs::read(place).unwrap();
    let file = File::open(&bytes).unwrap();
    assert_eq!(file.metadata["layout"], "torchvision");
    let tensors = file.read().unwrap();
    assert_eq!(tensors.len(), 32);
    assert_eq!(tensors["features.34.weight"].data, [34.0; 20]);
    assert_eq!(names(place.parent().unwrap()), ["vgg19.safetensors"]);
}

#[test]
fn the_convolutions_of_a_download_are_kept_and_nothing_else() {
    let content = tiny_vgg19();
    let (url, _requests) = serve(vec![whole(&content)]);
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("new/repaint/vgg19.safetensors");
    let (mut last, mut sum) = (0, None);
    let source = Source {
        url: &url,
        sha256: &sha256(&content)[..8],
    };
    let guard = no_process_starts();
    let fetched = fetch::vgg19(source, &place, &mut |have, total| {
        assert!(have >= last);
        (last, sum) = (have, total);
        ControlFlow::Continue(())
    });
    drop(guard);
    assert_eq!(fetched.unwrap(), Fetched::Downloaded);
    assert_eq!(
        (last, sum),
        (content.len() as u64, Some(content.len() as u64))
    );
    assert_convolutions_kept(&place);
    assert_eq!(
        fetch("http://127.0.0.1:1/", "", &place),
        Ok(Fetched::AlreadyThere)
    );
}

#[test]
fn a_download_that_broke_off_continues_where_it_stopped() {
    let content = tiny_vgg19();
    let broken = |hang_up| Answer {
        hang_up,
        ..whole(&content)
    };
    let (url, requests) = serve(vec![broken(5000), broken(7000), whole(&content)]);
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("vgg19.safetensors");
    let hash = sha256(&content);
    for bytes in [5000, 12000] {
        let told = fetch(&url, &hash, &place).unwrap_err();
        let of = format!("broken off after {bytes} of {} bytes", content.len());
        assert!(
            told.contains(&of) && told.contains("the same command continues"),
            "{told}"
        );
        assert!(!place.exists());
    }
    assert_eq!(fetch(&url, &hash, &place), Ok(Fetched::Downloaded));
    assert_convolutions_kept(&place);
    assert_eq!(
        requests.iter().collect::<Vec<_>>(),
        [None, Some(5000), Some(12000)]
    );
}

#[test]
fn a_download_that_was_stopped_continues_even_at_its_end() {
    let content = tiny_vgg19();
    let (url, requests) = serve(vec![whole(&content), whole(&content)]);
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("vgg19.safetensors");
    let hash = sha256(&content);
    let source = Source {
        url: &url,
        sha256: &hash,
    };
    let guard = no_process_starts();
    let fetched = fetch::vgg19(
        source,
        &place,
        &mut |have, total| match Some(have) == total {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        },
    );
    drop(guard);
    assert_eq!(fetched.unwrap(), Fetched::Part);
    assert_eq!(fetch(&url, &hash, &place), Ok(Fetched::Downloaded));
    assert_convolutions_kept(&place);
    assert_eq!(
        requests.iter().collect::<Vec<_>>(),
        [None, Some(content.len())]
    );
}

#[test]
fn servers_without_ranges_and_changed_files_begin_again() {
    let content = tiny_vgg19();
    let hash = sha256(&content);
    let mut old = content.clone();
    old[6000..].fill(0);
    let broken = |content: &[u8], tag| Answer {
        hang_up: 5000,
        tag,
        ..whole(content)
    };
    let no_ranges = Answer {
        ranges: false,
        ..whole(&content)
    };
    let shorter = broken(&content[..content.len() - 1], "\"one\"");
    for (answers, expected) in [
        (
            vec![broken(&content, "\"one\""), no_ranges],
            vec![None, Some(5000)],
        ),
        (
            vec![broken(&old, "\"old\""), whole(&content), whole(&content)],
            vec![None, Some(5000), None],
        ),
        (
            vec![shorter, whole(&content), whole(&content)],
            vec![None, Some(5000), None],
        ),
    ] {
        let (url, requests) = serve(answers);
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join("vgg19.safetensors");
        fetch(&url, &hash, &place).unwrap_err();
        assert_eq!(fetch(&url, &hash, &place), Ok(Fetched::Downloaded));
        assert_convolutions_kept(&place);
        assert_eq!(requests.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_wrong_hash_deletes_the_download_and_says_so() {
    let (url, _requests) = serve(vec![whole(&tiny_vgg19())]);
    let cache = tempfile::tempdir().unwrap();
    let told = fetch(&url, "dcbb9e9d", &cache.path().join("vgg19.safetensors")).unwrap_err();
    assert!(told.contains("expected dcbb9e9d; it was deleted"), "{told}");
    assert_eq!(names(cache.path()), [""; 0]);
}

#[test]
fn a_file_that_is_no_vgg19_is_refused() {
    let mut file = TorchFile::default();
    file.add("features.0.weight", &[1], &[1.0]);
    let content = file.zip();
    let (url, _requests) = serve(vec![whole(&content)]);
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("vgg19.safetensors");
    let told = fetch(&url, &sha256(&content), &place).unwrap_err();
    assert!(told.contains("has no tensor `features.0.bias`"), "{told}");
    assert!(!place.exists());
}

#[test]
fn refusals_and_missing_servers_are_told_with_the_remedy() {
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("vgg19.safetensors");
    let missing = Answer {
        status: "404 Not Found",
        ..whole(b"<html>no such file</html>")
    };
    let (url, _requests) = serve(vec![missing]);
    let told = fetch(&url, "", &place).unwrap_err();
    assert!(
        told.contains("the server answers 404 Not Found") && told.contains("--vgg19"),
        "{told}"
    );
    let told = fetch("http://127.0.0.1:1/vgg19.pth", "", &place).unwrap_err();
    assert!(
        told.contains("Connection refused") && told.contains("--vgg19"),
        "{told}"
    );
    let told = fetch("no address", "", &place).unwrap_err();
    assert!(told.contains("could not download no address: "), "{told}");
    fs::write(cache.path().join("file"), "").unwrap();
    let told = fetch(&url, "", &cache.path().join("file/vgg19.safetensors")).unwrap_err();
    assert!(told.contains("could not make folder"), "{told}");
}

#[test]
fn the_command_fetches_from_the_mirror_into_the_cache() {
    let (url, _requests) = serve(vec![whole(&tiny_vgg19())]);
    let home = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_repaint"));
        let command = command.args(["models", "fetch", "vgg19"]);
        let command = command.env("REPAINT_VGG19_URL", &url);
        let command = command.env("XDG_CACHE_HOME", home.path());
        let _guard = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        command.output().unwrap()
    };
    let output = run();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("expected dcbb9e9d"),
        "the real file's hash is asked for: {told}"
    );
    let place = home.path().join("repaint/vgg19.safetensors");
    fs::write(&place, "whatever lies there").unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(Path::new(told.trim_end()), place);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("already")
    );
}
