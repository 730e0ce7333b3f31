//! The losses and ten steps against PyTorch's.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use candle_nn::Optimizer;
use repaint::network::Network;
use repaint::ops::{gram, transformer};
use repaint::tensors;
use repaint::train::Settings;
use repaint::train::adam::{Adam, AdamConfig};
use repaint::train::loss::{Form, PerceptualLoss, total_variation};
use repaint::train::vgg::Vgg19;

use super::VGG19;
use super::common::{assert_close, data, reference};

const STYLE_WEIGHT: f64 = 5.0;

/// The reference's weight of 1e-4 is for pixels in 0..255.
const TV_WEIGHT: f64 = 1e-4 * 255.0 * 255.0;

fn load(path: &Path) -> Result<HashMap<String, Tensor>> {
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}

/// The absolute losses of the reference files, against `style`.
fn reference_loss(vgg: &Path, style: &Tensor) -> Result<PerceptualLoss> {
    let settings = Settings::default();
    let vgg = Vgg19::read(vgg, &Device::Cpu)?;
    let (content, styles) = (&settings.content_layers, &settings.style_layers);
    PerceptualLoss::new(vgg, style, content, styles, Form::Absolute)
}

fn assert_within(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs(),
        "{what} is {found}, expected {expected} within {tolerance}"
    );
}

#[test]
fn losses_and_the_gradient_of_the_picture_are_those_of_pytorch() -> Result<()> {
    let (Some(file), Some(vgg)) = (reference("loss.safetensors"), data(VGG19)) else {
        return Ok(());
    };
    let expected = load(&file)?;
    let loss = reference_loss(&vgg, &expected["style"])?;
    let painted = Var::from_tensor(&expected["output"])?;

    let names = ["conv1_1", "conv2_1", "conv3_3", "conv4_2"].map(String::from);
    let features = loss.vgg().features(&expected["output"], &names)?;
    for (name, found) in &features {
        let values = flat(&expected[&format!("feature.{name}")])?;
        assert_close(name, &flat(found)?, &values, 1e-3);
        if let Some(expected) = expected.get(&format!("gram.{name}")) {
            assert_close(name, &flat(&gram(found)?)?, &flat(expected)?, 1e-3);
        }
    }

    let losses = loss.of(&painted, &expected["content"])?;
    let tv = total_variation(&painted)?;
    for (name, found) in [
        ("content_loss", &losses.content),
        ("style_loss", &losses.style),
    ] {
        assert_within(name, scalar(found)?, scalar(&expected[name])?, 1e-3);
    }
    let tv_255 = scalar(&tv)? * 255.0 * 255.0;
    assert_within("tv_loss", tv_255, scalar(&expected["tv_loss"])?, 1e-3);
    let weighted = ((losses.style * STYLE_WEIGHT)? + (tv * TV_WEIGHT)?)?;
    let total = (losses.content + weighted)?;
    assert_within("total", scalar(&total)?, scalar(&expected["total"])?, 1e-3);

    let gradients = total.backward()?;
    let gradient = gradients.get(&painted).context("no gradient")?;
    assert_close(
        "gradient",
        &flat(gradient)?,
        &flat(&expected["gradient"])?,
        1e-3,
    );
    Ok(())
}

#[test]
fn ten_steps_go_as_in_pytorch() -> Result<()> {
    let (Some(file), Some(vgg)) = (reference("train10.safetensors"), data(VGG19)) else {
        return Ok(());
    };
    let expected = load(&file)?;
    let network = Network {
        residual_blocks: 2,
        ..Network::new([8, 16, 32])
    };
    let vars = network
        .tensors()
        .into_iter()
        .map(|(name, _)| Ok((name.clone(), Var::from_tensor(&expected[&name])?)))
        .collect::<Result<Vec<_>>>()?;
    let weights: BTreeMap<String, Tensor> = vars
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let loss = reference_loss(&vgg, &expected["style"])?;
    let mut adam = Adam::new(
        vars.iter().map(|(_, var)| var.clone()).collect(),
        AdamConfig::default(),
    )?;
    for (step, row) in expected["losses"].to_vec2::<f32>()?.iter().enumerate() {
        let photos = &expected[&format!("batch{}", step % 4)];
        let painted = transformer(&network, &weights, photos, None)?;
        let losses = loss.of(&painted, photos)?;
        let tv = total_variation(&painted)?;
        let weighted = ((&losses.style * STYLE_WEIGHT)? + (&tv * TV_WEIGHT)?)?;
        let total = (&losses.content + weighted)?;
        let tv = (tv * (255.0 * 255.0))?;
        let columns = [
            ("content", &losses.content, 0.005),
            ("style", &losses.style, 0.005),
            ("tv", &tv, 0.01),
            ("total", &total, 0.005),
        ];
        for ((name, found, tolerance), expected) in columns.into_iter().zip(row) {
            let what = format!("{name} loss of step {step}");
            assert_within(&what, scalar(found)?, f64::from(*expected), tolerance);
        }
        let gradients = total.backward()?;
        if step == 0 {
            for (name, var) in &vars {
                // Biases that reach the output only through instance norms, which take them away.
                let before_norm = name.ends_with("conv2d.bias") && name != "deconv3.conv2d.bias";
                let end_of_block = name.starts_with("res") && name.ends_with("in2.bias");
                if before_norm || end_of_block {
                    continue;
                }
                let found = gradients.get(var).context("no gradient")?;
                let values = flat(&expected[&format!("grad0.{name}")])?;
                assert_close(name, &flat(found)?, &values, 1e-3);
            }
        }
        adam.step(&gradients)?;
    }
    Ok(())
}

#[test]
fn weights_of_torchvision_see_the_same_as_those_of_caffe() -> Result<()> {
    let Some(path) = data(VGG19) else {
        return Ok(());
    };
    let bytes = std::fs::read(&path)?;
    let caffe = tensors::File::open(&bytes)?.read()?;
    // The same network in torchvision's layout: RGB kernels that expect pixels divided by 255 and
    // the deviation; its convolutions are numbered with ReLU and pooling counted.
    let names = [
        (0, "conv1_1"),
        (2, "conv1_2"),
        (5, "conv2_1"),
        (7, "conv2_2"),
        (10, "conv3_1"),
        (12, "conv3_2"),
        (14, "conv3_3"),
        (16, "conv3_4"),
        (19, "conv4_1"),
        (21, "conv4_2"),
        (23, "conv4_3"),
        (25, "conv4_4"),
        (28, "conv5_1"),
    ];
    let mut torchvision = BTreeMap::new();
    for (index, name) in names {
        let mut weight = caffe[&format!("{name}.weight")].clone();
        if index == 0 {
            for kernel in weight.data.chunks_exact_mut(3 * 9) {
                let (blue, rest) = kernel.split_at_mut(9);
                blue.swap_with_slice(&mut rest[9..]);
                for (plane, deviation) in kernel.chunks_exact_mut(9).zip([0.229, 0.224, 0.225]) {
                    plane
                        .iter_mut()
                        .for_each(|value| *value *= 255.0 * deviation);
                }
            }
        }
        torchvision.insert(format!("features.{index}.weight"), weight);
        let bias = caffe[&format!("{name}.bias")].clone();
        torchvision.insert(format!("features.{index}.bias"), bias);
    }
    let photo = Tensor::rand(0f32, 255.0, (1, 3, 32, 48), &Device::Cpu)?;
    // The two subtract slightly different means.
    let caffe_mean = Tensor::new(&[123.68f32, 116.779, 103.939], &Device::Cpu)?;
    let imagenet_mean = (Tensor::new(&[0.485f32, 0.456, 0.406], &Device::Cpu)? * 255.0)?;
    let shift = (imagenet_mean - caffe_mean)?.reshape((1, 3, 1, 1))?;
    let layer = ["conv5_1".to_string()];
    let seen = Vgg19::new(&caffe, false, &Device::Cpu)?.features(&photo, &layer)?;
    let same = Vgg19::new(&torchvision, false, &Device::Cpu)?
        .features(&photo.broadcast_add(&shift)?, &layer)?;
    assert_close(
        "conv5_1",
        &flat(&same["conv5_1"])?,
        &flat(&seen["conv5_1"])?,
        1e-4,
    );
    Ok(())
}

/// With zeros around it, a plain picture has rims in VGG19's eyes, and paintings get some.
#[test]
fn with_mirrored_rims_a_plain_picture_is_plain_to_its_rims() -> Result<()> {
    let Some(path) = data(VGG19) else {
        return Ok(());
    };
    let grey = Tensor::full(80f32, (1, 3, 32, 48), &Device::Cpu)?;
    let layers = ["conv1_1", "conv3_3", "conv5_1"].map(String::from);
    let spread = |vgg: Vgg19| -> Result<Vec<f32>> {
        let features = vgg.features(&grey, &layers)?;
        let spread = features.values().map(|plane| {
            let plane = plane.flatten_from(2)?;
            let range = (plane.max(2)? - plane.min(2)?)?.flatten_all()?.max(0)?;
            let largest = plane.flatten_all()?.max(0)?;
            Ok((range / largest)?.to_scalar::<f32>()?)
        });
        spread.collect()
    };
    let vgg = || Vgg19::read(&path, &Device::Cpu);
    assert!(spread(vgg()?)?.iter().all(|&spread| spread > 0.1));
    assert!(
        spread(vgg()?.with_mirrored_rims())?
            .iter()
            .all(|&spread| spread < 1e-3)
    );
    Ok(())
}
