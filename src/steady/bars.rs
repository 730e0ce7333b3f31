//! Black bars beside the picture of a film that has another shape than its file. Networks fill them with strokes;
//! they stay as they are, with the subtitles that may stand in them.

use crate::frame::Frame;

/// Brightest value of a bar, of 255: codecs leave some noise.
const BLACK: u8 = 20;

/// Hundredths of a side that a bar takes at least and at most.
const LEAST: usize = 1;
const MOST: usize = 30;

/// Lines by which the two bars may differ.
const UNEVEN: usize = 2;

/// Frames after which bars count that were not there when the scene began.
const PATIENCE: u32 = 12;

/// The black bars beside a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bars {
    /// Rows of pixels above the picture, and as many below.
    pub rows: usize,
    /// Columns of pixels at its left, and as many at its right.
    pub columns: usize,
}

impl Bars {
    /// Copies them from `source` to `painting`, which is as large.
    pub fn keep(self, source: &Frame, painting: &mut Frame) {
        let (line, height) = (3 * source.width, source.height);
        let side = 3 * self.columns;
        let rows = painting.pixels.chunks_exact_mut(line);
        for (y, (to, from)) in rows.zip(source.pixels.chunks_exact(line)).enumerate() {
            if y < self.rows || y + self.rows >= height {
                to.copy_from_slice(from);
            } else {
                to[..side].copy_from_slice(&from[..side]);
                to[line - side..].copy_from_slice(&from[line - side..]);
            }
        }
    }
}

/// Finds the bars of a film.
#[derive(Default)]
pub(super) struct BarFinder {
    rows: Pair,
    columns: Pair,
}

impl BarFinder {
    /// The bars of the next frame, which `follows` from the one before or is the first of a scene.
    pub fn take(&mut self, frame: &Frame, follows: bool) -> Bars {
        let (width, height) = (frame.width, frame.height);
        let is_black = |values: &[u8]| values.iter().all(|&value| value <= BLACK);
        let row = |y: usize| is_black(&frame.pixels[3 * width * y..][..3 * width]);
        let column = |x: usize| {
            let mut rows = frame.pixels.chunks_exact(3 * width);
            rows.all(|row| is_black(&row[3 * x..][..3]))
        };
        Bars {
            rows: self.rows.take(height, follows, row),
            columns: self.columns.take(width, follows, column),
        }
    }
}

/// Two bars on opposite sides.
#[derive(Default)]
struct Pair {
    /// Lines of each.
    lines: usize,
    /// Lines of those that may be, and for how many frames they were seen.
    likely: usize,
    seen: u32,
}

impl Pair {
    /// The lines of each of the bars in the next frame, of `length` lines. They go on while the first one is
    /// black: subtitles may stand in the other.
    fn take(&mut self, length: usize, follows: bool, is_black: impl Fn(usize) -> bool) -> usize {
        let most = length * MOST / 100;
        let first = (0..=most).take_while(|&i| is_black(i)).count();
        let last = (0..=most).take_while(|&i| is_black(length - 1 - i)).count();
        if first < self.lines {
            self.lines = 0;
        }
        let lines = first.min(last);
        let are_bars = (length * LEAST).div_ceil(100).max(2) <= lines
            && first.max(last) <= most
            && first.abs_diff(last) <= UNEVEN;
        match are_bars {
            false => self.seen = 0,
            true if self.likely == lines => self.seen += 1,
            true => (self.likely, self.seen) = (lines, 1),
        }
        if are_bars && (!follows || self.seen >= PATIENCE) {
            self.lines = lines;
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture between bars of so many rows.
    fn letterbox(rows: usize) -> Frame {
        let mut frame = Frame::new(60, 100);
        let line = 3 * frame.width;
        for (i, value) in frame.pixels.iter_mut().enumerate() {
            let inside = (rows..100 - rows).contains(&(i / line));
            *value = if inside { 90 } else { (i % 7) as u8 };
        }
        frame
    }

    #[test]
    fn bars_are_there_from_the_first_frame_on_and_keep_subtitles() {
        let (mut finder, rows) = (BarFinder::default(), 12);
        let bars = Bars { rows, columns: 0 };
        let mut frame = letterbox(rows);
        assert_eq!(finder.take(&frame, false), bars);
        frame.pixels[3 * 60 * 92 + 90] = 255; // a subtitle
        assert_eq!(finder.take(&frame, true), bars);
        assert_eq!(finder.take(&frame, false), bars, "after a cut");
        let dark = Frame::new(60, 100);
        assert_eq!(finder.take(&dark, true), bars, "a pause");
        assert_eq!(finder.take(&letterbox(0), true), Bars::default());
        for _ in 1..PATIENCE {
            assert_eq!(finder.take(&letterbox(rows), true), Bars::default());
        }
        assert_eq!(finder.take(&letterbox(rows), true), bars, "at last");
        let mut painting = Frame::new(60, 100);
        painting.pixels.fill(77);
        bars.keep(&frame, &mut painting);
        assert_eq!(
            painting.pixels[..3 * 60 * rows],
            frame.pixels[..3 * 60 * rows]
        );
        assert_eq!(painting.pixels[3 * 60 * 92..], frame.pixels[3 * 60 * 92..]);
        assert!(
            painting.pixels[3 * 60 * rows..3 * 60 * 88]
                .iter()
                .all(|&v| v == 77)
        );
    }

    #[test]
    fn bars_at_the_sides_are_found_and_what_is_dark_is_none() {
        let mut pillars = Frame::new(100, 40);
        for (i, pixel) in pillars.pixels.chunks_exact_mut(3).enumerate() {
            pixel.fill(if (15..85).contains(&(i % 100)) {
                120
            } else {
                0
            });
        }
        let bars = Bars {
            rows: 0,
            columns: 15,
        };
        assert_eq!(BarFinder::default().take(&pillars, false), bars);
        let mut painting = Frame::new(100, 40);
        painting.pixels.fill(77);
        bars.keep(&pillars, &mut painting);
        let kept = painting.pixels.iter().filter(|&&value| value == 0).count();
        assert_eq!(kept, 3 * 30 * 40);
        let mut finder = BarFinder::default();
        for frame in [
            letterbox(0),
            letterbox(1),
            letterbox(45),
            Frame::new(60, 100),
        ] {
            assert_eq!(finder.take(&frame, false), Bars::default());
        }
        let mut night = letterbox(12);
        night.pixels[3 * 60 * 90..3 * 60 * 93].fill(60); // dark above, less so below
        assert_eq!(finder.take(&night, false), Bars::default());
    }
}
