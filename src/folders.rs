//! The user's folders: those of the XDG base directory specification, version 0.8, and on Windows, where its variables
//! are seldom set, the local ones of the user's profile. And the names that files go by, alone and on a command line.

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

/// A word of a command line, such as the name of a file, as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c) || cfg!(windows) && c == '\\'
    };
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false if cfg!(windows) => format!("\"{word}\""), // no name there holds a quotation mark
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_name_for_one_word() {
        for name in [
            "film.mp4",
            "my film.mp4",
            "it's $HOME \"`*.mp4",
            "''",
            r"a\b",
            "",
        ] {
            let script = format!("printf %s {}", quoted(name));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(output.expect("a shell").stdout, name.as_bytes(), "{script}");
        }
    }
}
