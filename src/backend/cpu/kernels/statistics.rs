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

/// Means and variances of channels.
pub(in crate::backend::cpu) struct Moments {
    pub means: Vec<f64>,
    pub variances: Vec<f64>,
}

impl Moments {
    /// Room for those of `channels` channels.
    pub fn new(channels: usize) -> Self {
        Self {
            means: vec![0.0; channels],
            variances: vec![0.0; channels],
        }
    }
}

impl Partials {
    /// Values that a unit takes.
    pub fn unit_values(&self) -> usize {
        HEAD + 3 * self.channels
    }

    /// Merges the sums of `units` units, read from the whole arena, to the `moments` of as many channels as those
    /// are of.
    pub fn merge(&self, arena: &[f32], units: usize, moments: &mut Moments) {
        let Moments { means, variances } = moments;
        let table = &arena[self.at..][..units * self.unit_values()];
        let rows = || {
            let rows = table.chunks_exact(self.unit_values());
            let rows = rows.filter(|row| row[0] > 0.0);
            rows.map(|row| {
                let (shifts, sums) = row[HEAD..].split_at(self.channels);
                let (sums, squares) = sums.split_at(self.channels);
                (f64::from(row[0]), shifts, sums, squares)
            })
        };
        let total: f64 = rows().map(|(count, ..)| count).sum();
        means.fill(0.0);
        for (count, shifts, sums, _) in rows() {
            for ((mean, shift), sum) in means.iter_mut().zip(shifts).zip(sums) {
                *mean += count * f64::from(*shift) + f64::from(*sum);
            }
        }
        means.iter_mut().for_each(|mean| *mean /= total);
        variances.fill(0.0);
        for (count, shifts, sums, squares) in rows() {
            let inverse = 1.0 / count;
            let parts = shifts.iter().zip(sums).zip(squares);
            for ((variance, mean), ((shift, sum), square)) in
                variances.iter_mut().zip(&*means).zip(parts)
            {
                let [shift, sum, square] = [*shift, *sum, *square].map(f64::from);
                let away = shift + sum * inverse - mean;
                *variance += (square - sum * sum * inverse).max(0.0) + count * away * away;
            }
        }
        variances.iter_mut().for_each(|variance| *variance /= total);
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
                let shift = match group {
                    1 => V::load(at(shifts, first)),
                    _ => load_cyclic::<V>(shifts, first, step),
                };
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
                for (value, to) in [(sum, sums), (square, squares)] {
                    let value = value[0].add(value[1]);
                    match group {
                        1 => value.store(at_mut(to, first)),
                        _ => add_cyclic(value, to, first, step),
                    }
                }
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
