//! The CUDA engine's programs and kernels without a GPU: compiled as C++ and run thread by thread in
//! an emulator, against the engine for CPUs.

#[path = "cuda/emulator.rs"]
mod emulator;

use repaint::backend::Backend;
use repaint::backend::check::difference;
use repaint::backend::cpu::Cpu;
use repaint::backend::cuda::Weights;
use repaint::backend::cuda::program::{Arguments, Launch, Program, center};
use repaint::frame::{Carried, Frame};
use repaint::model::Model;
use repaint::network::Network;

/// A launch for the emulator.
fn describe(launch: &Launch) -> emulator::Launch<'_> {
    let a = &launch.arguments;
    let places = [
        a.frame, a.center, a.carried, a.valid, a.painted, a.source, a.scales, a.skip, a.keep,
        a.weights, a.octets, a.affine, a.output, a.partials,
    ];
    let sizes = [
        a.frame_width,
        a.frame_height,
        a.source_width,
        a.source_height,
        a.source_octets,
        a.width,
        a.height,
        a.octets_out,
        a.pixel,
        a.steps,
        a.tiles_x,
        a.tiles_y,
        a.tile,
        a.stage,
        a.sums,
        a.floor,
        a.single,
        a.phases,
        a.tile_rows,
        a.tile_columns,
    ];
    let places = places.iter().flat_map(|place| place.to_le_bytes());
    let sizes = sizes.iter().flat_map(|size| size.to_le_bytes());
    let mut arguments: Vec<u8> = places.chain(sizes).collect();
    arguments.resize(size_of::<Arguments>(), 0);
    emulator::Launch {
        kernel: &launch.kernel,
        grid: launch.grid,
        threads: launch.threads,
        shared: launch.shared,
        arguments,
    }
}

/// What the emulated GPU paints.
fn emulate(model: &Model, last: Option<&Carried>, input: &Frame, backwards: bool) -> Frame {
    let weights = Weights::pack(model).unwrap();
    let program = Program::new(&weights, (input.width, input.height)).unwrap();
    let mut arena = vec![0xff; program.arena];
    arena[..weights.bytes().len()].copy_from_slice(weights.bytes());
    arena[program.frame.clone()].copy_from_slice(&input.pixels);
    arena[program.center.clone()].copy_from_slice(&center(input));
    if let (Some(carried), Some(valid)) = (&program.carried, &program.valid) {
        match last {
            Some(last) => {
                arena[carried.clone()].copy_from_slice(&last.pixels);
                arena[valid.clone()].copy_from_slice(&last.valid);
            }
            None => arena[valid.clone()].fill(0),
        }
    }
    let launches: Vec<_> = program.launches.iter().map(describe).collect();
    let done = emulator::run("src/backend/cuda", &arena, &launches, backwards);
    let mut painted = Frame::default();
    painted.shape_like(input);
    painted.pixels.copy_from_slice(&done[program.painted]);
    painted
}

/// What the engine for CPUs paints.
fn paint(model: &Model, last: Option<&Carried>, input: &Frame) -> Frame {
    let mut engine = Cpu::new(None, None).unwrap();
    engine.load(model).unwrap();
    let mut painted = Frame::default();
    engine.stylize_after(last, input, &mut painted).unwrap();
    painted
}

/// A picture of slow waves and some noise.
fn picture(width: usize, height: usize, seed: usize) -> Frame {
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
fn carried(width: usize, height: usize) -> Carried {
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

/// Holds the emulated GPU against the CPU: rounding to f16 may show by 2 of 255, also where the norms
/// see a handful of different pixels.
fn assert_paints_like_the_cpu(name: &str, model: &Model, last: Option<&Carried>, input: &Frame) {
    let (gpu, cpu) = (
        emulate(model, last, input, false),
        paint(model, last, input),
    );
    let found = difference(&gpu, &cpu);
    println!("{name}: {found}/255");
    assert!(found <= 2, "{name}: {found}/255");
}

#[test]
fn the_gpu_paints_as_the_cpu_does() {
    let small = Network::new([8, 16, 32]);
    let networks = [
        ("small with memory", small.with_memory()),
        ("medium", Network::new([16, 32, 64])),
        (
            "widths that fill no group of 8",
            Network {
                residual_blocks: 1,
                ..Network::new([5, 12, 20]).with_memory()
            },
        ),
        (
            "more channels than a block computes",
            Network {
                residual_blocks: 1,
                ..Network::new([8, 72, 136])
            },
        ),
        (
            "two styles and no residual blocks",
            Network {
                styles: 2,
                residual_blocks: 0,
                ..small
            },
        ),
        (
            "more inputs",
            Network {
                input_channels: 4,
                residual_blocks: 1,
                ..small
            },
        ),
    ];
    for (name, network) in networks {
        let model = Model::random(network, 3).unwrap();
        assert_paints_like_the_cpu(name, &model, None, &picture(70, 45, 1));
    }
}

#[test]
fn a_carried_painting_is_seen_where_it_is_valid() {
    let model = Model::random(Network::new([8, 16, 32]).with_memory(), 4).unwrap();
    let (input, last) = (picture(41, 38, 2), carried(41, 38));
    assert_paints_like_the_cpu("carried", &model, Some(&last), &input);
    let (with, without) = (
        emulate(&model, Some(&last), &input, false),
        emulate(&model, None, &input, false),
    );
    assert!(difference(&with, &without) > 20, "it makes a difference");
}

#[test]
fn pictures_of_every_small_size_are_painted() {
    let model = Model::random(Network::new([8, 16, 32]).with_memory(), 5).unwrap();
    for (width, height) in [(1, 1), (1, 40), (3, 2), (16, 17), (33, 18), (49, 31)] {
        let name = format!("{width}x{height}");
        assert_paints_like_the_cpu(&name, &model, None, &picture(width, height, 3));
    }
}

#[test]
fn a_plain_frame_stays_plain() {
    let model = Model::random(Network::new([8, 16, 32]), 6).unwrap();
    for value in [0, 200] {
        let mut input = Frame::new(50, 40);
        input.pixels.fill(value);
        assert_paints_like_the_cpu("plain", &model, None, &input);
    }
}

#[test]
fn the_trained_styles_paint_as_on_the_cpu() {
    let input = picture(96, 64, 7);
    // Bright and with little in it, as snow and fog are: what differs is small beside what does not.
    let mut fog = picture(96, 64, 8);
    fog.pixels
        .iter_mut()
        .for_each(|value| *value = 220 + *value / 16);
    for name in ["starry_night", "the_scream", "shipwreck"] {
        let model = Model::find(name).unwrap();
        assert_paints_like_the_cpu(name, &model, None, &input);
        assert_paints_like_the_cpu(name, &model, None, &fog);
    }
}

#[test]
fn the_order_of_threads_does_not_matter() {
    let model = Model::random(Network::new([8, 16, 32]).with_memory(), 8).unwrap();
    let (input, last) = (picture(52, 35, 4), carried(52, 35));
    let forwards = emulate(&model, Some(&last), &input, false);
    assert_eq!(forwards, emulate(&model, Some(&last), &input, true));
}

#[test]
fn tensors_in_use_at_the_same_time_lie_apart() {
    let model = Model::random(Network::new([8, 16, 32]).with_memory(), 9).unwrap();
    let weights = Weights::pack(&model).unwrap();
    let program = Program::new(&weights, (1920, 1080)).unwrap();
    for launch in program
        .launches
        .iter()
        .filter(|launch| launch.kernel != "finish")
    {
        let a = &launch.arguments;
        let growth = if a.phases == 4 { 4 } else { 1 };
        let f32s = |there: bool| if there { 2 } else { 1 };
        let source = a.source_width as u64 * a.source_height as u64 * a.source_octets as u64;
        let source = source * 16 * f32s(a.single == 1);
        let output = a.width as u64 * a.height as u64 * a.octets_out as u64;
        let output = output * 16 * growth * f32s(launch.kernel.starts_with("first"));
        let mut taken = vec![(0, weights.bytes().len() as u64)];
        for (place, length) in [
            (a.source, source),
            (a.skip, source),
            (a.keep, source),
            (a.output, output),
        ] {
            if place > 0 {
                taken.push((place, place + length));
            }
        }
        taken.sort_unstable();
        for pair in taken.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{}: {taken:?}", launch.name);
        }
        assert!(taken.last().unwrap().1 <= program.arena as u64);
    }
}

/// The engine as a whole on a real card, where there is one.
#[cfg(feature = "cuda")]
#[test]
fn a_card_paints_as_the_cpu_does() {
    let mut engine = match repaint::backend::cuda::Cuda::new() {
        Ok(engine) => engine,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let networks = [[8, 16, 32], [16, 32, 64], [32, 64, 128], [5, 12, 20]];
    for network in networks.map(Network::new) {
        for network in [network, network.with_memory()] {
            let model = Model::random(network, 11).unwrap();
            engine.load(&model).unwrap();
            for (width, height) in [(70, 45), (333, 500), (70, 45), (1280, 720)] {
                let (input, last) = (picture(width, height, 6), carried(width, height));
                for last in [None, Some(&last), None] {
                    let mut painted = Frame::default();
                    engine.stylize_after(last, &input, &mut painted).unwrap();
                    let found = difference(&painted, &paint(&model, last, &input));
                    assert!(found <= 2, "{network:?} at {width}x{height}: {found}/255");
                }
            }
        }
    }
}
