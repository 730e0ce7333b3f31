//! `repaint train`: recipe and command line into one job, progress for people.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};

use super::checks::{ensure_model_name, place_of, remark_use, set_threads};
use super::progress::{Position, Progress};
use super::{Interrupted, ensure_input_file, ensure_not_input, existing};
use crate::cli::TrainArgs;
use crate::folders::{quoted, stem};
use crate::media::picture::PictureFormat;
use crate::output::ensure_writable;
use crate::train::folder::Folder;
use crate::train::{self, End, Event, Job, Settings, Step, vgg};

/// Steps between two lines of progress where there is no terminal.
const LINE_EVERY: u32 = 50;

/// Trains a model. `stop` ends the training after the current step, with a checkpoint.
pub fn run(args: &TrainArgs, stop: &'static AtomicBool) -> Result<()> {
    let job = job(args)?;
    set_threads(args.judge.threads)?;
    let mut progress = Progress::new();
    let end = train::train(&job, stop, &mut |event| {
        show(&mut progress, &job.settings, event);
    });
    progress.finish();
    match end? {
        End::Finished {
            validation,
            skipped,
            seconds,
        } => {
            let settings = &job.settings;
            say!(
                "{}: {} steps in {seconds:.0} s ({:.2} images/s)",
                job.output.display(),
                settings.steps,
                f64::from(settings.steps) * settings.batch as f64 / seconds.max(1e-9)
            );
            if let Some(validation) = validation {
                say!("validation: {validation}");
            }
            if skipped > 0 {
                say!("photos left out because they could not be read: {skipped}");
            }
            match job.painting.is_dir() {
                true => remark!(
                    "predict a style with it: repaint models import PICTURE --predictor {}",
                    quoted(&job.output.to_string_lossy())
                ),
                false => remark_use(args.output.as_deref(), &stem(&job.output)),
            }
            Ok(())
        }
        End::Stopped { steps, checkpoint } => Err(Interrupted(format!(
            "the state after {steps} of {} steps is in `{}`; to go on: {}",
            job.settings.steps,
            checkpoint.display(),
            resume_command(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
        ))
        .into()),
    }
}

/// The command line that goes on where this one stopped, as a shell takes it.
fn resume_command(arguments: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = arguments.map(|word| quoted(&word)).collect();
    let options = words.iter().position(|word| word == "--");
    let options = options.unwrap_or(words.len()); // behind `--` there are none
    if !words[..options].iter().any(|word| word == "--resume") {
        words.insert(options, "--resume".to_string());
    }
    words.join(" ")
}

/// What to do, checked as far as it can be before work begins.
fn job(args: &TrainArgs) -> Result<Job> {
    let settings = settings(args)?;
    settings.ensure_sane()?;
    let many = args.painting.is_dir();
    ensure!(
        !many || (args.recipe.is_some() && args.output.is_some()),
        "`{}` is a folder: name one picture, or learn to predict styles from many with --recipe \
         training/predictor.toml and -o",
        args.painting.display()
    );
    if !many {
        ensure_input_file(&args.painting, "picture")?;
    }
    let output = match &args.output {
        Some(output) => output.clone(),
        None => place_of(&stem(&args.painting))?,
    };
    ensure_model_name(&output)?;
    ensure!(
        args.output.is_some() || args.overwrite || !output.exists(),
        "`{}` exists: choose another place with -o or add --overwrite",
        output.display()
    );
    ensure_writable(&output, existing(args.overwrite))?;
    let folder = Folder::of(&output);
    let checkpoint = folder.checkpoint();
    ensure!(
        args.resume || args.overwrite || !checkpoint.exists(),
        "`{}` is of a training that was interrupted: go on with --resume, or start anew with \
         --overwrite",
        checkpoint.display()
    );
    if let Some(preview) = &args.preview {
        PictureFormat::of(preview)?;
        ensure_writable(preview, existing(args.overwrite || args.resume))?;
        ensure_not_input(&args.painting, preview)?;
    }
    if let Some(photos) = &args.photos {
        ensure!(
            photos.is_dir(),
            "no folder `{}`: name a folder of photos with --photos, or leave it out",
            photos.display()
        );
    }
    let beside = || match many {
        true => None, // what is predicted is measured by `repaint eval`
        false => train::sibling_validation(args.photos.as_deref()?),
    };
    Ok(Job {
        settings,
        painting: args.painting.clone(),
        photos: args.photos.clone(),
        vgg19: vgg::find(args.judge.vgg19.as_deref())?,
        output,
        validation: args.validation.clone().or_else(beside),
        preview: args.preview.clone().unwrap_or_else(|| folder.preview()),
        preview_every: args.preview_every,
        checkpoint_every: args.checkpoint_every,
        resume: args.resume,
        device: args.judge.device.into(),
    })
}

/// The recipe's settings, with what the command line says in their place.
fn settings(args: &TrainArgs) -> Result<Settings> {
    let (network, start) = (args.network.map(Into::into), args.start.clone());
    let mut settings = match &args.recipe {
        Some(path) => {
            ensure_input_file(path, "recipe")?;
            let what = || format!("could not read recipe `{}`", path.display());
            let text = std::fs::read_to_string(path).with_context(what)?;
            Settings::from_recipe(&text, network, start).with_context(what)?
        }
        None => Settings::usual(network.unwrap_or_default(), start),
    };
    fn given<T: Clone>(option: &Option<T>, setting: &mut T) {
        if let Some(value) = option {
            setting.clone_from(value);
        }
    }
    let pixels = |size: Option<u32>| size.map(|size| size as usize);
    given(&args.title, &mut settings.title);
    given(&args.painter, &mut settings.painter);
    given(&args.year, &mut settings.year);
    given(&args.steps, &mut settings.steps);
    given(&pixels(args.batch), &mut settings.batch);
    given(&pixels(args.crop), &mut settings.crop);
    given(&pixels(args.style_size), &mut settings.style_size);
    given(&args.style_weight, &mut settings.style_weight);
    given(&args.tv_weight, &mut settings.tv_weight);
    given(&args.grid_weight, &mut settings.grid_weight);
    given(&args.stability, &mut settings.stability);
    given(&args.palette, &mut settings.palette);
    given(&args.memory, &mut settings.memory);
    given(&args.learning_rate, &mut settings.learning_rate);
    given(&args.seed, &mut settings.seed);
    Ok(settings)
}

/// Turns events into progress.
fn show(progress: &mut Progress, settings: &Settings, event: Event) {
    match event {
        Event::Remark(text) => progress.remark(&text),
        Event::Step(step) => {
            let Step {
                steps,
                content,
                style,
                tv,
                ..
            } = step;
            progress.count(1);
            let speed = progress.speed() * settings.batch as f64;
            let total = settings.steps;
            progress.show(&Position {
                name: &format!("step {steps}/{total}"),
                words: &format!(
                    "content {content:.3} style {style:.3} tv {tv:.4} {speed:.2} images/s"
                ),
                done: u64::from(steps),
                all: u64::from(total),
                line: steps == 1 || steps == total || steps.is_multiple_of(LINE_EVERY),
            });
        }
        Event::Looking(count) => progress.message(format!("looking at {count} paintings")),
        Event::Validating(photos) => progress.message(format!("measuring on {photos} photos")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_is_one_that_a_shell_and_the_program_take() {
        for (words, expected) in [
            ("repaint train a.png", "repaint train a.png --resume"),
            (
                "repaint train --resume a.png",
                "repaint train --resume a.png",
            ),
            (
                "repaint train -- --resume",
                "repaint train --resume -- --resume",
            ),
        ] {
            assert_eq!(resume_command(words.split(' ').map(String::from)), expected);
        }
        let words = ["repaint", "train", "a b's.png"].map(String::from);
        let expected = "repaint train 'a b'\\''s.png' --resume";
        assert_eq!(resume_command(words.into_iter()), expected);
    }
}
