//! The contact sheet: what one layer after the other keeps of a picture, labelled, on white.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{End, Event, Job, Scene, Settings, Step, scales};
use crate::frame::Frame;
use crate::media::picture;
use crate::output::Existing;
use crate::scale;
use crate::text;

/// Longer side of a picture on the sheet when no size is asked for, in pixels.
const USUAL: usize = 256;

/// Pictures beside each other.
const COLUMNS: usize = 5;

/// White around pictures, in pixels.
const GAP: usize = 8;

/// Size of the dots of letters, in pixels, where the words fit.
const DOT: usize = 2;

/// Colour of letters.
const INK: [u8; 3] = [0; 3];

/// One picture of a contact sheet.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What stands below it.
    pub label: String,
    /// How it is made.
    pub settings: Settings,
}

/// Makes every cell, and writes them behind the original as one picture. `stop` ends the work after
/// the current step; the sheet then has the pictures that were ready.
pub fn contact_sheet(
    job: &Job,
    cells: &[Cell],
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<End> {
    let scene = Scene::open(job, USUAL, tell)?;
    let original = scene.original()?;
    let size = (original.width, original.height);
    let all = scales::plan(&job.settings, size, USUAL)?;
    let last = all[all.len() - 1];
    let original = scale::resized(original, last.width, last.height)?;
    let mut pictures = vec![("original".to_string(), original.clone())];
    let mut stopped = false;
    for (i, cell) in cells.iter().enumerate() {
        let frame = scene.paint(&cell.settings, None, &mut |moment| {
            let step = &moment.step;
            tell(Event::Step(Step {
                label: Some(cell.label.clone()),
                done: step.all * i as u64 + step.done,
                all: step.all * cells.len() as u64,
                ..step.clone()
            }));
            Ok(match stop.load(Ordering::SeqCst) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        let Some(frame) = frame else {
            stopped = true;
            break;
        };
        let psnr = scene.content.is_some().then(|| psnr(&frame, &original));
        tell(Event::Cell {
            label: cell.label.clone(),
            psnr,
        });
        let words = match psnr {
            Some(psnr) => format!("{} {psnr:.1} dB", cell.label),
            None => cell.label.clone(),
        };
        pictures.push((words, frame));
    }
    let sheet = lay_out(&pictures);
    picture::write(&job.output, &sheet, Existing::Overwrite)?;
    Ok(match stopped {
        true => End::Stopped(None),
        false => End::Finished(sheet.width, sheet.height),
    })
}

/// Pictures of one size in rows, each with its words below.
fn lay_out(pictures: &[(String, Frame)]) -> Frame {
    let narrow = |(words, frame): &(String, Frame)| text::width(words, DOT) > frame.width;
    let dot = if pictures.iter().any(narrow) { 1 } else { DOT };
    let line = text::height("x", dot);
    let (width, height) = match pictures.first() {
        Some((_, frame)) => (frame.width + GAP, frame.height + line + GAP),
        None => return Frame::default(),
    };
    let columns = pictures.len().min(COLUMNS);
    let rows = pictures.len().div_ceil(columns);
    let mut sheet = Frame::new(columns * width + GAP, rows * height + GAP);
    sheet.pixels.fill(255);
    for (i, (words, frame)) in pictures.iter().enumerate() {
        let left = GAP + i % columns * width;
        let top = GAP + i / columns * height;
        for (y, row) in frame.pixels.chunks_exact(3 * frame.width).enumerate() {
            let at = ((top + y) * sheet.width + left) * 3;
            sheet.pixels[at..at + row.len()].copy_from_slice(row);
        }
        let below = top + frame.height + GAP / 2;
        text::draw(&mut sheet, left, below, dot, INK, words);
    }
    sheet
}

/// Peak signal-to-noise ratio in dB of two pictures of one size; infinite for equal ones.
fn psnr(a: &Frame, b: &Frame) -> f64 {
    let squares = a.pixels.iter().zip(&b.pixels).map(|(a, b)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    });
    let mean = squares.sum::<f64>() / a.pixels.len().max(1) as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_its_place_on_the_sheet() {
        let picture = |value: u8| {
            let mut frame = Frame::new(40, 30);
            frame.pixels.fill(value);
            (format!("conv{value}"), frame)
        };
        let sheet = lay_out(&[1, 2, 3, 4, 5, 6].map(picture));
        assert_eq!(sheet.width, 5 * 48 + 8);
        assert_eq!(sheet.height, 2 * (30 + 9 + 8) + 8);
        for value in 1..=6u8 {
            let found = sheet.pixels.iter().filter(|pixel| **pixel == value);
            assert_eq!(found.count(), 40 * 30 * 3);
        }
    }

    #[test]
    fn a_mean_error_of_one_level_is_48_decibels() {
        let (black, mut grey) = (Frame::new(4, 4), Frame::new(4, 4));
        grey.pixels.fill(1);
        assert!((psnr(&black, &grey) - 48.13).abs() < 0.01);
        assert_eq!(psnr(&black, &black), f64::INFINITY);
    }
}
