//! Steadiness of a film: what is held back before a frame is painted, and what stays of the last
//! painting afterwards.
//!
//! Three means, each for what the others cannot do: the noise of the camera is held back (a network
//! turns it into strokes that swim), a network with memory is shown its last painting carried along
//! the motion, and some of that stays, which helps models without memory too. Two paintings never
//! agree quite, so that their mean is blurred, and gets its detail back.

use rayon::prelude::*;

use crate::detail;
use crate::flow::Tracker;
use crate::frame::{Carried, Frame};
use crate::noise_hold::NoiseHold;

/// Changes of a pixel that are held back at full steadiness, of 255.
const TOLERANCE: f32 = 12.0;

/// Part of the carried painting that stays at full steadiness: more would freeze what moves.
const STAYS: f32 = 0.85;

/// Part that stays at [`USUAL`] steadiness. With the gains below, films of eight styles at their own sizes
/// flicker 0.50 times as much as plain models paint them, with 4 % more style loss and 4 % less content loss
/// (training/README.md); with 0.6 they flickered 0.52 times as much.
const STAYS_USUALLY: f32 = 0.72;

/// Short side from which on this much stays. In smaller pictures motion is shorter, and what stays costs
/// more of the style, since they differ more from pixel to pixel: down to [`LEAST`] of it stays there.
const LARGE: f32 = 400.0;
const LEAST: f32 = 0.85;

/// Gain of the painting's own detail, times `stays * (1 - stays)`. Detail is remembered, so that it adds up
/// where nothing moves: `stays * (1 + gain)` has to remain below 1.
const STROKES: f32 = 0.75;

/// The painting's own detail (of 255) that gets no more: where nothing moves, the contrast of what is as fine
/// as pixels would double, which is checkers and hard edges, hardly strokes.
const MOST_STROKES: f32 = 40.0;

/// Gain of the source's detail, times `stays * (1 - stays)`. Added at once instead of from frame to frame,
/// the noise of a camera shows.
const EDGES: f32 = 2.9;

/// Steadiness where the user says nothing; networks with memory are trained for it.
pub const USUAL: f32 = 0.5;

/// Pixels that are mixed at once where all are valid, as nearly all are.
const RUN: usize = 16;

/// Pixels that one task mixes: some 20 us of work.
const SHARE: usize = 1 << 14;

/// Part of the carried painting that stays at steadiness `amount` in large pictures: nothing at 0,
/// [`STAYS_USUALLY`] at [`USUAL`] and [`STAYS`] at 1, ever more slowly (a parabola through the three would
/// fall again).
fn stays(amount: f32) -> f32 {
    let power = (1.0 - STAYS_USUALLY / STAYS).log(1.0 - USUAL);
    STAYS * (1.0 - (1.0 - amount).powf(power))
}

/// What is remembered from one frame of a film to the next.
#[derive(Default)]
pub struct Steadiness {
    amount: f32,
    hold: NoiseHold,
    tracker: Tracker,
    carried: Carried,
    /// The last painting; empty when there is none.
    last: Frame,
}

impl Steadiness {
    /// Changes how steady the film is: from 0 (every frame for itself) to 1.
    pub fn set(&mut self, amount: f32) {
        self.amount = amount;
    }

    /// Forgets the film: the next frame is the first of another.
    pub fn reset(&mut self) {
        self.tracker.reset();
        self.last.pixels.clear();
    }

    /// What to paint for `input`, and the last painting where it belongs in it.
    pub fn before<'a>(&'a mut self, input: &'a Frame) -> (&'a Frame, Option<&'a Carried>) {
        if self.amount <= 0.0 {
            self.reset();
            return (input, None);
        }
        let tolerance = (self.amount * TOLERANCE).round() as u8;
        let (hold, tracker) = (&mut self.hold, &mut self.tracker);
        let ((), tracked) = rayon::join(|| hold.take(input, tolerance), || tracker.advance(input));
        if !tracked || self.last.pixels.len() != input.pixels.len() {
            self.last.pixels.clear();
            return (self.hold.held(), None);
        }
        self.tracker.carry(&self.last, &mut self.carried);
        (self.hold.held(), Some(&self.carried))
    }

    /// Leaves some of the last painting in the new one, and remembers it.
    pub fn after(&mut self, painting: &mut Frame) {
        if self.amount <= 0.0 {
            return;
        }
        if self.last.pixels.len() != painting.pixels.len() {
            self.last.shape_like(painting);
            self.last.pixels.copy_from_slice(&painting.pixels);
            return;
        }
        let size = painting.width.min(painting.height) as f32 / LARGE;
        let stays = stays(self.amount) * size.clamp(LEAST, 1.0);
        let weight = (stays * 256.0).round() as u16;
        let new = painting.pixels.par_chunks_mut(3 * SHARE);
        let old = self.carried.pixels.par_chunks(3 * SHARE);
        let valid = self.carried.valid.par_chunks(SHARE);
        new.zip(old)
            .zip(valid)
            .for_each(|((new, old), valid)| mix_valid(new, old, valid, weight));

        let valid = &self.carried.valid;
        let source = self.hold.held();
        let noise = detail::noise(source);
        let [own, edges] = [STROKES, EDGES].map(|gain| gain * stays * (1.0 - stays));
        let strokes = 0.0..=MOST_STROKES;
        detail::add(painting, painting, own, strokes, valid, &mut self.last);
        detail::add(&self.last, source, edges, noise..=255.0, valid, painting);
        self.last.pixels.copy_from_slice(&painting.pixels);
    }
}

/// Moves the pixels of `new` towards those of `old` that are valid.
fn mix_valid(new: &mut [u8], old: &[u8], valid: &[u8], weight: u16) {
    let pixels = new.chunks_mut(3 * RUN).zip(old.chunks(3 * RUN));
    for ((new, old), valid) in pixels.zip(valid.chunks(RUN)) {
        if valid.iter().fold(255, |all, &valid| all & valid) != 0 {
            mix(new, old, weight);
            continue;
        }
        let pixels = new.chunks_exact_mut(3).zip(old.chunks_exact(3));
        for ((new, old), _) in pixels.zip(valid).filter(|(_, valid)| **valid != 0) {
            mix(new, old, weight);
        }
    }
}

/// Moves `new` towards `old` by `weight`, in 1/256.
#[inline(always)]
fn mix(new: &mut [u8], old: &[u8], weight: u16) {
    for (new, &old) in new.iter_mut().zip(old) {
        let sum = u16::from(*new) * (256 - weight) + u16::from(old) * weight + 128;
        *new = (sum >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(mut pixel: impl FnMut(usize, usize) -> u8) -> Frame {
        let mut frame = Frame::new(96, 64);
        for (i, pixels) in frame.pixels.chunks_exact_mut(3).enumerate() {
            pixels.fill(pixel(i % 96, i / 96));
        }
        frame
    }

    fn scene(shift: usize) -> Frame {
        frame(|x, y| {
            let (x, y) = ((x + shift) as f32, y as f32);
            (128.0 + 60.0 * (x * 0.21).sin() + 50.0 * (y * 0.17 + x * 0.05).cos()) as u8
        })
    }

    #[test]
    fn the_first_frame_and_the_first_after_a_cut_see_no_last_painting() {
        let mut film = Steadiness::default();
        film.set(1.0);
        let first = scene(0);
        let (held, last) = film.before(&first);
        assert_eq!((held, last), (&first, None));
        film.after(&mut frame(|_, _| 10));
        assert!(film.before(&scene(1)).1.is_some());
        film.after(&mut frame(|_, _| 10));
        let cut = frame(|x, y| if (x / 3 + y / 5) % 2 == 0 { 5 } else { 250 });
        assert!(film.before(&cut).1.is_none());
        let mut painting = frame(|_, _| 200);
        film.after(&mut painting);
        assert_eq!(
            painting,
            frame(|_, _| 200),
            "nothing of another scene stays"
        );
    }

    #[test]
    fn more_of_the_last_painting_stays_in_a_steadier_film() {
        let stays = |amount: f32| {
            let mut film = Steadiness::default();
            film.set(amount);
            for value in [100, 200] {
                film.before(&scene(0));
                let mut painting = frame(|_, _| value);
                film.after(&mut painting);
                if value == 200 {
                    return painting.pixels[96 * 32 * 3 + 48 * 3];
                }
            }
            unreachable!()
        };
        assert_eq!(stays(0.0), 200);
        assert!(
            stays(0.5) < 200 && stays(1.0) < stays(0.5),
            "{}",
            stays(0.5)
        );
        assert!(stays(1.0) > 100);
    }

    #[test]
    fn a_forgotten_film_begins_anew() {
        let mut film = Steadiness::default();
        film.set(0.5);
        film.before(&scene(0));
        film.after(&mut frame(|_, _| 10));
        film.reset();
        assert!(film.before(&scene(0)).1.is_none());
    }

    #[test]
    fn edges_of_the_source_are_lent_and_its_noise_is_not() {
        let mut state = 1u32;
        let mut shown = |edge: u8, noise: u32| {
            let mut film = Steadiness::default();
            film.set(0.5);
            let mut painting = Frame::default();
            for _ in 0..10 {
                let source = frame(|x, _| {
                    state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                    let noise = (((state >> 16) * noise) >> 16) as u8;
                    100 + noise + if x / 16 % 2 == 0 { edge } else { 0 }
                });
                film.before(&source);
                painting = frame(|_, _| 100);
                film.after(&mut painting);
            }
            let furthest = painting.pixels.iter().map(|value| value.abs_diff(100));
            furthest.max().unwrap()
        };
        assert!(shown(60, 0) > 10, "{}", shown(60, 0));
        assert!(shown(0, 30) < 3, "{}", shown(0, 30));
    }

    #[test]
    fn what_stands_still_is_not_sharpened_without_end() {
        for amount in [0.5, 1.0] {
            let mut film = Steadiness::default();
            film.set(amount);
            let scene = frame(|_, _| 90);
            let board = frame(|x, y| if (x + y) % 2 == 0 { 78 } else { 178 });
            let [mut painting, mut before] = [board.clone(), board.clone()];
            for _ in 0..100 {
                film.before(&scene);
                before.pixels.copy_from_slice(&painting.pixels);
                painting.pixels.copy_from_slice(&board.pixels);
                film.after(&mut painting);
            }
            assert_eq!(painting, before, "steadiness {amount}");
            let brightest = painting.pixels.iter().max().copied();
            assert!(
                brightest > Some(183) && brightest < Some(208),
                "{brightest:?}"
            );
        }
    }

    #[test]
    fn what_stays_rises_with_steadiness() {
        let steps: Vec<f32> = (0..=10).map(|i| stays(i as f32 / 10.0)).collect();
        assert_eq!(steps[0], 0.0);
        assert!((steps[5] - STAYS_USUALLY).abs() < 1e-6 && (steps[10] - STAYS).abs() < 1e-6);
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
