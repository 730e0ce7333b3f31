//! Steadiness of what stands still: a pixel keeps its value until it changes by more than noise does.
//!
//! Networks turn the noise of a camera into strokes that swim; a picture that holds still is
//! painted the same again. It costs one pass over the pixels and leaves edges sharp.

use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernels::Level;

/// Frames after which a held pixel takes its new value anyway, each pixel at its own time, so that
/// slow changes of light leave no ghosts.
const LONGEST: usize = 32;

/// Values of pixels that are left alone at once where none of them changed by more than noise.
const RUN: usize = 192;

/// All bits of the values in a run that are the first of their pixels, and the last.
const FIRST: [u8; RUN] = every_third(0);
const LAST: [u8; RUN] = every_third(2);

const fn every_third(from: usize) -> [u8; RUN] {
    let (mut bits, mut i) = ([0; RUN], from);
    while i < RUN {
        bits[i] = 255;
        i += 3;
    }
    bits
}

/// Rows that one task looks at: some 20 us of work.
const BAND: usize = 32;

/// Holds back the noise of a sequence of frames.
#[derive(Default)]
pub struct NoiseHold {
    held: Frame,
    /// Frames so far; their numbers leave some out where a camera is faster than the painter.
    frames: usize,
}

impl NoiseHold {
    /// Forgets the sequence: the next frame begins anew.
    pub fn reset(&mut self) {
        self.held.width = 0; // no frame is as narrow
    }

    /// Writes the next frame into `quiet`, where pixels keep the value they had there before when no
    /// channel differs by more than `tolerance` (of 255). A frame of another size, or a tolerance of 0,
    /// begins anew. The work is shared among the threads of the current pool.
    pub fn take(&mut self, frame: &Frame, tolerance: u8, quiet: &mut Frame) {
        let begins = (frame.width, frame.height) != (self.held.width, self.held.height);
        self.held.shape_like(frame);
        quiet.shape_like(frame);
        if tolerance == 0 || begins {
            self.held.pixels.copy_from_slice(&frame.pixels);
            quiet.pixels.copy_from_slice(&frame.pixels);
            return;
        }
        self.frames = self.frames.wrapping_add(1);
        let frames = self.frames;
        let level = Level::detected();
        let line = frame.width * 3;
        let held = self.held.pixels.par_chunks_mut(line * BAND);
        let bands = held.zip(quiet.pixels.par_chunks_mut(line * BAND));
        bands.enumerate().for_each(|(band, (held, quiet))| {
            let rows = held
                .chunks_exact_mut(line)
                .zip(quiet.chunks_exact_mut(line));
            for (row, (held, quiet)) in rows.enumerate() {
                let y = band * BAND + row;
                // Every row lets go of one column in LONGEST, another one in each frame and row.
                let due = frames.wrapping_add(7 * y) % LONGEST;
                level.vectorize(
                    #[inline(always)]
                    || hold(held, &frame.pixels[y * line..][..line], tolerance, due),
                );
                quiet.copy_from_slice(held);
            }
        });
    }
}

/// One row; the column `due` and those LONGEST after it take their new values anyway.
#[inline(always)]
fn hold(held: &mut [u8], new: &[u8], tolerance: u8, due: usize) {
    let (runs, rest) = held.as_chunks_mut();
    let (new_runs, new_rest) = new.as_chunks();
    for (held, new) in runs.iter_mut().zip(new_runs) {
        hold_run(held, new, tolerance);
    }
    let (mut last, mut new_last) = ([0; RUN], [0; RUN]);
    last[..rest.len()].copy_from_slice(rest);
    new_last[..rest.len()].copy_from_slice(new_rest);
    hold_run(&mut last, &new_last, tolerance);
    rest.copy_from_slice(&last[..rest.len()]);
    let held = held.chunks_exact_mut(3).skip(due).step_by(LONGEST);
    for (held, new) in held.zip(new.chunks_exact(3).skip(due).step_by(LONGEST)) {
        held.copy_from_slice(new);
    }
}

/// Whole pixels, without branches between them, so that many values are computed at once.
#[inline(always)]
fn hold_run(held: &mut [u8; RUN], new: &[u8; RUN], tolerance: u8) {
    // All bits of those that move; none of the two before and behind.
    let (mut moves, mut any) = ([0; 2 + RUN + 2], 0);
    for i in 0..RUN {
        moves[2 + i] = u8::from(held[i].abs_diff(new[i]) > tolerance).wrapping_neg();
        any |= moves[2 + i];
    }
    if any == 0 {
        return;
    }
    let mut pixels = [0; RUN];
    for i in 0..RUN {
        let before = (moves[i + 1] & !FIRST[i]) | (moves[i] & LAST[i]);
        let behind = (moves[i + 3] & !LAST[i]) | (moves[i + 4] & FIRST[i]);
        pixels[i] = before | moves[i + 2] | behind;
    }
    for i in 0..RUN {
        held[i] = (new[i] & pixels[i]) | (held[i] & !pixels[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(index: u64, value: u8) -> Frame {
        let mut frame = Frame::new(64, 4);
        frame.pixels.fill(value);
        frame.index = index;
        frame
    }

    #[test]
    fn noise_is_held_and_motion_passes() {
        let (mut hold, mut quiet) = (NoiseHold::default(), Frame::default());
        hold.take(&flat(0, 100), 6, &mut quiet);
        let mut noisy = flat(1, 106);
        noisy.pixels[..3].copy_from_slice(&[106, 120, 106]);
        hold.take(&noisy, 6, &mut quiet);
        let pixels = &quiet.pixels;
        assert_eq!(pixels[..3], [106, 120, 106], "motion");
        assert_eq!(pixels[6..9], [100; 3], "beside what moves");
        let held = pixels.iter().filter(|&&v| v == 100).count();
        assert!(held > pixels.len() * 9 / 10, "{held} values held");
        assert_eq!((quiet.index, quiet.width), (1, 64));
    }

    #[test]
    fn a_slow_change_arrives_within_a_second() {
        let (mut hold, mut quiet) = (NoiseHold::default(), Frame::default());
        hold.take(&flat(0, 100), 6, &mut quiet);
        for index in 1..=LONGEST as u64 {
            hold.take(&flat(index, 104), 6, &mut quiet);
        }
        assert!(quiet.pixels.iter().all(|&v| v == 104));
    }

    #[test]
    fn a_pixel_moves_when_one_of_its_channels_does() {
        let mut state = 1u32;
        let mut noise = |frame: &mut Frame| {
            for value in &mut frame.pixels {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = 100 + (state >> 24) as u8 % 9;
            }
        };
        for width in [1, 15, 16, 17, 101] {
            let (mut hold, mut quiet) = (NoiseHold::default(), Frame::default());
            let [mut first, mut second] = [Frame::new(width, 40), Frame::new(width, 40)];
            noise(&mut first);
            noise(&mut second);
            second.index = 1;
            hold.take(&first, 6, &mut quiet);
            hold.take(&second, 6, &mut quiet);
            let pixel = |frame: &Frame, i: usize| [0, 1, 2].map(|c| frame.pixels[3 * i + c]);
            for i in 0..width * 40 {
                let (old, new) = (pixel(&first, i), pixel(&second, i));
                let moves = (0..3).any(|c| old[c].abs_diff(new[c]) > 6);
                let due = (1 + i / width * 7) % LONGEST == i % width % LONGEST;
                let expected = if moves || due { new } else { old };
                assert_eq!(pixel(&quiet, i), expected, "{width} wide, pixel {i}");
            }
        }
    }

    #[test]
    fn tolerance_zero_holds_nothing() {
        let (mut hold, mut quiet) = (NoiseHold::default(), Frame::default());
        hold.take(&flat(0, 100), 6, &mut quiet);
        hold.take(&flat(1, 101), 0, &mut quiet);
        assert_eq!(quiet, flat(1, 101));
    }
}
