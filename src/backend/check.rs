//! Whether two engines paint the same: for `bench`, and before a GPU is trusted.

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Backend;
use crate::frame::{Carried, Frame};
use crate::model::Model;
use crate::network::{Network, Width};
use crate::steady::{self, Seen, Steadier, Watcher};

/// Largest difference of two engines, of 255, that is rounding: twice what the GPU's 16-bit values
/// are allowed.
const ROUNDING: u8 = 4;

/// The same for the second frame of a film: the first one's difference comes back in it.
const ROUNDING_IN_FILMS: u8 = 2 * ROUNDING;

/// The largest difference of a value between two frames of one size.
pub fn difference(a: &Frame, b: &Frame) -> u8 {
    let pairs = a.pixels.iter().zip(&b.pixels);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// A picture of slowly changing colours with noise, the same on every call.
pub fn random_frame(width: usize, height: usize) -> Frame {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut frame = Frame::new(width, height);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        let (x, y) = (i / 3 % width, i / 3 / width);
        let wave = ((x * (i % 3 + 1)) as f32 / 37.0).sin() + (y as f32 / 23.0).cos();
        *value = (127.0 + 45.0 * wave + 30.0 * random.random::<f32>()) as u8;
    }
    frame
}

/// Two frames of a film, the same on every call: what the first shows lies 3 pixels to the left in the
/// second.
pub fn film(width: usize, height: usize) -> [Frame; 2] {
    let scene = random_frame(width + 3, height);
    let [first, mut second] = [0, 3].map(|left| cut(&scene, left, width));
    second.index = 1;
    [first, second]
}

/// Fails when `engine` paints a small frame, or the second one of a film, otherwise than `reference`.
/// Takes milliseconds; both have another model loaded afterwards.
pub fn ensure_paints_alike(engine: &mut dyn Backend, reference: &mut dyn Backend) -> Result<()> {
    let model = Model::random(Network::from(Width::Small).with_memory(), 1)?;
    let input = random_frame(61, 47);
    let last = Carried {
        width: input.width,
        height: input.height,
        pixels: input.pixels.iter().rev().copied().collect(),
        valid: vec![255; input.width * input.height],
    };
    let film = film(61, 47);
    let paint = |engine: &mut dyn Backend| {
        let [mut still, mut next] = [Frame::default(), Frame::default()];
        engine.load(&model)?;
        engine.stylize_after(Some(&last), &input, &mut still)?;
        let mut watcher = Watcher::new(steady::USUAL);
        let mut seen = [Seen::default(), Seen::default()];
        for (frame, seen) in film.iter().zip(&mut seen) {
            watcher.look(frame, seen)?;
        }
        let mut steadier = Steadier::default();
        // The second is begun while the first is painted, as in files.
        engine.stylize_next(&seen[0], Some(&seen[1]), &mut steadier, &mut next)?;
        engine.stylize_next(&seen[1], None, &mut steadier, &mut next)?;
        Ok::<_, anyhow::Error>([still, next])
    };
    let (found, expected) = (paint(engine)?, paint(reference)?);
    let found = [0, 1].map(|i| difference(&found[i], &expected[i]));
    ensure!(
        found[0] <= ROUNDING && found[1] <= ROUNDING_IN_FILMS,
        "`{}` paints otherwise than `{}`, by up to {} of 255: update the driver, or use --device cpu",
        engine.name(),
        reference.name(),
        found[0].max(found[1])
    );
    Ok(())
}

/// `width` columns of `frame`, from column `left` on.
fn cut(frame: &Frame, left: usize, width: usize) -> Frame {
    let mut part = Frame::new(width, frame.height);
    let rows = part.pixels.chunks_exact_mut(3 * width);
    for (part, row) in rows.zip(frame.pixels.chunks_exact(3 * frame.width)) {
        part.copy_from_slice(&row[3 * left..][..3 * width]);
    }
    part
}
