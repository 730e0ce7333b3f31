//! The engine for plain CPUs against the reference, at every level that the CPU has.

use repaint::backend::candle::Candle;
use repaint::backend::cpu::Cpu;
use repaint::backend::{Backend, Device};
use repaint::commands::bench::{difference, random_frame, random_model};
use repaint::frame::Frame;
use repaint::kernels::Level;
use repaint::model::Model;
use repaint::network::{Network, Width};

/// Paints with every level and holds the results against the reference.
fn assert_paints_like_the_reference(model: &Model, sizes: &[(usize, usize)]) {
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
            reference.stylize(&input, &mut expected).unwrap();
            engine.stylize(&input, &mut found).unwrap();
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
    let model = random_model(Width::Small.into(), 3).unwrap();
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
fn medium_networks_paint_like_the_reference() {
    let model = random_model(Width::Medium.into(), 4).unwrap();
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
        let model = random_model(network, seed as u64).unwrap();
        assert_paints_like_the_reference(&model, &[(1, 1), (37, 22), (70, 81)]);
    }
}

#[test]
fn plain_pictures_stay_plain() {
    // Rounding in the transforms must not grow through sixteen norms of planes that are constant.
    let model = random_model(Width::Small.into(), 9).unwrap();
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
fn the_number_of_threads_changes_not_a_bit() {
    let model = random_model(Width::Small.into(), 2).unwrap();
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
    let models = [3, 4].map(|seed| random_model(Network::new([8, 16, 24]), seed).unwrap());
    let mut engine = Cpu::new(Some(2), None).unwrap();
    for (model, size) in [(0, (64, 40)), (0, (40, 64)), (1, (40, 64)), (0, (64, 40))] {
        engine.load(&models[model]).unwrap();
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
    for level in [Level::Avx2, Level::Avx512] {
        match Cpu::new(Some(1), Some(level)) {
            Ok(engine) => assert_eq!(engine.level(), level),
            Err(error) => {
                assert!(level > Level::supported());
                assert!(error.to_string().contains("highest level"), "{error}");
            }
        }
    }
}
