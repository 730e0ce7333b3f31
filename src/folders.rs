//! The user's folders: those of the XDG base directory specification, version 0.8, and on Windows, where its variables
//! are seldom set, the local ones of the user's profile. And the names that files in them go by.

use std::path::{Path, PathBuf};

/// The name of a file without its folder and ending: what a model or picture is called by.
pub fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// What the user keeps: `$XDG_DATA_HOME/repaint`, else `~/.local/share/repaint`, on Windows `%LOCALAPPDATA%\repaint`.
pub fn data() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share")
}

/// What can be fetched again: `$XDG_CACHE_HOME/repaint`, else `~/.cache/repaint`, on Windows as [`data`].
pub fn cache() -> Option<PathBuf> {
    folder("XDG_CACHE_HOME", ".cache")
}

/// Variables that are empty or hold relative paths count as not set, as the specification says.
fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute(variable).or_else(|| match cfg!(windows) {
        true => absolute("LOCALAPPDATA"),
        false => Some(absolute("HOME")?.join(below_home)),
    })?;
    Some(base.join("repaint"))
}
