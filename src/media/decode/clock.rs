//! Times of files whose clock begins anew on the way, as joined recordings and broadcasts have it: they go on
//! where they were instead.
//!
//! Whoever hands every packet of a file to a [`Clock`] gets the same times, so that picture and sound, which
//! are read one beside the other, stay together.

use ffmpeg_next as av;

use av::Rescale;
use av::media::Type;
use av::rescale;

use super::input::restarts;

/// How far packets may lie before and behind the time at which they are due, in microseconds. Those without
/// a decoding time come in another order than they are shown in; longer silence is a loss of the signal.
const EARLY: i64 = 500_000;
const LATE: i64 = 10_000_000;

/// The clock of a file.
pub(in crate::media) struct Clock {
    /// Whether the format is one whose clock may begin anew.
    restarts: bool,
    /// What is added to the times of each run of the clock, in microseconds.
    offsets: Vec<i64>,
    streams: Vec<Stream>,
}

/// Where a stream has got to.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// Picture or sound, which have no long gaps.
    steady: bool,
    base: Option<av::Rational>,
    run: usize,
    /// When its next packet is due, and when what is shown of it ends, in microseconds.
    due: Option<i64>,
    end: i64,
}

impl Clock {
    /// The clock of a file of which nothing is read yet.
    pub fn new(input: &av::format::context::Input) -> Self {
        let stream = |stream: av::Stream| Stream {
            steady: matches!(stream.parameters().medium(), Type::Video | Type::Audio),
            base: Some(stream.time_base()),
            ..Stream::default()
        };
        Self {
            restarts: restarts(input),
            offsets: vec![0],
            streams: input.streams().map(stream).collect(),
        }
    }

    /// Gives the next packet of the file the times that it has in one go.
    pub fn mend(&mut self, packet: &mut av::Packet) {
        let stream = self.streams.get(packet.stream());
        let (
            true,
            Some(Stream {
                base: Some(base), ..
            }),
        ) = (self.restarts, stream)
        else {
            return;
        };
        let (base, microseconds) = (*base, |ticks: i64| ticks.rescale(*base, rescale::TIME_BASE));
        let (decoded, shown) = (packet.dts(), packet.pts());
        let [Some(decoded), Some(shown)] =
            [decoded.or(shown), shown.or(decoded)].map(|time| time.map(microseconds))
        else {
            return;
        };
        let lasts = microseconds(packet.duration());
        let offset = self.offset(packet.stream(), (decoded, shown), lasts);
        if offset != 0 {
            let ticks = offset.rescale(rescale::TIME_BASE, base);
            packet.set_pts(packet.pts().map(|pts| pts + ticks));
            packet.set_dts(packet.dts().map(|dts| dts + ticks));
        }
    }

    /// What to add to the times of the next packet of stream `index`, which is decoded and shown at these
    /// times and lasts for `lasts`; all in microseconds.
    fn offset(&mut self, index: usize, (decoded, shown): (i64, i64), lasts: i64) -> i64 {
        let Stream {
            steady, run, due, ..
        } = self.streams[index];
        self.streams[index].run = match due {
            Some(due) if steady => {
                let is_due = |due: i64, offset: i64| {
                    (due - EARLY..=due + LATE).contains(&(decoded + offset))
                };
                // Another stream may have seen first that the clock began anew.
                let mut later = self.offsets[run..].iter();
                let fitting = later.position(|offset| is_due(due, *offset));
                // Or this one paused, and another went on by the same clock.
                let offset = self.offsets[run];
                let goes_on = |other: &Stream| {
                    let is_due = |due| is_due(due, offset);
                    other.steady && other.run == run && other.due.is_some_and(is_due)
                };
                match fitting {
                    Some(later) => run + later,
                    None if self.streams.iter().any(goes_on) => run,
                    None => {
                        // Shown when the longest stream of the run before has ended.
                        let end = self.streams.iter().map(|stream| stream.end).max();
                        self.offsets.push(end.unwrap_or(due) - shown);
                        self.offsets.len() - 1
                    }
                }
            }
            _ => self.offsets.len() - 1,
        };
        let stream = &mut self.streams[index];
        let offset = self.offsets[stream.run];
        stream.due = Some(decoded + offset + lasts);
        if stream.steady {
            stream.end = stream.end.max(shown + offset + lasts);
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mended times, in seconds, of packets of half a second: number of the stream, and second.
    fn mended(packets: &[(usize, f64)]) -> Vec<f64> {
        let steady = Stream {
            steady: true,
            ..Stream::default()
        };
        let mut clock = Clock {
            restarts: true,
            offsets: vec![0],
            streams: vec![steady, steady, Stream::default()],
        };
        let time = |&(stream, seconds): &(usize, f64)| {
            let time = (seconds * 1e6) as i64;
            (time + clock.offset(stream, (time, time), 500_000)) as f64 / 1e6
        };
        packets.iter().map(time).collect()
    }

    #[test]
    fn a_clock_that_begins_anew_goes_on() {
        // The sound is longer; of that of the first run a packet comes after the picture of the second.
        let packets = [
            (0, 8.0),
            (1, 8.7),
            (0, 8.5),
            (0, 1.0),
            (1, 9.0),
            (1, 1.0),
            (0, 1.5),
            (2, 1.2),
        ];
        let expected = [8.0, 8.7, 8.5, 9.2, 9.0, 9.2, 9.7, 9.4];
        for (found, expected) in mended(&packets).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
    }

    #[test]
    fn a_stream_that_pauses_stays_with_those_that_go_on() {
        let mut packets: Vec<(usize, f64)> = (0..60).map(|half| (0, half as f64 / 2.0)).collect();
        packets.insert(8, (1, 3.9));
        packets.insert(58, (1, 28.0)); // beside 28.5 of the other
        for (found, (stream, expected)) in mended(&packets).into_iter().zip(packets) {
            assert!(
                (found - expected).abs() < 1e-9,
                "{stream}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_goes_on_and_pauses_stay() {
        let packets = [
            (0, 0.0),
            (0, 5.0),
            (0, 90_000.0),
            (1, 90_000.0),
            (1, 90_000.5),
        ];
        assert_eq!(mended(&packets), [0.0, 5.0, 5.5, 5.5, 6.0]);
    }

    #[test]
    fn pictures_that_come_in_another_order_stay() {
        let packets = [(0, 1.0), (0, 1.7), (0, 1.8), (0, 2.0)]; // due at 1.5, 2.2 and 2.3
        assert_eq!(mended(&packets), [1.0, 1.7, 1.8, 2.0]);
    }
}
