//! The colours of pictures as one distribution, and the linear map that gives pictures those of others.

use crate::eigen::eigen;
use crate::frame::Frame;

/// Most and least that a map stretches colours by. The colours of networks that were trained to hold still
/// would be stretched by up to 3.2: their noise, too.
const MOST: f64 = 2.0;
const LEAST: f64 = 0.5;

/// Added to the variance of colours, squared grey levels: pictures may lack all colours but one.
const FLOOR: f64 = 4.0;

type Matrix = [[f64; 3]; 3];

/// Mean and covariance of the colours of pictures, RGB 0..255.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Mean red, green and blue.
    pub mean: [f64; 3],
    /// Covariance of red, green and blue.
    pub covariance: [[f64; 3]; 3],
}

/// Another colour for each: `matrix` times the colour (RGB 0..255) plus `shift`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorMap {
    /// Symmetric; stretches no colour to more than twice or less than half.
    pub matrix: [[f64; 3]; 3],
    /// Added after that.
    pub shift: [f64; 3],
}

impl Palette {
    /// The colours of all pixels of `frames` together; `None` where there are none.
    pub fn of<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Option<Self> {
        let (mut count, mut sums, mut products) = (0u64, [0u64; 3], [[0u64; 3]; 3]);
        for frame in frames {
            for pixel in frame.pixels.chunks_exact(3) {
                let pixel: [u64; 3] = std::array::from_fn(|i| u64::from(pixel[i]));
                for (i, one) in pixel.iter().enumerate() {
                    sums[i] += one;
                    for (j, other) in pixel.iter().enumerate() {
                        products[i][j] += one * other;
                    }
                }
                count += 1;
            }
        }
        let mean = sums.map(|sum| sum as f64 / count as f64);
        let covariance = square(|i, j| products[i][j] as f64 / count as f64 - mean[i] * mean[j]);
        (count > 0).then_some(Self { mean, covariance })
    }

    /// The map that gives pictures of these colours those of `other` with the least change of any (Pitié &
    /// Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer"),
    /// or a part of it: 0 changes nothing, 1 is the whole.
    pub fn map_to(&self, other: &Self, part: f64) -> ColorMap {
        let (here, there) = (floored(&self.covariance), floored(&other.covariance));
        let root = of_eigenvalues(&here, f64::sqrt);
        let back = of_eigenvalues(&here, |value| value.sqrt().recip());
        let between = of_eigenvalues(&product(&product(&root, &there), &root), f64::sqrt);
        let whole = product(&product(&back, &between), &back);
        let matrix = of_eigenvalues(&whole, |gain| {
            (1.0 + part * (gain - 1.0)).clamp(LEAST, MOST)
        });
        let mapped = apply(&matrix, self.mean);
        let shift = std::array::from_fn(|i| {
            self.mean[i] + part * (other.mean[i] - self.mean[i]) - mapped[i]
        });
        ColorMap { matrix, shift }
    }
}

impl ColorMap {
    /// The map back.
    pub fn inverse(&self) -> Self {
        let matrix = of_eigenvalues(&self.matrix, f64::recip);
        let shift = apply(&matrix, self.shift).map(|value| -value);
        Self { matrix, shift }
    }
}

fn square(value: impl Fn(usize, usize) -> f64) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| value(i, j)))
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    square(|i, j| (0..3).map(|k| a[i][k] * b[k][j]).sum())
}

fn apply(matrix: &Matrix, vector: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|i| (0..3).map(|k| matrix[i][k] * vector[k]).sum())
}

fn floored(covariance: &Matrix) -> Matrix {
    square(|i, j| covariance[i][j] + if i == j { FLOOR } else { 0.0 })
}

/// A symmetric matrix with the same eigenvectors and `new` eigenvalues.
fn of_eigenvalues(matrix: &Matrix, new: impl Fn(f64) -> f64) -> Matrix {
    let (values, vectors) = eigen(matrix);
    let values = values.map(new);
    square(|i, j| {
        (0..3)
            .map(|k| vectors[i][k] * values[k] * vectors[j][k])
            .sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose colours lie about `mean`, spread along three directions.
    fn picture(mean: [f64; 3], spread: [[f64; 3]; 3]) -> Frame {
        let mut frame = Frame::new(40, 40);
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            let parts = [i % 40, i / 40, i * 7 % 39].map(|part| part as f64 / 20.0 - 1.0);
            for (c, value) in pixel.iter_mut().enumerate() {
                let far: f64 = (0..3).map(|k| parts[k] * spread[k][c]).sum();
                *value = (mean[c] + far).round() as u8;
            }
        }
        frame
    }

    fn mapped(frame: &Frame, map: &ColorMap) -> Frame {
        let mut frame = frame.clone();
        for pixel in frame.pixels.chunks_exact_mut(3) {
            let color = apply(&map.matrix, std::array::from_fn(|i| f64::from(pixel[i])));
            for (i, value) in pixel.iter_mut().enumerate() {
                *value = (color[i] + map.shift[i]).round().clamp(0.0, 255.0) as u8;
            }
        }
        frame
    }

    fn far(a: &Palette, b: &Palette) -> f64 {
        let means = (0..3).map(|i| (a.mean[i] - b.mean[i]).abs());
        let spreads = (0..3).flat_map(|i| (0..3).map(move |j| (i, j)));
        let spreads = spreads.map(|(i, j)| (a.covariance[i][j] - b.covariance[i][j]).abs() / 40.0);
        means.chain(spreads).fold(0.0, f64::max)
    }

    #[test]
    fn a_picture_takes_the_colours_of_another_and_a_part_is_between() {
        let from = picture(
            [90.0, 120.0, 140.0],
            [[25.0, 20.0, -15.0], [-8.0, 12.0, 20.0], [9.0, -9.0, 9.0]],
        );
        let to = picture(
            [150.0, 110.0, 80.0],
            [[20.0, 24.0, -10.0], [12.0, 10.0, 26.0], [-14.0, 9.0, 9.0]],
        );
        let [here, there] = [&from, &to].map(|frame| Palette::of([frame]).unwrap());
        let whole = Palette::of([&mapped(&from, &here.map_to(&there, 1.0))]).unwrap();
        assert!(far(&here, &there) > 50.0);
        assert!(far(&whole, &there) < 1.5, "{whole:?}, not {there:?}");
        let none = here.map_to(&there, 0.0);
        assert!(far(&Palette::of([&mapped(&from, &none)]).unwrap(), &here) < 0.1);
        let half = Palette::of([&mapped(&from, &here.map_to(&there, 0.5))]).unwrap();
        assert!((half.mean[0] - 120.0).abs() < 1.0, "{half:?}");
    }

    #[test]
    fn grey_pictures_are_stretched_to_twice_and_maps_lead_back() {
        let grey = picture([128.0; 3], [[20.0; 3], [0.0; 3], [0.0; 3]]);
        let wild = picture(
            [128.0; 3],
            [[70.0, 60.0, -50.0], [-20.0, 30.0, 40.0], [0.0; 3]],
        );
        let [here, there] = [&grey, &wild].map(|frame| Palette::of([frame]).unwrap());
        let map = here.map_to(&there, 1.0);
        let (gains, _) = eigen(&map.matrix);
        assert!(gains.iter().all(|gain| *gain <= MOST + 1e-9), "{gains:?}");
        let back = map.inverse();
        let there_and_back = product(&back.matrix, &map.matrix);
        let shift = apply(&back.matrix, map.shift);
        for i in 0..3 {
            assert!((there_and_back[i][i] - 1.0).abs() < 1e-9);
            assert!((shift[i] + back.shift[i]).abs() < 1e-9);
        }
        assert_eq!(Palette::of(std::iter::empty()), None);
    }

    #[test]
    fn eigenvectors_are_those_of_the_matrix() {
        let matrix = [[4.0, 1.0, -2.0], [1.0, 3.0, 0.5], [-2.0, 0.5, 5.0]];
        let again = of_eigenvalues(&matrix, |value| value);
        let root = of_eigenvalues(&matrix, f64::sqrt);
        let squared = product(&root, &root);
        for i in 0..3 {
            for j in 0..3 {
                assert!((again[i][j] - matrix[i][j]).abs() < 1e-9, "{again:?}");
                assert!((squared[i][j] - matrix[i][j]).abs() < 1e-9, "{squared:?}");
            }
        }
    }
}
