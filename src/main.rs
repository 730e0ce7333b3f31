//! Parses the command line, runs the command, prints the error and chooses the exit code.

use std::io::Write;
use std::process::ExitCode;

use repaint::cli::{Cli, mistake};
use repaint::commands::{self, Interrupted};

fn main() -> ExitCode {
    let cli = match Cli::read(wild::args_os()) {
        Ok(cli) => cli,
        Err(error) => match mistake(&error) {
            Some(words) => {
                let _ = writeln!(std::io::stderr(), "{words}");
                return ExitCode::from(2);
            }
            None => error.exit(),
        },
    };
    let Err(error) = commands::run(&cli.command) else {
        return ExitCode::SUCCESS;
    };
    let _ = writeln!(
        std::io::stderr(),
        "{}{error:#}",
        if error.is::<Interrupted>() {
            ""
        } else {
            "error: "
        }
    );
    ExitCode::from(if error.is::<Interrupted>() { 130 } else { 1 })
}
