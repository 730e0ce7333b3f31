//! The clip: a mountain lake on an autumn evening. The camera glides low over the water past
//! islets with pines towards a sailing boat.

use std::sync::Arc;

use crate::camera::Camera;
use crate::math::{Random, Vec3, fbm, lerp, noise, ridged, smoothstep, v};
use crate::outdoors::{Outdoors, Water};
use crate::sky::Sky;
use crate::sprite::{Canvas, Sprite};
use crate::terrain::{Ground, Terrain, Tree};

/// The lake, ready to be filmed.
pub struct Lake {
    scene: Outdoors,
    boat: usize,
}

/// Islets: x, z, radius, height.
const ISLETS: [(f32, f32, f32, f32); 4] = [
    (-31.0, 82.0, 17.0, 2.6),
    (47.0, 150.0, 15.0, 2.2),
    (-88.0, 230.0, 26.0, 3.6),
    (31.0, 60.0, 6.0, 0.9),
];

impl Lake {
    /// Builds the land, plants it and lights it.
    pub fn new() -> Self {
        let sun = v(0.40, 0.155, 1.0).unit();
        let key = v(0.88, 0.36, 0.12).unit();
        let land = Terrain::new((-2100.0, -60.0), 2.0, 2100, height, plant, key);
        let mut sprites = trees();
        let boat = sprites.len();
        sprites.push(Sprite {
            canvas: Arc::new(Canvas::sailboat()),
            foot: Vec3::default(),
            width: 7.0,
            height: 9.0,
            mirrored: true,
        });
        let scene = Outdoors {
            sky: Sky {
                sun,
                key,
                sun_color: v(3.3, 2.0, 0.98),
                zenith: v(0.13, 0.29, 0.64),
                horizon: v(0.86, 0.62, 0.47),
                glow: v(1.25, 0.66, 0.22),
                cloud_light: v(1.45, 0.98, 0.66),
                cloud_shade: v(0.40, 0.36, 0.48),
                cover: 0.60,
                haze: 0.85e-4,
                mist: (1.1e-3, 12.0),
                drift: 0.0,
            },
            land,
            sprites,
            water: Water {
                ripple: 0.045,
                wavelength: 2.0,
                depths: v(0.010, 0.045, 0.052),
                seconds: 0.0,
                foam: 0.0,
            },
            buildings: None,
            paint,
        };
        Self { scene, boat }
    }

    /// Moves everything to the time `seconds`.
    pub fn set_time(&mut self, seconds: f32) {
        self.scene.water.seconds = seconds;
        self.scene.sky.drift = 40.0 * seconds;
        let bob = 0.05 * (seconds * 1.9).sin();
        self.scene.sprites[self.boat].foot = v(15.5 - 1.1 * seconds, -0.1 + bob, 66.0);
    }

    /// The camera at the time `seconds` of `length`: a slow glide that starts and ends softly.
    pub fn camera(seconds: f32, length: f32) -> Camera {
        let part = seconds / length;
        let glide = lerp(part, smoothstep(0.0, 1.0, part), 0.5);
        let eye = v(-4.0 + 9.0 * glide, 3.6 + 0.9 * glide, 8.0 + 15.0 * glide);
        Camera {
            eye,
            target: eye + v(0.06 - 0.05 * glide, 0.085, 1.0),
            half_height: 0.40,
        }
    }

    /// Another view for a still: from higher up, towards the islet with the autumn trees.
    pub fn from_the_shore() -> Camera {
        let eye = v(22.0, 6.5, 14.0);
        Camera {
            eye,
            target: eye + v(-0.50, 0.075, 1.0),
            half_height: 0.42,
        }
    }

    /// Radiance with the birds, which fly in front of everything.
    pub fn radiance(&self, o: Vec3, d: Vec3) -> Vec3 {
        let color = self.scene.radiance(o, d);
        let bird = flock(d, self.scene.water.seconds);
        color.mix(v(0.045, 0.04, 0.05), bird)
    }
}

/// How much of a bird covers the direction `d`: wings are two bent strokes that beat.
fn flock(d: Vec3, seconds: f32) -> f32 {
    let (x, y) = (d.x / d.z, d.y / d.z);
    for i in 0..7 {
        let mut random = Random::new(i, 0, 90);
        let size = lerp(0.010, 0.017, random.unit());
        let rank = i as f32;
        let cx = -0.34 + 0.052 * rank + 0.035 * seconds + 0.014 * random.unit();
        let cy = 0.285 - 0.02 * (rank - 3.0).abs() + 0.006 * seconds + 0.012 * random.unit();
        let (dx, dy) = ((x - cx) / size, (y - cy) / size);
        if dx.abs() > 1.0 || dy.abs() > 1.0 {
            continue;
        }
        let beat = (seconds * lerp(7.0, 9.0, random.unit()) + 6.3 * random.unit()).sin();
        let wing = dx.abs();
        let bend = wing * (0.45 * beat + 0.18) - wing * wing * (0.30 * beat + 0.25);
        if (dy - bend).abs() < 0.14 * (1.05 - wing) {
            return 0.9;
        }
    }
    0.0
}

fn height(x: f32, z: f32) -> f32 {
    // Distance to the shore of an ellipse with bays.
    let (ex, ez) = (x / 330.0, (z - 560.0) / 850.0);
    let bays = 70.0 * fbm(x * 0.004, z * 0.004, 4);
    let shore = ((ex * ex + ez * ez).sqrt() - 1.0) * 360.0 + bays;
    let mut h = if shore < 0.0 {
        (shore * 0.12).max(-14.0)
    } else {
        let hills =
            smoothstep(10.0, 420.0, shore) * (75.0 + 110.0 * fbm(x * 0.0022, z * 0.0022, 5));
        let rise = smoothstep(160.0, 1500.0, shore);
        let crest = ridged(x * 0.00085 + 0.35, z * 0.00085 + 0.2, 9);
        shore * 0.035 + hills.max(0.0) + rise * (crest * 760.0 + 30.0)
    };
    // The peak that closes the valley.
    let (px, pz) = (x + 520.0, z - 2750.0);
    let peak = (-(px * px + pz * pz) / (640.0 * 640.0)).exp();
    h += peak * 330.0 * (0.6 + 0.7 * ridged(x * 0.002, z * 0.002, 6));
    for (ix, iz, radius, top) in ISLETS {
        let (dx, dz) = (x - ix, (z - iz) * 1.5);
        let away = (dx * dx + dz * dz).sqrt() / radius + 0.35 * fbm(x * 0.12, z * 0.12, 4);
        let dome = top * (1.0 - away * away) + 0.5 * fbm(x * 0.4, z * 0.4, 3);
        if away < 1.6 {
            h = h.max(dome);
        }
    }
    h
}

fn plant(land: &Terrain) -> Vec<Tree> {
    land.forest(7.0, |x, z, h, slope| {
        let stands = fbm(x * 0.006, z * 0.006, 3);
        let line = 330.0 + 90.0 * noise(x * 0.004, z * 0.004);
        if z < 320.0 && x.abs() < 140.0 || h < 1.2 || h > line || slope > 0.75 || stands < -0.28 {
            return None;
        }
        let chance = noise(x * 0.93, z * 0.93) + 0.5;
        let tall = lerp(9.0, 21.0, chance.clamp(0.0, 1.0));
        let larch = fbm(x * 0.011 + 7.0, z * 0.011, 2) + 0.5 * noise(x * 0.7, z * 0.7) > 0.12;
        let tint = (chance * 100.0).clamp(1.0, 100.0) as u8;
        Some((tall, if larch { 128 + tint } else { tint }))
    })
}

fn trees() -> Vec<Sprite> {
    let spruces: Vec<_> = (0..4).map(|seed| Arc::new(Canvas::conifer(seed))).collect();
    let gold = [
        v(0.10, 0.045, 0.012),
        v(0.62, 0.27, 0.035),
        v(1.35, 0.72, 0.13),
    ];
    let red = [
        v(0.08, 0.02, 0.012),
        v(0.48, 0.10, 0.025),
        v(1.15, 0.36, 0.08),
    ];
    let birches: Vec<_> = [gold, red, gold]
        .into_iter()
        .enumerate()
        .map(|(seed, leaves)| Arc::new(Canvas::broadleaf(seed as u32 + 40, leaves)))
        .collect();
    let mut sprites = Vec::new();
    for (n, (ix, iz, radius, _)) in ISLETS.into_iter().take(3).enumerate() {
        let count = [9, 8, 16][n];
        for i in 0..count {
            let mut random = Random::new(i, n, 33);
            let x = ix + (random.unit() - 0.5) * radius * 1.25;
            let z = iz + (random.unit() - 0.5) * radius * 0.6;
            let leafy = random.unit() < 0.34;
            let size = lerp(6.5, 14.5, random.unit());
            let canvas = if leafy {
                &birches[i % birches.len()]
            } else {
                &spruces[i % spruces.len()]
            };
            let size = if leafy { size * 0.72 } else { size };
            sprites.push(Sprite {
                canvas: Arc::clone(canvas),
                foot: v(x, height(x, z).max(0.3) - 0.25, z),
                width: size * if leafy { 1.0 } else { 420.0 / 900.0 },
                height: size,
                mirrored: false,
            });
        }
    }
    sprites
}

fn paint(p: Vec3, ground: &Ground) -> Vec3 {
    let mottle = fbm(p.x * 0.05, p.z * 0.05 + p.y * 0.03, 4);
    match ground.growth {
        0 => {}
        spruce @ 1..=127 => {
            let t = f32::from(spruce) / 100.0;
            return v(0.045, 0.075, 0.035).mix(v(0.11, 0.12, 0.04), t) * (0.8 + 0.5 * mottle);
        }
        larch => {
            let t = f32::from(larch - 128) / 100.0;
            return v(0.34, 0.20, 0.035).mix(v(0.46, 0.16, 0.03), t) * (0.85 + 0.5 * mottle);
        }
    }
    let steep = 1.0 - ground.normal.y;
    let strata = 0.5 + 0.5 * (p.y * 0.09 + 5.0 * fbm(p.x * 0.006, p.z * 0.006, 3)).sin();
    let rock = v(0.25, 0.215, 0.195).mix(v(0.36, 0.30, 0.25), strata) * (0.85 + 0.6 * mottle);
    let blades = 0.5 + mottle + 0.5 * fbm(p.x * 0.9, p.z * 0.9, 3);
    let grass = v(0.10, 0.12, 0.035).mix(v(0.34, 0.24, 0.07), blades.clamp(0.0, 1.0));
    let meadow = smoothstep(0.38, 0.18, steep + 0.15 * mottle) * smoothstep(520.0, 330.0, p.y);
    let mut color = rock.mix(grass, meadow);
    let line = 470.0 + 170.0 * fbm(p.x * 0.003, p.z * 0.003, 4);
    let snow = smoothstep(line, line + 130.0, p.y) * smoothstep(0.52, 0.30, steep + 0.2 * mottle);
    color = color.mix(v(0.86, 0.88, 0.95), snow);
    let beach = smoothstep(1.1, 0.4, p.y + 0.4 * mottle);
    color.mix(
        v(0.24, 0.20, 0.17) * (0.8 + noise(p.x * 2.2, p.z * 2.2)),
        beach,
    )
}
