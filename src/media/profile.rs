//! Colours of pictures with a profile (ICC) as those of sRGB, which everything else here means by RGB. The
//! only place that knows the `moxcms` crate.

use anyhow::{Result, anyhow};
use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};
use rayon::prelude::*;

/// Values of each channel by which a profile is told from sRGB.
const PROBES: usize = 9;

/// Difference of a value, of 255, up to which a profile is sRGB: there are many of that name, and their
/// rounding is not worth any change of a picture.
const ALIKE: u8 = 2;

/// Bytes that one task converts, whole pixels.
const SHARE: usize = 3 << 16;

/// Turns RGB `pixels` of the colours that the `profile` of a picture describes into sRGB. Profiles of other
/// kinds of colours change nothing. Fails for one that is broken.
pub(super) fn to_srgb(profile: &[u8], pixels: &mut [u8]) -> Result<()> {
    let failed = |error| anyhow!("its colour profile is broken: {error}");
    let profile = ColorProfile::new_from_slice(profile).map_err(failed)?;
    if profile.color_space != DataColorSpace::Rgb {
        return Ok(());
    }
    let (srgb, options) = (ColorProfile::new_srgb(), TransformOptions::default());
    let transform = profile.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, options);
    let transform = transform.map_err(failed)?;
    let mut probes = probes();
    let before = probes.clone();
    convert(&*transform, &mut probes).map_err(failed)?;
    let mut pairs = probes.iter().zip(&before);
    if pairs.all(|(after, before)| after.abs_diff(*before) <= ALIKE) {
        return Ok(());
    }
    let shares = pixels.par_chunks_mut(SHARE);
    shares.try_for_each(|share| convert(&*transform, share).map_err(failed))
}

fn convert(transform: &Transform8BitExecutor, pixels: &mut [u8]) -> Result<(), moxcms::CmsError> {
    let source = pixels.to_vec();
    transform.transform(&source, pixels)
}

/// Colours all over RGB.
fn probes() -> Vec<u8> {
    let value = |i: usize| (i % PROBES * 255 / (PROBES - 1)) as u8;
    let color = |i: usize| [i, i / PROBES, i / PROBES / PROBES].map(value);
    (0..PROBES.pow(3)).flat_map(color).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The profile of Display P3.
    pub fn display_p3() -> Vec<u8> {
        ColorProfile::new_display_p3().encode().expect("a profile")
    }

    /// A colour of Display P3 in sRGB, by the formulas of both (IEC 61966-2-1, SMPTE RP 431-2).
    fn of_display_p3(color: [u8; 3]) -> [u8; 3] {
        let linear = color.map(|value| match f64::from(value) / 255.0 {
            value if value <= 0.04045 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        });
        let rows = [
            [1.2249, -0.2247, 0.0],
            [-0.0420, 1.0419, 0.0],
            [-0.0197, -0.0786, 1.0979],
        ];
        rows.map(|row: [f64; 3]| {
            let value: f64 = row.iter().zip(linear).map(|(a, b)| a * b).sum();
            let value = match value.clamp(0.0, 1.0) {
                value if value <= 0.0031308 => 12.92 * value,
                value => 1.055 * value.powf(1.0 / 2.4) - 0.055,
            };
            (255.0 * value).round() as u8
        })
    }

    #[test]
    fn colours_of_display_p3_become_those_of_srgb() -> Result<()> {
        let profile = display_p3();
        let colors = [
            [200, 100, 50],
            [30, 180, 90],
            [128, 128, 128],
            [10, 20, 250],
        ];
        let mut pixels = colors.concat();
        to_srgb(&profile, &mut pixels)?;
        for (found, color) in pixels.chunks(3).zip(colors) {
            let expected = of_display_p3(color);
            let mut pairs = found.iter().zip(expected);
            assert!(
                pairs.all(|(found, expected)| found.abs_diff(expected) <= 1),
                "{color:?}: {found:?}, expected {expected:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn srgb_stays_as_it_is_and_a_broken_profile_is_told() {
        let profile = ColorProfile::new_srgb().encode().expect("a profile");
        let before: Vec<u8> = (0..=254).collect();
        let mut pixels = before.clone();
        to_srgb(&profile, &mut pixels).expect("a profile that is whole");
        assert_eq!(pixels, before);
        let error = to_srgb(&profile[..100], &mut pixels).expect_err("half a profile");
        assert!(error.to_string().contains("colour profile"), "{error}");
    }
}
