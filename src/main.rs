//! Parses the command line, runs the command, prints the error and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use repaint::cli::Cli;
use repaint::commands::{self, Interrupted};

fn main() -> ExitCode {
    let Err(error) = commands::run(&Cli::parse().command) else {
        return ExitCode::SUCCESS;
    };
    eprintln!(
        "{}{error:#}",
        if error.is::<Interrupted>() {
            ""
        } else {
            "error: "
        }
    );
    ExitCode::from(if error.is::<Interrupted>() { 130 } else { 1 })
}
