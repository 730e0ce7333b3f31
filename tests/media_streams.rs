//! Made files through decoder and encoder: other streams, tags, broken files, other encoders.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::path::Path;

use anyhow::Result;
use clips::{
    assert_near, convert, frames, has_ffmpeg, make, mean_colour, number, probe, times, write,
};
use repaint::media::decode::{Decoder, Part, VideoInfo};
use repaint::media::encode::{Beside, EncodeSettings, Encoder, Ending};
use repaint::output::Existing;

#[test]
fn sound_that_mp4_cannot_hold_becomes_aac() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (source, output) = (folder.path().join("a.mkv"), folder.path().join("a.mp4"));
    let both = "-f lavfi -i testsrc2=s=64x64:d=3 -f lavfi -i sine=f=440:r=22050:d=3";
    make(
        &format!("{both} -ac 2 -c:v libx264 -c:a pcm_s16le"),
        &source,
    );
    let (_, remarks) = convert(&source, &output, None)?;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    let entries = "stream=codec_name,sample_rate,channels";
    assert_eq!(probe(&output, "a", entries), ["aac,22050,2"]);
    let length = number(&output, "a", "stream=duration").unwrap();
    assert!((length - 3.0).abs() < 0.05, "{length} s");
    let (old, new) = (loudness(&source), loudness(&output));
    assert!((old - new).abs() < 0.5, "{old} dB became {new} dB");
    Ok(())
}

#[test]
fn sound_that_changes_its_format_goes_on() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let part = |channels: u32, rate: u32, begin: u32, name: &str| {
        let inputs = format!(
            "-f lavfi -i testsrc2=s=64x64:d=2 -f lavfi -i sine=f=440:r={rate}:d=2 -ac {channels}"
        );
        let options = format!("-c:v libx264 -c:a mp2 -output_ts_offset {begin}");
        make(&format!("{inputs} {options}"), &path(name));
        std::fs::read(path(name)).unwrap()
    };
    let both = [part(2, 44100, 0, "a.ts"), part(1, 32000, 2, "b.ts")].concat();
    std::fs::write(path("both.ts"), both)?;
    convert(&path("both.ts"), &path("both.webm"), None)?;
    let entries = "stream=codec_name,channels";
    assert_eq!(probe(&path("both.webm"), "a", entries), ["opus,2"]);
    let length = number(&path("both.webm"), "v", "format=duration").unwrap();
    assert!((length - 4.0).abs() < 0.2, "{length} s");
    // Each half sounds as it did.
    make(
        &format!("-ss 2.2 -i {} -vn", path("both.webm").display()),
        &path("second.wav"),
    );
    // A channel alone is as loud in two as in the first half.
    let before = loudness(&path("a.ts"));
    for name in ["both.webm", "second.wav"] {
        let after = loudness(&path(name));
        assert!(
            (before - after).abs() < 1.0,
            "{name}: {before} dB, {after} dB"
        );
    }
    let end = times(&path("both.webm"), "a").pop().unwrap_or(0.0);
    assert!((3.9..4.1).contains(&end), "sound until {end} s");
    Ok(())
}

/// Mean level of the sound in decibels of full scale.
fn loudness(path: &Path) -> f64 {
    let report = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-i"])
        .arg(path)
        .args(["-af", "volumedetect", "-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    let words = String::from_utf8_lossy(&report.stderr).into_owned();
    let level = words.split("mean_volume: ").nth(1);
    let level = level.and_then(|w| w.split(' ').next()?.parse().ok());
    level.unwrap_or_else(|| panic!("no level in {words}"))
}

#[test]
fn streams_tags_and_chapters_are_carried_over() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let subtitles = folder.path().join("a.srt");
    std::fs::write(&subtitles, "1\n00:00:00,200 --> 00:00:01,000\nHello\n")?;
    let tags = folder.path().join("a.txt");
    std::fs::write(
        &tags,
        ";FFMETADATA1\ntitle=My film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n\
         [CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n",
    )?;
    let inputs = format!(
        "-f lavfi -i testsrc2=s=64x64:d=2 -f lavfi -i sine=d=2 -f lavfi -i sine=d=2 -i {} -i {} \
         -map 0 -map 1 -map 2 -map 3 -map_metadata 4 -c:v libx264 -c:a aac \
         -metadata:s:a:0 language=eng -metadata:s:a:1 language=ger \
         -disposition:a:1 hearing_impaired",
        subtitles.display(),
        tags.display()
    );
    let (mkv, mp4) = (folder.path().join("a.mkv"), folder.path().join("a.mp4"));
    make(
        &format!(
            "{inputs} -c:s srt -attach {} -metadata:s:t mimetype=text/plain",
            tags.display()
        ),
        &mkv,
    );
    make(&format!("{inputs} -c:s mov_text"), &mp4);
    for (source, name) in [(&mkv, "out.mkv"), (&mp4, "out.mp4")] {
        let output = folder.path().join(name);
        let (_, remarks) = convert(source, &output, None)?;
        assert_eq!(remarks, [""; 0], "{name}");
        for (select, entries) in [
            ("", "format_tags=title"),
            ("", "chapter=start_time,end_time:chapter_tags=title"),
            (
                "a",
                "stream=codec_name,nb_read_packets:stream_tags=language",
            ),
            ("a", "stream_disposition=hearing_impaired"),
            ("s", "packet=pts_time,duration_time,size"),
            ("t", "stream_tags=filename,mimetype"),
        ] {
            let (old, new) = (
                probe(source, select, entries),
                probe(&output, select, entries),
            );
            assert_eq!(old, new, "{name}: {entries}");
        }
    }
    Ok(())
}

#[test]
fn text_subtitles_are_rewritten_for_containers_that_want_another_form() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let text = folder.path().join("a.srt");
    std::fs::write(
        &text,
        "1\n00:00:00,200 --> 00:00:01,000\n<i>Hello</i>\n\n\
         2\n00:00:01,200 --> 00:00:01,800\nWorld\n",
    )?;
    let inputs = format!(
        "-f lavfi -i testsrc2=s=64x64:d=2 -i {} -c:v libx264",
        text.display()
    );
    let (mkv, mp4) = (folder.path().join("a.mkv"), folder.path().join("a.mp4"));
    make(
        &format!("{inputs} -c:s srt -metadata:s:s:0 language=fre"),
        &mkv,
    );
    make(
        &format!("{inputs} -c:s mov_text -metadata:s:s:0 language=fre"),
        &mp4,
    );
    let back = folder.path().join("back.srt");
    for (source, name, codec) in [
        (&mkv, "out.mp4", "mov_text"),
        (&mkv, "out.webm", "webvtt"),
        (&mp4, "out.mkv", "subrip"),
    ] {
        let output = folder.path().join(name);
        let (_, remarks) = convert(source, &output, None)?;
        assert!(
            remarks[0].contains(&format!("becomes {codec}")),
            "{remarks:?}"
        );
        let entries = "stream=codec_name:stream_tags=language";
        assert_eq!(
            probe(&output, "s", entries),
            [format!("{codec},fre")],
            "{name}"
        );
        make(&format!("-i {}", output.display()), &back);
        let words = std::fs::read_to_string(&back)?;
        for expected in [
            "00:00:00,200 --> 00:00:01,000",
            "Hello",
            "00:00:01,200 -->",
            "World",
        ] {
            assert!(words.contains(expected), "{name}: {words}");
        }
    }
    Ok(())
}

#[test]
fn pixels_that_are_not_square_keep_their_shape() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (source, output) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
    make(
        "-f lavfi -i testsrc2=s=64x64:d=0.2 -vf setsar=4/3 -c:v libx264",
        &source,
    );
    convert(&source, &output, None)?;
    assert_eq!(probe(&output, "v", "stream=sample_aspect_ratio"), ["4:3"]);
    Ok(())
}

#[test]
fn a_cut_off_file_gives_what_it_holds_and_says_so() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("a.mp4");
    make(
        "-f lavfi -i testsrc2=s=320x240:d=4 -c:v libx264 -movflags +faststart",
        &source,
    );
    let bytes = std::fs::read(&source)?;
    let cut = folder.path().join("cut.mp4");
    std::fs::write(&cut, &bytes[..bytes.len() * 6 / 10])?;
    let output = folder.path().join("out.mp4");
    let (report, remarks) = convert(&cut, &output, None)?;
    assert!((20..95).contains(&report.frames), "{report:?}");
    assert!(!remarks.is_empty());
    assert_eq!(frames(&output)?.len() as u64, report.frames);
    std::fs::write(&cut, &bytes[..2000])?;
    assert!(Decoder::open(&cut, None).is_err(), "no frame is left");
    Ok(())
}

#[test]
fn damage_in_the_middle_is_skipped_and_counted() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("a.mp4");
    make(
        "-f lavfi -i testsrc2=s=320x240:d=4 -c:v libx264 -g 10 -movflags +faststart",
        &source,
    );
    let mut bytes = std::fs::read(&source)?;
    let (from, to) = (bytes.len() / 2, bytes.len() / 2 + 3000);
    bytes[from..to].fill(0xff);
    std::fs::write(&source, bytes)?;
    let (report, remarks) = convert(&source, &folder.path().join("out.mp4"), None)?;
    assert!((80..=100).contains(&report.frames), "{report:?}");
    assert!(remarks.iter().any(|r| r.contains("damaged")), "{remarks:?}");
    Ok(())
}

#[test]
fn what_is_no_video_is_refused_in_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("text.mp4");
    std::fs::write(&path, "this is a text, not a film\n".repeat(50))?;
    let error = Decoder::open(&path, None)
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.contains("text.mp4") && error.contains("not a video"),
        "{error}"
    );
    let missing = Decoder::open(&folder.path().join("none.mp4"), None)
        .err()
        .expect("an error");
    assert!(
        format!("{missing:#}").contains("No such file"),
        "{missing:#}"
    );
    if has_ffmpeg() {
        let sound = folder.path().join("a.mp4");
        make("-f lavfi -i sine=d=1 -c:a aac", &sound);
        let error = Decoder::open(&sound, None)
            .err()
            .expect("an error")
            .to_string();
        assert!(error.contains("holds no video"), "{error}");
    }
    Ok(())
}

#[test]
fn wrong_encoders_and_settings_are_refused_in_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let info = VideoInfo::new(64, 64, (25, 1));
    let refuse = |name: &str, codec: Option<&str>, preset: Option<&str>| {
        let settings = EncodeSettings {
            codec: codec.map(String::from),
            preset: preset.map(String::from),
            ..EncodeSettings::default()
        };
        let path = folder.path().join(name);
        let error = Encoder::create(&path, Existing::Keep, &info, &settings, Beside::Nothing);
        format!("{:#}", error.err().expect("an error"))
    };
    for (error, words) in [
        (
            refuse("a.mp4", Some("nonsense"), None),
            "unknown video encoder `nonsense`",
        ),
        (
            refuse("a.mp4", Some("aac"), None),
            "unknown video encoder `aac`",
        ),
        (
            refuse("a.webm", Some("libx264"), None),
            "cannot hold the video of `libx264`",
        ),
        (
            refuse("a.mp4", None, Some("swift")),
            "unknown preset `swift`",
        ),
        (refuse("a.webm", None, Some("fast")), "has no presets"),
        (refuse("a.xyz", None, None), ".mp4, .m4v, .mov, .mkv, .webm"),
    ] {
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn other_encoders_work_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("a.mp4");
    write(&source, (66, 50), (1, 25), &[0, 1, 2, 3], 4, [200, 100, 50])?;
    for (codec, name, tolerance) in [
        ("ffv1", "a.mkv", 6.0),
        ("prores_ks", "a.mov", 6.0),
        ("mpeg4", "b.mp4", 6.0),
        ("mjpeg", "b.mkv", 6.0),
        ("libx264rgb", "c.mkv", 3.0),
    ] {
        let output = folder.path().join(name);
        let mut decoder = Decoder::open(&source, None)?;
        let info = decoder.info().clone();
        let settings = EncodeSettings {
            codec: Some(codec.into()),
            ..EncodeSettings::default()
        };
        let mut encoder = Encoder::create(
            &output,
            Existing::Keep,
            &info,
            &settings,
            Beside::Source(&source, Part::default()),
        )?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        repaint::pipeline::run(
            &mut decoder,
            clips::watch_nothing,
            clips::copy,
            &mut encoder,
            &stop,
            |_, _| {},
        )?;
        encoder.finish(Ending::Whole(decoder.end()))?;
        let found = frames(&output)?;
        assert_eq!(found.len(), 4, "{codec}");
        assert_near(codec, mean_colour(&found[3]), [200, 100, 50], tolerance);
        if codec == "libx264rgb" && has_ffmpeg() {
            assert_eq!(probe(&output, "v", "stream=color_space"), ["gbr"]);
        }
    }
    Ok(())
}
