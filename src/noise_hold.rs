//! Steadiness for live pictures: a pixel keeps its value until it changes by more than noise does.
//!
//! Networks turn the noise of a camera into strokes that swim; a picture that holds still is
//! painted the same again. It costs one pass over the pixels and leaves edges sharp.

use crate::frame::Frame;

/// Frames after which a held pixel takes its new value anyway, each pixel at its own time, so that
/// slow changes of light leave no ghosts.
const LONGEST: u64 = 32;

/// Holds back the noise of a sequence of frames.
#[derive(Default)]
pub struct NoiseHold {
    held: Frame,
}

impl NoiseHold {
    /// Replaces pixels of `frame` by those shown last where no channel differs by more than
    /// `tolerance` (of 255). A frame of another size, or a tolerance of 0, begins anew.
    pub fn apply(&mut self, frame: &mut Frame, tolerance: u8) {
        if tolerance == 0 || (frame.width, frame.height) != (self.held.width, self.held.height) {
            self.held.shape_like(frame);
            self.held.pixels.copy_from_slice(&frame.pixels);
            return;
        }
        let index = frame.index;
        let width = frame.width;
        let rows = frame.pixels.chunks_exact_mut(width * 3);
        for (y, (row, held)) in rows
            .zip(self.held.pixels.chunks_exact_mut(width * 3))
            .enumerate()
        {
            // Every row lets go of one column in LONGEST, another one in each frame and row.
            let due = (index.wrapping_add(y as u64 * 7) % LONGEST) as usize;
            let pixels = row.chunks_exact_mut(3).zip(held.chunks_exact_mut(3));
            for (x, (pixel, held)) in pixels.enumerate() {
                let quiet = (pixel[0].abs_diff(held[0]) <= tolerance)
                    & (pixel[1].abs_diff(held[1]) <= tolerance)
                    & (pixel[2].abs_diff(held[2]) <= tolerance);
                if quiet && x % LONGEST as usize != due {
                    pixel.copy_from_slice(held);
                } else {
                    held.copy_from_slice(pixel);
                }
            }
        }
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
        let mut hold = NoiseHold::default();
        hold.apply(&mut flat(0, 100), 6);
        let mut noisy = flat(1, 106);
        noisy.pixels[..3].copy_from_slice(&[106, 120, 106]);
        hold.apply(&mut noisy, 6);
        assert_eq!(noisy.pixels[..3], [106, 120, 106], "motion");
        let held = noisy.pixels.iter().filter(|&&v| v == 100).count();
        assert!(held > noisy.pixels.len() * 9 / 10, "{held} values held");
    }

    #[test]
    fn a_slow_change_arrives_within_a_second() {
        let mut hold = NoiseHold::default();
        hold.apply(&mut flat(0, 100), 6);
        let mut frame = Frame::default();
        for index in 1..=LONGEST {
            frame = flat(index, 104);
            hold.apply(&mut frame, 6);
        }
        assert!(hold.held.pixels.iter().all(|&v| v == 104));
        assert_eq!(frame.width, 64);
    }

    #[test]
    fn tolerance_zero_changes_nothing() {
        let mut hold = NoiseHold::default();
        hold.apply(&mut flat(0, 100), 6);
        let mut frame = flat(1, 101);
        hold.apply(&mut frame, 0);
        assert_eq!(frame, flat(1, 101));
    }
}
