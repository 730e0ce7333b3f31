//! Films of high dynamic range (HDR, by the curves PQ or HLG of ITU-R BT.2100) or wide gamut (BT.2020, P3) as
//! films of standard range and BT.709: networks learn from such pictures, and their colours would glare.
//!
//! Up to about half of what standard screens call white, light stays as it is; what is brighter in HDR is
//! compressed (ITU-R BT.2390, section 5.4). Hues stay, and colours that BT.709 lacks become paler.

use ffmpeg_next as av;
use rayon::prelude::*;

use av::color::{Primaries, TransferCharacteristic};

use super::curves::{
    HIGHEST, HLG_GAMMA, USUAL_PEAK, WHITE, compress, hlg_to_scene, pq_to_nits, srgb, srgb_to_linear,
};
use crate::media::ffmpeg::Color;

/// Weights of R, G, B in luminance (ITU-R BT.2020, BT.709).
const LUMA_2020: [f32; 3] = [0.2627, 0.6780, 0.0593];
const LUMA_709: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// Linear RGB of BT.2020 and of P3 with the white of daylight as that of BT.709 (ITU-R BT.2087, table 4; SMPTE EG
/// 432-1).
const FROM_2020: [[f32; 3]; 3] = [
    [1.6605, -0.5877, -0.0728],
    [-0.1246, 1.1330, -0.0084],
    [-0.0182, -0.1006, 1.1187],
];
const FROM_P3: [[f32; 3]; 3] = [
    [1.2249, -0.2247, -0.0002],
    [-0.0420, 1.0419, 0.0001],
    [-0.0197, -0.0786, 1.0983],
];
const SAME: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Pixels that go through a step together.
const RUN: usize = 64;

/// Bytes that one task converts, whole pixels: some 60 us of work.
const SHARE: usize = 3 << 14;

/// What the signal of a film means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    /// Perceptual quantizer (SMPTE ST 2084) of a film whose brightest light has so many nits.
    Pq(f64),
    /// Hybrid log-gamma (ARIB STD-B67).
    Hlg,
    /// Standard range. Decoded and encoded by one curve, greys stay as they are, whichever it is.
    Standard,
}

/// Turns colours of high dynamic range and wide gamut into those of sRGB.
pub(super) struct Tone {
    curve: Curve,
    to_709: [[f32; 3]; 3],
    /// Light of each level of the signal: on the screen, or in the scene for HLG.
    light: [f32; 256],
    /// What screens for HLG multiply light by, by the luminance of the scene.
    screen: Table<f32>,
    /// What light is multiplied by, by the brightest channel: white of standard range becomes 1.
    shown: Table<f32>,
    /// Levels of sRGB.
    levels: Table<u8>,
}

impl Tone {
    /// For a film of `color` whose brightest light has `peak` nits, if that is known; `None` for one of
    /// standard range and gamut.
    pub fn new(color: &Color, peak: Option<f64>) -> Option<Self> {
        let curve = match color.transfer {
            TransferCharacteristic::SMPTE2084 => {
                Curve::Pq(peak.unwrap_or(USUAL_PEAK).clamp(WHITE, HIGHEST))
            }
            TransferCharacteristic::ARIB_STD_B67 => Curve::Hlg,
            _ => Curve::Standard,
        };
        let to_709 = match color.primaries {
            Primaries::BT2020 => FROM_2020,
            Primaries::SMPTE432 => FROM_P3,
            _ if curve == Curve::Standard => return None,
            Primaries::BT709 => SAME,
            _ => FROM_2020,
        };
        let light: fn(f64) -> f64 = match curve {
            Curve::Pq(_) => pq_to_nits,
            Curve::Hlg => hlg_to_scene,
            Curve::Standard => |signal| WHITE * srgb_to_linear(signal),
        };
        let peak = curve.peak();
        Some(Self {
            curve,
            to_709,
            light: std::array::from_fn(|level| light(level as f64 / 255.0) as f32),
            screen: Table::new(1.0, |scene| {
                (USUAL_PEAK * scene.powf(HLG_GAMMA - 1.0)) as f32
            }),
            shown: Table::new(2.0 * HIGHEST, |nits| {
                (compress(nits, peak) / nits / WHITE) as f32
            }),
            levels: Table::new(1.0, |linear| (255.0 * srgb(linear)).round() as u8),
        })
    }

    /// What to tell people of it.
    pub fn remark(&self) -> String {
        let hdr = |name| {
            let peak = self.curve.peak();
            format!("painted in standard range: its HDR ({name}, up to {peak:.0} nits)")
        };
        match self.curve {
            Curve::Pq(_) => hdr("PQ"),
            Curve::Hlg => hdr("HLG"),
            Curve::Standard => "painted in the colours of BT.709: its wide gamut".into(),
        }
    }

    /// Converts `pixels` of three bytes.
    pub fn run(&self, pixels: &mut [u8]) {
        pixels.par_chunks_mut(SHARE).for_each(|pixels| {
            let (pixels, _) = pixels.as_chunks_mut::<3>();
            pixels.chunks_mut(RUN).for_each(|run| self.convert(run));
        });
    }

    /// Converts at most [`RUN`] pixels, a step of the way for all of them at once: so the compiler computes
    /// several together.
    fn convert(&self, pixels: &mut [[u8; 3]]) {
        let mut light = [[0.0; RUN]; 3];
        for (i, pixel) in pixels.iter().enumerate() {
            for (light, level) in light.iter_mut().zip(pixel) {
                light[i] = self.light[usize::from(*level)];
            }
        }
        let [r, g, b] = &mut light;
        if self.curve == Curve::Hlg {
            for i in 0..RUN {
                let screen = self.screen.at(dot(LUMA_2020, [r[i], g[i], b[i]]));
                [r[i], g[i], b[i]] = [screen * r[i], screen * g[i], screen * b[i]];
            }
        }
        let [to_r, to_g, to_b] = self.to_709;
        let mut shown = [0.0; RUN];
        for i in 0..RUN {
            let color = [r[i], g[i], b[i]];
            let color = [dot(to_r, color), dot(to_g, color), dot(to_b, color)];
            [r[i], g[i], b[i]] = within_gamut(color);
            shown[i] = r[i].max(g[i]).max(b[i]);
        }
        // By the brightest channel, so that none is cut off and the hue stays.
        for brightest in &mut shown {
            *brightest = self.shown.at(*brightest);
        }
        for (i, pixel) in pixels.iter_mut().enumerate() {
            for (level, light) in pixel.iter_mut().zip(&light) {
                *level = self.levels.at(shown[i] * light[i]);
            }
        }
    }
}

impl Curve {
    /// Brightest light of the film in nits.
    fn peak(self) -> f64 {
        match self {
            Self::Pq(peak) => peak,
            Self::Hlg => USUAL_PEAK,
            Self::Standard => WHITE,
        }
    }
}

/// A function of numbers above 0, at steps of 1/256 of them.
struct Table<T> {
    values: Vec<T>,
}

impl<T: Copy> Table<T> {
    /// Bits of a number that tell no steps apart.
    const SHIFT: u32 = f32::MANTISSA_DIGITS - 1 - 8;

    /// The number that the table begins at: smaller ones count as this one.
    const LEAST: f32 = 1.0 / (1 << 20) as f32;

    /// Of `function` up to `most`, which larger numbers count as.
    fn new(most: f64, function: impl Fn(f64) -> T) -> Self {
        let middle = |step: u32| f32::from_bits((step << Self::SHIFT) + (1 << (Self::SHIFT - 1)));
        let steps = Self::step(Self::LEAST)..=Self::step(most as f32);
        let values = steps.map(|step| function(f64::from(middle(step))));
        Self {
            values: values.collect(),
        }
    }

    fn step(number: f32) -> u32 {
        number.to_bits() >> Self::SHIFT
    }

    #[inline(always)]
    fn at(&self, number: f32) -> T {
        let step = Self::step(number.max(Self::LEAST)) - Self::step(Self::LEAST);
        self.values[(step as usize).min(self.values.len() - 1)]
    }
}

#[inline(always)]
fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Mixes grey into a linear colour of BT.709 until no channel is below 0; it stays as bright.
#[inline(always)]
fn within_gamut(color: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = color;
    let least = r.min(g).min(b).min(0.0);
    let grey = dot(LUMA_709, color).max(f32::MIN_POSITIVE);
    let kept = grey / (grey - least);
    [r, g, b].map(|value| grey + kept * (value - grey))
}

#[cfg(test)]
mod tests {
    use super::super::curves::nits_to_pq;
    use super::*;

    impl Tone {
        fn to_srgb(&self, mut color: [u8; 3]) -> [u8; 3] {
            self.run(&mut color);
            color
        }
    }

    fn tone(transfer: TransferCharacteristic, primaries: Primaries) -> Tone {
        let color = Color {
            transfer,
            primaries,
            ..Color::default()
        };
        Tone::new(&color, None).expect("a film of high dynamic range")
    }

    const PQ: TransferCharacteristic = TransferCharacteristic::SMPTE2084;
    const HLG: TransferCharacteristic = TransferCharacteristic::ARIB_STD_B67;

    #[test]
    fn tables_are_as_good_as_the_formulas() {
        let [pq, hlg] = [PQ, HLG].map(|transfer| tone(transfer, Primaries::BT709));
        for level in 0..=255u8 {
            let signal = f64::from(level) / 255.0;
            let nits = pq_to_nits(signal);
            let scene = USUAL_PEAK * hlg_to_scene(signal).powf(HLG_GAMMA);
            for (tone, nits) in [(&pq, nits), (&hlg, scene)] {
                let exact = 255.0 * srgb(compress(nits, USUAL_PEAK) / WHITE);
                let found = f64::from(tone.to_srgb([level; 3])[0]);
                assert!((found - exact).abs() < 1.3, "{level}: {found}, {exact}");
            }
        }
    }

    /// Light of `nits` in the three channels of BT.2020 or HLG's scene as levels of a signal.
    fn levels(nits: [f64; 3]) -> [u8; 3] {
        nits.map(|nits| (255.0 * nits_to_pq(nits)).round() as u8)
    }

    #[test]
    fn colours_of_bt_709_come_back_and_others_become_paler() {
        let tone = tone(PQ, Primaries::BT2020);
        // Linear BT.709 as BT.2020 (ITU-R BT.2087, table 2), of at most a third of white.
        let rows = [
            [0.6274, 0.3293, 0.0433],
            [0.0691, 0.9195, 0.0114],
            [0.0164, 0.0880, 0.8956],
        ];
        for color in [
            [60.0, 5.0, 5.0],
            [10.0, 60.0, 20.0],
            [4.0, 8.0, 60.0],
            [50.0, 45.0, 1.0],
        ] {
            let nits = rows.map(|row: [f64; 3]| row.iter().zip(color).map(|(a, b)| a * b).sum());
            let found = tone.to_srgb(levels(nits));
            for (found, nits) in found.into_iter().zip(color) {
                let exact = 255.0 * srgb(nits / WHITE);
                assert!(
                    (f64::from(found) - exact).abs() < 6.0,
                    "{color:?}: {found}, {exact}"
                );
            }
        }
        // Pure green of BT.2020 has red and blue below 0 in BT.709.
        let [r, g, b] = tone.to_srgb(levels([0.0, 60.0, 0.0]));
        assert!(r.min(b) == 0 && g > 130 && r.max(b) > 20, "{r} {g} {b}");
    }

    #[test]
    fn wide_gamuts_of_standard_range_become_that_of_bt_709() {
        let standard = TransferCharacteristic::BT709;
        for (primaries, rows) in [
            (Primaries::SMPTE432, FROM_P3),
            (Primaries::BT2020, FROM_2020),
        ] {
            let tone = tone(standard, primaries);
            for level in 0..=255u8 {
                let [r, g, b] = tone.to_srgb([level; 3]);
                assert!(
                    r.abs_diff(level)
                        .max(g.abs_diff(level))
                        .max(b.abs_diff(level))
                        <= 1
                );
            }
            for color in [
                [180, 140, 120],
                [130, 150, 120],
                [110, 115, 140],
                [128, 128, 140],
            ] {
                let linear = color.map(|level| srgb_to_linear(f64::from(level) / 255.0) as f32);
                let exact = rows.map(|row| 255.0 * srgb(f64::from(dot(row, linear))));
                for (found, exact) in tone.to_srgb(color).into_iter().zip(exact) {
                    assert!(
                        (f64::from(found) - exact).abs() < 1.5,
                        "{color:?}: {found} {exact}"
                    );
                }
            }
            // As bright as white and not in BT.709: darker, but of its hue.
            let [r, g, b] = tone.to_srgb([0, 255, 0]);
            assert!(g > 240 && r.max(b) < 150, "{r} {g} {b}");
        }
    }

    #[test]
    fn greys_stay_grey_and_the_other_range_stays_as_it_is() {
        for (transfer, primaries) in [
            (PQ, Primaries::BT2020),
            (PQ, Primaries::SMPTE432),
            (HLG, Primaries::BT709),
        ] {
            let tone = tone(transfer, primaries);
            let mut greys: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
            tone.run(&mut greys);
            let [greys, rest] = [
                greys.as_chunks::<3>().0,
                greys.as_chunks::<3>().1.as_chunks().0,
            ];
            assert!(rest.is_empty() && greys[0] == [0; 3] && greys[255] == [255; 3]);
            let spread = |[r, g, b]: &[u8; 3]| r.max(g).max(b) - r.min(g).min(b);
            assert!(greys.iter().all(|grey| spread(grey) <= 1));
            assert!(greys.iter().map(|grey| grey[1]).is_sorted());
        }
        let standard = Color {
            transfer: TransferCharacteristic::BT2020_10,
            ..Color::BT709
        };
        assert!(Tone::new(&standard, None).is_none());
    }
}
