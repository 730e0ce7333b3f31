//! Painting and training on a real NVIDIA card, against the CPU. Every test says so and skips where there is
//! no card: `cargo test --release --features cuda --test card -- --nocapture --test-threads 1` runs them.

mod common;
#[path = "common/films.rs"]
mod films;
#[path = "common/studio.rs"]
mod studio;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use repaint::backend::check::difference;
use repaint::backend::cpu::Cpu;
use repaint::backend::cuda::Cuda;
use repaint::backend::{self, Backend};
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Model;
use repaint::network::Network;
use repaint::ops::{self, Conv, Padding};
use repaint::steady::{Seen, Steadier, Watcher};
use repaint::train::{Event, Job, Settings, Step, train};

use films::{carried, film, paint, paint_film, watched};

/// Steps of a training that are compared.
const STEPS: u32 = 50;

/// What `open` opens; `None`, with the reason, where there is no card.
fn on_a_card<T>(open: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
    open()
        .inspect_err(|error| println!("skipped: {error}"))
        .ok()
}

#[test]
fn a_card_paints_as_the_cpu_does() {
    let Some(mut engine) = on_a_card(Cuda::new) else {
        return;
    };
    let networks = [[8, 16, 32], [16, 32, 64], [32, 64, 128], [5, 12, 20]];
    let [mut largest, mut largest_of_films] = [0, 0];
    for network in networks.map(Network::new) {
        for network in [network, network.with_memory()] {
            let model = Model::random(network, 11).unwrap();
            engine.load(&model).unwrap();
            for (width, height) in [(70, 45), (333, 500), (70, 45), (1280, 720)] {
                let (input, last) = (films::picture(width, height, 6), carried(width, height));
                for last in [None, Some(&last), None] {
                    let mut painted = Frame::default();
                    engine.stylize_after(last, &input, &mut painted).unwrap();
                    let found = difference(&painted, &paint(&model, last, &input));
                    tell(&network, found, &format!("{width}x{height}"));
                    largest = largest.max(found);
                }
                let mut cpu = Cpu::new(None, None).unwrap();
                cpu.load(&model).unwrap();
                let [mut found, mut expected] = [Frame::default(), Frame::default()];
                let (mut watcher, mut seen) = (Watcher::new(0.5), Seen::default());
                let (mut steadier, mut unused) = (Steadier::default(), Steadier::default());
                for frame in film((width, height), 4) {
                    watcher.look(&frame, &mut seen).unwrap();
                    engine
                        .stylize_next(&seen, None, &mut unused, &mut found)
                        .unwrap();
                    cpu.stylize_next(&seen, None, &mut steadier, &mut expected)
                        .unwrap();
                    let found = difference(&found, &expected);
                    tell(
                        &network,
                        found,
                        &format!("{width}x{height}, {}", frame.index),
                    );
                    largest_of_films = largest_of_films.max(found);
                }
            }
        }
    }
    println!("pictures: {largest}/255, films: {largest_of_films}/255");
    assert!(largest <= 2 && largest_of_films <= 6);
}

/// Tells of a painting that differs by more than rounding.
fn tell(network: &Network, found: u8, what: &str) {
    if found > 2 {
        println!("{network:?} at {what}: {found}/255");
    }
}

/// Frames that are sent while the one before is painted give the same film, byte for byte, also where two
/// engines work at the same time. Of the sizes one crosses the bus in 2 bands, the other in 12.
#[test]
fn a_film_sent_ahead_is_the_same_film() {
    if on_a_card(Cuda::new).is_none() {
        return;
    }
    let model = Model::random(Network::new([8, 16, 32]).with_memory(), 11).unwrap();
    let engine = || {
        let mut engine = Cuda::new().unwrap();
        engine.load(&model).unwrap();
        engine
    };
    for (size, frames) in [((1280, 720), 40), ((3840, 2160), 6)] {
        let film = watched(&film(size, frames));
        let alone = paint_film(&mut engine(), &film, |_| false);
        let ahead = |every: usize| paint_film(&mut engine(), &film, |i| i % every != every - 1);
        for every in [usize::MAX, 3, 2] {
            assert!(
                ahead(every) == alone,
                "{size:?}, known but for every {every}"
            );
        }
        std::thread::scope(|scope| {
            let beside = [3, 2].map(|every| scope.spawn(move || ahead(every)));
            for painted in beside {
                assert!(painted.join().unwrap() == alone, "{size:?}, two engines");
            }
        });
    }
}

/// Every model of the repository on every photo of the validation set.
#[test]
fn a_card_paints_photos_as_the_cpu_does() {
    let Some(mut card) = on_a_card(Cuda::new) else {
        return;
    };
    let Some(photos) = common::data("photos/validation") else {
        return;
    };
    let photos: Vec<(PathBuf, Frame)> = files(&photos, "jpg")
        .into_iter()
        .map(|place| (place.clone(), picture::read(&place).unwrap()))
        .collect();
    let mut cpu = Cpu::new(None, None).unwrap();
    let [mut found, mut expected] = [Frame::default(), Frame::default()];
    let mut largest = 0;
    for place in files(Path::new("weights"), "safetensors") {
        let model = Model::read(&place).unwrap();
        card.load(&model).unwrap();
        cpu.load(&model).unwrap();
        let (mut worst, mut beyond_one) = ((0, Path::new("")), 0);
        for (photo, input) in &photos {
            card.stylize(input, &mut found).unwrap();
            cpu.stylize(input, &mut expected).unwrap();
            worst = worst.max((difference(&found, &expected), photo));
            let values = found.pixels.iter().zip(&expected.pixels);
            beyond_one += values.filter(|(a, b)| a.abs_diff(**b) > 1).count();
        }
        let (difference, photo) = worst;
        println!(
            "{}: {difference}/255 ({}), {beyond_one} values beyond 1",
            model.metadata.name,
            photo.display()
        );
        largest = largest.max(difference);
    }
    assert!(!photos.is_empty() && largest <= 2, "{largest}/255");
}

/// The files of `folder` that end with `ending`, in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let places = entries.map(|entry| entry.unwrap().path());
    let mut places: Vec<_> = places
        .filter(|place| place.extension().is_some_and(|found| found == ending))
        .collect();
    places.sort();
    places
}

/// Products on a card are of 10-bit fractions.
#[test]
fn a_card_computes_what_the_cpu_does() -> Result<()> {
    let Some((card, _)) = on_a_card(|| Ok(ops::cuda::open()?)) else {
        return Ok(());
    };
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut tensor = |shape: &[usize]| {
        // Values that tensor cores take without rounding.
        let values = (0..shape.iter().product()).map(|_| random.random_range(-16i32..=16));
        let values = values.map(|value| value as f32 / 8.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    let inputs = [
        tensor(&[2, 16, 40, 56])?,
        tensor(&[72, 16, 3, 3])?,
        tensor(&[72])?,
        tensor(&[3, 72, 9, 9])?,
        tensor(&[3])?,
    ];
    let results = |device: &Device| -> Result<Vec<Tensor>> {
        let vars = inputs
            .iter()
            .map(|input| Var::from_tensor(&input.to_device(device)?));
        let vars = vars.collect::<Result<Vec<_>>>()?;
        let [x, weight, affine, last, bias] = &vars[..] else {
            unreachable!("five inputs")
        };
        let conv = |stride, padding, relu| Conv {
            stride,
            padding,
            relu,
        };
        let strided = conv(2, Padding::Reflect(1), false);
        let y = ops::conv2d(x, weight, Some(affine), strided)?;
        let y = ops::instance_norm(&y, affine, affine, true)?;
        let y = ops::max_pool2(&ops::upsample_nearest2(&ops::upsample_nearest2(&y)?)?)?;
        let y = ops::conv2d(&y, last, Some(bias), conv(1, Padding::Reflect(4), true))?;
        let loss = (ops::mean_square(&ops::gram(&y)?, None)? + ops::mean_square(&y, None)?)?;
        let gradients = loss.backward()?;
        let mut results = vec![y];
        for var in &vars {
            results.push(gradients.get(var).expect("a gradient").clone());
        }
        results
            .iter()
            .map(|result| result.to_device(&Device::Cpu))
            .collect()
    };
    let (found, expected) = (results(&card)?, results(&Device::Cpu)?);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let size = expected.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        let away = (found - expected)?
            .sqr()?
            .sum_all()?
            .to_scalar::<f32>()?
            .sqrt();
        assert!(away <= 5e-3 * size, "{i}: {away} of {size}");
    }
    Ok(())
}

/// The first steps of the recipe of a shipped style: from random weights, trainings that differ by a rounding
/// go their own ways, on the CPU too.
#[test]
fn a_card_trains_as_the_cpu_does() {
    let (cuda, cpu) = (backend::Device::Cuda, backend::Device::Cpu);
    if on_a_card(|| Ok(ops::cuda::open()?)).is_none() {
        return;
    }
    let data = [
        "vgg19/vgg19_conv_f16.safetensors",
        "photos/train",
        "styles/udnie.jpg",
    ];
    let [Some(vgg19), Some(photos), Some(painting)] = data.map(common::data) else {
        return;
    };
    let recipe = std::fs::read_to_string("training/udnie_medium.toml").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let steps = |device| {
        let output = format!("{device:?}.safetensors");
        let job = Job {
            settings: Settings::from_recipe(&recipe, None, None).unwrap(),
            painting: painting.clone(),
            photos: Some(photos.clone()),
            checkpoint_every: 1000,
            device,
            ..studio::job(folder.path(), vgg19.clone(), &output)
        };
        first_steps(&job)
    };
    let (found, expected) = (steps(cuda), steps(cpu));
    let largest = |loss: fn(&Step) -> f32| {
        let pairs = found.iter().zip(&expected);
        let away = pairs.map(|(found, expected)| (loss(found) / loss(expected) - 1.0).abs());
        100.0 * away.fold(0.0, f32::max)
    };
    let (content, style) = (largest(|step| step.content), largest(|step| step.style));
    println!(
        "losses of {STEPS} steps differ by up to {content:.2} % (content), {style:.2} % (style)"
    );
    assert_eq!(
        (found.len(), expected.len()),
        (STEPS as usize, STEPS as usize)
    );
    assert!(
        content <= 1.0 && style <= 1.0,
        "{content:.2} %, {style:.2} %"
    );
}

/// The first [`STEPS`] steps of a training.
fn first_steps(job: &Job) -> Vec<Step> {
    let (stop, mut steps) = (AtomicBool::new(false), Vec::new());
    let mut tell = |event| {
        if let Event::Step(step) = event {
            steps.push(step);
            stop.store(step.steps >= STEPS, Ordering::Relaxed);
        }
    };
    train(job, &stop, &mut tell).unwrap();
    steps
}
