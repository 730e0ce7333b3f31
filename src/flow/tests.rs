//! Motions that are known exactly: pictures are drawn from a formula, wherever they went.

use super::*;
use crate::frame::Carried;

/// An endless picture like natural ones: the finer a detail (waves of 200 to 6 pixels), the fainter.
fn texture(x: f32, y: f32, channel: usize) -> f32 {
    let waves = [
        (0.03, 0.01, 34.0),
        (-0.02, 0.05, 30.0),
        (0.13, 0.05, 16.0),
        (-0.07, 0.21, 12.0),
        (0.31, -0.17, 10.0),
        (0.42, 0.47, 8.0),
        (-0.83, 0.29, 6.0),
        (0.19, 0.97, 6.0),
    ];
    let phase = channel as f32;
    let wave =
        |(across, down, high): (f32, f32, f32)| high * (across * x + down * y + high + phase).sin();
    127.0 + waves.map(wave).iter().sum::<f32>()
}

/// What `texture` shows at the places that `place` gives for each pixel.
fn draw(width: usize, height: usize, place: impl Fn(f32, f32) -> (f32, f32)) -> Frame {
    let mut frame = Frame::new(width, height);
    for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = place((i % width) as f32, (i / width) as f32);
        for (channel, value) in pixel.iter_mut().enumerate() {
            *value = (texture(x, y, channel) + 0.5) as u8;
        }
    }
    frame
}

fn still(x: f32, y: f32) -> (f32, f32) {
    (x, y)
}

/// The motion from a picture to another, where they follow each other.
fn track(first: &Frame, second: &Frame) -> Option<Motion> {
    let (mut tracker, mut motion) = (Tracker::default(), Motion::default());
    assert!(
        !tracker.advance(first, &mut motion),
        "nothing comes before the first frame"
    );
    tracker.advance(second, &mut motion).then_some(motion)
}

/// `painting` moved along `motion`.
fn carry(painting: &Frame, motion: &Motion) -> Carried {
    let mut carried = Carried::default();
    Carrier::default().run(painting, motion, &mut carried);
    carried
}

/// Mean distance in pixels of the motion found from the real one, `margin` pixels from the rim on.
fn miss(
    (width, height): (usize, usize),
    margin: f32,
    place: impl Fn(f32, f32) -> (f32, f32),
) -> f32 {
    let motion = track(&draw(width, height, still), &draw(width, height, &place)).unwrap();
    let (cells, side) = (motion.cells, motion.cells.side as f32);
    let (mut sum, mut count) = (0.0, 0.0);
    for i in 0..cells.width * cells.height {
        let x = ((i % cells.width) as f32 + 0.5) * side - 0.5;
        let y = ((i / cells.width) as f32 + 0.5) * side - 0.5;
        let (real_x, real_y) = place(x, y);
        let inside = |at: f32, length: usize| at > margin && at < length as f32 - margin;
        if inside(x, width) && inside(y, height) {
            let found = (motion.across[i] * side + x, motion.down[i] * side + y);
            sum += (found.0 - real_x).hypot(found.1 - real_y);
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn shifts_rotations_and_zooms_are_found_to_a_fraction_of_a_pixel() {
    for (size, margin, limit) in [((160, 120), 12.0, 0.1), ((324, 246), 24.0, 0.2)] {
        let shift = miss(size, margin, |x, y| (x + 3.3, y - 2.6));
        assert!(shift < limit, "shift {shift}");
        let far = miss(size, margin, |x, y| (x - 9.0, y + 7.5));
        assert!(far < limit, "far {far}");
        let (sin, cos) = 0.04f32.sin_cos();
        let turned = miss(size, margin, |x, y| {
            let (x, y) = (x - 80.0, y - 60.0);
            (80.0 + cos * x - sin * y, 60.0 + sin * x + cos * y)
        });
        assert!(turned < limit, "turned {turned}");
        let zoomed = miss(size, margin, |x, y| (1.04 * x - 4.0, 1.04 * y - 2.0));
        assert!(zoomed < limit, "zoomed {zoomed}");
    }
}

#[test]
fn a_picture_without_detail_does_not_move() {
    for value in [0, 127, 255] {
        let mut frame = Frame::new(163, 91);
        frame.pixels.fill(value);
        let motion = track(&frame, &frame).unwrap();
        let Motion { across, down, .. } = &motion;
        assert!(across.iter().chain(down).all(|&v| v == 0.0));
        assert!(motion.error.iter().all(|&v| v == 0.0));
    }
}

#[test]
fn every_size_works_and_a_still_picture_stays_what_it_is() {
    let sizes = [
        (1, 1),
        (3, 2),
        (2, 300),
        (7, 9),
        (16, 16),
        (33, 21),
        (161, 121),
        (2001, 12),
        (640, 479),
    ];
    for (width, height) in sizes {
        let frame = draw(width, height, still);
        let motion = track(&frame, &frame).unwrap();
        let cells = Cells::of(width, height);
        assert_eq!(motion.cells, cells);
        assert_eq!(motion.across.len(), cells.width * cells.height);
        let carried = carry(&frame, &motion);
        assert_eq!((carried.width, carried.height), (width, height));
        assert!(carried.pixels == frame.pixels, "{width}x{height}");
        assert!(carried.valid.iter().all(|&v| v == 255), "{width}x{height}");
    }
    assert!(track(&Frame::new(0, 0), &Frame::new(0, 0)).is_none());
}

#[test]
fn a_carried_picture_is_the_moved_picture_and_what_comes_from_outside_is_invalid() {
    let (width, height) = (323, 241);
    let place = |x: f32, y: f32| (x + 10.6, y - 6.3);
    let (first, second) = (draw(width, height, still), draw(width, height, place));
    let carried = carry(&first, &track(&first, &second).unwrap());
    let (mut sum, mut count) = (0.0, 0);
    for i in 0..width * height {
        let (x, y) = place((i % width) as f32, (i / width) as f32);
        // Half a pixel counts as inside, and the motion may be that far off.
        if x > width as f32 + 1.0 || y < -2.0 {
            assert_eq!(carried.valid[i], 0, "({x}, {y}) is outside");
        } else if carried.valid[i] == 255 {
            for channel in 3 * i..3 * i + 3 {
                sum += f64::from(carried.pixels[channel].abs_diff(second.pixels[channel]));
            }
            count += 1;
        }
    }
    assert!(count > width * height * 9 / 10, "{count} valid");
    let mean = sum / f64::from(3 * count as u32);
    assert!(mean < 3.0, "mean difference {mean}");
}

#[test]
fn what_was_covered_is_invalid() {
    let covered = draw(320, 240, still);
    let mut free = covered.clone();
    for (i, pixel) in free.pixels.chunks_exact_mut(3).enumerate() {
        if (100..180).contains(&(i % 320)) && (80..160).contains(&(i / 320)) {
            pixel.fill(if (i / 4 + i / 1280) % 2 == 0 {
                255
            } else {
                240
            });
        }
    }
    let carried = carry(&covered, &track(&covered, &free).unwrap());
    let invalid = carried.valid.iter().filter(|&&v| v == 0).count();
    assert!((4000..9000).contains(&invalid), "{invalid} of 6400");
    assert_eq!(carried.valid[120 * 320 + 140], 0);
    assert_eq!(carried.valid[20 * 320 + 20], 255);
}

#[test]
fn cuts_are_seen_but_pans_noise_and_flicker_are_not() {
    let first = draw(320, 240, still);
    let other = draw(320, 240, |x, y| (y * 0.7 + 1000.0, 500.0 - x * 0.6));
    let (mut tracker, mut motion) = (Tracker::default(), Motion::default());
    let found = [&first, &other, &other].map(|frame| tracker.advance(frame, &mut motion));
    assert_eq!(found, [false, false, true], "a cut is one frame long");

    let pan = draw(320, 240, |x, y| (x + 18.0, y + 5.0));
    assert!(track(&first, &pan).is_some(), "a pan");
    let mut noisy = first.clone();
    let mut state = 1u32;
    for value in &mut noisy.pixels {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = value.saturating_add_signed((state >> 27) as i8 - 16);
    }
    assert!(track(&first, &noisy).is_some(), "noise");
    let mut brighter = first.clone();
    brighter
        .pixels
        .iter_mut()
        .for_each(|v| *v = v.saturating_add(6));
    assert!(track(&first, &brighter).is_some(), "flicker");
}

/// `frame` with so much of its brightness.
fn dimmed(frame: &Frame, part: f32) -> Frame {
    let mut dimmed = frame.clone();
    for value in &mut dimmed.pixels {
        *value = (f32::from(*value) * part) as u8;
    }
    dimmed
}

/// Part of a picture that counts as carried from the one before.
fn valid(first: &Frame, second: &Frame) -> f32 {
    track(first, second).map_or(0.0, |motion| {
        let valid = carry(first, &motion).valid;
        valid.iter().filter(|&&v| v == 255).count() as f32 / valid.len() as f32
    })
}

#[test]
fn cuts_between_dark_scenes_are_seen_and_fades_are_none() {
    let first = draw(320, 240, still);
    let other = draw(320, 240, |x, y| (y * 0.7 + 1000.0, 500.0 - x * 0.6));
    for part in [0.1, 0.2, 0.5] {
        let [dark, cut] = [&first, &other].map(|frame| dimmed(frame, part));
        assert!(valid(&dark, &cut) < 0.1, "a cut at {part}");
        assert_eq!(valid(&dark, &dark), 1.0, "a still at {part}");
        let pan = dimmed(&draw(320, 240, |x, y| (x + 4.0, y + 2.0)), part);
        assert!(valid(&dark, &pan) > 0.8, "a pan at {part}");
        let fading = valid(&dark, &dimmed(&first, part * 0.8));
        assert!(fading > 0.95, "a fade at {part}: {fading}");
    }
}

#[test]
fn what_stands_still_beside_what_moves_stays() {
    let scene = |shift: f32| {
        let mut frame = draw(480, 270, |x, y| (x + shift, y));
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            let x = i % 480;
            if x < 120 {
                pixel.fill(0); // a bar
            } else if x < 240 {
                pixel.fill(90 + (x / 30 % 2 * 40) as u8); // a wall with pipes
            }
        }
        frame
    };
    let motion = track(&scene(0.0), &scene(9.0)).unwrap();
    let (cells, side) = (motion.cells, motion.cells.side);
    for (i, across) in motion.across.iter().enumerate() {
        let x = i % cells.width * side;
        if x < 200 {
            assert!(across.abs() * (side as f32) < 0.5, "{across} cells at {x}");
        } else if (300..400).contains(&x) {
            assert!(
                (across * side as f32 - 9.0).abs() < 1.5,
                "{across} cells at {x}"
            );
        }
    }
}

#[test]
fn another_colour_of_the_same_brightness_has_no_place_before() {
    let grey = draw(320, 240, still);
    let mut hand = grey.clone();
    for (i, pixel) in hand.pixels.chunks_exact_mut(3).enumerate() {
        if (100..180).contains(&(i % 320)) && (80..160).contains(&(i / 320)) {
            pixel[0] = pixel[0].saturating_add(40);
            pixel[2] = pixel[2].saturating_sub(40);
        }
    }
    let carried = carry(&grey, &track(&grey, &hand).unwrap());
    assert_eq!(carried.valid[120 * 320 + 140], 0);
    assert_eq!(carried.valid[20 * 320 + 20], 255);
}

#[test]
fn the_result_follows_from_the_last_two_frames_alone() {
    let frames = [0.0, 2.5, 7.0].map(|shift| draw(200, 150, |x, y| (x + shift, y)));
    let run = |tracker: &mut Tracker| {
        let mut motion = Motion::default();
        assert!(!tracker.advance(&frames[1], &mut motion));
        assert!(tracker.advance(&frames[2], &mut motion));
        carry(&frames[1], &motion)
    };
    let fresh = run(&mut Tracker::default());
    let (mut used, mut motion) = (Tracker::default(), Motion::default());
    used.advance(&draw(333, 50, still), &mut motion);
    assert!(!used.advance(&frames[0], &mut motion), "another size");
    used.advance(&frames[1], &mut motion);
    used.reset();
    assert_eq!(run(&mut used), fresh);
}
