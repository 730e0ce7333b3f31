//! Generated pictures and films, and what the engine for CPUs makes of them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use repaint::backend::Backend;
use repaint::backend::cpu::Cpu;
use repaint::frame::{Carried, Frame};
use repaint::model::Model;

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
