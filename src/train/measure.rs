//! Looking at a network: the preview picture, and the losses over photos it was not trained on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::dataset::cut;
use super::loss::{PerceptualLoss, grid};
use super::motion::Motion;
use super::stability::Moved;
use super::{Event, to_tensor, values};
use crate::frame::Frame;
use crate::media::picture;
use crate::network::Network;
use crate::ops::transformer;
use crate::output::Existing;
use crate::photos::{Photo, spread};

/// Photos in the preview, one in each row.
const ROWS: usize = 4;

/// Side of a square of the preview, in pixels.
const SIDE: usize = 256;

/// Shorter side of the photos that a model is measured on, in pixels.
pub const SHORT: usize = 256;

/// Mean figures over photos that the network was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Relative content loss.
    pub content: f64,
    /// Relative style loss.
    pub style: f64,
    /// How far the painting moves by itself between two frames of a film.
    pub flicker: f64,
    /// What repeats with the network's grid of 4 pixels: the root of [`grid`]'s mean.
    pub grid: f64,
    /// Number of photos.
    pub photos: usize,
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            content,
            style,
            flicker,
            grid,
            photos,
        } = self;
        write!(
            f,
            "content {content:.4}, style {style:.4}, flicker {flicker:.4}, grid {grid:.4} ({photos} \
             photos, short side {SHORT})"
        )
    }
}

/// How much paintings flicker: each photo is moved as a camera in the hand moves between two frames,
/// with noise; the painting of what is seen then is held against the moved painting. Since the motion
/// is known, no error of an optical flow adds to the figure.
#[derive(Clone, Copy, Debug, Default)]
struct Flicker {
    squares: f64,
    photos: u32,
}

impl Flicker {
    /// Adds `photo` and its painting, both (1, 3, H, W), 0..255. Photos are moved by motions that
    /// follow from their number, the same for every network.
    fn add(
        &mut self,
        network: &Network,
        weights: &BTreeMap<String, Tensor>,
        photo: &Tensor,
        painted: &Tensor,
    ) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(self.photos));
        let moved = Moved::new(photo, None, &Motion::FRAME, &mut random)?;
        let again = moved.paint(network, weights, painted)?;
        self.squares += moved.squared(painted, &again)?;
        self.photos += 1;
        Ok(())
    }

    /// The root mean squared difference with pixels taken as 0..1; 0 without photos.
    fn figure(&self) -> f64 {
        (self.squares / f64::from(self.photos.max(1))).sqrt()
    }
}

/// Measures a network on photos: each painted whole at a short side of 256 pixels. `None` where not
/// one photo can be read, or once `stop` is set.
pub fn validate(
    network: &Network,
    weights: &BTreeMap<String, Tensor>,
    loss: &PerceptualLoss,
    photos: &[Photo],
    device: &Device,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event),
) -> Result<Option<Validation>> {
    let weights = frozen(weights);
    let (mut content, mut style, mut squares, mut count) = (0.0, 0.0, 0.0, 0);
    let mut flicker = Flicker::default();
    for photo in photos {
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let photo = match photo.read_scaled(SHORT) {
            Ok(photo) => ready(&photo, device)?,
            Err(error) => {
                tell(Event::Remark(format!("left out a photo: {error:#}")));
                continue;
            }
        };
        let painted = paint(network, &weights, &photo)?;
        let losses = loss.of(&painted, &photo)?;
        let [c, s, g] = values([&losses.content, &losses.style, &grid(&painted)?])?;
        content += f64::from(c);
        style += f64::from(s);
        squares += f64::from(g);
        flicker.add(network, &weights, &photo, &painted)?;
        count += 1;
    }
    Ok((count > 0).then(|| Validation {
        content: content / count as f64,
        style: style / count as f64,
        flicker: flicker.figure(),
        grid: (squares / count as f64).sqrt(),
        photos: count,
    }))
}

/// The flicker of a network's paintings of `frames`; `None` where there are none, or once `stop` is set.
pub fn flicker(
    network: &Network,
    weights: &BTreeMap<String, Tensor>,
    frames: &[Frame],
    device: &Device,
    stop: &AtomicBool,
) -> Result<Option<f64>> {
    let mut flicker = Flicker::default();
    for frame in frames {
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let photo = ready(frame, device)?;
        let painted = paint(network, weights, &photo)?;
        flicker.add(network, weights, &photo, &painted)?;
    }
    Ok((!frames.is_empty()).then(|| flicker.figure()))
}

/// A photo as (1, 3, H, W), sides cut to multiples of 4.
pub(super) fn ready(photo: &Frame, device: &Device) -> Result<Tensor> {
    let photo = to_tensor(photo, device)?;
    let cut = |size: usize| size / Network::MULTIPLE * Network::MULTIPLE;
    let (_, _, height, width) = photo.dims4()?;
    let photo = photo.narrow(2, 0, cut(height))?.narrow(3, 0, cut(width))?;
    Ok(photo.contiguous()?)
}

/// The painting as it is shown: clamped to 0..255.
pub(super) fn paint(
    network: &Network,
    weights: &BTreeMap<String, Tensor>,
    photo: &Tensor,
) -> Result<Tensor> {
    Ok(transformer(network, weights, photo, None)?.clamp(0.0, 255.0)?)
}

/// A picture file that shows what the network makes of a few photos: photo left, painted right.
pub struct Preview {
    place: PathBuf,
    photos: Tensor, // (rows, 3, SIDE, SIDE)
}

impl Preview {
    /// Takes up to four of `photos`, spread over the list, that can be read.
    pub fn open(place: &Path, photos: &[Photo], device: &Device) -> Result<Self> {
        let mut squares = Vec::new();
        // The training itself says which photos cannot be read.
        let readable = spread(photos, ROWS).filter_map(|photo| photo.read_scaled(SIDE).ok());
        for photo in readable.take(ROWS) {
            let mut square = vec![0.0; 3 * SIDE * SIDE];
            let (left, top) = ((photo.width - SIDE) / 2, (photo.height - SIDE) / 2);
            cut(&photo, left, top, SIDE, false, &mut square);
            squares.push(Tensor::from_vec(square, (3, SIDE, SIDE), device)?);
        }
        ensure!(
            !squares.is_empty(),
            "not one of the {} photos can be read (the first is `{}`): name others",
            photos.len(),
            photos.first().map(Photo::to_string).unwrap_or_default()
        );
        Ok(Self {
            place: place.to_path_buf(),
            photos: Tensor::stack(&squares, 0)?,
        })
    }

    /// Paints the photos and writes the picture.
    pub fn write(&self, network: &Network, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        let painted = transformer(network, &frozen(weights), &self.photos, None)?;
        let pairs = Tensor::cat(&[&self.photos, &painted], 3)?; // (rows, 3, SIDE, 2 SIDE)
        let rows = pairs.dim(0)?;
        let planes = pairs.transpose(0, 1)?.contiguous()?.flatten_all()?;
        let mut frame = Frame::new(2 * SIDE, rows * SIDE);
        frame.set_from_planes(&planes.to_vec1()?);
        picture::write(&self.place, &frame, Existing::Overwrite)
    }
}

/// The weights without what gradients would need.
fn frozen(weights: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let frozen = |(name, weight): (&String, &Tensor)| (name.clone(), weight.detach());
    weights.iter().map(frozen).collect()
}
