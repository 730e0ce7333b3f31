//! Land as a grid of heights with trees stamped into it, lit once and then walked by rays.

use rayon::prelude::*;

use crate::math::{Vec3, hash_unit, lerp, v};

/// Cells in a side of the blocks whose highest point lets rays jump over them.
const BLOCK: usize = 16;

/// A square piece of land.
pub struct Terrain {
    x0: f32,
    z0: f32,
    cell: f32,
    side: usize,
    height: Vec<f32>,
    /// What grows: 0 is bare ground, else a number that varies from tree to tree.
    growth: Vec<u8>,
    /// Sunlight that arrives, and openness to the sky; 255 is all.
    light: Vec<[u8; 2]>,
    block_top: Vec<f32>,
    top: f32,
}

/// A tree as a cone on the land.
pub struct Tree {
    pub x: f32,
    pub z: f32,
    pub height: f32,
    pub radius: f32,
    pub growth: u8,
}

/// Where a ray met the land.
pub struct Ground {
    pub normal: Vec3,
    pub growth: u8,
    /// 0 to 1.
    pub sunlight: f32,
    /// 0 to 1.
    pub openness: f32,
}

impl Terrain {
    /// Land of `side` x `side` cells of `cell` metres from the corner (`x0`, `z0`), with the
    /// heights of `height(x, z)`; `trees` plants it, knowing the bare heights; `sun` lights it.
    pub fn new(
        (x0, z0): (f32, f32),
        cell: f32,
        side: usize,
        height: impl Fn(f32, f32) -> f32 + Sync,
        trees: impl Fn(&Terrain) -> Vec<Tree>,
        sun: Vec3,
    ) -> Self {
        let mut heights = vec![0.0; side * side];
        heights
            .par_chunks_exact_mut(side)
            .enumerate()
            .for_each(|(j, row)| {
                for (i, value) in row.iter_mut().enumerate() {
                    *value = height(x0 + i as f32 * cell, z0 + j as f32 * cell);
                }
            });
        let mut land = Self {
            x0,
            z0,
            cell,
            side,
            height: heights,
            growth: vec![0; side * side],
            light: vec![[255, 255]; side * side],
            block_top: Vec::new(),
            top: 0.0,
        };
        for tree in trees(&land) {
            land.plant(&tree);
        }
        land.find_tops();
        land.light = land.cast_light(sun);
        land
    }

    /// Trees on a jittered grid of `spacing` metres wherever `choose(x, z, height, slope)` wants
    /// one, given as height and growth.
    pub fn forest(
        &self,
        spacing: f32,
        choose: impl Fn(f32, f32, f32, f32) -> Option<(f32, u8)>,
    ) -> Vec<Tree> {
        let count = (self.side as f32 * self.cell / spacing) as i32;
        let mut trees = Vec::new();
        for j in 0..count {
            for i in 0..count {
                let x = self.x0 + (i as f32 + hash_unit(i, j, 11)) * spacing;
                let z = self.z0 + (j as f32 + hash_unit(i, j, 12)) * spacing;
                let h = self.height_at(x, z);
                let slope = 1.0 / self.normal_at(x, z, self.cell * 2.0).y.max(0.05) - 1.0;
                if let Some((height, growth)) = choose(x, z, h, slope) {
                    let radius = height * lerp(0.2, 0.3, hash_unit(i, j, 13));
                    trees.push(Tree {
                        x,
                        z,
                        height,
                        radius,
                        growth,
                    });
                }
            }
        }
        trees
    }

    fn plant(&mut self, tree: &Tree) {
        let base = self.height_at(tree.x, tree.z);
        let reach = (tree.radius / self.cell).ceil() as i32;
        let ci = ((tree.x - self.x0) / self.cell).round() as i32;
        let cj = ((tree.z - self.z0) / self.cell).round() as i32;
        for j in cj - reach..=cj + reach {
            for i in ci - reach..=ci + reach {
                if i < 0 || j < 0 || i >= self.side as i32 || j >= self.side as i32 {
                    continue;
                }
                let dx = self.x0 + i as f32 * self.cell - tree.x;
                let dz = self.z0 + j as f32 * self.cell - tree.z;
                let part = 1.0 - (dx * dx + dz * dz).sqrt() / tree.radius;
                if part > 0.0 {
                    let at = j as usize * self.side + i as usize;
                    let ragged = 0.8 + 0.4 * hash_unit(i, j, 14);
                    let top = base + tree.height * part.powf(0.8) * ragged;
                    if top > self.height[at] {
                        self.height[at] = top;
                        self.growth[at] = tree.growth;
                    }
                }
            }
        }
    }

    fn find_tops(&mut self) {
        let blocks = self.side.div_ceil(BLOCK);
        self.block_top = vec![f32::MIN; blocks * blocks];
        for (b, top) in self.block_top.iter_mut().enumerate() {
            let (i0, j0) = (b % blocks * BLOCK, b / blocks * BLOCK);
            for j in j0..=(j0 + BLOCK).min(self.side - 1) {
                for i in i0..=(i0 + BLOCK).min(self.side - 1) {
                    *top = top.max(self.height[j * self.side + i]);
                }
            }
            self.top = self.top.max(*top);
        }
    }

    fn cast_light(&self, sun: Vec3) -> Vec<[u8; 2]> {
        let tilts = [
            v(0.0, 0.02, 0.0),
            v(0.02, 0.0, 0.0),
            v(-0.02, 0.0, 0.02),
            v(0.0, -0.02, -0.02),
        ];
        let mut light = vec![[0, 0]; self.side * self.side];
        light
            .par_chunks_exact_mut(self.side)
            .enumerate()
            .for_each(|(j, row)| {
                for (i, cell) in row.iter_mut().enumerate() {
                    let x = self.x0 + i as f32 * self.cell;
                    let z = self.z0 + j as f32 * self.cell;
                    let here = self.height[j * self.side + i];
                    let from = v(x, here + self.cell * 0.6, z);
                    let seen = tilts.iter().filter(|&&tilt| {
                        self.march(from, (sun + tilt).unit(), self.cell, 6000.0)
                            .is_none()
                    });
                    let sunlight = seen.count() as f32 / tilts.len() as f32;
                    let mut hidden = 0.0;
                    for ring in [2.0, 6.0] {
                        for k in 0..6 {
                            let (dx, dz) = ((k as f32 * 1.047).cos(), (k as f32 * 1.047).sin());
                            let r = ring * self.cell;
                            let rise = (self.height_at(x + dx * r, z + dz * r) - here) / r;
                            hidden += rise.clamp(0.0, 2.0) / 2.0 / 12.0;
                        }
                    }
                    *cell = [(sunlight * 255.0) as u8, ((1.0 - hidden) * 255.0) as u8];
                }
            });
        light
    }

    /// Height of the land, bilinear between the grid's points.
    pub fn height_at(&self, x: f32, z: f32) -> f32 {
        let (at, u, w) = self.locate(x, z);
        let h = &self.height;
        lerp(
            lerp(h[at], h[at + 1], u),
            lerp(h[at + self.side], h[at + self.side + 1], u),
            w,
        )
    }

    fn locate(&self, x: f32, z: f32) -> (usize, f32, f32) {
        let last = (self.side - 2) as f32;
        let gx = ((x - self.x0) / self.cell).clamp(0.0, last + 0.999);
        let gz = ((z - self.z0) / self.cell).clamp(0.0, last + 0.999);
        let (i, j) = (gx as usize, gz as usize);
        (j * self.side + i, gx - i as f32, gz - j as f32)
    }

    fn normal_at(&self, x: f32, z: f32, e: f32) -> Vec3 {
        v(
            self.height_at(x - e, z) - self.height_at(x + e, z),
            2.0 * e,
            self.height_at(x, z - e) - self.height_at(x, z + e),
        )
        .unit()
    }

    /// What the land is like at `p`, seen from `distance` metres.
    pub fn ground(&self, p: Vec3, distance: f32) -> Ground {
        let (at, u, w) = self.locate(p.x, p.z);
        let blend = |channel: usize| {
            let light = |at: usize| f32::from(self.light[at][channel]) / 255.0;
            lerp(
                lerp(light(at), light(at + 1), u),
                lerp(light(at + self.side), light(at + self.side + 1), u),
                w,
            )
        };
        let nearest = at + usize::from(u > 0.5) + self.side * usize::from(w > 0.5);
        Ground {
            normal: self.normal_at(p.x, p.z, (self.cell * 0.75).max(distance * 8e-4)),
            growth: self.growth[nearest],
            sunlight: blend(0),
            openness: blend(1),
        }
    }

    /// Distance from `o` along `d` to the land, if it is met between `near` and `far` metres.
    pub fn march(&self, o: Vec3, d: Vec3, near: f32, far: f32) -> Option<f32> {
        let extent = (self.side - 1) as f32 * self.cell;
        let (mut t, mut end) = (near, far);
        for (o, d, low) in [(o.x, d.x, self.x0), (o.z, d.z, self.z0)] {
            let d = if d.abs() < 1e-7 { 1e-7 } else { d };
            let (a, b) = ((low - o) / d, (low + extent - o) / d);
            t = t.max(a.min(b));
            end = end.min(a.max(b));
        }
        let blocks = self.side.div_ceil(BLOCK);
        let block_size = BLOCK as f32 * self.cell;
        let edge = |o: f32, d: f32, low: f32, block: f32| {
            let next = if d > 0.0 { block + 1.0 } else { block };
            if d.abs() < 1e-7 {
                f32::MAX
            } else {
                (low + next * block_size - o) / d
            }
        };
        let mut before = t;
        while t < end {
            let p = o + d * t;
            if p.y > self.top && d.y >= 0.0 {
                return None;
            }
            let bx = ((p.x - self.x0) / block_size)
                .floor()
                .clamp(0.0, blocks as f32 - 1.0);
            let bz = ((p.z - self.z0) / block_size)
                .floor()
                .clamp(0.0, blocks as f32 - 1.0);
            let exit = edge(o.x, d.x, self.x0, bx).min(edge(o.z, d.z, self.z0, bz));
            let exit = exit.max(t) + self.cell * 0.05;
            let top = self.block_top[bz as usize * blocks + bx as usize];
            if p.y.min(o.y + d.y * exit) > top {
                before = t;
                t = exit;
                continue;
            }
            let above = p.y - self.height_at(p.x, p.z);
            if above < 0.0 {
                return Some(self.refine(o, d, before, t));
            }
            before = t;
            t += (above * 0.35).max(self.cell * 0.3).max(t * 5e-4);
        }
        None
    }

    fn refine(&self, o: Vec3, d: Vec3, mut above: f32, mut below: f32) -> f32 {
        for _ in 0..8 {
            let middle = (above + below) / 2.0;
            let p = o + d * middle;
            if p.y < self.height_at(p.x, p.z) {
                below = middle;
            } else {
                above = middle;
            }
        }
        above
    }
}
