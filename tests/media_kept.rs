//! What odd files hold comes through a conversion: times that stand still or begin anew, sound of every
//! kind, covers, tags, edits, half pictures.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::path::Path;

use anyhow::Result;
use clips::{Files, frames, make, number, probe, times};

/// Two seconds of picture and sound, as they are broadcast: the bytes of an MPEG transport stream.
fn recording(files: &Files) -> Result<Vec<u8>> {
    let both = "-f lavfi -i testsrc2=s=64x64:r=10:d=2 -f lavfi -i sine=d=2";
    let place = files.path("a.ts");
    make(&format!("{both} -c:v libx264 -c:a aac"), &place);
    Ok(std::fs::read(place)?)
}

#[test]
fn packets_shorter_than_a_tick_and_lines_shown_at_once_keep_their_times() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // At 48 kHz 48 values last for a millisecond, the tick of Matroska, and 16 for a third of one.
    let both = "-f lavfi -i testsrc2=s=64x64:r=10:d=1 -f lavfi -i sine=d=1:r=48000";
    let codecs = "-c:v libx264 -c:a flac -frame_size 16";
    make(&format!("{both} {codecs}"), &files.path("a.mkv"));
    files.convert("a.mkv", "b.mkv")?;
    let (before, after) = (
        times(&files.path("a.mkv"), "a"),
        times(&files.path("b.mkv"), "a"),
    );
    assert!(before.len() > 2900 && before.windows(2).any(|pair| pair[0] == pair[1]));
    assert_eq!(before, after);

    let mut lines = "[Script Info]\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, \
        MarginR, MarginV, Effect, Text\n"
        .to_string();
    for line in 0..20 {
        lines += &format!("Dialogue: 0,0:00:00.12,0:00:00.80,Default,,0,0,0,,{line}\n");
    }
    std::fs::write(files.path("a.ass"), lines)?;
    let subtitles = files.path("a.ass");
    let inputs = format!(
        "-f lavfi -i testsrc2=s=64x64:r=10:d=1 -i {}",
        subtitles.display()
    );
    make(
        &format!("{inputs} -map 0 -map 1 -c:v libx264 -c:s copy"),
        &files.path("c.mkv"),
    );
    files.convert("c.mkv", "d.mkv")?;
    assert_eq!(times(&files.path("d.mkv"), "s"), [0.12; 20]);
    Ok(())
}

#[test]
fn joined_recordings_go_on_where_the_clock_begins_anew() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let once = recording(&files)?;
    std::fs::write(files.path("aa.ts"), [once.clone(), once].concat())?;
    for name in ["aa.mp4", "aa.mkv"] {
        files.convert("aa.ts", name)?;
        let place = files.path(name);
        let pictures = times(&place, "v");
        assert_eq!(pictures.len(), 40, "{name}");
        for pair in pictures.windows(2) {
            assert!((pair[1] - pair[0] - 0.1).abs() < 0.05, "{name}: {pair:?}");
        }
        let sound = times(&place, "a");
        let last = sound.last().copied().unwrap_or_default();
        assert!(
            (3.9..4.2).contains(&last),
            "{name}: the sound ends at {last}"
        );
        let odd = |pair: &&[f64]| (pair[1] - pair[0] - 0.0232).abs() > 0.02;
        let odd: Vec<_> = sound.windows(2).filter(odd).collect();
        assert!(odd.len() <= 1, "{name}: {odd:?}"); // the sound of the first is a little longer
    }
    Ok(())
}

#[test]
fn sound_of_every_kind_is_heard_in_every_container() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let cases = [
        ("flac", "mono", ["flac,1", "aac,1", "opus,1"]),
        ("libopus", "5.1", ["opus,6", "aac,6", "opus,6"]),
        ("ac3", "5.1(side)", ["ac3,6", "ac3,6", "opus,6"]),
        ("pcm_s16le", "4.0", ["aac,4", "pcm_s16le,4", "opus,4"]),
        ("ac3", "2.1", ["ac3,3", "ac3,3", "opus,3"]),
    ];
    for (codec, layout, expected) in cases {
        let sound = format!("sine=d=1:r=48000,aformat=channel_layouts={layout}");
        let both = format!("-f lavfi -i testsrc2=s=64x64:r=10:d=1 -f lavfi -i {sound}");
        let source = format!("{codec} {layout}.mkv");
        make(
            &format!("{both} -c:v libx264 -c:a {codec}"),
            &files.path(&source),
        );
        for (ending, expected) in ["mp4", "mov", "webm"].into_iter().zip(expected) {
            let name = format!("{codec} {layout}.{ending}");
            files.convert(&source, &name)?;
            let found = probe(&files.path(&name), "a", "stream=codec_name,channels");
            assert_eq!(found, [expected], "{name}");
        }
    }
    Ok(())
}

#[test]
fn sound_that_is_announced_and_never_comes_is_left_out() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let whole = recording(&files)?;
    let of_sound = |packet: &&[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == 0x101;
    let silent: Vec<u8> = whole
        .chunks(188)
        .filter(|p| !of_sound(p))
        .flatten()
        .copied()
        .collect();
    assert!(silent.len() < whole.len());
    std::fs::write(files.path("silent.ts"), silent)?;
    for name in ["a.mp4", "a.mkv"] {
        let remarks = files.convert("silent.ts", name)?;
        assert!(remarks.contains("holds no sound"), "{remarks}");
        assert_eq!(times(&files.path(name), "v").len(), 20);
    }
    Ok(())
}

#[test]
fn what_an_edit_cuts_away_stays_away() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let both = "-f lavfi -i testsrc2=s=64x64:r=10:d=3 -f lavfi -i sine=d=3";
    let codecs = "-c:v libx264 -bf 0 -g 5 -c:a aac -movie_timescale 1000";
    make(&format!("{both} {codecs}"), &files.path("a.mp4"));
    let mut bytes = std::fs::read(files.path("a.mp4"))?;
    let mut edits = 0;
    for at in 0..bytes.len() - 24 {
        if &bytes[at..at + 4] == b"elst" {
            // Version and flags, number of edits, and the length of the first, in 1/1000 s.
            bytes[at + 12..at + 16].copy_from_slice(&1500u32.to_be_bytes());
            edits += 1;
        }
    }
    assert_eq!(edits, 2);
    std::fs::write(files.path("cut.mp4"), bytes)?;
    let remarks = files.convert("cut.mp4", "b.mp4")?;
    assert_eq!(remarks, "");
    let place = files.path("b.mp4");
    assert_eq!(times(&place, "v").len(), 15);
    for kind in ["v", "a"] {
        let length = number(&place, kind, "stream=duration").unwrap();
        assert!((length - 1.5).abs() < 0.05, "{kind}: {length} s");
    }
    Ok(())
}

#[test]
fn covers_are_attached_and_tags_of_devices_and_chapters_stay() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(
        "-f lavfi -i testsrc2=s=32x32 -frames:v 1",
        &files.path("cover.png"),
    );
    let cover = files.path("cover.png");
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=1";
    let covered = format!("{film} -i {} -map 0 -map 1", cover.display());
    let codecs = "-c:v:0 libx264 -c:v:1 copy -disposition:v:1 attached_pic";
    make(&format!("{covered} {codecs}"), &files.path("a.mp4"));
    for (from, to) in [("a.mp4", "b.mkv"), ("b.mkv", "c.mkv"), ("a.mp4", "d.mp4")] {
        assert_eq!(files.convert(from, to)?, "", "{from} to {to}");
        let found = probe(
            &files.path(to),
            "v",
            "stream=codec_name:stream_disposition=attached_pic",
        );
        assert_eq!(found, ["h264,0", "png,1"], "{to}");
    }
    let remarks = files.convert("a.mp4", "e.mov")?;
    assert!(remarks.contains("(png) is left out"), "{remarks}");

    std::fs::write(
        files.path("tags.txt"),
        ";FFMETADATA1\ncom.apple.quicktime.model=Camera\ntitle=Film\n[CHAPTER]\nTIMEBASE=1/1000\n\
         START=0\nEND=1000\ntitle=One\nartist=Somebody\n",
    )?;
    let tags = files.path("tags.txt");
    let tagged = format!(
        "{film} -i {} -map 0 -map_metadata 1 -c:v libx264",
        tags.display()
    );
    make(
        &format!("{tagged} -movflags use_metadata_tags"),
        &files.path("a.mov"),
    );
    files.convert("a.mov", "b.mov")?;
    let entries = "format_tags=com.apple.quicktime.model,title";
    let mut found = probe(&files.path("b.mov"), "", entries);
    found.sort();
    assert_eq!(
        found
            .join(",")
            .split(',')
            .filter(|tag| ["Camera", "Film"].contains(tag))
            .count(),
        2
    );
    make(&tagged, &files.path("f.mkv"));
    files.convert("f.mkv", "g.mkv")?;
    let found = probe(&files.path("g.mkv"), "", "chapter_tags=title,artist").join(",");
    assert!(
        found.contains("One") && found.contains("Somebody"),
        "{found}"
    );
    Ok(())
}

#[test]
fn half_pictures_become_whole_ones() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // Something moves sideways by 4 pixels a half picture.
    let scene = "-f lavfi -i testsrc2=s=256x128:r=50:d=1 -vf scroll=h=0.015625";
    make(
        &format!("{scene},framestep=2 -c:v libx264 -crf 1"),
        &files.path("whole.mp4"),
    );
    let fields = "interlace=scan=tff:lowpass=off -flags +ilme+ildct -x264opts tff=1 -c:v libx264";
    make(&format!("{scene},{fields} -crf 1"), &files.path("half.mkv"));
    let (whole, half) = (
        frames(&files.path("whole.mp4"))?,
        frames(&files.path("half.mkv"))?,
    );
    assert_eq!((whole.len(), half.len()), (25, 25));
    for (i, (whole, half)) in whole.iter().zip(&half).enumerate() {
        assert!((whole.index, half.index) == (i as u64, i as u64) && half.pts == 40 * i as i64);
        let away = whole.pixels.iter().zip(&half.pixels);
        let away: f64 = away.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let away = away / whole.pixels.len() as f64;
        assert!(
            away < 6.0,
            "frame {i} is {away:.1} of 255 away from the whole picture"
        );
    }
    files.convert("half.mkv", "b.mp4")?;
    let found = probe(
        &files.path("b.mp4"),
        "v",
        "stream=field_order,nb_read_frames",
    );
    assert_eq!(found, ["progressive,25"]);
    Ok(())
}

#[test]
fn what_belongs_to_the_picture_and_is_lost_is_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=1 -c:v libx265 -pix_fmt yuv420p10le";
    let display =
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
    let options = format!("-x265-params log-level=none:{display}:max-cll=1000,400");
    make(&format!("{film} {options}"), &files.path("a.mp4"));
    let remarks = files.convert("a.mp4", "b.mp4")?;
    assert_eq!(remarks, "not in the painting: HDR10 metadata");
    Ok(())
}

/// Adds to the one stream of an mp4 file, whose index comes last, a configuration of Dolby Vision of `profile`.
fn mark_as_dolby_vision(path: &Path, profile: u8) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let mut config = [0; 32];
    config[..12].copy_from_slice(b"\0\0\0\x20dvcC\x01\0\0\0");
    (config[10], config[11]) = (profile << 1, 6 << 3 | 5); // level 6, an RPU and a base layer
    let mut at = 0;
    for part in [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1",
    ] {
        at += bytes[at..]
            .windows(4)
            .position(|name| name == part)
            .expect("a part")
            - 4;
        let size: [u8; 4] = bytes[at..at + 4].try_into()?;
        let size = u32::from_be_bytes(size) + config.len() as u32;
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
        if part == b"hev1" {
            let end = at + size as usize - config.len();
            bytes.splice(end..end, config);
        }
        at += 8;
    }
    Ok(std::fs::write(path, bytes)?)
}

#[test]
fn dolby_vision_that_nothing_else_can_show_is_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=1 -c:v libx265 -pix_fmt yuv420p10le";
    for (profile, words) in [
        (8, "not in the painting: Dolby Vision metadata"),
        (
            5,
            "not in the painting: Dolby Vision of profile 5, without which its colours are wrong",
        ),
    ] {
        make(
            &format!("{film} -x265-params log-level=none"),
            &files.path("a.mp4"),
        );
        mark_as_dolby_vision(&files.path("a.mp4"), profile)?;
        assert_eq!(files.convert("a.mp4", &format!("{profile}.mp4"))?, words);
    }
    Ok(())
}

#[test]
fn a_name_with_a_percent_sign_is_one_picture() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(
        "-f lavfi -i testsrc2=s=64x64 -frames:v 1",
        &files.path("plain.png"),
    );
    std::fs::rename(files.path("plain.png"), files.path("a%d.png"))?;
    std::fs::write(files.path("a1.png"), "no picture")?;
    assert_eq!(frames(&files.path("a%d.png"))?.len(), 1);
    Ok(())
}
