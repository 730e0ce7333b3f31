//! Detail for paintings that were averaged: a painting that is carried by parts of a pixel is blurred, and two
//! paintings of what moves never agree quite.
//!
//! Strokes get back contrast from what is left of them, and the edges of what is painted come from the
//! source, where nothing was lost: the more, the more carrying took. Where nothing moves none comes, since it
//! would add up from frame to frame, to specks and hard edges. Detail is the difference between a value and
//! the mean of its 3x3 neighbours in its channel (weighted 1, 2, 1 each way; the picture's edges repeat).

use std::ops::Range;

use rayon::prelude::*;

use crate::flow::{MOST_BLUR, RUN};
use crate::frame::Frame;

/// The gain of 1: detail in 4ths is at most 765 (a value has a quarter of its own mean), so that products with
/// gains of up to 1.3 fit into 16 bits, of which many are computed at once.
const GAIN_OF_ONE: f32 = 32.0;

/// Rows from one whose detail is counted to the next.
const ROWS_BETWEEN: usize = 16;

/// Rows from one task's first to the next one's: some 40 us of work at 1280x720.
const ROWS_APART: usize = 8 * ROWS_BETWEEN;

/// A third of what is normally distributed is nearer to its mean than this, in deviations.
const CALMEST_THIRD: f32 = 0.43;

/// Deviations of the noise that detail has to exceed: one value in 370 does by chance.
const DEVIATIONS: f32 = 3.0;

/// Values of a run of pixels, which have one gain, and of a block of runs, where nothing is computed if nothing
/// moves. Blocks of 16 runs would take 1.3 times as long where something does.
const VALUES: usize = 3 * RUN;
const BLOCK: usize = 64 * VALUES;

/// How much of the detail is added, in the numbers that the loop computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where most was lost, in 1/32.
    pub gain: i16,
    /// Detail counts from here on, in 4ths of 255.
    pub least: i16,
}

impl Part {
    /// `gain` (0 to 1.3) of the detail that exceeds `least` (of 255), where the painting is most blurred.
    pub fn new(gain: f32, least: f32) -> Self {
        Self {
            gain: (gain * GAIN_OF_ONE).round() as i16,
            least: (4.0 * least) as i16,
        }
    }

    /// The gain where the painting is blurred so.
    fn gain_at(self, blur: u8) -> i16 {
        let most = i16::from(MOST_BLUR);
        (self.gain * i16::from(blur) + most / 2) / most
    }
}

/// Detail below which that of `frame` is noise of the camera, of 255: it is taken for normally distributed,
/// with a deviation told by the detail of the calmest third of the pixels (as Donoho and Johnstone, "Ideal
/// spatial adaptation by wavelet shrinkage", 1994, tell it by the median).
pub fn noise(frame: &Frame) -> f32 {
    let first = ROWS_BETWEEN / 2;
    let tasks = frame.height.saturating_sub(1 + first).div_ceil(ROWS_APART);
    let counts = (0..tasks).into_par_iter().map(|task| {
        let from = first + task * ROWS_APART;
        count_details(frame, from..(from + ROWS_APART).min(frame.height - 1))
    });
    let counts = counts.reduce(
        || [0; 4081],
        |mut counts, others| {
            let both = counts.iter_mut().zip(others);
            both.for_each(|(count, other)| *count += other);
            counts
        },
    );
    let calm = counts.iter().sum::<u32>() / 3;
    let mut below = 0;
    let third = counts.iter().position(|count| {
        below += count;
        below > calm
    });
    third.unwrap_or(0) as f32 / 16.0 / CALMEST_THIRD * DEVIATIONS
}

/// The mean absolute Laplacian of `frame`, of 255, without its rim; 0 where it is all rim.
pub fn sharpness(frame: &Frame) -> f64 {
    let line = 3 * frame.width;
    let rows = (1..frame.height.saturating_sub(1)).into_par_iter();
    let sum: u64 = rows
        .map(|y| {
            let [above, row, below] = [y - 1, y, y + 1].map(|y| &frame.pixels[y * line..][..line]);
            let inner = 3..line.saturating_sub(3);
            let near = |i: usize| [above[i], below[i], row[i - 3], row[i + 3]].map(i32::from);
            let laplacian = |i: usize| near(i).iter().sum::<i32>() - 4 * i32::from(row[i]);
            inner
                .map(|i| u64::from(laplacian(i).unsigned_abs()))
                .sum::<u64>()
        })
        .sum();
    let inner = 3 * frame.width.saturating_sub(2) * frame.height.saturating_sub(2);
    sum as f64 / inner.max(1) as f64
}

/// How often each absolute detail of green values, in 16ths, is in every [`ROWS_BETWEEN`]th of the rows `y`,
/// which are neither the first nor the last.
fn count_details(frame: &Frame, y: Range<usize>) -> [u32; 4081] {
    let mut counts = [0; 4081];
    let line = 3 * frame.width;
    for y in y.step_by(ROWS_BETWEEN) {
        let rows = [y - 1, y, y + 1].map(|y| frame.pixels[y * line..][..line].as_chunks::<3>().0);
        let pixels = rows[0].iter().zip(rows[1]).zip(rows[2]);
        // The sums of the last two columns, and the value in the middle of the last one.
        let (mut before, mut last, mut value) = (0, 0, 0u16);
        for (x, ((above, row), below)) in pixels.enumerate() {
            let next = u16::from(above[1]) + 2 * u16::from(row[1]) + u16::from(below[1]);
            if x >= 2 {
                let mean = before + 2 * last + next;
                counts[usize::from((16 * value).abs_diff(mean))] += 1;
            }
            (before, last, value) = (last, next, u16::from(row[1]));
        }
    }
    counts
}

/// Writes the row `painted` into `detailed`, with `part` of the detail of the middle one of three rows `near` in the
/// source added by the [blur](crate::flow::Carrier::blur) of the row.
#[inline(always)]
pub fn add(painted: &[u8], near: [&[u8]; 3], part: Part, blur: &[u8], detailed: &mut [u8]) {
    let least = part.least;
    let end = painted.len();
    for (block, blur) in blur.chunks(BLOCK / VALUES).enumerate() {
        let (from, to) = (block * BLOCK, end.min((block + 1) * BLOCK));
        let (painted, detailed) = (&painted[from..to], &mut detailed[from..to]);
        if blur.iter().all(|blur| part.gain_at(*blur) == 0) {
            detailed.copy_from_slice(painted);
            continue;
        }
        let mut gains = [0; BLOCK];
        for (gains, blur) in gains.as_chunks_mut().0.iter_mut().zip(blur) {
            *gains = [part.gain_at(*blur); VALUES];
        }
        // Those of the pixels before and behind the block, too.
        let mut columns = [0; 3 + BLOCK + 3];
        let (first, last) = (from.saturating_sub(3), end.min(to + 3));
        let [above, row, below] = near.map(|row| &row[first..last]);
        let sums = columns[3 + first - from..].iter_mut();
        for (((sum, above), row), below) in sums.zip(above).zip(row).zip(below) {
            *sum = i16::from(*above) + 2 * i16::from(*row) + i16::from(*below);
        }
        let count = to - from;
        if from == 0 {
            columns.copy_within(3..6, 0);
        }
        if to == end {
            columns.copy_within(count..count + 3, count + 3);
        }
        let [left, middle, right] = [0, 3, 6].map(|at| &columns[at..][..count]);
        let means = left.iter().zip(middle).zip(right);
        let rows = near[1][from..to].iter().zip(painted).zip(&gains);
        let values = detailed.iter_mut().zip(rows).zip(means);
        for ((detailed, ((row, painted), gain)), ((left, middle), right)) in values {
            let detail = (16 * i16::from(*row) - (left + 2 * middle + right) + 2) >> 2;
            let detail = detail - detail.clamp(-least, least);
            let value = i16::from(*painted) + ((detail * gain + 64) >> 7);
            *detailed = value.clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [(usize, usize); 6] = [(21, 7), (1, 1), (2, 5), (3, 1), (40, 2), (530, 2)];

    fn values((width, height): (usize, usize), factor: usize) -> Frame {
        let mut frame = Frame::new(width, height);
        for (i, value) in frame.pixels.iter_mut().enumerate() {
            *value = ((i * factor + i / 7 * 59 + i % 3 * 101) * 7 % 256) as u8;
        }
        frame
    }

    /// Detail at (`x`, `y`) of a picture whose values are those of `at`.
    fn detail_of(
        at: impl Fn(usize, usize) -> f32,
        x: usize,
        y: usize,
        size: (usize, usize),
    ) -> f32 {
        let near = |i: usize, end: usize| [i.saturating_sub(1), i, (i + 1).min(end - 1)];
        let mut mean = 0.0;
        for (y, row) in near(y, size.1).into_iter().zip([1.0, 2.0, 1.0]) {
            for (x, column) in near(x, size.0).into_iter().zip([1.0, 2.0, 1.0]) {
                mean += row * column * at(x, y) / 16.0;
            }
        }
        at(x, y) - mean
    }

    #[test]
    fn the_difference_to_the_neighbours_is_added() {
        for size in SIZES {
            let (painting, source) = (values(size, 5), values(size, 37));
            for (gain, noise, blur) in [
                (0.0, 0.0, MOST_BLUR),
                (0.125, 0.0, MOST_BLUR),
                (0.375, 5.0, MOST_BLUR),
                (1.25, 0.0, MOST_BLUR),
                (0.75, 20.5, MOST_BLUR / 4),
                (1.0, 0.0, 0),
            ] {
                let mut detailed = vec![0; painting.pixels.len()];
                let (part, blurred) = (Part::new(gain, noise), vec![blur; size.0.div_ceil(RUN)]);
                let gain = gain * f32::from(blur) / f32::from(MOST_BLUR);
                let line = 3 * size.0;
                for (y, detailed) in detailed.chunks_exact_mut(line).enumerate() {
                    let near = [y.saturating_sub(1), y, (y + 1).min(size.1 - 1)];
                    let near = near.map(|y| &source.pixels[y * line..][..line]);
                    let painted = &painting.pixels[y * line..][..line];
                    add(painted, near, part, &blurred, detailed);
                }
                for (i, value) in detailed.iter().enumerate() {
                    let at = |x, y| f32::from(source.pixels[(y * size.0 + x) * 3 + i % 3]);
                    let detail = detail_of(at, i / 3 % size.0, i / 3 / size.0, size);
                    let counts = detail - detail.clamp(-noise, noise);
                    let expected = f32::from(painting.pixels[i]) + gain * counts;
                    let expected = expected.clamp(0.0, 255.0);
                    let away = (f32::from(*value) - expected).abs();
                    assert!(away < 0.7, "{size:?}, {i}: {value}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn noise_is_told_from_edges() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 16) as f32 / 65536.0 - 0.5
        };
        let mut picture = |deviation: f32| {
            let mut frame = Frame::new(320, 240);
            for (i, value) in frame.pixels.iter_mut().enumerate() {
                let (x, y) = (i / 3 % 320, i / 960);
                let scene = if (x / 80 + y / 60) % 2 == 0 {
                    60.0
                } else {
                    180.0
                };
                let normal = (0..12).map(|_| random()).sum::<f32>();
                *value = (scene + deviation * normal) as u8;
            }
            frame
        };
        assert_eq!(noise(&picture(0.0)), 0.0);
        for deviation in [3.0, 10.0] {
            // The detail of independent values deviates by sqrt(41) / 8 of what they do.
            let expected = DEVIATIONS * 0.8 * deviation;
            let told = noise(&picture(deviation));
            assert!(
                (told / expected - 1.0).abs() < 0.25,
                "{told}, expected {expected}"
            );
        }
        for (width, height) in [(1, 1), (2, 9), (3, 10)] {
            noise(&Frame::new(width, height));
        }
    }
}
