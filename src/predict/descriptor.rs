//! What a picture looks like, in a few numbers: its colours, and what it is made of at six scales. They take
//! some ten milliseconds, and predict styles as well as the means and deviations of VGG19's layers do.

use crate::frame::Frame;

/// Scales at which edges are looked at, each half as fine as the one before. What is coarser is one more.
const SCALES: usize = 5;

/// Numbers of a scale: how much there is in each plane, how planes go together, how the brightness is spread.
const BAND: usize = 8;
/// Of its edges: which way they run, how strong they are, and how much they agree with those beside them.
const EDGES: usize = 4;
/// Of all pixels: means of the planes, and parts of the brightness.
const COLORS: usize = 7;

/// Numbers of a picture.
pub const NUMBERS: usize = COLORS + SCALES * EDGES + (SCALES + 1) * BAND;

/// Weights of a blur: the binomial ones.
const BLUR: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

/// Values in rows.
#[derive(Clone)]
struct Plane {
    width: usize,
    values: Vec<f32>,
}

impl Plane {
    /// Each value with its neighbours, those at the border repeated.
    fn blurred(&self) -> Self {
        let (width, height) = (self.width, self.values.len() / self.width);
        let place = |at: usize, i: usize, size: usize| (at + i).saturating_sub(2).min(size - 1);
        let mut across = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(width) {
            let sum = |x| {
                (0..5)
                    .map(|i| BLUR[i] * row[place(x, i, width)])
                    .sum::<f32>()
            };
            across.extend((0..width).map(sum));
        }
        let mut values = vec![0.0; self.values.len()];
        for (y, row) in values.chunks_exact_mut(width).enumerate() {
            for (i, weight) in BLUR.iter().enumerate() {
                let from = &across[place(y, i, height) * width..][..width];
                for (sum, value) in row.iter_mut().zip(from) {
                    *sum += weight * value;
                }
            }
        }
        Self { width, values }
    }

    /// Every second value of every second row.
    fn halved(&self) -> Self {
        let rows = self.values.chunks_exact(self.width).step_by(2);
        Self {
            width: self.width.div_ceil(2),
            values: rows
                .flat_map(|row| row.iter().step_by(2).copied())
                .collect(),
        }
    }

    fn with(&self, values: Vec<f32>) -> Self {
        Self {
            width: self.width,
            values,
        }
    }

    fn minus(&self, other: impl Fn(usize) -> f32) -> Self {
        let values = self.values.iter().enumerate();
        self.with(values.map(|(i, value)| value - other(i)).collect())
    }
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len().max(1) as f64;
    (values.map(f64::from).sum::<f64>() / count) as f32
}

/// Of a size that is near to those of the other numbers.
fn logarithm(square: f32) -> f32 {
    0.5 * (square + 1e-6).ln()
}

/// The numbers of a picture: each about as large as the others, the same for the same picture. Pictures of
/// another size have others.
pub fn describe(picture: &Frame) -> [f32; NUMBERS] {
    // Brightness, red against blue, green against both.
    let mut planes: [Vec<f32>; 3] = Default::default();
    for pixel in picture.pixels.chunks_exact(3) {
        let [r, g, b]: [f32; 3] = std::array::from_fn(|i| f32::from(pixel[i]) / 255.0);
        planes[0].push((r + g + b) / 3.0);
        planes[1].push((r - b) / 2.0);
        planes[2].push((2.0 * g - r - b) / 4.0);
    }
    let mut found = Vec::with_capacity(NUMBERS);
    let means = [0, 1, 2].map(|i| mean(planes[i].iter().copied()));
    found.extend([4.0 * means[0], 8.0 * means[1], 8.0 * means[2]]);
    let mut sorted = planes[0].clone();
    sorted.sort_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1) as f32;
    found.extend([0.05, 0.25, 0.75, 0.95].map(|part| 4.0 * sorted[(part * last) as usize]));
    let width = picture.width;
    let mut planes = planes.map(|values| Plane { width, values });
    for _scale in 0..SCALES {
        let blurred = [0, 1, 2].map(|i| planes[i].blurred());
        found.extend(edges(&blurred[0]));
        found.extend(band(
            [0, 1, 2].map(|i| planes[i].minus(|at| blurred[i].values[at])),
        ));
        planes = blurred.map(|plane| plane.halved());
    }
    found.extend(band(planes.map(|plane| {
        let middle = mean(plane.values.iter().copied());
        plane.minus(|_| middle)
    })));
    std::array::from_fn(|i| found[i])
}

/// What the three planes hold at one scale.
fn band(planes: [Plane; 3]) -> [f32; BAND] {
    let values = [0, 1, 2].map(|i| &planes[i].values);
    let both = |i: usize, j: usize| mean(values[i].iter().zip(values[j]).map(|(a, b)| a * b));
    let squares = [both(0, 0), both(1, 1), both(2, 2)];
    let together =
        |i: usize, j: usize| 2.0 * both(i, j) / ((squares[i] * squares[j]).sqrt() + 1e-6);
    let third = mean(values[0].iter().map(|value| value.powi(3)));
    let fourth = mean(values[0].iter().map(|value| value.powi(4)));
    [
        logarithm(squares[0]),
        logarithm(squares[1]),
        logarithm(squares[2]),
        together(0, 1),
        together(0, 2),
        together(1, 2),
        logarithm(fourth / (squares[0] * squares[0] + 1e-9)),
        0.5 * third / (squares[0].powf(1.5) + 1e-6),
    ]
}

/// The edges of a plane, by its structure tensor (Bigün & Granlund 1987).
fn edges(plane: &Plane) -> [f32; EDGES] {
    let (width, height) = (plane.width, plane.values.len() / plane.width);
    let mut products: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; plane.values.len()]);
    let rows = 1..height.saturating_sub(1);
    for i in rows.flat_map(|y| y * width + 1..(y + 1) * width - 1) {
        let along = (plane.values[i + 1] - plane.values[i - 1]) / 2.0;
        let down = (plane.values[i + width] - plane.values[i - width]) / 2.0;
        products[0][i] = along * along;
        products[1][i] = down * down;
        products[2][i] = along * down;
    }
    let [along, down, both] = [0, 1, 2].map(|i| mean(products[i].iter().copied()));
    let sum = along + down + 1e-7;
    let smooth = products.map(|values| plane.with(values).blurred().blurred().values);
    let agreed = mean((0..plane.values.len()).map(|i| {
        let (apart, both) = (smooth[0][i] - smooth[1][i], smooth[2][i]);
        apart.hypot(2.0 * both)
    }));
    [
        2.0 * (along - down) / sum,
        4.0 * both / sum,
        logarithm(sum),
        4.0 * agreed / sum,
    ]
}
