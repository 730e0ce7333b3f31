//! Downloads VGG19, the network behind the training loss, and keeps the part that is needed.
//!
//! The download goes into a `.part` file in the user's cache and continues there after a break; it
//! counts only when its SHA-256 is right. Words for the user belong to `commands`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::output::write_whole;
use crate::tensors::{self, Precision};

/// Where torchvision's VGG19 lies, and what its SHA-256 starts with (its name says so).
pub const VGG19: Source = Source {
    url: "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256: "dcbb9e9d",
};

/// Name of the kept file in the cache.
const KEPT: &str = "vgg19.safetensors";

/// Number of the convolutions conv1_1 to conv5_4 in torchvision's `features`.
const CONVOLUTIONS: [u32; 16] = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34];

/// Time without an answer or a byte after which a connection counts as broken.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Hears of the progress of a download and may end it.
pub type Watching<'a> = &'a mut dyn FnMut(u64, Option<u64>) -> ControlFlow<()>;

/// A file to download.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its address, http or https.
    pub url: &'a str,
    /// First digits of its SHA-256, hexadecimal in lower case.
    pub sha256: &'a str,
}

/// What a fetch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing: the file was there.
    AlreadyThere,
    /// It downloaded the file.
    Downloaded,
    /// A part of the download, when it was told to stop; the next fetch continues there.
    Part,
}

/// Where a fetched VGG19 lies: `vgg19.safetensors` in the user's cache, or nowhere when the user
/// has no home.
pub fn vgg19_path() -> Option<PathBuf> {
    Some(crate::folders::cache()?.join(KEPT))
}

/// Downloads a VGG19 of torchvision's layout and keeps its convolutions at `place`, as f32 under
/// torchvision's names (`features.0.weight`), with `layout` = `torchvision` in the metadata.
/// `progress` hears the bytes that are there and, where the server says so, the bytes in all; it
/// answers whether to go on.
pub fn vgg19(source: Source, place: &Path, progress: Watching) -> Result<Fetched> {
    if place.is_file() {
        return Ok(Fetched::AlreadyThere);
    }
    let folder = place.parent().context("no folder to download to")?;
    fs::create_dir_all(folder)
        .with_context(|| format!("could not make folder `{}`", folder.display()))?;
    let part = Part::open(&place.with_extension("pth.part"))?;
    let end = part.download(source.url, progress).map_err(|error| {
        part.remove_if_empty();
        anyhow!(
            "could not download {}: {error:#}; a file that was downloaded by hand does as well: \
             `repaint train --vgg19 FILE`",
            source.url
        )
    })?;
    if end.is_break() {
        return Ok(Fetched::Part);
    }
    let hash = part.sha256()?;
    if !hash.starts_with(source.sha256) {
        part.remove()?;
        bail!(
            "{} is damaged: its SHA-256 starts with {}, expected {}; it was deleted, try again",
            source.url,
            &hash[..8],
            source.sha256
        );
    }
    // Windows lets nobody read what is locked by another handle.
    part.file
        .unlock()
        .context("could not unlock the download")?;
    keep_convolutions(&part.path, place)?;
    part.remove()?;
    Ok(Fetched::Downloaded)
}

fn keep_convolutions(pth: &Path, place: &Path) -> Result<()> {
    let names: Vec<_> = CONVOLUTIONS
        .iter()
        .flat_map(|i| [format!("features.{i}.weight"), format!("features.{i}.bias")])
        .collect();
    let wanted = |name: &str| names.iter().any(|known| known == name);
    let tensors = crate::pickle::read_tensors_named(pth, wanted)?;
    if let Some(missing) = names.iter().find(|name| !tensors.contains_key(*name)) {
        bail!(
            "`{}` has no tensor `{missing}`: it is no VGG19",
            pth.display()
        );
    }
    let metadata = [("layout".to_string(), "torchvision".to_string())].into();
    let bytes = tensors::to_bytes(&tensors, &metadata, |_| Precision::F32)?;
    write_whole(place, &bytes)
}

/// A download in the making: the bytes so far, and beside them a file that says of what version of
/// the remote file they are.
struct Part {
    file: File,
    path: PathBuf,
    version: PathBuf,
}

impl Part {
    /// Opens or makes the file, and keeps other runs of the program out of it.
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("could not write `{}`", path.display()))?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::WouldBlock) => false,
            Err(fs::TryLockError::Error(_)) => true, // some network drives have no locks
        };
        ensure!(
            locked,
            "another repaint is downloading `{}`",
            path.display()
        );
        Ok(Self {
            file,
            path: path.to_path_buf(),
            version: path.with_extension("part.version"),
        })
    }

    /// Downloads what is missing. Begins again when the server cannot continue or has another
    /// version of the file by now.
    fn download(&self, url: &str, progress: Watching) -> Result<ControlFlow<()>> {
        let have = self.file.metadata()?.len();
        let version = fs::read_to_string(&self.version).unwrap_or_default();
        if have > 0 && !version.is_empty() {
            let response = get(url, Some(have))?;
            let status = response.status();
            if status == StatusCode::OK {
                return self.receive(response, 0, progress);
            }
            let same = Version::of(&response, have).is_some_and(|found| found.text() == version);
            if same && status == StatusCode::PARTIAL_CONTENT {
                return self.receive(response, have, progress);
            }
            if same && status == StatusCode::RANGE_NOT_SATISFIABLE {
                // It is whole: the break came after the last byte.
                return Ok(ControlFlow::Continue(()));
            }
        }
        let response = get(url, None)?;
        let status = response.status();
        ensure!(status == StatusCode::OK, "the server answers {status}");
        self.receive(response, 0, progress)
    }

    fn receive(
        &self,
        mut response: Response<Body>,
        start: u64,
        progress: Watching,
    ) -> Result<ControlFlow<()>> {
        let version = Version::of(&response, start);
        let total = version.as_ref().map(|version| version.length);
        let version = version.map_or(String::new(), |version| version.text());
        let mut file = &self.file;
        file.set_len(start)?;
        file.seek(SeekFrom::Start(start))?;
        fs::write(&self.version, version).map_err(|error| self.write_failed(error))?;
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; 64 << 10];
        let mut have = start;
        while progress(have, total).is_continue() {
            let count = match reader.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken_off(have, total, &error.to_string())),
            };
            if count == 0 {
                return match total {
                    Some(total) if have < total => {
                        Err(broken_off(have, Some(total), "connection closed"))
                    }
                    _ => Ok(ControlFlow::Continue(())),
                };
            }
            file.write_all(&buffer[..count])
                .map_err(|error| self.write_failed(error))?;
            have += count as u64;
        }
        Ok(ControlFlow::Break(()))
    }

    fn write_failed(&self, error: std::io::Error) -> anyhow::Error {
        let remedy = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ": make 700 MB of room, or let XDG_CACHE_HOME name a folder on another disk"
            }
            _ => "",
        };
        anyhow!(
            "could not write `{}` ({error}){remedy}",
            self.path.display()
        )
    }

    /// SHA-256 of the whole file, hexadecimal.
    fn sha256(&self) -> Result<String> {
        let what = || format!("could not read `{}`", self.path.display());
        let mut file = &self.file;
        file.rewind().with_context(what)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).with_context(what)? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Leaves nothing behind where nothing came.
    fn remove_if_empty(&self) {
        if self.file.metadata().is_ok_and(|found| found.len() == 0) {
            let _ = fs::remove_file(&self.version);
            let _ = fs::remove_file(&self.path);
        }
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.version)
            .and_then(|()| fs::remove_file(&self.path))
            .with_context(|| format!("could not delete `{}`", self.path.display()))
    }
}

/// What tells one version of the remote file from another.
struct Version {
    length: u64,
    tag: String,
}

impl Version {
    /// The version that an answer from byte `start` on belongs to; `None` where the server does
    /// not say how long the file is.
    fn of(response: &Response<Body>, start: u64) -> Option<Self> {
        let header = |name| response.headers().get(name)?.to_str().ok();
        let length = match response.status() {
            StatusCode::OK => header("content-length")?.parse().ok()?,
            _ => {
                // `bytes 200-999/1000`, or `bytes */1000` where nothing is left
                let (range, length) = header("content-range")?
                    .strip_prefix("bytes ")?
                    .split_once('/')?;
                let length = length.parse().ok()?;
                let whole = range == "*" && start == length;
                (whole || range.starts_with(&format!("{start}-"))).then_some(length)?
            }
        };
        let tag = header("etag").unwrap_or_default().to_string();
        Some(Self { length, tag })
    }

    fn text(&self) -> String {
        format!("{} {}", self.length, self.tag)
    }
}

fn get(url: &str, from: Option<u64>) -> Result<Response<Body>> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT))
        .timeout_per_read(Some(TIMEOUT))
        .user_agent(concat!("repaint/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if let Some(from) = from {
        request = request.header("range", format!("bytes={from}-"));
    }
    Ok(request.call()?)
}

fn broken_off(have: u64, total: Option<u64>, why: &str) -> anyhow::Error {
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    anyhow!("broken off after {have}{of} bytes ({why}): the same command continues there")
}
