//! Steadiness: the painting of a moved photo should be the moved painting.
//!
//! A photo is moved by a known smooth motion and shown as a camera would show it a moment later,
//! with noise and another brightness. Since the motion is known, no optical flow is needed. A network
//! with memory is shown its last painting moved the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Settings;
use crate::network::Network;
use crate::ops::{Field, transformer, warp};

/// Part of the steps without steadiness where training begins with random weights: a style has to be
/// there before it can be steadied.
const LATE: f64 = 0.3;

/// A network with memory paints this many frames in turn, one more in each step, then begins anew:
/// stills, second and third frames get the same share of the losses.
const FRAMES: u32 = 3;

/// Most rectangles of a picture in which a carried painting is hidden, as things are that come into
/// view; their sides are at most this part of the picture's.
const HOLES: usize = 3;
const HOLE: f32 = 0.4;

/// Random numbers of a step's motion come from the stream of its number plus this.
const STREAM: u64 = 1 << 63;

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

/// What a training step paints.
pub struct Painted {
    /// The photos that were painted last, (N, 3, H, W).
    pub photos: Tensor,
    /// Their paintings.
    pub painted: Tensor,
    /// Mean difference of paintings from the ones before, moved; `None` where nothing was moved.
    pub difference: Option<Tensor>,
}

/// Paints `photos` (N, 3, H, W) as step `step` of a training does: as stills, or in motion.
pub fn paint(
    network: &Network,
    weights: &BTreeMap<String, Tensor>,
    photos: &Tensor,
    settings: &Settings,
    step: u32,
) -> Result<Painted> {
    let painted = transformer(network, weights, photos, None)?;
    let mut last = Painted {
        photos: photos.clone(),
        painted,
        difference: None,
    };
    let early = f64::from(step) < LATE * f64::from(settings.steps) && settings.start.is_empty();
    if early || settings.stability == 0.0 {
        return Ok(last);
    }
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    random.set_stream(STREAM + u64::from(step));
    if !network.memory {
        // The losses stay with the photos; what moves has only to follow.
        let moved = Moved::new(photos, &Motion::TRAINING, &mut random)?;
        let again = transformer(network, weights, &moved.photos, None)?;
        last.difference = Some(moved.difference(&last.painted, &again)?);
        return Ok(last);
    }
    for _ in 0..step % FRAMES {
        let moved = Moved::new(&last.photos, &Motion::TRAINING, &mut random)?;
        let seen = moved.seen(&mut random)?;
        // The last painting is what it is: the next one has to follow it, not the other way round.
        let before = last.painted.detach();
        let carried = moved.carry(&before, &seen)?;
        let painted = transformer(network, weights, &moved.photos, Some(&carried))?;
        let difference = moved.difference_where(&before, &painted, &seen)?;
        last = Painted {
            difference: Some(match last.difference {
                Some(sum) => (sum + difference)?,
                None => difference,
            }),
            painted,
            photos: moved.photos,
        };
    }
    Ok(last)
}

/// Photos as they look a moment later, and where everything went.
pub struct Moved {
    /// The moved photos, of the shape of the photos, 0..255.
    pub photos: Tensor,
    field: Arc<Field>,
    inside: Tensor, // (N, 1, H, W)
}

impl Moved {
    /// Moves `photos` (N, 3, H, W) at random.
    pub fn new(photos: &Tensor, motion: &Motion, random: &mut ChaCha8Rng) -> Result<Self> {
        let (batch, channels, height, width) = photos.dims4()?;
        let places = (0..batch).flat_map(|_| places(motion, height, width, random));
        let field = Arc::new(Field::new(batch, height, width, places.collect())?);
        let mut change = Vec::with_capacity(photos.elem_count());
        for _ in 0..batch {
            let noise = random.random_range(0.0..=motion.noise);
            let brightness = motion.brightness * normal(random);
            let values = (0..channels * height * width).map(|_| noise * normal(random));
            change.extend(values.map(|noise| noise + brightness));
        }
        let device: &Device = photos.device();
        let change = Tensor::from_vec(change, photos.shape(), device)?;
        Ok(Self {
            photos: (warp(photos, &field)? + change)?.clamp(0.0, 255.0)?,
            inside: Tensor::from_vec(field.inside(), (batch, 1, height, width), device)?,
            field,
        })
    }

    /// How far the painting of the moved photos is from the moved painting of the photos: both
    /// paintings, their mean absolute difference over what both show, with pixels taken as 0..1.
    pub fn difference(&self, painted: &Tensor, painted_moved: &Tensor) -> Result<Tensor> {
        self.difference_where(painted, painted_moved, &self.inside)
    }

    /// The same, weighted by `seen` (N, 1, H, W).
    fn difference_where(
        &self,
        painted: &Tensor,
        painted_moved: &Tensor,
        seen: &Tensor,
    ) -> Result<Tensor> {
        let difference = (painted_moved - warp(painted, &self.field)?)?;
        let visible = difference.abs()?.broadcast_mul(seen)?;
        Ok((visible.mean_all()? / 255.0)?)
    }

    /// What a network with memory sees of `painted`, the paintings of the photos: (N, [`CARRIED`], H,
    /// W). `seen` (N, 1, H, W) says where.
    ///
    /// [`CARRIED`]: crate::network::CARRIED
    fn carry(&self, painted: &Tensor, seen: &Tensor) -> Result<Tensor> {
        let moved = warp(&painted.clamp(0.0, 255.0)?, &self.field)?;
        let values = (moved.broadcast_mul(seen)? / 127.5)?;
        Ok(Tensor::cat(&[&values, seen], 1)?)
    }

    /// The moved photos' paintings by a network that has just painted the photos, 0..255.
    pub fn paint(
        &self,
        network: &Network,
        weights: &BTreeMap<String, Tensor>,
        painted: &Tensor,
    ) -> Result<Tensor> {
        let carried = match network.memory {
            true => Some(self.carry(painted, &self.inside)?),
            false => None,
        };
        let again = transformer(network, weights, &self.photos, carried.as_ref())?;
        Ok(again.clamp(0.0, 255.0)?)
    }

    /// Where a carried painting can be seen: inside, but for a few rectangles.
    fn seen(&self, random: &mut ChaCha8Rng) -> Result<Tensor> {
        let (batch, _, height, width) = self.inside.dims4()?;
        let mut seen = self.inside.flatten_all()?.to_vec1::<f32>()?;
        for picture in seen.chunks_exact_mut(height * width).take(batch) {
            for _ in 0..random.random_range(0..=HOLES) {
                let mut stretch = |length: usize| {
                    let size = (random.random_range(0.0..HOLE) * length as f32) as usize;
                    let from = random.random_range(0..=length - size);
                    from..from + size
                };
                let (rows, columns) = (stretch(height), stretch(width));
                for row in rows {
                    picture[row * width..][columns.clone()].fill(0.0);
                }
            }
        }
        Ok(Tensor::from_vec(
            seen,
            self.inside.shape(),
            self.photos.device(),
        )?)
    }

    /// The mean squared difference over what both show, with pixels taken as 0..1: its root is the
    /// warping error of Lai et al. 2018 ("Learning Blind Video Temporal Consistency").
    pub fn squared(&self, painted: &Tensor, painted_moved: &Tensor) -> Result<f64> {
        let difference = (painted_moved - warp(painted, &self.field)?)?;
        let visible = difference.sqr()?.broadcast_mul(&self.inside)?;
        let mean = f64::from(visible.mean_all()?.to_scalar::<f32>()?);
        let part = f64::from(self.inside.mean_all()?.to_scalar::<f32>()?);
        Ok(mean / part.max(f64::MIN_POSITIVE) / (255.0 * 255.0))
    }
}

/// Where each pixel of a moved picture comes from.
fn places(motion: &Motion, height: usize, width: usize, random: &mut ChaCha8Rng) -> Vec<[f32; 2]> {
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
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Motion = Motion {
        rotation: 0.0,
        zoom: 0.0,
        shift: 0.0,
        local: 0.0,
        noise: 0.0,
        brightness: 0.0,
    };

    fn random(seed: u64, step: u32) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(step));
        random
    }

    fn photo() -> Result<Tensor> {
        let value = |i: u32| 40.0 + (i % 64) as f32 + 2.0 * (i / 64 % 48) as f32;
        let values: Vec<f32> = (0..3 * 64 * 48).map(value).collect();
        Ok(Tensor::from_vec(values, (1, 3, 48, 64), &Device::Cpu)?)
    }

    #[test]
    fn a_painter_of_single_pixels_is_steady_and_one_of_places_is_not() -> Result<()> {
        let photo = photo()?;
        let motion = Motion {
            noise: 0.0,
            brightness: 0.0,
            ..Motion::TRAINING
        };
        let moved = Moved::new(&photo, &motion, &mut random(1, 0))?;
        let negative = |photo: &Tensor| photo.neg()? + 255.0;
        let steady = moved.squared(&negative(&photo)?, &negative(&moved.photos)?)?;
        assert!(steady < 1e-9, "{steady}");
        // Paints the same picture whatever it sees.
        let stuck = moved.squared(&photo, &photo)?;
        assert!(stuck > 1e-5, "{stuck}");
        let difference = moved.difference(&photo, &photo)?.to_scalar::<f32>()?;
        assert!(
            difference > 1e-3 && f64::from(difference).powi(2) <= stuck,
            "{difference}"
        );
        Ok(())
    }

    #[test]
    fn motions_follow_from_seed_and_step_and_are_as_large_as_said() -> Result<()> {
        let photo = photo()?;
        let values = |seed, step| {
            let moved = Moved::new(&photo, &Motion::TRAINING, &mut random(seed, step))?;
            Ok::<_, anyhow::Error>(moved.photos.flatten_all()?.to_vec1::<f32>()?)
        };
        assert_eq!(values(1, 2)?, values(1, 2)?);
        assert_ne!(values(1, 2)?, values(1, 3)?);
        assert_ne!(values(1, 2)?, values(2, 2)?);

        let moved = Moved::new(&photo, &STILL, &mut random(1, 2))?;
        assert!(moved.squared(&photo, &moved.photos)? < 1e-12);
        let noisy = Motion {
            noise: 4.0,
            ..STILL
        };
        let squares = (0..40)
            .map(|step| Moved::new(&photo, &noisy, &mut random(1, step))?.squared(&photo, &photo))
            .collect::<Result<Vec<_>>>()?;
        assert!(
            squares.iter().all(|square| *square < 1e-12),
            "noise is not motion"
        );
        let differences = (0..40)
            .map(|step| {
                let moved = Moved::new(&photo, &noisy, &mut random(1, step))?;
                moved.squared(&photo, &moved.photos)
            })
            .collect::<Result<Vec<_>>>()?;
        // The mean of a square that is uniform in its root is a third of the highest.
        let mean = differences.iter().sum::<f64>() / 40.0 * 255.0 * 255.0;
        assert!((3.0..8.0).contains(&mean), "{mean}");
        Ok(())
    }
}
