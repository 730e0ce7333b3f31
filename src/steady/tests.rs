//! Films of plain scenes, cuts, noise and edges.

use super::*;

fn frame(mut pixel: impl FnMut(usize, usize) -> u8) -> Frame {
    let mut frame = Frame::new(96, 64);
    for (i, pixels) in frame.pixels.chunks_exact_mut(3).enumerate() {
        pixels.fill(pixel(i % 96, i / 96));
    }
    frame
}

fn scene(shift: f32) -> Frame {
    frame(|x, y| {
        let (x, y) = (x as f32 + shift, y as f32);
        (128.0 + 60.0 * (x * 0.21).sin() + 50.0 * (y * 0.17 + x * 0.05).cos()) as u8
    })
}

/// A film that is painted as the test says.
#[derive(Default)]
struct Film {
    watcher: Watcher,
    seen: Seen,
    steadier: Steadier,
}

impl Film {
    fn new(amount: f32) -> Self {
        Self {
            watcher: Watcher::new(amount),
            ..Self::default()
        }
    }

    /// Whether there is a last painting for `frame`.
    fn before(&mut self, frame: &Frame) -> bool {
        self.watcher.look(frame, &mut self.seen).unwrap();
        self.steadier.before(&self.seen).is_some()
    }

    fn after(&mut self, painting: &mut Frame) {
        self.steadier.after(&self.seen, painting);
    }
}

#[test]
fn the_first_frame_and_the_first_after_a_cut_see_no_last_painting() {
    let mut film = Film::new(1.0);
    let first = scene(0.0);
    assert!(!film.before(&first));
    assert_eq!(film.seen.held(), Some(&first));
    film.after(&mut frame(|_, _| 10));
    assert!(film.before(&scene(1.0)));
    film.after(&mut frame(|_, _| 10));
    // At one place, which is not due, both scenes are alike but for noise.
    let same = film.seen.held().unwrap().pixels[3 * (30 * 96 + 40)];
    let other = |x, y| if (x / 3 + y / 5) % 2 == 0 { 5 } else { 250 };
    let cut = frame(|x, y| match (x, y) {
        (40, 30) => same ^ 1,
        _ => other(x, y),
    });
    assert!(!film.before(&cut));
    assert_eq!(
        film.seen.held(),
        Some(&cut),
        "nothing of another scene is held"
    );
    let mut painting = frame(|_, _| 200);
    film.after(&mut painting);
    assert_eq!(
        painting,
        frame(|_, _| 200),
        "nothing of another scene stays"
    );
}

#[test]
fn more_of_the_last_painting_stays_in_a_steadier_film() {
    let stays = |amount: f32| {
        let mut film = Film::new(amount);
        film.before(&scene(0.0));
        film.after(&mut frame(|_, _| 100));
        film.before(&scene(0.0));
        let mut painting = frame(|_, _| 200);
        film.after(&mut painting);
        painting.pixels[96 * 32 * 3 + 48 * 3]
    };
    let [usual, most] = [0.5, 1.0].map(stays);
    assert!(200 > usual && usual > most && most > 100, "{usual}, {most}");
}

#[test]
fn a_film_of_no_steadiness_is_painted_as_it_is() {
    let mut film = Film::new(0.0);
    for shift in [0.0, 1.0] {
        assert!(!film.before(&scene(shift)));
        assert!(film.seen.held().is_none() && film.seen.follows().is_none());
    }
}

#[test]
fn a_forgotten_film_begins_anew() {
    let mut film = Film::new(0.5);
    film.before(&scene(0.0));
    film.after(&mut frame(|_, _| 10));
    film.watcher.reset();
    assert!(!film.before(&scene(0.0)));
}

#[test]
fn what_moves_is_lent_the_edges_of_the_source_and_not_its_noise() {
    let mut state = 1u32;
    let mut shown = |edge: f32, noise: u32, speed: f32| {
        let mut film = Film::new(0.5);
        let mut painting = Frame::default();
        for time in 0..10 {
            let source = frame(|x, y| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                let noise = ((state >> 16) * noise) >> 16;
                // Checkers, so that both ways of the motion can be told.
                let [x, y] = [x, y].map(|at| (at as f32 + speed * time as f32) / 16.0);
                let bright = (x.floor() + y.floor()).rem_euclid(2.0);
                let between = x.fract().min(1.0 - x.fract()) * 16.0;
                (100.0 + noise as f32 + edge * bright * between.min(1.0)) as u8
            });
            film.before(&source);
            painting = frame(|_, _| 100);
            film.after(&mut painting);
        }
        let furthest = painting.pixels.iter().map(|value| value.abs_diff(100));
        furthest.max().unwrap()
    };
    let [moving, still, noisy] = [
        shown(60.0, 0, 0.5),
        shown(60.0, 0, 0.0),
        shown(0.0, 30, 0.0),
    ];
    assert!(
        moving > 10 && still == 0 && noisy < 3,
        "{moving}, {still}, {noisy}"
    );
}

#[test]
fn pixels_that_are_not_valid_stay_as_they_were_painted() {
    for width in [1, 15, 16, 70] {
        let invalid = |x: usize| x % 20 == 3 || (32..48).contains(&x);
        let valid: Vec<u8> = (0..width)
            .map(|x| if invalid(x) { 0 } else { 255 })
            .collect();
        let painted: Vec<u8> = (0..3 * width as u8).collect();
        let mut pixels = vec![255; 3 * width];
        restore_invalid(&painted, &valid, &mut pixels);
        for (i, pixel) in pixels.iter().enumerate() {
            let expected = if invalid(i / 3) { i as u8 } else { 255 };
            assert_eq!(*pixel, expected, "{width} wide, value {i}");
        }
    }
}

#[test]
fn what_stands_still_stays_as_it_is_painted() {
    for amount in [0.5, 1.0] {
        let mut film = Film::new(amount);
        let board = frame(|x, y| if (x + y) % 2 == 0 { 78 } else { 178 });
        for _ in 0..30 {
            film.before(&scene(0.0));
            let mut painting = board.clone();
            film.after(&mut painting);
            assert_eq!(painting, board, "steadiness {amount}");
        }
    }
}

#[test]
fn what_drifts_is_not_sharpened_beyond_what_is_painted() {
    for amount in [0.5, 1.0] {
        for speed in [0.05, 0.15, 0.3, 0.5] {
            let mut film = Film::new(amount);
            let mut brightest = None;
            for time in 0..60 {
                let shift = time as f32 * speed;
                film.before(&scene(shift));
                let wave = |x: usize| ((x as f32 + shift) * std::f32::consts::FRAC_PI_2).sin();
                let mut painting = frame(|x, _| (128.0 + 50.0 * wave(x)) as u8);
                film.after(&mut painting);
                // Away from the sides, where the scene comes in.
                let row = &painting.pixels[96 * 32 * 3..][24 * 3..72 * 3];
                brightest = row.iter().max().copied();
            }
            assert!(
                brightest > Some(150) && brightest < Some(180),
                "steadiness {amount}, {speed} pixels a frame: {brightest:?}"
            );
        }
    }
}

#[test]
fn what_stays_rises_with_steadiness() {
    let steps: Vec<f32> = (0..=10).map(|i| stays(i as f32 / 10.0)).collect();
    assert_eq!(steps[0], 0.0);
    assert!((steps[5] - STAYS_USUALLY).abs() < 1e-6 && (steps[10] - STAYS).abs() < 1e-6);
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
}
