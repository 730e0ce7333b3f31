//! The kernels compiled as C++.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `source`, of this folder, with the `kernels.cu` of `folder`, of the repository, to a file of the
/// name `product`.
pub fn compile(folder: &str, source: &str, product: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(product);
    let usual = "-std=c++17 -O2 -Wall -Wno-unknown-pragmas -Werror";
    let built = Command::new("c++")
        .args(usual.split(' '))
        .args(flags)
        .arg("-I")
        .arg(root.join(folder))
        .arg("-I")
        .arg(root.join("tests/cuda"))
        .arg(root.join("tests/cuda").join(source))
        .arg("-o")
        .arg(&place)
        .output()
        .expect("c++ is there: setup.sh sees to it");
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{words}");
    place
}
