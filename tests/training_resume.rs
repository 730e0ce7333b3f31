//! Interrupted trainings: killed, stopped or gone wrong, and what they go on from.

mod common;
#[path = "common/studio.rs"]
mod studio;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::data;
use repaint::model::Model;
use repaint::network::Network;
use repaint::tensors;
use repaint::train::{End, Event, train};
use studio::{job, studio};

const VGG19: &str = "vgg19/vgg19_conv_f16.safetensors";

static GO: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(true);

/// Starts a training of 24 steps, with a checkpoint after every third, as a process of its own.
fn start(studio: &Path, vgg19: &Path, more: &[&str]) -> Result<Child> {
    let child = Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["train", "painting.png", "--photos", "photos", "--vgg19"])
        .arg(vgg19)
        .args(["--steps", "24", "--batch", "1", "--crop", "32"])
        .args(["--style-size", "32", "--checkpoint-every", "3"])
        .args(more)
        .current_dir(studio)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// The words on stderr of a process that ended with `code`.
fn end(child: Child, code: i32) -> Result<String> {
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "{:?}, expected {code}: {words}",
        output.status
    );
    Ok(words)
}

fn wait_for(place: &Path) -> Result<()> {
    let start = Instant::now();
    while !place.exists() {
        ensure!(start.elapsed() < Duration::from_secs(120), "no {place:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn a_training_killed_at_any_step_goes_on_to_the_same_model_bit_by_bit() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let path = |name: &str| studio.path().join(name);
    end(
        start(studio.path(), &vgg19, &["-o", "whole.safetensors"])?,
        0,
    )?;

    let output = ["-o", "parts.safetensors"];
    let mut first = start(studio.path(), &vgg19, &output)?;
    let checkpoint = path("parts.training/checkpoint.safetensors");
    wait_for(&checkpoint)?;
    let nanoseconds = std::time::UNIX_EPOCH.elapsed()?.subsec_nanos();
    std::thread::sleep(Duration::from_millis(u64::from(nanoseconds % 300)));
    first.kill()?; // SIGKILL
    first.wait()?;
    assert!(!path("parts.safetensors").exists(), "killed too late");

    let words = end(start(studio.path(), &vgg19, &output)?, 1)?;
    assert!(words.contains("--resume"), "{words}");
    let resumed = start(
        studio.path(),
        &vgg19,
        &[&output[..], &["--resume"]].concat(),
    )?;
    end(resumed, 0)?;
    let tensors = |name: &str| Ok::<_, anyhow::Error>(Model::read(&path(name))?.tensors);
    assert_eq!(tensors("parts.safetensors")?, tensors("whole.safetensors")?);
    assert!(!checkpoint.exists());
    let losses = |folder: &str| -> Result<Vec<_>> {
        let log = std::fs::read_to_string(path(folder).join("log.jsonl"))?;
        let lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let part =
            |line: &serde_json::Value| ["step", "content", "style"].map(|key| line[key].clone());
        Ok(lines.iter().map(part).collect())
    };
    assert_eq!(losses("parts.training")?, losses("whole.training")?);
    Ok(())
}

#[test]
#[cfg(unix)]
fn an_interrupted_training_prints_the_command_that_goes_on() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let more = ["-o", "a.safetensors", "--title", "A 'b'"];
    let child = start(studio.path(), &vgg19, &more)?;
    let checkpoint = studio.path().join("a.training/checkpoint.safetensors");
    wait_for(&checkpoint)?;
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()?;
    let words = end(child, 130)?;
    let command = words.split("to go on: ").nth(1).context(words.clone())?;
    assert!(
        command
            .trim_end()
            .ends_with("--title 'A '\\''b'\\''' --resume"),
        "{words}"
    );
    let shell = Command::new("sh")
        .args(["-c", command])
        .current_dir(studio.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    end(shell, 0)?;
    let model = Model::read(&studio.path().join("a.safetensors"))?;
    assert_eq!(model.metadata.title, "A 'b'");
    Ok(())
}

#[test]
fn a_stopped_training_leaves_its_state_and_goes_on_only_from_the_same() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    let error = |job: &_| {
        let end = train(job, &STOP, &mut |_| {});
        end.map(drop).err().map(|error| format!("{error:#}"))
    };
    job.resume = true;
    let words = error(&job).context("went on from nothing")?;
    assert!(words.contains("no checkpoint"), "{words}");

    job.resume = false;
    let End::Stopped { steps, checkpoint } = train(&job, &STOP, &mut |_| {})? else {
        panic!("the training was not stopped");
    };
    assert_eq!(steps, 0);
    assert!(!job.output.exists());
    let bytes = std::fs::read(&checkpoint)?;
    let found = tensors::File::open(&bytes)?.shapes();
    for (name, shape) in Network::new([8, 16, 32]).with_memory().tensors() {
        for part in ["", "adam.first.", "adam.second."] {
            assert_eq!(found[&format!("{part}{name}")], shape);
        }
    }

    job.resume = true;
    assert_eq!(error(&job), None);
    let before = std::mem::replace(&mut job.settings.style_weight, 7.0);
    let words = error(&job).context("another style weight was accepted")?;
    let change = format!("style_weight was {before:?} and is 7.0");
    assert!(words.contains(&change), "{words}");
    job.settings.style_weight = before;
    let mut weights = std::fs::read(&job.vgg19)?;
    *weights.last_mut().context("no weights")? ^= 1;
    let others = studio.path().join("others.safetensors");
    std::fs::write(&others, weights)?;
    let usual = std::mem::replace(&mut job.vgg19, others);
    let words = error(&job).context("other weights of VGG19 were accepted")?;
    assert!(words.contains("weights of VGG19 changed"), "{words}");
    job.vgg19 = usual;
    std::fs::remove_file(studio.path().join("photos/0.png"))?;
    let words = error(&job).context("other photos were accepted")?;
    assert!(words.contains("photos changed"), "{words}");
    std::fs::write(&checkpoint, &bytes[..bytes.len() / 2])?;
    let words = error(&job).context("half a checkpoint was accepted")?;
    assert!(
        words.contains("truncated") && words.lines().count() == 1,
        "{words}"
    );
    Ok(())
}

#[test]
fn a_training_stopped_while_its_network_is_measured_keeps_all_steps() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut whole = job(studio.path(), vgg19, "whole.safetensors");
    whole.validation = Some(studio.path().join("photos"));
    train(&whole, &GO, &mut |_| {})?;

    let mut parts = whole.clone();
    parts.output = studio.path().join("parts.safetensors");
    parts.checkpoint_every = 1000;
    let stop = AtomicBool::new(false);
    let end = train(&parts, &stop, &mut |event| {
        if let Event::Validating(photos) = event {
            assert_eq!(photos, 4);
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    })?;
    let End::Stopped { steps, checkpoint } = end else {
        panic!("the training was not stopped");
    };
    assert!(steps == 3 && checkpoint.exists() && !parts.output.exists());

    // With nothing to measure on, a network that is finished is written.
    let mut bare = whole.clone();
    (bare.validation, bare.output) = (None, studio.path().join("bare.safetensors"));
    let last = AtomicBool::new(false);
    let end = train(&bare, &last, &mut |event| {
        let over = matches!(event, Event::Step(step) if step.steps == 3);
        last.fetch_or(over, std::sync::atomic::Ordering::SeqCst);
    })?;
    assert!(matches!(end, End::Finished { .. }) && bare.output.exists());

    parts.resume = true;
    let mut made = 0;
    let end = train(&parts, &GO, &mut |event| {
        made += u32::from(matches!(event, Event::Step(_)));
    })?;
    assert!(matches!(
        end,
        End::Finished {
            validation: Some(_),
            ..
        }
    ));
    assert!(made == 0 && !checkpoint.exists());
    let [whole, parts] = [&whole.output, &parts.output].map(|place| Model::read(place));
    let (whole, parts) = (whole?, parts?);
    assert_eq!(whole.tensors, parts.tensors);
    assert_eq!(whole.metadata.losses, parts.metadata.losses);
    Ok(())
}

#[test]
fn a_training_whose_model_or_preview_cannot_be_written_keeps_its_steps() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(3)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    let (mut steps, mut remarks) = (0, Vec::new());
    let result = train(&job, &GO, &mut |event| match event {
        Event::Step(_) => {
            steps += 1;
            for place in [&job.output, &job.preview] {
                let _ = std::fs::create_dir(place); // no file can have this name now
            }
        }
        Event::Remark(text) => remarks.push(text),
        _ => {}
    });
    let words = format!("{:#}", result.unwrap_err());
    assert_eq!(steps, 3);
    assert!(
        words.contains("--resume goes on from there: could not write model"),
        "{words}"
    );
    let previews = remarks.iter().filter(|text| text.contains("preview.png"));
    assert_eq!(previews.count(), 1, "{remarks:?}");
    for place in [&job.output, &job.preview] {
        std::fs::remove_dir(place)?;
    }
    job.resume = true;
    let end = train(&job, &GO, &mut |event| {
        assert!(!matches!(event, Event::Step(_)), "a step was made again");
    })?;
    assert!(matches!(end, End::Finished { .. }));
    Model::read(&job.output)?;
    assert!(job.preview.is_file());
    Ok(())
}

#[test]
fn a_training_that_goes_wrong_returns_a_few_times_and_then_gives_up() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(4)?;
    let mut job = job(studio.path(), vgg19, "a.safetensors");
    job.settings.steps = 8;
    job.settings.learning_rate = 1e30;
    let mut remarks = Vec::new();
    let end = train(&job, &GO, &mut |event| {
        if let Event::Remark(text) = event {
            remarks.push(text);
        }
    });
    let words = format!(
        "{:#}",
        end.err().context("numbers like 1e30 were learned from")?
    );
    assert!(words.contains("lower --learning-rate"), "{words}");
    assert_eq!(remarks.len(), 4, "{remarks:?}");
    assert!(
        remarks[0].contains("1/2 of the learning rate"),
        "{remarks:?}"
    );
    assert!(
        remarks[3].contains("1/16 of the learning rate"),
        "{remarks:?}"
    );
    assert!(!job.output.exists());

    // Stopped right after the step that went wrong, it goes on from what was before.
    let stop = AtomicBool::new(false);
    let end = train(&job, &stop, &mut |event| {
        let made = matches!(event, Event::Step(_));
        stop.fetch_or(made, std::sync::atomic::Ordering::SeqCst);
    })?;
    let End::Stopped { steps, checkpoint } = end else {
        panic!("the training was not stopped");
    };
    assert_eq!(steps, 0);
    let bytes = std::fs::read(checkpoint)?;
    for (name, tensor) in tensors::File::open(&bytes)?.read()? {
        let largest = tensor
            .data
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        assert!(
            largest < 1e3 || name == "recent_losses",
            "{name} holds {largest}"
        );
    }
    Ok(())
}
