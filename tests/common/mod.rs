//! Where the data of the tests lies, and how tensors are compared.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

/// The file `name` of the reference tensors; `None` (with a word that the test skips) where it is
/// missing. Panics instead when `CI` is set, so that no check disappears unseen.
pub fn reference(name: &str) -> Option<PathBuf> {
    existing(shared().join("reference").join(name))
}

/// The file or folder `name` of the test data; missing data is treated as in [`reference`].
/// `REPAINT_DATA` names another folder.
pub fn data(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("REPAINT_DATA").map_or_else(|| shared().join("data"), PathBuf::from);
    existing(folder.join(name))
}

/// Panics unless `found` and `expected` are equally long and differ by at most `tolerance` times
/// the largest magnitude of `expected`.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let scale = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * scale,
            "{what}: value {i} is {f}, expected {e} (largest {scale}, tolerance {tolerance})"
        );
    }
}

fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing and CI is set",
        path.display()
    );
    println!("skipped: {} is missing", path.display());
    None
}
