//! Trees and a sailing boat, painted stroke by stroke on transparent canvases that stand upright
//! in the scene and face the camera.

use std::f32::consts::{FRAC_PI_2, TAU};

use crate::math::{Random, Vec3, lerp, v};

/// A transparent picture; its light comes from the right.
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<(Vec3, bool)>,
}

/// A canvas in the scene, upright and facing the negative z axis.
pub struct Sprite {
    pub canvas: std::sync::Arc<Canvas>,
    /// Middle of the lower edge.
    pub foot: Vec3,
    pub width: f32,
    pub height: f32,
    /// Mirrored left to right.
    pub mirrored: bool,
}

impl Sprite {
    /// Distance along the ray and colour, where the ray meets paint.
    pub fn hit(&self, o: Vec3, d: Vec3) -> Option<(f32, Vec3)> {
        let t = (self.foot.z - o.z) / d.z;
        if t <= 0.0 {
            return None;
        }
        let p = o + d * t - self.foot;
        let across = p.x / self.width * if self.mirrored { -1.0 } else { 1.0 } + 0.5;
        self.canvas
            .at(across, p.y / self.height)
            .map(|color| (t, color))
    }
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![(Vec3::default(), false); width * height],
        }
    }

    /// Colour at `x` and `y` from the lower left corner (0) to the upper right one (1).
    fn at(&self, x: f32, y: f32) -> Option<Vec3> {
        if !(0.0..1.0).contains(&x) || !(0.0..1.0).contains(&y) {
            return None;
        }
        let i = (x * self.width as f32) as usize;
        let j = ((1.0 - y) * self.height as f32) as usize;
        let (color, painted) = self.pixels[j.min(self.height - 1) * self.width + i];
        painted.then_some(color)
    }

    /// A stroke from `a` to `b` that narrows from `thick` to `thin`, in shares of the height.
    fn stroke(&mut self, a: (f32, f32), b: (f32, f32), (thick, thin): (f32, f32), color: Vec3) {
        let h = self.height as f32;
        let place = |p: (f32, f32)| (p.0 * h + self.width as f32 / 2.0, (1.0 - p.1) * h);
        let ((ax, ay), (bx, by)) = (place(a), place(b));
        let reach = thick.max(thin) * h + 1.0;
        let low = |a: f32, b: f32| (a.min(b) - reach).max(0.0) as usize;
        let high = |a: f32, b: f32, end: usize| ((a.max(b) + reach).max(0.0) as usize).min(end);
        let (dx, dy) = (bx - ax, by - ay);
        let length = (dx * dx + dy * dy).max(1e-6);
        for j in low(ay, by)..high(ay, by, self.height) {
            for i in low(ax, bx)..high(ax, bx, self.width) {
                let (px, py) = (i as f32 + 0.5 - ax, j as f32 + 0.5 - ay);
                let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let (qx, qy) = (px - dx * t, py - dy * t);
                if (qx * qx + qy * qy).sqrt() <= (lerp(thick, thin, t) * h).max(0.5) {
                    self.pixels[j * self.width + i] = (color, true);
                }
            }
        }
    }

    /// A filled polygon; colours blend from its left edge to its right edge.
    fn polygon(&mut self, corners: &[(f32, f32)], left: Vec3, right: Vec3) {
        let h = self.height as f32;
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for corner in corners {
            (low, high) = (low.min(corner.0), high.max(corner.0));
        }
        for j in 0..self.height {
            for i in 0..self.width {
                let x = (i as f32 + 0.5 - self.width as f32 / 2.0) / h;
                let y = 1.0 - (j as f32 + 0.5) / h;
                let mut inside = false;
                for (k, a) in corners.iter().enumerate() {
                    let b = corners[(k + 1) % corners.len()];
                    let crosses = (a.1 > y) != (b.1 > y);
                    if crosses && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0 {
                        inside = !inside;
                    }
                }
                if inside {
                    let color = left.mix(right, (x - low) / (high - low));
                    self.pixels[j * self.width + i] = (color, true);
                }
            }
        }
    }

    /// A spruce or a pine: whorls of drooping branches with needles.
    pub fn conifer(seed: u32) -> Self {
        let mut canvas = Self::new(420, 900);
        let mut random = Random::new(seed as usize, 3, 21);
        canvas.stroke(
            (0.0, 0.0),
            (0.0, 0.97),
            (0.014, 0.002),
            v(0.055, 0.038, 0.03),
        );
        let fullness = lerp(0.17, 0.23, random.unit());
        let bare = lerp(0.05, 0.16, random.unit());
        let whorls = 46;
        for whorl in 0..whorls {
            let part = whorl as f32 / whorls as f32;
            let y = lerp(bare, 0.985, part.powf(0.92));
            let crown = (1.0 - part).powf(0.8) * (0.35 + 0.65 * (part * 9.0).min(1.0));
            let branches = 9 - (part * 4.0) as usize;
            for branch in 0..branches {
                // Far branches first: they are darker and the near ones cover them.
                let near = branch as f32 / branches as f32;
                let turn = random.unit() * std::f32::consts::PI;
                let side = turn.cos();
                let length = fullness * crown * (0.65 + 0.5 * random.unit()) + 0.006;
                let droop = length * lerp(0.42, -0.35, part) + (random.unit() - 0.5) * 0.012;
                let tip = (side * length, y - droop);
                canvas.branch((0.0, y), tip, near, side, &mut random);
            }
        }
        canvas
    }

    fn branch(&mut self, root: (f32, f32), tip: (f32, f32), near: f32, side: f32, r: &mut Random) {
        let clumps = 14;
        for k in 1..=clumps {
            let t = k as f32 / clumps as f32;
            let x = lerp(root.0, tip.0, t);
            let y = lerp(root.1, tip.1, t) + 0.012 * (t * 3.1).sin();
            for _ in 0..3 {
                let sway = (r.unit() - 0.5) * 0.014;
                let hang = 0.006 + 0.016 * r.unit() * (1.1 - t * 0.6);
                let sunny = (0.42 + 0.5 * side * t + 0.25 * near).clamp(0.0, 1.0);
                let glow = (sunny * (0.5 + 0.9 * r.unit())).powi(2) * lerp(0.5, 1.0, near);
                let dark = v(0.010, 0.020, 0.013) * (0.7 + 0.8 * near);
                let color = dark.mix(v(0.34, 0.25, 0.055), (glow * 0.85).min(0.9));
                self.stroke(
                    (x, y),
                    (x + sway + side * 0.008, y - hang),
                    (0.0026, 0.0012),
                    color,
                );
            }
        }
    }

    /// A tree with a round crown of leaves in the given colours.
    pub fn broadleaf(seed: u32, leaves: [Vec3; 3]) -> Self {
        let mut canvas = Self::new(820, 820);
        let mut random = Random::new(seed as usize, 5, 22);
        canvas.limb((0.0, 0.0), FRAC_PI_2, 0.24, 0.022, &mut random, &leaves, 0);
        canvas
    }

    #[allow(clippy::too_many_arguments, reason = "the state of a growing limb")]
    fn limb(
        &mut self,
        from: (f32, f32),
        angle: f32,
        length: f32,
        thick: f32,
        random: &mut Random,
        leaves: &[Vec3; 3],
        depth: u32,
    ) {
        let tip = (from.0 + angle.cos() * length, from.1 + angle.sin() * length);
        let bark = v(0.10, 0.075, 0.055) * (0.5 + random.unit() * 0.7);
        self.stroke(from, tip, (thick, thick * 0.66), bark);
        if depth >= 3 {
            for _ in 0..46 {
                let (turn, far) = (random.unit() * TAU, random.unit().sqrt() * 0.075);
                let (dx, dy) = (turn.cos() * far, turn.sin() * far * 0.8);
                let sunny = 0.5 + 4.5 * dx + 4.0 * dy + 0.55 * tip.0 + 0.25 * (tip.1 - 0.6);
                let sunny = (sunny + 0.4 * (random.unit() - 0.5)).clamp(0.0, 1.0);
                let color = if sunny < 0.5 {
                    leaves[0].mix(leaves[1], sunny * 2.0)
                } else {
                    leaves[1].mix(leaves[2], sunny * 2.0 - 1.0)
                };
                let at = (tip.0 + dx, tip.1 + dy);
                let size = lerp(0.003, 0.0075, random.unit());
                self.stroke(at, (at.0 + 0.004, at.1 - 0.004), (size, size * 0.8), color);
            }
        }
        if depth < 5 {
            let forks = if depth == 0 {
                4
            } else {
                2 + usize::from(random.unit() > 0.55)
            };
            for fork in 0..forks {
                let spread = if forks > 1 {
                    fork as f32 / (forks - 1) as f32 - 0.5
                } else {
                    0.0
                };
                let bend = spread * lerp(1.5, 1.1, depth as f32 / 5.0);
                let bend = bend + (random.unit() - 0.5) * 0.45;
                let next = length * lerp(0.62, 0.84, random.unit());
                self.limb(
                    tip,
                    angle + bend,
                    next,
                    thick * 0.62,
                    random,
                    leaves,
                    depth + 1,
                );
            }
        }
    }

    /// A small sailing boat that heads to the right.
    pub fn sailboat() -> Self {
        let mut canvas = Self::new(700, 900);
        let (cream, shade) = (v(1.25, 0.98, 0.68), v(0.52, 0.42, 0.38));
        let main = [
            (-0.012, 0.16),
            (-0.02, 0.55),
            (-0.006, 0.95),
            (-0.14, 0.52),
            (-0.27, 0.15),
        ];
        canvas.polygon(&main, shade, cream);
        let jib = [
            (0.012, 0.84),
            (0.10, 0.45),
            (0.235, 0.12),
            (0.10, 0.14),
            (0.018, 0.16),
        ];
        canvas.polygon(&jib, v(0.62, 0.13, 0.06), v(1.1, 0.34, 0.12));
        for seam in [0.3, 0.45, 0.6, 0.75] {
            let reach = 0.27 * (0.97 - seam) / 0.82;
            canvas.stroke(
                (-0.015, seam),
                (-reach, seam - 0.015),
                (0.0012, 0.0012),
                shade * 0.9,
            );
        }
        canvas.stroke(
            (0.0, 0.08),
            (0.0, 0.97),
            (0.005, 0.003),
            v(0.16, 0.09, 0.05),
        );
        canvas.stroke(
            (-0.28, 0.14),
            (0.0, 0.15),
            (0.005, 0.004),
            v(0.16, 0.09, 0.05),
        );
        let hull = [
            (-0.3, 0.085),
            (-0.27, 0.0),
            (0.2, 0.0),
            (0.33, 0.10),
            (0.0, 0.078),
        ];
        canvas.polygon(&hull, v(0.20, 0.07, 0.035), v(0.5, 0.21, 0.09));
        canvas.stroke(
            (-0.3, 0.085),
            (0.0, 0.078),
            (0.005, 0.005),
            v(0.95, 0.75, 0.5),
        );
        canvas.stroke(
            (0.0, 0.078),
            (0.33, 0.10),
            (0.005, 0.005),
            v(0.95, 0.75, 0.5),
        );
        canvas.stroke(
            (-0.17, 0.09),
            (-0.165, 0.15),
            (0.016, 0.012),
            v(0.10, 0.12, 0.22),
        );
        canvas.stroke(
            (-0.163, 0.172),
            (-0.163, 0.176),
            (0.013, 0.013),
            v(0.45, 0.24, 0.14),
        );
        canvas
    }
}
