//! Generated pictures and films, and what the engine for CPUs makes of them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use repaint::backend::Backend;
use repaint::backend::cpu::Cpu;
use repaint::frame::{Carried, Frame};
use repaint::model::Model;
use repaint::steady::{Seen, Steadier, Watcher};

/// What the engine for CPUs paints.
pub fn paint(model: &Model, last: Option<&Carried>, input: &Frame) -> Frame {
    let mut engine = Cpu::new(None, None).unwrap();
    engine.load(model).unwrap();
    let mut painted = Frame::default();
    engine.stylize_after(last, input, &mut painted).unwrap();
    painted
}

/// A picture of slow waves and some noise.
pub fn picture(width: usize, height: usize, seed: usize) -> Frame {
    let mut frame = Frame::new(width, height);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        let (x, y, color) = (i / 3 % width, i / 3 / width, i % 3 + seed);
        let wave = ((x * (color + 1)) as f32 / 9.0).sin() + (y as f32 / 7.0 + color as f32).cos();
        let noise = (i * 7919 + seed * 31) % 97;
        *value = (115.0 + 45.0 * wave + noise as f32 / 2.0).clamp(0.0, 255.0) as u8;
    }
    frame
}

/// A carried painting that is valid but for a corner.
pub fn carried(width: usize, height: usize) -> Carried {
    let valid = |i: usize| {
        if i % width < 5 && i / width < 7 {
            0
        } else {
            255
        }
    };
    Carried {
        width,
        height,
        pixels: picture(width, height, 5).pixels,
        valid: (0..width * height).map(valid).collect(),
    }
}

/// A film of `frames` frames: a picture that moves to the left, with something still before it.
pub fn film((width, height): (usize, usize), frames: usize) -> Vec<Frame> {
    let scene = picture(width + 4 * frames, height, 1);
    let still = picture(width, height, 9);
    let frame = |index: usize| {
        let mut frame = Frame::new(width, height);
        frame.index = index as u64;
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % width, i / width);
            let before = x > width / 3 && x < width / 2 && y > height / 4;
            let (from, at) = match before {
                true => (&still, i),
                false => (&scene, y * scene.width + x + 3 * index),
            };
            pixel.copy_from_slice(&from.pixels[3 * at..][..3]);
        }
        frame
    };
    (0..frames).map(frame).collect()
}

/// What is seen of the frames of a film.
pub fn watched(frames: &[Frame]) -> Vec<Seen> {
    let mut watcher = Watcher::new(0.5);
    let look = |frame: &Frame| {
        let mut seen = Seen::default();
        watcher.look(frame, &mut seen).unwrap();
        seen
    };
    frames.iter().map(look).collect()
}

/// A film as `engine` paints it, each frame in a thread of its own, as any may come from another one;
/// `ahead` says which of them know the next.
pub fn paint_film(
    engine: &mut dyn Backend,
    film: &[Seen],
    ahead: impl Fn(usize) -> bool,
) -> Vec<Frame> {
    let mut steadier = Steadier::default();
    let mut paint = |(i, seen): (usize, &Seen)| {
        let next = film.get(i + 1).filter(|_| ahead(i));
        let (mut painting, steadier) = (Frame::default(), &mut steadier);
        let painted = std::thread::scope(|scope| {
            let paint = || engine.stylize_next(seen, next, steadier, &mut painting);
            scope.spawn(paint).join()
        });
        painted.unwrap().unwrap();
        painting
    };
    film.iter().enumerate().map(&mut paint).collect()
}
