//! What a training starts with, and what follows from it.

use std::process::Command;

use anyhow::{Context, Result};
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::{Model, Precision};
use repaint::network::{Network, Width};
use repaint::output::Existing;
use repaint::palette::Palette;
use repaint::photos::read_scaled;
use repaint::predict::Predictor;
use repaint::styles;
use repaint::tensors;
use repaint::train::dataset::Dataset;
use repaint::train::{Event, Job, Settings, Start, train};

use super::{GO, VGG19, assert_close, data, job, studio};

#[test]
fn a_training_starts_from_a_model_and_gives_it_a_memory() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.settings.learning_rate = 1e-9; // next to nothing is learned
    job.settings.palette = 0.0;
    job.settings.start = Start::Model("starry_night".into());
    train(&job, &GO, &mut |_| {})?;
    let (first, made) = (styles::find("starry_night")?, Model::read(&job.output)?);
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
    job.settings.start = Start::Model(job.output.to_string_lossy().into_owned());
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

    // And a memory that the model lacks sees nothing at first.
    job.settings.start = Start::Model(job.output.to_string_lossy().into_owned());
    job.settings.memory = true;
    job.output = studio.path().join("c.safetensors");
    train(&job, &GO, &mut |_| {})?;
    let seeing = Model::read(&job.output)?;
    assert!(seeing.network.memory);
    let (found, kept) = (&seeing.tensors[name], &plain.tensors[name].data);
    assert_close(name, &taps(found, second), kept, 1e-4);
    for kernel in found.data.chunks_exact(found.shape[1] * 9) {
        assert!(kernel[second * 9..].iter().all(|tap| tap.abs() < 1e-6));
    }

    let deeper = Network {
        residual_blocks: 6,
        ..Network::new([8, 16, 32])
    };
    let deeper = Model::random(deeper, 1)?;
    let place = studio.path().join("deeper.safetensors");
    deeper.write(&place, Precision::F32)?;
    let mut refusal = |network: Width, start: &str| -> Result<String> {
        job.settings.network = network;
        job.settings.start = Start::from(start.to_string());
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
fn a_training_starts_between_the_built_in_styles_and_needs_no_photos() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(0)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.photos = None;
    job.settings = Settings {
        start: Start::BuiltIn,
        steps: 2,
        style_size: 48,
        learning_rate: 1e-9, // next to nothing is learned
        palette: 0.0,
        ..Settings::default()
    };
    train(&job, &GO, &mut |_| {})?;
    let made = Model::read(&job.output)?;
    let (wave, scream) = (styles::find("great_wave")?, styles::find("the_scream")?);
    let mean = styles::built_in_mean(Width::Small)?.context("no mean")?;
    for (name, tensor) in &made.tensors {
        assert_close(name, &tensor.data, &mean.tensors[name].data, 1e-4);
    }
    let apart = |a: &Model, b: &Model| {
        let [a, b] = [a, b].map(|model| &model.tensors["res3.conv1.conv2d.weight"].data);
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f32>()
    };
    let both = apart(&wave, &scream);
    assert!(apart(&made, &wave) < both && apart(&made, &scream) < both);

    // There is a preview of the program's own pictures, and what is learned from is told apart.
    let preview = picture::read(&studio.path().join("preview.png"))?;
    assert_eq!((preview.width, preview.height), (512, 3 * 256));
    let samples = Dataset::open(None, 8, 144, 0)?;
    let names: Vec<_> = samples.names().collect();
    assert_eq!(names, ["lake", "lighthouse", "still_life"]);
    // A batch may have more squares than there are photos.
    assert_eq!(samples.batch(0)?.pixels.len(), 8 * 3 * 144 * 144);

    job.settings.network = Width::Large;
    let error = train(&job, &GO, &mut |_| {})
        .err()
        .context("started with no style")?;
    assert!(error.to_string().contains("--start random"), "{error}");
    Ok(())
}

#[test]
fn a_training_starts_from_what_is_predicted_from_its_painting() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(2)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.settings.start = Start::Predicted;
    job.settings.learning_rate = 1e-9; // next to nothing is learned
    job.settings.palette = 0.0;
    train(&job, &GO, &mut |_| {})?;
    let painting = read_scaled(&job.painting, job.settings.style_size)?;
    let predicted = Predictor::built_in()?.model(&painting)?;
    let made = Model::read(&job.output)?;
    for (name, tensor) in &predicted.tensors {
        assert_close(name, &made.tensors[name].data, &tensor.data, 1e-4);
    }
    job.settings.network = Width::Medium;
    let error = train(&job, &GO, &mut |_| {}).err().context("started")?;
    assert!(
        error
            .to_string()
            .contains("`the predicted style` has [8, 16, 32] channels"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_style_goes_by_the_name_of_its_painting() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(0)?;
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_repaint"))
            .args(["train", "painting.png", "--steps", "1", "--crop", "32"])
            .args(["--style-size", "48", "--vgg19"])
            .arg(&vgg19)
            .current_dir(studio.path())
            .env("XDG_DATA_HOME", studio.path())
            .output()
    };
    let first = run()?;
    let words = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{words}");
    assert!(words.contains("--model painting\n"), "{words}");
    let models = studio.path().join("repaint/models");
    let model = Model::read(&models.join("painting.safetensors"))?;
    assert_eq!(model.metadata.name, "painting");
    assert!(model.metadata.recipe.contains("start = \"predicted\""));
    assert!(models.join("painting.training/preview.png").exists());
    let again = run()?;
    let words = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{words}");
    assert!(words.contains("--overwrite"), "{words}");
    Ok(())
}

#[test]
fn what_a_recipe_does_not_say_depends_on_what_training_starts_with() -> Result<()> {
    let read = |text: &str, network, start: Option<&str>| {
        Settings::from_recipe(
            text,
            network,
            start.map(|name| Start::from(name.to_string())),
        )
    };
    let facts = |settings: &Settings| (settings.start.clone(), settings.steps, settings.crop);
    let short = read("style_weight = 3", None, None)?;
    assert_eq!(facts(&short), (Start::Predicted, 100, 144));
    assert_eq!(short.style_weight, 3.0);
    assert_eq!(
        short,
        Settings {
            style_weight: 3.0,
            ..Settings::default()
        }
    );
    let random = read("start = \"random\"\ncrop = 160", None, None)?;
    assert_eq!(facts(&random), (Start::Random, 2000, 160));
    let medium = read("network = \"medium\"", None, None)?;
    assert_eq!(facts(&medium), (Start::BuiltIn, 150, 144));
    let large = read("network = \"large\"\nsteps = 10", None, None)?;
    assert_eq!(facts(&large), (Start::Random, 10, 192));
    // The command line wins.
    let given = read(
        "network = \"large\"\nstart = \"random\"",
        Some(Width::Medium),
        Some("udnie_medium"),
    )?;
    assert_eq!(
        facts(&given),
        (Start::Model("udnie_medium".into()), 150, 144)
    );
    assert_eq!(given.network, Width::Medium);
    for settings in [short, random, large, given] {
        assert_eq!(Settings::from_toml(&settings.to_toml()?)?, settings);
    }
    let error = read("steps = 1\nstrat = 2", None, None)
        .err()
        .context("took a wrong name")?;
    assert!(error.to_string().contains("line 2"), "{error}");
    Ok(())
}

#[test]
fn the_grid_of_the_network_fades_where_it_has_weight() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.photos = None; // generated ones are full of what repeats
    job.settings.start = Start::Model("starry_night".into());
    (job.settings.crop, job.settings.steps) = (64, 16);
    let mut end = |weight| {
        job.settings.grid_weight = weight;
        let mut grid = 0.0;
        train(&job, &GO, &mut |event| match event {
            Event::Step(step) if step.steps > 12 => grid += step.grid,
            _ => {}
        })?;
        Ok::<_, anyhow::Error>(grid)
    };
    let (without, with) = (end(0.0)?, end(4000.0)?); // of the same photos in both
    assert!(with > 0.0 && with < 0.7 * without, "{with} {without}");
    Ok(())
}

#[test]
fn a_finished_network_has_the_colours_of_its_painting() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(0)?;
    let mut red = Frame::new(96, 80);
    for (i, pixel) in red.pixels.chunks_exact_mut(3).enumerate() {
        pixel.copy_from_slice(&[(120 + i % 120) as u8, 30, (20 + i / 96) as u8]);
    }
    picture::write(
        &studio.path().join("painting.png"),
        &red,
        Existing::Overwrite,
    )?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.photos = None;
    job.settings = Settings {
        steps: 1,
        style_size: 48,
        learning_rate: 1e-9, // next to nothing is learned
        ..Settings::default()
    };
    let preview = |job: &Job| {
        train(job, &GO, &mut |_| {})?;
        let shown = picture::read(&job.preview)?;
        // Photos left, paintings right.
        let mut painted = Frame::new(256, shown.height);
        let rows = painted.pixels.chunks_exact_mut(3 * 256);
        for (row, from) in rows.zip(shown.pixels.chunks_exact(3 * 512)) {
            row.copy_from_slice(&from[3 * 256..]);
        }
        let colors = Palette::of([&painted]).context("no preview")?;
        Ok::<_, anyhow::Error>(colors.mean)
    };
    let mean = |part| {
        job.settings.palette = part;
        preview(&job)
    };
    let ([before, half, whole], aim) = ([0.0, 0.5, 1.0].map(mean), [179.5, 30.0, 59.5]);
    let (before, half, whole) = (before?, half?, whole?);
    for i in 0..3 {
        let part = (half[i] - before[i]) / (aim[i] - before[i]);
        assert!((0.3..0.7).contains(&part), "{before:?} {half:?}");
        assert!((whole[i] - aim[i]).abs() < 25.0, "{whole:?}");
    }
    Ok(())
}
