//! Along the rims of films the program's styles paint what they paint there in wider pictures, and no strips.

use std::path::{Path, PathBuf};

use anyhow::Result;
use repaint::backend::Backend;
use repaint::backend::cpu::Cpu;
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Model;
use repaint::paint::Painter;
use repaint::scale::resized;
use repaint::steady::USUAL;

/// Frames of a film, in which what is wrong at a rim has grown.
const FRAMES: usize = 24;

/// Pixels of the wider film on every side of the other.
const BESIDE: usize = 48;

/// Pixels along a rim that are looked at.
const RIM: usize = 8;

/// The files of the program's own styles.
fn weights() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<Result<Vec<_>>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|ending| ending == "safetensors")
    });
    files.retain(|file| !file.ends_with("predictor.safetensors"));
    files.sort();
    Ok(files)
}

/// The part of `picture` from (x, y) on.
fn part(picture: &Frame, (x, y): (usize, usize), (width, height): (usize, usize)) -> Frame {
    let mut part = Frame::new(width, height);
    let rows = picture.pixels.chunks_exact(3 * picture.width).skip(y);
    for (to, from) in part.pixels.chunks_exact_mut(3 * width).zip(rows) {
        to.copy_from_slice(&from[3 * x..][..3 * width]);
    }
    part
}

/// The last painting of a glide over `picture`, `beside` pixels in from where the wider film begins.
fn film(model: &Model, picture: &Frame, beside: usize) -> Result<Frame> {
    let mut engine = Cpu::new(Some(2), None)?;
    engine.load(model)?;
    let mut painter = Painter::new(Box::new(engine), 1.0, false);
    painter.set_steadiness(USUAL);
    let size = [picture.width, picture.height].map(|side| side - FRAMES - 2 * beside);
    let mut painting = Frame::default();
    for frame in 0..FRAMES {
        let at = (beside + frame, beside + frame / 2);
        painter.paint(&part(picture, at, (size[0], size[1])), &mut painting)?;
    }
    Ok(painting)
}

/// How much brighter the painting is than the wider one in red, green and blue along its left, right, upper and lower rim.
fn offsets(model: &Model, picture: &Frame) -> Result<[[f64; 3]; 4]> {
    let narrow = film(model, picture, BESIDE)?;
    let (width, height) = (narrow.width, narrow.height);
    let wide = part(&film(model, picture, 0)?, (BESIDE, BESIDE), (width, height));
    let mean = |inside: &dyn Fn(usize, usize) -> bool| {
        let (mut sums, mut count) = ([0.0; 3], 0.0);
        let pixels = narrow
            .pixels
            .chunks_exact(3)
            .zip(wide.pixels.chunks_exact(3));
        for (i, (narrow, wide)) in pixels.enumerate() {
            if inside(i % width, i / width) {
                count += 1.0;
                for channel in 0..3 {
                    sums[channel] += f64::from(narrow[channel]) - f64::from(wide[channel]);
                }
            }
        }
        sums.map(|sum| sum / count)
    };
    // A wider picture shows more, by which all of it may be painted lighter or darker.
    let far = |at: usize, side: usize| (4 * RIM..side - 4 * RIM).contains(&at);
    let inner = mean(&|x, y| far(x, width) && far(y, height));
    let rims: [&dyn Fn(usize, usize) -> bool; 4] = [
        &|x, _| x < RIM,
        &|x, _| x >= width - RIM,
        &|_, y| y < RIM,
        &|_, y| y >= height - RIM,
    ];
    Ok(rims.map(|rim| {
        let mean = mean(rim);
        [0, 1, 2].map(|channel| mean[channel] - inner[channel])
    }))
}

#[test]
fn styles_paint_no_strips_along_the_rims_of_films() -> Result<()> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let pictures = ["lake.jpg", "still_life.jpg"];
    let pictures = pictures.map(|name| resized(&picture::read(&samples.join(name))?, 400, 300));
    let pictures = pictures.into_iter().collect::<Result<Vec<_>>>()?;
    let mut worst = Vec::new();
    for file in weights()? {
        let model = Model::read(&file)?;
        let found = pictures.iter().map(|picture| offsets(&model, picture));
        let found = found.collect::<Result<Vec<_>>>()?;
        let mean = |rim: usize, channel: usize| {
            let sum: f64 = found.iter().map(|offsets| offsets[rim][channel]).sum();
            sum / found.len() as f64
        };
        let means = [0, 1, 2, 3].map(|rim| [0, 1, 2].map(|channel| mean(rim, channel)));
        println!(
            "{:26} left, right, upper, lower: {means:4.0?}",
            model.metadata.name
        );
        let most = means
            .iter()
            .flatten()
            .fold(0.0, |most: f64, mean| most.max(mean.abs()));
        worst.push((model.metadata.name, most));
    }
    assert_eq!(worst.len(), 16);
    let bad: Vec<_> = worst.iter().filter(|(_, most)| *most > 20.0).collect();
    assert!(bad.is_empty(), "strips of other colours (of 255): {bad:?}");
    Ok(())
}
