//! Renders the clip and the pictures of this folder; see README.md beside it.
//!
//! `cargo run --release --example render_samples -- samples` writes them all; names after the
//! folder (`clip`, `lighthouse`, `still_life`, `lake`) render only those. Nothing is drawn by
//! chance: every run gives the same pixels. FFmpeg's command line program encodes them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

#[path = "render/camera.rs"]
mod camera;
#[path = "render/fruit.rs"]
mod fruit;
#[path = "render/lake.rs"]
mod lake;
#[path = "render/lighthouse.rs"]
mod lighthouse;
#[path = "render/math.rs"]
mod math;
#[path = "render/outdoors.rs"]
mod outdoors;
#[path = "render/sky.rs"]
mod sky;
#[path = "render/sound.rs"]
mod sound;
#[path = "render/sprite.rs"]
mod sprite;
#[path = "render/still_life.rs"]
mod still_life;
#[path = "render/terrain.rs"]
mod terrain;

use camera::Picture;
use lake::Lake;

const FRAMES: u32 = 125;
const FRAMES_PER_SECOND: u32 = 25;
const NAMES: [&str; 4] = ["clip", "lake", "lighthouse", "still_life"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((folder, names)) = arguments.split_first() else {
        bail!(
            "name the folder to write to, then, if not all: {}",
            NAMES.join(", ")
        );
    };
    let folder = Path::new(folder);
    ensure!(folder.is_dir(), "`{}` is not a folder", folder.display());
    for name in names {
        ensure!(
            NAMES.contains(&name.as_str()),
            "unknown name `{name}` (known: {})",
            NAMES.join(", ")
        );
    }
    for name in NAMES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            match name {
                "clip" => clip(folder)?,
                "lake" => lake_picture(folder)?,
                "lighthouse" => lighthouse_picture(folder)?,
                _ => still_life_picture(folder)?,
            }
        }
    }
    Ok(())
}

fn clip(folder: &Path) -> Result<()> {
    let seconds = FRAMES as f32 / FRAMES_PER_SECOND as f32;
    let wave = folder.join("clip.wav");
    std::fs::write(&wave, wave_file(&sound::render(seconds)))?;
    let picture = Picture {
        width: 640,
        height: 360,
        grid: 2,
        exposure: 1.0,
    };
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args([
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pixel_format",
        "rgb24",
    ]);
    ffmpeg.args([
        "-video_size",
        "640x360",
        "-framerate",
        "25",
        "-i",
        "-",
        "-i",
    ]);
    ffmpeg.arg(&wave);
    ffmpeg.args([
        "-vf",
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
    ]);
    ffmpeg.args([
        "-c:v", "libx264", "-preset", "veryslow", "-crf", "25", "-threads", "1",
    ]);
    ffmpeg.args([
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
    ]);
    ffmpeg.args(["-c:a", "aac", "-b:a", "112k", "-movflags", "+faststart"]);
    ffmpeg.args([
        "-fflags",
        "+bitexact",
        "-flags:v",
        "+bitexact",
        "-flags:a",
        "+bitexact",
    ]);
    ffmpeg.arg(folder.join("clip.mp4"));
    let mut lake = Lake::new();
    let done = feed(ffmpeg, |pipe| {
        for frame in 0..FRAMES {
            let now = frame as f32 / FRAMES_PER_SECOND as f32;
            lake.set_time(now);
            let camera = Lake::camera(now, seconds);
            let pixels = picture.render(&camera, |o, d, _| lake.radiance(o, d));
            pipe.write_all(&pixels)?;
            eprintln!("clip: frame {} of {FRAMES}", frame + 1);
        }
        Ok(())
    });
    std::fs::remove_file(&wave)?;
    done
}

fn lake_picture(folder: &Path) -> Result<()> {
    let mut lake = Lake::new();
    lake.set_time(3.0);
    let picture = Picture {
        width: 640,
        height: 480,
        grid: 3,
        exposure: 1.0,
    };
    let pixels = picture.render(&Lake::from_the_shore(), |o, d, _| lake.radiance(o, d));
    encode_picture(&pixels, &picture, &folder.join("lake.jpg"))
}

fn lighthouse_picture(folder: &Path) -> Result<()> {
    let scene = lighthouse::scene();
    let picture = Picture {
        width: 480,
        height: 640,
        grid: 3,
        exposure: 1.0,
    };
    let pixels = picture.render(&lighthouse::camera(), |o, d, _| scene.radiance(o, d));
    encode_picture(&pixels, &picture, &folder.join("lighthouse.jpg"))
}

fn still_life_picture(folder: &Path) -> Result<()> {
    let picture = Picture {
        width: 640,
        height: 480,
        grid: 3,
        exposure: 1.5,
    };
    let pixels = picture.render(&still_life::camera(), still_life::radiance);
    encode_picture(&pixels, &picture, &folder.join("still_life.jpg"))
}

fn encode_picture(pixels: &[u8], picture: &Picture, path: &Path) -> Result<()> {
    let size = format!("{}x{}", picture.width, picture.height);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args([
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pixel_format",
        "rgb24",
    ]);
    ffmpeg.args([
        "-video_size",
        &size,
        "-i",
        "-",
        "-frames:v",
        "1",
        "-q:v",
        "2",
    ]);
    ffmpeg.args([
        "-pix_fmt",
        "yuvj444p",
        "-fflags",
        "+bitexact",
        "-flags:v",
        "+bitexact",
    ]);
    ffmpeg.arg(path);
    feed(ffmpeg, |pipe| pipe.write_all(pixels))?;
    eprintln!("{}", path.display());
    Ok(())
}

/// Runs `command` and writes to its standard input.
fn feed(
    mut command: Command,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .context("could not start `ffmpeg`: install FFmpeg's command line program")?;
    let mut pipe = child.stdin.take().context("ffmpeg has no standard input")?;
    let written = write(&mut pipe);
    drop(pipe);
    let status = child.wait()?;
    ensure!(status.success(), "ffmpeg ended with {status}");
    written.context("could not send frames to ffmpeg")
}

/// 16-bit stereo samples as a WAV file.
fn wave_file(samples: &[i16]) -> Vec<u8> {
    let size = samples.len() as u32 * 2;
    let mut file = Vec::with_capacity(size as usize + 44);
    file.extend(b"RIFF");
    file.extend((size + 36).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1, 0, 2, 0]); // PCM, stereo
    file.extend(sound::RATE.to_le_bytes());
    file.extend((sound::RATE * 4).to_le_bytes());
    file.extend([4, 0, 16, 0]); // bytes in a sample pair, bits in a sample
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    for sample in samples {
        file.extend(sample.to_le_bytes());
    }
    file
}
