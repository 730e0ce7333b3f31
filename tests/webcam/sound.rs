//! The sound of recordings. FFmpeg's tones stand for microphones.

use std::f64::consts::TAU;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use repaint::frame::Frame;
use repaint::media::decode::VideoInfo;
use repaint::media::encode::{Beside, EncodeSettings, Encoder, Ending};
use repaint::media::{FrameSink, SoundFormat};
use repaint::output::Existing;

use super::headless::{assert_refused, run};
use super::{read_clip, studio, webcam};

const RATE: usize = 48_000;

/// The sound of a file, mono, from when its picture begins.
pub fn sound(path: &Path) -> Vec<f32> {
    let probe = [
        "-select_streams",
        "v",
        "-show_entries",
        "stream=start_time",
        "-of",
        "csv=p=0",
    ];
    let start = said("ffprobe", &probe, path);
    let start: f64 = String::from_utf8_lossy(&start)
        .trim()
        .parse()
        .expect("a time");
    let filter = "-copyts -map 0:a -ac 1 -ar 48000 -af aresample=first_pts=0 -f f32le -";
    let samples = said("ffmpeg", &filter.split(' ').collect::<Vec<_>>(), path);
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let samples = samples.chunks_exact(4).map(number);
    samples
        .skip((start * RATE as f64).round() as usize)
        .collect()
}

/// What one of FFmpeg's programs says of a file.
fn said(program: &str, args: &[&str], path: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(args)
        .output()
        .expect("FFmpeg's programs are installed");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// How much of `samples` is a tone of `frequency`: 1 is all of it.
fn share(samples: &[f32], frequency: f64) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 1e-9);
    for (i, &sample) in samples.iter().enumerate() {
        let (angle, sample) = (TAU * frequency * i as f64 / RATE as f64, f64::from(sample));
        re += sample * angle.cos();
        im += sample * angle.sin();
        all += sample * sample;
    }
    2.0 * (re * re + im * im) / (all * samples.len() as f64)
}

/// Seconds that `samples` last.
pub fn seconds(samples: &[f32]) -> f64 {
    samples.len() as f64 / RATE as f64
}

/// Asserts that sound of `length` ends where the last picture is shown, which was taken at `last`, all in
/// seconds. Containers do not all tell how long it is shown; a busy computer takes three a second.
#[track_caller]
pub fn assert_ends_with(last: f64, length: f64) {
    let shown = last - 0.05..last + 0.45;
    assert!(
        shown.contains(&length),
        "{length} s of sound, the last picture at {last} s"
    );
}

/// Records for two seconds from `microphone` into the file `name`; what the program says meanwhile.
fn record(folder: &Path, name: &str, microphone: &str) -> String {
    let args = "--headless --overwrite --duration 2 --record NAME --microphone";
    let args = args.replace("NAME", name);
    let args: Vec<_> = args.split(' ').chain([microphone]).collect();
    let (output, words) = run(&mut webcam(folder, &args));
    assert!(output.status.success(), "{words}");
    words
}

#[test]
fn recordings_have_the_sound_of_the_microphone_as_long_as_their_picture() {
    let studio = studio();
    let folder = studio.path();
    for name in ["a.mp4", "a.mkv", "a.webm"] {
        let words = record(folder, name, "lavfi:sine=440:r=48000,arealtime");
        assert!(words.contains("with sound of `lavfi:"), "{words}");
        let (times, ..) = read_clip(&folder.join(name));
        let heard = sound(&folder.join(name));
        assert_ends_with(times[times.len() - 1], seconds(&heard));
        let pieces: Vec<f64> = heard[RATE / 5..heard.len() - RATE / 5]
            .chunks_exact(RATE / 50)
            .map(|piece| share(piece, 440.0))
            .collect();
        let worst = pieces.iter().copied().fold(1.0, f64::min);
        assert!(worst > 0.98, "{name}: {worst}");
    }
}

#[test]
fn files_that_are_played_and_recordings_with_none_have_no_sound() {
    let studio = studio();
    let folder = studio.path();
    for args in ["--frames 5 --microphone none", "--frames 5"] {
        let args = format!("--headless --record a.mp4 --overwrite {args}");
        let args: Vec<_> = args.split(' ').collect();
        let (output, words) = run(&mut webcam(folder, &args));
        assert!(output.status.success(), "{words}");
        assert_eq!(words.trim_end().lines().count(), 0, "{words}");
        let probe = ["-show_entries", "stream=codec_type", "-of", "csv=p=0"];
        let listed = said("ffprobe", &probe, &folder.join("a.mp4"));
        assert_eq!(String::from_utf8_lossy(&listed).trim(), "video");
    }
}

#[test]
fn a_microphone_that_is_lost_is_told_and_the_recording_goes_on() {
    let studio = studio();
    let folder = studio.path();
    let words = record(folder, "a.mp4", "lavfi:sine=440:d=0.7,arealtime");
    assert!(words.contains("no sound from here on"), "{words}");
    let (_, _, end) = read_clip(&folder.join("a.mp4"));
    assert!(end > 1.8, "{end}");
    let length = seconds(&sound(&folder.join("a.mp4")));
    assert!((0.4..1.0).contains(&length), "{length}");
}

#[test]
fn microphones_that_are_not_there_are_refused_by_name() {
    let studio = studio();
    let folder = studio.path();
    for (name, said) in [
        ("nosuch", "no microphone `nosuch`"),
        ("lavfi:nosuch", "could not open microphone `lavfi:nosuch`"),
        ("lavfi:testsrc2", "it has no sound"),
    ] {
        let args = ["--headless", "--record", "a.mp4", "--microphone", name];
        assert_refused(&mut webcam(folder, &args), &[said]);
    }
}

/// Adds a short click in the middle of which `at` lies, to `samples` that begin at `start`, all in samples.
fn click(samples: &mut [f32], start: usize, at: usize) {
    for (i, sample) in samples.iter_mut().enumerate() {
        let off = (start + i) as f64 - at as f64;
        *sample += (0.8 * (-(off / 60.0).powi(2)).exp() * (off * 0.3).cos()) as f32;
    }
}

#[test]
fn sound_stays_where_it_was_heard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The microphone begins late, stops for half a second, and its clock is slow by 0.1 %.
    let drift = 1.001;
    let clicks = [RATE, 3 * RATE, 9 * RATE];
    for name in ["a.mp4", "a.mkv", "a.webm", "a.mov"] {
        let path = folder.path().join(name);
        let (info, settings) = (VideoInfo::new(64, 48, (25, 1)), EncodeSettings::default());
        let format = SoundFormat {
            rate: RATE as u32,
            channels: 1,
        };
        let beside = Beside::Sound(format);
        let mut encoder = Encoder::create(&path, Existing::Keep, &info, &settings, beside)?;
        let (mut frame, mut heard) = (Frame::new(64, 48), 0);
        for tick in 0..250 {
            frame.pts = tick;
            encoder.write(&frame)?;
            while (heard as f64 * drift) < (tick + 1) as f64 * RATE as f64 / 25.0 {
                let at = heard as f64 * drift;
                let missing = at < RATE as f64 * 0.5 || (2.0..2.5).contains(&(at / RATE as f64));
                let mut samples = vec![0.0; 480];
                for middle in clicks {
                    click(&mut samples, heard, (middle as f64 / drift) as usize);
                }
                if !missing {
                    encoder.write_sound(&samples, at as i64)?;
                }
                heard += 480;
            }
        }
        encoder.finish(Ending::Whole(250))?;
        let samples = sound(&path);
        let length = seconds(&samples);
        assert!((length - 10.0).abs() < 0.05, "{name}: {length} s");
        for middle in clicks {
            let near = &samples[middle - RATE / 5..middle + RATE / 5];
            let loudest = (0..near.len()).max_by(|&a, &b| near[a].abs().total_cmp(&near[b].abs()));
            let off = (loudest.expect("samples") as f64 - RATE as f64 / 5.0) / RATE as f64;
            // Opus in webm comes 7 ms early, by how FFmpeg writes its lead-in.
            assert!(off.abs() < 0.01, "{name}: {off} s at {middle}");
        }
    }
    Ok(())
}
