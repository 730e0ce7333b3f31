//! Learning to predict styles: many paintings, each in variants, and the weights that a predictor gives the
//! network for them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::checkpoint::values;
use super::loss::{Goals, PerceptualLoss};
use super::{Event, Settings, Start, to_tensor};
use crate::eigen::eigen;
use crate::frame::Frame;
use crate::model::Model;
use crate::network::{Network, Width};
use crate::photos::{Photo, photos_in};
use crate::predict::descriptor::{NUMBERS, describe};
use crate::predict::{BASE, DIRECTIONS, Places, SHORT};
use crate::scale;
use crate::styles;

/// Directions of a predictor. Each takes 0.1 MB in its file.
const COUNT: usize = 32;

/// Variants of each painting, the painting itself among them.
const VARIANTS: usize = 12;

/// Variants whose goals are kept once they are known, 2.4 MB each: some 1 GiB. Those of others are found again
/// whenever they are drawn, in the time of a third of a step.
const KEPT: usize = 400;

/// One in so many variants keeps the painting's colours.
const OWN_COLORS: usize = 4;

/// Shorter sides of variants, in pixels: strokes are finer or coarser.
const SIDES: [f64; 2] = [0.75 * SHORT as f64, 1.25 * SHORT as f64];

/// Random numbers of variants, and of the paintings of steps, come from the streams from here on.
const VARIANT_STREAM: u64 = 1 << 61;
const STEP_STREAM: u64 = 1 << 62;

/// Paintings to learn from.
pub struct Paintings {
    network: Network,
    names: Vec<String>,
    variants: Vec<Variant>,
    places: Places,
    seed: u64,
}

/// A painting as it might also have been.
struct Variant {
    picture: Frame,
    place: Vec<f32>,
    goals: OnceCell<Goals>,
}

impl Paintings {
    /// Those below a folder. Fails for fewer than two, and for one that cannot be read.
    pub fn open(folder: &Path, settings: &Settings, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        ensure!(
            settings.start == Start::BuiltIn,
            "`{}` is a folder: what predicts the styles of its paintings begins with the built-in styles, \
             leave out --start",
            folder.display()
        );
        let files = photos_in(folder)?;
        ensure!(
            files.len() > 1,
            "one painting in `{}`: styles are predicted from many",
            folder.display()
        );
        tell(Event::Looking(files.len()));
        let variants = |(index, file): (usize, &Photo)| -> Result<Vec<Frame>> {
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            random.set_stream(VARIANT_STREAM + index as u64);
            let painting = file.read_scaled(SIDES[1] as usize)?;
            let mut variants = vec![file.read_scaled(SHORT)?];
            for variant in 1..VARIANTS {
                variants.push(varied(&painting, variant % OWN_COLORS != 0, &mut random)?);
            }
            Ok(variants)
        };
        let pictures = files.par_iter().enumerate().map(variants);
        let pictures: Vec<Frame> = pictures
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        let numbers: Vec<_> = pictures.par_iter().map(describe).collect();
        let places = places(&numbers);
        let variants = pictures.into_iter().zip(&numbers);
        let variants = variants.map(|(picture, numbers)| Variant {
            place: places.of_numbers(numbers),
            picture,
            goals: OnceCell::new(),
        });
        Ok(Self {
            network: settings.network(),
            names: files.iter().map(Photo::stem).collect(),
            variants: variants.collect(),
            places,
            seed: settings.seed,
        })
    }

    /// The first painting.
    pub fn first(&self) -> &Frame {
        &self.variants[0].picture
    }

    /// The pixels of all variants.
    pub fn pixels(&self) -> impl Iterator<Item = &[u8]> {
        self.variants
            .iter()
            .map(|variant| &variant.picture.pixels[..])
    }

    /// What is trained, by name: the mean of the built-in styles, and directions that lead from there to each
    /// style whose painting is among those in the folder, as a file of that name.
    pub fn first_weights(&self, device: &Device) -> Result<Vec<(String, Var)>> {
        let mean =
            styles::built_in_mean(Width::Small)?.context("no built-in styles to begin with")?;
        ensure!(
            mean.network == self.network,
            "only the small network with memory can be predicted"
        );
        let known = self
            .names
            .iter()
            .zip(self.variants.iter().step_by(VARIANTS));
        let known: Vec<(&[f32], Model)> = known
            .filter_map(|(name, variant)| Some((&variant.place[..], styles::built_in(name).ok()?)))
            .collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let mut weights = Vec::new();
        for (name, shape) in self.network.tensors() {
            let base = &mean.tensors[&name].data;
            let mut directions = vec![0.0; COUNT * base.len()];
            for (place, model) in &known {
                // Together the paintings that lie near to this one lead no further than to its style.
                let near: f32 = known.iter().map(|(other, _)| dot(place, other).abs()).sum();
                for (at, direction) in place.iter().zip(directions.chunks_exact_mut(base.len())) {
                    let pairs = model.tensors[&name].data.iter().zip(base);
                    for (step, (style, base)) in direction.iter_mut().zip(pairs) {
                        *step += at / near * (style - base);
                    }
                }
            }
            let shapes = [shape.clone(), [&[COUNT][..], &shape].concat()];
            for ((before, values), shape) in [(BASE, base), (DIRECTIONS, &directions)]
                .into_iter()
                .zip(shapes)
            {
                let var = Var::from_slice(values, shape, device)?;
                weights.push((format!("{before}{name}"), var));
            }
        }
        Ok(weights)
    }

    /// The network's weights for the painting of a step, of `trained` as [`Self::first_weights`] names it;
    /// `loss` aims at that painting from then on.
    pub fn begin_step(
        &self,
        step: u32,
        trained: &BTreeMap<String, Tensor>,
        loss: &mut PerceptualLoss,
        device: &Device,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(STEP_STREAM + u64::from(step));
        let drawn = random.random_range(0..self.variants.len());
        let variant = &self.variants[drawn];
        let goals = match variant.goals.get() {
            Some(goals) => goals.clone(),
            None => loss.goals(&to_tensor(&variant.picture, device)?)?,
        };
        if drawn < KEPT {
            variant.goals.get_or_init(|| goals.clone());
        }
        loss.aim(goals);
        self.weights_at(&variant.place, trained, device)
    }

    /// The network's weights for the first painting.
    pub fn shown(
        &self,
        trained: &BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<BTreeMap<String, Tensor>> {
        self.weights_at(&self.variants[0].place, trained, device)
    }

    fn weights_at(
        &self,
        place: &[f32],
        trained: &BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<BTreeMap<String, Tensor>> {
        let place = Tensor::from_slice(place, (1, COUNT), device)?;
        let tensors = self.network.tensors().into_iter().map(|(name, shape)| {
            let part = |before: &str| {
                let name = format!("{before}{name}");
                trained
                    .get(&name)
                    .with_context(|| format!("no tensor `{name}`"))
            };
            let directions = part(DIRECTIONS)?.flatten_from(1)?;
            let away = place.matmul(&directions)?.reshape(shape)?;
            Ok((name.clone(), (part(BASE)? + away)?))
        });
        tensors.collect()
    }

    /// The bytes of the predictor's file.
    pub fn to_bytes(
        &self,
        trained: &BTreeMap<String, Tensor>,
        about: BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let parts = trained
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), values(tensor)?)));
        crate::predict::to_bytes(&self.places, parts.collect::<Result<_>>()?, about)
    }
}

/// A part of a painting, smaller or larger, perhaps mirrored, perhaps in other colours.
fn varied(painting: &Frame, other_colors: bool, random: &mut ChaCha8Rng) -> Result<Frame> {
    let part = random.random_range(0.6f64..=1.0).sqrt();
    let [width, height] =
        [painting.width, painting.height].map(|size| (size as f64 * part) as usize);
    let left = random.random_range(0..=painting.width - width);
    let top = random.random_range(0..=painting.height - height);
    let mirrored = random.random::<bool>();
    let colors = Colors::drawn(random);
    let mut cut = Frame::new(width, height);
    for (y, row) in cut.pixels.chunks_exact_mut(3 * width).enumerate() {
        let from = ((top + y) * painting.width + left) * 3;
        let from = painting.pixels[from..from + 3 * width].chunks_exact(3);
        for (x, pixel) in from.enumerate() {
            let to = if mirrored { width - 1 - x } else { x };
            let pixel = [pixel[0], pixel[1], pixel[2]];
            let pixel = if other_colors {
                colors.of(pixel)
            } else {
                pixel
            };
            row[3 * to..3 * to + 3].copy_from_slice(&pixel);
        }
    }
    let short = random.random_range(SIDES[0].ln()..SIDES[1].ln()).exp();
    let factor = short / width.min(height) as f64;
    let [width, height] = [width, height].map(|size| (size as f64 * factor).round() as usize);
    scale::resized(&cut, width, height)
}

/// Other colours: hues turned about grey, more or less colour, contrast and light.
struct Colors {
    matrix: [[f32; 3]; 3],
    contrast: f32,
    light: f32,
}

impl Colors {
    fn drawn(random: &mut ChaCha8Rng) -> Self {
        let (sine, cosine) = random.random_range(0.0..std::f32::consts::TAU).sin_cos();
        let saturation: f32 = random.random_range(0.6..1.3);
        // Rodrigues' rotation about the axis of greys.
        let third = 1.0 / 3.0f32;
        let turn = |i: usize, j: usize| match (3 + j - i) % 3 {
            0 => cosine + third * (1.0 - cosine),
            1 => third * (1.0 - cosine) - third.sqrt() * sine,
            _ => third * (1.0 - cosine) + third.sqrt() * sine,
        };
        let row = |i| std::array::from_fn(|j| third + saturation * (turn(i, j) - third));
        Self {
            matrix: std::array::from_fn(row),
            contrast: random.random_range(0.75..1.15),
            light: random.random_range(-25.0..25.0),
        }
    }

    fn of(&self, pixel: [u8; 3]) -> [u8; 3] {
        self.matrix.map(|row| {
            let turned: f32 = row
                .iter()
                .zip(pixel)
                .map(|(part, value)| part * f32::from(value))
                .sum();
            let value = (turned - 127.0) * self.contrast + 127.0 + self.light;
            value.round().clamp(0.0, 255.0) as u8
        })
    }
}

/// The directions in which pictures of these descriptors differ most: their principal components, each divided by
/// its deviation.
fn places(all: &[[f32; NUMBERS]]) -> Places {
    let count = all.len() as f64;
    let middle: [f64; NUMBERS] = std::array::from_fn(|i| {
        all.iter().map(|numbers| f64::from(numbers[i])).sum::<f64>() / count
    });
    let mut covariance = Box::new([[0.0; NUMBERS]; NUMBERS]);
    for numbers in all {
        let away: [f64; NUMBERS] = std::array::from_fn(|i| f64::from(numbers[i]) - middle[i]);
        for (row, a) in covariance.iter_mut().zip(away) {
            for (cell, b) in row.iter_mut().zip(away) {
                *cell += a * b / count;
            }
        }
    }
    let (values, vectors) = eigen(&covariance);
    let mut order: Vec<usize> = (0..NUMBERS).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    // Fewer pictures than directions leave nothing along the last ones.
    let least = 1e-4 * values[order[0]];
    let row =
        |k: usize| std::array::from_fn(|i| (vectors[i][k] / values[k].max(least).sqrt()) as f32);
    Places {
        middle: middle.map(|value| value as f32),
        rows: order.into_iter().take(COUNT).map(row).collect(),
    }
}
