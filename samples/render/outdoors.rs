//! A landscape: sky, land, water, painted trees and buildings, and how light travels between them.

use crate::math::{Vec3, fbm, noise, smoothstep, v};
use crate::sky::Sky;
use crate::sprite::Sprite;
use crate::terrain::{Ground, Terrain};

/// Everything that a ray outdoors can meet.
pub struct Outdoors {
    pub sky: Sky,
    pub land: Terrain,
    pub sprites: Vec<Sprite>,
    pub water: Water,
    pub buildings: Option<Buildings>,
    /// Colour of the land at a place.
    pub paint: fn(Vec3, &Ground) -> Vec3,
}

/// A plane of water at height 0.
pub struct Water {
    /// How steep the ripples are near the camera.
    pub ripple: f32,
    /// Length of the ripples in metres.
    pub wavelength: f32,
    pub depths: Vec3,
    pub seconds: f32,
    /// White water along shores, 0 to 1.
    pub foam: f32,
}

/// Solid things given by their distance field.
pub struct Buildings {
    /// A sphere that holds them all.
    pub center: Vec3,
    pub radius: f32,
    /// Distance to the nearest wall.
    pub distance: fn(Vec3) -> f32,
    /// Colour of the wall at a place, and light that it gives off.
    pub paint: fn(Vec3, Vec3) -> (Vec3, Vec3),
}

impl Outdoors {
    /// Radiance that arrives at `o` from the direction `d`.
    pub fn radiance(&self, o: Vec3, d: Vec3) -> Vec3 {
        self.trace(o, d, true)
    }

    fn trace(&self, o: Vec3, d: Vec3, direct: bool) -> Vec3 {
        let to_water = if d.y < -1e-4 { -o.y / d.y } else { f32::MAX };
        let mut nearest = to_water.min(12_000.0);
        let mut color = None;
        if let Some(t) = self.land.march(o, d, 0.5, nearest) {
            nearest = t;
            color = Some(self.land_color(o + d * t, t));
        }
        if let Some((t, paint)) = self.building(o, d, nearest) {
            nearest = t;
            color = Some(paint);
        }
        for sprite in &self.sprites {
            if let Some((t, paint)) = sprite.hit(o, d)
                && t < nearest
            {
                nearest = t;
                color = Some(paint);
            }
        }
        if let Some(color) = color {
            return self.sky.air(color, d, nearest, o.y);
        }
        if to_water < 12_000.0 {
            let surface = if direct {
                self.water_color(o + d * to_water, d, to_water)
            } else {
                self.water.depths
            };
            return self.sky.air(surface, d, to_water, o.y);
        }
        let sky = self.sky.radiance(d)
            + if direct {
                self.sky.disc(d)
            } else {
                Vec3::default()
            };
        let mist = self.sky.air(sky, d, 9000.0, o.y);
        sky.mix(mist, smoothstep(0.10, 0.0, d.y))
    }

    fn lit(&self, albedo: Vec3, normal: Vec3, sunlight: f32, openness: f32) -> Vec3 {
        let sky = &self.sky;
        let facing = normal.dot(sky.key).max(0.0);
        let dome = sky.zenith.mix(sky.horizon, 0.45) * (openness * (0.55 + 0.45 * normal.y));
        let back = v(-sky.key.x, 0.15, -sky.key.z).unit();
        let bounce = sky.sun_color * (0.05 * normal.dot(back).max(0.0) * openness);
        albedo * (sky.sun_color * (facing * sunlight) + dome + bounce)
    }

    fn land_color(&self, p: Vec3, distance: f32) -> Vec3 {
        let ground = self.land.ground(p, distance);
        let albedo = (self.paint)(p, &ground);
        // Small relief that the grid is too coarse for.
        let rough = if ground.growth > 0 { 0.35 } else { 0.5 } / (1.0 + distance * 0.002);
        let relief = |x: f32| {
            noise(p.x * 1.7 + x, p.z * 1.7 + p.y * 2.1)
                + noise(p.x * 0.4 - x, p.z * 0.4 + p.y * 0.5)
        };
        let bump = v(relief(0.0), relief(23.0), relief(57.0));
        let normal = (ground.normal + bump * rough).unit();
        let mut color = self.lit(albedo, normal, ground.sunlight, ground.openness);
        if ground.growth > 0 {
            // Needles and leaves let some light through from behind.
            let through = (0.5 - 0.5 * normal.dot(self.sky.key)).max(0.0) * ground.sunlight;
            color += albedo * self.sky.sun_color * (0.22 * through);
        }
        if p.y < 0.35 {
            color = color * (0.45 + 0.55 * smoothstep(0.0, 0.35, p.y));
        }
        color
    }

    fn building(&self, o: Vec3, d: Vec3, far: f32) -> Option<(f32, Vec3)> {
        let buildings = self.buildings.as_ref()?;
        let to = buildings.center - o;
        let along = to.dot(d);
        let inside = buildings.radius * buildings.radius - (to.dot(to) - along * along);
        if inside <= 0.0 {
            return None;
        }
        let half = inside.sqrt();
        let (mut t, end) = ((along - half).max(0.1), (along + half).min(far));
        while t < end {
            let p = o + d * t;
            let gap = (buildings.distance)(p);
            if gap < 2e-4 * t + 0.005 {
                return Some((t, self.building_color(buildings, p, t)));
            }
            t += gap * 0.9;
        }
        None
    }

    fn building_color(&self, buildings: &Buildings, p: Vec3, t: f32) -> Vec3 {
        let e = 0.02 + t * 2e-4;
        let f = |dx: f32, dy: f32, dz: f32| (buildings.distance)(p + v(dx, dy, dz) * e);
        let normal = v(
            f(1.0, 0.0, 0.0) - f(-1.0, 0.0, 0.0),
            f(0.0, 1.0, 0.0) - f(0.0, -1.0, 0.0),
            f(0.0, 0.0, 1.0) - f(0.0, 0.0, -1.0),
        )
        .unit();
        let (albedo, own_light) = (buildings.paint)(p, normal);
        let mut sunlight: f32 = 1.0;
        let mut s = 0.3;
        while s < 40.0 && sunlight > 0.02 {
            let gap = (buildings.distance)(p + self.sky.key * s);
            sunlight = sunlight.min((14.0 * gap / s).clamp(0.0, 1.0));
            s += gap.max(0.15);
        }
        let mut openness: f32 = 1.0;
        for reach in [0.3, 0.8, 1.8] {
            let gap = (buildings.distance)(p + normal * reach);
            openness -= 0.28 * (1.0 - gap / reach).clamp(0.0, 1.0);
        }
        self.lit(albedo, normal, sunlight, openness.max(0.2)) + own_light
    }

    fn water_color(&self, p: Vec3, d: Vec3, distance: f32) -> Vec3 {
        let water = &self.water;
        let s = water.seconds;
        let k = 1.0 / water.wavelength;
        let height = |x: f32, z: f32| {
            fbm(x * k + s * 0.35, z * k * 1.6 - s * 0.5, 3)
                + 0.6 * noise(x * k * 2.3 - s * 0.8, z * k * 3.4 + s * 0.6)
        };
        // Breezes ruffle the water in patches and leave mirrors between.
        let breeze =
            0.35 + 1.1 * smoothstep(-0.25, 0.35, fbm(p.x * 0.012 + s * 0.02, p.z * 0.02, 3));
        let e = 0.08 * water.wavelength + distance * 1.5e-3;
        let steep = water.ripple * breeze * water.wavelength / (1.0 + distance * 0.022);
        let here = height(p.x, p.z);
        let normal = v(
            -(height(p.x + e, p.z) - here) / e * steep,
            1.0,
            -(height(p.x, p.z + e) - here) / e * steep,
        )
        .unit();
        let mut up = d.reflect(normal);
        up.y = up.y.abs().max(0.004);
        let up = up.unit();
        let mirror = self.trace(p + v(0.0, 0.02, 0.0), up, false);
        let facing = (-d.dot(normal)).clamp(0.0, 1.0);
        let fresnel = 0.03 + 0.97 * (1.0 - facing).powi(5);
        let mut color = water.depths.mix(mirror, (fresnel * 1.1 + 0.06).min(1.0));
        let glint = up.dot(self.sky.sun).max(0.0).powi(420);
        color += self.sky.sun_color * (glint * 3.0);
        if water.foam > 0.0 {
            let depth = -self.land.height_at(p.x, p.z);
            let swash = fbm(p.x * 0.35 + s * 0.1, p.z * 0.35, 5);
            let edge = smoothstep(3.4, 0.0, depth + swash * 4.0);
            let lace = smoothstep(
                -0.12,
                0.3,
                fbm(p.x * 0.8, p.z * 1.1 - s * 0.2, 4) + edge * 0.5 - 0.25,
            );
            let crest = smoothstep(0.62, 0.95, here) * 0.5 / (1.0 + distance * 0.004);
            let white =
                self.sky.sun_color * 0.24 + self.sky.zenith * 0.45 + self.sky.horizon * 0.25;
            color = color.mix(
                white,
                ((edge * lace).max(crest) * water.foam).clamp(0.0, 0.95),
            );
        }
        color
    }
}
