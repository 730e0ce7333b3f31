//! How a camera moves between two frames, and how it disturbs them: at random, as large as is said.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Points of the grid whose random shifts make the local motion, in each direction.
const KNOTS: usize = 5;

/// How far photos move and how they change otherwise. Deviations are those of normal distributions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    /// Deviation of the rotation, in radians.
    pub rotation: f32,
    /// Deviation of the zoom from 1.
    pub zoom: f32,
    /// Deviation of the shift, in parts of the side.
    pub shift: f32,
    /// Deviation of the local motion, in parts of the side.
    pub local: f32,
    /// Highest deviation of the noise; that of a picture lies between 0 and this.
    pub noise: f32,
    /// Deviation of the brightness.
    pub brightness: f32,
}

impl Motion {
    /// What networks are trained on: larger than what happens between two frames.
    pub const TRAINING: Self = Self {
        rotation: 0.03,
        zoom: 0.03,
        shift: 0.025,
        local: 0.01,
        noise: 4.0,
        brightness: 3.0,
    };

    /// What happens between two frames of a film taken by hand.
    pub const FRAME: Self = Self {
        rotation: 0.005,
        zoom: 0.005,
        shift: 0.01,
        local: 0.002,
        noise: 2.0,
        brightness: 1.0,
    };
}

/// Where each pixel of a moved picture comes from.
pub(super) fn places(
    motion: &Motion,
    height: usize,
    width: usize,
    random: &mut ChaCha8Rng,
) -> Vec<[f32; 2]> {
    let side = width.min(height) as f32;
    let zoom = 1.0 + motion.zoom * normal(random);
    let (sin, cos) = (motion.rotation * normal(random)).sin_cos();
    let shift = [(); 2].map(|()| motion.shift * side * normal(random));
    let knots: Vec<[f32; 2]> = (0..KNOTS * KNOTS)
        .map(|_| [(); 2].map(|()| motion.local * side * normal(random)))
        .collect();
    let middle = [(width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0];
    let mut places = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let local = between(&knots, x as f32 / width as f32, y as f32 / height as f32);
            let (dx, dy) = (x as f32 - middle[0], y as f32 - middle[1]);
            places.push([
                middle[0] + zoom * (cos * dx - sin * dy) + shift[0] + local[0],
                middle[1] + zoom * (sin * dx + cos * dy) + shift[1] + local[1],
            ]);
        }
    }
    places
}

/// The value of a grid of `KNOTS` x `KNOTS` at a place in 0..1, without kinks at the knots.
fn between(knots: &[[f32; 2]], x: f32, y: f32) -> [f32; 2] {
    let split = |value: f32| {
        let value = value * (KNOTS - 1) as f32;
        let low = (value as usize).min(KNOTS - 2);
        let part = value - low as f32;
        (low, part * part * (3.0 - 2.0 * part))
    };
    let ((left, fx), (top, fy)) = (split(x), split(y));
    let knot = |dx: usize, dy: usize, axis: usize| knots[(top + dy) * KNOTS + left + dx][axis];
    [0, 1].map(|axis| {
        let above = knot(0, 0, axis) * (1.0 - fx) + knot(1, 0, axis) * fx;
        let below = knot(0, 1, axis) * (1.0 - fx) + knot(1, 1, axis) * fx;
        above * (1.0 - fy) + below * fy
    })
}

/// A number of the standard normal distribution (Box & Muller 1958).
pub(super) fn normal(random: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
}

/// A number of nearly the standard normal distribution: the sum of four uniform ones, which is cheap.
/// Every value of a picture gets one.
pub(super) fn grain(random: &mut ChaCha8Rng) -> f32 {
    let bits: u64 = random.random();
    let sum: u32 = (0..4).map(|i| u32::from((bits >> (16 * i)) as u16)).sum();
    // Each is uniform over 2^16 values: their mean is 2^15 - 1/2, their variance 2^32 / 12.
    (sum as f32 - 131_070.0) * (3f32.sqrt() / 65_536.0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn grain_has_the_mean_and_deviation_of_the_normal_distribution() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f64> = (0..100_000).map(|_| grain(&mut random).into()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        let beyond = values.iter().filter(|v| v.abs() > 1.0).count() as f64 / 1e5;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((square - 1.0).abs() < 0.02, "{square}");
        assert!((beyond - 0.32).abs() < 0.02, "{beyond}");
    }
}
