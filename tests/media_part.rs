//! Parts of films: `--from` and `--to` of `repaint video`, with everything that lies beside the picture.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clips::{has_ffmpeg, make, probe};
use repaint::frame::Frame;
use repaint::media::FrameSource;
use repaint::media::decode::Decoder;
use tempfile::TempDir;

const RATE: usize = 48_000;

/// A film of ten seconds whose frames are as bright as their numbers say, with a beep at every full second
/// and two chapters. Key frames lie two seconds apart, with frames before and after each that need it.
fn film(folder: &Path, name: &str) {
    let chapters = folder.join("chapters.txt");
    let text = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=4\ntitle=one\n\
                [CHAPTER]\nTIMEBASE=1/1\nSTART=4\nEND=10\ntitle=two\n";
    std::fs::write(&chapters, text).expect("written");
    let picture = "nullsrc=s=64x48:r=25:d=10,geq=lum='N*220/250+16':cb=128:cr=128";
    let sound = "aevalsrc='if(lt(mod(t,1),0.02),0.7*sin(6283*t),0)':s=48000:d=10";
    let coding = "-map 0 -map 1 -map_metadata 2 -c:v libx264 -preset medium -crf 4 -bf 3 -g 50 \
                  -x264-params open-gop=1:scenecut=0 -pix_fmt yuv420p -c:a aac";
    let inputs = format!(
        "-f lavfi -i {picture} -f lavfi -i {sound} -i {}",
        chapters.display()
    );
    make(&format!("{inputs} {coding}"), &folder.join(name));
}

fn repaint(folder: &Path, args: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(args.split(' '))
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

/// When each frame is shown, in seconds, and how bright it is.
fn frames(path: &Path) -> Result<Vec<(f64, u8)>> {
    let mut decoder = Decoder::open(path, None)?;
    let (num, den) = decoder.info().time_base;
    let (mut frame, mut found) = (Frame::default(), Vec::new());
    while decoder.read(&mut frame)? {
        let time = frame.pts as f64 * f64::from(num) / f64::from(den);
        found.push((time, frame.pixels[frame.pixels.len() / 2]));
    }
    Ok(found)
}

/// When beeps begin, in seconds.
fn beeps(path: &Path) -> Vec<f64> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args("-map 0:a -ac 1 -ar 48000 -af aresample=async=1:first_pts=0 -f f32le -".split(' '))
        .output()
        .expect("ffmpeg starts");
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let (mut found, mut quiet) = (Vec::new(), RATE);
    for (i, sample) in output.stdout.chunks_exact(4).map(number).enumerate() {
        quiet += 1;
        if sample.abs() > 0.3 {
            if quiet > RATE / 4 {
                found.push(i as f64 / RATE as f64);
            }
            quiet = 0;
        }
    }
    found
}

/// The chapters of a file: titles, and when they begin and end, in whole seconds.
fn chapters(path: &Path) -> String {
    let entries = "chapter=start_time,end_time:chapter_tags=title";
    let told = probe(path, "", entries).into_iter().map(|line| {
        let fields: Vec<_> = line.split(',').collect();
        let seconds = |text: &str| text.parse::<f64>().map_or(-1.0, f64::round);
        format!(
            "{} {}-{}",
            fields[2],
            seconds(fields[0]),
            seconds(fields[1])
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_part_is_what_the_whole_shows_and_sounds_like_there() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let folder = folder.path();
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        film(folder, name);
        let whole = frames(&folder.join(name))?;
        for (from, to) in [
            (0.0, 2.5),
            (3.0, 6.2),
            (4.04, 5.0),
            (7.7, 10.0),
            (0.52, 1.0),
        ] {
            let output = format!("{name}.{from}-{to}.mp4");
            let args =
                format!("video {name} {output} --strength 0 --crf 4 --from {from} --to {to}");
            let (done, said) = repaint(folder, &args);
            assert!(done, "{said}");
            assert!(!said.contains("damaged"), "{said}");
            let expected: Vec<_> = whole
                .iter()
                .filter(|(time, _)| (from - 1e-3..to - 1e-3).contains(time))
                .collect();
            let output = folder.join(output);
            let found = frames(&output)?;
            assert_eq!(found.len(), expected.len(), "{name} from {from} to {to}");
            for ((time, value), (old, like)) in found.iter().zip(&expected) {
                assert!(
                    (time - (old - from)).abs() < 2e-3,
                    "{name}: {time} for {old}"
                );
                assert!(
                    value.abs_diff(*like) <= 1,
                    "{name}: {value} at {time}, {like}"
                );
            }
            let heard = beeps(&output);
            let full = (0..10).map(f64::from);
            let due: Vec<f64> = full
                .filter(|t| (from + 0.03..to - 0.03).contains(t))
                .collect();
            let inside: Vec<f64> = heard.into_iter().filter(|t| *t > 0.03).collect();
            assert!(
                inside.len() >= due.len(),
                "{name} from {from}: {inside:?} {due:?}"
            );
            for (beep, due) in inside.iter().zip(&due) {
                assert!(
                    (beep - (due - from)).abs() < 0.03,
                    "{name}: {beep} for {due} - {from}"
                );
            }
        }
        let end = frames(&folder.join(format!("{name}.3-6.2.mp4")))?.len();
        assert_eq!(end, 80);
    }
    assert_eq!(
        chapters(&folder.join("a.mkv.3-6.2.mp4")),
        "one 0-1, two 1-3"
    );
    assert_eq!(chapters(&folder.join("a.mkv.4.04-5.mp4")), "two 0-1");
    Ok(())
}

/// A dark slide and, from 6 s on, a bright one.
const SLIDES: &str = "nullsrc=s=64x48:r=1:d=10,geq=lum='if(lt(N,6),60,200)':cb=128:cr=128,\
                      select='not(mod(n,6))'";

#[test]
fn a_part_begins_with_the_slide_that_is_shown_there() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    for name in ["slides.mp4", "slides.mkv"] {
        make(
            &format!("-f lavfi -i {SLIDES} -c:v libx264 -crf 4 -pix_fmt yuv420p -vsync vfr"),
            &folder.path().join(name),
        );
        for (part, expected) in [
            ("--from 3 --to 8", &[(0.0, false), (3.0, true)][..]),
            ("--from 3 --to 5", &[(0.0, false)]),
            ("--from 5.96 --to 8", &[(0.04, true)]),
            ("--from 6 --to 8", &[(0.0, true)]),
            ("--from 6.5 --to 8", &[(0.0, true)]),
        ] {
            let args = format!("video {name} part.mkv --strength 0 --overwrite {part}");
            let (done, said) = repaint(folder.path(), &args);
            assert!(done, "{name} {part}: {said}");
            let found = frames(&folder.path().join("part.mkv"))?;
            let seen: Vec<_> = found
                .iter()
                .map(|(time, light)| (*time, *light > 130))
                .collect();
            assert_eq!(seen.len(), expected.len(), "{name} {part}: {found:?}");
            for (seen, expected) in seen.iter().zip(expected) {
                let away = (seen.0 - expected.0).abs();
                assert!(
                    away < 0.002 && seen.1 == expected.1,
                    "{name} {part}: {found:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_last_slide_is_shown_as_long_as_sound_goes_on() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    for name in ["slides.mp4", "slides.mkv"] {
        make(
            &format!(
                "-f lavfi -i {SLIDES} -f lavfi -i sine=d=14 -c:v libx264 -crf 4 -pix_fmt yuv420p \
                 -vsync vfr -c:a aac"
            ),
            &folder.path().join(name),
        );
        let args = format!("video {name} part.mkv --strength 0 --overwrite --from 12");
        let (done, said) = repaint(folder.path(), &args);
        assert!(done, "{name}: {said}");
        let found = frames(&folder.path().join("part.mkv"))?;
        let [(time, light)] = found[..] else {
            panic!("{name}: {found:?}");
        };
        assert!(time < 0.02 && light > 130, "{name}: {found:?}");
        let (done, said) = repaint(folder.path(), &format!("{args}0"));
        assert!(!done && said.contains("ends before 120.000 s"), "{said}");
    }
    Ok(())
}

#[test]
fn subtitles_covers_and_a_second_picture_come_along() {
    if !has_ffmpeg() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    film(folder, "a.mp4");
    let text = "1\n00:00:01,000 --> 00:00:05,000\nlong\n\n2\n00:00:06,000 --> 00:00:07,000\nlate\n";
    std::fs::write(folder.join("a.srt"), text).expect("written");
    let at = folder.display();
    let inputs = format!(
        "-i {at}/a.mp4 -i {at}/a.srt -f lavfi -i testsrc2=s=32x32:r=25:d=10 \
                  -f lavfi -i color=red:s=16x16:d=0.04:r=25 -map 0:v -map 0:a -map 1 -map 2 -map 3 -c copy"
    );
    // What FFmpeg writes into Matroska here is no cover, but a film of one frame.
    let in_mkv = ["h264,0", "aac,0", "subrip,0", "h264,0", "png,0"];
    let in_mp4 = [
        "h264,0",
        "aac,0",
        "mov_text,0",
        "h264,0",
        "bin_data,0",
        "png,1",
    ];
    for (name, text, expected) in [
        ("b.mkv", "subrip", &in_mkv[..]),
        ("b.mp4", "mov_text", &in_mp4),
    ] {
        let coding = format!(
            "-c:s {text} -c:v:1 libx264 -g:v:1 25 -c:v:2 png -disposition:v:2 attached_pic"
        );
        make(&format!("{inputs} {coding}"), &folder.join(name));
        let args = format!("video {name} c{name} --strength 0 --from 3 --to 6.5");
        let (done, said) = repaint(folder, &args);
        assert!(done, "{said}");
        let entries = "stream=codec_name:stream_disposition=attached_pic";
        let streams = probe(&folder.join(format!("c{name}")), "", entries);
        assert_eq!(streams, expected, "{name}");
        let packets = probe(
            &folder.join(format!("c{name}")),
            "",
            "packet=stream_index,pts_time,duration_time",
        );
        let of = |stream: &str| -> Vec<(f64, f64)> {
            let packets = packets
                .iter()
                .map(|line| line.split(',').collect::<Vec<_>>());
            let packets = packets.filter(|fields| fields[0] == stream && fields[1] != "N/A");
            let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
            packets
                .map(|fields| (number(fields[1]), number(fields[2])))
                .collect()
        };
        let earliest = |packets: &[(f64, f64)]| packets.iter().map(|p| p.0).fold(9.0, f64::min);
        let begins = earliest(&of("0"));
        assert!(
            (earliest(&of("3")) - begins).abs() < 0.05,
            "{name}: the second picture"
        );
        // The second line ends with the part.
        let lines: Vec<_> = of("2").into_iter().filter(|line| line.1 > 0.4).collect();
        for due in [(0.0, 2.0), (3.0, 0.5)] {
            let near = |line: &(f64, f64)| {
                (line.0 - begins - due.0).abs() < 0.05 && (line.1 - due.1).abs() < 0.05
            };
            assert!(lines.iter().any(near), "{name}: {lines:?} from {begins}");
        }
    }
}

#[test]
fn the_time_code_is_that_of_where_the_part_begins() {
    if !has_ffmpeg() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let picture = "-f lavfi -i testsrc2=s=64x48:r=25:d=3 -c:v libx264 -timecode 01:00:00:00";
    for name in ["a.mov", "a.mkv"] {
        make(picture, &folder.join(name));
        for output in ["b.mov", "b.mkv"] {
            let args = format!("video {name} {output} --strength 0 --from 1.48 --overwrite");
            let (done, said) = repaint(folder, &args);
            assert!(done, "{said}");
            let entries = "format_tags=timecode:stream_tags=timecode";
            let told = probe(&folder.join(output), "", entries);
            let codes: Vec<_> = told.iter().filter(|code| code.contains(':')).collect();
            assert!(!codes.is_empty(), "{name}, {output}");
            for code in codes {
                assert!(code.contains("01:00:01:12"), "{name}, {output}: {code}");
            }
        }
    }
}

#[test]
fn parts_that_are_not_there_are_refused() {
    if !has_ffmpeg() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    film(folder, "a.mp4");
    for (args, words) in [
        ("--from 11", "ends before 11.000 s"),
        ("--from 1:40", "ends before 100.000 s"),
        ("--from 3 --to 3", "--to is not after --from"),
        ("--from soon", "such as 90"),
    ] {
        let (done, said) = repaint(folder, &format!("video a.mp4 b.mp4 {args}"));
        assert!(!done && said.contains(words), "{args}: {said}");
        assert!(!folder.join("b.mp4").exists());
    }
    let (done, said) = repaint(
        folder,
        "video a.mp4 b.mp4 --strength 0 --from 9.9 --to 1:00:00",
    );
    assert!(done, "{said}");
}
