//! From a scene, a function of rays, to a picture of 8-bit pixels.

use rayon::prelude::*;

use crate::math::{Random, Vec3, lerp, v};

/// A pinhole camera.
pub struct Camera {
    pub eye: Vec3,
    pub target: Vec3,
    /// Half the picture's height at distance 1.
    pub half_height: f32,
}

impl Camera {
    /// Right, up and forward.
    pub fn axes(&self) -> [Vec3; 3] {
        let forward = (self.target - self.eye).unit();
        let right = v(0.0, 1.0, 0.0).cross(forward).unit();
        [right, forward.cross(right), forward]
    }
}

/// How a scene becomes a picture.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// Rays in a pixel: the square of this number, on a jittered grid.
    pub grid: usize,
    pub exposure: f32,
}

impl Picture {
    /// Renders `radiance(eye, direction, random)` to RGB bytes, row by row.
    pub fn render<F>(&self, camera: &Camera, radiance: F) -> Vec<u8>
    where
        F: Fn(Vec3, Vec3, &mut Random) -> Vec3 + Sync,
    {
        let [right, up, forward] = camera.axes();
        let scale = 2.0 * camera.half_height / self.height as f32;
        let mut pixels = vec![0; self.width * self.height * 3];
        let rows = pixels.par_chunks_exact_mut(self.width * 3);
        rows.enumerate().for_each(|(y, row)| {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let mut random = Random::new(x, y, 7);
                let mut sum = Vec3::default();
                for i in 0..self.grid * self.grid {
                    let cell = |k: usize, jitter: f32| (k as f32 + jitter) / self.grid as f32;
                    let px = x as f32 + cell(i % self.grid, random.unit());
                    let py = y as f32 + cell(i / self.grid, random.unit());
                    let direction = forward + right * ((px - self.width as f32 / 2.0) * scale)
                        - up * ((py - self.height as f32 / 2.0) * scale);
                    let light = radiance(camera.eye, direction.unit(), &mut random);
                    // Each ray is bent by the tone curve before the mean is taken, so that a single
                    // glint cannot bleach a pixel.
                    sum += tone(light * self.exposure);
                }
                let mean = sum / (self.grid * self.grid) as f32;
                let u = (x as f32 + 0.5) / self.width as f32 - 0.5;
                let w = (y as f32 + 0.5) / self.height as f32 - 0.5;
                let vignette = 1.0 - 0.35 * (u * u + w * w);
                let mean = mean * vignette;
                for (byte, value) in pixel.iter_mut().zip([mean.x, mean.y, mean.z]) {
                    *byte = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
                }
            }
        });
        pixels
    }
}

/// Linear light to display values: a filmic curve (Narkowicz 2015), the sRGB gamma, a little more
/// contrast and colour.
fn tone(light: Vec3) -> Vec3 {
    let display = light.map(|x| {
        let x = x.max(0.0) * 0.8;
        let film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14);
        let gamma = film.clamp(0.0, 1.0).powf(1.0 / 2.2);
        lerp(gamma, gamma * gamma * (3.0 - 2.0 * gamma), 0.45)
    });
    let gray = display.dot(v(0.30, 0.59, 0.11));
    v(gray, gray, gray).mix(display, 1.18)
}
