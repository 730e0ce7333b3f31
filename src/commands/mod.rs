//! Glue: typed arguments in, library calls, words for the user out. One file a command.

pub mod bench;

use anyhow::{Result, bail};

use crate::cli::Command;

/// Runs a command to its end.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Bench(args) => bench::run(&args),
        command => bail!("to be written: {command:?}"),
    }
}
