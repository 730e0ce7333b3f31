//! `repaint image`: one picture to a file, or several to a folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::{Interrupted, ensure_input_file, ensure_not_input, existing, open_painter};
use crate::cli::{ImageArgs, PaintArgs};
use crate::frame::Frame;
use crate::media::picture::{self, PictureFormat};
use crate::output::{Existing, Output};
use crate::paint::Painter;
use crate::scale;

/// Most pixels of a picture that is scaled.
const MAX_PIXELS: usize = 1 << 28;

/// Paints pictures. A bad one among several does not keep the others from being painted; the
/// error at the end names it. Once `stop` is set no further picture is begun and the result is
/// [`Interrupted`].
pub fn run(args: &ImageArgs, stop: &AtomicBool) -> Result<()> {
    let places = plan(&args.inputs, &args.output)?;
    if let [(input, place)] = places.as_slice() {
        ensure_input_file(input, "picture")?;
        ensure_place(input, place, existing(args.paint.overwrite))?;
        let mut painter = open_painter(&args.paint)?;
        return paint(input, place, &mut painter, &args.paint);
    }
    for (input, place) in &places {
        ensure_place(input, place, existing(args.paint.overwrite))?;
    }
    let mut painter = open_painter(&args.paint)?;
    let mut bad = Vec::new();
    for (done, (input, place)) in places.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            let total = places.len();
            let painted = done - bad.len();
            return Err(Interrupted(format!("{painted} of {total} pictures painted")).into());
        }
        if let Err(error) = paint(input, place, &mut painter, &args.paint) {
            remark!("{error:#}");
            bad.push(input.display().to_string());
        }
    }
    ensure!(
        bad.is_empty(),
        "{} of {} pictures could not be painted: {}",
        bad.len(),
        places.len(),
        bad.join(", ")
    );
    Ok(())
}

/// Where each picture goes. A single input goes to `output` itself unless that is a folder, in
/// which it keeps its name; several go to the folder `output`, made if missing.
fn plan(inputs: &[PathBuf], output: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if let [input] = inputs
        && !output.is_dir()
    {
        PictureFormat::of(output)?;
        return Ok(vec![(input.clone(), output.to_path_buf())]);
    }
    ensure!(
        !output.exists() || output.is_dir(),
        "`{}` is a file: name a folder for several pictures",
        output.display()
    );
    ensure!(
        output.is_dir() || PictureFormat::of(output).is_err(),
        "`{}` is named like a picture: name a folder for several pictures",
        output.display()
    );
    let mut names: BTreeMap<OsString, &Path> = BTreeMap::new();
    let mut places = Vec::new();
    for input in inputs {
        ensure!(
            !input.is_dir(),
            "`{}` is a folder: name the pictures in it",
            input.display()
        );
        let Some(stem) = input.file_stem() else {
            bail!("`{}` is not the name of a picture", input.display());
        };
        if let Some(other) = names.insert(stem.to_os_string(), input) {
            bail!(
                "`{}` and `{}` would both become `{}`: paint them into different folders",
                other.display(),
                input.display(),
                output.join(name_of(input)).display()
            );
        }
        places.push((input.clone(), output.join(name_of(input))));
    }
    std::fs::create_dir_all(output)
        .with_context(|| format!("could not create folder `{}`", output.display()))?;
    Ok(places)
}

/// Name of the painting of `input` in a folder: jpeg stays jpeg, all else becomes png.
fn name_of(input: &Path) -> PathBuf {
    let name = PathBuf::from(input.file_name().unwrap_or_default());
    match PictureFormat::of(input) {
        Ok(_) => name,
        Err(_) => name.with_extension("png"),
    }
}

fn ensure_place(input: &Path, place: &Path, existing: Existing) -> Result<()> {
    ensure_not_input(input, place)?;
    drop(Output::create(place, existing)?);
    Ok(())
}

fn paint(input: &Path, place: &Path, painter: &mut Painter, args: &PaintArgs) -> Result<()> {
    let mut frame = picture::read(input)?;
    if let Some(side) = args.size {
        let (width, height) = scaled(&frame, side as usize);
        ensure!(
            width * height <= MAX_PIXELS,
            "--size {side} makes `{}` {width}x{height}: choose a smaller size",
            input.display()
        );
        frame = scale::resized(&frame, width, height)?;
    }
    let mut painting = Frame::default();
    painter
        .paint(&frame, &mut painting)
        .with_context(|| format!("could not paint `{}`", input.display()))?;
    picture::write(place, &painting, existing(args.overwrite))?;
    let (width, height) = (painting.width, painting.height);
    say!("{}: {width}x{height}", place.display());
    Ok(())
}

/// Size of `frame` scaled to a shorter side of `side` pixels.
fn scaled(frame: &Frame, side: usize) -> (usize, usize) {
    let short = frame.width.min(frame.height).max(1);
    let scale = |length: usize| ((length * side + short / 2) / short).max(1);
    (scale(frame.width), scale(frame.height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn several_pictures_keep_their_names_in_a_folder_that_is_made() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("a/b");
        let places = plan(&paths(&["x/one.jpg", "y/two.webp"]), &output)?;
        assert_eq!(places[0].1, output.join("one.jpg"));
        assert_eq!(places[1].1, output.join("two.png"));
        assert!(output.is_dir());
        Ok(())
    }

    #[test]
    fn one_picture_goes_into_a_folder_only_if_that_exists() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let places = plan(&paths(&["x/one.jpg"]), folder.path())?;
        assert_eq!(places[0].1, folder.path().join("one.jpg"));
        let missing = folder.path().join("missing");
        let error = plan(&paths(&["x/one.jpg"]), &missing).unwrap_err();
        assert!(error.to_string().contains(".png"), "{error}");
        Ok(())
    }

    #[test]
    fn pictures_that_would_take_one_name_are_refused_before_any_work() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("out");
        let error = plan(&paths(&["x/one.jpg", "y/one.png"]), &output).unwrap_err();
        let words = error.to_string();
        assert!(
            words.contains("x/one.jpg") && words.contains("y/one.png"),
            "{words}"
        );
        assert!(!output.exists());
        let error = plan(&paths(&["a.png", "b.png"]), Path::new("c.png")).unwrap_err();
        assert!(
            error.to_string().contains("named like a picture"),
            "{error}"
        );
        Ok(())
    }
}
