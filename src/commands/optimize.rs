//! `repaint optimize`: the command line into one job, progress for people.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::checks::{set_threads, weighted};
use super::progress::{Position, Progress};
use super::{Interrupted, ensure_input_file, ensure_not_input, existing};
use crate::cli::{OptimizeArgs, StartArg};
use crate::media::picture::PictureFormat;
use crate::output::ensure_writable;
use crate::train::optimize::{
    self, Cell, End, Event, Job, LayerWeight, Losses, Settings, Start, Step, contact_sheet,
};
use crate::train::vgg::{self, Vgg19};

/// Steps between two lines of progress where there is no terminal.
const LINE_EVERY: u32 = 25;

/// Steps for each picture of a contact sheet when none are asked for: there are thirteen.
const SHEET_STEPS: u32 = 100;

/// Optimises a picture. `stop` ends the work after the current step; what is there is written.
pub fn run(args: &OptimizeArgs, stop: &'static AtomicBool) -> Result<()> {
    let job = job(args)?;
    set_threads(args.judge.threads)?;
    let start = Instant::now();
    let mut progress = Progress::new();
    let mut before = None; // work done when the last step ended
    let mut tell = |event| match event {
        Event::Remark(text) => progress.remark(&text),
        Event::Step(step) => show(&mut progress, &mut before, &step),
        Event::Cell { label, psnr } => match psnr {
            Some(psnr) => progress.result(&format!("{label}: {psnr:.1} dB")),
            None => progress.result(&label),
        },
    };
    let end = match args.all_layers {
        true => contact_sheet(&job, &cells(args, &job.settings), stop, &mut tell),
        false => optimize::optimize(&job, stop, &mut tell),
    };
    progress.finish();
    let output = job.output.display();
    match end? {
        End::Finished(width, height) => {
            let seconds = start.elapsed().as_secs_f64();
            say!("{output}: {width}x{height} in {seconds:.0} s");
            Ok(())
        }
        End::Stopped(Some(_)) => Err(Interrupted(format!(
            "the unfinished picture is in `{output}`; the same command with --resume goes on"
        ))
        .into()),
        End::Stopped(None) => {
            Err(Interrupted(format!("the pictures that were ready are in `{output}`")).into())
        }
    }
}

/// What to do, checked as far as it can be before work begins.
fn job(args: &OptimizeArgs) -> Result<Job> {
    let settings = settings(args);
    settings.ensure_sane()?;
    let styles = styles(args)?;
    let style_only = settings.content_layers.is_empty();
    let of_layers =
        args.reconstruct.is_some() || args.reconstruct_style.is_some() || args.all_layers;
    ensure!(
        !of_layers || args.start.is_none_or(|start| start == StartArg::Noise),
        "what layers keep is shown from noise: leave out --start"
    );
    ensure!(
        args.noise.is_none() || settings.start == Start::Noise,
        "--noise is for --start noise: leave out one of them"
    );
    ensure_input_file(&args.content, "picture")?;
    PictureFormat::of(&args.output)?;
    let replaceable = args.overwrite || args.resume;
    let existing = existing(replaceable);
    if !args.all_layers {
        let state = optimize::checkpoint_place(&args.output);
        ensure!(
            replaceable || !state.exists(),
            "`{}` is of a picture that was interrupted: go on with --resume, or start anew with \
             --overwrite",
            state.display()
        );
        ensure_writable(&state, existing)?;
    }
    ensure_writable(&args.output, existing)?; // beside a state it is the unfinished picture
    if let Some(preview) = &args.preview {
        PictureFormat::of(preview)?;
        ensure_writable(preview, existing)?;
    }
    for input in [&args.content]
        .into_iter()
        .chain(styles.iter().map(|(path, _)| path))
    {
        for output in [Some(&args.output), args.preview.as_ref()]
            .into_iter()
            .flatten()
        {
            ensure_not_input(input, output)?;
        }
    }
    Ok(Job {
        settings,
        content: (!style_only).then(|| args.content.clone()),
        styles,
        vgg19: vgg::find(args.judge.vgg19.as_deref())?,
        output: args.output.clone(),
        preview: args.preview.clone(),
        preview_every: args.preview_every,
        checkpoint_every: args.checkpoint_every,
        resume: args.resume,
        device: args.judge.device.into(),
    })
}

/// The defaults of what is to be done, with what the command line says in their place.
fn settings(args: &OptimizeArgs) -> Settings {
    let mut settings = Settings::default();
    if let Some(layers) = &args.reconstruct_style {
        settings = settings.reconstruct_style(layers.clone());
    } else if let Some(layers) = &args.reconstruct {
        settings = settings.reconstruct_content(layers.clone());
    } else if args.all_layers {
        settings = settings.reconstruct_content(LayerWeight::all(&["conv1_1"]));
    }
    fn given<T: Clone>(option: &Option<T>, setting: &mut T) {
        if let Some(value) = option {
            setting.clone_from(value);
        }
    }
    if args.all_layers {
        settings.steps = SHEET_STEPS;
    }
    settings.size = args.size.map(|size| size as usize);
    settings.scales = args.scales;
    settings.learning_rate = args.learning_rate;
    settings.keep_colors |= args.keep_colors;
    settings.seed = args.seed;
    given(&args.steps, &mut settings.steps);
    given(&args.optimizer.map(Into::into), &mut settings.optimizer);
    given(&args.content_weight, &mut settings.content_weight);
    given(&args.style_weight, &mut settings.style_weight);
    given(&args.tv_weight, &mut settings.tv_weight);
    given(&args.losses.map(Into::into), &mut settings.form);
    given(&args.pooling.map(Into::into), &mut settings.pooling);
    given(&args.start.map(Into::into), &mut settings.start);
    given(&args.noise, &mut settings.noise);
    given(&args.style_scale, &mut settings.style_scale);
    if args.reconstruct.is_none() && args.reconstruct_style.is_none() && !args.all_layers {
        given(&args.content_layers, &mut settings.content_layers);
        given(&args.style_layers, &mut settings.style_layers);
    }
    settings
}

/// The style pictures and their weights.
fn styles(args: &OptimizeArgs) -> Result<Vec<(PathBuf, f64)>> {
    if args.reconstruct_style.is_some() {
        return Ok(vec![(args.content.clone(), 1.0)]);
    }
    let mut styles = Vec::new();
    for text in &args.styles {
        let (path, weight) = weighted(text, |text| Path::new(text).exists())?;
        ensure_input_file(Path::new(path), "picture")?;
        styles.push((PathBuf::from(path), weight));
    }
    Ok(styles)
}

/// The pictures of the contact sheet.
fn cells(args: &OptimizeArgs, settings: &Settings) -> Vec<Cell> {
    if let Some(layers) = &args.reconstruct_style {
        let until = |(i, last): (usize, &LayerWeight)| Cell {
            label: match i {
                0 => last.layer.clone(),
                _ => format!("to {}", last.layer),
            },
            settings: Settings {
                style_layers: layers[..=i].to_vec(),
                ..settings.clone()
            },
        };
        return layers.iter().enumerate().map(until).collect();
    }
    let one = |layer: String| Cell {
        settings: Settings {
            content_layers: LayerWeight::all(&[&layer]),
            ..settings.clone()
        },
        label: layer,
    };
    Vgg19::layer_names().into_iter().map(one).collect()
}

fn show(progress: &mut Progress, before: &mut Option<u64>, step: &Step) {
    let begun = before.replace(step.done);
    progress.count(match begun {
        Some(begun) => step.done.saturating_sub(begun),
        None => (step.size.0 * step.size.1) as u64,
    });
    let Losses {
        content,
        style,
        tv,
        total,
    } = step.losses;
    let (width, height) = step.size;
    let label = match &step.label {
        Some(label) => format!("{label} "),
        None => String::new(),
    };
    progress.show(&Position {
        name: &format!("{label}{width}x{height} step {}/{}", step.steps, step.of),
        words: &format!("content {content:.4} style {style:.4} tv {tv:.4} total {total:.4}"),
        done: step.done,
        all: step.all,
        line: step.steps == 1 || step.steps == step.of || step.steps.is_multiple_of(LINE_EVERY),
    });
}
