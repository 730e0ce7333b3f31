//! The clip's sound: small waves, a breath of wind, and a plucked melody with some echo.

use std::f32::consts::TAU;

use crate::math::{Random, lerp, noise, smoothstep};

/// Samples in a second.
pub const RATE: u32 = 48_000;

/// Notes: start in seconds, frequency in hertz, loudness, place from left (0) to right (1). An
/// open fifth under a pentatonic line in D.
const NOTES: [(f32, f32, f32, f32); 13] = [
    (0.15, 146.83, 0.9, 0.45),
    (0.15, 220.00, 0.6, 0.55),
    (0.55, 369.99, 0.6, 0.35),
    (0.95, 440.00, 0.7, 0.60),
    (1.35, 587.33, 0.8, 0.40),
    (1.95, 493.88, 0.6, 0.65),
    (2.35, 123.47, 0.8, 0.45),
    (2.35, 440.00, 0.6, 0.50),
    (2.75, 369.99, 0.6, 0.35),
    (3.15, 329.63, 0.6, 0.60),
    (3.55, 146.83, 0.8, 0.50),
    (3.55, 293.66, 0.7, 0.40),
    (3.95, 440.00, 0.4, 0.60),
];

/// `seconds` of sound as 16-bit stereo samples, left and right in turn.
pub fn render(seconds: f32) -> Vec<i16> {
    let count = (seconds * RATE as f32).round() as usize;
    let mut mix = vec![[0.0_f32; 2]; count];
    add_water(&mut mix);
    for (start, frequency, loudness, place) in NOTES {
        let first = (start * RATE as f32) as usize;
        let string = pluck(frequency, count.saturating_sub(first));
        for (i, value) in string.into_iter().enumerate() {
            let value = value * loudness * 0.20;
            mix[first + i][0] += value * (1.0 - place).sqrt();
            mix[first + i][1] += value * place.sqrt();
        }
    }
    // Echoes from across the lake, each from the other side.
    let delay = (0.31 * RATE as f32) as usize;
    for i in delay..count {
        let [left, right] = mix[i - delay];
        mix[i][0] += 0.26 * right;
        mix[i][1] += 0.26 * left;
    }
    let fade = |i: usize| {
        let t = i as f32 / RATE as f32;
        smoothstep(0.0, 0.12, t) * smoothstep(seconds, seconds - 0.6, t)
    };
    let loudest = mix
        .iter()
        .flatten()
        .fold(1e-6_f32, |top, value| top.max(value.abs()));
    let gain = 0.7 * f32::from(i16::MAX) / loudest;
    let samples = mix.iter().enumerate();
    let samples = samples.flat_map(|(i, side)| side.map(|value| (value * gain * fade(i)) as i16));
    samples.collect()
}

/// Wind and waves: noise through slowly moving low-pass filters, different in each ear.
fn add_water(mix: &mut [[f32; 2]]) {
    for ear in 0..2 {
        let mut random = Random::new(ear, 77, 5);
        let (mut wind, mut wave, mut splash) = (0.0, 0.0, 0.0);
        for (i, sample) in mix.iter_mut().enumerate() {
            let t = i as f32 / RATE as f32 + 0.07 * ear as f32;
            let white = random.unit() * 2.0 - 1.0;
            wind += (white - wind) * 0.012;
            wave += (white - wave) * lerp(0.02, 0.09, 0.5 + noise(t * 0.8, 3.0));
            splash += (white - splash) * 0.35;
            let surge = smoothstep(-0.3, 0.5, (t * TAU / 2.6).sin() * 0.4 + noise(t * 1.3, 8.0));
            let lap = smoothstep(0.18, 0.6, noise(t * 5.0, 20.0 + ear as f32)).powi(2);
            sample[ear] += wind * 0.28 + wave * 0.16 * surge + (splash - wave) * 0.05 * lap;
        }
    }
}

/// A plucked string of `count` samples (Karplus and Strong 1983, with a fractional delay).
fn pluck(frequency: f32, count: usize) -> Vec<f32> {
    let period = RATE as f32 / frequency;
    let size = period as usize;
    let part = period - size as f32;
    let mut random = Random::new(frequency as usize, 1, 6);
    let mut string: Vec<f32> = (0..=size).map(|_| random.unit() * 2.0 - 1.0).collect();
    // A soft finger: less of the high partials.
    for _ in 0..6 {
        for i in 1..string.len() {
            string[i] = 0.5 * (string[i] + string[i - 1]);
        }
    }
    let mean = string.iter().sum::<f32>() / string.len() as f32;
    string.iter_mut().for_each(|value| *value -= mean);
    let peak = string
        .iter()
        .fold(1e-6_f32, |peak, value| peak.max(value.abs()));
    let loss = 0.5_f32.powf(1.0 / (frequency * 0.9));
    let mut out: Vec<f32> = string
        .iter()
        .map(|value| value / peak)
        .take(count)
        .collect();
    for i in out.len()..count {
        let back = |by: usize| if i >= by { out[i - by] } else { 0.0 };
        let here = lerp(back(size), back(size + 1), part);
        let before = lerp(back(size + 1), back(size + 2), part);
        let value = loss * lerp(here, before, 0.28);
        out.push(value);
    }
    out
}
