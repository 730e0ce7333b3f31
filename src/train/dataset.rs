//! Photos for training: decoded ahead by threads of their own, cropped, flipped.
//!
//! Every batch follows from the seed and the number of the step alone, so that a training can
//! go on from any step. A photo that cannot be read is left out with a remark and another stands in.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::frame::Frame;
use crate::photos::{Photo, photos_of};

/// The shorter side of a photo is scaled to the crop plus this many pixels, so that crops differ.
const MARGIN: usize = 28;

/// Most threads that decode, one for each core. A GPU learns from 280 photos a second, a core reads
/// some 400 of 640x480 or 13 of 4000x3000. Once the photos are in memory they have little to do.
const MOST_DECODERS: usize = 8;

/// Squares drawn for one place of a batch until one is not of a single colour.
const DRAWS: usize = 100;

/// Batches that each thread makes ahead.
const AHEAD: usize = 2;

/// Scaled photos are kept in memory up to this many bytes, so that they are decoded only once: five
/// thousand photos at the default crop.
const CACHE_BYTES: usize = 1 << 30;

/// Photos, as batches of random crops.
pub struct Dataset {
    folder: PathBuf, // below which files are named
    photos: Vec<Photo>,
    batch: usize,
    crop: usize,
    seed: u64,
    cache: Mutex<Cache>,
}

/// Photos that were looked at: `None` stands for one that cannot be used.
#[derive(Default)]
struct Cache {
    photos: HashMap<usize, Option<Arc<Frame>>>,
    bytes: usize,
}

/// The photos of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (batch, 3, crop, crop) values, RGB 0..255.
    pub pixels: Vec<f32>,
    /// Photos that were found to be unusable, and why.
    pub remarks: Vec<String>,
}

/// Batches in the order of the steps, made ahead.
pub struct Batches {
    receivers: Vec<Receiver<Result<Batch>>>,
    step: usize,
}

impl Dataset {
    /// Batches of `batch` square crops with sides of `crop` pixels from the photos below `folder`, or
    /// from the program's own pictures.
    pub fn open(folder: Option<&Path>, batch: usize, crop: usize, seed: u64) -> Result<Self> {
        Ok(Self {
            folder: folder.unwrap_or(Path::new("")).to_path_buf(),
            photos: photos_of(folder)?,
            batch,
            crop,
            seed,
            cache: Mutex::default(),
        })
    }

    /// The names of the photos, in their order: of files below their folder.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.photos.iter().map(|photo| match photo {
            Photo::File(path) => path.strip_prefix(&self.folder).unwrap_or(path).as_os_str(),
            Photo::Sample(name, _) => OsStr::new(name),
        })
    }

    /// The photos, those of a folder sorted by path.
    pub fn photos(&self) -> &[Photo] {
        &self.photos
    }

    /// Photos that were found to be unusable so far.
    pub fn skipped(&self) -> usize {
        let cache = self.cache();
        cache
            .photos
            .values()
            .filter(|photo| photo.is_none())
            .count()
    }

    /// The batch of a step, without squares of a single colour. Fails when not one photo can be read
    /// or shows anything.
    pub fn batch(&self, step: usize) -> Result<Batch> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(step as u64);
        let area = self.crop * self.crop;
        let mut batch = Batch {
            pixels: vec![0.0; self.batch * 3 * area],
            remarks: Vec::new(),
        };
        for planes in batch.pixels.chunks_exact_mut(3 * area) {
            let mut draws = 0..DRAWS;
            loop {
                ensure!(
                    draws.next().is_some(),
                    "{DRAWS} squares of {0}x{0} pixels, drawn from the {1} photos in a row, show one \
                     colour each: add photos that show something",
                    self.crop,
                    self.photos.len()
                );
                let first = random.random_range(0..self.photos.len());
                let photo = self.photo(first, &mut batch.remarks)?;
                let left = random.random_range(0..=photo.width - self.crop);
                let top = random.random_range(0..=photo.height - self.crop);
                let flip = random.random::<bool>();
                cut(&photo, left, top, self.crop, flip, planes);
                if !is_plain(planes, area) {
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Starts threads in `scope` that make the batches from step `first` on; they end when the
    /// result is dropped.
    pub fn batches<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        first: usize,
    ) -> Result<Batches> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoders = cores.clamp(2, MOST_DECODERS);
        let mut receivers = Vec::new();
        for decoder in 0..decoders {
            let (sender, receiver) = sync_channel(AHEAD);
            let steps = (first + decoder..).step_by(decoders);
            std::thread::Builder::new()
                .name("photos".to_string())
                .spawn_scoped(scope, move || self.decode(steps, &sender))
                .context("could not start a thread")?;
            receivers.push(receiver);
        }
        Ok(Batches { receivers, step: 0 })
    }

    /// Makes the batches of `steps` until nobody takes them any more.
    fn decode(&self, steps: impl Iterator<Item = usize>, sender: &SyncSender<Result<Batch>>) {
        for step in steps {
            if sender.send(self.batch(step)).is_err() {
                return;
            }
        }
    }

    /// Photo `first`, or the next one that can be read.
    fn photo(&self, first: usize, remarks: &mut Vec<String>) -> Result<Arc<Frame>> {
        let count = self.photos.len();
        for index in (first..first + count).map(|index| index % count) {
            let known = self.cache().photos.get(&index).cloned();
            if let Some(photo) = known {
                match photo {
                    Some(photo) => return Ok(photo),
                    None => continue,
                }
            }
            match self.photos[index].read_scaled(self.crop + MARGIN) {
                Ok(photo) => return Ok(self.keep(index, photo)),
                Err(error) => {
                    // Two threads may find the same broken photo: one says so.
                    if self.cache().photos.insert(index, None).is_none() {
                        remarks.push(format!("left out a photo: {error:#}"));
                    }
                }
            }
        }
        bail!(
            "none of the {count} photos can be read; the first is `{}`",
            self.photos[0]
        )
    }

    fn keep(&self, index: usize, photo: Frame) -> Arc<Frame> {
        let photo = Arc::new(photo);
        let mut cache = self.cache();
        if cache.bytes + photo.pixels.len() <= CACHE_BYTES
            && cache.photos.insert(index, Some(photo.clone())).is_none()
        {
            cache.bytes += photo.pixels.len();
        }
        photo
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    /// The next step's batch.
    pub fn take(&mut self) -> Result<Batch> {
        let receiver = &self.receivers[self.step % self.receivers.len()];
        self.step += 1;
        receiver
            .recv()
            .context("the threads that read photos ended")?
    }
}

/// Whether each plane of `area` values has one value. Every norm of a network would multiply the
/// gradients of such a picture by up to 316, until they are infinite.
fn is_plain(planes: &[f32], area: usize) -> bool {
    let mut planes = planes.chunks_exact(area);
    planes.all(|plane| plane.iter().all(|value| *value == plane[0]))
}

/// Writes a square of `photo` as planes of `side * side` values, mirrored if `flip`.
pub fn cut(photo: &Frame, left: usize, top: usize, side: usize, flip: bool, planes: &mut [f32]) {
    for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
        for (y, row) in plane.chunks_exact_mut(side).enumerate() {
            let start = ((top + y) * photo.width + left) * 3;
            let pixels = photo.pixels[start..start + 3 * side].chunks_exact(3);
            for (value, pixel) in row.iter_mut().zip(pixels) {
                *value = f32::from(pixel[channel]);
            }
            if flip {
                row.reverse();
            }
        }
    }
}
