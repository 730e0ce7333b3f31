//! What is cut: lines that are shown where a part begins, chapters where a film is stopped.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clips::{Files, copy, fast, make, probe, watch_nothing};
use repaint::media::decode::{Decoder, Part};
use repaint::media::encode::{Beside, Encoder, Ending};
use repaint::output::Existing;
use repaint::pipeline;

/// When something of the stream that `select` picks begins, for how long, and its bytes.
fn packets(path: &Path, select: &str) -> Vec<String> {
    probe(path, select, "packet=pts_time,duration_time,size")
}

/// What a Blu-ray's subtitles show from a second on: `objects` pictures (1 or none) of 8x2 pixels.
fn shown(second: u32, objects: u8) -> Vec<u8> {
    let segment = |kind: u8, body: &[u8]| {
        let time = (second * 90_000).to_be_bytes();
        let length = (body.len() as u16).to_be_bytes();
        [b"PG", &time[..], &[0; 4], &[kind], &length, body].concat()
    };
    let composition = [0, 64, 0, 48, 0x10, 0, second as u8, 0x80, 0, 0, objects];
    let placed = [0, 0, 0, 0, 0, 4, 0, 4];
    let window = [1, 0, 0, 4, 0, 4, 0, 8, 0, 2];
    let mut set = segment(
        0x16,
        &[&composition[..], &placed[..8 * usize::from(objects)]].concat(),
    );
    set.extend(segment(0x17, &window));
    if objects > 0 {
        let pixels = [&[1; 8][..], &[0, 0], &[1; 8], &[0, 0]].concat();
        let head = [0, 0, 0, 0xc0, 0, 0, 4 + pixels.len() as u8, 0, 8, 0, 2];
        set.extend(segment(0x14, &[0, 0, 1, 235, 128, 128, 255]));
        set.extend(segment(0x15, &[&head[..], &pixels].concat()));
    }
    set.extend(segment(0x80, &[]));
    set
}

#[test]
fn lines_that_are_shown_where_a_part_begins_are_shown_from_there() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    std::fs::write(
        files.path("a.srt"),
        "1\n00:00:10,000 --> 00:00:38,000\nlong\n\n2\n00:00:38,500 --> 00:00:39,000\nlast\n",
    )?;
    let pictures = [shown(0, 0), shown(10, 1), shown(38, 0)].concat();
    std::fs::write(files.path("a.sup"), pictures)?;
    let [srt, sup] = ["a.srt", "a.sup"].map(|name| files.path(name));
    let film = format!(
        "-f lavfi -i testsrc2=s=64x48:r=25:d=40 -i {} -i {} -map 0 -map 1 -map 2 -c:v libx264 -g 25 -c:s:0 srt \
         -c:s:1 copy",
        srt.display(),
        sup.display()
    );
    make(&film, &files.path("a.mkv"));
    let whole = packets(&files.path("a.mkv"), "s:1");
    assert_eq!(
        whole,
        ["0.000000,N/A,30", "10.000000,N/A,82", "38.000000,N/A,30"]
    );
    for (from, text, pictures) in [
        (
            "36",
            vec!["0.000000,2.000000,4", "2.500000,0.500000,4"],
            vec!["0.000000,N/A,82", "2.000000,N/A,30"],
        ),
        ("38.25", vec!["0.250000,0.500000,4"], vec![]),
    ] {
        let (done, said) = files.video(&format!("a.mkv {from}.mkv --from {from}"));
        assert!(done, "{said}");
        let part = files.path(&format!("{from}.mkv"));
        assert_eq!(packets(&part, "s:0"), text, "from {from}");
        assert_eq!(packets(&part, "s:1"), pictures, "from {from}");
        assert_eq!(probe(&part, "", "stream=codec_type").len(), 3);
    }
    Ok(())
}

#[test]
fn chapters_end_where_a_film_is_stopped() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    let chapter = |start, end| format!("[CHAPTER]\nTIMEBASE=1/1\nSTART={start}\nEND={end}\n");
    let chapters = [chapter(0, 1), chapter(1, 3), chapter(3, 4)].concat();
    std::fs::write(files.path("c.txt"), format!(";FFMETADATA1\n{chapters}"))?;
    let tags = files.path("c.txt");
    let film = format!(
        "-f lavfi -i testsrc2=s=64x48:r=10:d=4 -i {} -map 0 -map_chapters 1 -c:v libx264",
        tags.display()
    );
    make(&film, &files.path("a.mkv"));
    for name in ["a.mp4", "b.mkv", "c.mov"] {
        let (input, place) = (files.path("a.mkv"), files.path(name));
        let mut decoder = Decoder::open(&input, None)?;
        let info = decoder.info().clone();
        let beside = Beside::Source(&input, Part::default());
        let mut encoder = Encoder::create(&place, Existing::Keep, &info, &fast(), beside)?;
        let stop = AtomicBool::new(false);
        let tell = |frames, _: &Encoder| stop.store(frames >= 20, Ordering::Relaxed);
        let report = pipeline::run(&mut decoder, watch_nothing, copy, &mut encoder, &stop, tell)?;
        encoder.finish(Ending::Cut)?;
        let end = report.frames as f64 / 10.0;
        assert!((2.0..3.0).contains(&end), "{end}");
        let found = probe(&place, "", "chapter=start_time,end_time");
        let numbers = found.iter().flat_map(|line| line.split(','));
        let times: Vec<f64> = numbers.map(|time| time.parse().unwrap_or(-1.0)).collect();
        assert_eq!(times.len(), 4, "{name}: {found:?}");
        for (time, due) in times.iter().zip([0.0, 1.0, 1.0, end]) {
            assert!((time - due).abs() < 0.01, "{name}: {found:?}, {end} s");
        }
    }
    Ok(())
}
