//! The engines against PyTorch's values, and on pictures of awkward sizes.

mod common;

use std::collections::BTreeMap;

use common::{assert_close, reference};
use repaint::backend::candle::Candle;
use repaint::backend::{Backend, Device, open};
use repaint::frame::Frame;
use repaint::model::{Metadata, Model, Tensor};
use repaint::network::Network;

/// A network of few channels with values that repeat on every run.
fn small_model(input_channels: usize, styles: usize) -> Model {
    let network = Network {
        residual_blocks: 1,
        input_channels,
        styles,
        ..Network::new([4, 8, 8])
    };
    let mut state = 7u32;
    let tensors = network
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let data = (0..count).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            });
            let data = data.collect();
            (name, Tensor { shape, data })
        })
        .collect();
    Model {
        metadata: Metadata::default(),
        network,
        tensors,
    }
}

fn picture(width: usize, height: usize) -> Frame {
    let mut frame = Frame::new(width, height);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        *value = (i * 31 % 251) as u8;
    }
    frame
}

#[test]
fn the_network_paints_as_pytorch_does() {
    let Some(path) = reference("net.safetensors") else {
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = view.data().as_chunks::<4>().0.iter();
            let tensor = Tensor {
                shape: view.shape().to_vec(),
                data: values.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            };
            (name, tensor)
        })
        .collect();
    let (input, output) = (
        tensors.remove("input").unwrap(),
        tensors.remove("output").unwrap(),
    );
    let model = Model {
        metadata: Metadata::default(),
        network: Network::new([8, 16, 32]),
        tensors,
    };
    let mut engine = Candle::new(Device::Cpu, None).unwrap();
    engine.load(&model).unwrap();
    let (height, width) = (input.shape[2], input.shape[3]);
    assert_eq!(
        (width, height),
        (101, 77),
        "an odd size is what the reference is for"
    );
    let painted = engine.paint(&input.data, None, width, height).unwrap();
    assert_close("painted", &painted, &output.data, 1e-3);
}

#[test]
fn pictures_of_every_small_size_are_painted() {
    let mut engine = open(Device::Cpu, Some(1), None).unwrap().engine;
    engine.load(&small_model(3, 1)).unwrap();
    for (width, height) in [(1, 1), (1, 40), (2, 3), (5, 4), (15, 16), (33, 18)] {
        let mut input = picture(width, height);
        (input.index, input.pts) = (3, 99);
        let mut output = Frame::default();
        engine.stylize(&input, &mut output).unwrap();
        assert_eq!((output.width, output.height), (width, height));
        assert_eq!((output.index, output.pts), (3, 99));
        assert_eq!(output.pixels.len(), input.pixels.len());
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_painting() {
    let input = picture(70, 50);
    let paint = |threads| {
        let mut engine = open(Device::Cpu, threads, None).unwrap().engine;
        engine.load(&small_model(3, 1)).unwrap();
        let mut output = Frame::default();
        engine.stylize(&input, &mut output).unwrap();
        output
    };
    let one = paint(Some(1));
    assert!(one.pixels.iter().any(|value| *value != one.pixels[0]));
    assert_eq!(one, paint(Some(3)));
    assert_eq!(one, paint(None));
}

#[test]
fn of_several_style_rows_the_first_paints() {
    let input = picture(24, 20);
    let several = small_model(3, 3);
    let mut single = several.clone();
    single.network.styles = 1;
    for tensor in single
        .tensors
        .values_mut()
        .filter(|tensor| tensor.shape.len() == 2)
    {
        tensor.shape.remove(0);
        tensor.data.truncate(tensor.shape[0]);
    }
    let paint = |model: &Model| {
        let mut engine = open(Device::Cpu, Some(1), None).unwrap().engine;
        engine.load(model).unwrap();
        let mut output = Frame::default();
        engine.stylize(&input, &mut output).unwrap();
        output
    };
    assert_eq!(paint(&several), paint(&single));
}

#[test]
fn further_input_channels_are_zero() {
    let input = picture(24, 20);
    let wide = small_model(7, 1);
    let mut narrow = wide.clone();
    narrow.network.input_channels = 3;
    let first = narrow.tensors.get_mut("conv1.conv2d.weight").unwrap();
    let kernels = first.data.chunks_exact(7 * 81);
    first.data = kernels
        .flat_map(|kernel| &kernel[..3 * 81])
        .copied()
        .collect();
    first.shape[1] = 3;
    let paint = |model: &Model| {
        let mut engine = Candle::new(Device::Cpu, Some(1)).unwrap();
        engine.load(model).unwrap();
        let mut planes = vec![0.0; 3 * 24 * 20];
        input.to_planes(&mut planes);
        engine.paint(&planes, None, 24, 20).unwrap()
    };
    assert_close("painted", &paint(&wide), &paint(&narrow), 1e-4);
}

#[test]
fn painting_without_a_model_is_an_error() {
    let mut engine = open(Device::Cpu, Some(1), None).unwrap().engine;
    let error = engine
        .stylize(&picture(8, 8), &mut Frame::default())
        .unwrap_err();
    assert!(error.to_string().contains("no model is loaded"), "{error}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn asking_for_cuda_without_it_names_the_remedy() {
    let Err(error) = open(Device::Cuda, None, None) else {
        panic!("opened a device that the program knows nothing of");
    };
    assert!(error.to_string().contains("--device cpu"), "{error}");
    let engine = open(Device::Auto, None, Some(repaint::kernels::Level::Generic))
        .unwrap()
        .engine;
    assert_eq!(engine.name(), "cpu-generic");
}
