//! How far long work is: a bar on a terminal, a line now and then elsewhere; both on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

/// Progress of work that comes in steps.
pub(super) struct Progress {
    bar: ProgressBar,
    lines: bool,
    first: Instant, // when the first step began, about
    last: Instant,
    done: u64, // since then
}

/// Where the work stands.
pub(super) struct Position<'a> {
    /// What was done last, such as `step 3/100`.
    pub name: &'a str,
    /// What there is to say about it.
    pub words: &'a str,
    /// Units of work done so far.
    pub done: u64,
    /// Units of work to do in all.
    pub all: u64,
    /// Whether it is worth a line of its own where there is no terminal.
    pub line: bool,
}

impl Progress {
    /// Progress of work that begins now.
    pub fn new() -> Self {
        let lines = !std::io::stderr().is_terminal();
        let bar = match lines {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(1),
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            lines,
            first: Instant::now(),
            last: Instant::now(),
            done: 0,
        }
    }

    /// Units of work a second, up to the last step.
    pub fn speed(&self) -> f64 {
        let seconds = self.last.duration_since(self.first).as_secs_f64();
        self.done as f64 / seconds.max(1e-9)
    }

    /// Counts work that was just done, before it is shown.
    pub fn count(&mut self, took: u64) {
        self.last = Instant::now();
        self.done += took;
    }

    /// Shows where the work stands.
    pub fn show(&self, position: &Position) {
        let left = (position.all - position.done.min(position.all)) as f64 / self.speed().max(1e-9);
        let eta = FormattedDuration(Duration::from_secs(left as u64));
        let text = format!("{} {} ETA {eta}", position.name, position.words);
        if self.lines && position.line {
            remark!("{text}");
        }
        self.bar.set_length(position.all);
        self.bar.set_position(position.done);
        self.bar.set_message(text);
    }

    /// Says what goes on beside the steps.
    pub fn message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Writes a line to stderr without disturbing the bar.
    pub fn remark(&self, text: &str) {
        self.bar.suspend(|| remark!("{text}"));
    }

    /// Writes a line to stdout without disturbing the bar.
    pub fn result(&self, text: &str) {
        self.bar.suspend(|| say!("{text}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
