//! The user's folders after the XDG base directory specification, version 0.8.

use std::path::PathBuf;

/// What the user keeps: `$XDG_DATA_HOME/repaint`, else `~/.local/share/repaint`.
pub fn data() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share")
}

/// What can be fetched again: `$XDG_CACHE_HOME/repaint`, else `~/.cache/repaint`.
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
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))?;
    Some(base.join("repaint"))
}
