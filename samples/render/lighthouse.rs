//! Portrait format: a lighthouse and its keeper's cottage on a rocky point, late in the day.

use crate::camera::Camera;
use crate::math::{Vec3, fbm, lerp, noise, ridged, smoothstep, v};
use crate::outdoors::{Buildings, Outdoors, Water};
use crate::sky::Sky;
use crate::terrain::{Ground, Terrain};

/// Foot of the tower.
const TOWER: Vec3 = v(4.0, 9.2, 62.0);
/// Foot of the cottage.
const COTTAGE: Vec3 = v(-8.5, 7.7, 61.0);

/// Puts the scene together.
pub fn scene() -> Outdoors {
    let sun = v(-0.82, 0.36, -0.25).unit();
    let land = Terrain::new((-140.0, 0.0), 0.25, 1200, height, |_| Vec::new(), sun);
    Outdoors {
        sky: Sky {
            sun,
            key: sun,
            sun_color: v(3.3, 2.15, 1.15),
            zenith: v(0.09, 0.24, 0.62),
            horizon: v(0.80, 0.66, 0.60),
            glow: v(0.9, 0.5, 0.25),
            cloud_light: v(1.5, 1.10, 0.82),
            cloud_shade: v(0.34, 0.36, 0.52),
            cover: 0.62,
            haze: 2.0e-4,
            mist: (2.0e-4, 10.0),
            drift: 900.0,
        },
        land,
        sprites: Vec::new(),
        water: Water {
            ripple: 0.10,
            wavelength: 3.4,
            depths: v(0.010, 0.085, 0.105),
            seconds: 11.0,
            foam: 1.0,
        },
        buildings: Some(Buildings {
            center: v(0.0, 18.0, 62.0),
            radius: 20.0,
            distance,
            paint: paint_building,
        }),
        paint: paint_land,
    }
}

/// From a boat off the point.
pub fn camera() -> Camera {
    let eye = v(-9.0, 4.6, 0.0);
    Camera {
        eye,
        target: eye + v(0.11, 0.135, 1.0),
        half_height: 0.42,
    }
}

fn height(x: f32, z: f32) -> f32 {
    let (dx, dz) = (x - 6.0, z - 72.0);
    let bend = 7.0 * fbm(x * 0.035, z * 0.035, 3);
    let away = ((dx / 31.0).powi(2) + (dz / 27.0).powi(2)).sqrt() + bend * 0.035;
    let table = smoothstep(1.12, 0.62, away);
    let crags = ridged(x * 0.045, z * 0.045, 7);
    let steps = 1.3 * (ridged(x * 0.11 + 3.0, z * 0.11, 6) - 0.5);
    let mut h = -5.0 + 12.2 * table + (1.0 - table) * crags * 5.6 * smoothstep(1.75, 1.0, away);
    h += steps * (1.0 - smoothstep(0.55, 1.0, table) * 0.85);
    h += (1.0 - table * 0.8)
        * (1.9 * (ridged(x * 0.16, z * 0.16, 6) - 0.45) + 0.5 * fbm(x * 0.9, z * 0.9, 3));
    h += 0.25 * fbm(x * 0.4, z * 0.4, 4) + 1.6 * smoothstep(-10.0, 8.0, dx) * table;
    // Level ground under the tower and the cottage.
    for (foot, radius) in [(TOWER, 5.0), (COTTAGE, 7.5)] {
        let near = v(x - foot.x, 0.0, z - foot.z).length();
        h = lerp(h, foot.y, smoothstep(radius * 1.5, radius * 0.8, near));
    }
    // Skerries in the foreground.
    for (sx, sz, size, top) in [
        (-17.0, 30.0, 5.5, 1.6),
        (7.0, 25.0, 4.0, 1.0),
        (-2.0, 38.0, 3.5, 1.3),
    ] {
        let (dx, dz) = (x - sx, z - sz);
        let near = (dx * dx + dz * dz).sqrt() / size + 0.3 * fbm(x * 0.25, z * 0.25, 4);
        if near < 1.8 {
            h = h.max(top * (1.0 - near * near) + 0.9 * (ridged(x * 0.2, z * 0.2, 5) - 0.5));
        }
    }
    h
}

fn paint_land(p: Vec3, ground: &Ground) -> Vec3 {
    let mottle = fbm(p.x * 0.7, p.z * 0.7 + p.y * 0.9, 5);
    let tilt = p.y * 1.7 + p.x * 0.25 + 3.0 * fbm(p.x * 0.15, p.z * 0.15 + p.y * 0.1, 4);
    let bands = 0.5 + 0.5 * tilt.sin();
    let crack = ridged(p.x * 0.42, p.z * 0.42 + p.y * 0.30, 4);
    let stone = v(0.17, 0.135, 0.12).mix(v(0.44, 0.35, 0.28), bands) * (0.85 + 0.8 * mottle);
    let stone = stone * lerp(1.15, 0.35, smoothstep(0.62, 0.95, crack));
    let heath = fbm(p.x * 0.22, p.z * 0.22, 4);
    let grass = v(0.09, 0.14, 0.035).mix(v(0.27, 0.26, 0.07), (0.5 + mottle).clamp(0.0, 1.0));
    let bloom = v(0.42, 0.12, 0.30);
    let green = grass.mix(bloom, smoothstep(0.15, 0.4, heath) * 0.75);
    let flat = smoothstep(0.30, 0.12, 1.0 - ground.normal.y + 0.2 * mottle);
    let mut color = stone.mix(green, flat * smoothstep(2.6, 4.2, p.y + mottle));
    let lichen = smoothstep(0.12, 0.4, noise(p.x * 1.1, p.z * 1.1 + p.y));
    color = color.mix(
        v(0.55, 0.36, 0.08),
        lichen * 0.45 * (1.0 - flat) * smoothstep(1.5, 3.0, p.y),
    );
    color.mix(
        v(0.035, 0.035, 0.035),
        smoothstep(1.5, 0.5, p.y + 0.6 * mottle),
    )
}

/// An upright box with its middle at `c`.
fn block(p: Vec3, c: Vec3, half: Vec3) -> f32 {
    let q = v(
        (p.x - c.x).abs() - half.x,
        (p.y - c.y).abs() - half.y,
        (p.z - c.z).abs() - half.z,
    );
    let out = v(q.x.max(0.0), q.y.max(0.0), q.z.max(0.0)).length();
    out + q.x.max(q.y).max(q.z).min(0.0)
}

/// An upright cylinder from `low` to `high` whose radius goes from `r0` to `r1`.
fn tube(q: Vec3, low: f32, high: f32, r0: f32, r1: f32) -> f32 {
    let t = ((q.y - low) / (high - low)).clamp(0.0, 1.0);
    let side = (q.x * q.x + q.z * q.z).sqrt() - lerp(r0, r1, t);
    let end = (low - q.y).max(q.y - high);
    let out = (side.max(0.0).powi(2) + end.max(0.0).powi(2)).sqrt();
    out + side.max(end).min(0.0)
}

fn distance(p: Vec3) -> f32 {
    tower(p - TOWER).min(cottage(p - COTTAGE))
}

fn tower(q: Vec3) -> f32 {
    let mut d = tube(q, -1.0, 17.0, 3.0, 1.95);
    d = d.min(tube(q, -1.0, 0.7, 3.5, 3.4));
    d = d.min(tube(q, 16.9, 17.5, 2.2, 2.85));
    d = d.min(tube(q, 17.5, 20.0, 1.35, 1.35));
    d = d.min(tube(q, 20.0, 20.25, 1.75, 1.75));
    d = d.min(tube(q, 20.25, 21.7, 1.6, 0.25));
    d = d.min(tube(q, 21.6, 22.9, 0.07, 0.04));
    d = d.min((q - v(0.0, 21.9, 0.0)).length() - 0.28);
    // The railing: a ring and its posts.
    let around = q.z.atan2(q.x);
    let radius = (q.x * q.x + q.z * q.z).sqrt();
    let ring = ((radius - 2.7).powi(2) + (q.y - 18.5).powi(2)).sqrt() - 0.06;
    let step = std::f32::consts::TAU / 18.0;
    let turn = (around / step).round() * step;
    let post = tube(
        v(q.x - 2.7 * turn.cos(), q.y, q.z - 2.7 * turn.sin()),
        17.5,
        18.5,
        0.05,
        0.05,
    );
    d = d.min(ring).min(post);
    // Door and windows are set into the wall.
    for (y, half) in [
        (1.2, v(0.55, 1.2, 0.5)),
        (6.2, v(0.32, 0.6, 0.5)),
        (11.6, v(0.3, 0.55, 0.5)),
    ] {
        let wall = lerp(3.0, 1.95, (y + 1.0) / 18.0);
        d = d.max(-block(q, v(-0.7, y, -wall), half));
    }
    d
}

fn cottage(q: Vec3) -> f32 {
    let walls = block(q, v(0.0, 1.0, 0.0), v(4.2, 2.0, 2.6));
    let gable = |over: f32| {
        let slope = ((q.z.abs() - 2.6 - over) * 0.66 + (q.y - 3.0)) * 0.83;
        slope.max(q.x.abs() - 4.2 - over).max(2.9 - q.y)
    };
    let roof = gable(0.35).max(-(gable(0.35) + 0.22).max(q.x.abs() - 4.0));
    let mut d = walls.min(gable(0.0)).min(roof);
    d = d.min(block(q, v(2.4, 4.6, 0.3), v(0.45, 1.3, 0.45)));
    d = d.min(block(q, v(2.4, 5.95, 0.3), v(0.55, 0.1, 0.55)));
    for x in [-2.6, 2.6] {
        d = d.max(-block(q, v(x, 1.5, -2.6), v(0.6, 0.7, 0.18)));
    }
    d.max(-block(q, v(0.0, 0.95, -2.6), v(0.6, 1.15, 0.18)))
}

fn paint_building(p: Vec3, _normal: Vec3) -> (Vec3, Vec3) {
    let none = Vec3::default();
    let worn = 0.9 + 0.25 * fbm(p.x * 1.3, p.y * 0.8 + p.z, 4);
    let q = p - TOWER;
    if q.x.abs() < 4.0 {
        let radius = (q.x * q.x + q.z * q.z).sqrt();
        let wall = lerp(3.0, 1.95, ((q.y + 1.0) / 18.0).clamp(0.0, 1.0));
        if q.y > 17.6 && q.y < 20.0 && radius < 1.6 {
            let bars = (q.z.atan2(q.x) * 10.0 / std::f32::consts::TAU + 0.5).fract();
            if bars < 0.12 || (q.y - 18.75).abs() < 0.07 {
                return (v(0.10, 0.04, 0.03), none);
            }
            let lamp = smoothstep(1.3, 0.2, (q.y - 18.8).abs());
            return (v(0.10, 0.12, 0.14), v(2.2, 1.35, 0.45) * (0.25 + lamp));
        }
        if q.y >= 16.9 {
            let red = q.y >= 20.0;
            return (
                if red {
                    v(0.50, 0.05, 0.035)
                } else {
                    v(0.12, 0.12, 0.13)
                } * worn,
                none,
            );
        }
        if q.y < 16.9 && radius < wall - 0.3 {
            return if q.y < 3.0 {
                (v(0.10, 0.22, 0.20), none)
            } else {
                (v(0.05, 0.06, 0.09), none)
            };
        }
        if q.y < 0.7 {
            return (v(0.33, 0.30, 0.27) * worn, none);
        }
        let red = ((q.y - 0.7) / 16.2 * 5.0) as i32 % 2 == 1;
        let paint = if red {
            v(0.56, 0.055, 0.04)
        } else {
            v(0.80, 0.77, 0.70)
        };
        return (paint * worn, none);
    }
    let q = p - COTTAGE;
    let chimney = (q.x - 2.4).abs() < 0.6 && (q.z - 0.3).abs() < 0.6 && q.y > 4.1;
    let slope = (q.z.abs() - 2.95) * 0.66 + (q.y - 3.0);
    if chimney {
        let brick = ((q.y * 6.0).fract() < 0.16) as i32 as f32;
        return (
            v(0.42, 0.15, 0.09).mix(v(0.5, 0.45, 0.4), brick) * worn,
            none,
        );
    }
    if slope > -0.22 && q.y > 2.7 {
        let course = (q.y * 3.4).fract();
        let tile = noise((q.x * 2.6).floor() * 7.3, (q.y * 3.4).floor() * 3.1);
        let shade = (0.7 + 0.4 * course) * (1.0 + 0.5 * tile);
        return (v(0.46, 0.145, 0.07) * shade, none);
    }
    let inset = q.z > -2.55 && q.z < -2.3 && q.y < 2.4;
    if inset && q.x.abs() > 1.5 && q.x.abs() < 3.4 {
        let u = q.x.abs() - 2.6;
        let bar = u.abs() < 0.05 || (q.y - 1.5).abs() < 0.05;
        let glow = v(1.6, 0.85, 0.28) * (0.8 + 0.3 * q.y - 0.3);
        return if bar {
            (v(0.7, 0.68, 0.62), none)
        } else {
            (v(0.1, 0.1, 0.1), glow)
        };
    }
    if inset && q.x.abs() < 0.7 {
        return (v(0.05, 0.16, 0.30) * worn, none);
    }
    (v(0.82, 0.78, 0.70) * worn, none)
}
