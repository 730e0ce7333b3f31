//! The curves of light in films of high dynamic range (ITU-R BT.2100), of standard range, and from the one
//! to the other.

/// Light of white that reflects, in nits (ITU-R BT.2408, section 2.1): white of standard range.
pub(super) const WHITE: f64 = 203.0;

/// Brightest light of films that do not tell, in nits, and of HLG's usual screen.
pub(super) const USUAL_PEAK: f64 = 1000.0;

/// Brightest light that PQ knows, in nits.
pub(super) const HIGHEST: f64 = 10_000.0;

/// Light of a signal of PQ, in nits (ITU-R BT.2100, table 4).
pub(super) fn pq_to_nits(signal: f64) -> f64 {
    let power = signal.max(0.0).powf(1.0 / PQ_M2);
    let light = (power - PQ_C1).max(0.0) / (PQ_C2 - PQ_C3 * power);
    HIGHEST * light.powf(1.0 / PQ_M1)
}

/// The signal of PQ for light of so many nits.
pub(super) fn nits_to_pq(nits: f64) -> f64 {
    let power = (nits / HIGHEST).powf(PQ_M1);
    ((PQ_C1 + PQ_C2 * power) / (1.0 + PQ_C3 * power)).powf(PQ_M2)
}

const PQ_M1: f64 = 2610.0 / 16384.0;
const PQ_M2: f64 = 2523.0 / 4096.0 * 128.0;
const PQ_C1: f64 = 3424.0 / 4096.0;
const PQ_C2: f64 = 2413.0 / 4096.0 * 32.0;
const PQ_C3: f64 = 2392.0 / 4096.0 * 32.0;

/// Light in the scene for a signal of HLG, at most 1 (ITU-R BT.2100, table 5).
pub(super) fn hlg_to_scene(signal: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    const C: f64 = 0.559_910_73;
    match signal <= 0.5 {
        true => signal * signal / 3.0,
        false => (((signal - C) / A).exp() + B) / 12.0,
    }
}

/// What a screen of [`USUAL_PEAK`] raises the luminance of the scene to (the same table).
pub(super) const HLG_GAMMA: f64 = 1.2;

/// What of `nits`, in a film whose brightest light has `peak`, is shown where the brightest is [`WHITE`]
/// (ITU-R BT.2390, section 5.4.1; black stays black).
pub(super) fn compress(nits: f64, peak: f64) -> f64 {
    let whole = nits_to_pq(peak);
    let white = nits_to_pq(WHITE) / whole;
    let knee = 1.5 * white - 0.5;
    let signal = (nits_to_pq(nits) / whole).min(1.0);
    if signal <= knee || knee >= 1.0 {
        return nits.min(WHITE);
    }
    let t = (signal - knee) / (1.0 - knee);
    let (t2, t3) = (t * t, t * t * t);
    let shown = (2.0 * t3 - 3.0 * t2 + 1.0) * knee
        + (t3 - 2.0 * t2 + t) * (1.0 - knee)
        + (3.0 * t2 - 2.0 * t3) * white;
    pq_to_nits(shown * whole)
}

/// Linear light of a signal of sRGB (IEC 61966-2-1).
pub(super) fn srgb_to_linear(signal: f64) -> f64 {
    match signal <= 0.040_45 {
        true => signal / 12.92,
        false => ((signal + 0.055) / 1.055).powf(2.4),
    }
}

/// The signal of sRGB for linear light (IEC 61966-2-1).
pub(super) fn srgb(linear: f64) -> f64 {
    match linear <= 0.003_130_8 {
        true => 12.92 * linear,
        false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curves_agree_with_their_recommendations() {
        // ITU-R BT.2408, table 1: white that reflects is 58 % of PQ and 75 % of HLG; 1000 nits 75 % of PQ.
        assert!((pq_to_nits(0.5807) - 203.0).abs() < 0.5);
        assert!((pq_to_nits(0.7518) - 1000.0).abs() < 2.0);
        assert!((pq_to_nits(1.0) - 10_000.0).abs() < 1e-6);
        let screen = |signal| USUAL_PEAK * hlg_to_scene(signal).powf(HLG_GAMMA);
        assert!((screen(0.75) - 203.0).abs() < 0.5);
        assert!((screen(1.0) - 1000.0).abs() < 0.1);
        for nits in [0.01, 1.0, 50.0, 203.0, 4000.0] {
            assert!((pq_to_nits(nits_to_pq(nits)) / nits - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn bright_light_is_compressed_and_the_rest_stays() {
        for peak in [WHITE, 400.0, 1000.0, 4000.0, 10_000.0] {
            assert!((compress(peak, peak) - WHITE).abs() < 0.01, "{peak}");
            assert!((compress(20.0, peak) - 20.0).abs() < 1e-9, "{peak}");
            let steps = (0..=1000).map(|i| compress(peak * f64::from(i) / 1000.0, peak));
            let shown: Vec<_> = steps.collect();
            assert!(shown.is_sorted(), "{peak}");
        }
        // Half of white and a little less is as it was in films of up to 1000 nits.
        assert!((compress(80.0, 1000.0) - 80.0).abs() < 1e-9);
        assert!(compress(WHITE, 1000.0) > 0.7 * WHITE);
    }
}
