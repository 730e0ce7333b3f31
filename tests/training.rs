//! Training: the losses and ten steps against PyTorch's, and small trainings from end to end.

mod common;
#[path = "common/studio.rs"]
mod studio;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use candle_nn::Optimizer;
use common::{assert_close, data, reference};
use repaint::media::picture;
use repaint::model::{Model, Precision};
use repaint::network::{Network, Width};
use repaint::ops::{gram, transformer};
use repaint::tensors;
use repaint::train::adam::{Adam, AdamConfig};
use repaint::train::dataset::Dataset;
use repaint::train::loss::{Form, PerceptualLoss, total_variation};
use repaint::train::vgg::Vgg19;
use repaint::train::{End, Event, Settings, train};
use studio::{job, studio};

const VGG19: &str = "vgg19/vgg19_conv_f16.safetensors";
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

static GO: AtomicBool = AtomicBool::new(false);

#[test]
fn a_training_past_broken_photos_ends_with_a_model_that_says_how_it_was_made() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(3)?;
    let photos = studio.path().join("photos");
    let whole = std::fs::read(photos.join("0.png"))?;
    std::fs::write(photos.join("cut.png"), &whole[..whole.len() / 2])?;
    std::fs::write(photos.join("words.jpg"), "not a picture")?;
    std::fs::write(photos.join("empty.webp"), "")?;
    let mut job = job(studio.path(), vgg19, "stripes.safetensors");
    job.settings.steps = 6;
    job.validation = Some(photos.clone());
    let (mut remarks, mut steps) = (Vec::new(), Vec::new());
    let end = train(&job, &GO, &mut |event| match event {
        Event::Remark(text) => remarks.push(text),
        Event::Step(step) => steps.push(step.steps),
        Event::Validating(_) => {}
    })?;

    let End::Finished {
        validation: Some(validation),
        skipped,
    } = end
    else {
        panic!("ended as {end:?}");
    };
    assert_eq!(skipped, 3);
    assert_eq!(validation.photos, 3);
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    for broken in ["cut.png", "words.jpg", "empty.webp"] {
        assert!(
            remarks.iter().any(|text| text.contains(broken)),
            "{remarks:?}"
        );
    }
    let model = Model::read(&job.output)?;
    assert_eq!(model.network, Network::new([8, 16, 32]).with_memory());
    assert_eq!(model.metadata.name, "stripes");
    assert_eq!(model.metadata.title, "Stripes");
    assert_eq!(model.metadata.losses, validation.to_string());
    assert_eq!(Settings::from_toml(&model.metadata.recipe)?, job.settings);
    let log = std::fs::read_to_string(studio.path().join("stripes.training/log.jsonl"))?;
    assert_eq!(log.lines().count(), 6);
    assert!(studio.path().join("stripes.training/losses.png").exists());
    let preview = picture::read(&studio.path().join("preview.png"))?;
    assert_eq!((preview.width, preview.height % 256), (512, 0));
    assert!(
        !studio
            .path()
            .join("stripes.training/checkpoint.safetensors")
            .exists()
    );
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_model_bit_by_bit_and_another_seed_another() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let run = |output: &str, seed| -> Result<_> {
        let mut job = job(studio.path(), vgg19.clone(), output);
        job.settings.seed = seed;
        train(&job, &GO, &mut |_| {})?;
        Ok(Model::read(&job.output)?.tensors)
    };
    let first = run("a.safetensors", 5)?;
    assert_eq!(run("b.safetensors", 5)?, first);
    assert_ne!(run("c.safetensors", 6)?, first);
    Ok(())
}

#[test]
fn a_training_starts_from_a_model_and_gives_it_a_memory() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.settings.learning_rate = 1e-9; // next to nothing is learned
    job.settings.start = "starry_night".into();
    train(&job, &GO, &mut |_| {})?;
    let (first, made) = (Model::find("starry_night")?, Model::read(&job.output)?);
    assert!(made.network.memory);
    let (second, name) = (first.network.channels[0], "conv2.conv2d.weight");
    for (name, tensor) in first.tensors.iter().filter(|(other, _)| *other != name) {
        assert_close(name, &made.tensors[name].data, &tensor.data, 1e-4);
    }
    let taps = |tensor: &tensors::Tensor, channels: usize| {
        let kernels = tensor.data.chunks_exact(tensor.shape[1] * 9);
        let kernels = kernels.flat_map(|kernel| kernel[..channels * 9].to_vec());
        kernels.collect::<Vec<_>>()
    };
    assert_close(
        name,
        &taps(&made.tensors[name], second),
        &taps(&first.tensors[name], second),
        1e-4,
    );

    // The other way round: a memory that is not wanted is left out.
    job.settings.start = job.output.to_string_lossy().into_owned();
    job.settings.memory = false;
    job.output = studio.path().join("b.safetensors");
    train(&job, &GO, &mut |_| {})?;
    let plain = Model::read(&job.output)?;
    assert!(!plain.network.memory);
    assert_close(
        name,
        &plain.tensors[name].data,
        &taps(&made.tensors[name], second),
        1e-4,
    );

    let deeper = Network {
        residual_blocks: 6,
        ..Network::new([8, 16, 32])
    };
    let deeper = Model::random(deeper, 1)?;
    let place = studio.path().join("deeper.safetensors");
    deeper.write(&place, Precision::F32)?;
    let mut refusal = |network: Width, start: &str| -> Result<String> {
        job.settings.network = network;
        job.settings.start = start.into();
        let refused = train(&job, &GO, &mut |_| {}).err();
        Ok(format!("{:#}", refused.with_context(|| start.to_string())?))
    };
    let words = refusal(Width::Medium, "starry_night")?;
    assert!(words.contains("choose another --network"), "{words}");
    let words = refusal(Width::Small, &place.to_string_lossy())?;
    assert!(words.contains("6 residual blocks"), "{words}");
    let words = refusal(Width::Small, "nobody")?;
    assert!(words.contains("starry_night"), "{words}");
    Ok(())
}

#[test]
fn batches_follow_from_seed_and_step_alone() -> Result<()> {
    let studio = studio(5)?;
    let photos = studio.path().join("photos");
    let open = |seed| Dataset::open(&photos, 2, 32, seed);
    let data = open(1)?;
    let ahead = std::thread::scope(|scope| {
        let mut batches = data.batches(scope, 3)?;
        (0..4).map(|_| batches.take()).collect::<Result<Vec<_>>>()
    })?;
    let fresh = open(1)?;
    for (batch, step) in ahead.iter().zip(3..) {
        assert_eq!(batch, &fresh.batch(step)?);
        assert_eq!(batch.pixels.len(), 2 * 3 * 32 * 32);
    }
    assert_ne!(ahead[0], ahead[1]);
    assert_ne!(ahead[0], open(2)?.batch(3)?);
    Ok(())
}

#[test]
fn folders_without_usable_photos_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = |batch| Dataset::open(folder.path(), batch, 32, 0);
    let error = open(1).err().context("an empty folder was accepted")?;
    assert!(error.to_string().contains("no photos in"), "{error}");
    std::fs::write(folder.path().join("a.jpg"), "words")?;
    let error = open(2).err().context("one photo for two was accepted")?;
    assert!(
        error.to_string().contains("fewer than a batch of 2"),
        "{error}"
    );
    let error = open(1)?.batch(0).err().context("words were a photo")?;
    assert!(
        error.to_string().contains("none of the 1 photos"),
        "{error}"
    );
    Ok(())
}

#[test]
fn mistakes_are_told_before_work_begins() -> Result<()> {
    let studio = studio(2)?;
    let path = |name: &str| studio.path().join(name);
    std::fs::write(path("there.safetensors"), "a model")?;
    std::fs::write(path("recipe.toml"), "steps = 10\nstyle_wait = 3\n")?;
    std::fs::write(path("odd.toml"), "crop = 50\n")?;
    let cases: [(&[&str], &str); 7] = [
        (&["-o", "there.safetensors"], "--overwrite"),
        (&["-o", "model.pth"], ".safetensors"),
        (&["-o", "nowhere/a.safetensors"], "nowhere"),
        (
            &["-o", "a.safetensors", "--recipe", "recipe.toml"],
            "style_wait",
        ),
        (
            &["-o", "a.safetensors", "--recipe", "odd.toml"],
            "multiple of 4",
        ),
        (&["-o", "a.safetensors", "--preview", "a.gif"], "a.gif"),
        (&["-o", "a.safetensors"], "models fetch vgg19"),
    ];
    for (arguments, expected) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .args(["train", "painting.png", "--photos", "photos"])
            .args(arguments)
            .current_dir(studio.path())
            .env_remove("REPAINT_VGG19")
            .env("XDG_CACHE_HOME", studio.path())
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
        assert!(words.contains(expected), "{arguments:?}: {words}");
        assert_eq!(
            words.trim_end().lines().count(),
            1,
            "{arguments:?}: {words}"
        );
        assert!(!path("a.safetensors").exists());
    }
    assert_eq!(std::fs::read(path("there.safetensors"))?, b"a model");
    Ok(())
}
