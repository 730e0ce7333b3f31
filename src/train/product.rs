//! What a training ends with: the model and what it says of itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::paintings::Paintings;
use super::{Job, Start, checkpoint};
use crate::folders::stem;
use crate::model::{Metadata, Model};

/// The model of a finished training, not yet measured.
pub fn model(job: &Job, weights: &BTreeMap<String, Tensor>) -> Result<Model> {
    let mut settings = job.settings.clone();
    if let Start::Model(start) = &mut settings.start {
        let name = Path::new(start).file_name(); // a place on this machine says nothing elsewhere
        let name = name.unwrap_or_default().to_string_lossy();
        *start = name
            .strip_suffix(".safetensors")
            .unwrap_or(&name)
            .to_string();
    }
    let metadata = Metadata {
        name: stem(&job.output),
        title: settings.title.clone(),
        painter: settings.painter.clone(),
        year: settings.year.clone(),
        recipe: settings.to_toml()?,
        program: format!("repaint {}", env!("CARGO_PKG_VERSION")),
        date: today(),
        ..Metadata::default()
    };
    let tensors = weights
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), checkpoint::values(tensor)?)))
        .collect::<Result<_>>()?;
    Model::new(metadata, tensors)
}

/// Writes what a training on the paintings of a folder has learned.
pub fn write_predictor(
    job: &Job,
    paintings: &Paintings,
    trained: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let about = [
        ("recipe", job.settings.to_toml()?),
        ("program", format!("repaint {}", env!("CARGO_PKG_VERSION"))),
        ("date", today()),
    ];
    let about = about.map(|(key, value)| (key.to_string(), value)).into();
    let bytes = paintings.to_bytes(trained, about)?;
    crate::output::write_whole(&job.output, &bytes)
        .with_context(|| format!("could not write predictor `{}`", job.output.display()))
}

/// Today's date (UTC), YYYY-MM-DD, by the proleptic Gregorian calendar (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(now.map_or(0, |since| since.as_secs() / 86_400))
}

/// The date `days` days after 1970-01-01.
fn date(days: u64) -> String {
    let days = days + 719_468; // since 0000-03-01, with which the leap day ends the year
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar_over_leap_days_and_centuries() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_780), "2026-11-23");
        assert_eq!(date(47_540), "2100-02-28");
        assert_eq!(date(47_541), "2100-03-01");
    }
}
