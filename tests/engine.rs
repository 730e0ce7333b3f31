//! The engine for plain CPUs against the reference, at every level that the CPU has.

use std::path::Path;

use repaint::backend::candle::Candle;
use repaint::backend::check::{difference, random_frame};
use repaint::backend::cpu::Cpu;
use repaint::backend::{Backend, Device};
use repaint::detail::sharpness;
use repaint::frame::{Carried, Frame};
use repaint::kernels::Level;
use repaint::media::picture;
use repaint::model::Model;
use repaint::network::{Network, Width};
use repaint::paint::Painter;
use repaint::scale::resized;
use repaint::steady::USUAL;
use repaint::styles;

/// Paints with every level and holds the results against the reference.
fn assert_paints_like_the_reference(model: &Model, sizes: &[(usize, usize)]) {
    assert_continues_like_the_reference(model, sizes, |_| None);
}

/// The same after what `carried` makes of a frame.
fn assert_continues_like_the_reference(
    model: &Model,
    sizes: &[(usize, usize)],
    carried: impl Fn(&Frame) -> Option<Carried>,
) {
    let mut reference = Candle::new(Device::Cpu, Some(2)).unwrap();
    reference.load(model).unwrap();
    let mut expected = Frame::default();
    let mut found = Frame::default();
    for level in Level::all_supported() {
        let mut engine = Cpu::new(Some(2), Some(level)).unwrap();
        assert_eq!(engine.level(), level);
        assert_eq!(engine.name(), format!("cpu-{level:?}").to_lowercase());
        engine.load(model).unwrap();
        for &(width, height) in sizes {
            let mut input = random_frame(width, height);
            (input.index, input.pts) = (7, 90);
            let last = carried(&input);
            let last = last.as_ref();
            reference
                .stylize_after(last, &input, &mut expected)
                .unwrap();
            engine.stylize_after(last, &input, &mut found).unwrap();
            assert_eq!((found.width, found.height), (width, height));
            assert_eq!((found.index, found.pts), (7, 90));
            let spread =
                expected.pixels.iter().max().unwrap() - expected.pixels.iter().min().unwrap();
            assert!(
                spread > 40 || width * height < 4,
                "the painting is flat: {spread}"
            );
            let worst = difference(&found, &expected);
            assert!(
                worst <= 1,
                "{level:?} at {width}x{height}: off by {worst}/255"
            );
        }
    }
}

#[test]
fn small_networks_paint_like_the_reference_at_every_size() {
    let model = Model::random(Width::Small.into(), 3).unwrap();
    let mut sizes = vec![
        (1, 1),
        (1, 77),
        (90, 1),
        (2, 3),
        (15, 16),
        (17, 33),
        (64, 48),
    ];
    sizes.extend([(101, 77), (130, 35), (333, 31)]);
    assert_paints_like_the_reference(&model, &sizes);
}

#[test]
fn every_remainder_of_tiles_and_registers_paints_like_the_reference() {
    let network = Network {
        residual_blocks: 1,
        ..Network::new([5, 12, 20])
    };
    let model = Model::random(network, 8).unwrap();
    let mut sizes: Vec<_> = (16..=68).step_by(4).map(|width| (width, 20)).collect();
    sizes.extend((16..=68).step_by(4).map(|height| (20, height)));
    sizes.extend((140..=156).map(|width| (width, 17)));
    assert_paints_like_the_reference(&model, &sizes);
}

#[test]
fn medium_networks_paint_like_the_reference() {
    let model = Model::random(Width::Medium.into(), 4).unwrap();
    assert_paints_like_the_reference(&model, &[(1, 9), (97, 66), (200, 40)]);
}

#[test]
fn networks_of_odd_widths_depths_and_inputs_paint_like_the_reference() {
    for (seed, channels) in [[5, 12, 20], [1, 1, 1], [3, 17, 35], [11, 7, 50]]
        .into_iter()
        .enumerate()
    {
        let network = Network {
            residual_blocks: seed % 3,
            input_channels: 3 + seed,
            styles: 1 + seed % 2,
            ..Network::new(channels)
        };
        let model = Model::random(network, seed as u64).unwrap();
        assert_paints_like_the_reference(&model, &[(1, 1), (37, 22), (70, 81)]);
    }
}

#[test]
fn rows_that_are_split_between_units_paint_like_the_reference() {
    let small = Model::random(Width::Small.into(), 6).unwrap();
    assert_paints_like_the_reference(&small, &[(1300, 20)]);
    let medium = Model::random(Width::Medium.into(), 7).unwrap();
    assert_paints_like_the_reference(&medium, &[(800, 20)]);
    let with_memory = Network::from(Width::Small).with_memory();
    let with_memory = Model::random(with_memory, 8).unwrap();
    assert_continues_like_the_reference(&with_memory, &[(1600, 17)], negative);
}

/// A painting that tells more than the frame does, and can be trusted in parts.
fn negative(input: &Frame) -> Option<Carried> {
    let pixels = input.pixels.iter().map(|value| 255 - value).collect();
    let valid = (0..input.width * input.height).map(|i| [255, 0, 90][i / 5 % 3]);
    Some(Carried {
        width: input.width,
        height: input.height,
        pixels,
        valid: valid.collect(),
    })
}

#[test]
fn networks_with_memory_continue_like_the_reference_at_every_size() {
    let sizes = [(1, 1), (2, 3), (1, 77), (17, 33), (101, 78), (333, 31)];
    for (seed, channels) in [[8, 16, 32], [16, 32, 64], [5, 12, 20]]
        .into_iter()
        .enumerate()
    {
        let model = Model::random(Network::new(channels).with_memory(), seed as u64).unwrap();
        assert!(model.network.memory);
        assert_continues_like_the_reference(&model, &sizes, negative);
        assert_paints_like_the_reference(&model, &sizes[3..5]);
    }
}

#[test]
fn a_memory_is_looked_at_where_there_is_one() {
    let input = random_frame(64, 48);
    let last = |value| Carried {
        width: 64,
        height: 48,
        pixels: vec![value; 64 * 48 * 3],
        valid: vec![255; 64 * 48],
    };
    let paint = |network: Network, last: Option<&Carried>| {
        let mut engine = Cpu::new(Some(1), None).unwrap();
        engine.load(&Model::random(network, 5).unwrap()).unwrap();
        assert_eq!(engine.has_memory(), network.memory);
        let mut output = Frame::default();
        engine.stylize_after(last, &input, &mut output).unwrap();
        output
    };
    let with = Network::from(Width::Small).with_memory();
    assert_ne!(paint(with, Some(&last(0))), paint(with, Some(&last(255))));
    assert_ne!(paint(with, Some(&last(0))), paint(with, None));
    let without = Network::from(Width::Small);
    assert_eq!(paint(without, Some(&last(0))), paint(without, None));
    let mut engine = Cpu::new(Some(1), None).unwrap();
    engine.load(&Model::random(with, 5).unwrap()).unwrap();
    let small = Carried::default();
    let error = engine
        .stylize_after(Some(&small), &input, &mut Frame::default())
        .unwrap_err();
    assert!(error.to_string().contains("carried painting"), "{error}");
}

#[test]
fn plain_pictures_stay_plain() {
    // Rounding in the transforms must not grow through sixteen norms of planes that are constant.
    let model = Model::random(Width::Small.into(), 9).unwrap();
    let mut reference = Candle::new(Device::Cpu, Some(2)).unwrap();
    reference.load(&model).unwrap();
    for level in Level::all_supported() {
        let mut engine = Cpu::new(Some(2), Some(level)).unwrap();
        engine.load(&model).unwrap();
        for value in [0, 1, 200, 255] {
            let mut input = Frame::new(90, 50);
            input.pixels.fill(value);
            let (mut found, mut expected) = (Frame::default(), Frame::default());
            engine.stylize(&input, &mut found).unwrap();
            reference.stylize(&input, &mut expected).unwrap();
            let worst = difference(&found, &expected);
            assert!(worst <= 1, "{level:?}, all {value}: off by {worst}/255");
        }
    }
}

#[test]
fn patterns_that_strided_layers_cancel_stay_plain() {
    // Every pixel of the half resolution sees the same: the painting has one colour.
    for name in ["starry_night", "udnie", "composition_vii"] {
        let model = styles::find(name).unwrap();
        for level in Level::all_supported() {
            let mut engine = Cpu::new(Some(2), Some(level)).unwrap();
            engine.load(&model).unwrap();
            for (base, contrast) in [(0, 1), (16, 2), (100, 1), (120, 4), (120, 8), (200, 8)] {
                for across in [0, 1] {
                    let mut input = Frame::new(96, 64);
                    for (i, pixel) in input.pixels.chunks_exact_mut(3).enumerate() {
                        let odd = (i % 96 + across * (i / 96)) % 2;
                        pixel.fill(base + contrast * odd as u8);
                    }
                    let mut found = Frame::default();
                    engine.stylize(&input, &mut found).unwrap();
                    let pixels = found.pixels.as_chunks::<3>().0;
                    let first = pixels[0];
                    let plain = pixels.iter().all(|pixel| *pixel == first);
                    assert!(
                        plain,
                        "{name}, {level:?}: {base} and {contrast} more, {across}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_a_nearly_plain_picture_shows_is_painted() {
    let model = styles::find("starry_night").unwrap();
    let mut reference = Candle::new(Device::Cpu, Some(2)).unwrap();
    reference.load(&model).unwrap();
    for level in Level::all_supported() {
        let mut engine = Cpu::new(Some(2), Some(level)).unwrap();
        engine.load(&model).unwrap();
        let mut noise = 7u32;
        for case in 0..3 {
            let mut input = Frame::new(320, 180);
            input.pixels.fill(100);
            match case {
                0 => input.pixels[3 * (90 * 320 + 160)] = 255,
                1 => input.pixels[..3 * 320 * 90].fill(101),
                _ => input.pixels.iter_mut().for_each(|value| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *value += (noise >> 24) as u8 % 3;
                }),
            }
            let (mut found, mut expected) = (Frame::default(), Frame::default());
            engine.stylize(&input, &mut found).unwrap();
            reference.stylize(&input, &mut expected).unwrap();
            let worst = difference(&found, &expected);
            assert!(worst <= 1, "{level:?}, case {case}: off by {worst}/255");
        }
    }
}

#[test]
fn the_number_of_threads_changes_not_a_bit() {
    let model = Model::random(Width::Small.into(), 2).unwrap();
    let input = random_frame(203, 119);
    for level in Level::all_supported() {
        let paint = |threads| {
            let mut engine = Cpu::new(Some(threads), Some(level)).unwrap();
            assert_eq!(engine.threads(), threads);
            engine.load(&model).unwrap();
            let mut output = Frame::default();
            engine.stylize(&input, &mut output).unwrap();
            output
        };
        let alone = paint(1);
        for threads in [2, 3, 7] {
            assert_eq!(alone, paint(threads), "{level:?}, {threads} threads");
        }
    }
}

#[test]
fn an_engine_follows_changes_of_size_and_model() {
    let models = [3, 4].map(|seed| Model::random(Network::new([8, 16, 24]), seed).unwrap());
    let mut engine = Cpu::new(Some(2), None).unwrap();
    let mut loaded = None;
    for (model, size) in [(0, (64, 40)), (0, (40, 64)), (1, (40, 64)), (0, (64, 40))] {
        if loaded != Some(model) {
            engine.load(&models[model]).unwrap();
            loaded = Some(model);
        }
        let input = random_frame(size.0, size.1);
        let (mut found, mut fresh) = (Frame::default(), Frame::default());
        engine.stylize(&input, &mut found).unwrap();
        let mut other = Cpu::new(Some(1), None).unwrap();
        other.load(&models[model]).unwrap();
        other.stylize(&input, &mut fresh).unwrap();
        assert_eq!(found, fresh);
    }
}

#[test]
fn levels_that_the_cpu_lacks_are_refused() {
    for level in [Level::Neon, Level::Avx2, Level::Avx512] {
        match Cpu::new(Some(1), Some(level)) {
            Ok(engine) => assert_eq!(engine.level(), level),
            Err(error) => {
                assert!(!level.is_supported());
                assert!(error.to_string().contains("highest level"), "{error}");
            }
        }
    }
}

#[test]
fn a_film_that_stands_still_is_as_sharp_as_its_first_painting() {
    let lake = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/lake.jpg");
    let lake = resized(&picture::read(&lake).unwrap(), 200, 152).unwrap();
    for name in ["the_scream", "great_wave"] {
        let mut engine = Cpu::new(Some(2), None).unwrap();
        engine.load(&styles::find(name).unwrap()).unwrap();
        let mut painter = Painter::new(Box::new(engine), 1.0, false);
        painter.set_steadiness(USUAL);
        let mut sharpnesses = (0..12).map(|_| {
            let mut painting = Frame::default();
            painter.paint(&lake, &mut painting).unwrap();
            sharpness(&painting)
        });
        let first = sharpnesses.next().unwrap();
        let last = sharpnesses.last().unwrap() / first;
        assert!((0.85..1.15).contains(&last), "{name}: {last} of {first}");
    }
}
