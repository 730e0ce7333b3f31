//! Files that appear only when they are whole: written beside their place, then renamed.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::{PathPersistError, TempPath};

/// What to do when a file of the output's name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail.
    Keep,
    /// Replace it, once the new file is whole.
    Overwrite,
}

/// The hidden files of this process.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes every file in the making, for a process that ends without dropping them. Returns those that stay: Windows
/// removes none that is open.
pub fn remove_unfinished() -> Vec<PathBuf> {
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let stays = |path: &&PathBuf| match std::fs::remove_file(path) {
        Ok(()) => false,
        Err(error) => error.kind() != ErrorKind::NotFound,
    };
    unfinished.iter().filter(stays).cloned().collect()
}

/// How a disk is divided, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Length of the file in the making.
    pub written: u64,
    /// What the disk still takes.
    pub free: u64,
}

/// An entry of [`UNFINISHED`].
struct Entry(PathBuf);

impl Entry {
    fn new(path: &Path) -> Self {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.insert(path.to_path_buf());
        Self(path.to_path_buf())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.remove(&self.0);
    }
}

/// A file in the making. It carries a hidden name beside its place until [`Output::finish`];
/// dropped before that, it disappears.
pub struct Output {
    place: PathBuf,
    temporary: TempPath,
    entry: Entry,
    existing: Existing,
}

impl Output {
    /// Makes the hidden file beside `place`. The hidden name keeps the extension, by which writers
    /// choose formats. Fails when `place` is a folder or a device, cannot be written, or exists and
    /// is to be kept.
    pub fn create(place: &Path, existing: Existing) -> Result<Self> {
        ensure!(
            !place.is_dir(),
            "`{}` is a folder: name a file in it",
            place.display()
        );
        ensure!(
            place.is_file() || !place.exists(),
            "`{}` is a device: name a file",
            place.display()
        );
        ensure!(
            !cfg!(windows) || !is_of_a_device(place),
            "`{}` is the name of a device in Windows: choose another name",
            place.display()
        );
        ensure!(
            !ends_with_separator(place),
            "`{}` is named like a folder: name a file",
            place.display()
        );
        // A link that leads nowhere exists, too.
        let exists = place.symlink_metadata().is_ok();
        ensure!(
            existing == Existing::Overwrite || !exists,
            "`{}` exists: choose another name or add --overwrite",
            place.display()
        );
        let folder = match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        ensure_expanded(place)?;
        ensure!(
            folder.is_dir(),
            "no folder `{}` to write `{}` to: make it first",
            folder.display(),
            place.display()
        );
        let suffix = match place.extension() {
            Some(extension) => format!(".{}", extension.to_string_lossy()),
            None => String::new(),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".repaint-").suffix(&suffix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666)); // the umask applies
        }
        let temporary = builder
            .tempfile_in(folder)
            .map_err(|error| {
                let (folder, reason) = (folder.display(), error.kind());
                anyhow!("could not write to folder `{folder}` ({reason}): choose another one")
            })?
            .into_temp_path();
        Ok(Self {
            place: place.to_path_buf(),
            entry: Entry::new(&temporary),
            temporary,
            existing,
        })
    }

    /// The hidden file's path, to write to.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// What the file takes of its disk, and what is left of it; `None` where the disk does not tell.
    pub fn room(&self) -> Option<Room> {
        let disk = fs4::statvfs(self.path()).ok()?;
        // Disks on the network or in user space may know none of their sizes.
        (disk.total_space() > 0).then_some(())?;
        Some(Room {
            written: std::fs::metadata(self.path()).ok()?.len(),
            free: disk.available_space(),
        })
    }

    /// Writes the whole content at once, down to the disk.
    pub fn fill(&self, bytes: &[u8]) -> Result<()> {
        let write = || {
            let mut file = std::fs::File::create(self.path())?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("could not write `{}`", self.place.display()))
    }

    /// Gives the file its name. Where another file took it in the meantime, or holds it and cannot be replaced, this
    /// one gets the first free of `name-1` to `name-99` and the error says so: it may be hours of work.
    pub fn finish(self) -> Result<()> {
        let Self {
            place,
            mut temporary,
            entry: _entry, // until it has its name
            existing,
        } = self;
        let mut why = "exists by now".to_string();
        if existing == Existing::Overwrite {
            match replace(temporary, &place) {
                Ok(()) => return Ok(()),
                Err(PathPersistError { error, path }) => {
                    temporary = path;
                    why = format!("could not be replaced ({error})");
                }
            }
        }
        let kept = keep_beside(temporary, &place)
            .with_context(|| format!("could not write `{}`", place.display()))?;
        if place.symlink_metadata().is_err() {
            why = "cannot be the name of a file here".to_string();
        }
        ensure!(
            kept == place,
            "`{}` {why}: the whole file is `{}`",
            place.display(),
            kept.display()
        );
        Ok(())
    }

    /// Gives the file its name, or where another has it the first free of `name-1` to `name-99`; which one.
    pub fn finish_beside(self) -> Result<PathBuf> {
        let Self {
            place,
            temporary,
            entry: _entry, // as in `finish`
            ..
        } = self;
        keep_beside(temporary, &place)
            .with_context(|| format!("could not write `{}`", place.display()))
    }
}

/// Fails for a place where [`Output::create`] would, before hours of work went into what belongs there.
pub fn ensure_writable(place: &Path, existing: Existing) -> Result<()> {
    Output::create(place, existing).map(drop)
}

/// Fails for a place in `~` where nothing has this name: a shell would have put the home folder there.
pub fn ensure_expanded(place: &Path) -> Result<()> {
    ensure!(
        !place.starts_with("~") || Path::new("~").exists(),
        "no folder `~` for `{}`: the shell does not expand ~ in quotes, leave them out or write $HOME",
        place.display()
    );
    Ok(())
}

/// Whether Windows takes `place` for a device, with whatever ending.
fn is_of_a_device(place: &Path) -> bool {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    let numbered = ["COM", "LPT"]
        .map(|port| stem.strip_prefix(port))
        .into_iter();
    let is_digit = |rest: &str| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit());
    ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered.flatten().any(is_digit)
}

/// Whether `place` is written as folders are: `name/`, on Windows `name\` too.
fn ends_with_separator(place: &Path) -> bool {
    let last = place.as_os_str().as_encoded_bytes().last();
    last.is_some_and(|&last| std::path::is_separator(last.into()))
}

/// Gives `temporary` the name of `place` and what is there up. Windows lets nobody replace a file that a program has
/// open, such as a player, and virus scanners open new ones for a moment: they get a second.
fn replace(mut temporary: TempPath, place: &Path) -> Result<(), PathPersistError> {
    for _ in 0..10 {
        match temporary.persist(place) {
            Err(refused)
                if cfg!(windows) && refused.error.kind() == ErrorKind::PermissionDenied =>
            {
                temporary = refused.path;
                std::thread::sleep(Duration::from_millis(100));
            }
            done => return done,
        }
    }
    temporary.persist(place)
}

/// Gives `temporary` the name of `place`, where nothing has it. Some network drives know no way to do both at once.
fn persist_new(temporary: TempPath, place: &Path) -> Result<(), PathPersistError> {
    match temporary.persist_noclobber(place) {
        Err(refused) if place.symlink_metadata().is_err() => refused.path.persist(place),
        done => done,
    }
}

/// Gives `temporary` the name of `place`, or the first free of the numbered ones beside it, else leaves it
/// its own.
fn keep_beside(temporary: TempPath, place: &Path) -> Result<PathBuf> {
    let mut temporary = match persist_new(temporary, place) {
        Ok(()) => return Ok(place.to_path_buf()),
        Err(error) => error.path,
    };
    let stem = place.file_stem().unwrap_or_default();
    for number in 1..100 {
        let mut name = stem.to_os_string();
        name.push(format!("-{number}"));
        if let Some(extension) = place.extension() {
            name.push(".");
            name.push(extension);
        }
        let beside = place.with_file_name(name);
        match persist_new(temporary, &beside) {
            Ok(()) => return Ok(beside),
            Err(error) => temporary = error.path,
        }
    }
    Ok(temporary.keep()?)
}

/// Writes a small file in one go, replacing what was there once the new one is whole.
pub fn write_whole(place: &Path, bytes: &[u8]) -> Result<()> {
    let output = Output::create(place, Existing::Overwrite)?;
    output.fill(bytes)?;
    output.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_windows_are_known_by_their_names() {
        for name in ["nul", "a/CON.mp4", "com1.tar.gz", "Lpt9 .png", "aux."] {
            assert!(is_of_a_device(Path::new(name)), "{name}");
        }
        for name in [
            "null.png",
            "con/a.mp4",
            "com.mp4",
            "com10.mp4",
            "a.nul",
            "concert.mkv",
        ] {
            assert!(!is_of_a_device(Path::new(name)), "{name}");
        }
    }
}
