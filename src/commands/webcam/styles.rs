//! The styles to switch between: every known model, read in the background.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Error, Result};

use crate::model::Model;
use crate::styles::{self, Origin};

/// The models, by the order of their keys. Clones share them.
#[derive(Clone)]
pub(super) struct Styles {
    list: Arc<Vec<Style>>,
    /// The number of the one that is painted.
    painted: Arc<AtomicUsize>,
}

struct Style {
    name: String,
    origin: Origin,
    model: OnceLock<Result<Model, String>>,
    /// Why the engine does not take it.
    refused: OnceLock<String>,
}

impl Styles {
    /// The user's models and those built-in ones that are as wide as `first` (a name or file), small ones
    /// where none is; `first` comes first when it is none of them. Returns the number of `first`, which is painted.
    /// Fails when `first` cannot be read.
    pub fn gather(first: &str) -> Result<(Self, usize)> {
        let origin = styles::locate(first)?;
        let name = origin.name(first);
        let chosen = styles::open(&name, &origin)?;
        let mut known = styles::list();
        let as_wide = |(_, origin): &(String, Origin)| match origin {
            Origin::BuiltIn(width) => {
                Some(*width).filter(|width| width.channels() == chosen.network.channels)
            }
            Origin::File(_) | Origin::Picture(_) => None,
        };
        let width = known.iter().find_map(as_wide).unwrap_or_default();
        let mut names = std::collections::HashSet::new();
        known.retain(|(name, _)| names.insert(name.clone())); // of two, the first is meant
        known.retain(|(_, origin)| !matches!(origin, Origin::BuiltIn(other) if *other != width));
        let meant = |(other, known): &(String, Origin)| {
            *known == origin && (*other == name || !matches!(known, Origin::BuiltIn(_)))
        };
        let place = known.iter().position(meant).unwrap_or_else(|| {
            known.insert(0, (name.clone(), origin.clone()));
            0
        });
        let styles = known.into_iter().map(|(name, origin)| Style {
            name,
            origin,
            model: OnceLock::new(),
            refused: OnceLock::new(),
        });
        let styles = Self {
            list: Arc::new(styles.collect()),
            painted: Arc::new(AtomicUsize::new(place)),
        };
        let _ = styles.list[place].model.set(Ok(chosen));
        Ok((styles, place))
    }

    /// Reads the other models in a thread of its own, until `ended` is set: that of a picture takes 0.2 s and more.
    pub fn read_all(&self, ended: &Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        let (styles, ended) = (self.clone(), Arc::clone(ended));
        Builder::new()
            .name("models".into())
            .spawn(move || {
                let wanted = |_: &&Style| !ended.load(Ordering::Relaxed);
                for style in styles.list.iter().take_while(wanted) {
                    style.model.get_or_init(|| {
                        styles::open(&style.name, &style.origin).map_err(|e| format!("{e:#}"))
                    });
                }
            })
            .context("could not start the models thread")
    }

    /// Number of styles; at least one.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The model of a style: `None` until it is read, an error when it cannot be.
    pub fn model(&self, style: usize) -> Option<&Result<Model, String>> {
        self.list[style].model.get()
    }

    /// The number of the style that is painted.
    pub fn painted(&self) -> usize {
        self.painted.load(Ordering::Relaxed)
    }

    /// Notes that this style is painted from now on.
    pub fn set_painted(&self, style: usize) {
        self.painted.store(style, Ordering::Relaxed);
    }

    /// Notes why the engine does not take a style.
    pub fn refuse(&self, style: usize, error: &Error) {
        let words = format!("`{}` cannot be painted: {error:#}", self.title(style));
        let _ = self.list[style].refused.set(words);
    }

    /// Why a style cannot be had.
    pub fn trouble(&self, style: usize) -> Option<&str> {
        match self.model(style) {
            Some(Err(words)) => Some(words),
            _ => self.list[style].refused.get().map(String::as_str),
        }
    }

    /// The style that is painted, or is about to be, where `wanted` is asked for.
    pub fn meant(&self, wanted: usize) -> usize {
        match self.trouble(wanted) {
            None => wanted,
            Some(_) => self.painted(),
        }
    }

    /// What to call a style on the screen: its title where that is known.
    pub fn title(&self, style: usize) -> &str {
        match self.model(style) {
            Some(Ok(model)) => match &model.metadata.title[..] {
                "" => &model.metadata.name,
                title => title,
            },
            _ => &self.list[style].name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Width;

    #[test]
    fn keys_stay_among_the_styles_that_are_as_wide_as_the_chosen_one() -> Result<()> {
        for (first, width) in [
            ("the_scream", Width::Small),
            ("the_scream_medium", Width::Medium),
            ("The Scream", Width::Small),
        ] {
            let (styles, place) = Styles::gather(first)?;
            assert_eq!(
                styles.list[place].name,
                first.to_lowercase().replace(' ', "_")
            );
            let built_in = |style: &&Style| matches!(style.origin, Origin::BuiltIn(_));
            let built_in: Vec<_> = styles.list.iter().filter(built_in).collect();
            assert_eq!(built_in.len(), 8);
            for style in built_in {
                assert_eq!(style.origin, Origin::BuiltIn(width));
                let model = styles::open(&style.name, &style.origin)?;
                assert_eq!(model.network.channels, width.channels());
            }
        }
        Ok(())
    }
}
