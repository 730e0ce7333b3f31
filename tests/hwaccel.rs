//! Films that the GPU decodes, with a driver made for the tests (tests/nvdec/driver.c) in the place
//! of NVIDIA's.
#![cfg(all(target_os = "linux", feature = "video"))]

#[path = "common/clips.rs"]
mod clips;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use clips::{frames, has_ffmpeg, make};

/// Width and height of the film: FFmpeg's decoders round them up to 336x192 and cut the rest.
const SIZE: &str = "322x182";

/// Builds the driver in `folder`.
fn build_driver(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvdec/driver.c");
    let driver = folder.join("libcuda.so.1");
    let status = Command::new("cc")
        .args([
            "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
        ])
        .args([&driver, &source])
        .status()
        .expect("a C compiler, as linking needs one");
    assert!(status.success(), "the driver does not compile");
    std::fs::copy(driver, folder.join("libnvcuvid.so.1")).expect("a copy");
}

/// Whether FFmpeg was built to use NVIDIA's decoder; fails when not and `CI` is set.
fn has_hwaccel() -> bool {
    let listed = Command::new("ffmpeg")
        .args(["-hide_banner", "-hwaccels"])
        .output()
        .expect("ffmpeg starts")
        .stdout;
    let there = String::from_utf8_lossy(&listed)
        .lines()
        .any(|line| line == "cuda");
    assert!(
        there || std::env::var_os("CI").is_none(),
        "CI's FFmpeg knows no CUDA"
    );
    if !there {
        println!("skipped: this FFmpeg knows no CUDA");
    }
    there
}

#[test]
fn the_gpu_decodes_a_film_and_the_cpu_what_the_gpu_does_not_give() -> Result<()> {
    if !has_ffmpeg() || !has_hwaccel() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name);
    build_driver(folder.path());
    // B-frames come out of the decoder in another order than they go in.
    let lavfi = format!("-f lavfi -i testsrc2=size={SIZE}:rate=25 -t 1.6 -pix_fmt yuv420p");
    make(&format!("{lavfi} -c:v libx264 -bf 2"), &place("film.mp4"));
    let film = place("film.mp4");
    let raw = format!("-i {} -pix_fmt nv12 -f rawvideo", film.display());
    make(&raw, &place("film.nv12"));

    let convert = |output: &str, settings: &[(&str, &str)]| {
        let done = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .args(["video", "film.mp4", output, "--strength", "0"])
            .args(["--hwaccel", "cuda", "--codec", "ffv1"])
            .current_dir(folder.path())
            .env("XDG_DATA_HOME", place("data"))
            .env("NVDEC_FRAMES", place("film.nv12"))
            .env("NVDEC_SIZE", SIZE)
            .envs(settings.iter().copied())
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    };
    let others = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let path = format!("{}:{others}", folder.path().display());
    let driver = ("LD_LIBRARY_PATH", path.as_str());

    let said = convert("cpu.mkv", &[]);
    assert!(
        said.contains("decoding on the CPU"),
        "without a driver: {said}"
    );
    let expected = frames(&place("cpu.mkv"))?;
    assert_eq!(expected.len(), 40);

    let said = convert("gpu.mkv", &[driver]);
    assert_eq!(said.trim(), "decoding on the GPU, encoding by ffv1");
    assert!(frames(&place("gpu.mkv"))? == expected, "the GPU's frames");

    for (fails, words) in [
        ("0", "decoding on the CPU"),
        ("17", "the GPU gave up at frame 17 ("),
        ("39", "the GPU gave up at frame 39 ("),
    ] {
        let output = format!("{fails}.mkv");
        let said = convert(&output, &[driver, ("NVDEC_FAILS", fails)]);
        assert!(said.contains(words), "{fails}: {said}");
        assert!(frames(&place(&output))? == expected, "failing at {fails}");
    }
    Ok(())
}

#[test]
fn a_film_is_encoded_by_the_cpu_where_the_gpu_has_no_encoder() -> Result<()> {
    use repaint::media::Hwaccel;
    use repaint::media::decode::VideoInfo;
    use repaint::media::encode::{Beside, EncodeSettings, Encoder};
    use repaint::output::Existing;

    let folder = tempfile::tempdir()?;
    let info = VideoInfo::new(320, 180, (25, 1));
    let open = |name: &str, codec: Option<&str>| {
        let settings = EncodeSettings {
            codec: codec.map(String::from),
            hwaccel: Hwaccel::Cuda,
            ..EncodeSettings::default()
        };
        Encoder::create(
            &folder.path().join(name),
            Existing::Keep,
            &info,
            &settings,
            Beside::Nothing,
        )
    };
    if Path::new("/proc/driver/nvidia/version").exists() {
        println!("skipped: there is an NVIDIA GPU, which may encode");
        return Ok(());
    }
    assert_eq!(open("a.mp4", None)?.codec(), "libx264");
    assert_eq!(open("a.webm", None)?.codec(), "libvpx-vp9");
    if has_ffmpeg() && has_hwaccel() {
        let error = format!(
            "{:#}",
            open("b.mp4", Some("h264_nvenc")).err().expect("an error")
        );
        assert!(
            error.contains("needs an NVIDIA GPU") && !error.contains('\n'),
            "{error}"
        );
    }
    Ok(())
}
