//! What lies beside the picture and is easily lost: gaps of sound, covers, languages, tags, side data.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clips::{Files, make, number, probe};

/// Two seconds of a test picture, and of a tone.
const PICTURE: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=2";
const BOTH: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=2 -f lavfi -i sine=r=48000:d=2";

/// How loud each tenth of a second of the sound of a file is, of 1, by its samples one after the other.
fn loudness(path: &Path) -> Result<Vec<f64>> {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a", "-ac", "1", "-ar", "8000", "-f", "s16le", "-"])
        .output()?;
    let (samples, _) = decoded.stdout.as_chunks();
    let samples: Vec<_> = samples.iter().map(|two| i16::from_le_bytes(*two)).collect();
    let most = |samples: &[i16]| samples.iter().map(|s| s.unsigned_abs()).max();
    let tenths = samples.chunks(800).filter_map(most);
    Ok(tenths.map(|most| f64::from(most) / 32768.0).collect())
}

#[test]
fn sound_without_times_keeps_its_gaps_in_mov() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let sound = "-f lavfi -i sine=r=48000:d=4,aformat=channel_layouts=stereo,volume=4,aselect='not(between(t,1,2.5))'";
    let film = format!("-f lavfi -i testsrc2=s=64x64:r=10:d=4 {sound} -c:v libx264");
    for codec in ["pcm_s16le", "pcm_u8", "pcm_mulaw", "pcm_alaw", "pcm_f32le"] {
        let (from, to) = (format!("{codec}.mkv"), format!("{codec}.mov"));
        make(&format!("{film} -c:a {codec}"), &files.path(&from));
        assert_eq!(files.convert(&from, &to)?, "", "{codec}");
        let found = probe(&files.path(&to), "a", "stream=codec_name");
        assert_eq!(found, [codec]);
        let loud = loudness(&files.path(&to))?;
        assert_eq!(loud.len(), 40, "{codec}");
        for (tenth, loud) in loud.into_iter().enumerate() {
            match tenth {
                11..=23 => assert!(loud < 0.01, "{codec}: {loud} at {tenth}"),
                0..=9 | 26.. => assert!(loud > 0.1, "{codec}: {loud} at {tenth}"),
                _ => {}
            }
        }
    }
    Ok(())
}

#[test]
fn broken_times_of_sound_do_not_fill_a_film_with_silence() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = format!(
        "{PICTURE} -f lavfi -i sine=r=8000:d=2,asetpts='if(lt(N,8),PTS,PTS+7200/TB)' -c:v libx264"
    );
    make(&format!("{film} -c:a pcm_s16le"), &files.path("a.mkv"));
    let remarks = files.convert("a.mkv", "a.mov")?;
    assert!(remarks.contains("pauses for 7200 s"), "{remarks}");
    let seconds = number(&files.path("a.mov"), "a", "stream=duration");
    assert!(
        seconds.is_some_and(|seconds| (1.9..2.1).contains(&seconds)),
        "{seconds:?}"
    );
    Ok(())
}

#[test]
fn covers_keep_their_names_and_get_one_each() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for (name, colour) in [("a.png", "red"), ("b.png", "blue")] {
        let picture = format!("-f lavfi -i color={colour}:s=32x32 -frames:v 1");
        make(&picture, &files.path(name));
    }
    let film = format!("{PICTURE} -c:v libx264");
    let attach = |name: &str, number: usize, told: &str| {
        let place = files.path(name);
        format!(
            " -attach {} -metadata:s:t:{number} mimetype=image/png -metadata:s:t:{number} filename={told}",
            place.display()
        )
    };
    let two = [
        attach("a.png", 0, "small_cover.png"),
        attach("b.png", 1, "back.png"),
    ];
    make(&format!("{film} {}", two.concat()), &files.path("a.mkv"));
    files.convert("a.mkv", "b.mkv")?;
    let names = |name| probe(&files.path(name), "", "stream_tags=filename");
    assert_eq!(names("b.mkv"), ["small_cover.png", "back.png"]);
    // In mp4 they have no names.
    files.convert("a.mkv", "c.mp4")?;
    files.convert("c.mp4", "d.mkv")?;
    assert_eq!(names("d.mkv"), ["cover.png", "cover-2.png"]);
    Ok(())
}

#[test]
fn languages_come_through_by_either_of_their_codes() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for (told, in_mov) in [
        ("fre", "fra"),
        ("deu", "ger"),
        ("zho", "chi"),
        ("cze", "ces"),
        ("ita", "ita"),
        ("swe", "sve"),
        ("hrv", "hr "),
    ] {
        let tags = format!(
            "-c:v libx264 -c:a aac -metadata:s:v language={told} -metadata:s:a language={told}"
        );
        make(&format!("{BOTH} {tags}"), &files.path("a.mkv"));
        for (ending, expected) in [("mov", in_mov), ("mp4", told)] {
            let name = format!("{told}.{ending}");
            assert_eq!(files.convert("a.mkv", &name)?, "", "{name}");
            let found = probe(&files.path(&name), "", "stream_tags=language");
            assert_eq!(found, [expected; 2], "{name}");
        }
    }
    let tags = "-c:v libx264 -c:a aac -metadata:s:v language=und -metadata:s:a language=zul";
    make(&format!("{BOTH} {tags}"), &files.path("a.mkv"));
    let remarks = files.convert("a.mkv", "zul.mov")?;
    assert!(
        remarks.starts_with("languages left out: zul: mov"),
        "{remarks}"
    );
    assert_eq!(files.convert("a.mkv", "zul.mp4")?, "");
    Ok(())
}

#[test]
fn tags_that_a_container_cannot_hold_are_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let tags = "-metadata title=Film -metadata DIRECTOR=Me -metadata URL=http://x -metadata ENCODER_SETTINGS=x \
                -metadata composer=You -metadata creation_time=2020-01-01T00:00:00Z";
    make(
        &format!("{PICTURE} -c:v libx264 {tags}"),
        &files.path("a.mkv"),
    );
    let (mp4, mov) = (
        files.convert("a.mkv", "b.mp4")?,
        files.convert("a.mkv", "b.mov")?,
    );
    assert_eq!(
        mp4,
        "tags left out: DIRECTOR, URL: mp4 cannot hold them (mkv can)"
    );
    assert!(
        mov.starts_with("tags left out: ") && mov.to_lowercase().contains("composer"),
        "{mov}"
    );
    assert_eq!(files.convert("a.mkv", "c.mkv")?, "");
    // What is not told of is there.
    let found = probe(&files.path("b.mp4"), "", "format_tags=title,composer");
    assert_eq!(found, ["Film,You"]);
    assert_eq!(files.convert("b.mp4", "d.mp4")?, "");
    Ok(())
}

#[test]
fn counts_of_whole_streams_are_left_out_of_parts() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let tags = "-metadata:s:a BPS-eng=64000 -metadata:s:a NUMBER_OF_FRAMES-eng=95 -metadata:s:a title=Tone";
    make(
        &format!("{BOTH} -c:v libx264 -c:a aac {tags}"),
        &files.path("a.mkv"),
    );
    let told = |name| {
        let tags = "stream_tags=BPS-eng,NUMBER_OF_FRAMES-eng,title";
        probe(&files.path(name), "a", tags)
            .concat()
            .split(',')
            .count()
    };
    for (args, count) in [("a.mkv whole.mkv", 3), ("a.mkv part.mkv --to 1", 1)] {
        let (done, words) = files.video(args);
        assert!(done, "{words}");
        assert_eq!(
            told(args.split(' ').nth(1).unwrap_or_default()),
            count,
            "{args}"
        );
    }
    Ok(())
}

#[test]
fn a_second_picture_stays_turned() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let two = "-f lavfi -i testsrc=s=64x48:r=10:d=2 -map 0 -map 1 -c:v libx264";
    make(&format!("{PICTURE} {two}"), &files.path("a.mp4"));
    let turn = format!(
        "-i {} -map 0 -c copy -metadata:s:v:1 rotate=90",
        files.path("a.mp4").display()
    );
    make(&turn, &files.path("b.mp4"));
    let rotation = |name| number(&files.path(name), "v:1", "stream_side_data=rotation");
    let turned = rotation("b.mp4");
    assert!(
        turned.is_some_and(|angle| angle.abs() == 90.0),
        "{turned:?}"
    );
    for name in ["c.mp4", "c.mov"] {
        files.convert("b.mp4", name)?;
        assert_eq!(rotation(name), turned, "{name}");
    }
    Ok(())
}

#[test]
fn time_codes_are_kept_without_a_word() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(
        &format!("{PICTURE} -c:v libx264 -timecode 10:00:00:00"),
        &files.path("a.mov"),
    );
    for name in ["b.mkv", "b.webm", "b.mp4"] {
        assert_eq!(files.convert("a.mov", name)?, "", "{name}");
        let found = probe(&files.path(name), "v", "stream_tags=timecode");
        assert_eq!(found, ["10:00:00:0"], "{name}"); // at ten frames a second
    }
    Ok(())
}

#[test]
fn broadcast_sound_that_changes_is_told_whatever_its_codec() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for codec in ["mp2", "ac3"] {
        let part = |channels, begin| -> Result<Vec<u8>> {
            let options =
                format!("-c:v libx264 -c:a {codec} -ac {channels} -output_ts_offset {begin}");
            make(&format!("{BOTH} {options}"), &files.path("part.ts"));
            Ok(std::fs::read(files.path("part.ts"))?)
        };
        let (first, other, same) = (part(2, 0)?, part(1, 2)?, part(2, 2)?);
        for (second, changes) in [(other, true), (same, false)] {
            std::fs::write(files.path("both.ts"), [&first[..], &second].concat())?;
            let remarks = files.convert("both.ts", &format!("{codec}{changes}.mkv"))?;
            let told = remarks.contains("changes its rate or channels");
            assert_eq!(told, changes, "{codec}: {remarks}");
        }
    }
    Ok(())
}

/// A DVD's stream of subtitles that are shown from these seconds on, each for half a second.
fn dvd_subtitles(times: &[f64]) -> Vec<u8> {
    // A row of two pixels; commands to show it, and, 44 ticks of 1/87.9 s later, to stop.
    let first = [
        &[0, 0, 0, 30][..],
        &[
            1, 3, 0, 0, 4, 0xff, 0xff, 5, 0, 0, 1, 0, 0, 1, 6, 0, 4, 0, 5, 0xff,
        ],
    ];
    let packet = [
        &[0, 36, 0, 6, 0x40, 0x40][..],
        &first.concat(),
        &[0, 44, 0, 30, 2, 0xff],
    ]
    .concat();
    let mut stream = Vec::new();
    for time in times {
        let pts = (time * 90_000.0) as u64;
        let pts = [
            0x21 | (pts >> 29 & 0xe) as u8,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ];
        stream.extend([0, 0, 1, 0xba, 0x44, 0, 4, 0, 4, 1, 0, 0, 3, 0xf8]);
        stream.extend([0, 0, 1, 0xbd, 0, 9 + packet.len() as u8, 0x81, 0x80, 5]);
        stream.extend(pts.into_iter().chain([0x20]).chain(packet.iter().copied()));
    }
    stream.extend([0, 0, 1, 0xb9]);
    stream
}

#[test]
fn the_last_picture_of_dvd_subtitles_is_shown_in_mp4() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    std::fs::write(files.path("a.vob"), dvd_subtitles(&[0.2, 1.2]))?;
    let lines = format!(
        "-f mpeg -i {} -map 0 -map 1 -c:s copy",
        files.path("a.vob").display()
    );
    make(
        &format!("{PICTURE} {lines} -c:v libx264"),
        &files.path("a.mkv"),
    );
    files.convert("a.mkv", "b.mp4")?;
    let found = probe(&files.path("b.mp4"), "s", "packet=duration_time");
    let last = found.last().and_then(|seconds| seconds.parse::<f64>().ok());
    assert!(
        last.is_some_and(|seconds| (seconds - 0.5).abs() < 0.01),
        "{found:?}"
    );
    Ok(())
}
