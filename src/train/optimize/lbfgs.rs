//! Limited-memory BFGS (Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4 and 3.1) over a
//! plain vector, with a backtracking line search: nearly every step costs one evaluation.

use std::collections::VecDeque;

use anyhow::Result;
use rayon::prelude::*;

/// Pairs of the last changes that stand for the curvature.
const HISTORY: usize = 10;

/// Part of the decrease promised by the slope that a step has to bring (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;

/// Evaluations of one line search before its direction is given up.
const TRIALS: usize = 8;

/// Mean change of a value, in its unit, that the first step tries.
const FIRST_CHANGE: f64 = 2.0;

/// Values that are summed in one piece: sums do not depend on the number of threads.
const PIECE: usize = 1 << 14;

/// A value of the function with what the caller wants to know about it.
pub struct Sample<T> {
    /// The function's value.
    pub value: f64,
    /// Its gradient.
    pub gradient: Vec<f32>,
    /// What came with it.
    pub details: T,
}

/// The point reached, and what is known about the way there.
pub struct Lbfgs<T> {
    /// The point.
    pub point: Vec<f32>,
    /// Factor of the first length that each line search tries.
    pub rate: f64,
    /// Function and gradient at the point.
    pub sample: Sample<T>,
    /// Changes of point and gradient, the oldest first.
    pub history: VecDeque<(Vec<f32>, Vec<f32>)>,
}

impl<T> Lbfgs<T> {
    /// Starts at `point`.
    pub fn new(
        point: Vec<f32>,
        rate: f64,
        function: impl Fn(&[f32]) -> Result<Sample<T>>,
    ) -> Result<Self> {
        let sample = function(&point)?;
        Ok(Self {
            point,
            rate,
            sample,
            history: VecDeque::new(),
        })
    }

    /// Makes a step. Returns `false` where no step in sight lowers the function.
    pub fn step(&mut self, function: impl Fn(&[f32]) -> Result<Sample<T>>) -> Result<bool> {
        loop {
            let direction = self.direction();
            let slope = dot(&direction, &self.sample.gradient);
            if slope < 0.0 && self.search(&direction, slope, &function)? {
                return Ok(true);
            }
            if self.history.is_empty() {
                return Ok(false);
            }
            self.history.clear(); // what is known misleads: start over along the gradient
        }
    }

    /// The two-loop recursion.
    fn direction(&self) -> Vec<f32> {
        let mut direction: Vec<f32> = self.sample.gradient.iter().map(|value| -value).collect();
        let Some((moved, changed)) = self.history.back() else {
            let length = dot(&direction, &direction).sqrt() / (direction.len() as f64).sqrt();
            scale(&mut direction, FIRST_CHANGE / length.max(f64::MIN_POSITIVE));
            return direction;
        };
        let newest = dot(moved, changed) / dot(changed, changed);
        let mut parts = Vec::new();
        for (moved, changed) in self.history.iter().rev() {
            let part = dot(moved, &direction) / dot(moved, changed);
            add(&mut direction, changed, -part);
            parts.push(part);
        }
        scale(&mut direction, newest);
        for ((moved, changed), part) in self.history.iter().zip(parts.iter().rev()) {
            let back = dot(changed, &direction) / dot(moved, changed);
            add(&mut direction, moved, part - back);
        }
        direction
    }

    /// Goes along `direction` as far as Armijo's condition allows, by quadratic interpolation.
    fn search(
        &mut self,
        direction: &[f32],
        slope: f64,
        function: &impl Fn(&[f32]) -> Result<Sample<T>>,
    ) -> Result<bool> {
        let start = self.sample.value;
        let mut length = self.rate;
        for _ in 0..TRIALS {
            let mut point = self.point.clone();
            add(&mut point, direction, length);
            let sample = function(&point)?;
            let allowed = start + SUFFICIENT * length * slope;
            if sample.value <= allowed {
                self.accept(point, sample);
                return Ok(true);
            }
            let bend = sample.value - start - slope * length;
            let lowest = -slope * length * length / (2.0 * bend);
            length = match lowest.is_finite() {
                true => lowest.clamp(0.1 * length, 0.5 * length),
                false => 0.1 * length,
            };
        }
        Ok(false)
    }

    fn accept(&mut self, point: Vec<f32>, sample: Sample<T>) {
        let moved = difference(&point, &self.point);
        let changed = difference(&sample.gradient, &self.sample.gradient);
        self.point = point;
        self.sample = sample;
        // Without positive curvature between the points the pair would turn directions uphill.
        if dot(&moved, &changed) > 1e-10 * dot(&changed, &changed) {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back((moved, changed));
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pieces: Vec<f64> = a
        .par_chunks(PIECE)
        .zip(b.par_chunks(PIECE))
        .map(|(a, b)| {
            let mut lanes = [0.0f64; 8];
            let (a, a_rest) = a.as_chunks::<8>();
            let (b, b_rest) = b.as_chunks::<8>();
            for (a, b) in a.iter().zip(b) {
                for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                    *lane += f64::from(*a) * f64::from(*b);
                }
            }
            let rest = a_rest.iter().zip(b_rest);
            let rest: f64 = rest.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            lanes.iter().sum::<f64>() + rest
        })
        .collect();
    pieces.iter().sum()
}

fn add(to: &mut [f32], from: &[f32], factor: f64) {
    let factor = factor as f32;
    to.par_chunks_mut(PIECE)
        .zip(from.par_chunks(PIECE))
        .for_each(|(to, from)| {
            for (to, from) in to.iter_mut().zip(from) {
                *to += factor * from;
            }
        });
}

fn scale(values: &mut [f32], factor: f64) {
    let factor = factor as f32;
    values.iter_mut().for_each(|value| *value *= factor);
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley, whose lowest point is 0 at (1, 1).
    fn valley(point: &[f32]) -> Result<Sample<()>> {
        let (x, y) = (f64::from(point[0]), f64::from(point[1]));
        let (a, b) = (1.0 - x, y - x * x);
        let gradient = vec![(-2.0 * a - 400.0 * x * b) as f32, (200.0 * b) as f32];
        Ok(Sample {
            value: a * a + 100.0 * b * b,
            gradient,
            details: (),
        })
    }

    #[test]
    fn the_bottom_of_rosenbrocks_valley_is_found() -> Result<()> {
        let mut search = Lbfgs::new(vec![-1.2, 1.0], 1.0, valley)?;
        let mut steps = 0;
        while steps < 100 && search.sample.value > 1e-8 && search.step(valley)? {
            steps += 1;
        }
        assert!(
            search.sample.value <= 1e-8,
            "{} after {steps}",
            search.sample.value
        );
        Ok(())
    }

    #[test]
    fn no_step_is_made_uphill_or_from_the_bottom() -> Result<()> {
        let mut search = Lbfgs::new(vec![-1.2, 1.0], 1.0, valley)?;
        for _ in 0..30 {
            let before = search.sample.value;
            assert!(search.step(valley)?);
            assert!(search.sample.value < before);
        }
        let mut bottom = Lbfgs::new(vec![1.0, 1.0], 1.0, valley)?;
        assert!(!bottom.step(valley)?);
        assert_eq!(bottom.point, [1.0, 1.0]);
        Ok(())
    }
}
