//! How large paintings are, and how many there are a second.

use super::USUAL_SIDE;
use super::controls::SMALLEST_SIDE;
use super::rate::RateControl;
use crate::cli::WebcamArgs;
use crate::media::LiveSource;
use crate::scale::fitted;

/// Most frames a second that are held where `--fps` asks for no rate.
const USUAL_RATE: f64 = 30.0;

/// Sides are short sides, in pixels.
pub(super) struct Measures {
    /// That of the largest painting that keys can choose.
    pub largest: u32,
    /// That of the largest painting that is chosen without keys.
    pub ceiling: u32,
    /// That of the first painting.
    pub side: u32,
    /// That of the smallest painting that is chosen to hold a rate.
    lowest: u32,
    /// Frames a second that are held by choosing the side, if any.
    pub held_rate: Option<f64>,
    /// Width and height of recordings.
    pub recorded_size: (usize, usize),
    /// Their frames a second, a fraction.
    pub recorded_rate: (i32, i32),
}

impl Measures {
    /// Those that `args` ask for of pictures of `source`.
    pub fn choose(args: &WebcamArgs, source: &dyn LiveSource) -> Self {
        let (width, height) = source.size();
        let largest = (width.min(height) as u32).max(2);
        let ceiling = args.paint.size.unwrap_or(largest).min(largest);
        let lowest = match args.fps {
            Some(_) => SMALLEST_SIDE,
            None => USUAL_SIDE / 2, // no more is given up for a rate that nobody asked for
        };
        Self {
            largest,
            ceiling,
            side: args.paint.size.unwrap_or(USUAL_SIDE).min(largest),
            lowest: lowest.min(ceiling),
            held_rate: held_rate(args.fps, args.paint.size, source.frame_rate()),
            recorded_size: fitted((width, height), ceiling as usize),
            recorded_rate: recorded_rate(args.fps, source.frame_rate()),
        }
    }

    /// What holds the rate, if one is held.
    pub fn rate_control(&self) -> Option<RateControl> {
        let bounds = self.lowest..=self.ceiling;
        Some(RateControl::new(self.held_rate?, self.side, bounds))
    }
}

/// Frames a second to hold by choosing the resolution: `fps` where they are asked for, but no more than the camera
/// sends. A resolution that was asked for (`size`) stays instead.
fn held_rate(fps: Option<u32>, size: Option<u32>, (frames, seconds): (i32, i32)) -> Option<f64> {
    let wanted = match (fps, size) {
        (Some(fps), _) => fps.into(),
        (None, Some(_)) => return None,
        (None, None) => USUAL_RATE,
    };
    let known = frames > 0 && seconds > 0;
    let sent = known.then(|| f64::from(frames) / f64::from(seconds));
    Some(sent.map_or(wanted, |sent| wanted.min(sent)))
}

/// The rate of recordings: the camera's, or a higher one that is to be held. `fps` may be held with room
/// to spare, and no painting is to be left out for it.
fn recorded_rate(fps: Option<u32>, (frames, seconds): (i32, i32)) -> (i32, i32) {
    match fps {
        Some(fps) if f64::from(fps) * f64::from(seconds) > f64::from(frames) => (fps as i32, 1),
        _ => (frames, seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_resolution_is_given_up_for_frames_that_no_camera_sends() {
        assert_eq!(held_rate(None, None, (60, 1)), Some(30.0));
        assert_eq!(held_rate(Some(60), None, (60, 1)), Some(60.0));
        assert_eq!(held_rate(Some(60), Some(480), (25, 1)), Some(25.0));
        assert_eq!(held_rate(Some(15), None, (25, 1)), Some(15.0));
        assert_eq!(held_rate(Some(60), None, (0, 1)), Some(60.0));
        assert_eq!(held_rate(None, Some(480), (25, 1)), None);
    }

    #[test]
    fn recordings_have_the_rate_of_a_camera_that_is_faster_than_asked_for() {
        assert_eq!(recorded_rate(None, (30000, 1001)), (30000, 1001));
        assert_eq!(recorded_rate(Some(10), (25, 1)), (25, 1));
        assert_eq!(recorded_rate(Some(60), (25, 1)), (60, 1));
    }
}
