//! Turning stored pictures upright, as the display matrix of a file says.

use rayon::prelude::*;

use crate::frame::Frame;

/// Rows that one task fills with columns: one row by itself would read every line of the cache that the
/// stored picture takes (3840x2160 in 60 ms instead of 18 on one core, 12 on two).
const BAND: usize = 64;

/// How stored rows become an upright picture: exchange x and y, then mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Whether rows become columns.
    pub transpose: bool,
    mirror_x: bool,
    mirror_y: bool,
}

impl Turn {
    /// From FFmpeg's display matrix: nine 32-bit values (a b u c d v x y w) that take a stored
    /// point (p, q) to (a p + c q, b p + d q). Turns by other than right angles go to the nearest.
    pub fn from_matrix(bytes: &[u8]) -> Self {
        let value = |i: usize| match bytes.get(i * 4..i * 4 + 4) {
            Some(four) => i64::from(i32::from_ne_bytes([four[0], four[1], four[2], four[3]])),
            None => 0,
        };
        let (a, b, c, d) = (value(0), value(1), value(3), value(4));
        if a.abs() >= b.abs() {
            Self {
                transpose: false,
                mirror_x: a < 0,
                mirror_y: d < 0,
            }
        } else {
            Self {
                transpose: true,
                mirror_x: c < 0,
                mirror_y: b < 0,
            }
        }
    }

    /// Copies RGB pixels in rows of `stride` bytes into `to`, turned; `to` has the upright size.
    pub fn copy(self, data: &[u8], stride: usize, to: &mut Frame) {
        let (width, height) = (to.width, to.height);
        let across = |x: usize| if self.mirror_x { width - 1 - x } else { x };
        let down = |y: usize| if self.mirror_y { height - 1 - y } else { y };
        let line = width * 3;
        if self.transpose {
            let bands = to.pixels.par_chunks_mut(line * BAND).enumerate();
            bands.for_each(|(band, rows)| {
                for x in 0..width {
                    let stored = &data[across(x) * stride..];
                    for (y, row) in rows.chunks_exact_mut(line).enumerate() {
                        let from = down(band * BAND + y) * 3;
                        row[x * 3..x * 3 + 3].copy_from_slice(&stored[from..from + 3]);
                    }
                }
            });
            return;
        }
        for (y, row) in to.pixels.chunks_exact_mut(line).enumerate() {
            let stored = &data[down(y) * stride..][..line];
            if !self.mirror_x {
                row.copy_from_slice(stored);
                continue;
            }
            let pixels = row.chunks_exact_mut(3).zip(stored.chunks_exact(3).rev());
            pixels.for_each(|(pixel, stored)| pixel.copy_from_slice(stored));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture `1 2 / 3 4 / 5 6` (2 wide, 3 high) turned by a matrix (a, b, c, d).
    fn turned(matrix: [i32; 4]) -> (usize, Vec<u8>) {
        let [a, b, c, d] = matrix.map(|v| v << 16);
        let bytes: Vec<u8> = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect();
        let turn = Turn::from_matrix(&bytes);
        let stride = 8;
        let mut stored = [0; 3 * 8];
        for (i, value) in (1..=6).enumerate() {
            stored[i / 2 * stride + i % 2 * 3..][..3].fill(value);
        }
        let (width, height) = if turn.transpose { (3, 2) } else { (2, 3) };
        let mut upright = Frame::new(width, height);
        turn.copy(&stored, stride, &mut upright);
        (width, upright.pixels.iter().step_by(3).copied().collect())
    }

    #[test]
    fn every_right_angle_and_mirror_image_comes_out_upright() {
        assert_eq!(turned([1, 0, 0, 1]), (2, vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(
            turned([-1, 0, 0, -1]),
            (2, vec![6, 5, 4, 3, 2, 1]),
            "180 degrees"
        );
        assert_eq!(
            turned([0, 1, -1, 0]),
            (3, vec![5, 3, 1, 6, 4, 2]),
            "90 clockwise"
        );
        assert_eq!(
            turned([0, -1, 1, 0]),
            (3, vec![2, 4, 6, 1, 3, 5]),
            "90 anticlockwise"
        );
        assert_eq!(
            turned([-1, 0, 0, 1]),
            (2, vec![2, 1, 4, 3, 6, 5]),
            "left and right"
        );
        assert_eq!(
            turned([1, 0, 0, -1]),
            (2, vec![5, 6, 3, 4, 1, 2]),
            "upside down"
        );
        assert_eq!(
            turned([0, 1, 1, 0]),
            (3, vec![1, 3, 5, 2, 4, 6]),
            "transposed"
        );
        assert_eq!(
            turned([0, -1, -1, 0]),
            (3, vec![6, 4, 2, 5, 3, 1]),
            "anti-transposed"
        );
    }

    #[test]
    fn turned_forth_and_back_a_picture_of_several_bands_is_the_same() {
        let mut stored = Frame::new(2 * BAND + 5, BAND + 3);
        for (i, value) in stored.pixels.iter_mut().enumerate() {
            *value = (i * 7 % 251) as u8;
        }
        let turn = |mirror_x, mirror_y| Turn {
            transpose: true,
            mirror_x,
            mirror_y,
        };
        for (x, y) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut turned = Frame::new(stored.height, stored.width);
            turn(x, y).copy(&stored.pixels, stored.width * 3, &mut turned);
            let mut back = Frame::new(stored.width, stored.height);
            turn(y, x).copy(&turned.pixels, turned.width * 3, &mut back);
            assert_eq!(back, stored, "mirrored {x}, {y}");
        }
    }

    #[test]
    fn a_matrix_that_is_too_short_turns_nothing() {
        assert_eq!(Turn::from_matrix(&[1, 2, 3]), Turn::default());
    }
}
