//! Parses the command line, runs the command, prints the error and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use repaint::cli::Cli;

fn main() -> ExitCode {
    match repaint::commands::run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
