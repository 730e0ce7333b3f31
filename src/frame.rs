//! One picture in memory, as every stage of the program passes it on.
//!
//! A frame is RGB, 8 bits a channel, rows from the top, without padding between rows. Reading,
//! scaling and encoding pictures belong to `media`; networks see frames only through `backend`.

/// A picture: `width * height` RGB pixels of 3 bytes, row by row from the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Number of the frame in its source, from 0.
    pub index: u64,
    /// Presentation time in ticks of the source's time base (0 for stills).
    pub pts: i64,
    /// `width * height * 3` bytes: R, G, B of each pixel.
    pub pixels: Vec<u8>,
}

/// The painting of the frame before, moved to where things are in the present frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height * 3` bytes: R, G, B of each pixel.
    pub pixels: Vec<u8>,
    /// `width * height` bytes: 255 where the pixel can be trusted, 0 where nothing is known.
    pub valid: Vec<u8>,
}

impl Frame {
    /// A black frame of `width` x `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; width * height * 3],
            ..Self::default()
        }
    }

    /// Takes on the size, number and time of `other`; the pixels keep whatever they held. Reuses
    /// the memory, so that a frame that travels in a circle costs no allocation.
    pub fn shape_like(&mut self, other: &Frame) {
        self.width = other.width;
        self.height = other.height;
        self.index = other.index;
        self.pts = other.pts;
        self.pixels.resize(other.pixels.len(), 0);
    }

    /// Writes the pixels as `f32` planes (R, then G, then B; 0..255) into `planes`, which holds
    /// `3 * width * height` values.
    pub fn to_planes(&self, planes: &mut [f32]) {
        let area = self.width * self.height;
        let (red, rest) = planes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        for (i, pixel) in self.pixels.chunks_exact(3).enumerate() {
            red[i] = f32::from(pixel[0]);
            green[i] = f32::from(pixel[1]);
            blue[i] = f32::from(pixel[2]);
        }
    }

    /// Fills the pixels from `f32` planes of the frame's size; values are clamped to 0..255 and
    /// rounded to the nearest integer. NaN becomes 0.
    pub fn set_from_planes(&mut self, planes: &[f32]) {
        let area = self.width * self.height;
        for (i, pixel) in self.pixels.chunks_exact_mut(3).enumerate() {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = quantize(planes[channel * area + i]);
            }
        }
    }
}

impl Carried {
    /// What a network with memory sees of it: planes of R, G and B in 0..2 where they are valid, and one
    /// of where they are (0..1).
    pub fn to_planes(&self) -> Vec<f32> {
        let trust = self.valid.iter().map(|&valid| f32::from(valid) / 255.0);
        let color = |channel: usize| {
            let pixels = self.pixels.chunks_exact(3).zip(trust.clone());
            pixels.map(move |(pixel, trust)| f32::from(pixel[channel]) / 127.5 * trust)
        };
        let colors = (0..3).flat_map(color);
        colors.chain(trust.clone()).collect()
    }
}

/// Weights of R, G, B in brightness (luma of ITU-R BT.601), in 1/256.
const LUMA: [i32; 3] = [77, 150, 29];

/// Brightness of an RGB pixel, in 1/256 of its values.
#[inline(always)]
pub fn luma(pixel: &[u8]) -> i32 {
    let weighted = pixel.iter().zip(LUMA);
    weighted
        .map(|(&value, weight)| i32::from(value) * weight)
        .sum()
}

/// Moves values of `new` towards those of `old` by `weight`, in 1/256, rounded to the nearest.
#[inline(always)]
pub fn mix(new: &mut [u8], old: &[u8], weight: u16) {
    for (new, &old) in new.iter_mut().zip(old) {
        let sum = u16::from(*new) * (256 - weight) + u16::from(old) * weight + 128;
        *new = (sum >> 8) as u8;
    }
}

/// Clamps to 0..255 and rounds to the nearest integer.
fn quantize(value: f32) -> u8 {
    (value + 0.5) as u8
}
