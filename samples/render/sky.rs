//! The sky: a low sun, clouds in two layers, and the air between the eye and far things.

use crate::math::{Vec3, fbm, noise, smoothstep, v};

/// A sky and its sun.
pub struct Sky {
    /// Unit vector to the sun.
    pub sun: Vec3,
    /// Unit vector to the light on the land: the sun's, or beside it where a scene that is lit
    /// from behind would lose its shapes.
    pub key: Vec3,
    pub sun_color: Vec3,
    pub zenith: Vec3,
    pub horizon: Vec3,
    /// Added towards the sun.
    pub glow: Vec3,
    pub cloud_light: Vec3,
    pub cloud_shade: Vec3,
    /// Share of the sky under cumulus clouds, 0 to 1.
    pub cover: f32,
    /// How fast clear things fade with distance, per metre.
    pub haze: f32,
    /// How dense the mist over the water is, per metre, and how high it lies, in metres.
    pub mist: (f32, f32),
    /// Moves the clouds, in metres.
    pub drift: f32,
}

impl Sky {
    /// Radiance from the direction `d` without the sun's disc.
    pub fn radiance(&self, d: Vec3) -> Vec3 {
        let up = d.y.max(0.0);
        let toward = d.dot(self.sun).max(0.0);
        let mut color = self.horizon.mix(self.zenith, 1.0 - (-up * 4.5).exp());
        color += self.glow * (0.55 * toward.powi(6) * (-up * 3.0).exp() + 0.5 * toward.powi(48));
        if d.y > 0.015 {
            let (cirrus, light) = self.cirrus(d);
            color = color.mix(light, cirrus);
            let (cumulus, light) = self.cumulus(d, toward);
            color = color.mix(light, cumulus);
        }
        color
    }

    /// The sun's disc and the halo that lenses give it.
    pub fn disc(&self, d: Vec3) -> Vec3 {
        let toward = d.dot(self.sun).max(0.0);
        self.sun_color * (smoothstep(0.99965, 0.9998, toward) * 12.0 + toward.powi(900) * 1.2)
    }

    fn cirrus(&self, d: Vec3) -> (f32, Vec3) {
        let (x, z) = (d.x / d.y * 2.1 + self.drift * 2e-4, d.z / d.y * 0.55);
        let warp = noise(x * 0.7, z * 0.7);
        let streak = fbm(x * 0.5 + z * 0.8 + warp, z * 1.7 - x * 0.25 + warp * 0.7, 4);
        let amount = smoothstep(0.0, 0.65, streak) * 0.55 * smoothstep(0.03, 0.25, d.y);
        (amount, self.cloud_light * 0.95)
    }

    fn cumulus(&self, d: Vec3, toward: f32) -> (f32, Vec3) {
        // A plane bent down at the horizon, so that clouds do not shrink without end.
        let reach = 1.0 / (d.y + 0.06);
        let (x, z) = (d.x * reach + self.drift * 6e-4, d.z * reach);
        let density = |x: f32, z: f32, octaves: u32| {
            let warp = 0.35 * noise(x * 1.3 + 5.0, z * 1.3);
            fbm(x * 0.62 + warp, z * 0.85 - warp, octaves) + self.cover - 0.5
        };
        let here = density(x, z, 7);
        let amount = smoothstep(0.0, 0.28, here) * smoothstep(0.015, 0.09, d.y);
        if amount <= 0.0 {
            return (0.0, Vec3::default());
        }
        // Light comes through where less cloud lies towards the sun.
        let step = 0.16;
        let away = (self.sun.x * self.sun.x + self.sun.z * self.sun.z)
            .sqrt()
            .max(0.1);
        let (sx, sz) = (self.sun.x / away * step, self.sun.z / away * step);
        let shade = density(x + sx, z + sz, 4) * 0.7 + density(x + 2.0 * sx, z + 2.0 * sz, 3) * 0.5;
        let lit = (0.62 - (shade * 0.9 + here * 0.5)).clamp(0.0, 1.0);
        let rim = (1.0 - amount) * toward.powi(5) * 1.4;
        let color = self.cloud_shade.mix(self.cloud_light, lit) + self.sun_color * (rim * 0.25);
        let far = smoothstep(0.22, 0.02, d.y) * 0.6;
        (
            amount * 0.96,
            color.mix(self.horizon + self.glow * (0.25 * toward.powi(6)), far),
        )
    }

    /// What is left of `color` after `distance` metres of air, from height `from` along `d`.
    pub fn air(&self, color: Vec3, d: Vec3, distance: f32, from: f32) -> Vec3 {
        let toward = d.dot(self.sun).max(0.0);
        let veil = self.horizon.mix(self.zenith, 0.55) * 0.86 + self.glow * (0.42 * toward.powi(5));
        let haze = 1.0 - (-distance * self.haze).exp();
        let (density, height) = self.mist;
        // Integral of exp(-y / height) along the ray.
        let slope = d.y / height;
        let start = (-from.max(0.0) / height).exp();
        let path = if slope.abs() * distance < 1e-3 {
            start * distance
        } else {
            start * (1.0 - (-slope * distance).exp()) / slope
        };
        let mist = 1.0 - (-path.max(0.0) * density).exp();
        let mist_color =
            self.horizon * 0.9 + self.glow * (0.3 * toward.powi(4)) + v(0.02, 0.03, 0.04);
        color.mix(mist_color, mist * 0.85).mix(veil, haze)
    }
}
