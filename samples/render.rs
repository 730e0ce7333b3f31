//! Renders the pictures and the clip of this folder; see README.md beside it.
//!
//! `cargo run --release --example render_samples -- samples` writes them all; a name after the
//! folder (`clip`, `lighthouse`, ...) renders only that one. The same program gives the same
//! pixels everywhere; FFmpeg's command line program encodes them.

#[path = "render/camera.rs"]
mod camera;
#[path = "render/lake.rs"]
mod lake;
#[path = "render/math.rs"]
mod math;
#[path = "render/outdoors.rs"]
mod outdoors;
#[path = "render/sky.rs"]
mod sky;
#[path = "render/sprite.rs"]
mod sprite;
#[path = "render/terrain.rs"]
mod terrain;

fn main() {
    let t0 = std::time::Instant::now();
    let mut lake = lake::Lake::new();
    eprintln!("built {:?}", t0.elapsed());
    let args: Vec<String> = std::env::args().collect();
    let seconds: f32 = args[2].parse().unwrap();
    let grid: usize = args[3].parse().unwrap();
    lake.set_time(seconds);
    let picture = camera::Picture { width: 640, height: 360, grid, exposure: 1.0 };
    let pixels = picture.render(&lake::Lake::camera(seconds, 5.0), |o, d, _| lake.radiance(o, d));
    eprintln!("done {:?}", t0.elapsed());
    let mut out = b"P6\n640 360\n255\n".to_vec();
    out.extend(pixels);
    std::fs::write(&args[1], out).unwrap();
}
