//! Glue: typed arguments in, library calls, words for the user out. One file a command.

/// Prints a line of results; see [`say`].
macro_rules! say {
    ($($words:tt)*) => { $crate::commands::say(format_args!($($words)*)) };
}

/// Prints a remark. Whether somebody reads it is no business of the work.
macro_rules! remark {
    ($($words:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr().lock(), $($words)*);
    }};
}

pub mod bench;
mod checks;
mod eval;
mod image;
mod models;
mod optimize;
mod progress;
mod signals;
mod train;
#[cfg(feature = "video")]
mod video;
#[cfg(feature = "webcam")]
mod webcam;

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};

use crate::cli::{Command, ModelsCommand};
use crate::kernels::Level;
use crate::output;

use checks::{ensure_input_file, ensure_not_input, existing, open_painter};

/// Set by the first Ctrl-C or other signal to end; commands that take long look at it between two
/// frames or steps.
static STOP: AtomicBool = AtomicBool::new(false);

/// Why results could not be printed.
static UNSAID: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// The error of a command that Ctrl-C ended early; what it says is what was kept. Exit code 130.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted: {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Runs a command to its end.
pub fn run(command: &Command) -> Result<()> {
    Level::limit().map_err(|words| anyhow!(words))?;
    let keeps_something = match command {
        Command::Bench(_) => false,
        Command::Image(args) => args.inputs.len() > 1,
        Command::Models(args) => matches!(args.command, ModelsCommand::Fetch { .. }),
        _ => true,
    };
    signals::listen(move |ctrl_c| {
        let stopping = STOP.swap(true, Ordering::SeqCst);
        if stopping && ctrl_c || !keeps_something {
            for path in output::remove_unfinished() {
                remark!("could not remove `{}`: delete it", path.display());
            }
            std::process::exit(130);
        }
        if !stopping {
            remark!("stopping; Ctrl-C again gives up what is done");
        }
    })
    .context("could not listen for Ctrl-C")?;
    let done = match command {
        #[cfg(feature = "video")]
        Command::Video(args) => video::run(args, &STOP),
        Command::Image(args) => image::run(args, &STOP),
        Command::Models(args) => models::run(args),
        #[cfg(feature = "webcam")]
        Command::Webcam(args) => webcam::run(args, &STOP),
        Command::Train(args) => train::run(args, &STOP),
        Command::Optimize(args) => optimize::run(args, &STOP),
        Command::Eval(args) => eval::run(args, &STOP),
        Command::Bench(args) => bench::run(args),
    };
    let unsaid = UNSAID.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.and(match unsaid {
        Some(error) => Err(error).context("could not print the results"),
        None => Ok(()),
    })
}

/// Prints a line of results. A reader that has gone (`| head`) is no reason to end the work, nor to call it
/// failed; for what else hinders printing, as a full disk does, the command fails in the end.
fn say(words: std::fmt::Arguments) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{words}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        let mut unsaid = UNSAID.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.get_or_insert(error);
    }
}
