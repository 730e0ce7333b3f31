//! What a painting cannot keep of a film's picture is told, and what only seems lost is kept.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use anyhow::Result;
use clips::{Files, assert_near, convert, frames, make, mean_colour};
use repaint::frame::Frame;
use repaint::media::decode::Decoder;

const PICTURE: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=2";

#[test]
fn transparency_is_told_and_only_where_there_is_some() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let told = "not in the painting: its transparency";
    let clear = "-f lavfi -i color=red@0.5:s=64x64:r=10:d=0.5,format=rgba";
    let hole = "-f lavfi -i color=red:s=64x64:r=10:d=0.5,format=rgba,geq=r=255:g=0:b=0:a='255*gt(X,32)',\
                split[a][b];[a]palettegen[p];[b][p]paletteuse";
    let full = "-f lavfi -i color=red:s=64x64:r=10:d=0.5";
    for (film, name, expected) in [
        (format!("{clear} -c:v png"), "a.mov", told),
        (
            format!("{clear} -c:v ffv1 -pix_fmt yuva420p"),
            "b.mkv",
            told,
        ),
        (
            format!("{clear} -c:v libvpx-vp9 -pix_fmt yuva420p"),
            "c.webm",
            told,
        ),
        (hole.to_string(), "d.gif", told),
        (full.to_string(), "e.gif", ""),
        (format!("{full} -c:v libx264"), "f.mp4", ""),
    ] {
        make(&film, &files.path(name));
        assert_eq!(
            files.convert(name, &format!("{name}.mkv"))?,
            expected,
            "{name}"
        );
    }
    if let Some(clip) = common::data("clips/transparent.webm") {
        let (_, remarks) = convert(&clip, &files.path("clip.mkv"), Some(48))?;
        assert_eq!(remarks, [told]);
    }
    Ok(())
}

/// Brightness of the pixel at these parts of the width and height.
fn level(frame: &Frame, x: f64, y: f64) -> u8 {
    let [x, y] =
        [(x, frame.width), (y, frame.height)].map(|(part, length)| (part * length as f64) as usize);
    frame.pixels[(y * frame.width + x) * 3 + 1]
}

#[test]
fn frames_of_another_shape_get_black_bars() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let part = |size: &str, aspect: &str, begin| -> Result<Vec<u8>> {
        let film = format!("-f lavfi -i color=white:s={size}:r=10:d=1,setsar={aspect}");
        let options = format!("-c:v mpeg2video -q:v 2 -r 25 -output_ts_offset {begin}");
        make(&format!("{film} {options}"), &files.path("part.ts"));
        Ok(std::fs::read(files.path("part.ts"))?)
    };
    // 4:3 and 16:9 of the same number of pixels: three quarters of the height, or of the width.
    for (name, [first, second], (x, y)) in [
        ("wider.ts", ["16/15", "64/45"], (0.5, 0.05)),
        ("narrower.ts", ["64/45", "16/15"], (0.05, 0.5)),
    ] {
        let both = [part("180x144", first, 0)?, part("180x144", second, 1)?].concat();
        std::fs::write(files.path(name), both)?;
        for size in [None, Some(72)] {
            let mut decoder = Decoder::open(&files.path(name), size)?;
            let mut frame = Frame::default();
            let mut seen = Vec::new();
            while repaint::media::FrameSource::read(&mut decoder, &mut frame)? {
                let inside = level(&frame, 0.5, 0.5).min(level(
                    &frame,
                    0.5 + (x - 0.5) * 0.6,
                    0.5 + (y - 0.5) * 0.6,
                ));
                seen.push((inside, level(&frame, x, y), level(&frame, 1.0 - x, 1.0 - y)));
            }
            let (first, last) = (seen[5], seen[seen.len() - 5]);
            assert!(
                first.0 > 240 && first.1 > 240 && first.2 > 240,
                "{name}: {first:?}"
            );
            assert!(
                last.0 > 240 && last.1 < 16 && last.2 < 16,
                "{name}: {last:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_rotation_that_the_stream_alone_tells_is_applied() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // The left half is red, the right one blue.
    let film = "-f lavfi -i color=red:s=48x64:r=10:d=1 -f lavfi -i color=blue:s=48x64:r=10:d=1 \
                -filter_complex [0][1]hstack -c:v libx264";
    make(film, &files.path("a.mp4"));
    for (angle, top) in [(90, [0, 0, 255]), (270, [255, 0, 0])] {
        let turn = format!(
            "-i {} -c copy -bsf:v h264_metadata=display_orientation=insert:rotate={angle}",
            files.path("a.mp4").display()
        );
        make(&turn, &files.path("b.mp4"));
        let frames = frames(&files.path("b.mp4"))?;
        let frame = &frames[0];
        assert_eq!((frame.width, frame.height), (64, 96), "{angle}");
        let half = Frame {
            pixels: frame.pixels[..64 * 48 * 3].to_vec(),
            height: 48,
            ..frame.clone()
        };
        assert_near(&format!("turned by {angle}"), mean_colour(&half), top, 6.0);
    }
    Ok(())
}

#[test]
fn video_that_matroska_only_seems_to_hold_is_refused() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(&format!("{PICTURE} -c:v libx264"), &files.path("a.mp4"));
    let (done, words) = files.video("a.mp4 b.mkv --codec qtrle");
    assert!(
        !done && words.contains("mkv files cannot hold the video of `qtrle`: choose another"),
        "{words}"
    );
    let (done, words) = files.video("a.mp4 b.mov --codec qtrle");
    assert!(done, "{words}");
    assert_eq!(frames(&files.path("b.mov"))?.len(), 20);
    Ok(())
}

#[test]
fn codecs_of_one_frame_rate_are_told_for_films_of_several() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    // Ten frames in the first second and forty in the other, of sizes at which Theora drops none.
    let several =
        "-f lavfi -i testsrc2=s=320x240:r=40:d=2,select='not(mod(n,4))+gte(t,1)' -vsync vfr";
    make(
        &format!("{several} -c:v libx264 -bf 0 -video_track_timescale 1000"),
        &files.path("a.mp4"),
    );
    make(&format!("{PICTURE} -c:v libx264"), &files.path("b.mp4"));
    for codec in ["mpeg2video", "libtheora"] {
        let (done, words) = files.video(&format!("a.mp4 a.mkv --overwrite --codec {codec}"));
        assert!(
            done && words.contains("that of the film varies: choose another --codec"),
            "{words}"
        );
        assert!(words.contains("s off, choose another --codec"), "{words}");
        let (done, words) = files.video(&format!("b.mp4 b.mkv --overwrite --codec {codec}"));
        assert!(done && !words.contains("another --codec"), "{words}");
    }
    let (done, words) = files.video("a.mp4 c.mkv");
    assert!(done && !words.contains("codec"), "{words}");
    Ok(())
}

#[test]
fn the_constant_quality_that_is_asked_for_reaches_encoders_that_have_their_own() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    make(&format!("{PICTURE} -c:v libx264"), &files.path("a.mp4"));
    for codec in ["libx264", "mpeg4", "libtheora"] {
        let mut bytes = Vec::new();
        for crf in [5, 40] {
            let name = format!("{codec}.{crf}.mkv");
            let (done, words) = files.video(&format!("a.mp4 {name} --codec {codec} --crf {crf}"));
            assert!(done && !words.contains("means nothing"), "{words}");
            bytes.push(std::fs::metadata(files.path(&name))?.len());
        }
        assert!(bytes[0] > 2 * bytes[1], "{codec}: {bytes:?}");
    }
    Ok(())
}

#[test]
fn films_that_are_cut_off_are_told_by_their_length_where_they_count_no_frames() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=20 -f lavfi -i sine=d=20 -c:v libx264 -g 10 -c:a aac -ar 44100";
    let mxf = "-f lavfi -i testsrc2=s=64x64:r=25:d=20 -f lavfi -i sine=r=48000:d=20 -c:v mpeg2video -c:a pcm_s16le";
    for (film, name) in [(film, "a.flv"), (mxf, "a.mxf")] {
        make(film, &files.path(name));
        assert!(
            !files
                .convert(name, &format!("{name}.mkv"))?
                .contains("cut off"),
            "{name}"
        );
        let whole = std::fs::read(files.path(name))?;
        std::fs::write(files.path(name), &whole[..whole.len() / 2])?;
        let remarks = files.convert(name, &format!("half.{name}.mkv"))?;
        assert!(
            remarks.contains("the file is cut off: it promises 20."),
            "{name}: {remarks}"
        );
    }
    Ok(())
}

#[test]
fn seconds_that_damage_takes_are_told() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film =
        "-f lavfi -i testsrc2=s=64x64:r=10:d=20 -f lavfi -i sine=d=20 -c:v libx264 -g 10 -c:a aac";
    make(
        &format!("{film} -cluster_time_limit 500"),
        &files.path("a.mkv"),
    );
    assert_eq!(files.convert("a.mkv", "b.mkv")?, "");
    let mut bytes = std::fs::read(files.path("a.mkv"))?;
    let length = bytes.len();
    bytes[length * 2 / 5..length * 3 / 5].fill(0x55);
    std::fs::write(files.path("c.mkv"), bytes)?;
    let remarks = files.convert("c.mkv", "d.mkv")?;
    assert!(
        remarks.contains("s of picture and sound are missing"),
        "{remarks}"
    );
    Ok(())
}

#[test]
fn a_last_second_that_damage_takes_is_told_and_a_long_last_slide_is_none() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let film = "-f lavfi -i testsrc2=s=64x64:r=10:d=6";
    let sound = "-f lavfi -i sine=d=6 -c:a aac";
    for (name, sound) in [("a.mkv", sound), ("b.mkv", "")] {
        let film = format!("{film} {sound} -c:v libx264 -g 10 -cluster_time_limit 1000");
        make(&film, &files.path(name));
        assert_eq!(files.convert(name, &format!("whole.{name}"))?, "");
        let mut bytes = std::fs::read(files.path(name))?;
        let kept = bytes.len() * 4 / 5;
        bytes[kept..].fill(0x55);
        std::fs::write(files.path(name), bytes)?;
        let remarks = files.convert(name, &format!("cut.{name}"))?;
        assert!(
            remarks.contains("the file is cut off: it promises 6.0 s"),
            "{remarks}"
        );
    }
    let slides = "-f lavfi -i testsrc2=s=64x64:r=10:d=9,select='not(mod(n,30))' -vsync vfr";
    make(
        &format!("{slides} -c:v libx264 -bf 0"),
        &files.path("c.mp4"),
    );
    assert_eq!(files.convert("c.mp4", "d.mkv")?, "");
    assert_eq!(files.convert("d.mkv", "e.mkv")?, "");
    Ok(())
}
