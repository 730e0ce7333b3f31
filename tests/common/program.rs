//! The program, run in a folder that is also its user's home.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

/// What became of a command.
pub fn repaint(home: &Path, args: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .output()?)
}

/// What a command that has to succeed prints.
pub fn done(home: &Path, args: &[&str]) -> Result<String> {
    let output = repaint(home, args)?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {words}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The one line with which a command fails.
pub fn fails(home: &Path, args: &[&str]) -> Result<String> {
    let output = repaint(home, args)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{args:?}: {words}");
    ensure!(words.trim_end().lines().count() == 1, "{words}");
    Ok(words)
}
