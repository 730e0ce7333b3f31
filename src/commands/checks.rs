//! Checks and settings that the painting commands share, done before any work.

use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result, anyhow, ensure};

#[cfg(feature = "video")]
use crate::backend::Device;
use crate::backend::{self, Backend};
use crate::cli::PaintArgs;
#[cfg(feature = "video")]
use crate::cli::{FilmArgs, HwaccelArg};
use crate::folders;
use crate::mask::Mask;
#[cfg(feature = "video")]
use crate::media::Hwaccel;
use crate::media::picture;
use crate::output::Existing;
use crate::paint::Painter;
use crate::strokes::Strokes;
use crate::styles::{self, Origin};

/// What `--overwrite` asks for.
pub(super) fn existing(overwrite: bool) -> Existing {
    match overwrite {
        true => Existing::Overwrite,
        false => Existing::Keep,
    }
}

/// Opens the engine that the arguments ask for. The first time, says what becomes of an NVIDIA GPU.
pub(super) fn open_backend(args: &PaintArgs) -> Result<Box<dyn Backend>> {
    static SAID: Once = Once::new();
    let threads = args.threads.map(usize::from);
    let opened = backend::open(args.device.into(), threads, args.cpu_level)?;
    SAID.call_once(|| {
        if let Some(remark) = &opened.remark {
            remark!("{remark}");
        }
    });
    Ok(opened.engine)
}

/// Fails for a name that no model file has.
pub(super) fn ensure_model_name(place: &Path) -> Result<()> {
    ensure!(
        place
            .extension()
            .is_some_and(|ending| ending == "safetensors"),
        "`{}` does not end in .safetensors: a model file does",
        place.display()
    );
    Ok(())
}

/// Where the user's model of this name belongs; says if it will be found in the place of a built-in one.
pub(super) fn place_of(name: &str) -> Result<PathBuf> {
    let folder = styles::user_folder()
        .context("no home folder for models: name the model file with --output")?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not make folder `{}`", folder.display()))?;
    let built_in =
        |(known, origin): &(String, Origin)| known == name && matches!(origin, Origin::BuiltIn(_));
    if styles::list().iter().any(built_in) {
        remark!(
            "`{name}` will mean this style, not the built-in one: --output names another place"
        );
    }
    Ok(folder.join(format!("{name}.safetensors")))
}

/// Says how to paint with a new model, which has a place of the user's choice or, by name, its own.
pub(super) fn remark_use(place: Option<&Path>, name: &str) {
    let model = place.map_or(name.into(), |place| place.to_string_lossy());
    let model = folders::quoted(&model);
    remark!("paint with it: repaint image PHOTO.jpg -o PAINTED.png --model {model}");
}

/// A style and its weight: `a` counts 1, `a:0.7` counts 0.7, unless that `is_whole` a name.
pub(super) fn weighted(text: &str, is_whole: impl Fn(&str) -> bool) -> Result<(&str, f64)> {
    let split = text.rsplit_once(':').filter(|_| !is_whole(text));
    let weighted = split.and_then(|(name, weight)| Some((name, weight.parse::<f64>().ok()?)));
    let (name, weight) = weighted.unwrap_or((text, 1.0));
    ensure!(
        weight.is_finite() && weight > 0.0,
        "`{text}`: the weight of a style is a number above 0"
    );
    Ok((name, weight))
}

/// Sets the number of threads of everything that follows, once.
pub(super) fn set_threads(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else {
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(usize::from(threads))
        .build_global()
        .context("could not set the number of threads")
}

/// Finds the model and loads it into the engine that the arguments ask for. Sets the number of threads.
pub(super) fn open_painter(args: &PaintArgs) -> Result<Painter> {
    set_threads(args.threads)?;
    let model = styles::find(&args.model)?;
    let mask = open_mask(args)?;
    let mut backend = open_backend(args)?;
    backend.load(&model)?;
    let mut painter = Painter::new(backend, args.strength, args.keep_colors);
    painter.set_mask(mask);
    painter.set_strokes(strokes(args));
    Ok(painter)
}

/// How large strokes are to be.
pub(super) fn strokes(args: &PaintArgs) -> Strokes {
    args.strokes.map_or(Strokes::Auto, Strokes::Times)
}

/// The mask that was asked for.
pub(super) fn open_mask(args: &PaintArgs) -> Result<Option<Mask>> {
    let Some(mask) = args.mask.as_deref() else {
        return Ok(None);
    };
    ensure!(
        !mask.is_dir(),
        "`{}` is a folder: a mask is one picture",
        mask.display()
    );
    ensure_input_file(mask, "picture")?;
    let read = picture::read(mask).map_err(|error| match picture::is_picture(mask) {
        true => error,
        false => anyhow!(
            "`{}` is not a picture that can be read: a mask is one picture, convert it to png or jpeg",
            mask.display()
        ),
    });
    Ok(Some(Mask::new(read?)))
}

/// Fails when `output` is what is read: `input` itself, the mask, or the model, which may be a picture.
pub(super) fn ensure_not_read(input: &Path, args: &PaintArgs, output: &Path) -> Result<()> {
    let others = [args.mask.as_deref(), Some(Path::new(&args.model))];
    let mut read = others.into_iter().flatten().chain([input]);
    read.try_for_each(|read| ensure_not_input(read, output))
}

/// Who decodes and encodes beside an engine that paints on `device`.
#[cfg(feature = "video")]
pub(super) fn hwaccel(film: &FilmArgs, device: Device) -> Hwaccel {
    match (film.hwaccel, device) {
        (HwaccelArg::Auto, Device::Cuda) | (HwaccelArg::Cuda, _) => Hwaccel::Cuda,
        _ => Hwaccel::None,
    }
}

/// Fails unless `path` is a file; `what` says what it should be.
pub(super) fn ensure_input_file(path: &Path, what: &str) -> Result<()> {
    let name = path.display();
    ensure!(path.exists(), "no {what} `{name}`: check the path");
    ensure!(!path.is_dir(), "`{name}` is a folder: name a {what}");
    ensure!(
        path.is_file(),
        "`{name}` is not a regular file: save it to a {what} first"
    );
    Ok(())
}

/// Whether two files that may not be there yet would be one.
#[cfg(feature = "webcam")]
pub(super) fn is_same_place(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).canonicalize().ok()
    };
    is_same_file(one, other)
        || (one.file_name() == other.file_name() && folder(one) == folder(other))
}

/// Fails when `output` is the very file `input`, by whatever name.
pub(super) fn ensure_not_input(input: &Path, output: &Path) -> Result<()> {
    ensure!(
        !is_same_file(input, output),
        "`{}` is the input itself: choose another name for the output",
        output.display()
    );
    Ok(())
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
