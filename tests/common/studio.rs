//! A tiny training: generated photos and a painting.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use anyhow::Result;
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::network::Width;
use repaint::output::Existing;
use repaint::train::{Job, Settings, Start};

/// A folder with a painting and photos, all generated.
pub fn studio(photos: usize) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let below = folder.path().join("photos/more");
    std::fs::create_dir_all(&below)?;
    let write = |path: &Path, seed: usize| {
        let mut frame = Frame::new(72 + 8 * (seed % 3), 64);
        for (i, value) in frame.pixels.iter_mut().enumerate() {
            *value = ((i * (seed + 3) / 7) ^ (i / (90 + seed))) as u8;
        }
        picture::write(path, &frame, Existing::Overwrite)
    };
    write(&folder.path().join("painting.png"), 11)?;
    for photo in 0..photos {
        let folder = if photo % 2 == 0 { below.parent() } else { None };
        write(
            &folder.unwrap_or(&below).join(format!("{photo}.png")),
            photo,
        )?;
    }
    Ok(folder)
}

/// A training of a few steps in `studio`.
pub fn job(studio: &Path, vgg19: PathBuf, output: &str) -> Job {
    Job {
        settings: Settings {
            title: "Stripes".to_string(),
            steps: 3,
            batch: 2,
            crop: 32,
            style_size: 48,
            seed: 5,
            ..Settings::usual(Width::Small, Some(Start::Random))
        },
        painting: studio.join("painting.png"),
        photos: Some(studio.join("photos")),
        vgg19,
        output: studio.join(output),
        validation: None,
        preview: studio.join("preview.png"),
        preview_every: 1000,
        checkpoint_every: 1,
        resume: false,
        device: repaint::backend::Device::Cpu,
    }
}
