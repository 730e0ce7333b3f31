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

use super::motion::{Motion, grain, normal, places};
use super::{Settings, Start};
use crate::network::Network;
use crate::ops::{Field, transformer, warp};

/// Part of the steps without steadiness where training begins with random weights: a style has to be
/// there before it can be steadied.
const LATE: f64 = 0.3;

/// A network with memory learns from a still in every third step, otherwise from the last of up to
/// this many frames of motion: what it sees then is what it made of its own paintings, and small
/// faults that add up from frame to frame are seen too.
const FRAMES: u32 = 8;
const STILLS: u32 = 3;

/// Part of the carried painting that stays in the next one, as in a film. Films keep more since they
/// get detail back; the built-in styles were trained with this much.
const STAYS: f64 = 0.4;

/// Most rectangles of a picture in which a carried painting is hidden, as things are that come into
/// view; their sides are at most this part of the picture's.
const HOLES: usize = 3;
const HOLE: f32 = 0.4;

/// Random numbers of a step's motion come from the stream of its number plus this.
const STREAM: u64 = 1 << 63;

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
    let early =
        settings.start == Start::Random && f64::from(step) < LATE * f64::from(settings.steps);
    let still = early || settings.stability == 0.0;
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    random.set_stream(STREAM + u64::from(step));
    if still || !network.memory {
        let painted = transformer(network, weights, photos, None)?;
        let mut difference = None;
        if !still {
            // The losses stay with the photos; what moves has only to follow.
            let moved = Moved::new(photos, None, &Motion::TRAINING, &mut random)?;
            let again = transformer(network, weights, &moved.photos, None)?;
            difference = Some(moved.difference(&painted, &again)?);
        }
        return Ok(Painted {
            photos: photos.clone(),
            painted,
            difference,
        });
    }
    let frames = match step.is_multiple_of(STILLS) {
        true => 0,
        false => random.random_range(1..=FRAMES),
    };
    // The paintings before the last are what they are: the last one has to follow them, not the other
    // way round.
    let fixed: BTreeMap<String, Tensor> = weights
        .iter()
        .map(|(name, values)| (name.clone(), values.detach()))
        .collect();
    let weights_for = |frame| if frame == frames { weights } else { &fixed };
    let mut last = Painted {
        photos: photos.clone(),
        painted: transformer(network, weights_for(0), photos, None)?,
        difference: None,
    };
    let mut before: Option<Moved> = None;
    for frame in 1..=frames {
        let moved = Moved::new(photos, before.as_ref(), &Motion::TRAINING, &mut random)?;
        let carried = moved.carry(&last.painted.detach(), &moved.seen(&mut random)?)?;
        let input = Some(carried.input()?);
        let painted = transformer(network, weights_for(frame), &moved.photos, input.as_ref())?;
        last = Painted {
            photos: moved.photos.clone(),
            difference: Some(carried.difference(&painted)?),
            painted: carried.stay_in(&painted)?,
        };
        before = Some(moved);
    }
    Ok(last)
}

/// Paintings of the photos, moved, where they can be seen.
struct Carried {
    pixels: Tensor, // (N, 3, H, W), 0..255, 0 where they cannot
    seen: Tensor,   // (N, 1, H, W)
}

impl Carried {
    /// What a network with memory sees of them: (N, [`CARRIED`], H, W).
    ///
    /// [`CARRIED`]: crate::network::CARRIED
    fn input(&self) -> Result<Tensor> {
        Ok(Tensor::cat(&[&(&self.pixels / 127.5)?, &self.seen], 1)?)
    }

    /// Mean absolute difference from `painted`, with pixels taken as 0..1.
    fn difference(&self, painted: &Tensor) -> Result<Tensor> {
        let difference = (painted.broadcast_mul(&self.seen)? - &self.pixels)?;
        Ok((difference.abs()?.mean_all()? / 255.0)?)
    }

    /// `painted` as it is shown: some of the carried paintings stays in it.
    fn stay_in(&self, painted: &Tensor) -> Result<Tensor> {
        let towards = (&self.pixels - painted.broadcast_mul(&self.seen)?)?;
        Ok((painted + (towards * STAYS)?)?)
    }
}

/// Photos as they look a moment later, and where everything went.
pub struct Moved {
    /// The moved photos, of the shape of the photos, 0..255.
    pub photos: Tensor,
    field: Arc<Field>, // from the frame before
    whole: Arc<Field>, // from the photos
    inside: Tensor,    // (N, 1, H, W)
}

impl Moved {
    /// Moves `photos` (N, 3, H, W) at random, on from `before`. Every frame is made of the photos
    /// themselves: moved again and again they would blur.
    pub fn new(
        photos: &Tensor,
        before: Option<&Self>,
        motion: &Motion,
        random: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let (batch, channels, height, width) = photos.dims4()?;
        let places = (0..batch).flat_map(|_| places(motion, height, width, random));
        let field = Arc::new(Field::new(batch, height, width, places.collect())?);
        let whole = match before {
            Some(before) => Arc::new(field.after(&before.whole)?),
            None => Arc::clone(&field),
        };
        let mut change = Vec::with_capacity(photos.elem_count());
        for _ in 0..batch {
            let noise = random.random_range(0.0..=motion.noise);
            let brightness = motion.brightness * normal(random);
            let values = (0..channels * height * width).map(|_| noise * grain(random));
            change.extend(values.map(|noise| noise + brightness));
        }
        let device: &Device = photos.device();
        let change = Tensor::from_vec(change, photos.shape(), device)?;
        Ok(Self {
            photos: (warp(photos, &whole)? + change)?.clamp(0.0, 255.0)?,
            inside: Tensor::from_vec(field.inside(), (batch, 1, height, width), device)?,
            field,
            whole,
        })
    }

    /// How far the painting of the moved photos is from the moved painting of the photos: both
    /// paintings, their mean absolute difference over what both show, with pixels taken as 0..1.
    pub fn difference(&self, painted: &Tensor, painted_moved: &Tensor) -> Result<Tensor> {
        let difference = (painted_moved - warp(painted, &self.field)?)?;
        let visible = difference.abs()?.broadcast_mul(&self.inside)?;
        Ok((visible.mean_all()? / 255.0)?)
    }

    /// Moves `painted`, the paintings of the photos (or of the frame before). `seen` (N, 1, H, W)
    /// says where they can be seen.
    fn carry(&self, painted: &Tensor, seen: &Tensor) -> Result<Carried> {
        let moved = warp(&painted.clamp(0.0, 255.0)?, &self.field)?;
        Ok(Carried {
            pixels: moved.broadcast_mul(seen)?,
            seen: seen.clone(),
        })
    }

    /// The moved photos' paintings by a network that has just painted the photos, 0..255.
    pub fn paint(
        &self,
        network: &Network,
        weights: &BTreeMap<String, Tensor>,
        painted: &Tensor,
    ) -> Result<Tensor> {
        let carried = match network.memory {
            true => Some(self.carry(painted, &self.inside)?.input()?),
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
        let moved = Moved::new(&photo, None, &motion, &mut random(1, 0))?;
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
            let moved = Moved::new(&photo, None, &Motion::TRAINING, &mut random(seed, step))?;
            Ok::<_, anyhow::Error>(moved.photos.flatten_all()?.to_vec1::<f32>()?)
        };
        assert_eq!(values(1, 2)?, values(1, 2)?);
        assert_ne!(values(1, 2)?, values(1, 3)?);
        assert_ne!(values(1, 2)?, values(2, 2)?);

        let moved = Moved::new(&photo, None, &STILL, &mut random(1, 2))?;
        assert!(moved.squared(&photo, &moved.photos)? < 1e-12);
        let noisy = Motion {
            noise: 4.0,
            ..STILL
        };
        let squares = (0..40)
            .map(|step| {
                Moved::new(&photo, None, &noisy, &mut random(1, step))?.squared(&photo, &photo)
            })
            .collect::<Result<Vec<_>>>()?;
        assert!(
            squares.iter().all(|square| *square < 1e-12),
            "noise is not motion"
        );
        let differences = (0..40)
            .map(|step| {
                let moved = Moved::new(&photo, None, &noisy, &mut random(1, step))?;
                moved.squared(&photo, &moved.photos)
            })
            .collect::<Result<Vec<_>>>()?;
        // The mean of a square that is uniform in its root is a third of the highest.
        let mean = differences.iter().sum::<f64>() / 40.0 * 255.0 * 255.0;
        assert!((3.0..8.0).contains(&mean), "{mean}");
        Ok(())
    }
}
