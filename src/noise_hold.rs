//! Steadiness for live pictures: a pixel keeps its value until it changes by more than noise does.
//!
//! Networks turn the noise of a camera into strokes that swim; a picture that holds still is
//! painted the same again. It costs one pass over the pixels and leaves edges sharp.

use rayon::prelude::*;

use crate::frame::Frame;

/// Frames after which a held pixel takes its new value anyway, each pixel at its own time, so that
/// slow changes of light leave no ghosts.
const LONGEST: usize = 32;

/// Pixels that are left alone at once where none of them changed by more than noise.
const RUN: usize = 16;

/// Rows that one task looks at: some 20 us of work.
const BAND: usize = 32;

/// Holds back the noise of a sequence of frames.
#[derive(Default)]
pub struct NoiseHold {
    held: Frame,
}

impl NoiseHold {
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
        let line = frame.width * 3;
        let held = self.held.pixels.par_chunks_mut(line * BAND);
        let bands = held.zip(quiet.pixels.par_chunks_mut(line * BAND));
        bands.enumerate().for_each(|(band, (held, quiet))| {
            for (row, held) in held.chunks_exact_mut(line).enumerate() {
                let y = band * BAND + row;
                // Every row lets go of one column in LONGEST, another one in each frame and row.
                let due = (frame.index.wrapping_add(y as u64 * 7) % LONGEST as u64) as usize;
                hold(held, &frame.pixels[y * line..][..line], tolerance, due);
            }
            quiet.copy_from_slice(held);
        });
    }
}

/// One row; the column `due` and those LONGEST after it take their new values anyway.
fn hold(held: &mut [u8], new: &[u8], tolerance: u8, due: usize) {
    for (held, new) in held.chunks_mut(3 * RUN).zip(new.chunks(3 * RUN)) {
        let mut farthest = 0;
        for (held, new) in held.iter().zip(new) {
            farthest = farthest.max(held.abs_diff(*new));
        }
        if farthest <= tolerance {
            continue;
        }
        for (held, new) in held.chunks_exact_mut(3).zip(new.chunks_exact(3)) {
            let quiet = (new[0].abs_diff(held[0]) <= tolerance)
                & (new[1].abs_diff(held[1]) <= tolerance)
                & (new[2].abs_diff(held[2]) <= tolerance);
            if !quiet {
                held.copy_from_slice(new);
            }
        }
    }
    let held = held.chunks_exact_mut(3).skip(due).step_by(LONGEST);
    for (held, new) in held.zip(new.chunks_exact(3).skip(due).step_by(LONGEST)) {
        held.copy_from_slice(new);
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
    fn tolerance_zero_holds_nothing() {
        let (mut hold, mut quiet) = (NoiseHold::default(), Frame::default());
        hold.take(&flat(0, 100), 6, &mut quiet);
        hold.take(&flat(1, 101), 0, &mut quiet);
        assert_eq!(quiet, flat(1, 101));
    }
}
