//! Learning to predict styles from a folder of paintings.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Model;
use repaint::network::Network;
use repaint::output::Existing;
use repaint::photos::read_scaled;
use repaint::predict::{Predictor, SHORT};
use repaint::styles;
use repaint::train::{End, Event, Job, Start, train};

use super::{GO, VGG19, assert_close, data, job, studio};

/// Pictures of stripes, the wider the later, the first called as a style of the program.
fn paintings(folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    for (name, index) in ["udnie", "others"].into_iter().zip(1..) {
        let mut frame = Frame::new(90, 60);
        for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
            let stripe = (i % 90 + i / 90 * (index - 1)) / (3 * index) % 2;
            let value = (90 * stripe + 20 * index) as u8;
            pixel.copy_from_slice(&[value, 200 - value, (40 * index) as u8]);
        }
        picture::write(&folder.join(format!("{name}.png")), &frame, Existing::Keep)?;
    }
    Ok(())
}

fn job_of_many(studio: &Path, vgg19: std::path::PathBuf, output: &str) -> Job {
    let mut job = job(studio, vgg19, output);
    job.painting = studio.join("paintings");
    job.settings.start = Start::BuiltIn;
    job.settings.batch = 1;
    job.settings.steps = 2;
    job
}

#[test]
fn what_predicts_styles_begins_with_those_whose_paintings_it_sees() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(3)?;
    paintings(&studio.path().join("paintings"))?;
    let mut job = job_of_many(studio.path(), vgg19, "all.safetensors");
    job.settings.learning_rate = 1e-9; // next to nothing is learned
    train(&job, &GO, &mut |_| {})?;
    let predictor = Predictor::read(&job.output)?;
    let predicted = |name: &str| -> Result<Model> {
        predictor.model(&read_scaled(&job.painting.join(name), SHORT)?)
    };
    let (known, other) = (predicted("udnie.png")?, predicted("others.png")?);
    assert_eq!(known.network, Network::new([8, 16, 32]).with_memory());
    let udnie = styles::find("udnie")?;
    for (name, tensor) in &udnie.tensors {
        assert_close(name, &known.tensors[name].data, &tensor.data, 0.01);
    }
    let name = "res3.conv1.conv2d.weight";
    assert_ne!(known.tensors[name], other.tensors[name]);
    Ok(())
}

#[test]
fn a_training_on_many_goes_on_where_it_was_stopped_and_predicts_other_styles_then() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(3)?;
    paintings(&studio.path().join("paintings"))?;
    let whole = job_of_many(studio.path(), vgg19.clone(), "whole.safetensors");
    let mut steps = Vec::new();
    let end = train(&whole, &GO, &mut |event| match event {
        Event::Step(step) => steps.push((step.content, step.style)),
        Event::Looking(count) => assert_eq!(count, 2),
        other => panic!("{other:?}"),
    })?;
    assert!(
        matches!(
            end,
            End::Finished {
                validation: None,
                ..
            }
        ),
        "{end:?}"
    );
    let mut parts = job_of_many(studio.path(), vgg19, "parts.safetensors");
    let stop = AtomicBool::new(false);
    let end = train(&parts, &stop, &mut |event| {
        if matches!(event, Event::Step(_)) {
            stop.store(true, Ordering::SeqCst);
        }
    })?;
    assert!(matches!(end, End::Stopped { steps: 1, .. }), "{end:?}");
    assert!(!parts.output.exists());
    parts.resume = true;
    let mut rest = Vec::new();
    train(&parts, &GO, &mut |event| match event {
        Event::Step(step) => rest.push((step.content, step.style)),
        Event::Looking(count) => assert_eq!(count, 2),
        other => panic!("{other:?}"),
    })?;
    assert_eq!(rest, steps[1..]);
    assert_eq!(fs::read(&parts.output)?, fs::read(&whole.output)?);

    // It learned something, of all its parts.
    let mut still = job_of_many(studio.path(), whole.vgg19.clone(), "still.safetensors");
    still.settings.learning_rate = 1e-9;
    train(&still, &GO, &mut |_| {})?;
    let picture = read_scaled(&whole.painting.join("others.png"), SHORT)?;
    let model = |job: &Job| Predictor::read(&job.output)?.model(&picture);
    let (before, after) = (model(&still)?, model(&whole)?);
    for (name, tensor) in &before.tensors {
        assert_ne!(after.tensors[name], *tensor, "{name}");
    }
    Ok(())
}

#[test]
fn one_painting_in_a_folder_or_another_start_is_refused() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(3)?;
    let folder = studio.path().join("paintings");
    paintings(&folder)?;
    let mut job = job_of_many(studio.path(), vgg19, "a.safetensors");
    let fails = |job: &Job| format!("{:#}", train(job, &GO, &mut |_| {}).unwrap_err());
    job.settings.start = Start::Random;
    assert!(fails(&job).contains("leave out --start"), "{}", fails(&job));
    job.settings.start = Start::BuiltIn;
    job.settings.memory = false;
    assert!(fails(&job).contains("with memory"), "{}", fails(&job));
    job.settings.memory = true;
    fs::remove_file(folder.join("udnie.png"))?;
    assert!(fails(&job).contains("one painting"), "{}", fails(&job));
    assert!(!job.output.exists());
    Ok(())
}
