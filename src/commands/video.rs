//! `repaint video`: checks what was asked for, paints the file, tells how it goes.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

use super::checks::{ensure_not_read, hwaccel, strokes};
use super::{Interrupted, ensure_input_file, existing, open_painter};
use crate::cli::VideoArgs;
use crate::media::Hwaccel;
use crate::media::decode::{Decoder, Part, VideoInfo};
use crate::media::encode::{Beside, Container, EncodeSettings, Encoder, Ending};
use crate::media::picture;
use crate::media::whole::ensure_whole;
use crate::output::ensure_writable;
use crate::pipeline::{self, Report};
use crate::steady::Watcher;

/// Time between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Frames whose sizes tell that of the film: each so many it is looked whether the disk takes it.
const FRAMES_TO_TELL: u64 = 100;

/// Paints a video file. Once `stop` is set it ends early, keeps what was painted and returns
/// [`Interrupted`].
pub fn run(args: &VideoArgs, stop: &AtomicBool) -> Result<()> {
    let (input, place) = (args.input.as_path(), args.output.as_path());
    ensure_input_file(input, "video file")?;
    ensure!(
        !picture::is_still(input),
        "`{}` is a picture: paint it with `repaint image`",
        input.display()
    );
    ensure_not_read(input, &args.paint, place)?;
    let (from, to) = (args.from, args.to);
    ensure!(
        to.is_none_or(|to| to > from),
        "--to is not after --from: the part between them is empty"
    );
    let part = Part { from, to };
    ensure_writable(place, existing(args.paint.overwrite))?;
    Container::of(place)?;
    let mut painter = open_painter(&args.paint)?;
    let hwaccel = hwaccel(&args.film, painter.device());
    let mut decoder = Decoder::open_with(input, args.paint.size, part, hwaccel)?;
    ensure_whole(input)?;
    let settings = EncodeSettings {
        codec: args.codec.clone(),
        hwaccel,
        crf: args.crf,
        preset: args.preset.clone(),
    };
    let (info, source) = (decoder.info().clone(), Beside::Source(input, part));
    let mut encoder = Encoder::create(
        place,
        existing(args.paint.overwrite),
        &info,
        &settings,
        source,
    )?;
    for remark in decoder.losses().iter().chain(encoder.remarks()) {
        remark!("{}: {remark}", input.display());
    }
    if hwaccel == Hwaccel::Cuda {
        let decodes = match decoder.hwaccel() {
            Hwaccel::Cuda => "GPU",
            Hwaccel::None => "CPU",
        };
        remark!("decoding on the {decodes}, encoding by {}", encoder.codec());
    }
    let mut progress = FilmProgress::new(&info);
    let mut watcher = Watcher::default();
    if args.paint.strength > 0.0 {
        watcher.set(args.film.steady);
        watcher.set_strokes(strokes(&args.paint));
    }
    let report = pipeline::run(
        &mut decoder,
        |frame, seen| watcher.look(frame, seen),
        |frame, seen, next, painting| painter.paint_seen(frame, seen, next, painting),
        &mut encoder,
        stop,
        |frames, encoder| progress.show(frames, encoder),
    );
    progress.bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(error) => return Err(encoder.keep(error)),
    };
    let tell = |remarks: Vec<String>| {
        for remark in remarks {
            remark!("{}: {remark}", input.display());
        }
    };
    tell(decoder.remarks());
    if report.frames == 0 {
        return Err(Interrupted("no frame was painted, nothing is kept".into()).into());
    }
    tell(encoder.finish(match report.stopped {
        true => Ending::Cut,
        false => Ending::Whole(decoder.end()),
    })?);
    conclude(&decoder, &report, place)
}

/// Says what the finished file holds.
fn conclude(decoder: &Decoder, report: &Report, place: &Path) -> Result<()> {
    let (name, frames) = (place.display(), report.frames);
    if report.stopped {
        let (num, den) = decoder.info().frame_rate;
        let seconds = frames as f64 * f64::from(den) / f64::from(num);
        let of = decoder
            .info()
            .frames
            .map_or(String::new(), |n| format!(" of {n}"));
        let all = decoder.info().frames.unwrap_or(frames);
        let kept = format!(
            "{frames}{of} {} painted, `{name}` holds {seconds:.1} s",
            noun(all)
        );
        return Err(Interrupted(kept).into());
    }
    say!(
        "{name}: {frames} {} in {:.1} s, {:.1} fps",
        noun(frames),
        report.elapsed.as_secs_f64(),
        report.fps()
    );
    Ok(())
}

/// What so many frames are called.
fn noun(frames: u64) -> &'static str {
    match frames {
        1 => "frame",
        _ => "frames",
    }
}

/// How far a film is, on stderr: a bar on a terminal, a line now and then elsewhere.
struct FilmProgress {
    bar: ProgressBar,
    lines: bool,
    total: Option<u64>,
    start: Instant,
    last_line: Instant,
    is_tight: bool,
}

impl FilmProgress {
    fn new(info: &VideoInfo) -> Self {
        let lines = !std::io::stderr().is_terminal();
        let bar = match info.frames {
            _ if lines => ProgressBar::hidden(),
            Some(frames) => ProgressBar::new(frames),
            None => ProgressBar::no_length(),
        };
        let template = match info.frames {
            Some(_) => "{wide_bar} {pos}/{len} frames, {per_sec}, {eta} left",
            None => "{spinner} {pos} frames, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            let fps = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.1} fps", state.per_sec());
            };
            bar.set_style(style.with_key("per_sec", fps));
        }
        Self {
            bar,
            lines,
            total: info.frames,
            start: Instant::now(),
            last_line: Instant::now(),
            is_tight: false,
        }
    }

    fn show(&mut self, frames: u64, encoder: &Encoder) {
        self.bar.set_position(frames);
        if frames.is_multiple_of(FRAMES_TO_TELL) && !self.is_tight {
            self.foresee_full_disk(encoder);
        }
        if !self.lines || self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        let fps = frames as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        match self.total.filter(|&total| total >= frames) {
            Some(total) => {
                let left = (total - frames) as f64 / fps;
                remark!(
                    "{frames}/{total} {}, {fps:.1} fps, {left:.0} s left",
                    noun(total)
                );
            }
            None => remark!("{frames} {}, {fps:.1} fps", noun(frames)),
        }
    }

    /// Says in time, once, that the disk will not take the whole film.
    fn foresee_full_disk(&mut self, encoder: &Encoder) {
        let (Some(total), Some(room)) = (self.total, encoder.room()) else {
            return;
        };
        let whole = room.written as f64 * total as f64 / encoder.frames_written().max(1) as f64;
        let fits = room.written + room.free;
        self.is_tight = whole > fits as f64;
        if self.is_tight {
            let (whole, fits) = (DecimalBytes(whole as u64), DecimalBytes(fits));
            self.bar.suspend(|| {
                remark!(
                    "the film will take about {whole}, its disk has room for {fits}: make room"
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::media::decode::Decoder;
    use crate::media::{FrameSink, FrameSource};
    use crate::output::Existing;

    #[test]
    fn a_film_that_breaks_off_is_kept_up_to_there() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("a.mp4");
        let (info, settings) = (VideoInfo::new(64, 48, (25, 1)), EncodeSettings::default());
        let mut encoder =
            Encoder::create(&place, Existing::Keep, &info, &settings, Beside::Nothing)?;
        let mut frame = Frame::new(64, 48);
        for i in 0..5 {
            (frame.index, frame.pts) = (i, i as i64);
            encoder.write(&frame)?;
        }
        assert!(!place.exists());
        let error = encoder.keep(anyhow::anyhow!("the card fell out"));
        let words = format!("{error:#}");
        assert!(
            words.ends_with("holds the film up to here: the card fell out"),
            "{words}"
        );
        let (mut decoder, mut count) = (Decoder::open(&place, None)?, 0);
        while decoder.read(&mut frame)? {
            count += 1;
        }
        assert_eq!(count, 5);
        Ok(())
    }
}
