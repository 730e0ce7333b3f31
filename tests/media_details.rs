//! Made clips through decoder and encoder: odd sizes, uneven times, late starts, colours.
#![cfg(feature = "video")]

#[path = "common/clips.rs"]
mod clips;

mod common;

use std::path::Path;

use anyhow::Result;
use clips::{
    Files, assert_near, convert, frames, has_ffmpeg, make, mean_colour, number, probe, write,
};
use repaint::frame::Frame;
use repaint::media::decode::Decoder;
use repaint::media::player::Player;
use repaint::media::{FrameSource, LiveSource};

#[test]
fn odd_sizes_gain_one_repeated_line_where_the_codec_needs_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, size) in [
        ("a.mp4", (162, 90)),
        ("a.mkv", (162, 90)),
        ("a.webm", (161, 89)),
    ] {
        let path = folder.path().join(name);
        write(&path, (161, 89), (1, 25), &[0, 1, 2], 3, [200, 90, 40])?;
        let frames = frames(&path)?;
        assert_eq!(frames.len(), 3, "{name}");
        assert_eq!((frames[0].width, frames[0].height), size, "{name}");
        let corner = &frames[0].pixels[frames[0].pixels.len() - 3..];
        let corner = [0, 1, 2].map(|i| f64::from(corner[i]));
        assert_near(name, corner, [200, 90, 40], 5.0);
        let again = folder.path().join(format!("again_{name}"));
        assert_eq!(convert(&path, &again, None)?.0.frames, 3, "{name}");
    }
    Ok(())
}

#[test]
fn frames_of_one_pixel_are_encoded_and_decoded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tiny.mkv");
    write(&path, (1, 1), (1, 25), &[0, 1], 2, [10, 200, 30])?;
    assert_eq!(frames(&path)?.len(), 2);
    Ok(())
}

#[test]
fn uneven_times_and_the_length_of_the_last_frame_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let times = [0, 401, 1000, 1033, 5000, 5020, 9000];
    let source = folder.path().join("uneven.mp4");
    write(&source, (64, 48), (1, 12_800), &times, 12_000, [90; 3])?;
    for name in ["a.mp4", "a.mov", "a.mkv"] {
        let output = folder.path().join(name);
        convert(&source, &output, None)?;
        let (num, den) = Decoder::open(&output, None)?.info().time_base;
        let tick = f64::from(num) / f64::from(den);
        let found = frames(&output)?;
        assert_eq!(found.len(), times.len(), "{name}");
        for (frame, time) in found.iter().zip(times) {
            let (found, expected) = (frame.pts as f64 * tick, time as f64 / 12_800.0);
            // mkv counts milliseconds; mp4 keeps the source's ticks.
            let tolerance = if name == "a.mkv" { 0.000_501 } else { 1e-9 };
            assert!(
                (found - expected).abs() < tolerance,
                "{name}: {found} for {expected}"
            );
        }
        if has_ffmpeg() {
            let length = number(&output, "", "format=duration").unwrap();
            assert!(
                (length - 12_000.0 / 12_800.0).abs() < 0.002,
                "{name}: {length} s"
            );
        }
    }
    Ok(())
}

#[test]
fn a_flat_colour_survives_by_either_matrix() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (height, tag) in [(360, "smpte170m"), (720, "bt709")] {
        for (i, colour) in [[200, 100, 50], [20, 60, 230], [255; 3], [0; 3]]
            .into_iter()
            .enumerate()
        {
            let path = folder.path().join(format!("{height}_{i}.mp4"));
            write(&path, (640, height), (1, 25), &[0, 1], 2, colour)?;
            assert_near(tag, mean_colour(&frames(&path)?[0]), colour, 3.0);
            if has_ffmpeg() {
                assert_eq!(probe(&path, "v", "stream=color_space"), [tag]);
                let picture = folder.path().join("a.png");
                make(&format!("-i {} -frames:v 1", path.display()), &picture);
                let seen = repaint::media::picture::read(&picture)?;
                assert_near("as ffmpeg sees it", mean_colour(&seen), colour, 4.0);
            }
        }
    }
    Ok(())
}

#[test]
fn tagged_matrices_and_ranges_of_sources_are_honoured() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for matrix in ["bt709", "smpte170m", "bt2020"] {
        for range in ["tv", "pc"] {
            for pixels in ["yuv420p", "yuv444p10le"] {
                let what = format!("{matrix}_{range}_{pixels}");
                let source = folder.path().join(format!("{what}.mkv"));
                let tag = if matrix == "bt2020" {
                    "bt2020nc"
                } else {
                    matrix
                };
                make(
                    &format!(
                        "-f lavfi -i color=c=0xC86432:s=64x64:d=0.2,format=gbrp -vf \
                         scale=out_color_matrix={matrix}:out_range={range},format={pixels} \
                         -colorspace {tag} -color_range {range} -c:v ffv1"
                    ),
                    &source,
                );
                assert_near(
                    &what,
                    mean_colour(&frames(&source)?[0]),
                    [200, 100, 50],
                    2.5,
                );
                let output = folder.path().join(format!("{what}.mp4"));
                convert(&source, &output, None)?;
                assert_near(
                    &what,
                    mean_colour(&frames(&output)?[0]),
                    [200, 100, 50],
                    4.0,
                );
                let tags = probe(&output, "v", "stream=color_range,color_space");
                assert_eq!(tags, [format!("tv,{tag}")], "{what}");
            }
        }
    }
    Ok(())
}

/// Colours of sRGB, and what becomes of them when they were shown as HDR of up to 1000 nits, white as 203:
/// what is bright is a little darker, to leave room for what is brighter.
const HDR: [([u8; 3], [u8; 3]); 6] = [
    ([150, 40, 40], [149, 40, 40]),
    ([40, 150, 60], [40, 150, 60]),
    ([40, 60, 150], [40, 60, 150]),
    ([120, 120, 120], [120, 120, 120]),
    ([200, 200, 200], [195, 195, 195]),
    ([255, 255, 255], [229, 229, 229]),
];

#[test]
fn films_of_high_dynamic_range_become_those_of_standard_range() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (input, output) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
    let patches = HDR.map(|([r, g, b], _)| format!("color=0x{r:02x}{g:02x}{b:02x}:s=64x64:d=0.2"));
    let names = ["a", "b", "c", "d", "e", "f"];
    let named: Vec<_> = patches
        .iter()
        .zip(names)
        .map(|(p, n)| format!("{p},format=gbrp[{n}];"))
        .collect();
    let film = named.concat() + "[a][b][c][d][e][f]hstack=inputs=6";
    let display =
        "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50)";
    for (transfer, metadata, words) in [
        ("arib-std-b67", "", "HDR (HLG, up to 1000 nits)"),
        ("smpte2084", "", "HDR (PQ, up to 1000 nits)"),
        (
            "smpte2084",
            ":max-cll=1000,400",
            "HDR (PQ, up to 1000 nits)",
        ),
        (
            "smpte2084",
            &format!(":{display}"),
            "HDR (PQ, up to 4000 nits)",
        ),
    ] {
        let srgb = "setparams=colorspace=gbr:color_trc=iec61966-2-1:color_primaries=bt709";
        let hdr = format!(
            "{srgb},format=gbrpf32le,zscale=t=linear:npl=203,zscale=p=bt2020:agamma=0,\
             zscale=t={transfer}:m=bt2020nc:r=tv:npl=203:agamma=0,format=yuv420p10le"
        );
        let tags = format!("colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc{metadata}");
        make(
            &format!(
                "-filter_complex {film},{hdr} -c:v libx265 -x265-params log-level=none:crf=2:{tags}"
            ),
            &input,
        );
        let (_, remarks) = convert(&input, &output, None)?;
        assert!(
            remarks.iter().any(|remark| remark.contains(words)),
            "{remarks:?}"
        );
        let tags = probe(
            &output,
            "v",
            "stream=color_space,color_transfer,color_primaries",
        );
        assert_eq!(tags, ["bt709,bt709,bt709"]);
        std::fs::remove_file(&output)?;
        if words.contains("4000") {
            continue; // more room for what is brighter
        }
        let mut frame = Frame::default();
        Decoder::open(&input, None)?.read(&mut frame)?;
        for (i, (_, expected)) in HDR.into_iter().enumerate() {
            let found = &frame.pixels[(32 * frame.width + 64 * i + 32) * 3..][..3];
            let found = [0, 1, 2].map(|c| f64::from(found[c]));
            assert_near(&format!("{transfer}, patch {i}"), found, expected, 4.0);
        }
    }
    Ok(())
}

#[test]
fn sound_and_picture_keep_their_distance_when_one_starts_late() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let video = "-f lavfi -i testsrc2=s=64x64:d=2";
    let sound = "-f lavfi -i sine=d=2";
    let late = |video_first: bool| match video_first {
        true => format!("{video} -itsoffset 0.6 {sound} -map 0 -map 1 -c:v libx264 -c:a aac"),
        false => format!("-itsoffset 0.6 {video} {sound} -map 0 -map 1 -c:v libx264 -c:a aac"),
    };
    for (i, video_first) in [true, false].into_iter().enumerate() {
        let source = folder.path().join(format!("{i}.mp4"));
        make(&late(video_first), &source);
        for ending in ["mp4", "mkv", "webm"] {
            let output = folder.path().join(format!("out_{i}.{ending}"));
            convert(&source, &output, None)?;
            let distance = |path: &Path| {
                let start = |s| number(path, s, "packet=pts_time").unwrap();
                start("v") - start("a")
            };
            let (old, new) = (distance(&source), distance(&output));
            // Opus in webm begins with 6.5 ms of lead-in of its own, AAC with up to 23 ms.
            let tolerance = if ending == "webm" { 0.035 } else { 0.002 };
            assert!(
                (old - new).abs() < tolerance,
                "{ending}: {old} s became {new} s"
            );
        }
    }
    Ok(())
}

#[test]
fn a_file_that_starts_late_starts_at_zero() -> Result<()> {
    if !has_ffmpeg() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (source, output) = (folder.path().join("a.ts"), folder.path().join("a.mp4"));
    let both = "-f lavfi -i testsrc2=s=64x64:d=2 -f lavfi -i sine=d=2";
    make(&format!("{both} -c:v libx264 -c:a aac"), &source);
    assert!(number(&source, "", "format=start_time").unwrap() > 1.0);
    convert(&source, &output, None)?;
    assert!(number(&output, "", "format=start_time").unwrap() < 0.05);
    assert_eq!(number(&output, "v", "stream=nb_read_frames"), Some(50.0));
    let length = number(&output, "", "format=duration").unwrap();
    assert!((length - 2.0).abs() < 0.08, "{length} s");
    Ok(())
}

#[test]
fn films_that_are_played_as_cameras_have_square_pixels() -> Result<()> {
    let Some(files) = Files::new()? else {
        return Ok(());
    };
    for (aspect, size) in [("16/11", (128, 66)), ("8/9", (88, 74)), ("1/200", (88, 66))] {
        let film = format!("-f lavfi -i color=red:s=88x66:r=10:d=1,setsar={aspect}:max=1000");
        make(&format!("{film} -c:v libx264"), &files.path("a.mp4"));
        let mut player = Player::open(&files.path("a.mp4"))?;
        assert_eq!(player.size(), size, "{aspect}");
        let mut frame = Frame::default();
        player.read(&mut frame)?;
        assert_eq!((frame.width, frame.height), size, "{aspect}");
        assert_near(aspect, mean_colour(&frame), [255, 0, 0], 4.0);
        std::fs::remove_file(files.path("a.mp4"))?;
    }
    Ok(())
}
