//! Steadiness of a film: what is held back before a frame is painted, and what stays of the last
//! painting afterwards.
//!
//! Three means, each for what the others cannot do: the noise of the camera is held back (a network
//! turns it into strokes that swim), a network with memory is shown its last painting carried along
//! the motion, and some of that stays, which helps models without memory too. Two paintings never
//! agree quite, so that their mean is blurred: what stays costs strokes, which are sharpened again.

use rayon::prelude::*;

use crate::flow::Tracker;
use crate::frame::{Carried, Frame};
use crate::noise_hold::NoiseHold;

/// Changes of a pixel that are held back at full steadiness, of 255.
const TOLERANCE: f32 = 12.0;

/// Part of the carried painting that stays at full steadiness: more would freeze what moves.
const STAYS: f32 = 0.85;

/// Part that stays at [`USUAL`] steadiness. With 0.4 and no sharpening, films of eight styles flickered
/// by 11 % more, with 1.3 % more style loss and 0.3 % less content loss.
const STAYS_USUALLY: f32 = 0.6;

/// How much of the difference to its surroundings a pixel gains for each part that stays.
const SHARPENING: f32 = 0.25;

/// The gain with which a difference, which comes in 16ths, would count once in the high half of a
/// product.
const GAIN_OF_ONE: f32 = 4096.0;

/// Steadiness where the user says nothing; networks with memory are trained for it.
pub const USUAL: f32 = 0.5;

/// Pixels that are mixed at once where all are valid, as nearly all are.
const RUN: usize = 16;

/// Pixels that one task mixes: some 20 us of work.
const SHARE: usize = 1 << 14;

/// Part of the carried painting that stays at steadiness `amount`: the parabola through nothing at
/// 0, [`STAYS_USUALLY`] at one half and [`STAYS`] at 1.
fn stays(amount: f32) -> f32 {
    amount * ((4.0 * STAYS_USUALLY - STAYS) + amount * (2.0 * STAYS - 4.0 * STAYS_USUALLY))
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
        let stays = stays(self.amount);
        let weight = (stays * 256.0).round() as u16;
        let new = painting.pixels.par_chunks_mut(3 * SHARE);
        let old = self.carried.pixels.par_chunks(3 * SHARE);
        let valid = self.carried.valid.par_chunks(SHARE);
        new.zip(old)
            .zip(valid)
            .for_each(|((new, old), valid)| mix_valid(new, old, valid, weight));

        let (width, height) = (painting.width, painting.height);
        let row = |y: usize| &painting.pixels[3 * width * y..][..3 * width];
        let gain = (stays * SHARPENING * GAIN_OF_ONE).round() as i16;
        let sharp = self.last.pixels.par_chunks_exact_mut(3 * width);
        let valid = self.carried.valid.par_chunks_exact(width);
        sharp
            .zip(valid)
            .enumerate()
            .for_each(|(y, (sharp, valid))| {
                let (above, below) = (row(y.saturating_sub(1)), row((y + 1).min(height - 1)));
                sharpen([above, row(y), below], gain, sharp);
                restore_invalid(row(y), valid, sharp);
            });
        self.last.shape_like(painting);
        painting.pixels.copy_from_slice(&self.last.pixels);
    }
}

/// Writes the pixels of a row (RGB) moved away from the mean of their 3x3 neighbours (weighted 1, 2, 1
/// each way; the picture's edges repeat) by `gain`, in parts of [`GAIN_OF_ONE`].
fn sharpen([above, row, below]: [&[u8]; 3], gain: i16, sharp: &mut [u8]) {
    let round = (32768 / i32::from(gain.max(2))) as i16;
    let column = |a: u8, m: u8, b: u8| i16::from(a) + 2 * i16::from(m) + i16::from(b);
    let sharpened = |left: i16, middle: i16, right: i16, value: u8| {
        let difference = 16 * i16::from(value) - (left + 2 * middle + right); // within 4080
        let gained = (i32::from(difference + round) * i32::from(gain)) >> 16;
        (i16::from(value) + gained as i16).clamp(0, 255) as u8
    };
    let end = row.len();
    let at = |i: usize| column(above[i], row[i], below[i]);
    for i in (0..end.min(3)).chain(end.saturating_sub(3)..end) {
        let (left, right) = (
            if i < 3 { i } else { i - 3 },
            if i + 3 < end { i + 3 } else { i },
        );
        sharp[i] = sharpened(at(left), at(i), at(right), row[i]);
    }
    // Slices of one length, so that the loop needs no checks and runs 16 values at a time.
    let inner = end.saturating_sub(6);
    if inner == 0 {
        return;
    }
    let [a0, a1, a2] = thirds(above, inner);
    let [m0, m1, m2] = thirds(row, inner);
    let [b0, b1, b2] = thirds(below, inner);
    for (i, sharp) in sharp[3..].iter_mut().take(inner).enumerate() {
        let left = column(a0[i], m0[i], b0[i]);
        let middle = column(a1[i], m1[i], b1[i]);
        let right = column(a2[i], m2[i], b2[i]);
        *sharp = sharpened(left, middle, right, m1[i]);
    }
}

/// `row` from its first, second and third pixel on, `length` values of each.
fn thirds(row: &[u8], length: usize) -> [&[u8]; 3] {
    [0, 3, 6].map(|from| &row[from..][..length])
}

/// Pixels in which nothing stayed are as they were painted.
fn restore_invalid(painted: &[u8], valid: &[u8], sharp: &mut [u8]) {
    let pixels = sharp.chunks_mut(3 * RUN).zip(painted.chunks(3 * RUN));
    for ((sharp, painted), valid) in pixels.zip(valid.chunks(RUN)) {
        if valid.iter().all(|&valid| valid != 0) {
            continue;
        }
        let pixels = sharp.chunks_exact_mut(3).zip(painted.chunks_exact(3));
        for ((sharp, painted), _) in pixels.zip(valid).filter(|(_, valid)| **valid == 0) {
            sharp.copy_from_slice(painted);
        }
    }
}

/// Moves the pixels of `new` towards those of `old` that are valid.
fn mix_valid(new: &mut [u8], old: &[u8], valid: &[u8], weight: u16) {
    let pixels = new.chunks_mut(3 * RUN).zip(old.chunks(3 * RUN));
    for ((new, old), valid) in pixels.zip(valid.chunks(RUN)) {
        if valid.iter().all(|&valid| valid != 0) {
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

    fn frame(pixel: impl Fn(usize, usize) -> u8) -> Frame {
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
    fn sharpening_adds_the_difference_to_the_neighbours() {
        let (width, height) = (21, 7);
        let value = |x: usize, y: usize, c: usize| ((x * 37 + y * 59 + c * 101) * 7 % 256) as u8;
        let rows: Vec<Vec<u8>> = (0..height)
            .map(|y| (0..3 * width).map(|i| value(i / 3, y, i % 3)).collect())
            .collect();
        for k in [0.0f32, 0.15, 0.4] {
            for y in 0..height {
                let (up, down) = (y.saturating_sub(1), (y + 1).min(height - 1));
                let mut sharp = vec![0; 3 * width];
                let gain = (k * GAIN_OF_ONE).round() as i16;
                sharpen([&rows[up], &rows[y], &rows[down]], gain, &mut sharp);
                for (i, sharp) in sharp.iter().enumerate() {
                    let (x, c) = (i / 3, i % 3);
                    let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
                    let line = |x: usize| {
                        let of = |y: usize| f32::from(value(x, y, c));
                        of(up) + 2.0 * of(y) + of(down)
                    };
                    let mean = (line(left) + 2.0 * line(x) + line(right)) / 16.0;
                    let own = f32::from(value(x, y, c));
                    let expected = (own + k * (own - mean)).clamp(0.0, 255.0);
                    let away = (f32::from(*sharp) - expected).abs();
                    assert!(away < 0.6, "{x}, {y}: {sharp}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn narrow_pictures_are_sharpened_too() {
        for width in [1, 2, 3] {
            let row: Vec<u8> = (0..3 * width).map(|i| (i * 20) as u8).collect();
            let mut sharp = vec![9; 3 * width];
            sharpen([&row, &row, &row], 600, &mut sharp);
            assert!(sharp[0] <= row[0] && sharp[3 * width - 1] >= row[3 * width - 1]);
        }
    }

    #[test]
    fn where_nothing_stays_nothing_is_sharpened() {
        let painted: Vec<u8> = (0..3 * 40).map(|i| i as u8).collect();
        let mut sharp = vec![7; 3 * 40];
        let valid: Vec<u8> = (0..40).map(|i| if i == 20 { 0 } else { 255 }).collect();
        restore_invalid(&painted, &valid, &mut sharp);
        assert_eq!(sharp[60..63], painted[60..63]);
        assert!(
            sharp[..60]
                .iter()
                .chain(&sharp[63..])
                .all(|value| *value == 7)
        );
    }

    #[test]
    fn what_stays_rises_with_steadiness() {
        let steps: Vec<f32> = (0..=10).map(|i| stays(i as f32 / 10.0)).collect();
        assert_eq!(steps[0], 0.0);
        assert!((steps[5] - STAYS_USUALLY).abs() < 1e-6 && (steps[10] - STAYS).abs() < 1e-6);
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
