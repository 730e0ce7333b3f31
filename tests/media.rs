//! Real clips through decoder, pipeline and encoder: nothing may be lost but the old picture.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clips::{convert, copy, fast, frames, has_ffmpeg, number, probe, watch_nothing};
use common::data;
use repaint::media::decode::{Decoder, Part};
use repaint::media::encode::{Beside, EncodeSettings, Encoder, Ending};
use repaint::output::Existing;
use repaint::pipeline;

const CLIPS: [&str; 13] = [
    "bikes.mp4",
    "bunny_642x642.webm",
    "car-detection.mp4",
    "cockatoo.mp4",
    "fox.mp4",
    "h264_10bits.mp4",
    "help.mkv",
    "no_duration.webm",
    "rotated_90.mov",
    "sintel_mountain_2.mkv",
    "thanks.mkv",
    "transparent.webm",
    "walk.mkv",
];

/// Length of the longest stream in seconds, counted from its packets where the file tells none.
fn seconds(path: &Path) -> f64 {
    number(path, "", "format=duration").unwrap_or_else(|| {
        let ends = probe(path, "v:0", "packet=pts_time,duration_time");
        let end = |line: &String| {
            line.split(',')
                .filter_map(|v| v.parse::<f64>().ok())
                .sum::<f64>()
        };
        ends.iter().map(end).fold(0.0, f64::max)
    })
}

#[test]
fn every_clip_keeps_its_frames_times_length_and_sound() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for clip in CLIPS {
        let Some(input) = data(&format!("clips/{clip}")) else {
            return Ok(());
        };
        let output = folder.path().join(clip).with_extension("mp4");
        let (report, remarks) = convert(&input, &output, None)?;
        let lost = (clip == "transparent.webm").then_some("not in the painting: its transparency");
        assert_eq!(remarks, Vec::from_iter(lost), "{clip}");
        let count = |path| number(path, "v:0", "stream=nb_read_frames");
        assert_eq!(count(&output), count(&input), "{clip}: frames");
        assert_eq!(
            count(&output),
            Some(report.frames as f64),
            "{clip}: frames counted"
        );
        let time = |path: &Path| -> Vec<f64> {
            let times = probe(path, "v:0", "frame=best_effort_timestamp_time");
            times.iter().map(|t| t.parse().unwrap()).collect()
        };
        for (i, (old, new)) in time(&input).iter().zip(time(&output)).enumerate() {
            assert!(
                (old - new).abs() < 0.0005,
                "{clip}: frame {i} moved from {old} to {new}"
            );
        }
        let frame = 1.0 / number_of_rate(&input);
        let video =
            |path: &Path| number(path, "v:0", "stream=duration").unwrap_or_else(|| seconds(path));
        let (old, new) = (video(&input), video(&output));
        assert!(
            (old - new).abs() <= frame * 1.001,
            "{clip}: {old} s became {new} s"
        );
        let (old, new) = (seconds(&input), seconds(&output));
        assert!(
            (old - new).abs() <= frame * 1.001,
            "{clip}: {old} s became {new} s in all"
        );
        let sound = "stream=codec_name,nb_read_packets";
        assert_eq!(
            probe(&output, "a", sound),
            probe(&input, "a", sound),
            "{clip}: sound"
        );
        assert_eq!(
            probe(&output, "v:0", "stream=pix_fmt"),
            ["yuv420p"],
            "{clip}"
        );
        assert_eq!(
            probe(&output, "v:0", "stream=color_range"),
            ["tv"],
            "{clip}"
        );
    }
    Ok(())
}

fn number_of_rate(path: &Path) -> f64 {
    let rate = probe(path, "v:0", "stream=r_frame_rate").remove(0);
    let (num, den) = rate.split_once('/').expect("a fraction");
    num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap()
}

#[test]
fn a_copied_clip_looks_like_its_source() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for clip in [
        "help.mkv",
        "bikes.mp4",
        "rotated_90.mov",
        "transparent.webm",
        "h264_10bits.mp4",
    ] {
        let Some(input) = data(&format!("clips/{clip}")) else {
            return Ok(());
        };
        let output = folder.path().join(clip).with_extension("mp4");
        convert(&input, &output, None)?;
        let (old, new) = (frames(&input)?, frames(&output)?);
        assert_eq!(old.len(), new.len(), "{clip}");
        for (old, new) in old.iter().zip(&new).step_by(7) {
            let pairs = old.pixels.iter().zip(&new.pixels);
            let error: f64 = pairs.map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum();
            let psnr = 10.0 * (255.0f64.powi(2) * old.pixels.len() as f64 / error).log10();
            // Half the chroma of sharp test patterns costs most: the 10-bit clip keeps 28.9 dB where
            // the others keep 38 to 55.
            let least = if clip.contains("10bits") { 28.0 } else { 36.0 };
            assert!(psnr > least, "{clip}: frame {} has {psnr:.1} dB", old.index);
        }
    }
    Ok(())
}

#[test]
fn a_rotated_clip_is_written_upright_without_a_rotation_tag() -> Result<()> {
    let Some(input) = data("clips/rotated_90.mov") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("upright.mp4");
    convert(&input, &output, None)?;
    let decoder = Decoder::open(&output, None)?;
    assert_eq!((decoder.info().width, decoder.info().height), (320, 568));
    if has_ffmpeg() {
        let size = probe(&output, "v:0", "stream=width,height");
        assert_eq!(size, ["320,568"]);
        assert_eq!(probe(&output, "v:0", "stream_side_data=rotation"), [""; 0]);
        // ffmpeg turns the source by itself: both first frames must agree.
        let picture = folder.path().join("expected.png");
        clips::make(&format!("-i {} -frames:v 1", input.display()), &picture);
        let expected = repaint::media::picture::read(&picture)?;
        let found = &frames(&output)?[0];
        let (old, new) = (&expected.pixels, &found.pixels);
        assert_eq!(old.len(), new.len());
        let difference: u64 = old
            .iter()
            .zip(new)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        assert!(
            difference < 4 * old.len() as u64,
            "mean difference above 4 levels"
        );
    }
    Ok(())
}

#[test]
fn a_clip_scaled_by_its_short_side_has_even_sides() -> Result<()> {
    let Some(input) = data("clips/sintel_mountain_2.mkv") else {
        return Ok(());
    };
    let decoder = Decoder::open(&input, Some(121))?;
    assert_eq!((decoder.info().width, decoder.info().height), (284, 122));
    Ok(())
}

#[test]
fn a_webm_gets_opus_and_keeps_every_frame() -> Result<()> {
    let Some(input) = data("clips/car-detection.mp4") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("small.webm");
    let (report, remarks) = convert(&input, &output, Some(64))?;
    assert_eq!(report.frames, 377);
    assert_eq!(remarks.len(), 1);
    assert!(remarks[0].contains("libopus"), "{remarks:?}");
    if has_ffmpeg() {
        assert_eq!(probe(&output, "", "stream=codec_name"), ["vp9", "opus"]);
        let (video, sound) = (
            seconds(&output),
            number(&input, "a", "stream=duration").unwrap(),
        );
        assert!((video - sound).abs() < 0.08, "{video} s, sound {sound} s");
    }
    Ok(())
}

#[test]
fn stopping_in_the_middle_leaves_a_playable_file() -> Result<()> {
    let Some(input) = data("clips/car-detection.mp4") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("part.mp4");
    let mut decoder = Decoder::open(&input, Some(64))?;
    let info = decoder.info().clone();
    let mut encoder = Encoder::create(
        &output,
        Existing::Keep,
        &info,
        &fast(),
        Beside::Source(&input, Part::default()),
    )?;
    let stop = AtomicBool::new(false);
    let report = pipeline::run(
        &mut decoder,
        watch_nothing,
        copy,
        &mut encoder,
        &stop,
        |frames, _| {
            stop.store(frames >= 100, Ordering::Relaxed);
        },
    )?;
    assert!(report.stopped && report.frames < 150, "{report:?}");
    assert!(!output.exists(), "the name appears when the file is whole");
    encoder.finish(Ending::Cut)?;
    assert_eq!(frames(&output)?.len() as u64, report.frames);
    if has_ffmpeg() {
        let video = report.frames as f64 / 12.5;
        for stream in ["v", "a"] {
            let length = number(&output, stream, "stream=duration").unwrap();
            assert!(
                (length - video).abs() < 0.1,
                "{stream}: {length} s of {video} s"
            );
        }
    }
    Ok(())
}

#[test]
fn a_dropped_encoder_leaves_nothing_behind() -> Result<()> {
    let Some(input) = data("clips/rotated_90.mov") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("a.mp4");
    let decoder = Decoder::open(&input, None)?;
    let settings = EncodeSettings::default();
    drop(Encoder::create(
        &output,
        Existing::Keep,
        decoder.info(),
        &settings,
        Beside::Source(&input, Part::default()),
    )?);
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

/// Peak memory of this process in MiB.
#[cfg(target_os = "linux")]
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// Run by the test below in a process of its own, so that other tests do not count.
#[test]
#[cfg(target_os = "linux")]
fn child_that_measures_its_memory() -> Result<()> {
    let Some(input) = std::env::var_os("REPAINT_TEST_MEMORY_OF") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    convert(Path::new(&input), &folder.path().join("a.mp4"), None)?;
    println!("\npeak {} MiB", peak_mib());
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_length_of_the_clip() -> Result<()> {
    let Some(input) = data("clips/car-detection.mp4") else {
        return Ok(());
    };
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let short = folder.path().join("short.mp4");
    clips::make(&format!("-i {} -c copy -t 6", input.display()), &short);
    let peak = |clip: &Path| -> f64 {
        let output = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["child_that_measures_its_memory", "--exact", "--nocapture"])
            .env("REPAINT_TEST_MEMORY_OF", clip)
            .output()
            .expect("the test binary starts");
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = words.lines().find_map(|line| line.strip_prefix("peak "));
        line.and_then(|l| l.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no figure in {words}"))
    };
    let (short, long) = (peak(&short), peak(&input));
    println!("75 frames: {short:.0} MiB, 377 frames: {long:.0} MiB");
    assert!(long < short + 24.0, "{short:.0} MiB grew to {long:.0} MiB");
    assert!(long < 400.0, "{long:.0} MiB");
    Ok(())
}
