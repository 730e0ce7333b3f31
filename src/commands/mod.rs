//! Glue: typed arguments in, library calls, words for the user out. One file a command.

use anyhow::{Result, bail};

use crate::cli::Command;

/// Runs a command to its end.
pub fn run(command: Command) -> Result<()> {
    bail!("to be written: {command:?}")
}
