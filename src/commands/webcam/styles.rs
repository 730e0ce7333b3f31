//! The styles to switch between: every known model, read in the background.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result};

use crate::model::Model;
use crate::styles::{self, Origin};

/// The models, by the order of their keys. Clones share them.
#[derive(Clone)]
pub(super) struct Styles(Arc<Vec<Style>>);

struct Style {
    name: String,
    origin: Origin,
    model: OnceLock<Result<Model, String>>,
}

impl Styles {
    /// The user's models and those built-in ones that are as wide as `first` (a name or file), small ones
    /// where none is; `first` comes first when it is none of them. Returns the number of `first`. Fails
    /// when `first` cannot be read.
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
        });
        let styles = Self(Arc::new(styles.collect()));
        let _ = styles.0[place].model.set(Ok(chosen));
        Ok((styles, place))
    }

    /// Reads the other models in a thread of its own, until `ended` is set: that of a picture takes 0.2 s and more.
    pub fn read_all(&self, ended: &Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        let (styles, ended) = (self.clone(), Arc::clone(ended));
        Builder::new()
            .name("models".into())
            .spawn(move || {
                let wanted = |_: &&Style| !ended.load(Ordering::Relaxed);
                for style in styles.0.iter().take_while(wanted) {
                    style.model.get_or_init(|| {
                        styles::open(&style.name, &style.origin).map_err(|e| format!("{e:#}"))
                    });
                }
            })
            .context("could not start the models thread")
    }

    /// Number of styles; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The model of a style: `None` until it is read, an error when it cannot be.
    pub fn model(&self, style: usize) -> Option<&Result<Model, String>> {
        self.0[style].model.get()
    }

    /// What to call a style on the screen: its title where that is known.
    pub fn title(&self, style: usize) -> &str {
        match self.model(style) {
            Some(Ok(model)) => match &model.metadata.title[..] {
                "" => &model.metadata.name,
                title => title,
            },
            _ => &self.0[style].name,
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
            assert_eq!(styles.0[place].name, first.to_lowercase().replace(' ', "_"));
            let built_in = |style: &&Style| matches!(style.origin, Origin::BuiltIn(_));
            let built_in: Vec<_> = styles.0.iter().filter(built_in).collect();
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
