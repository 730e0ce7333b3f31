//! Steadiness of a film: what is held back before a frame is painted, and what stays of the last
//! painting afterwards.
//!
//! Three means, each for what the others cannot do: the noise of the camera is held back (a network
//! turns it into strokes that swim), a network with memory is shown its last painting carried along
//! the motion, and some of that stays, which helps models without memory too. Two paintings never
//! agree quite, and carrying blurs them: what moves gets its detail back.
//!
//! A [`Watcher`] finds out what can be known before a frame is painted, in a thread of its own for files;
//! a [`Steadier`] does the rest. The CUDA engine does it itself, beside its layers.

mod bars;
mod fade;
#[cfg(test)]
mod tests;

use anyhow::Result;
use rayon::prelude::*;

pub use self::bars::Bars;

use self::bars::BarFinder;
use self::fade::Fade;
use crate::detail::{self, Part};
use crate::flow::{Carrier, Motion, Tracker};
use crate::frame::{Carried, Frame, mix};
use crate::kernels::Level;
use crate::noise_hold::NoiseHold;
use crate::scale::Scaler;
use crate::strokes::Strokes;

/// Changes of a pixel that are held back at full steadiness, of 255.
const TOLERANCE: f32 = 12.0;

/// Part of the carried painting that stays at full steadiness: more would freeze what moves.
const STAYS: f32 = 0.85;

/// Part that stays at [`USUAL`] steadiness. When detail was added everywhere alike, films of eight styles at
/// their own sizes flickered 0.50 times as much as plain models paint them, with 0.6 0.52 times
/// (training/README.md).
const STAYS_USUALLY: f32 = 0.72;

/// Short side from which on this much stays. In smaller pictures motion is shorter, and what stays costs
/// more of the style, since they differ more from pixel to pixel: down to [`LEAST`] of it stays there.
const LARGE: f32 = 400.0;
const LEAST: f32 = 0.85;

/// Gain of the painting's own detail where it was carried by half a pixel both ways, times
/// `stays * (1 - stays)`. It is remembered, so that it adds up: where carrying took less, less is added.
const STROKES: f32 = 1.15;

/// Gain of the source's detail there, times `stays * (1 - stays)`. Added at once instead of from frame to
/// frame, the noise of a camera shows.
const EDGES: f32 = 4.5;

/// Steadiness where the user says nothing; networks with memory are trained for it.
pub const USUAL: f32 = 0.5;

/// Pixels that are looked at at once, as nearly all are valid or none.
const RUN: usize = size_of::<u128>();

/// Rows that one task finishes: some 40 us of work at 640 pixels a row, and two that it mixes for their detail alone.
const ROWS: usize = 32;

/// Values that one task copies: some 10 us of work.
const SHARE: usize = 1 << 16;

/// Part of the carried painting that stays at steadiness `amount` in large pictures: nothing at 0,
/// [`STAYS_USUALLY`] at [`USUAL`] and [`STAYS`] at 1, ever more slowly (a parabola through the three would
/// fall again).
fn stays(amount: f32) -> f32 {
    let power = (1.0 - STAYS_USUALLY / STAYS).log(1.0 - USUAL);
    STAYS * (1.0 - (1.0 - amount).powf(power))
}

/// What is left of the last painting in the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Part of the carried painting that stays, in 1/256.
    pub stays: u16,
    /// The painting's own detail that is added then.
    pub strokes: Part,
    /// The frame's detail that is added then.
    pub edges: Part,
}

impl Keeps {
    /// For steadiness `amount`, in frames of a short side of `side` with `noise` (see [`detail::noise`]).
    fn new(amount: f32, side: usize, noise: f32) -> Self {
        let size = side as f32 / LARGE;
        let stays = stays(amount) * size.clamp(LEAST, 1.0);
        let [own, edges] = [STROKES, EDGES].map(|gain| gain * stays * (1.0 - stays));
        Self {
            stays: (stays * 256.0).round() as u16,
            strokes: Part::new(own, 0.0),
            edges: Part::new(edges, noise),
        }
    }
}

/// What is known of a frame of a film before it is painted. Keeps its memory from frame to frame.
#[derive(Default)]
pub struct Seen {
    shrunk: bool,
    small: Frame,
    steadied: bool,
    follows: bool,
    held: Frame,
    motion: Motion,
    keeps: Keeps,
    shown: f32,
    bars: Bars,
}

impl Seen {
    /// The frame at the size at which it is painted, where that is smaller than its own.
    pub fn small(&self) -> Option<&Frame> {
        self.shrunk.then_some(&self.small)
    }

    /// What to paint for the frame: without the noise of the camera. `None` where the frame, or
    /// the [small](Seen::small) one, is painted for itself, as it is.
    pub fn held(&self) -> Option<&Frame> {
        self.steadied.then_some(&self.held)
    }

    /// How much of the painting is to be shown, from 0 to 1: less where the film fades to black or white.
    pub fn shown(&self) -> f32 {
        match self.steadied {
            true => self.shown,
            false => 1.0,
        }
    }

    /// The black bars beside the picture, in pixels of the frame as it was looked at.
    pub fn bars(&self) -> Bars {
        match self.steadied {
            true => self.bars,
            false => Bars::default(),
        }
    }

    /// How the frame follows from the one before, and what stays of its painting. `None` for the first
    /// of a scene.
    pub fn follows(&self) -> Option<(&Motion, Keeps)> {
        self.follows.then_some((&self.motion, self.keeps))
    }
}

/// Watches the frames of a film, in their order.
#[derive(Default)]
pub struct Watcher {
    amount: f32,
    strokes: Strokes,
    scaler: Scaler,
    hold: NoiseHold,
    tracker: Tracker,
    fade: Fade,
    bars: BarFinder,
}

impl Watcher {
    /// For films that are to be as steady as `amount` says: from 0 (every frame for itself) to 1.
    pub fn new(amount: f32) -> Self {
        Self {
            amount,
            ..Self::default()
        }
    }

    /// Changes how steady the film is.
    pub fn set(&mut self, amount: f32) {
        self.amount = amount;
    }

    /// Changes how large strokes are; as the network paints them by default.
    pub fn set_strokes(&mut self, strokes: Strokes) {
        self.strokes = strokes;
    }

    /// Forgets the film: the next frame is the first of another.
    pub fn reset(&mut self) {
        self.tracker.reset();
        self.hold.reset();
    }

    /// Fills `seen` with what is known of `frame`, which comes after the one looked at before. Fails when it has
    /// fewer bytes than its size says.
    pub fn look(&mut self, frame: &Frame, seen: &mut Seen) -> Result<()> {
        let own = (frame.width, frame.height);
        let size = self.strokes.size(own);
        seen.shrunk = size != own;
        if seen.shrunk {
            self.scaler.run(frame, size, false, &mut seen.small)?;
        }
        let (whole, frame) = (frame, if seen.shrunk { &seen.small } else { frame });
        (seen.steadied, seen.follows) = (self.amount > 0.0, false);
        if !seen.steadied {
            self.reset();
            return Ok(());
        }
        let tolerance = (self.amount * TOLERANCE).round() as u8;
        let (hold, tracker) = (&mut self.hold, &mut self.tracker);
        let (held, motion) = (&mut seen.held, &mut seen.motion);
        let mut quieten = |hold: &mut NoiseHold| {
            hold.take(frame, tolerance, held);
            detail::noise(held)
        };
        let (mut noise, follows) = rayon::join(|| quieten(hold), || tracker.advance(frame, motion));
        if !follows {
            // Nothing of the scene before stays where both are alike by chance.
            hold.reset();
            noise = quieten(hold);
        }
        seen.follows = follows;
        seen.bars = self.bars.take(whole, follows);
        seen.shown = self.fade.shown(self.tracker.contrast(), follows);
        seen.keeps = Keeps::new(self.amount, frame.width.min(frame.height), noise);
        Ok(())
    }
}

/// Steadies the paintings of a film, for engines that do not do it themselves.
#[derive(Default)]
pub struct Steadier {
    carrier: Carrier,
    carried: Carried,
    /// The last painting; empty when there is none.
    last: Frame,
    bands: Vec<Band>,
}

impl Steadier {
    /// Forgets the film: the next painting is the first of another.
    pub fn reset(&mut self) {
        self.last.pixels.clear();
    }

    /// The last painting where it belongs in the frame that is `seen`.
    pub fn before(&mut self, seen: &Seen) -> Option<&Carried> {
        match seen.follows() {
            Some((motion, _)) if self.last.pixels.len() == seen.held.pixels.len() => {
                self.carrier.run(&self.last, motion, &mut self.carried);
                Some(&self.carried)
            }
            _ => {
                self.reset();
                None
            }
        }
    }

    /// Leaves some of the last painting in the new one, that of the frame `seen`, and remembers it.
    pub fn after(&mut self, seen: &Seen, painting: &mut Frame) {
        if self.last.pixels.is_empty() {
            self.last.shape_like(painting);
            copy(&painting.pixels, &mut self.last.pixels);
            return;
        }
        self.finish(painting, &seen.held, seen.keeps);
        copy(&self.last.pixels, &mut painting.pixels);
    }

    /// Fills the last painting with what becomes of `painting`, that of `held`.
    fn finish(&mut self, painting: &Frame, held: &Frame, keeps: Keeps) {
        let (line, height) = (3 * painting.width, painting.height);
        let (carrier, carried) = (&self.carrier, &self.carried);
        self.bands.resize_with(height.div_ceil(ROWS), Band::default);
        let bands = self.bands.par_iter_mut().enumerate();
        let finished = self.last.pixels.par_chunks_mut(line * ROWS);
        bands.zip(finished).for_each(|((i, band), finished)| {
            Level::detected().vectorize(
                #[inline(always)]
                || {
                    let mut next = (i * ROWS).saturating_sub(1);
                    for (y, finished) in (i * ROWS..).zip(finished.chunks_exact_mut(line)) {
                        let near = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
                        for y in next..=near[2] {
                            band.mix(y, painting, carried, keeps.stays);
                        }
                        next = near[2] + 1;
                        let mixed = near.map(|y| &band.mixed[y % 3][..]);
                        let held = near.map(|y| &held.pixels[y * line..][..line]);
                        let (own, blur) = (&mut band.own, carrier.blur(y));
                        own.resize(line, 0);
                        detail::add(mixed[1], mixed, keeps.strokes, blur, own);
                        detail::add(own, held, keeps.edges, blur, finished);
                        let valid = &carried.valid[y * painting.width..][..painting.width];
                        restore_invalid(mixed[1], valid, finished);
                    }
                },
            );
        });
    }
}

/// What a task remembers while it finishes its rows.
#[derive(Default)]
struct Band {
    /// The last three rows in which some of the last painting stays, each in the place that its number tells.
    mixed: [Vec<u8>; 3],
    /// A row with its own detail.
    own: Vec<u8>,
}

impl Band {
    /// Leaves some of the `carried` painting in row `y`, where it is valid.
    #[inline(always)]
    fn mix(&mut self, y: usize, painting: &Frame, carried: &Carried, weight: u16) {
        let (width, mixed) = (painting.width, &mut self.mixed[y % 3]);
        let row = 3 * width * y..3 * width * (y + 1);
        mixed.clear();
        mixed.extend_from_slice(&painting.pixels[row.clone()]);
        mix(mixed, &carried.pixels[row.clone()], weight);
        let valid = &carried.valid[width * y..][..width];
        restore_invalid(&painting.pixels[row], valid, mixed);
    }
}

/// Copies on every core.
fn copy(from: &[u8], to: &mut [u8]) {
    let shares = from.par_chunks(SHARE).zip(to.par_chunks_mut(SHARE));
    shares.for_each(|(from, to)| to.copy_from_slice(from));
}

/// Pixels of a row that are not valid are as they were `painted`.
#[inline(always)]
fn restore_invalid(painted: &[u8], valid: &[u8], pixels: &mut [u8]) {
    let runs = pixels.chunks_mut(3 * RUN).zip(painted.chunks(3 * RUN));
    for ((pixels, painted), valid) in runs.zip(valid.chunks(RUN)) {
        match valid.try_into().map(u128::from_ne_bytes) {
            Ok(u128::MAX) => {}
            Ok(0) => pixels.copy_from_slice(painted),
            _ => {
                let pixels = pixels.as_chunks_mut::<3>().0.iter_mut();
                let pixels = pixels.zip(painted.as_chunks::<3>().0).zip(valid);
                for ((pixel, painted), valid) in pixels {
                    *pixel = if *valid == 0 { *painted } else { *pixel };
                }
            }
        }
    }
}
