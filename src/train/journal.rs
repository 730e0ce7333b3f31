//! The log of a training: one JSON object a line for each step, and the losses so far in memory.
//!
//! A training that returns to an earlier state, or goes on from a checkpoint, cuts what came after
//! it: the log holds each step once.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Step;

/// The log file and what is in it. The file is open only while it is written: Windows replaces none that is open.
pub struct Journal {
    place: PathBuf,
    steps: Vec<Step>,
    /// Whether the file lacks steps that could not be written.
    lacks: bool,
}

impl Journal {
    /// Opens the log of a training after `steps` steps. Later lines of an earlier run, and lines
    /// that are none of a log, are removed.
    pub fn open(place: &Path, steps: u32) -> Result<Self> {
        let text = match steps {
            0 => String::new(),
            _ => std::fs::read_to_string(place).unwrap_or_default(), // a log may be thrown away
        };
        let rows = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut journal = Self {
            place: place.to_path_buf(),
            steps: rows.collect(),
            lacks: false,
        };
        journal.cut(steps)?;
        Ok(journal)
    }

    /// Adds a step. One that could not be written is written with the next.
    pub fn add(&mut self, step: Step) -> Result<()> {
        self.steps.push(step);
        let written = match self.lacks {
            true => self.write(),
            false => append(&self.place, line(&step)?.as_bytes()).map_err(Into::into),
        };
        self.lacks = written.is_err();
        written.with_context(|| format!("could not write log `{}`", self.place.display()))
    }

    /// Removes what came after `steps` steps.
    pub fn cut(&mut self, steps: u32) -> Result<()> {
        self.steps.retain(|step| step.steps <= steps);
        self.write()
    }

    fn write(&self) -> Result<()> {
        let lines = self.steps.iter().map(line).collect::<Result<String>>()?;
        crate::output::write_whole(&self.place, lines.as_bytes())
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Seconds spent on the steps so far, over all runs.
    pub fn seconds(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.seconds)
    }
}

fn append(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(place)?;
    file.write_all(bytes)
}

fn line(step: &Step) -> Result<String> {
    Ok(serde_json::to_string(step)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_after_a_cut_without_the_lines_behind_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("log.jsonl");
        let step = |steps, content| Step {
            steps,
            content,
            seconds: f64::from(steps) * 1.5,
            ..Step::default()
        };
        let mut journal = Journal::open(&place, 0)?;
        for steps in 1..=5 {
            journal.add(step(steps, 1.0))?;
        }
        journal.cut(4)?;
        journal.add(step(5, 2.0))?;
        append(&place, b"{\"step\":6,\"con")?; // killed while writing

        let mut journal = Journal::open(&place, 3)?;
        assert_eq!(journal.seconds(), 4.5);
        journal.add(step(4, 3.0))?;
        let text = std::fs::read_to_string(&place)?;
        let found: Vec<Step> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let expected = [step(1, 1.0), step(2, 1.0), step(3, 1.0), step(4, 3.0)];
        assert_eq!(found, expected);
        assert_eq!(journal.steps(), expected);
        assert!(text.starts_with("{\"step\":1,\"content\":1.0,"), "{text}");
        assert!(Journal::open(&place, 0)?.steps().is_empty());
        Ok(())
    }

    #[test]
    fn a_log_that_could_not_be_written_for_a_while_is_whole_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("log.jsonl");
        let step = |steps| Step {
            steps,
            ..Step::default()
        };
        let mut journal = Journal::open(&place, 0)?;
        journal.add(step(1))?;
        std::fs::remove_file(&place)?;
        std::fs::create_dir(&place)?; // no file can have this name now
        assert!(journal.add(step(2)).is_err());
        assert!(journal.add(step(3)).is_err());
        std::fs::remove_dir(&place)?;
        journal.add(step(4))?;
        journal.add(step(5))?;
        assert_eq!(std::fs::read_to_string(&place)?.lines().count(), 5);
        Ok(())
    }
}
