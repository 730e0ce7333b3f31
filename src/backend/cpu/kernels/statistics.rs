//! Sums for the instance norm, taken unit by unit from values that are still in the cache.
//!
//! Each unit writes a shift (its first value of each channel), the sum of the differences from it
//! and the sum of their squares: large means do not cancel. The unit's sums are merged in `f64`, in
//! the order of the units, so that the result does not depend on who did what.

use super::vector::{Vector, at, at_mut};
use super::{Area, Memory, Tensor};

/// Values before the sums of a unit: the first is its number of pixels.
const HEAD: usize = 16;

/// Where the units of a layer write their sums.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::cpu) struct Partials {
    /// Place of unit 0.
    pub at: usize,
    /// Channels with padding.
    pub channels: usize,
}

impl Partials {
    /// Values that a unit takes.
    pub fn unit_values(&self) -> usize {
        HEAD + 3 * self.channels
    }

    /// Merges the sums of `units` units, read from the whole arena: calls
    /// `each(channel, mean, variance)` for the first `channels` channels.
    pub fn merge(
        &self,
        arena: &[f32],
        units: usize,
        channels: usize,
        mut each: impl FnMut(usize, f64, f64),
    ) {
        let table = &arena[self.at..][..units * self.unit_values()];
        let rows = || table.chunks_exact(self.unit_values());
        let total: f64 = rows().map(|row| f64::from(row[0])).sum();
        for c in 0..channels {
            let parts = || {
                rows().filter(|row| row[0] > 0.0).map(move |row| {
                    let count = f64::from(row[0]);
                    let [shift, sum, squares] =
                        [0, 1, 2].map(|part| f64::from(row[HEAD + part * self.channels + c]));
                    (count, shift + sum / count, squares - sum * sum / count)
                })
            };
            let mean = parts().map(|(count, mean, _)| count * mean).sum::<f64>() / total;
            let squares: f64 = parts()
                .map(|(count, part, squares)| squares.max(0.0) + count * (part - mean).powi(2))
                .sum();
            each(c, mean, squares / total);
        }
    }

    /// Sums up an area of a tensor whose channels lie side by side.
    ///
    /// # Safety
    /// The tensor and the table belong to the memory; nobody writes the area or has the same unit.
    #[inline(always)]
    pub unsafe fn sum<V: Vector>(&self, memory: &Memory, unit: usize, tensor: &Tensor, area: Area) {
        let table = memory.at(self.at + unit * self.unit_values());
        let (step, across) = (tensor.step, area.right - area.left);
        // Registers hold one pixel's channels, or two pixels' where the channels are half a
        // register: then the sums of a `group` of pixels are folded at the end.
        let group = if step.is_multiple_of(V::LANES) { 1 } else { 2 };
        let (shifts, sums) = (at_mut(table, HEAD), at_mut(table, HEAD + self.channels));
        let squares = at_mut(sums, self.channels);
        // SAFETY: the table has room for the sums of each channel; areas lie inside the tensor.
        unsafe {
            *table = ((area.bottom - area.top) * across) as f32;
            if area.bottom <= area.top || across == 0 {
                *table = 0.0;
                return;
            }
            std::ptr::copy_nonoverlapping(memory.at(tensor.at(area.top, area.left)), shifts, step);
            std::ptr::write_bytes(sums, 0, 2 * self.channels);
            let mut first = 0;
            while first < group * step {
                let shift = load_cyclic::<V>(shifts, first, step);
                let (mut sum, mut square) = ([V::splat(0.0); 2], [V::splat(0.0); 2]);
                for y in area.top..area.bottom {
                    let row = at(memory.at(tensor.at(y, area.left)), first);
                    let pairs = across / group / 2;
                    for i in 0..pairs {
                        for half in 0..2 {
                            let from = at(row, (2 * i + half) * group * step);
                            let value = V::load(from).sub(shift);
                            sum[half] = sum[half].add(value);
                            square[half] = value.fma(value, square[half]);
                        }
                    }
                    if across / group % 2 == 1 {
                        let value = V::load(at(row, 2 * pairs * group * step)).sub(shift);
                        sum[0] = sum[0].add(value);
                        square[0] = value.fma(value, square[0]);
                    }
                }
                add_cyclic(sum[0].add(sum[1]), sums, first, step);
                add_cyclic(square[0].add(square[1]), squares, first, step);
                first += V::LANES;
            }
            if group == 2 && across % 2 == 1 {
                for y in area.top..area.bottom {
                    let pixel = memory.at(tensor.at(y, area.right - 1));
                    for c in 0..step {
                        let value = *at(pixel, c) - *at(shifts, c);
                        *at_mut(sums, c) += value;
                        *at_mut(squares, c) += value * value;
                    }
                }
            }
        }
    }

    /// Sums up an area of a planar tensor.
    ///
    /// # Safety
    /// As for [`Self::sum`].
    #[inline(always)]
    pub unsafe fn sum_planes<V: Vector>(
        &self,
        memory: &Memory,
        unit: usize,
        tensor: &Tensor,
        area: Area,
    ) {
        let table = memory.at(self.at + unit * self.unit_values());
        let across = area.right - area.left;
        let whole = across / V::LANES * V::LANES;
        // SAFETY: as in `sum`.
        unsafe {
            *table = ((area.bottom - area.top) * across) as f32;
            for c in 0..tensor.channels {
                let row = |y| memory.at(tensor.at(y, area.left) + c * tensor.plane);
                let first = *row(area.top);
                let shift = V::splat(first);
                let (mut sum, mut square) = (V::splat(0.0), V::splat(0.0));
                let (mut rest, mut rest_square) = (0.0, 0.0);
                for y in area.top..area.bottom {
                    let row = row(y);
                    let mut x = 0;
                    while x < whole {
                        let value = V::load(at(row, x)).sub(shift);
                        sum = sum.add(value);
                        square = value.fma(value, square);
                        x += V::LANES;
                    }
                    for x in whole..across {
                        let value = *at(row, x) - first;
                        rest += value;
                        rest_square += value * value;
                    }
                }
                let place = at_mut(table, HEAD + c);
                *place = first;
                *at_mut(place, self.channels) = rest + lane_sum(sum);
                *at_mut(place, 2 * self.channels) = rest_square + lane_sum(square);
            }
        }
    }
}

/// Reads a register of a row of `period` values that repeats.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn load_cyclic<V: Vector>(from: *const f32, first: usize, period: usize) -> V {
    let mut lanes = [0.0; 16];
    for (i, lane) in lanes.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *lane = unsafe { *at(from, (first + i) % period) };
    }
    // SAFETY: no register has more than 16 lanes.
    unsafe { V::load(lanes.as_ptr()) }
}

/// Adds the lanes of a register to a row of `period` values that repeats.
///
/// # Safety
/// They are writable.
#[inline(always)]
unsafe fn add_cyclic<V: Vector>(value: V, to: *mut f32, first: usize, period: usize) {
    let mut lanes = [0.0; 16];
    // SAFETY: no register has more than 16 lanes; the rest is the caller's promise.
    unsafe {
        value.store(lanes.as_mut_ptr());
        for (i, lane) in lanes.iter().enumerate().take(V::LANES) {
            *at_mut(to, (first + i) % period) += lane;
        }
    }
}

/// The sum of the lanes.
#[inline(always)]
fn lane_sum<V: Vector>(value: V) -> f32 {
    let mut lanes = [0.0; 16];
    // SAFETY: no register has more than 16 lanes.
    unsafe { value.store(lanes.as_mut_ptr()) };
    lanes.iter().sum()
}
