//! `repaint eval`: measures a model, tells figures as a table or as JSON.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::json;

use super::checks::set_threads;
use super::{Interrupted, ensure_input_file};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::cli::EvalArgs;
use crate::detail::sharpness;
use crate::flow::{Carrier, Motion, Tracker};
use crate::frame::{Carried, Frame};
use crate::model::Model;
use crate::paint::Painter;
use crate::steady::USUAL;
use crate::styles;
use crate::train::evaluate::{Evaluation, Exam, evaluate};
use crate::train::{Event, vgg};

/// Frames of a clip that are painted, and from one that is moved as a photo to the next: neighbours tell the
/// same.
#[cfg(feature = "video")]
const FRAMES: usize = 160;
const APART: usize = 5;

/// Figures of a film as `repaint video` paints it.
struct Film {
    frames: usize,
    /// How far paintings are from the ones before, carried along the motion: a root mean square, where white
    /// against black is 1.
    flicker: f64,
    /// That of the frames painted each for itself.
    flicker_alone: f64,
    /// As a part of what these have.
    sharpness: f64,
}

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
    let model = styles::find(&args.model)?;
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
    let spread: Vec<Frame> = frames.iter().step_by(APART).cloned().collect();
    let exam = Exam {
        photos: args.photos.clone(),
        style: args.style.clone(),
        style_size: args.style_size.map(|size| size as usize),
        vgg19: vgg::find(args.judge.vgg19.as_deref())?,
        device: args.judge.device.into(),
    };
    let found = evaluate(&model, &exam, &spread, stop, &mut |event| match event {
        Event::Remark(text) => remark!("{text}"),
        Event::Validating(photos) => match args.photos {
            Some(_) => remark!("measuring on {photos} photos"),
            None => remark!(
                "measuring on {photos} pictures of the program's own: --photos names others"
            ),
        },
        Event::Step(_) | Event::Looking(_) => {}
    })?;
    let film = paint_film(&model, &frames, stop)?;
    let (Some(found), false) = (found, stop.load(Ordering::SeqCst)) else {
        return Err(Interrupted("nothing is measured".to_string()).into());
    };
    match args.json {
        true => print_json(&args.model, &found, spread.len(), film),
        false => print_table(&found, spread.len(), film),
    }
    Ok(())
}

/// What is known of a film while it is painted.
struct Painting {
    painter: Painter,
    painted: Frame,
    last: Frame,
    carrier: Carrier,
    carried: Carried,
    squares: f64,
    values: usize,
    sharpness: f64,
}

impl Painting {
    fn new(model: &Model, steadiness: f32) -> Result<Self> {
        let mut engine = Cpu::new(None, None)?;
        engine.load(model)?;
        let mut painter = Painter::new(Box::new(engine), 1.0, false);
        painter.set_steadiness(steadiness);
        Ok(Self {
            painter,
            painted: Frame::default(),
            last: Frame::default(),
            carrier: Carrier::default(),
            carried: Carried::default(),
            squares: 0.0,
            values: 0,
            sharpness: 0.0,
        })
    }

    /// Paints the next frame, which follows from the one before by `motion`.
    fn go_on(&mut self, frame: &Frame, motion: Option<&Motion>) -> Result<()> {
        self.painter.paint(frame, &mut self.painted)?;
        self.sharpness += sharpness(&self.painted);
        if let Some(motion) = motion {
            self.carrier.run(&self.last, motion, &mut self.carried);
            let pixels = self.painted.pixels.chunks_exact(3);
            let pixels = pixels.zip(self.carried.pixels.chunks_exact(3));
            for ((new, old), _) in pixels.zip(&self.carried.valid).filter(|(_, v)| **v != 0) {
                let square = |(new, old): (&u8, &u8)| u32::from(new.abs_diff(*old)).pow(2);
                self.squares += f64::from(new.iter().zip(old).map(square).sum::<u32>());
                self.values += 3;
            }
        }
        std::mem::swap(&mut self.last, &mut self.painted);
        Ok(())
    }

    fn flicker(&self) -> f64 {
        (self.squares / self.values.max(1) as f64).sqrt() / 255.0
    }
}

/// Paints a film at the usual steadiness and each frame for itself. `None` without frames.
fn paint_film(model: &Model, frames: &[Frame], stop: &AtomicBool) -> Result<Option<Film>> {
    if frames.is_empty() {
        return Ok(None);
    }
    remark!("painting {} frames of the clip as a film", frames.len());
    let (mut steady, mut alone) = (Painting::new(model, USUAL)?, Painting::new(model, 0.0)?);
    let (mut tracker, mut motion) = (Tracker::default(), Motion::default());
    for frame in frames {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let follows = tracker.advance(frame, &mut motion);
        for painting in [&mut steady, &mut alone] {
            painting.go_on(frame, follows.then_some(&motion))?;
        }
    }
    Ok(Some(Film {
        frames: frames.len(),
        flicker: steady.flicker(),
        flicker_alone: alone.flicker(),
        sharpness: steady.sharpness / alone.sharpness.max(f64::MIN_POSITIVE),
    }))
}

fn print_json(model: &str, found: &Evaluation, frames: usize, film: Option<Film>) {
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
    if let Some(film) = film {
        object["film"] = json!({
            "frames": film.frames,
            "flicker": film.flicker,
            "flicker_alone": film.flicker_alone,
            "sharpness": film.sharpness,
        });
    }
    say!("{object}");
}

fn print_table(found: &Evaluation, frames: usize, film: Option<Film>) {
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
            "{:<10} {flicker:>8.4}  {frames} frames of the clip, as photos",
            "flicker"
        );
    }
    if let Some(film) = film {
        let (frames, alone) = (film.frames, film.flicker_alone);
        let (flicker, sharp) = (film.flicker, film.sharpness);
        say!(
            "{:<10} {flicker:>8.4}  {frames} frames as a film ({alone:.4} each for itself)",
            "flicker"
        );
        say!(
            "{:<10} {sharp:>8.4}  these, of what they have each for itself",
            "sharpness"
        );
    }
}

/// The first frames of a film.
#[cfg(feature = "video")]
fn frames_of(clip: &Path) -> Result<Vec<Frame>> {
    use crate::media::FrameSource;
    use crate::media::decode::Decoder;

    ensure_input_file(clip, "video file")?;
    let mut decoder = Decoder::open(clip, Some(crate::train::SHORT as u32))?;
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    while frames.len() < FRAMES && decoder.read(&mut frame)? {
        frames.push(frame.clone());
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
