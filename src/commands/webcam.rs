//! `repaint webcam`: checks what was asked for, opens camera, engine and window, and runs the live
//! picture.

mod artist;
mod controls;
mod files;
mod measures;
mod outputs;
mod rate;
mod recorder;
mod show;
mod sound;
mod source;
mod stats;
mod styles;
mod view;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::checks::{
    ensure_not_read, hwaccel, is_same_place, open_backend, open_mask, set_threads, strokes,
};
use super::{Interrupted, existing};
use crate::cli::WebcamArgs;
use crate::media::microphone;
use crate::media::window::Window;
use crate::output::{ensure_writable, write_whole};
use crate::paint::Painter;
use crate::pipeline::live;

use artist::Artist;
use controls::Controls;
use measures::Measures;
use outputs::Outputs;
use show::{Outcome, Settings, Show, lock};
use source::{list, open_source, played, wanted_microphone};
use stats::Stats;
use styles::Styles;

/// Short side of the painting where neither `--size` nor the camera make it smaller.
const USUAL_SIDE: u32 = 480;

/// Longest and shortest width of the window when it opens, in pixels.
const WINDOW_WIDTHS: (usize, usize) = (640, 1280);

/// Shows the camera painted, or lists the cameras. Ends with [`Interrupted`] once `stop` is set.
pub fn run(args: &WebcamArgs, stop: &AtomicBool) -> Result<()> {
    if args.list {
        return list();
    }
    ensure_outputs(args)?;
    set_threads(args.paint.threads)?;
    let mask = open_mask(&args.paint)?;
    if let (Some(_), Some(named)) = (&args.microphone, wanted_microphone(args)) {
        microphone::find(&named)?.listen()?; // who names one is not to find out later that it is mute
    }
    let mut source = open_source(args)?;
    let window = match args.headless {
        true => None,
        false => Some(open_window(source.size())?),
    };
    let (styles, style) = Styles::gather(&args.paint.model)?;
    let mut painter = open_painter(args, &styles)?;
    painter.set_mask(mask);
    // Without a window no key switches styles.
    let spare = window.is_some().then(|| open_backend(&args.paint));
    let spare = spare.transpose()?;
    let ended = Arc::new(AtomicBool::new(false));
    let reading = window.is_some().then(|| styles.read_all(&ended));
    let reading = reading.transpose()?;

    let measures = Measures::choose(args, source.as_ref());
    let format = recorder::Format {
        size: measures.recorded_size,
        rate: measures.recorded_rate,
        hwaccel: hwaccel(&args.film, painter.device()),
        microphone: wanted_microphone(args),
    };
    let mut outputs = Outputs::open(args, &format)?;
    let files = outputs.files(args.folder.clone().unwrap_or_default(), format)?;
    let shared = Arc::new(Mutex::new(controls(args, style, &measures)));
    let count = Arc::new(Mutex::new(Stats::new(Instant::now())));
    let mut show = Show::new(
        Settings {
            frames: args.frames,
            duration: args.duration.map(Duration::from_secs_f64),
            largest: measures.largest,
            engine: painter.backend().to_string(),
        },
        styles.clone(),
        Arc::clone(&shared),
        Arc::clone(&count),
        window,
        files,
    );
    let mut artist = Artist::new(
        (painter, spare),
        styles,
        shared,
        measures.rate_control(),
        (strokes(&args.paint), measures.ceiling),
    )?;
    let outcome = live::run(
        source.as_mut(),
        |shot, picture| artist.paint(shot, picture),
        |picture| {
            if outputs.take(picture) && args.headless {
                lock(&count).shown(picture, Instant::now());
            }
        },
        |live| show.run(live, stop),
    );
    ended.store(true, Ordering::Relaxed);
    let finished = show.finish();
    if let Some(reading) = reading {
        ensure!(reading.join().is_ok(), "the models thread panicked");
    }
    conclude(args, &outcome?, finished)
}

/// A painter with the style that is painted of `styles`.
fn open_painter(args: &WebcamArgs, styles: &Styles) -> Result<Painter> {
    let mut backend = open_backend(&args.paint)?;
    if let Some(Ok(model)) = styles.model(styles.painted()) {
        backend.load(model)?;
    }
    let (strength, keep_colors) = (args.paint.strength, args.paint.keep_colors);
    Ok(Painter::new(backend, strength, keep_colors))
}

/// The controls to begin with.
fn controls(args: &WebcamArgs, style: usize, measures: &Measures) -> Controls {
    Controls {
        style,
        strength: args.paint.strength,
        keep_colors: args.paint.keep_colors,
        mirror: args.mirror,
        steadiness: args.film.steady,
        side: measures.side,
        automatic: measures.held_rate.is_some(),
        ..Controls::default()
    }
}

/// Fails, before anything is opened, when something cannot be written.
fn ensure_outputs(args: &WebcamArgs) -> Result<()> {
    ensure!(
        !args.headless
            || args.record.is_some()
            || args.virtual_camera.is_some()
            || args.stats.is_some(),
        "--headless shows nothing: add --record FILE or --virtual-camera DEVICE"
    );
    if let Some(folder) = &args.folder {
        ensure!(
            folder.is_dir(),
            "no folder `{}` for snapshots and recordings: make it first",
            folder.display()
        );
    }
    if let Some(place) = &args.record {
        recorder::ensure_place(place, existing(args.paint.overwrite))?;
    }
    if let Some(place) = &args.stats {
        ensure_writable(place, existing(args.paint.overwrite))?;
        let record = args.record.as_deref();
        ensure!(
            !record.is_some_and(|record| is_same_place(record, place)),
            "`{}` cannot be both recording and figures: name two files",
            place.display()
        );
    }
    for output in [&args.record, &args.stats].into_iter().flatten() {
        ensure_not_read(played(args).unwrap_or(Path::new("")), &args.paint, output)?;
    }
    Ok(())
}

fn open_window(camera: (usize, usize)) -> Result<Window> {
    let width = camera.0.clamp(WINDOW_WIDTHS.0, WINDOW_WIDTHS.1);
    let height = (camera.1 * width / camera.0.max(1)).clamp(64, WINDOW_WIDTHS.1);
    Window::open("repaint", width, height)
}

/// Writes the figures of a run, whose files were `finished`, and says how it went.
fn conclude(args: &WebcamArgs, outcome: &Outcome, finished: Result<()>) -> Result<()> {
    write_figures(args, outcome)?;
    finished?;
    if outcome.interrupted {
        return Err(Interrupted(summary(args, outcome)).into());
    }
    ensure!(
        !outcome.silent,
        "no picture came from {} in {:.1} s: choose another camera, or a longer --duration",
        match &args.camera {
            Some(camera) => format!("`{camera}`"),
            None => "the camera".to_string(),
        },
        args.duration.unwrap_or_default()
    );
    if args.headless {
        say!("{}", summary(args, outcome));
    }
    Ok(())
}

/// Writes `--stats`.
fn write_figures(args: &WebcamArgs, outcome: &Outcome) -> Result<()> {
    if let Some(place) = &args.stats {
        let mut text = serde_json::to_string_pretty(&outcome.figures)
            .context("could not write the figures")?;
        text.push('\n');
        write_whole(place, text.as_bytes())?;
    }
    Ok(())
}

/// Where the recording is, and how the run went.
fn summary(args: &WebcamArgs, outcome: &Outcome) -> String {
    let figures = &outcome.figures;
    let place = args.record.as_ref();
    let place = place.map_or(String::new(), |place| format!("{}: ", place.display()));
    let unrecorded = match figures.unrecorded {
        0 => String::new(),
        missed => format!(", {missed} not recorded"),
    };
    format!(
        "{place}{} pictures in {:.1} s, {:.1} fps, {} dropped{unrecorded}",
        figures.shown, figures.seconds, figures.shown_fps, figures.dropped
    )
}
