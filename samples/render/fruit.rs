//! The things of the still life as distance fields: each function gives a distance that is at most
//! the true one from the point `q` or `p` to its surface.

use std::f32::consts::PI;

use crate::math::{Vec3, lerp, noise, smooth_min, smoothstep, v};

/// A jug with a handle, standing at the origin.
pub fn jug(q: Vec3) -> f32 {
    let radius = (q.x * q.x + q.z * q.z).sqrt();
    let y = q.y.clamp(0.0, 1.25);
    let belly = 0.20 + 0.235 * (1.0 - ((y - 0.42) / 0.62).powi(2)).max(-0.25);
    let outline = belly + 0.16 * smoothstep(0.95, 1.25, y);
    let shell = ((radius - outline).abs() - 0.022).max(q.y - 1.25).max(-q.y);
    let floor = (radius - 0.3).max((q.y - 0.04).abs() - 0.04);
    let (hx, hy) = (q.x - 0.44, (q.y - 0.78) * 0.8);
    let ring = (hx * hx + hy * hy).sqrt() - 0.225;
    let handle = ((ring * ring + q.z * q.z).sqrt() - 0.042).max(0.36 - q.x);
    smooth_min(shell * 0.75, handle, 0.05).min(floor)
}

/// A bowl on a foot, standing at the origin.
pub fn bowl(q: Vec3) -> f32 {
    let center = v(0.0, 0.74, 0.0);
    let shell = ((q - center).length() - 0.70).abs() - 0.022;
    let cut = shell.max(q.y - 0.46);
    let radius = (q.x * q.x + q.z * q.z).sqrt();
    cut.min(((radius - 0.25).abs() - 0.035).max(q.y - 0.1).max(-q.y))
}

/// A tulip's blossom around the origin.
pub fn tulip(q: Vec3, size: f32) -> f32 {
    let around = q.z.atan2(q.x);
    let rise = q.y / size;
    let petals = 0.10 * (around * 1.5 + 0.6).sin().abs() * smoothstep(-0.6, 0.8, rise);
    let cup = v(q.x, q.y * 0.72, q.z).length() - size * (0.92 - petals);
    let rim = size * (0.72 + 0.5 * (around * 1.5 + 0.6).sin().abs());
    let hollow = v(q.x, (q.y - size * 0.5) * 0.62, q.z).length() - size * 0.70;
    cup.max(q.y - rim).max(-hollow) * 0.7
}

/// A stem bent from `root` to `top`.
pub fn stem(p: Vec3, root: Vec3, top: Vec3) -> f32 {
    let t = ((p.y - root.y) / (top.y - root.y)).clamp(0.0, 1.0);
    let bent = t * t * 0.6 + t * 0.4;
    let x = lerp(root.x, top.x, bent);
    let z = lerp(root.z, top.z, bent);
    let y = lerp(root.y, top.y, t);
    (p - v(x, y, z)).length() * 0.75 - 0.021
}

/// A leaf that bows out of the origin in the direction `turn`, `reach` far.
pub fn leaf(q: Vec3, turn: f32, reach: f32) -> f32 {
    let (s, c) = turn.sin_cos();
    let (along, across) = (q.x * c + q.z * s, q.z * c - q.x * s);
    let t = (along / reach).clamp(0.0, 1.0);
    let spine = 0.75 * t - 0.72 * t * t * t;
    let width = 0.12 * (t * PI).sin().max(0.0) + 0.015;
    let sheet = (q.y - spine - across * across * 1.8).abs() * 0.6 - 0.007;
    sheet
        .max(across.abs() - width)
        .max(along - reach)
        .max(-along)
        * 0.8
}

/// An apple around the origin, with its stalk.
pub fn apple(q: Vec3, size: f32) -> f32 {
    let radius = (q.x * q.x + q.z * q.z).sqrt();
    let dimple = 0.30 * size * (-(radius / (0.36 * size)).powi(2)).exp();
    let height = q.y + dimple * q.y.signum() * 0.9;
    let skin = v(radius, height * 1.06, 0.0).length() - size * (1.0 + 0.06 * q.y / size);
    let stalk = v(
        q.x - q.y * 0.1,
        (q.y - size * 0.95).abs() - size * 0.22,
        q.z,
    );
    let stalk = v(stalk.x, stalk.y.max(0.0), stalk.z).length() - 0.012;
    (skin * 0.8).min(stalk)
}

/// A pear, standing at the origin.
pub fn pear(q: Vec3) -> f32 {
    let belly = (q - v(0.0, 0.29, 0.0)).length() - 0.29;
    let neck = (q - v(0.05, 0.66, 0.02)).length() - 0.135;
    let body = smooth_min(belly, neck, 0.34);
    let t = ((q.y - 0.76) / 0.2).clamp(0.0, 1.0);
    let stalk = (q - v(0.06 + 0.06 * t * t, 0.76 + 0.2 * t, 0.02)).length() - 0.014;
    (body * 0.9).min(stalk)
}

/// An orange around the origin.
pub fn orange(q: Vec3, size: f32) -> f32 {
    let peel = 0.004 * noise(q.x * 45.0 + q.z * 9.0, q.y * 45.0 - q.z * 31.0);
    v(q.x, q.y * 1.04, q.z).length() - size + peel
}
