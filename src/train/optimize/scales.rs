//! Coarse to fine: which sizes a picture is worked through, and how large styles are at each.
//!
//! Small pictures let strokes span much of the picture; larger ones start from them and add detail.

use anyhow::{Result, ensure};

use super::settings::{LONGEST, Settings};
use crate::frame::Frame;
use crate::scale;

/// The smallest size is chosen so that its longer side is still at least this many pixels.
const COARSEST: usize = 192;

/// Shortest side of a picture that is optimised or looked at: four poolings leave 2 of 32.
pub const SHORTEST: usize = 32;

/// Most scales: 2048 pixels halved six times are [`SHORTEST`].
const MOST: u32 = 7;

/// One size and the steps made at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps at this size.
    pub steps: u32,
}

/// The sizes that a picture of `width` x `height` pixels is worked through, the smallest first. When
/// no size is asked for, the longer side is that of the picture, at most `usual`. Fails where the last
/// has a longer side of more than 2048 pixels, or the first a shorter one of less than 32.
pub fn plan(
    settings: &Settings,
    (width, height): (usize, usize),
    usual: usize,
) -> Result<Vec<Scale>> {
    let (short, long) = (width.min(height).max(1), width.max(height).max(1));
    let (width, height) = match settings.size {
        Some(to) => scale::in_ratio((width, height), to, short),
        None if long > usual => scale::in_ratio((width, height), usual, long),
        None => (width, height),
    };
    let (long, short) = (width.max(height), width.min(height));
    ensure!(
        long <= LONGEST,
        "a picture of {width}x{height} is too large to optimise (at most {LONGEST} a side): choose \
         a smaller --size"
    );
    ensure!(
        short >= SHORTEST,
        "a picture of {width}x{height} is too small to optimise (at least {SHORTEST} a side): \
         choose a larger --size"
    );
    let fitting = |count: &u32| long >> (count - 1) >= COARSEST && short >> (count - 1) >= SHORTEST;
    let count = match settings.scales {
        Some(count) => count.max(1),
        None => (1..=MOST).rev().find(fitting).unwrap_or(1),
    };
    ensure!(
        count <= MOST && short >> (count - 1) >= SHORTEST,
        "{count} scales of {width}x{height} begin below {SHORTEST} pixels a side: choose fewer"
    );
    let scale = |index: u32| {
        let halvings = count - 1 - index;
        let shrunk = |length: usize| (length + (1 << halvings) / 2) >> halvings;
        Scale {
            width: shrunk(width),
            height: shrunk(height),
            steps: (settings.steps >> index).max(1),
        }
    };
    Ok((0..count).map(scale).collect())
}

/// A style picture as it is looked at beside a picture of `scale`: its longer side is that of the
/// picture times `part`, its shorter one at least 32 pixels. Fails where that is too long.
pub fn style_at(style: &Frame, scale: &Scale, part: f64) -> Result<Frame> {
    let (long, short) = (style.width.max(style.height), style.width.min(style.height));
    let wanted = scale.width.max(scale.height) as f64 * part / long.max(1) as f64;
    let factor = wanted.max(SHORTEST as f64 / short.max(1) as f64);
    let scaled = |length: usize| (length as f64 * factor).round() as usize;
    let (width, height) = (scaled(style.width), scaled(style.height));
    let most = LONGEST as f64 * part.max(1.0);
    ensure!(
        width.max(height) as f64 <= most,
        "a style of {}x{} is too narrow: cut it nearer to a square",
        style.width,
        style.height
    );
    scale::resized(style, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(settings: &Settings, width: usize, height: usize) -> Vec<(usize, usize, u32)> {
        let scales = plan(settings, (width, height), 4096).unwrap();
        let parts = |scale: &Scale| (scale.width, scale.height, scale.steps);
        scales.iter().map(parts).collect()
    }

    #[test]
    fn sizes_double_up_to_the_one_asked_for_and_steps_halve() {
        let mut settings = Settings {
            steps: 400,
            ..Settings::default()
        };
        assert_eq!(
            sizes(&settings, 2048, 1535),
            [
                (256, 192, 400),
                (512, 384, 200),
                (1024, 768, 100),
                (2048, 1535, 50)
            ]
        );
        assert_eq!(sizes(&settings, 160, 120), [(160, 120, 400)]);
        let usual = plan(&settings, (4000, 3000), 100).unwrap();
        assert_eq!((usual[0].width, usual[0].height), (100, 75));
        settings.size = Some(120);
        settings.scales = Some(2);
        assert_eq!(
            sizes(&settings, 3000, 2000),
            [(90, 60, 400), (180, 120, 200)]
        );
    }

    #[test]
    fn styles_follow_the_size_of_the_picture_but_are_never_too_small_to_see() {
        let scale = Scale {
            width: 100,
            height: 75,
            steps: 1,
        };
        let size = |width, height, part| {
            let style = style_at(&Frame::new(width, height), &scale, part)?;
            Ok::<_, anyhow::Error>((style.width, style.height))
        };
        assert_eq!(size(400, 300, 1.0).unwrap(), (100, 75));
        assert_eq!(size(400, 300, 0.5).unwrap(), (50, 38));
        assert_eq!(size(400, 300, 0.1).unwrap(), (43, 32));
        assert_eq!(size(8, 8, 1.0).unwrap(), (100, 100));
        let error = size(8, 640, 1.0).unwrap_err().to_string();
        assert!(error.contains("too narrow"), "{error}");
    }

    #[test]
    fn sizes_that_cannot_be_worked_on_are_told() {
        let mut settings = Settings::default();
        let error = |settings: &Settings, width, height| {
            let error = plan(settings, (width, height), 4096).unwrap_err();
            error.to_string()
        };
        assert!(error(&settings, 4000, 3000).contains("smaller --size"));
        assert!(error(&settings, 8, 8).contains("larger --size"));
        settings.scales = Some(5);
        assert!(error(&settings, 400, 300).contains("fewer"));
    }
}
