//! What broadcasts, cut films and unusual codecs hold comes through a conversion.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::process::Command;

use anyhow::Result;
use clips::{Files, assert_near, frames, make, mean_colour, number, probe, times};
use repaint::media::picture;

/// Two seconds of a test picture, and of a tone.
const PICTURE: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=2";
const BOTH: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=2 -f lavfi -i sine=d=2";

#[test]
fn a_damaged_packet_of_sound_ends_no_film() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(
        &format!("{BOTH} -c:v libx264 -c:a aac"),
        &files.path("a.ts"),
    );
    let whole = std::fs::read(files.path("a.ts"))?;
    // Packets have 188 bytes; those of the sound are of program 0x101, a packet of AAC takes some two.
    let of_sound = |packet: &[u8]| packet[1] & 0x1f == 1 && packet[2] == 1;
    let sound: Vec<usize> = (0..whole.len() / 188)
        .filter(|i| of_sound(&whole[188 * i..]))
        .collect();
    let mut told = 0;
    for (i, ending) in ["mp4", "mkv", "mov", "m4v", "webm"].into_iter().enumerate() {
        let lost = sound[sound.len() / 3 + i];
        let rest = [&whole[..188 * lost], &whole[188 * (lost + 1)..]].concat();
        let (from, to) = (format!("{i}.ts"), format!("{i}.{ending}"));
        std::fs::write(files.path(&from), rest)?;
        let remarks = files.convert(&from, &to)?;
        let is_told = remarks.contains("damaged packets left out");
        assert!(is_told || ending != "webm", "{remarks}");
        told += usize::from(is_told);
        assert_eq!(times(&files.path(&to), "v").len(), 20, "{remarks}");
        let sound = times(&files.path(&to), "a");
        assert!(
            sound.len() > 80,
            "{} packets of sound: {remarks}",
            sound.len()
        );
    }
    assert!(told > 0, "no packet was damaged");
    Ok(())
}

#[test]
fn sound_that_changes_and_is_copied_is_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let mut both = Vec::new();
    for (channels, begin) in [(2, 0), (6, 2)] {
        let options = format!("-c:v libx264 -c:a aac -ac {channels} -output_ts_offset {begin}");
        make(&format!("{BOTH} {options}"), &files.path("part.ts"));
        both.extend(std::fs::read(files.path("part.ts"))?);
    }
    std::fs::write(files.path("both.ts"), both)?;
    let remarks = files.convert("both.ts", "a.mp4")?;
    assert!(
        remarks.contains("changes its rate or channels"),
        "{remarks}"
    );
    assert_eq!(files.convert("part.ts", "b.mp4")?, "");
    Ok(())
}

#[test]
fn a_film_whose_clock_is_below_zero_begins_at_zero() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // The clock of transport streams has 33 bits and begins anew after 95443.7 seconds.
    let late = "-mpegts_copyts 1 -output_ts_offset 95442.7";
    make(
        &format!("{BOTH} -c:v libx264 -c:a aac {late}"),
        &files.path("a.ts"),
    );
    let start = number(&files.path("a.ts"), "v", "stream=start_time");
    assert!(start < Some(0.0), "{start:?}");
    for name in ["a.mp4", "a.mov", "a.mkv"] {
        files.convert("a.ts", name)?;
        let place = files.path(name);
        assert_eq!(frames(&place)?.len(), 20, "{name}");
        for kind in ["v", "a"] {
            let times = times(&place, kind);
            let [first, last] = [times[0], times[times.len() - 1]];
            assert!((-0.03..0.1).contains(&first), "{name}: {kind} from {first}");
            assert!((1.8..2.1).contains(&last), "{name}: {kind} until {last}");
        }
    }
    Ok(())
}

#[test]
fn chapters_that_begin_before_the_film_begin_with_it() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let chapter = |start, end| format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\n");
    let chapters = [chapter(0, 200), chapter(200, 1500), chapter(1500, 2500)].concat();
    std::fs::write(files.path("c.txt"), format!(";FFMETADATA1\n{chapters}"))?;
    let tags = files.path("c.txt");
    let film = format!("{PICTURE} -i {} -map 0 -map_chapters 1", tags.display());
    make(
        &format!("{film} -c:v libx264 -output_ts_offset 0.5"),
        &files.path("a.mkv"),
    );
    for name in ["b.mkv", "b.mp4"] {
        files.convert("a.mkv", name)?;
        let found = probe(&files.path(name), "", "chapter=start_time,end_time");
        assert_eq!(found, ["0.000000,1.000000", "1.000000,2.000000"], "{name}");
    }
    Ok(())
}

#[test]
fn a_trimmed_film_begins_at_once_in_every_container() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=4 -f lavfi -i testsrc=s=64x64:r=10:d=4 -f lavfi \
                -i sine=d=4 -map 0 -map 1 -map 2 -c:v libx264 -g 20 -c:a aac";
    make(film, &files.path("a.mp4"));
    let cut = format!(
        "-ss 1.3 -i {} -map 0 -c copy",
        files.path("a.mp4").display()
    );
    make(&cut, &files.path("cut.mp4"));
    for name in ["b.mkv", "b.mp4"] {
        files.convert("cut.mp4", name)?;
        let place = files.path(name);
        assert_eq!(frames(&place)?.len(), 27, "{name}");
        let begin = number(&place, "v:0", "stream=start_time").unwrap();
        assert!((0.0..0.06).contains(&begin), "{name} begins at {begin} s");
        let sound = times(&place, "a");
        let gap = sound.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = gap.fold(0.0, f64::max);
        assert!(longest < 0.05, "{name}: a gap of {longest} s");
        // What is copied begins with a key frame, and can be decoded from there.
        let decoded = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&place)
            .args(["-map", "0:v:1", "-f", "null", "-"])
            .output()?;
        assert_eq!(String::from_utf8_lossy(&decoded.stderr), "", "{name}");
    }
    Ok(())
}

#[test]
fn what_matroska_and_mov_only_seem_to_hold_is_encoded_anew_or_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for (codec, name) in [
        ("adpcm_ima_qt", "a.mov"),
        ("s302m", "b.ts"),
        ("pcm_f64be", "c.mov"),
    ] {
        let sound = format!("-c:v libx264 -c:a {codec} -ar 48000 -ac 2 -strict -2");
        make(&format!("{BOTH} {sound}"), &files.path(name));
        let output = format!("{name}.mkv");
        let remarks = files.convert(name, &output)?;
        assert!(
            remarks.contains("becomes aac: mkv cannot hold it"),
            "{remarks}"
        );
        assert_eq!(
            probe(&files.path(&output), "a", "stream=codec_name"),
            ["aac"]
        );
    }
    // By numbers that AVI has for it.
    make(
        &format!("{BOTH} -c:v libx264 -c:a wmav2"),
        &files.path("d.mkv"),
    );
    assert_eq!(files.convert("d.mkv", "e.mkv")?, "");
    let two = "-f lavfi -i testsrc=s=64x64:r=10:d=1 -map 0 -map 1 -c:v:0 libx264 -c:v:1 libvpx-vp9";
    make(&format!("{PICTURE} {two}"), &files.path("f.mkv"));
    let remarks = files.convert("f.mkv", "g.mov")?;
    assert!(
        remarks.contains("(vp9) is left out: mov cannot hold it"),
        "{remarks}"
    );
    Ok(())
}

#[test]
fn sound_that_begins_late_comes_along_and_streams_without_a_size_are_left_out() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // FFmpeg looks for streams in the first 5 MB, the sound begins behind some 8 MB.
    let noise = "-f lavfi -i testsrc2=s=320x240:r=10:d=4,noise=alls=60:allf=t -itsoffset 3 -f lavfi -i sine=d=1";
    let codecs =
        "-map 0 -map 1 -c:v mpeg2video -q:v 1 -b:v 30M -minrate 30M -maxrate 30M -bufsize 4M";
    make(&format!("{noise} {codecs} -c:a ac3"), &files.path("a.ts"));
    let size = std::fs::metadata(files.path("a.ts"))?.len();
    assert!(size > 8_000_000, "{size} bytes");
    assert_eq!(files.convert("a.ts", "a.mkv")?, "");
    let sound = times(&files.path("a.mkv"), "a");
    let (first, count) = (sound.first().copied().unwrap_or(0.0), sound.len());
    assert!(
        count > 25 && (2.9..3.1).contains(&first),
        "{count} packets from {first} s"
    );

    make(
        &format!("{BOTH} -f lavfi -i testsrc=s=64x64:r=10:d=2 -map 0 -map 1 -map 2 -c:v libx264"),
        &files.path("b.ts"),
    );
    // Packets of the second picture, which are of program 0x102, disappear; what announces them stays.
    let mut bytes = std::fs::read(files.path("b.ts"))?;
    for packet in bytes.chunks_exact_mut(188) {
        if packet[1] & 0x1f == 1 && packet[2] == 2 {
            (packet[1], packet[2]) = (0x1f, 0xff); // a packet of nothing
        }
    }
    std::fs::write(files.path("c.ts"), bytes)?;
    let remarks = files.convert("c.ts", "c.mkv")?;
    assert!(remarks.contains("it holds no picture"), "{remarks}");
    assert_eq!(frames(&files.path("c.mkv"))?.len(), 20);
    Ok(())
}

#[test]
fn lines_that_overlap_keep_their_times_in_mp4() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let line = |number, times| format!("{number}\n00:00:0{times}\nLine {number}\n\n");
    let lines = [
        line(1, "0,200 --> 00:00:01,900"),
        line(2, "0,600 --> 00:00:01,000"),
        line(3, "1,200 --> 00:00:01,500"),
    ];
    std::fs::write(files.path("a.srt"), lines.concat())?;
    let subtitles = files.path("a.srt");
    make(
        &format!(
            "{BOTH} -i {} -map 0 -map 1 -map 2 -c:v libx264 -c:a aac -c:s srt",
            subtitles.display()
        ),
        &files.path("a.mkv"),
    );
    let before = times(&files.path("a.mkv"), "s");
    for name in ["b.mp4", "b.mov"] {
        files.convert("a.mkv", name)?;
        let after = times(&files.path(name), "s");
        for begins in &before {
            let found = after.iter().any(|time| (time - begins).abs() < 0.03);
            assert!(found, "{name}: no line at {begins} s in {after:?}");
        }
        // One line goes on while others come and go.
        make(
            &format!("-i {} -map 0:s -c:s srt", files.path(name).display()),
            &files.path("after.srt"),
        );
        let words = std::fs::read_to_string(files.path("after.srt"))?;
        let shown: Vec<_> = words
            .split("\n\n")
            .filter_map(|cue| cue.trim().splitn(3, '\n').nth(2))
            .map(|text| text.lines().collect::<Vec<_>>().join(" + "))
            .collect();
        let both = [
            "Line 1",
            "Line 1 + Line 2",
            "Line 1",
            "Line 1 + Line 3",
            "Line 1",
        ];
        assert_eq!(shown, both, "{name}: {words}");
    }
    Ok(())
}

#[test]
fn deep_colours_and_greys_are_those_of_the_file() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for (name, colour) in [
        ("red", [255, 0, 0]),
        ("lime", [0, 255, 0]),
        ("blue", [0, 0, 255]),
    ] {
        for height in [64, 720] {
            let film = format!("-f lavfi -i color={name}:s=64x{height}:r=10:d=0.1,format=gbrp10le");
            let place = files.path(&format!("{name}{height}.mkv"));
            make(&format!("{film} -c:v ffv1"), &place);
            let found = mean_colour(&frames(&place)?[0]);
            assert_near(&format!("{name} of {height} rows"), found, colour, 1.0);
        }
    }
    for level in [0, 64, 200, 255] {
        let place = files.path(&format!("{level}.pgm"));
        let values = [level; 2 * 16 * 16]; // 257 times the level, of 65535
        std::fs::write(&place, [&b"P5 16 16 65535\n"[..], &values].concat())?;
        assert_near(
            "grey",
            mean_colour(&picture::read(&place)?),
            [level; 3],
            1.5,
        );
    }
    Ok(())
}

#[test]
fn parts_of_films_without_times_and_their_last_frames_are_found() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(
        &format!("{PICTURE} -c:v libx264 -r 10"),
        &files.path("a.h264"),
    );
    make(
        &format!("{BOTH} -c:v libx264 -c:a aac"),
        &files.path("a.mp4"),
    );
    let (done, words) = files.video("a.h264 b.mp4 --from 0.5 --to 1");
    assert!(done, "{words}");
    assert_eq!(frames(&files.path("b.mp4"))?.len(), 5);
    let (done, words) = files.video("a.h264 c.mp4 --from 3");
    assert!(!done && words.contains("ends before 3.000 s"), "{words}");
    let (done, words) = files.video("a.mp4 d.mp4 --from 1.98");
    assert!(done, "{words}");
    assert_eq!(frames(&files.path("d.mp4"))?.len(), 1);
    Ok(())
}
