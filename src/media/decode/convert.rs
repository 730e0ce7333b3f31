//! Decoded pictures to upright RGB of the wanted size.

use anyhow::Result;
use ffmpeg_next as av;

use super::input::pixel_aspect;
use super::turn::Turn;
use crate::frame::Frame;
use crate::media::ffmpeg::{Layout, Scaler, ycbcr};
use crate::scale;

/// Shapes that differ by less than this part of them are taken for the same: they are rounded to whole pixels.
const SAME: f64 = 0.02;

/// Aspect of the most stretched pixels, or its inverse; those of films are below 3.
const MOST_STRETCHED: f64 = 4.0;

/// Converts the pictures of one stream; keeps its memory.
pub(super) struct Converter {
    turn: Turn,
    /// That of the first picture, see [`shape`].
    shape: f64,
    /// A picture of another shape, upright.
    inner: Frame,
    planes: ycbcr::Planes,
    /// Of the stored size, before [`scale::Scaler`] shrinks it.
    whole: Frame,
    shrink: scale::Scaler,
    /// Of the wanted size, before it is turned.
    stored: Frame,
    /// For the pixels that [`ycbcr`] does not know, and for enlarging.
    scaler: Option<Scaler>,
    scaled: av::frame::Video,
}

impl Converter {
    /// For pictures to turn of this `shape`.
    pub fn new(turn: Turn, shape: f64) -> Self {
        Self {
            turn,
            shape,
            inner: Frame::default(),
            planes: ycbcr::Planes::default(),
            whole: Frame::default(),
            shrink: scale::Scaler::default(),
            stored: Frame::default(),
            scaler: None,
            scaled: av::frame::Video::empty(),
        }
    }

    /// Whether rows become columns.
    pub fn transposes(&self) -> bool {
        self.turn.transpose
    }

    /// Fills `frame` with `picture`, which has the layout `from`, at the upright `size`. Where it has another
    /// `shape` than the first one, it is put into the middle, between black bars.
    pub fn run(
        &mut self,
        picture: &av::frame::Video,
        from: Layout,
        shape: f64,
        size: (usize, usize),
        frame: &mut Frame,
    ) -> Result<()> {
        let wider = shape / self.shape;
        if (wider - 1.0).abs() < SAME {
            return self.fill(picture, from, size, frame);
        }
        let part = |length: usize, part: f64| ((length as f64 * part).round() as usize).max(1);
        let inner = match (wider > 1.0) == self.turn.transpose {
            true => (part(size.0, wider.min(1.0 / wider)), size.1),
            false => (size.0, part(size.1, wider.min(1.0 / wider))),
        };
        let mut between = std::mem::take(&mut self.inner);
        self.fill(picture, from, inner, &mut between)?;
        (frame.width, frame.height) = size;
        frame.pixels.clear();
        frame.pixels.resize(size.0 * size.1 * 3, 0);
        let (left, top) = ((size.0 - inner.0) / 2, (size.1 - inner.1) / 2);
        let rows = frame.pixels.chunks_exact_mut(size.0 * 3).skip(top);
        for (row, pixels) in rows.zip(between.pixels.chunks_exact(inner.0 * 3)) {
            row[left * 3..][..pixels.len()].copy_from_slice(pixels);
        }
        self.inner = between;
        Ok(())
    }

    fn fill(
        &mut self,
        picture: &av::frame::Video,
        from: Layout,
        size: (usize, usize),
        frame: &mut Frame,
    ) -> Result<()> {
        let stored = match self.turn.transpose {
            true => (size.1, size.0),
            false => size,
        };
        (frame.width, frame.height) = size;
        frame.pixels.resize(size.0 * size.1 * 3, 0);
        let (width, height) = (from.width as usize, from.height as usize);
        // swscale enlarges chroma by itself; here it would come in squares of two pixels.
        let enlarges = stored.0 > width || stored.1 > height;
        if enlarges || !ycbcr::takes(picture, &from) {
            return self.run_swscale(picture, from, stored, frame);
        }
        let upright = self.turn == Turn::default();
        let target = match upright {
            true => &mut *frame,
            false => &mut self.stored,
        };
        if stored == (width, height) {
            ycbcr::to_rgb(picture, &from, &mut self.planes, target)?;
        } else {
            ycbcr::to_rgb(picture, &from, &mut self.planes, &mut self.whole)?;
            self.shrink.run(&self.whole, stored, false, target)?;
        }
        if !upright {
            let pixels = &self.stored.pixels;
            self.turn.copy(pixels, stored.0 * 3, frame);
        }
        Ok(())
    }

    fn run_swscale(
        &mut self,
        picture: &av::frame::Video,
        from: Layout,
        (width, height): (usize, usize),
        frame: &mut Frame,
    ) -> Result<()> {
        let to = Layout::rgb(width as u32, height as u32);
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.takes(from) => scaler,
            other => other.insert(Scaler::new(from, to)?),
        };
        scaler.run(picture, &mut self.scaled)?;
        let (pixels, stride) = (self.scaled.data(0), self.scaled.stride(0));
        self.turn.copy(pixels, stride, frame);
        Ok(())
    }
}

/// Width divided by height as a picture is stored and its pixels are shown.
pub(super) fn shape(picture: &av::frame::Video) -> f64 {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    f64::from(pixel_aspect(picture)) * width / height.max(1.0)
}

/// `size` of pixels of this `aspect` (width divided by height) as square ones: wider or higher. Broken files tell of
/// aspects that none has; they mean nothing.
pub(super) fn squared((width, height): (usize, usize), aspect: av::Rational) -> (usize, usize) {
    let aspect = f64::from(aspect);
    let times = |length: usize, by: f64| (length as f64 * by).round() as usize;
    match aspect {
        1.0..=MOST_STRETCHED => (times(width, aspect), height),
        _ if (1.0..=MOST_STRETCHED).contains(&aspect.recip()) => {
            (width, times(height, aspect.recip()))
        }
        _ => (width, height),
    }
}
