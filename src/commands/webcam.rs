//! `repaint webcam`: checks what was asked for, opens camera, engine and window, and runs the live
//! picture.

mod artist;
mod controls;
mod files;
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
    ensure_not_read, ensure_writable, hwaccel, is_same_place, open_backend, open_mask, set_threads,
    strokes,
};
use super::{Interrupted, existing};
use crate::cli::WebcamArgs;
use crate::frame::Frame;
use crate::media::FrameSink;
use crate::media::microphone;
use crate::media::virtual_camera::VirtualCamera;
use crate::media::window::Window;
use crate::output::{Existing, write_whole};
use crate::paint::Painter;
use crate::pipeline::live::{self, Picture};
use crate::pipeline::worker::Worker;
use crate::scale::fitted;

use artist::Artist;
use controls::{Controls, SMALLEST_SIDE};
use files::Files;
use rate::RateControl;
use recorder::Recording;
use show::{Outcome, Settings, Show, lock};
use source::{list, open_source, played, wanted_microphone};
use stats::Stats;
use styles::Styles;

/// Short side of the painting where neither `--size` nor the camera make it smaller. To hold a rate
/// that nobody asked for, at most half of it is given up.
const USUAL_SIDE: u32 = 480;

/// Most frames a second that are held where `--fps` asks for no rate.
const USUAL_RATE: f64 = 30.0;

/// Longest and shortest width of the window when it opens, in pixels.
const WINDOW_WIDTHS: (usize, usize) = (640, 1280);

/// Shows the camera painted, or lists the cameras. Ends with [`Interrupted`] once `stop` is set.
pub fn run(args: &WebcamArgs, stop: &AtomicBool) -> Result<()> {
    if args.list {
        return list();
    }
    let existing = existing(args.paint.overwrite);
    ensure_outputs(args, existing)?;
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
    let mut backend = open_backend(&args.paint)?;
    if let Some(Ok(model)) = styles.model(style) {
        backend.load(model)?;
    }
    // Without a window no key switches styles.
    let spare = window.is_some().then(|| open_backend(&args.paint));
    let spare = spare.transpose()?;
    let mut painter = Painter::new(backend, args.paint.strength, args.paint.keep_colors);
    painter.set_mask(mask);
    let ended = Arc::new(AtomicBool::new(false));
    let reading = window.is_some().then(|| styles.read_all(&ended));
    let reading = reading.transpose()?;

    let (width, height) = source.size();
    let largest = (width.min(height) as u32).max(2);
    let side = args.paint.size.unwrap_or(USUAL_SIDE).min(largest);
    let ceiling = args.paint.size.unwrap_or(largest).min(largest);
    let held_rate = held_rate(args.fps, args.paint.size, source.frame_rate());
    let shared = Arc::new(Mutex::new(Controls {
        style,
        strength: args.paint.strength,
        keep_colors: args.paint.keep_colors,
        mirror: args.mirror,
        steadiness: args.film.steady,
        side,
        automatic: held_rate.is_some(),
        ..Controls::default()
    }));
    let lowest = match args.fps {
        Some(_) => SMALLEST_SIDE,
        None => USUAL_SIDE / 2,
    };
    let rate = held_rate.map(|fps| RateControl::new(fps, side, lowest.min(ceiling)..=ceiling));
    let output_size = fitted((width, height), ceiling as usize);
    let frame_rate = recorded_rate(args.fps, source.frame_rate());
    let format = recorder::Format {
        size: output_size,
        rate: frame_rate,
        hwaccel: hwaccel(&args.film, painter.device()),
        microphone: wanted_microphone(args),
    };
    let begin = |place| Recording::begin(place, existing, &format);
    let recording = args.record.as_deref().map(begin).transpose()?;
    if let (Some(recording), Some(_)) = (&recording, &format.microphone) {
        remark!("recording {}", recording.sound());
    }
    let tape = Arc::new(Mutex::new(recording));
    let device = match &args.virtual_camera {
        Some(path) => Some(feed(VirtualCamera::open(path, output_size, frame_rate)?)?),
        None => None,
    };
    let device = Arc::new(Mutex::new(device));
    let files = files::Settings {
        folder: args.folder.clone().unwrap_or_default(),
        format,
    };
    let settings = Settings {
        frames: args.frames,
        duration: args.duration.map(Duration::from_secs_f64),
        largest,
        engine: painter.backend().to_string(),
    };
    let count = Arc::new(Mutex::new(Stats::new(Instant::now())));
    let mut show = Show::new(
        settings,
        styles.clone(),
        Arc::clone(&shared),
        Arc::clone(&count),
        window,
        Files::new(files, Arc::clone(&tape), Arc::clone(&device))?,
    );
    let mut left = match args.headless {
        true => args.frames, // no more than that is recorded, though the painter may be ahead
        false => None,
    };
    let record = match args.virtual_camera {
        None if args.headless => Recording::wait_and_take,
        _ => Recording::take, // windows and other programs do not wait for the encoder
    };
    let strokes = strokes(&args.paint);
    let mut artist = Artist::new((painter, spare), styles, shared, rate, (strokes, ceiling))?;
    let outcome = live::run(
        source.as_mut(),
        |shot, picture| artist.paint(shot, picture),
        |picture| {
            if left != Some(0) {
                pass_on(picture, &tape, record, &device);
                if args.headless {
                    lock(&count).shown(picture, Instant::now());
                }
            }
            left = left.map(|left| left.saturating_sub(1));
        },
        |live| show.run(live, stop),
    );
    ended.store(true, Ordering::Relaxed);
    let finished = show.finish();
    if let Some(reading) = reading {
        ensure!(reading.join().is_ok(), "the models thread panicked");
    }
    let outcome = outcome?;
    write_figures(args, &outcome)?;
    finished?;
    if outcome.interrupted {
        return Err(Interrupted(summary(args, &outcome)).into());
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
        say!("{}", summary(args, &outcome));
    }
    Ok(())
}

/// Frames a second to hold by choosing the resolution: `fps` where they are asked for, but no more than the camera
/// sends. A resolution that was asked for (`size`) stays instead.
fn held_rate(fps: Option<u32>, size: Option<u32>, (frames, seconds): (i32, i32)) -> Option<f64> {
    let wanted = match (fps, size) {
        (Some(fps), _) => fps.into(),
        (None, Some(_)) => return None,
        (None, None) => USUAL_RATE,
    };
    let known = frames > 0 && seconds > 0;
    let sent = known.then(|| f64::from(frames) / f64::from(seconds));
    Some(sent.map_or(wanted, |sent| wanted.min(sent)))
}

/// The rate of recordings: the camera's, or a higher one that is to be held. `fps` may be held with room
/// to spare, and no painting is to be left out for it.
fn recorded_rate(fps: Option<u32>, (frames, seconds): (i32, i32)) -> (i32, i32) {
    match fps {
        Some(fps) if f64::from(fps) * f64::from(seconds) > f64::from(frames) => (fps as i32, 1),
        _ => (frames, seconds),
    }
}

/// Hands a painting to the recording and the virtual camera, whichever there are.
fn pass_on(
    picture: &Picture,
    tape: &files::Tape,
    record: fn(&mut Recording, &Frame, Instant),
    device: &files::Device,
) {
    if let Some(recording) = lock(tape).as_mut() {
        record(recording, &picture.painting, picture.at);
    }
    if let Some(device) = lock(device).as_ref() {
        let mut frame = device.done().unwrap_or_default();
        frame.shape_like(&picture.painting);
        frame.pixels.copy_from_slice(&picture.painting.pixels);
        device.offer(frame); // a device that is behind gets the next one
    }
}

/// Starts the thread that writes to the virtual camera.
fn feed(mut device: VirtualCamera) -> Result<Worker<Frame>> {
    Worker::start("virtual camera", 1, move |frame: &mut Frame| {
        device.write(frame)
    })
}

/// Fails, before anything is opened, when something cannot be written.
fn ensure_outputs(args: &WebcamArgs, existing: Existing) -> Result<()> {
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
        recorder::ensure_place(place, existing)?;
    }
    if let Some(place) = &args.stats {
        ensure_writable(place, args.paint.overwrite)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_resolution_is_given_up_for_frames_that_no_camera_sends() {
        assert_eq!(held_rate(None, None, (60, 1)), Some(30.0));
        assert_eq!(held_rate(Some(60), None, (60, 1)), Some(60.0));
        assert_eq!(held_rate(Some(60), Some(480), (25, 1)), Some(25.0));
        assert_eq!(held_rate(Some(15), None, (25, 1)), Some(15.0));
        assert_eq!(held_rate(Some(60), None, (0, 1)), Some(60.0));
        assert_eq!(held_rate(None, Some(480), (25, 1)), None);
    }

    #[test]
    fn recordings_have_the_rate_of_a_camera_that_is_faster_than_asked_for() {
        assert_eq!(recorded_rate(None, (30000, 1001)), (30000, 1001));
        assert_eq!(recorded_rate(Some(10), (25, 1)), (25, 1));
        assert_eq!(recorded_rate(Some(60), (25, 1)), (60, 1));
    }
}
