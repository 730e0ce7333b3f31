//! Copies rows of a tensor into a strip of scratch memory: instance norm, residual sum and ReLU
//! applied, reflected borders in place, so that the kernels behind it see neither.

use super::vector::{Vector, at, at_mut};
use super::{Memory, Tensor};

/// A layer's input: what the layer before wrote, and what is still to be done to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::cpu) struct Source {
    /// The plain sums of the convolution before.
    pub tensor: Tensor,
    /// Place of the scale of each channel, followed by the shifts.
    pub norm: usize,
    /// Scales (with padding).
    pub norm_channels: usize,
    /// Lower bound of the values: 0 for ReLU, minus infinity without.
    pub floor: f32,
    /// What is added before the bound: the end of a residual block.
    pub skip: Option<Tensor>,
    /// Where the finished values are kept for a later sum.
    pub keep: Option<Tensor>,
    /// What stands beyond the border.
    pub border: Border,
}

/// What stands beyond the border of a layer's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::cpu) enum Border {
    /// The reflected picture.
    Reflect,
    /// The last value: what reflection after nearest x2 enlargement comes to.
    Clamp,
}

impl Border {
    /// The index in `0..length` that stands at `index`.
    #[inline(always)]
    pub fn index(self, index: isize, length: usize) -> usize {
        match self {
            Self::Reflect => reflect(index, length),
            Self::Clamp => index.clamp(0, length as isize - 1) as usize,
        }
    }
}

/// The index in `0..length` that stands at `index` when the row is reflected at both ends, without
/// repeating the end, as often as it takes; a row of one repeats it.
pub(in crate::backend::cpu) fn reflect(index: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let last = length as isize - 1;
    let folded = index.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

/// What part of a row `count` columns from `first` on cover.
struct Columns {
    /// First column inside.
    inside: usize,
    /// Columns before it in the strip: the border on the left.
    left: usize,
    /// Columns inside.
    length: usize,
    /// Columns in all.
    count: usize,
}

impl Columns {
    #[inline(always)]
    fn new(first: isize, count: usize, width: usize) -> Self {
        let (inside, end) = (first.max(0), first + count as isize);
        let end_inside = end.min(width as isize).max(inside);
        Self {
            inside: inside as usize,
            left: (inside - first) as usize,
            length: (end_inside - inside) as usize,
            count,
        }
    }

    /// Places in the strip that lie on the border.
    #[inline(always)]
    fn outside(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.left).chain(self.left + self.length..self.count)
    }
}

impl Source {
    /// Packs `count` pixels of row `y` from column `first` on; channels stay side by side.
    ///
    /// # Safety
    /// The strip has room for them; the source belongs to the memory.
    #[inline(always)]
    pub unsafe fn pack<V: Vector>(
        &self,
        memory: &Memory,
        y: usize,
        first: isize,
        count: usize,
        to: *mut f32,
    ) {
        let step = self.tensor.step;
        let scale = memory.at(self.norm);
        let shift = memory.at(self.norm + self.norm_channels);
        let floor = V::splat(self.floor);
        let width = self.tensor.width;
        let columns = Columns::new(first, count, width);
        let inside = (columns.inside, columns.left, columns.length);
        let outside = columns.outside().map(|place| {
            let x = self.border.index(first + place as isize, width);
            (x, place, 1)
        });
        for (x, place, length) in std::iter::once(inside).chain(outside) {
            let from = memory.at(self.tensor.at(y, x.min(width - 1)));
            let skip = self
                .skip
                .map(|skip| memory.at(skip.at(y, x.min(width - 1))));
            let to = at_mut(to, place * step);
            for c in (0..step).step_by(V::LANES) {
                // SAFETY: `step` is whole registers here; pixels and strip are the caller's.
                unsafe {
                    let (scale, shift) = (V::load(at(scale, c)), V::load(at(shift, c)));
                    for i in 0..length {
                        let place = i * step + c;
                        let mut value = V::load(at(from, place)).fma(scale, shift);
                        if let Some(skip) = skip {
                            value = value.add(V::load(at(skip, place)));
                        }
                        value.max(floor).store(at_mut(to, place));
                    }
                }
            }
        }
    }

    /// Keeps finished values of row `y`, columns `left..right`, which lie at `from`.
    ///
    /// # Safety
    /// They do; no other worker keeps the same.
    #[inline(always)]
    pub unsafe fn keep(
        &self,
        memory: &Memory,
        y: usize,
        (left, right): (usize, usize),
        from: *const f32,
    ) {
        if let Some(keep) = self.keep {
            let values = (right - left) * keep.step;
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(from, memory.at(keep.at(y, left)), values) };
        }
    }

    /// Packs `count` pixels of row `y` of one channel of a planar tensor from column `first` on,
    /// and writes up to a register more.
    ///
    /// # Safety
    /// The strip has room for them; the source belongs to the memory.
    #[inline(always)]
    pub unsafe fn pack_plane<V: Vector>(
        &self,
        memory: &Memory,
        (channel, y): (usize, usize),
        first: isize,
        count: usize,
        to: *mut f32,
    ) {
        let from = memory.at(self.tensor.at(y, 0) + channel * self.tensor.plane);
        let width = self.tensor.width;
        let columns = Columns::new(first, count, width);
        // SAFETY: the norm's place is part of the memory; rows of the tensor and of the strip have
        // a register of slack.
        unsafe {
            let scale = *memory.at(self.norm + channel);
            let shift = *memory.at(self.norm + self.norm_channels + channel);
            let vectors = (V::splat(scale), V::splat(shift), V::splat(self.floor));
            for i in (0..columns.length).step_by(V::LANES) {
                let value = V::load(at(from, columns.inside + i)).fma(vectors.0, vectors.1);
                value.max(vectors.2).store(at_mut(to, columns.left + i));
            }
            for place in columns.outside() {
                let x = self.border.index(first + place as isize, width);
                *at_mut(to, place) = (*at(from, x) * scale + shift).max(self.floor);
            }
        }
    }

    /// Packs `count` pixels of row `y` from column `first` on as planes `plane` values apart, and
    /// writes up to a register more of each.
    ///
    /// # Safety
    /// The strip has room for them; the source belongs to the memory.
    #[inline(always)]
    pub unsafe fn pack_transposed<V: Vector>(
        &self,
        memory: &Memory,
        y: usize,
        first: isize,
        count: usize,
        (to, plane): (*mut f32, usize),
    ) {
        let Tensor {
            step,
            channels,
            width,
            ..
        } = self.tensor;
        let floor = V::splat(self.floor);
        let columns = Columns::new(first, count, width);
        let (scale, shift) = (self.norm, self.norm + self.norm_channels);
        let from = memory.at(self.tensor.at(y, columns.inside.min(width - 1)));
        // SAFETY: `step` is whole groups of 8 channels, and the arena ends with slack for pixels
        // after the last; the strip's rows have a register of slack.
        unsafe {
            for group in (0..channels).step_by(8) {
                let members = (channels - group).min(8);
                for i in (0..columns.length).step_by(V::LANES) {
                    let pixels = V::load_channels(at(from, i * step + group), step);
                    for (c, pixels) in pixels.iter().enumerate().take(members) {
                        let c = group + c;
                        let scale = V::splat(*memory.at(scale + c));
                        let shift = V::splat(*memory.at(shift + c));
                        let value = pixels.fma(scale, shift).max(floor);
                        value.store(at_mut(to, c * plane + columns.left + i));
                    }
                }
            }
            for place in columns.outside() {
                let x = self.border.index(first + place as isize, width);
                let from = memory.at(self.tensor.at(y, x));
                for c in 0..channels {
                    let value = *at(from, c) * *memory.at(scale + c) + *memory.at(shift + c);
                    *at_mut(to, c * plane + place) = value.max(self.floor);
                }
            }
        }
    }
}
