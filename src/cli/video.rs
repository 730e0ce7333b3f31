//! The arguments of `repaint video`.

use std::path::PathBuf;

use clap::Args;

use super::values::whole;
use super::{FilmArgs, PaintArgs};

/// `repaint video`.
#[derive(Args, Debug)]
pub struct VideoArgs {
    /// Video file to paint
    pub input: PathBuf,
    /// Video file to write; its ending chooses the container (mp4, m4v, mov, mkv, webm)
    pub output: PathBuf,
    /// How to paint.
    #[command(flatten)]
    pub paint: PaintArgs,
    /// Video encoder by FFmpeg's name, such as libx264, libx265, libvpx-vp9, prores_ks, h264_nvenc;
    /// the usual one of the container when not given
    #[arg(long, value_name = "NAME")]
    pub codec: Option<String>,
    /// How to paint what moves.
    #[command(flatten)]
    pub film: FilmArgs,
    /// Constant quality of the encoder: 0 (best) to 51 for H.264 and H.265, to 63 for VP9 and AV1; for
    /// H.264 18 is visually lossless [default: 18]
    #[arg(long, value_name = "N", value_parser = whole::<u8>(0..=63))]
    pub crf: Option<u8>,
    /// Encoder preset, from ultrafast to veryslow; superfast for H.264 (without CABAC) and H.265
    /// when not given
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Begin here: seconds, or minutes and hours before them, as in 90, 1:30 or 1:02:03.5
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    pub from: i64,
    /// End here
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
}

/// A time as in `90`, `1:30` or `1:02:03.5`, in microseconds.
fn time(text: &str) -> Result<i64, String> {
    let words = || "expected a time such as 90, 1:30 or 1:02:03.5".to_string();
    let mut parts = text.split(':').rev();
    let seconds: f64 = parts
        .next()
        .and_then(|part| part.parse().ok())
        .ok_or_else(words)?;
    let mut total = seconds;
    let is_alone = !text.contains(':');
    for (unit, part) in [60.0, 3600.0].into_iter().zip(parts.by_ref()) {
        let number: u32 = part.parse().map_err(|_| words())?;
        total += f64::from(number) * unit;
    }
    let is_sane = (0.0..60.0).contains(&seconds) || is_alone && (0.0..1e7).contains(&seconds);
    match parts.next().is_none() && is_sane && total < 1e7 {
        true => Ok((total * 1e6).round() as i64),
        false => Err(words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let known = [
            ("90", 90.0),
            ("0.5", 0.5),
            ("1:30", 90.0),
            ("1:02:03.5", 3723.5),
            ("61:00", 3660.0),
        ];
        for (text, seconds) in known {
            assert_eq!(time(text), Ok((seconds * 1e6) as i64), "{text}");
        }
        for text in [
            "", "x", "-1", "1:", ":1", "1:60", "1:-1", "1:2:3:4", "nan", "inf", "1e9",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
