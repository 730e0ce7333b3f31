//! Vectors, hashing and noise: the arithmetic of every scene. All of it is deterministic.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A point, a direction or a linear colour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vec3 {
    pub x: f32,
    pub y: f32,
    pub z: f32,
}

/// Short for `Vec3 { x, y, z }`.
pub const fn v(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    pub fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    pub fn unit(self) -> Self {
        self / self.length().max(1e-9)
    }

    pub fn cross(self, o: Self) -> Self {
        v(
            self.y * o.z - self.z * o.y,
            self.z * o.x - self.x * o.z,
            self.x * o.y - self.y * o.x,
        )
    }

    /// This direction, mirrored by a surface with the normal `n`.
    pub fn reflect(self, n: Self) -> Self {
        self - n * (2.0 * self.dot(n))
    }

    pub fn mix(self, o: Self, t: f32) -> Self {
        self + (o - self) * t
    }

    pub fn map(self, f: impl Fn(f32) -> f32) -> Self {
        v(f(self.x), f(self.y), f(self.z))
    }
}

impl Add for Vec3 {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        v(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl AddAssign for Vec3 {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl Sub for Vec3 {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        v(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Neg for Vec3 {
    type Output = Self;
    fn neg(self) -> Self {
        v(-self.x, -self.y, -self.z)
    }
}

impl Mul for Vec3 {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        v(self.x * o.x, self.y * o.y, self.z * o.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Self;
    fn mul(self, s: f32) -> Self {
        v(self.x * s, self.y * s, self.z * s)
    }
}

impl Div<f32> for Vec3 {
    type Output = Self;
    fn div(self, s: f32) -> Self {
        self * (1.0 / s)
    }
}

/// 0 below `a`, 1 above `b` (or the other way round), smooth between.
pub fn smoothstep(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

pub fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Minimum with a rounded seam of width `k`.
pub fn smooth_min(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// A well mixed number for each grid point and seed (after Wang and Jenkins).
pub fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = (x as u32).wrapping_mul(0x85eb_ca6b)
        ^ (y as u32).wrapping_mul(0xc2b2_ae35)
        ^ seed.wrapping_mul(0x27d4_eb2f);
    h ^= h >> 15;
    h = h.wrapping_mul(0x2c1b_3c6d);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// The same as a number from 0 to 1.
pub fn hash_unit(x: i32, y: i32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 / 16_777_216.0
}

/// Gradient noise, about -0.7 to 0.7 (Perlin 2002, with hashed gradients).
pub fn noise(x: f32, y: f32) -> f32 {
    let (xf, yf) = (x.floor(), y.floor());
    let (xi, yi) = (xf as i32, yf as i32);
    let (dx, dy) = (x - xf, y - yf);
    let corner = |i: i32, j: i32| {
        let h = hash(xi + i, yi + j, 1);
        let gx = (h & 0xffff) as f32 / 32_767.5 - 1.0;
        let gy = (h >> 16) as f32 / 32_767.5 - 1.0;
        gx * (dx - i as f32) + gy * (dy - j as f32)
    };
    let fade = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let u = fade(dx);
    lerp(
        lerp(corner(0, 0), corner(1, 0), u),
        lerp(corner(0, 1), corner(1, 1), u),
        fade(dy),
    )
}

/// Fractal noise: octaves of half the size and half the height, each turned by 37 degrees so that
/// the grids do not show.
pub fn fbm(x: f32, y: f32, octaves: u32) -> f32 {
    let (mut x, mut y, mut sum, mut height) = (x, y, 0.0, 1.0);
    for _ in 0..octaves {
        sum += height * noise(x, y);
        (x, y) = (1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y - 9.1);
        height *= 0.5;
    }
    sum
}

/// Ridged fractal noise, about 0 to 1.3: sharp crests, as of weathered mountains. Crests carry
/// more detail than valleys.
pub fn ridged(x: f32, y: f32, octaves: u32) -> f32 {
    let (mut x, mut y, mut sum, mut height, mut weight) = (x, y, 0.0, 0.6, 1.0);
    for _ in 0..octaves {
        let crest = 1.0 - (noise(x, y) * 1.6).abs();
        let crest = crest * crest * weight;
        weight = (crest * 1.6).clamp(0.0, 1.0);
        sum += crest * height;
        (x, y) = (1.6 * x - 1.2 * y + 31.7, 1.2 * x + 1.6 * y + 5.3);
        height *= 0.48;
    }
    sum
}

/// Random numbers of one pixel (PCG, O'Neill 2014).
pub struct Random(u64);

impl Random {
    pub fn new(x: usize, y: usize, seed: u32) -> Self {
        let h = u64::from(hash(x as i32, y as i32, seed));
        Self((h << 32) | u64::from(hash(y as i32, x as i32, seed ^ 0x9e37)))
    }

    /// The next number from 0 to 1.
    pub fn unit(&mut self) -> f32 {
        let old = self.0;
        self.0 = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let word = (((old >> 18) ^ old) >> 27) as u32;
        (word.rotate_right((old >> 59) as u32) >> 8) as f32 / 16_777_216.0
    }
}
