//! The picture of the loss curves: every loss over the steps, on a logarithmic scale.

use super::Step;
use crate::frame::Frame;
use crate::text;

/// Size of the picture in pixels.
const WIDTH: usize = 960;
const HEIGHT: usize = 540;

/// Room around the curves, for the names above them and the numbers at the axes.
const LEFT: usize = 72;
const RIGHT: usize = 24;
const TOP: usize = 44;
const BOTTOM: usize = 40;

/// Width and height of the curves.
const COLUMNS: usize = WIDTH - LEFT - RIGHT;
const ROWS: usize = HEIGHT - TOP - BOTTOM;

/// A curve shows means over one in this many of the steps; behind it, paler, lie the steps themselves.
const MEANS: usize = 40;

/// Powers of ten that the picture holds at most; losses further below the highest lie at its lower edge.
const DECADES: f32 = 4.0;

/// Thickness of a curve in pixels.
const THICK: usize = 3;

/// Most numbers at the lower axis.
const MOST_TICKS: u32 = 8;

/// Enlargement of letters.
const LETTERS: usize = 2;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [60; 3];
const GRID: [u8; 3] = [225; 3];

/// A loss: its name, its colour, its value at a step, if it has one.
type Loss = (&'static str, [u8; 3], fn(&Step) -> Option<f32>);

const LOSSES: [Loss; 4] = [
    ("content", [31, 105, 176], |step| Some(step.content)),
    ("style", [205, 80, 30], |step| Some(step.style)),
    ("stability", [40, 140, 70], |step| step.stability),
    ("variation", [130, 130, 130], |step| Some(step.tv)),
];

/// Where values lie in the picture.
struct Axes {
    steps: u32, // at the right end
    low: f32,   // logarithms to base 10 at the lower and upper end
    high: f32,
}

/// Draws the losses of `steps`, which are in the order of their numbers.
pub fn draw(steps: &[Step]) -> Frame {
    let mut frame = Frame::new(WIDTH, HEIGHT);
    frame.pixels.fill(PAPER[0]);
    let curves = LOSSES.map(|(_, _, value)| {
        let points = steps.iter().map(|step| (step.steps, value(step)));
        let points = points.filter_map(|(step, value)| Some((step, value.filter(|v| *v > 0.0)?)));
        points.collect::<Vec<_>>()
    });
    let Some(axes) = Axes::of(&curves) else {
        return frame;
    };
    axes.draw(&mut frame);
    for ((_, color, _), points) in LOSSES.iter().zip(&curves) {
        let pale = color.map(|value| 170 + value / 3);
        axes.draw_curve(&mut frame, points, 1, pale);
    }
    let mut x = LEFT;
    for ((name, color, _), points) in LOSSES.iter().zip(&curves) {
        let smooth = means(points, points.len().div_ceil(MEANS));
        axes.draw_curve(&mut frame, &smooth, THICK, *color);
        if let Some((_, now)) = smooth.last() {
            let words = format!("{name} {now:.3}");
            text::draw(&mut frame, x, 14, LETTERS, *color, &words);
            x += text::width(&words, LETTERS) + 30;
        }
    }
    frame
}

/// The mean around each point over `window` points, fewer at the ends.
fn means(points: &[(u32, f32)], window: usize) -> Vec<(u32, f32)> {
    let mean = |(i, (step, _)): (usize, &(u32, f32))| {
        let end = (i + window / 2 + 1).min(points.len());
        let near = &points[i.saturating_sub(window / 2)..end];
        let sum: f32 = near.iter().map(|(_, value)| value).sum();
        (*step, sum / near.len() as f32)
    };
    points.iter().enumerate().map(mean).collect()
}

impl Axes {
    /// Axes that hold every point; `None` where there is none.
    fn of(curves: &[Vec<(u32, f32)>]) -> Option<Self> {
        let points = || curves.iter().flatten();
        let low = points().map(|(_, value)| value.log10()).reduce(f32::min)?;
        let high = points().map(|(_, value)| value.log10()).reduce(f32::max)?;
        Some(Self {
            steps: points().map(|(step, _)| *step).max()?.max(2),
            low: (low - 0.05).max(high - DECADES),
            high: high + 0.05,
        })
    }

    fn column(&self, step: u32) -> usize {
        let part = f64::from(step.saturating_sub(1)) / f64::from(self.steps - 1);
        LEFT + (part * (COLUMNS - 1) as f64) as usize
    }

    fn row(&self, value: f32) -> usize {
        let part = (self.high - value.log10()) / (self.high - self.low);
        TOP + (part.clamp(0.0, 1.0) * (ROWS - 1) as f32) as usize
    }

    /// Draws the grid and the numbers at its lines.
    fn draw(&self, frame: &mut Frame) {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        for (decade, digit) in decades.flat_map(|decade| [1, 2, 5].map(|digit| (decade, digit))) {
            let value = digit as f32 * 10f32.powi(decade);
            if (self.low..=self.high).contains(&value.log10()) {
                let row = self.row(value);
                text::fill(frame, (LEFT, row), (COLUMNS, 1), GRID);
                let words = format!("{value:.*}", decade.min(0).unsigned_abs() as usize);
                let x = LEFT.saturating_sub(text::width(&words, LETTERS) + 6);
                text::draw(frame, x, row.saturating_sub(7), LETTERS, INK, &words);
            }
        }
        let apart = (0..)
            .flat_map(|decade| [1, 2, 5].map(|digit| digit * 10u32.pow(decade)))
            .find(|apart| self.steps / apart < MOST_TICKS)
            .unwrap_or(self.steps);
        for step in (apart..=self.steps).step_by(apart as usize) {
            let column = self.column(step);
            text::fill(frame, (column, TOP), (1, ROWS), GRID);
            let words = step.to_string();
            let x = column.saturating_sub(text::width(&words, LETTERS) / 2);
            let x = x.min(WIDTH - text::width(&words, LETTERS));
            text::draw(frame, x, TOP + ROWS + 10, LETTERS, INK, &words);
        }
    }

    /// Connects the points.
    fn draw_curve(&self, frame: &mut Frame, points: &[(u32, f32)], thick: usize, color: [u8; 3]) {
        let places = points
            .iter()
            .map(|(step, value)| (self.column(*step), self.row(*value)));
        let mut before = None;
        for (x, y) in places {
            let (from, start) = before.replace((x, y)).unwrap_or((x, y));
            for column in from..=x {
                let at = |column: usize| {
                    let part = (column - from) as f32 / (x - from).max(1) as f32;
                    start as f32 + (y as f32 - start as f32) * part
                };
                // Up to where the line enters the next column, so that steep ones have no gaps.
                let (here, next) = match x > from {
                    true => (at(column), at((column + 1).min(x))),
                    false => (start as f32, y as f32),
                };
                let (top, bottom) = (here.min(next) as usize, here.max(next) as usize);
                let corner = (column - thick / 2, top - thick / 2);
                text::fill(frame, corner, (thick, bottom - top + thick), color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(frame: &Frame, color: [u8; 3], column: usize) -> Vec<usize> {
        let at = |row: &usize| frame.pixels[(row * WIDTH + column) * 3..][..3] == color;
        (TOP..TOP + ROWS).filter(at).collect()
    }

    #[test]
    fn a_falling_loss_falls_in_the_picture_and_a_constant_one_does_not() {
        let step = |steps: u32| Step {
            steps,
            content: 2.0 - steps as f32 / 100.0,
            style: 0.1,
            ..Step::default()
        };
        let steps: Vec<Step> = (1..=100).map(step).collect();
        let frame = draw(&steps);
        let rows = |loss: usize, column| rows_of(&frame, LOSSES[loss].1, column);
        let mut last = 0;
        for column in (LEFT + 20..LEFT + COLUMNS - 20).step_by(40) {
            let row = *rows(0, column).first().expect("no content loss");
            assert!(row > last, "{row} {last}");
            last = row;
            assert_eq!(rows(1, column), rows(1, LEFT + 20));
            assert!(rows(2, column).is_empty(), "stability was not trained");
            assert!(rows(3, column).is_empty(), "a loss of 0 has no logarithm");
        }
    }

    #[test]
    fn no_step_and_one_step_make_pictures_too() {
        assert!(draw(&[]).pixels.iter().all(|value| *value == 255));
        let step = Step {
            steps: 1,
            content: 1.0,
            ..Step::default()
        };
        assert!(!rows_of(&draw(&[step]), LOSSES[0].1, LEFT).is_empty());
    }
}
