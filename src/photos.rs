//! Pictures by the folder: to learn from, to measure on, to see colours on; files, or the program's own.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::frame::Frame;
use crate::media::picture;
use crate::scale;

/// Photos that are longer than this many times their width are left out.
const LONGEST: usize = 8;

/// Endings of the files that are taken for photos.
const ENDINGS: [&str; 12] = [
    "avif", "bmp", "heic", "heif", "hif", "jpg", "jpeg", "jxl", "png", "tif", "tiff", "webp",
];

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

/// Every picture file below `folder`, sorted by path. Hidden files and folders are left out, links
/// to folders are not followed.
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
                folders.push(path);
            } else if ENDINGS.iter().any(|known| ending == *known) {
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
            Self::File(path) => {
                let stem = path.file_stem().unwrap_or_default();
                stem.to_string_lossy().into_owned()
            }
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
        let scaled = |length: usize| ((length * short) as f64 / side as f64).round() as usize;
        scale::resized(&frame, scaled(width), scaled(height))
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
