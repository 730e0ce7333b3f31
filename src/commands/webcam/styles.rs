//! The styles to switch between: every known model, read in the background.

use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result};

use crate::model::{self, Model, Origin};

/// The models, by the order of their keys. Clones share them.
#[derive(Clone)]
pub(super) struct Styles(Arc<Vec<Style>>);

struct Style {
    name: String,
    origin: Origin,
    model: OnceLock<Result<Model, String>>,
}

impl Styles {
    /// Every model that `repaint models list` names; `first` (a name or file) comes first when it
    /// is none of them. Returns the number of `first`. Fails when `first` cannot be read.
    pub fn gather(first: &str) -> Result<(Self, usize)> {
        let origin = model::locate(first)?;
        let mut known = model::list();
        let mut names = std::collections::HashSet::new();
        known.retain(|(name, _)| names.insert(name.clone())); // of two, the first is meant
        let place = match known.iter().position(|(_, known)| *known == origin) {
            Some(place) if known[place].0 == first || origin != Origin::BuiltIn => place,
            _ => match known.iter().position(|(name, _)| name == first) {
                Some(place) if known[place].1 == origin => place,
                _ => {
                    known.insert(0, (first.to_string(), origin));
                    0
                }
            },
        };
        let styles = known.into_iter().map(|(name, origin)| Style {
            name,
            origin,
            model: OnceLock::new(),
        });
        let styles = Self(Arc::new(styles.collect()));
        let chosen = &styles.0[place];
        let _ = chosen
            .model
            .set(Ok(Model::open(&chosen.name, &chosen.origin)?));
        Ok((styles, place))
    }

    /// Reads the other models in a thread of its own.
    pub fn read_all(&self) -> Result<JoinHandle<()>> {
        let styles = self.clone();
        Builder::new()
            .name("models".into())
            .spawn(move || {
                for style in styles.0.iter() {
                    style.model.get_or_init(|| {
                        Model::open(&style.name, &style.origin).map_err(|e| format!("{e:#}"))
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
            Some(Ok(model)) if !model.metadata.title.is_empty() => &model.metadata.title,
            _ => &self.0[style].name,
        }
    }
}
