//! The figures of a live run: rates, latency, drops, gaps. Memory does not grow with time.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::pipeline::live::Picture;

/// Width of a latency bin, in milliseconds.
const BIN_MS: f64 = 0.25;

/// Latency bins: up to four seconds.
const BINS: usize = 16_000;

/// Time over which the rates on the screen are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts what is shown.
pub(super) struct Stats {
    start: Instant,
    /// Frames that were captured and dropped before the first picture was shown.
    before: (u64, u64),
    shown: u64,
    /// Sum of the short sides of what was shown, in pixels.
    sides: u64,
    last_shown: Option<Instant>,
    longest_gap: Duration,
    latencies: Vec<u32>,
    slowest_ms: f64,
    window: Window,
}

/// The rates of the last second.
struct Window {
    since: Instant,
    shown: u64,
    captured: u64,
    latency: Duration,
    rates: Rates,
}

/// What the screen shows of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Pictures shown a second.
    pub shown: f64,
    /// Frames captured a second.
    pub captured: f64,
    /// Mean time from capture to the screen, in milliseconds.
    pub latency_ms: f64,
}

/// The figures of `--stats`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub captured_fps: f64,
    pub shown_fps: f64,
    pub captured: u64,
    pub shown: u64,
    pub dropped: u64,
    pub unrecorded: u64,
    pub latency_p50_ms: f64,
    pub latency_p95_ms: f64,
    pub longest_gap_ms: f64,
    pub mean_side: f64,
    pub seconds: f64,
}

impl Stats {
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            before: (0, 0),
            shown: 0,
            sides: 0,
            last_shown: None,
            longest_gap: Duration::ZERO,
            latencies: vec![0; BINS],
            slowest_ms: 0.0,
            window: Window {
                since: now,
                shown: 0,
                captured: 0,
                latency: Duration::ZERO,
                rates: Rates::default(),
            },
        }
    }

    /// The first picture is there, after as many frames `captured` and `dropped`: what came before it was loading.
    pub fn begin(&mut self, captured: u64, dropped: u64) {
        self.before = (captured.saturating_sub(1), dropped);
    }

    /// `picture` is on the screen at `now`.
    pub fn shown(&mut self, picture: &Picture, now: Instant) {
        let side = picture.painted.0.min(picture.painted.1);
        self.sides += side as u64;
        let latency = now.saturating_duration_since(picture.at);
        let ms = latency.as_secs_f64() * 1e3;
        self.slowest_ms = self.slowest_ms.max(ms);
        self.latencies[((ms / BIN_MS) as usize).min(BINS - 1)] += 1;
        match self.last_shown {
            Some(last) => self.longest_gap = self.longest_gap.max(now - last),
            None => self.start = now, // what came before was loading
        }
        self.last_shown = Some(now);
        self.shown += 1;
        self.window.latency += latency;
    }

    /// The picture stands still because it is meant to: the time until the next one is no gap.
    pub fn paused(&mut self, now: Instant) {
        self.last_shown = self.last_shown.map(|_| now);
    }

    /// Pictures shown so far.
    pub fn count(&self) -> u64 {
        self.shown
    }

    /// The rates of the last second; `captured` counts the frames captured so far.
    pub fn rates(&mut self, captured: u64, now: Instant) -> Rates {
        let window = &mut self.window;
        let seconds = (now - window.since).as_secs_f64();
        if seconds >= WINDOW.as_secs_f64() {
            let shown = self.shown - window.shown;
            window.rates = Rates {
                shown: shown as f64 / seconds,
                captured: (captured - window.captured) as f64 / seconds,
                latency_ms: window.latency.as_secs_f64() * 1e3 / shown.max(1) as f64,
            };
            (window.since, window.shown, window.captured) = (now, self.shown, captured);
            window.latency = Duration::ZERO;
        }
        window.rates
    }

    /// The figures of the whole run from the first picture on. `captured`, `dropped`
    /// and `unrecorded` (painted, but too fast for the encoder) count frames from the start.
    pub fn figures(&self, captured: u64, dropped: u64, unrecorded: u64, now: Instant) -> Figures {
        let captured = captured.saturating_sub(self.before.0);
        let dropped = dropped.saturating_sub(self.before.1);
        let seconds = (now - self.start).as_secs_f64().max(1e-9);
        let per_second = |count: u64| count as f64 / seconds;
        Figures {
            captured_fps: per_second(captured),
            shown_fps: per_second(self.shown),
            captured,
            shown: self.shown,
            dropped,
            unrecorded,
            latency_p50_ms: self.percentile(0.5),
            latency_p95_ms: self.percentile(0.95),
            longest_gap_ms: self.longest_gap.as_secs_f64() * 1e3,
            mean_side: self.sides as f64 / self.shown.max(1) as f64,
            seconds,
        }
    }

    /// The latency that the part `part` of all pictures does not exceed, to a quarter of a
    /// millisecond; 0 when none was shown.
    fn percentile(&self, part: f64) -> f64 {
        let wanted = (self.shown as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bin, &count) in self.latencies.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && seen > 0 {
                return ((bin + 1) as f64 * BIN_MS).min(self.slowest_ms);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn picture(at: Instant, side: usize) -> Picture {
        Picture {
            painted: (side + 2, side),
            at,
            ..Picture::default()
        }
    }

    #[test]
    fn percentiles_gaps_and_rates_come_out_as_they_went_in() {
        let start = Instant::now();
        let mut stats = Stats::new(start);
        for i in 0..=100u64 {
            let taken = start + ms(i * 20);
            let shown = taken + ms(if i < 90 { 10 } else { 50 });
            stats.shown(&picture(taken, if i == 0 { 4 } else { 8 }), shown);
        }
        let figures = stats.figures(120, 7, 0, start + ms(2010));
        assert!((figures.latency_p50_ms - 10.0).abs() <= BIN_MS);
        assert!((figures.latency_p95_ms - 50.0).abs() <= BIN_MS);
        assert!((figures.longest_gap_ms - 60.0).abs() < 1e-3, "{figures:?}");
        assert!((figures.shown_fps - 50.5).abs() < 0.01, "{figures:?}");
        assert_eq!((figures.shown, figures.dropped), (101, 7));
        assert!((figures.mean_side - (4.0 + 8.0 * 100.0) / 101.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_captured_while_the_engine_was_loading_does_not_count() {
        let start = Instant::now();
        let mut stats = Stats::new(start);
        stats.begin(26, 25); // a second of a camera
        for i in 0..=25 {
            stats.shown(&picture(start, 2), start + ms(1000 + i * 40));
        }
        let figures = stats.figures(52, 26, 0, start + ms(2000));
        assert_eq!((figures.captured, figures.dropped), (27, 1));
        assert!((figures.captured_fps - 27.0).abs() < 1e-6, "{figures:?}");
        assert!((figures.shown_fps - 26.0).abs() < 1e-6, "{figures:?}");
    }

    #[test]
    fn a_pause_is_no_gap() {
        let start = Instant::now();
        let mut stats = Stats::new(start);
        stats.shown(&picture(start, 2), start + ms(10));
        stats.paused(start + ms(5000));
        stats.shown(&picture(start + ms(5010), 2), start + ms(5020));
        assert_eq!(
            stats.figures(2, 0, 0, start + ms(5020)).longest_gap_ms,
            20.0
        );
    }

    #[test]
    fn a_run_without_pictures_has_figures_too() {
        let start = Instant::now();
        let figures = Stats::new(start).figures(0, 0, 0, start + ms(1000));
        assert_eq!(figures.latency_p95_ms, 0.0);
        assert_eq!((figures.shown_fps, figures.mean_side), (0.0, 0.0));
    }
}
