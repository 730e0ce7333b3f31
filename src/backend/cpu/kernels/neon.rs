//! NEON, which every 64-bit ARM CPU has: 4 lanes, 32 registers.

use std::arch::aarch64::*;

use super::vector::{Vector, at, entry_points};

/// Four values.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct F32x4(float32x4_t);

/// For each of three registers the bytes, counted over three registers, of the values that
/// `split_thirds` puts there.
const SPLIT: [[u8; 16]; 3] = tables(true);
/// The same for `join_thirds`.
const JOIN: [[u8; 16]; 3] = tables(false);

const fn tables(split: bool) -> [[u8; 16]; 3] {
    let mut tables = [[0; 16]; 3];
    let mut byte = 0;
    while byte < 48 {
        let (register, value, part) = (byte / 16, byte / 4, byte % 4);
        let from = match split {
            true => 3 * (value % 4) + register,
            false => value % 3 * 4 + value / 3,
        };
        tables[register][byte % 16] = (4 * from + part) as u8;
        byte += 1;
    }
    tables
}

/// Three registers, each of them the bytes of `values` that its table names.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn look_up([a, b, c]: [F32x4; 3], tables: &[[u8; 16]; 3]) -> [F32x4; 3] {
    // SAFETY: each table has 16 bytes; the caller promises the level.
    unsafe {
        let bytes = uint8x16x3_t(
            vreinterpretq_u8_f32(a.0),
            vreinterpretq_u8_f32(b.0),
            vreinterpretq_u8_f32(c.0),
        );
        tables.map(|table| {
            let values = vqtbl3q_u8(bytes, vld1q_u8(table.as_ptr()));
            F32x4(vreinterpretq_f32_u8(values))
        })
    }
}

/// Transposes the 4x4 matrix of four rows that lie `step` values apart.
///
/// # Safety
/// The rows are readable; the CPU has the level.
#[inline(always)]
unsafe fn transpose4(from: *const f32, step: usize) -> [F32x4; 4] {
    // SAFETY: the caller's promise is the same.
    unsafe {
        let row = |i: usize| vld1q_f32(at(from, i * step));
        let [ab, cd] = [vtrnq_f32(row(0), row(1)), vtrnq_f32(row(2), row(3))];
        let low = |a, b| vcombine_f32(vget_low_f32(a), vget_low_f32(b));
        let high = |a, b| vcombine_f32(vget_high_f32(a), vget_high_f32(b));
        [
            F32x4(low(ab.0, cd.0)),
            F32x4(low(ab.1, cd.1)),
            F32x4(high(ab.0, cd.0)),
            F32x4(high(ab.1, cd.1)),
        ]
    }
}

impl Vector for F32x4 {
    const LANES: usize = 4;
    const ROWS: usize = 12;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 4 readable values; only this level's entry points come here.
        Self(unsafe { vld1q_f32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 4 writable values; the vector proves the level.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the caller promises 4 writable bytes, which need no alignment as an array; the
        // vector proves the level. The conversion clamps, and makes 0 of NaN.
        unsafe {
            let whole = vcvtq_u32_f32(vaddq_f32(self.0, vdupq_n_f32(0.5)));
            let words = vqmovn_u32(whole);
            let bytes = vqmovn_u16(vcombine_u16(words, words));
            let four = vget_lane_u32::<0>(vreinterpret_u32_u8(bytes));
            to.cast::<[u8; 4]>().write(four.to_ne_bytes());
        }
    }

    #[inline(always)]
    unsafe fn load_channels(from: *const f32, step: usize) -> [Self; 8] {
        // SAFETY: the caller promises 8 readable values at each of the 4 pixels; only this level's
        // entry points come here.
        unsafe {
            let [a, b, c, d] = transpose4(from, step);
            let [e, f, g, h] = transpose4(at(from, 4), step);
            [a, b, c, d, e, f, g, h]
        }
    }

    #[inline(always)]
    fn split_thirds(values: [Self; 3]) -> [Self; 3] {
        // SAFETY: the vectors prove the level.
        unsafe { look_up(values, &SPLIT) }
    }

    #[inline(always)]
    fn join_thirds(thirds: [Self; 3]) -> [Self; 3] {
        // SAFETY: the vectors prove the level.
        unsafe { look_up(thirds, &JOIN) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: only this level's entry points come here.
        Self(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { vmulq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { vfmaq_f32(summand.0, self.0, factor.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: the vectors prove the level.
        Self(unsafe { vmaxnmq_f32(self.0, other.0) })
    }

    entry_points!("neon");
}
