//! Training: the losses and ten steps against PyTorch's (`pytorch`), what a training
//! starts with (`start`), learning from many paintings (`many`), and small trainings from end to end.

#[path = "../common/mod.rs"]
mod common;
mod many;
mod pytorch;
mod start;
#[path = "../common/studio.rs"]
mod studio;

use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use common::{assert_close, data};
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Model;
use repaint::network::Network;
use repaint::output::Existing;
use repaint::train::dataset::Dataset;
use repaint::train::{End, Event, Settings, train};
use studio::{job, studio};

const VGG19: &str = "vgg19/vgg19_conv_f16.safetensors";

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
        Event::Validating(_) | Event::Looking(_) => {}
    })?;

    let End::Finished {
        validation: Some(validation),
        skipped,
        seconds,
    } = end
    else {
        panic!("ended as {end:?}");
    };
    assert_eq!(skipped, 3);
    assert!(seconds > 0.0);
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
fn batches_follow_from_seed_and_step_alone() -> Result<()> {
    let studio = studio(5)?;
    let photos = studio.path().join("photos");
    let open = |seed| Dataset::open(Some(&photos), 2, 32, seed);
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
fn squares_of_one_colour_are_not_learned_from() -> Result<()> {
    let studio = studio(3)?;
    let photos = studio.path().join("photos");
    let mut plain = Frame::new(200, 90);
    plain.pixels.fill(255);
    for photo in 0..6 {
        let place = photos.join(format!("plain{photo}.png"));
        picture::write(&place, &plain, Existing::Keep)?;
    }
    let data = Dataset::open(Some(&photos), 2, 32, 1)?;
    for step in 0..50 {
        for square in data.batch(step)?.pixels.chunks_exact(3 * 32 * 32) {
            assert!(square.iter().any(|value| *value != 255.0), "step {step}");
        }
    }

    let blank = studio.path().join("blank");
    std::fs::create_dir(&blank)?;
    picture::write(&blank.join("a.png"), &plain, Existing::Keep)?;
    let error = Dataset::open(Some(&blank), 1, 32, 1)?.batch(0).err();
    let words = error.context("learned from nothing")?.to_string();
    assert!(words.contains("one colour each"), "{words}");
    Ok(())
}

#[test]
fn folders_without_usable_photos_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = |batch| Dataset::open(Some(folder.path()), batch, 32, 0);
    let error = open(1).err().context("an empty folder was accepted")?;
    assert!(error.to_string().contains("no photos in"), "{error}");
    std::fs::write(folder.path().join("a.jpg"), "words")?;
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
    std::fs::write(path("gaudy.toml"), "palette = 1.5\n")?;
    let cases: [(&[&str], &str); 9] = [
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
        (
            &["-o", "a.safetensors", "--recipe", "gaudy.toml"],
            "palette 1.5 is out of range",
        ),
        (&["-o", "a.safetensors", "--preview", "a.gif"], "a.gif"),
        (
            &[
                "-o",
                "a.safetensors",
                "--preview",
                "painting.png",
                "--overwrite",
            ],
            "is the input itself",
        ),
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
