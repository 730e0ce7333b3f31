//! Pictures by the folder: to learn from, to measure on, to see colours on; files, or the program's own.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::folders::stem;
use crate::frame::Frame;
use crate::media::picture;
use crate::scale;

/// Photos that are longer than this many times their width are left out.
const LONGEST: usize = 8;

/// Endings of the files that are taken for photos.
const ENDINGS: [&str; 12] = [
    "avif", "bmp", "heic", "heif", "hif", "jpg", "jpeg", "jxl", "png", "tif", "tiff", "webp",
];

/// Ending of the folder that a training keeps beside its model.
pub const TRAINING: &str = "training";

/// A photo to learn from or to measure on.
#[derive(Clone, Debug)]
pub enum Photo {
    /// A picture file.
    File(PathBuf),
    /// One of the program's own pictures: name and file.
    Sample(&'static str, &'static [u8]),
}

/// The program's own pictures. A style that begins with others is learned from them as well as from
/// hundreds of photographs.
const SAMPLES: [Photo; 3] = [
    Photo::Sample("lake", include_bytes!("../samples/lake.jpg")),
    Photo::Sample("lighthouse", include_bytes!("../samples/lighthouse.jpg")),
    Photo::Sample("still_life", include_bytes!("../samples/still_life.jpg")),
];

/// Every picture file below `folder`, sorted by path. Hidden files and folders are left out, as are those of
/// trainings, which hold previews; links to folders are not followed.
pub fn photos_in(folder: &Path) -> Result<Vec<Photo>> {
    let mut photos = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = || format!("could not read folder `{}`", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let path = entry.path();
            let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().with_context(failed)?.is_dir() {
                if ending != TRAINING {
                    folders.push(path);
                }
            } else if ENDINGS.iter().any(|known| ending == *known) && path.is_file() {
                photos.push(path);
            }
        }
    }
    photos.sort();
    ensure!(
        !photos.is_empty(),
        "no photos in `{}`: name a folder with {} files",
        folder.display(),
        ENDINGS.join(", ")
    );
    Ok(photos.into_iter().map(Photo::File).collect())
}

/// All of `photos`, first some `count` of them that are spread over the list: for who needs so many that can be
/// read.
pub fn spread(photos: &[Photo], count: usize) -> impl Iterator<Item = &Photo> {
    let step = photos.len().div_ceil(count).max(1);
    let others = photos
        .iter()
        .enumerate()
        .filter(move |(i, _)| i % step != 0);
    let others = others.map(|(_, photo)| photo);
    photos.iter().step_by(step).chain(others)
}

/// The photos of [`photos_in`] a folder; the program's own pictures without one.
pub fn photos_of(folder: Option<&Path>) -> Result<Vec<Photo>> {
    match folder {
        Some(folder) => photos_in(folder),
        None => Ok(SAMPLES.to_vec()),
    }
}

/// Reads a picture file and scales its shorter side to `short` pixels.
pub fn read_scaled(path: &Path, short: usize) -> Result<Frame> {
    Photo::File(path.to_path_buf()).read_scaled(short)
}

impl Photo {
    /// Its name without folder and ending.
    pub fn stem(&self) -> String {
        match self {
            Self::File(path) => stem(path),
            Self::Sample(name, _) => name.to_string(),
        }
    }

    /// Reads it and scales its shorter side to `short` pixels.
    pub fn read_scaled(&self, short: usize) -> Result<Frame> {
        let frame = match self {
            Self::File(path) => picture::read(path)?,
            Self::Sample(name, file) => picture::from_bytes(file, name)?,
        };
        let (width, height) = (frame.width, frame.height);
        let side = width.min(height);
        ensure!(
            side > 0 && width.max(height) <= side * LONGEST,
            "`{self}` is {width}x{height}: too narrow"
        );
        let (width, height) = scale::scaled((width, height), short);
        scale::resized(&frame, width, height)
    }
}

impl fmt::Display for Photo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Sample(name, _) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_pictures_outside_of_hidden_folders_and_those_of_trainings() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for below in ["a", "b.training", ".c", "d.png"] {
            std::fs::create_dir(path(below))?;
            std::fs::write(path(below).join("1.JPG"), "")?;
        }
        for name in ["2.png", "3.txt", ".4.png"] {
            std::fs::write(path(name), "")?;
        }
        #[cfg(unix)]
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path("5.png"))
                .status()?
                .success()
        );
        let found = photos_in(folder.path())?;
        let found: Vec<_> = found.iter().map(Photo::to_string).collect();
        let expected = ["2.png", "a/1.JPG", "d.png/1.JPG"];
        assert_eq!(found, expected.map(|name| path(name).display().to_string()));
        Ok(())
    }

    #[test]
    fn those_that_are_spread_come_first_and_each_comes_once() {
        let photos: Vec<Photo> = (0..11)
            .map(|i| Photo::File(PathBuf::from(i.to_string())))
            .collect();
        for (count, first) in [(3, vec![0, 4, 8]), (11, (0..11).collect()), (1, vec![0])] {
            let order = spread(&photos, count).map(Photo::to_string);
            let order: Vec<usize> = order.map(|name| name.parse().unwrap()).collect();
            assert!(order.starts_with(&first), "{order:?}");
            let mut sorted = order.clone();
            sorted.sort();
            assert_eq!(sorted, (0..11).collect::<Vec<_>>());
        }
        assert_eq!(spread(&[], 4).count(), 0);
    }
}
