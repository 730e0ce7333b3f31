//! The small transforms of Winograd's F(4x4, 3x3), one direction at a time (Lavin & Gray 2016).
//!
//! Six points carry a tile of 6 inputs, a kernel of 3 and their 4 outputs: 0, +-[`A`], +-[`B`] and
//! infinity. With these instead of the usual +-1, +-2 the sums of 256 channels round half as much.

use super::micro::Vector;

/// Values of a tile in one direction, and points.
pub(super) const POINTS: usize = 6;

/// Outputs of a tile in one direction.
pub(super) const OUTPUTS: usize = 4;

/// The points next to 0.
const A: f32 = 0.75;

/// The points furthest from 0.
const B: f32 = 1.5;

/// The inputs of a tile at the points.
///
/// # Safety
/// The CPU has the vector's instructions.
#[inline(always)]
pub(super) unsafe fn input<V: Vector>(d: [V; POINTS]) -> [V; POINTS] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (a, b) = (V::splat(A), V::splat(B));
        let (minus_aa, minus_bb) = (V::splat(-A * A), V::splat(-B * B));
        let (product, minus_sum) = (V::splat(A * A * B * B), V::splat(-A * A - B * B));
        let even = minus_bb.fma(d[2], d[4]);
        let odd = a.mul(minus_bb.fma(d[1], d[3]));
        let far_even = minus_aa.fma(d[2], d[4]);
        let far_odd = b.mul(minus_aa.fma(d[1], d[3]));
        [
            product.fma(d[0], minus_sum.fma(d[2], d[4])),
            even.add(odd),
            even.sub(odd),
            far_even.add(far_odd),
            far_even.sub(far_odd),
            product.fma(d[1], minus_sum.fma(d[3], d[5])),
        ]
    }
}

/// The outputs of a tile from products at the points.
///
/// # Safety
/// The CPU has the vector's instructions.
#[inline(always)]
pub(super) unsafe fn output<V: Vector>(m: [V; POINTS]) -> [V; OUTPUTS] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        let near = |power: f32, value: V| V::splat(power).mul(value);
        [
            m[0].add(sum).add(far_sum),
            V::splat(B).fma(far_difference, near(A, difference)),
            V::splat(B * B).fma(far_sum, near(A * A, sum)),
            V::splat(B * B * B).fma(far_difference, near(A * A * A, difference).add(m[5])),
        ]
    }
}

/// A kernel of 3 at the points, divided by what the other two transforms multiply with.
pub(super) fn kernel(g: [f64; 3]) -> [f64; POINTS] {
    let (a, b) = (f64::from(A), f64::from(B));
    let (aa, bb) = (a * a, b * b);
    let at = |point: f64, scale: f64| {
        let (even, odd) = (g[0] + point * point * g[2], point * g[1]);
        ((even + odd) / scale, (even - odd) / scale)
    };
    let (near, near_negative) = at(a, 2.0 * aa * (aa - bb));
    let (far, far_negative) = at(b, 2.0 * bb * (bb - aa));
    [
        g[0] / (aa * bb),
        near,
        near_negative,
        far,
        far_negative,
        g[2],
    ]
}
