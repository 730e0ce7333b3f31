//! How large strokes are. A network paints strokes of so many pixels, which vanish in large pictures: those are
//! painted smaller, which is faster, too, and enlarged.
//!
//! What enlarging blurs gets the edges of the source back, brighter or darker as the painting follows the source
//! around them: the difference between the source and the enlarged small source, times the slope of the painting's
//! brightness over the source's (the linear model of He, Sun and Tang, "Guided Image Filtering", 2010, whose
//! slopes are found in the small pictures as in He and Sun, "Fast Guided Filter", 2015). Where the painting does not
//! follow the source, and in calm places, where there is only noise, nothing is added.

mod cell;

use rayon::prelude::*;

use crate::frame::Frame;
use crate::kernels::Level;
use crate::scale::fitted;
use cell::{Cell, brightness};

/// Short side, in pixels, from which on strokes grow with the picture. The networks learned from paintings and photos
/// of 144 to 320 pixels; photos of 12 megapixels that were painted as they are looked tinted, no more. Beside films of
/// 1080 rows that were painted so, those enlarged from 720 looked as sharp.
const LARGE: f32 = 720.0;

/// Shortest side that is painted, in pixels, unless the picture's own is shorter.
const SMALLEST: usize = 64;

/// Pixels of the sides of the cells in which slopes are found, each from its own and its eight neighbours' pixels.
const CELL: usize = 4;

/// Fewest rows that one task enlarges, and tasks for each thread. Each begins with three rows of the small picture that
/// the one before has enlarged, too, and has its own memory, some 250 KB in 4K.
const ROWS: usize = 64;
const TASKS: usize = 4;

/// Pixels by which rows of the small picture go on beyond either end, as the outermost ones.
const RIM: usize = 2;

/// How large strokes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strokes {
    /// So many times as large as the network paints them; 1 and less paint a picture at its own size.
    Times(f32),
    /// Larger in pictures whose short side has more than 720 pixels, by as much.
    Auto,
}

impl Default for Strokes {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

impl Strokes {
    /// The size at which a picture of `size` (width, height) is painted: this, or a smaller one.
    pub fn size(self, size: (usize, usize)) -> (usize, usize) {
        let short = size.0.min(size.1);
        let times = match self {
            Self::Times(times) => times,
            Self::Auto => short as f32 / LARGE,
        };
        let side = (short as f32 / times.max(1.0)).round() as usize;
        match side.max(SMALLEST) {
            side if side < short => fitted(size, side),
            _ => size,
        }
    }
}

/// Enlarges paintings to the size of their source; keeps its memory.
#[derive(Default)]
pub struct Enlarger {
    cells: Vec<Cell>,
    slopes: Vec<f32>,
    across: Taps,
    down: Taps,
    bands: Vec<Band>,
}

/// A pixel of the painting as a line over the brightness of the source: red, green and blue where that is 0, and the
/// slope.
type Line = [f32; 4];

/// What a task remembers while it enlarges its rows.
#[derive(Default)]
struct Band {
    /// A row of the small picture, with its rim.
    row: Vec<Line>,
    /// The last four rows at the width of the source, each in the place that its number tells.
    wide: [Vec<Line>; 4],
}

impl Enlarger {
    /// Fills `output` with the `painting` of `small`, which is `source` made smaller, at the size of `source`.
    pub fn run(&mut self, painting: &Frame, small: &Frame, source: &Frame, output: &mut Frame) {
        output.shape_like(source);
        self.find_slopes(painting, small);
        self.across.fit(small.width, source.width);
        self.down.fit(small.height, source.height);
        let tasks = TASKS * rayon::current_num_threads();
        let rows = source.height.div_ceil(tasks).max(ROWS);
        let tasks = source.height.div_ceil(rows);
        self.bands.resize_with(tasks, Band::default);
        let (slopes, across) = (&self.slopes, &self.across.0);
        let line = 3 * source.width;
        let source = source.pixels.par_chunks(line * rows);
        let tasks = output.pixels.par_chunks_mut(line * rows).zip(source);
        let tasks = tasks.zip(&mut self.bands).zip(self.down.0.par_chunks(rows));
        tasks.for_each(|(((paint, source), band), down)| {
            Level::detected().vectorize(
                #[inline(always)]
                || {
                    let mut next = down[0].first;
                    let rows = paint.chunks_mut(line).zip(source.chunks(line));
                    for ((paint, source), down) in rows.zip(down) {
                        for row in next..down.first + 4 {
                            let inner = row.saturating_sub(RIM).min(small.height - 1);
                            find_lines(painting, small, slopes, inner, &mut band.row);
                            widen(&band.row, across, &mut band.wide[row % 4]);
                        }
                        next = down.first + 4;
                        let near = [0, 1, 2, 3].map(|i| &band.wide[(down.first + i) % 4][..]);
                        paint_row(near, &down.weights, source, paint);
                    }
                },
            )
        });
    }

    /// Fills the slopes of the cells.
    fn find_slopes(&mut self, painting: &Frame, small: &Frame) {
        let width = small.width;
        let (columns, rows) = (width.div_ceil(CELL), small.height.div_ceil(CELL));
        self.cells.resize(columns * rows, Cell::default());
        let painted = painting.pixels.par_chunks(3 * width * CELL);
        let pixels = small.pixels.par_chunks(3 * width * CELL).zip(painted);
        let cells = self.cells.par_chunks_mut(columns);
        cells.zip(pixels).for_each(|(cells, (source, painted))| {
            cells.fill(Cell::default());
            let rows = source.chunks(3 * width).zip(painted.chunks(3 * width));
            for (source, painted) in rows {
                let runs = source.chunks(3 * CELL).zip(painted.chunks(3 * CELL));
                for (cell, (source, painted)) in cells.iter_mut().zip(runs) {
                    let pixels = source.chunks_exact(3).zip(painted.chunks_exact(3));
                    pixels.for_each(|(source, painted)| cell.take(source, painted));
                }
            }
        });
        self.slopes.resize(columns * rows, 0.0);
        let cells = &self.cells;
        let slopes = self.slopes.par_chunks_mut(columns).enumerate();
        slopes.for_each(|(row, slopes)| {
            let near = row.saturating_sub(1)..(row + 2).min(rows);
            for (column, slope) in slopes.iter_mut().enumerate() {
                let around = column.saturating_sub(1)..(column + 2).min(columns);
                let mut sum = Cell::default();
                for row in near.clone() {
                    let cells = &cells[row * columns..][around.clone()];
                    cells.iter().for_each(|cell| sum.add(cell));
                }
                *slope = sum.slope();
            }
        });
    }
}

/// For each place of a longer row (or column) of pixels, what of a shorter one it is made of.
#[derive(Default)]
struct Taps(Vec<Tap>);

/// Four neighbours, the first one counted with the rim, and how much of each there is.
struct Tap {
    first: usize,
    weights: [f32; 4],
}

impl Taps {
    /// For `from` pixels that become `to`, at least as many. Cubic (Keys, "Cubic convolution interpolation for digital
    /// image processing", 1981; a = -1/2).
    fn fit(&mut self, from: usize, to: usize) {
        let tap = |place: usize| {
            let at = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let t = (at - at.floor()) as f32;
            Tap {
                first: (at.floor() + (RIM - 1) as f64) as usize,
                weights: [
                    ((2.0 - t) * t - 1.0) * t / 2.0,
                    ((3.0 * t - 5.0) * t * t + 2.0) / 2.0,
                    ((4.0 - 3.0 * t) * t + 1.0) * t / 2.0,
                    (t - 1.0) * t * t / 2.0,
                ],
            }
        };
        self.0.clear();
        self.0.extend((0..to).map(tap));
    }
}

/// The two of `cells` cells that a pixel lies between, by their middles, and how much of the second there is.
#[inline(always)]
fn between(pixel: usize, cells: usize) -> (usize, usize, f32) {
    let at = ((pixel as f32 + 0.5) / CELL as f32 - 0.5).max(0.0);
    let first = (at as usize).min(cells - 1);
    (first, (first + 1).min(cells - 1), at - first as f32)
}

/// Fills `lines` with those of row `y` of the small picture and its rim.
#[inline(always)]
fn find_lines(painting: &Frame, small: &Frame, slopes: &[f32], y: usize, lines: &mut Vec<Line>) {
    let width = small.width;
    let columns = width.div_ceil(CELL);
    let (above, below, part) = between(y, slopes.len() / columns);
    let [above, below] = [above, below].map(|row| &slopes[row * columns..][..columns]);
    let slope = |column: usize| above[column] + (below[column] - above[column]) * part;
    lines.clear();
    lines.resize(RIM + width + RIM, Line::default());
    let [source, painted] = [small, painting].map(|frame| &frame.pixels[3 * width * y..]);
    let pixels = source.chunks_exact(3).zip(painted.chunks_exact(3));
    for (x, (line, (source, painted))) in lines[RIM..RIM + width].iter_mut().zip(pixels).enumerate()
    {
        let (left, right, part) = between(x, columns);
        let slope = slope(left) * (1.0 - part) + slope(right) * part;
        let followed = slope * brightness(source);
        let rest = |channel: usize| f32::from(painted[channel]) - followed;
        *line = [rest(0), rest(1), rest(2), slope];
    }
    let (first, last) = (lines[RIM], lines[RIM + width - 1]);
    lines[..RIM].fill(first);
    lines[RIM + width..].fill(last);
}

/// Fills `wide` with a row at the width of the source.
#[inline(always)]
fn widen(row: &[Line], across: &[Tap], wide: &mut Vec<Line>) {
    wide.clear();
    wide.extend(across.iter().map(|tap| {
        let near = &row[tap.first..tap.first + 4];
        weighted([near[0], near[1], near[2], near[3]], &tap.weights)
    }));
}

/// Fills a row of the painting: the lines between four rows of them, at the brightness of the source.
#[inline(always)]
fn paint_row(near: [&[Line]; 4], weights: &[f32; 4], source: &[u8], paint: &mut [u8]) {
    let [a, b, c, d] = near;
    let lines = a.iter().zip(b).zip(c).zip(d);
    let (paint, source) = (paint.as_chunks_mut::<3>().0, source.as_chunks::<3>().0);
    for ((paint, source), (((a, b), c), d)) in paint.iter_mut().zip(source).zip(lines) {
        let line = weighted([*a, *b, *c, *d], weights);
        let followed = line[3] * brightness(source);
        let [red, green, blue, _] = line.map(|rest| rounded(rest + followed));
        *paint = [red, green, blue];
    }
}

/// The whole number from 0 to 255 that is nearest to `value`, for several at once: floats have no fraction at 2^23, and
/// their last bits are the number. `as u8` takes them one by one.
#[inline(always)]
fn rounded(value: f32) -> u8 {
    const WHOLE: f32 = 8_388_608.0;
    (value.clamp(0.0, 255.0) + WHOLE).to_bits() as u8
}

#[inline(always)]
fn weighted(lines: [Line; 4], weights: &[f32; 4]) -> Line {
    let mut sum = Line::default();
    for (line, weight) in lines.iter().zip(weights) {
        for (sum, value) in sum.iter_mut().zip(line) {
            *sum += value * weight;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::scale::Scaler;

    /// Bars of two greys and of fine stripes, on which a sine lies.
    fn source(width: usize, height: usize) -> Frame {
        let mut frame = Frame::new(width, height);
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % width, i / width);
            let bar = [60.0, 190.0][(x / 23 + y / 31) % 2];
            let wave = 30.0 * (x as f32 / 17.0).sin() * (y as f32 / 11.0).cos();
            pixel.fill((bar + wave) as u8);
        }
        frame
    }

    /// Enlarges what `paint` makes of the small source.
    fn enlarged(source: &Frame, times: f32, paint: impl Fn(u8) -> u8) -> Result<[Frame; 2]> {
        let (mut small, mut plain, mut output) =
            (Frame::default(), Frame::default(), Frame::default());
        let size = Strokes::Times(times).size((source.width, source.height));
        Scaler::default().run(source, size, false, &mut small)?;
        let mut painting = small.clone();
        painting.pixels.iter_mut().for_each(|v| *v = paint(*v));
        let own = (source.width, source.height);
        Scaler::default().run(&painting, own, false, &mut plain)?;
        Enlarger::default().run(&painting, &small, source, &mut output);
        Ok([plain, output])
    }

    fn error(found: &Frame, expected: &Frame, paint: impl Fn(u8) -> u8) -> f64 {
        let pairs = found.pixels.iter().zip(&expected.pixels);
        let sum: f64 = pairs
            .map(|(&found, &expected)| f64::from(found.abs_diff(paint(expected))))
            .sum();
        sum / found.pixels.len() as f64
    }

    #[test]
    fn edges_of_the_source_come_back_in_paintings_that_follow_it() -> Result<()> {
        let source = source(301, 203);
        for times in [1.5, 2.0, 3.0] {
            for paint in [|v: u8| v, |v: u8| 255 - v, |v: u8| 40 + v / 2] {
                let [plain, output] = enlarged(&source, times, paint)?;
                assert_eq!((output.width, output.height), (301, 203));
                let [before, after] = [plain, output].map(|found| error(&found, &source, paint));
                assert!(after < 0.35 * before, "{times} times: {after} of {before}");
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_is_added_where_the_painting_is_calm_or_the_source_is_noise() -> Result<()> {
        let [plain, output] = enlarged(&source(300, 200), 2.0, |_| 99)?;
        assert_eq!(plain, output);
        let mut noise = Frame::new(300, 200);
        for (i, value) in noise.pixels.iter_mut().enumerate() {
            *value = 100 + (i / 3 * 7919 % 9) as u8;
        }
        let [plain, output] = enlarged(&noise, 2.0, |v| v)?;
        let added = error(&output, &plain, |v| v);
        assert!(added < 0.1, "{added}");
        Ok(())
    }

    #[test]
    fn strokes_grow_with_large_pictures_only_and_as_they_are_told() {
        let sizes = |strokes: Strokes| {
            let sizes = [(641, 480), (1280, 720), (1920, 1080), (3024, 4032)];
            sizes.map(|size| strokes.size(size))
        };
        let own = sizes(Strokes::default());
        assert_eq!(own, [(641, 480), (1280, 720), (1920, 1080), (3024, 4032)]);
        let auto = sizes(Strokes::Auto);
        assert_eq!(auto, [(641, 480), (1280, 720), (1280, 720), (720, 960)]);
        let twice = sizes(Strokes::Times(2.0));
        assert_eq!(twice, [(320, 240), (640, 360), (960, 540), (1512, 2016)]);
        assert_eq!(Strokes::Times(16.0).size((100, 90)), (72, 64));
        assert_eq!(Strokes::Times(16.0).size((30, 20)), (30, 20));
    }
}
