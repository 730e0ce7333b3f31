//! A still life: a jug of tulips, fruit and a bowl on a wooden table beside a window. Rendered by
//! following light over two bounces (path tracing).

use std::f32::consts::{PI, TAU};

use crate::camera::Camera;
use crate::fruit::{apple, bowl, jug, leaf, orange, pear, stem, tulip};
use crate::math::{Random, Vec3, fbm, noise, smoothstep, v};

/// What a surface is made of.
#[derive(Clone, Copy, PartialEq)]
enum Material {
    Table,
    Wall,
    Cloth,
    Jug,
    Stem,
    Tulip(u8),
    Apple(u8),
    Pear,
    Orange,
    Grape(u8),
    Bowl,
}

/// The window: its middle and half its sides; light falls in along +x.
const WINDOW: Vec3 = v(-3.4, 2.5, -0.9);
const WINDOW_HALF: (f32, f32) = (1.25, 1.0);
const DAYLIGHT: Vec3 = v(9.8, 8.7, 7.0);

/// Tulips: where the blossom is, its size, and its colour's number.
const TULIPS: [(Vec3, f32, u8); 6] = [
    (v(-0.98, 2.36, 0.42), 0.215, 0),
    (v(-0.50, 2.62, 0.55), 0.225, 1),
    (v(-0.02, 2.38, 0.40), 0.215, 2),
    (v(-0.78, 2.02, 0.12), 0.205, 1),
    (v(-0.26, 2.08, 0.08), 0.215, 0),
    (v(-1.28, 1.98, 0.55), 0.195, 2),
];
const JUG: Vec3 = v(-0.58, 0.0, 0.45);
const BOWL: Vec3 = v(0.92, 0.0, 0.42);

/// Where the painter sits.
pub fn camera() -> Camera {
    Camera {
        eye: v(0.22, 1.75, -4.6),
        target: v(0.10, 1.16, 0.2),
        half_height: 0.372,
    }
}

/// Random paths that start where one ray from the eye ends.
const PATHS: usize = 6;

/// Radiance from the direction `d`, the mean of a few random paths.
pub fn radiance(o: Vec3, d: Vec3, random: &mut Random) -> Vec3 {
    let Some((p, material)) = march(o, d, 14.0) else {
        return Vec3::default();
    };
    let normal = normal(p);
    let mut light = Vec3::default();
    for path in 0..PATHS {
        light += daylight(p, normal, path, random) + bounced(p, normal, path, random);
    }
    let mut color = albedo(p, material, normal) * light / PATHS as f32;
    let shine = gloss(material);
    if shine > 0.0 {
        let facing = (-d.dot(normal)).clamp(0.0, 1.0);
        let fresnel = 0.04 + 0.96 * (1.0 - facing).powi(5);
        let rough = if material == Material::Table {
            0.10
        } else {
            0.025
        };
        let scatter = v(
            random.unit() - 0.5,
            random.unit() - 0.5,
            random.unit() - 0.5,
        );
        let mirror = (d.reflect(normal) + scatter * rough).unit();
        let seen = window_seen(p, mirror).unwrap_or_else(|| {
            march(p + normal * 0.01, mirror, 6.0).map_or(v(0.08, 0.08, 0.08), |(q, other)| {
                leaving(q, other, 0, random)
            })
        });
        color += seen * (fresnel * shine);
    }
    color
}

/// Light that the surfaces around send to `p`, over one random direction.
fn bounced(p: Vec3, normal: Vec3, path: usize, random: &mut Random) -> Vec3 {
    let bounce = hemisphere(normal, random);
    march(p + normal * 0.006, bounce, 7.0).map_or(v(0.20, 0.19, 0.18), |(q, material)| {
        leaving(q, material, path, random)
    })
}

/// Light that leaves `q` after daylight, and a little from everywhere, has reached it.
fn leaving(q: Vec3, material: Material, path: usize, random: &mut Random) -> Vec3 {
    let normal = normal(q);
    albedo(q, material, normal) * (daylight(q, normal, path, random) + v(0.11, 0.11, 0.12))
}

/// Light that reaches `p` straight from a random place in one of the [`PATHS`] strips of the
/// window.
fn daylight(p: Vec3, normal: Vec3, path: usize, random: &mut Random) -> Vec3 {
    let u = (path as f32 + random.unit()) / PATHS as f32 * 2.0 - 1.0;
    let w = random.unit() * 2.0 - 1.0;
    if bar(u, w) {
        return Vec3::default();
    }
    let from = WINDOW + v(0.0, u * WINDOW_HALF.0, w * WINDOW_HALF.1);
    let to = from - p;
    let distance = to.length();
    let to = to / distance;
    let facing = normal.dot(to);
    if facing <= 0.0 || to.x >= 0.0 || march(p + normal * 0.006, to, distance).is_some() {
        return Vec3::default();
    }
    let area = 4.0 * WINDOW_HALF.0 * WINDOW_HALF.1;
    DAYLIGHT * (facing * -to.x * area / (PI * distance * distance))
}

/// The glazing bars of the window.
fn bar(u: f32, w: f32) -> bool {
    w.abs() < 0.07 || (u - 0.1).abs() < 0.05
}

fn window_seen(p: Vec3, d: Vec3) -> Option<Vec3> {
    let t = (WINDOW.x - p.x) / d.x;
    let q = p + d * t - WINDOW;
    let (u, w) = (q.y / WINDOW_HALF.0, q.z / WINDOW_HALF.1);
    let seen = t > 0.0 && u.abs() < 1.0 && w.abs() < 1.0 && !bar(u, w);
    (seen && march(p + d * 0.02, d, t).is_none()).then_some(DAYLIGHT * 0.55)
}

/// A random direction about `normal`, as often as matt surfaces send light there.
fn hemisphere(normal: Vec3, random: &mut Random) -> Vec3 {
    let (turn, height) = (random.unit() * TAU, random.unit() * 2.0 - 1.0);
    let r = (1.0 - height * height).sqrt();
    (normal + v(r * turn.cos(), height, r * turn.sin()) * 0.999).unit()
}

fn march(o: Vec3, d: Vec3, far: f32) -> Option<(Vec3, Material)> {
    let mut t = 0.0;
    for _ in 0..160 {
        let p = o + d * t;
        let (gap, material) = nearest(p);
        if gap < 6e-4 * (1.0 + t) {
            return Some((p, material));
        }
        t += gap * 0.85;
        if t > far {
            return None;
        }
    }
    None
}

fn normal(p: Vec3) -> Vec3 {
    let e = 0.0015;
    let f = |dx: f32, dy: f32, dz: f32| nearest(p + v(dx, dy, dz) * e).0;
    v(
        f(1.0, 0.0, 0.0) - f(-1.0, 0.0, 0.0),
        f(0.0, 1.0, 0.0) - f(0.0, -1.0, 0.0),
        f(0.0, 0.0, 1.0) - f(0.0, 0.0, -1.0),
    )
    .unit()
}

/// Distance to the nearest surface, and its material.
fn nearest(p: Vec3) -> (f32, Material) {
    let mut best = (p.y, Material::Table);
    let mut offer = |gap: f32, material: Material| {
        if gap < best.0 {
            best = (gap, material);
        }
    };
    offer(2.3 - p.z, Material::Wall);
    offer(cloth(p), Material::Cloth);
    // Each group is looked at closely only from near by; from afar its sphere stands for it.
    let group = |middle: Vec3, radius: f32| (p - middle).length() - radius;
    let rough = group(JUG + v(0.0, 0.62, 0.0), 0.82);
    offer(
        if rough > 0.15 { rough } else { jug(p - JUG) },
        Material::Jug,
    );
    let rough = group(v(-0.62, 1.95, 0.35), 1.12);
    if rough > 0.15 {
        offer(rough, Material::Stem);
    } else {
        for (place, size, tint) in TULIPS {
            offer(tulip(p - place, size), Material::Tulip(tint));
            offer(
                stem(p, JUG + v(0.0, 0.7, 0.0), place - v(0.0, size * 0.9, 0.0)),
                Material::Stem,
            );
        }
        for (turn, reach) in [(0.3, 0.75), (2.6, 0.85), (4.3, 0.6), (5.3, 0.7)] {
            offer(
                leaf(p - JUG - v(0.0, 1.15, 0.0), turn, reach),
                Material::Stem,
            );
        }
    }
    let rough = group(BOWL + v(0.0, 0.45, 0.0), 0.95);
    if rough > 0.15 {
        offer(rough, Material::Bowl);
    } else {
        offer(bowl(p - BOWL), Material::Bowl);
        offer(
            apple(p - BOWL - v(-0.30, 0.52, -0.12), 0.29),
            Material::Apple(0),
        );
        offer(
            orange(p - BOWL - v(0.27, 0.51, -0.2), 0.28),
            Material::Orange,
        );
        offer(
            apple(p - BOWL - v(0.10, 0.55, 0.30), 0.29),
            Material::Apple(1),
        );
        offer(orange(p - BOWL - v(0.0, 0.78, 0.0), 0.25), Material::Orange);
    }
    let rough = group(v(0.1, 0.4, -0.62), 0.62);
    if rough > 0.15 {
        offer(rough, Material::Pear);
    } else {
        offer(pear(p - v(0.12, 0.0, -0.50)), Material::Pear);
    }
    offer(apple(p - v(-1.22, 0.285, -0.45), 0.30), Material::Apple(0));
    offer(orange(p - v(1.62, 0.255, -0.62), 0.26), Material::Orange);
    let rough = group(v(-0.50, 0.2, -0.85), 0.62);
    if rough > 0.1 {
        offer(rough, Material::Grape(0));
    } else {
        // A bunch: rows that get narrower, the upper berries between the lower ones.
        for i in 0..30_u8 {
            let mut random = Random::new(usize::from(i), 4, 55);
            let upper = i >= 19;
            let k = f32::from(if upper { i - 19 } else { i });
            let along = if upper {
                k / 11.0 * 0.75 + 0.1
            } else {
                k / 19.0
            };
            let side = (k * 2.4).sin() * 0.21 * (1.05 - along);
            let shake = 0.03 * (random.unit() - 0.5);
            let place = v(
                -0.86 + 0.66 * along + shake,
                0.10,
                -0.78 - 0.16 * along + side,
            );
            let lift = if upper { 0.115 } else { 0.015 } + shake * 0.5;
            offer(
                (p - place - v(0.0, lift, 0.0)).length() - 0.088,
                Material::Grape(i),
            );
        }
    }
    best
}

/// A linen cloth that lies over the left half of the table in soft folds.
fn cloth(p: Vec3) -> f32 {
    let (x, z) = (p.x + 0.75, p.z + 0.15);
    let (x, z) = (x * 0.94 + z * 0.34, z * 0.94 - x * 0.34);
    let folds = 0.030 * (x * 3.1 + 1.2 * noise(z * 0.9, x * 0.5)).sin().powi(2)
        + 0.022 * (noise(x * 1.5, z * 1.3) + 0.6);
    let edge = (x.abs() - 1.32).max(z.abs() - 0.98);
    ((p.y - folds).abs() - 0.006).max(edge) * 0.75
}

fn gloss(material: Material) -> f32 {
    match material {
        Material::Jug | Material::Bowl => 1.0,
        Material::Apple(_) | Material::Grape(_) => 0.8,
        Material::Pear | Material::Orange => 0.4,
        Material::Table => 0.45,
        Material::Wall | Material::Cloth | Material::Stem | Material::Tulip(_) => 0.0,
    }
}

fn albedo(p: Vec3, material: Material, normal: Vec3) -> Vec3 {
    match material {
        Material::Table => {
            let plank = (p.z * 1.25 + 20.0).floor();
            let rings = fbm(p.x * 0.55 + plank * 9.1, p.z * 9.0 + plank * 3.7, 5);
            let grain = 0.5 + 0.5 * (rings * 16.0 + p.z * 5.0).sin();
            let seam = smoothstep(
                0.0,
                0.025,
                ((p.z * 1.25 + 20.0).fract() - 0.5).abs() * -2.0 + 1.0,
            );
            let wood =
                v(0.17, 0.075, 0.032).mix(v(0.40, 0.205, 0.09), grain * 0.6 + 0.2 + rings * 0.4);
            wood * (0.35 + 0.65 * seam) * (0.9 + 0.2 * noise(plank * 5.3, 1.0))
        }
        Material::Wall => {
            let plaster = fbm(p.x * 1.2, p.y * 1.2, 6);
            v(0.20, 0.27, 0.27).mix(v(0.36, 0.38, 0.32), (0.5 + 0.8 * plaster).clamp(0.0, 1.0))
        }
        Material::Cloth => {
            let (x, z) = (p.x + 0.75, p.z + 0.15);
            let (x, z) = (x * 0.94 + z * 0.34, z * 0.94 - x * 0.34);
            let stripe = |s: f32| smoothstep(0.045, 0.025, ((s * 2.6).fract() - 0.5).abs() / 2.6);
            let check = (stripe(x).max(stripe(z)) * 0.6 + stripe(x) * stripe(z) * 0.4).min(1.0);
            let weave = 0.93 + 0.07 * (x * 160.0).sin() * (z * 160.0).sin();
            v(0.78, 0.74, 0.66).mix(v(0.12, 0.20, 0.42), check) * weave
        }
        Material::Jug => {
            let q = p - JUG;
            let around = q.z.atan2(q.x);
            let vine = (q.y - 0.45 - 0.06 * (around * 5.0).sin()).abs() < 0.013;
            let bands = [0.2, 0.235, 0.74, 1.18]
                .iter()
                .any(|y| (q.y - y).abs() < 0.011);
            if vine || bands {
                v(0.03, 0.07, 0.30)
            } else {
                v(0.76, 0.75, 0.70)
            }
        }
        Material::Bowl => {
            let q = p - BOWL;
            let glaze = noise(q.x * 5.0, q.z * 5.0 + q.y * 9.0) * 0.4;
            let rim = smoothstep(0.40, 0.455, q.y);
            v(0.035, 0.22, 0.24)
                .mix(v(0.10, 0.36, 0.36), 0.5 + glaze)
                .mix(v(0.33, 0.22, 0.11), rim)
        }
        Material::Stem => v(0.12, 0.27, 0.06) * (0.8 + 0.5 * noise(p.x * 9.0, p.y * 3.0)),
        Material::Tulip(tint) => {
            let place = TULIPS.iter().map(|t| (p - t.0, t.1));
            let near = place.min_by(|a, b| a.0.length().total_cmp(&b.0.length()));
            let rise = near.map_or(0.0, |(q, size)| q.y / size);
            let (low, high) = match tint {
                0 => (v(0.60, 0.05, 0.04), v(0.82, 0.13, 0.05)),
                1 => (v(0.80, 0.42, 0.03), v(0.92, 0.66, 0.08)),
                _ => (v(0.72, 0.30, 0.36), v(0.88, 0.66, 0.62)),
            };
            let veins = 0.9 + 0.2 * noise(p.x * 30.0 + p.z * 30.0, p.y * 5.0);
            low.mix(high, smoothstep(-0.6, 0.9, rise)) * veins
        }
        Material::Apple(kind) => {
            let streaks = fbm(p.x * 16.0 + p.z * 7.0, p.y * 2.5, 4);
            let blush = smoothstep(-0.5, 0.5, streaks + 0.5 * normal.x + 0.3 * normal.y);
            let (a, b) = if kind == 0 {
                (v(0.50, 0.03, 0.03), v(0.66, 0.17, 0.06))
            } else {
                (v(0.32, 0.42, 0.06), v(0.56, 0.50, 0.10))
            };
            a.mix(b, blush * 0.8)
        }
        Material::Pear => {
            let freckle = smoothstep(0.28, 0.4, noise(p.x * 38.0 + p.z * 20.0, p.y * 38.0));
            let blush = smoothstep(-0.2, 0.9, normal.x + 0.3 * noise(p.y * 5.0, p.x * 5.0));
            let skin = v(0.55, 0.50, 0.09).mix(v(0.60, 0.25, 0.06), blush * 0.8);
            skin.mix(v(0.28, 0.18, 0.06), freckle * 0.5)
        }
        Material::Orange => v(0.80, 0.32, 0.03) * (0.93 + 0.15 * noise(p.x * 6.0, p.y * 6.0)),
        Material::Grape(i) => {
            let t = f32::from(i % 7) / 7.0;
            v(0.11, 0.03, 0.13).mix(v(0.22, 0.05, 0.16), t)
        }
    }
}
