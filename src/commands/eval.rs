//! `repaint eval`: measures a model, tells figures as a table or as JSON.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use serde_json::json;

use super::checks::set_threads;
use super::{Interrupted, ensure_input_file};
use crate::cli::EvalArgs;
use crate::frame::Frame;
use crate::model::Model;
use crate::train::evaluate::{Evaluation, Exam, evaluate};
use crate::train::{Event, vgg};

/// Frames of a clip that are looked at, and how many are left out between two: neighbours tell the
/// same.
#[cfg(feature = "video")]
const FRAMES: usize = 32;
#[cfg(feature = "video")]
const APART: usize = 5;

/// Runs `repaint eval`. Once `stop` is set it ends after the current photo.
pub fn run(args: &EvalArgs, stop: &AtomicBool) -> Result<()> {
    ensure_input_file(&args.style, "picture")?;
    if let Some(photos) = &args.photos {
        ensure!(
            photos.is_dir(),
            "no folder `{}`: name a folder of photos with --photos",
            photos.display()
        );
    }
    let model = Model::find(&args.model)?;
    ensure!(
        model.network.input_channels == 3,
        "`{}` sees {} channels: only networks that see RGB alone can be measured",
        args.model,
        model.network.input_channels
    );
    set_threads(args.judge.threads)?;
    let frames = match &args.clip {
        Some(clip) => frames_of(clip)?,
        None => Vec::new(),
    };
    let exam = Exam {
        photos: args.photos.clone(),
        style: args.style.clone(),
        style_size: args.style_size.map(|size| size as usize),
        vgg19: vgg::find(args.judge.vgg19.as_deref())?,
        device: args.judge.device.into(),
    };
    let found = evaluate(&model, &exam, &frames, stop, &mut |event| match event {
        Event::Remark(text) => remark!("{text}"),
        Event::Validating(photos) => match args.photos {
            Some(_) => remark!("measuring on {photos} photos"),
            None => remark!(
                "measuring on {photos} pictures of the program's own: --photos names others"
            ),
        },
        Event::Step(_) => {}
    })?;
    let Some(found) = found else {
        return Err(Interrupted("nothing is measured".to_string()).into());
    };
    match args.json {
        true => print_json(&args.model, &found, frames.len()),
        false => print_table(&found, frames.len()),
    }
    Ok(())
}

fn print_json(model: &str, found: &Evaluation, frames: usize) {
    let mut object = json!({
        "model": model,
        "photos": found.photos.photos,
        "content": found.photos.content,
        "style": found.photos.style,
        "flicker": found.photos.flicker,
        "grid": found.photos.grid,
    });
    if let Some(flicker) = found.clip {
        object["clip"] = json!({ "frames": frames, "flicker": flicker });
    }
    say!("{object}");
}

fn print_table(found: &Evaluation, frames: usize) {
    let photos = &found.photos;
    say!("{:<10} {:>8}  ON", "FIGURE", "VALUE");
    for (name, value) in [
        ("content", photos.content),
        ("style", photos.style),
        ("flicker", photos.flicker),
        ("grid", photos.grid),
    ] {
        say!("{name:<10} {value:>8.4}  {} photos", photos.photos);
    }
    if let Some(flicker) = found.clip {
        say!(
            "{:<10} {flicker:>8.4}  {frames} frames of the clip",
            "flicker"
        );
    }
}

/// Frames of a film, spread over its beginning.
#[cfg(feature = "video")]
fn frames_of(clip: &Path) -> Result<Vec<Frame>> {
    use crate::media::FrameSource;
    use crate::media::decode::Decoder;

    ensure_input_file(clip, "video file")?;
    let mut decoder = Decoder::open(clip, Some(crate::train::SHORT as u32))?;
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    for index in 0..FRAMES * APART {
        if !decoder.read(&mut frame)? {
            break;
        }
        if index % APART == 0 {
            frames.push(frame.clone());
        }
    }
    Ok(frames)
}

#[cfg(not(feature = "video"))]
fn frames_of(clip: &Path) -> Result<Vec<Frame>> {
    anyhow::bail!(
        "cannot read `{}`: this program was built without the feature `video`",
        clip.display()
    )
}
