//! What `--model` means: a model file, a model of the user's or of the program's own by name, or a picture,
//! whose style is predicted.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::colors;
use crate::folders::stem;
use crate::media::picture;
use crate::model::Model;
use crate::network::Width;
use crate::photos::{photos_of, read_scaled};
use crate::predict::{self, Predictor};

/// How much of a picture's colours a style has that is predicted from it.
const PALETTE: f64 = 0.5;

/// How alike a mistyped name is to the one that was meant, of 1: two letters of five may be wrong.
const ALIKE: f64 = 0.6;

/// Where a style comes from. Of one name, what was trained goes before what is predicted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A model file of the user's.
    File(PathBuf),
    /// A picture, whose style is predicted.
    Picture(PathBuf),
    /// Inside the program, of this width.
    BuiltIn(Width),
}

impl Origin {
    /// The name of the style that `--model text` means and that comes from here.
    pub fn name(&self, text: &str) -> String {
        match self {
            Self::File(path) | Self::Picture(path) => stem(path),
            Self::BuiltIn(_) => by_name(text).map_or(text, |built_in| built_in.name).into(),
        }
    }
}

/// A model inside the program.
struct BuiltIn {
    name: &'static str,
    width: Width,
    file: &'static [u8],
}

/// One row of [`BUILT_IN`].
macro_rules! built_in {
    ($width:ident, $name:literal) => {
        BuiltIn {
            name: $name,
            width: Width::$width,
            file: include_bytes!(concat!("../weights/", $name, ".safetensors")),
        }
    };
}

/// The models inside the program.
const BUILT_IN: &[BuiltIn] = &[
    built_in!(Small, "starry_night"),
    built_in!(Small, "great_wave"),
    built_in!(Small, "the_scream"),
    built_in!(Small, "udnie"),
    built_in!(Small, "composition_vii"),
    built_in!(Small, "woman_with_hat"),
    built_in!(Small, "delaunay_portrait"),
    built_in!(Small, "shipwreck"),
    built_in!(Medium, "starry_night_medium"),
    built_in!(Medium, "great_wave_medium"),
    built_in!(Medium, "the_scream_medium"),
    built_in!(Medium, "udnie_medium"),
    built_in!(Medium, "composition_vii_medium"),
    built_in!(Medium, "woman_with_hat_medium"),
    built_in!(Medium, "delaunay_portrait_medium"),
    built_in!(Medium, "shipwreck_medium"),
];

impl BuiltIn {
    fn read(&self) -> Result<Model> {
        Model::from_bytes(self.file).with_context(|| format!("built-in model `{}`", self.name))
    }
}

/// The built-in model that `text` means, however it is written.
fn by_name(text: &str) -> Option<&'static BuiltIn> {
    let alike = |built_in: &&BuiltIn| built_in.name == plain(text);
    BUILT_IN.iter().find(alike)
}

/// A name as the built-in ones are written: what people type has capitals, spaces and hyphens.
fn plain(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_")
}

/// Finds a style by the path of a model or picture, then by name in the user's model folder, then among the
/// built-in ones. Capitals do not matter in names, nor what stands between words, unless one fits exactly.
pub fn find(name: &str) -> Result<Model> {
    open(name, &locate(name)?)
}

/// Opens a style that [`list`] or [`locate`] found.
pub fn open(name: &str, origin: &Origin) -> Result<Model> {
    match origin {
        Origin::File(path) => Model::read(path),
        Origin::Picture(path) => predict(path, &Predictor::built_in()?),
        Origin::BuiltIn(_) => built_in(name),
    }
}

/// The model that `predictor` makes of a picture file, in half of its colours; it has the file's name.
pub fn predict(path: &Path, predictor: &Predictor) -> Result<Model> {
    let picture = read_scaled(path, predict::SHORT)?;
    let mut model = predictor.model(&picture)?;
    colors::fit(&mut model, &picture, &photos_of(None)?, PALETTE)?;
    model.metadata.name = stem(path);
    Ok(model)
}

/// A model inside the program.
pub fn built_in(name: &str) -> Result<Model> {
    by_name(name)
        .with_context(|| format!("no built-in model `{name}`"))?
        .read()
}

/// The mean of the built-in models of this width, which is no style but near to many; `None` where none
/// has this width.
pub fn built_in_mean(width: Width) -> Result<Option<Model>> {
    let models = BUILT_IN.iter().filter(|built_in| built_in.width == width);
    let parts = models.map(|built_in| Ok((built_in.read()?, 1.0)));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    (!parts.is_empty()).then(|| Model::mix(&parts)).transpose()
}

/// Whether built-in models have this width.
pub fn has_built_in(width: Width) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.width == width)
}

/// Where the style is that `--model name` means: see [`find`].
pub fn locate(name: &str) -> Result<Origin> {
    let path = Path::new(name);
    let found = std::fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_dir()) {
        return Ok(match picture::is_picture(path) {
            true => Origin::Picture(path.to_path_buf()),
            false => Origin::File(path.to_path_buf()),
        });
    }
    let models = list();
    if let Some(origin) = meant(&models, name) {
        return Ok(origin.clone());
    }
    let why = match &found {
        Ok(_) => "it is a folder".to_string(),
        Err(error) if error.kind() == ErrorKind::NotFound => "no such file".to_string(),
        Err(error) => error.to_string(),
    };
    let mut known: Vec<_> = models.into_iter().map(|(name, _)| name).collect();
    known.sort();
    known.dedup();
    let hint = match nearest(name, &known) {
        Some(near) => format!(", did you mean {near:?}?"),
        None => String::new(),
    };
    let known = known.join(", ");
    bail!("could not open model {name:?}: {why}{hint} (known: {known})")
}

/// Where the style of this name comes from: the first of exactly this one, else of one written otherwise.
fn meant<'a>(models: &'a [(String, Origin)], name: &str) -> Option<&'a Origin> {
    let exact = models.iter().find(|(known, _)| known == name);
    let alike = || models.iter().find(|(known, _)| plain(known) == plain(name));
    exact.or_else(alike).map(|(_, origin)| origin)
}

/// The file of a style in the user's model folder.
pub fn installed(name: &str) -> Result<PathBuf> {
    match meant(&list(), name) {
        Some(Origin::File(path) | Origin::Picture(path)) => Ok(path.clone()),
        Some(Origin::BuiltIn(_)) => {
            bail!("`{name}` is built in: only styles in your model folder can be removed")
        }
        None => bail!("no style `{name}` in your model folder: see `repaint models list`"),
    }
}

/// The name that was probably meant.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let name = plain(name);
    let likeness = |known: &String| strsim::normalized_damerau_levenshtein(&name, &plain(known));
    let near = known.iter().map(|known| (likeness(known), known.as_str()));
    let near = near.filter(|(likeness, _)| *likeness >= ALIKE);
    near.max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Names and origins of the models that `--model` knows: the user's by name, then the built-in
/// ones. Of two with the same name the first is meant.
pub fn list() -> Vec<(String, Origin)> {
    let mut models = Vec::new();
    let entries = user_folder().and_then(|folder| std::fs::read_dir(folder).ok());
    for path in entries.into_iter().flatten().flatten().map(|e| e.path()) {
        if !path.is_file() {
            continue;
        }
        let name = stem(&path);
        if path.extension().is_some_and(|e| e == "safetensors") {
            models.push((name, Origin::File(path)));
        } else if picture::is_picture(&path) {
            models.push((name, Origin::Picture(path)));
        }
    }
    models.sort();
    models.extend(
        BUILT_IN
            .iter()
            .map(|built_in| (built_in.name.to_string(), Origin::BuiltIn(built_in.width))),
    );
    models
}

/// The user's model folder: `repaint/models` in the XDG data folder.
pub fn user_folder() -> Option<PathBuf> {
    Some(crate::folders::data()?.join("models"))
}
