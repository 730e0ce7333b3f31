//! Video clips for tests: made, converted with a cheap mock painter, and looked into.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use repaint::frame::Frame;
use repaint::media::decode::{Decoder, Part, VideoInfo};
use repaint::media::encode::{Beside, EncodeSettings, Encoder, Ending};
use repaint::media::{FrameSink, FrameSource};
use repaint::output::Existing;
use repaint::pipeline::{self, Report};

/// Encoder settings that cost little time.
pub fn fast() -> EncodeSettings {
    EncodeSettings {
        preset: Some("ultrafast".into()),
        ..EncodeSettings::default()
    }
}

/// Finds out nothing about a frame.
pub fn watch_nothing(_frame: &Frame, _seen: &mut ()) -> Result<()> {
    Ok(())
}

/// A painter that leaves frames as they are.
pub fn copy(input: &Frame, _seen: &(), _next: Option<&()>, output: &mut Frame) -> Result<()> {
    output.shape_like(input);
    output.pixels.copy_from_slice(&input.pixels);
    Ok(())
}

/// Converts a file as `repaint video` does, with the painter [`copy`]. Returns the report and the
/// remarks of decoder and encoder.
pub fn convert(input: &Path, output: &Path, size: Option<u32>) -> Result<(Report, Vec<String>)> {
    let settings = settings(output);
    let mut decoder = Decoder::open(input, size)?;
    let info = decoder.info().clone();
    let mut encoder = Encoder::create(
        output,
        Existing::Keep,
        &info,
        &settings,
        Beside::Source(input, Part::default()),
    )?;
    let stop = AtomicBool::new(false);
    let report = pipeline::run(
        &mut decoder,
        watch_nothing,
        copy,
        &mut encoder,
        &stop,
        |_, _| {},
    )?;
    let mut remarks = encoder.remarks().to_vec();
    remarks.extend(decoder.remarks());
    remarks.extend(decoder.losses());
    remarks.extend(encoder.finish(Ending::Whole(decoder.end()))?);
    Ok((report, remarks))
}

/// A folder for files, and their paths.
pub struct Files(tempfile::TempDir);

impl Files {
    /// `None`, with words, where there is no ffmpeg program.
    pub fn new() -> Result<Option<Self>> {
        match has_ffmpeg() {
            true => Ok(Some(Self(tempfile::tempdir()?))),
            false => Ok(None),
        }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Converts `from` to `to`; the remarks, joined.
    pub fn convert(&self, from: &str, to: &str) -> Result<String> {
        let (_, remarks) = convert(&self.path(from), &self.path(to), None)?;
        Ok(remarks.join("\n"))
    }

    /// Runs `repaint video` at strength 0 in the folder; whether it succeeded, and what it said.
    pub fn video(&self, args: &str) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .arg("video")
            .args(args.split(' '))
            .args(["--strength", "0", "--device", "cpu"])
            .current_dir(self.path(""))
            .output()
            .expect("the program starts");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), words)
    }
}

/// Every frame of a file.
pub fn frames(path: &Path) -> Result<Vec<Frame>> {
    let mut decoder = Decoder::open(path, None)?;
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    while decoder.read(&mut frame)? {
        frames.push(frame.clone());
    }
    Ok(frames)
}

/// Whether the ffmpeg and ffprobe programs are there; says that the test skips when not, and
/// fails when `CI` is set.
pub fn has_ffmpeg() -> bool {
    let there = Command::new("ffprobe").arg("-version").output().is_ok()
        && Command::new("ffmpeg").arg("-version").output().is_ok();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "ffmpeg is missing and CI is set"
    );
    if !there {
        println!("skipped: the ffmpeg program is missing");
    }
    there
}

/// Makes the file `output` with the ffmpeg program; `arguments` are parted by spaces.
pub fn make(arguments: &str, output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(output)
        .status()
        .expect("ffmpeg starts");
    assert!(status.success(), "ffmpeg {arguments}");
}

/// What ffprobe says: the values of `entries` (such as `stream=codec_name`) of the streams that
/// `select` picks (such as `v:0`; all when empty), one line each.
pub fn probe(path: &Path, select: &str, entries: &str) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_packets", "-count_frames"]);
    if !select.is_empty() {
        command.args(["-select_streams", select]);
    }
    let output = command
        .args(["-show_entries", entries, "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe starts");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_end_matches(',').to_string())
        .filter(|line| !line.is_empty())
        .collect()
}

/// Presentation times of the packets of the streams that `select` picks, in seconds, in order.
pub fn times(path: &Path, select: &str) -> Vec<f64> {
    let times = probe(path, select, "packet=pts_time");
    let mut times: Vec<f64> = times.iter().filter_map(|time| time.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The first value that [`probe`] finds, as a number.
pub fn number(path: &Path, select: &str, entries: &str) -> Option<f64> {
    probe(path, select, entries).first()?.parse().ok()
}

/// Mean of each channel over the inner half of a frame.
pub fn mean_colour(frame: &Frame) -> [f64; 3] {
    let (mut sums, mut count) = ([0.0; 3], 0.0);
    for y in frame.height / 4..frame.height * 3 / 4 {
        for x in frame.width / 4..frame.width * 3 / 4 {
            let at = (y * frame.width + x) * 3;
            for (sum, &value) in sums.iter_mut().zip(&frame.pixels[at..at + 3]) {
                *sum += f64::from(value);
            }
            count += 1.0;
        }
    }
    sums.map(|sum| sum / count)
}

/// Writes frames of one colour, times in ticks of `base`, the last one lasting until `end`.
pub fn write(
    path: &Path,
    size: (usize, usize),
    base: (i32, i32),
    times: &[i64],
    end: i64,
    colour: [u8; 3],
) -> Result<()> {
    let mut info = VideoInfo::new(size.0, size.1, (25, 1));
    info.time_base = base;
    let mut encoder = Encoder::create(
        path,
        Existing::Keep,
        &info,
        &settings(path),
        Beside::Nothing,
    )?;
    let mut frame = Frame::new(size.0, size.1);
    for pixel in frame.pixels.chunks_exact_mut(3) {
        pixel.copy_from_slice(&colour);
    }
    for (index, &pts) in times.iter().enumerate() {
        (frame.index, frame.pts) = (index as u64, pts);
        encoder.write(&frame)?;
    }
    encoder.finish(Ending::Whole(end)).map(drop)
}

/// Settings that fit the container of `path` and cost little time.
pub fn settings(path: &Path) -> EncodeSettings {
    match path.extension().and_then(|e| e.to_str()) {
        Some("webm") => EncodeSettings::default(),
        _ => fast(),
    }
}

/// Fails unless each channel is within `tolerance` levels of `expected`.
pub fn assert_near(what: &str, found: [f64; 3], expected: [u8; 3], tolerance: f64) {
    let near = |(f, e): (f64, u8)| (f - f64::from(e)).abs() <= tolerance;
    let all = found.into_iter().zip(expected).all(near);
    assert!(all, "{what}: {found:.1?} instead of {expected:?}");
}
