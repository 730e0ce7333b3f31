//! Choosing the resolution of the painting by the time that painting takes, without pumping.
//!
//! Down soon, because the picture stutters; up late and half the way each time, because nobody
//! misses pixels for a few seconds. A step up that had to be taken back is tried again ever more
//! seldom.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Part of the time between two frames that painting may take: the rest is for the window,
/// capturing and encoding.
const BUDGET: f64 = 0.88;

/// Part of the budget that a larger picture must promise to need.
const CLEAR: f64 = 0.85;

/// Factor of the smallest step of the short side: 14 % in pixels, hardly seen.
const STEP: f64 = 0.93;

/// How long painting must be too slow before the picture gets smaller.
const DOWN_AFTER: Duration = Duration::from_millis(400);

/// How long painting must be fast enough before the picture grows; doubled after a failure.
const UP_AFTER: Duration = Duration::from_secs(3);

/// Longest wait before a step up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A step up was a failure when it is taken back within this time.
const FAILED_WITHIN: Duration = Duration::from_secs(8);

/// Weight of the newest frame in the mean painting time.
const NEWEST: f64 = 0.15;

/// Holds a frame rate.
#[derive(Debug)]
pub(super) struct RateControl {
    /// Seconds that painting may take.
    budget: f64,
    /// Short sides that it chooses from, in pixels.
    sides: RangeInclusive<u32>,
    side: u32,
    mean: Option<f64>,
    slow_since: Option<Instant>,
    fast_since: Option<Instant>,
    raised: Option<Instant>,
    strained: bool,
    up_after: Duration,
}

impl RateControl {
    /// Aims at `fps` frames a second with short sides among `sides`, beginning with `side`.
    pub fn new(fps: f64, side: u32, sides: RangeInclusive<u32>) -> Self {
        Self {
            budget: BUDGET / fps,
            side: side.clamp(*sides.start(), *sides.end()),
            sides,
            mean: None,
            slow_since: None,
            fast_since: None,
            raised: None,
            strained: false,
            up_after: UP_AFTER,
        }
    }

    /// Short side of the next painting, in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Whether the smallest picture takes too long: nothing is to be done that takes time besides. So it stays
    /// until the picture grows again.
    pub fn strained(&self) -> bool {
        self.strained
    }

    /// Learns that a painting of the current size, done at `now`, took `took`.
    pub fn painted(&mut self, took: Duration, now: Instant) {
        let began = now.checked_sub(took).unwrap_or(now);
        let took = took.as_secs_f64();
        let mean = self.mean.map_or(took, |mean| mean + (took - mean) * NEWEST);
        self.mean = Some(mean);
        if mean > self.budget {
            self.fast_since = None;
            let since = *self.slow_since.get_or_insert(began);
            if now - since >= DOWN_AFTER {
                match self.side > *self.sides.start() {
                    true => self.shrink(mean, now),
                    false => self.strained = true,
                }
            }
            return;
        }
        self.slow_since = None;
        let next = self.larger(mean);
        if next == self.side {
            self.fast_since = None;
            return;
        }
        let since = *self.fast_since.get_or_insert(now);
        if now - since >= self.up_after {
            self.change(next);
            self.strained = false;
            self.raised = Some(now);
        }
    }

    /// Goes down to the side that fits the budget, at least by one step.
    fn shrink(&mut self, mean: f64, now: Instant) {
        let fitting = self.fitting(mean);
        let step = f64::from(self.side) * STEP;
        if self
            .raised
            .is_some_and(|raised| now - raised < FAILED_WITHIN)
        {
            self.up_after = (self.up_after * 2).min(LONGEST_WAIT);
        }
        self.change(round(fitting.min(step)).max(*self.sides.start()));
    }

    /// The side whose painting would take what is to be had of the budget.
    fn fitting(&self, mean: f64) -> f64 {
        f64::from(self.side) * (self.budget * CLEAR / mean).sqrt()
    }

    /// The next side up, the same one where none fits: the middle, by ratio, between this one and
    /// the fitting one, at least a step away.
    fn larger(&self, mean: f64) -> u32 {
        let end = *self.sides.end();
        let step = round(f64::from(self.side) / STEP)
            .max(self.side + 4)
            .min(end);
        let fitting = self.fitting(mean);
        if step <= self.side || f64::from(step) > fitting {
            return self.side;
        }
        round((f64::from(self.side) * fitting).sqrt()).clamp(step, end)
    }

    fn change(&mut self, side: u32) {
        self.side = side;
        self.mean = None; // the first frame of a new size says little, but what follows counts anew
        self.slow_since = None;
        self.fast_since = None;
    }
}

/// Sides are multiples of 4, to which networks pad anyway.
fn round(side: f64) -> u32 {
    (side / 4.0).floor() as u32 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the control for `seconds` where painting a square of `side` takes `cost` ns a pixel
    /// (scaled by a jitter of 10 %); returns the sides it went through.
    fn simulate(control: &mut RateControl, now: &mut Instant, seconds: f64, cost: f64) -> Vec<u32> {
        let end = *now + Duration::from_secs_f64(seconds);
        let mut sides = vec![control.side()];
        let mut frame = 0u32;
        while *now < end {
            frame += 1;
            let jitter = 0.95 + 0.1 * f64::from(frame * 7 % 10) / 10.0;
            let area = f64::from(control.side()).powi(2);
            let took = Duration::from_secs_f64(area * cost * jitter * 1e-9);
            *now += took.max(Duration::from_millis(33));
            control.painted(took, *now);
            if sides.last() != Some(&control.side()) {
                sides.push(control.side());
            }
        }
        sides
    }

    #[test]
    fn a_slow_machine_gets_a_smaller_picture_within_a_second_and_then_rest() {
        let (mut control, mut now) = (RateControl::new(30.0, 480, 96..=480), Instant::now());
        simulate(&mut control, &mut now, 1.5, 400.0);
        let side = control.side();
        let took = f64::from(side).powi(2) * 400e-9;
        assert!(took < 1.0 / 30.0, "{side}");
        assert!(took > 0.5 / 30.0, "{side} is too small");
        let later = simulate(&mut control, &mut now, 60.0, 400.0);
        assert!(later.len() <= 4, "pumping: {later:?}");
    }

    #[test]
    fn a_machine_that_gets_fast_again_gets_its_pixels_back_slowly() {
        let (mut control, mut now) = (RateControl::new(30.0, 480, 96..=480), Instant::now());
        simulate(&mut control, &mut now, 2.0, 400.0);
        let low = control.side();
        let soon = simulate(&mut control, &mut now, 2.0, 50.0);
        assert_eq!(soon, [low], "it waits first");
        let back = simulate(&mut control, &mut now, 10.0, 50.0);
        assert_eq!(control.side(), 480, "{back:?}");
        assert!(back.len() > 2, "not in one leap: {back:?}");
    }

    #[test]
    fn one_slow_frame_changes_nothing() {
        let (mut control, mut now) = (RateControl::new(30.0, 480, 96..=480), Instant::now());
        simulate(&mut control, &mut now, 1.0, 50.0);
        control.painted(Duration::from_millis(60), now);
        let after = simulate(&mut control, &mut now, 1.0, 50.0);
        assert_eq!(after, [480]);
    }

    #[test]
    fn the_picture_never_gets_smaller_than_can_be_recognised() {
        let (mut control, mut now) = (RateControl::new(60.0, 480, 96..=480), Instant::now());
        simulate(&mut control, &mut now, 30.0, 100_000.0);
        assert_eq!((control.side(), control.strained()), (96, true));
        simulate(&mut control, &mut now, 20.0, 50.0);
        assert!(control.side() > 96 && !control.strained());
    }
}
