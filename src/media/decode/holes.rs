//! Holes in files whose demuxers pass over damage without an error (Matroska, Ogg): picture and sound break off
//! at the same time.

use ffmpeg_next as av;

use av::Rescale;
use av::media::Type;
use av::rescale;

use crate::media::ffmpeg::is_discarded;

/// Shorter holes are none, in microseconds.
const LEAST: i64 = 1_000_000;

/// The holes of a file.
#[derive(Default)]
pub(super) struct Holes {
    /// Of picture and sound, by the number of the stream.
    streams: Vec<Option<Stream>>,
    /// Where the first one begins, where the last one ends, and how long all of them are, in microseconds.
    first: Option<i64>,
    last: i64,
    length: i64,
}

/// Where a stream has got to, in microseconds.
#[derive(Clone, Copy)]
struct Stream {
    kind: Type,
    base: av::Rational,
    ends: Option<i64>,
    /// From when to when nothing came of it at last.
    gap: (i64, i64),
}

impl Holes {
    /// Of a file of which nothing is read yet; none are found in other formats.
    pub fn new(input: &av::format::context::Input) -> Self {
        let format = input.format();
        let resyncs = ["matroska,webm", "ogg"].contains(&format.name());
        let stream = |stream: av::Stream| {
            let kind = stream.parameters().medium();
            matches!(kind, Type::Video | Type::Audio).then(|| Stream {
                kind,
                base: stream.time_base(),
                ends: None,
                gap: (0, 0),
            })
        };
        Self {
            streams: input.streams().filter(|_| resyncs).map(stream).collect(),
            ..Self::default()
        }
    }

    /// Learns of the next packet of the file.
    pub fn see(&mut self, packet: &av::Packet) {
        let (index, length) = (packet.stream(), packet.duration());
        let Some(Some(stream)) = self.streams.get(index) else {
            return;
        };
        let microseconds = |ticks: i64| ticks.rescale(stream.base, rescale::TIME_BASE);
        if let Some(begins) = packet.pts().filter(|_| !is_discarded(packet)) {
            self.reach(index, microseconds(begins), microseconds(begins + length));
        }
    }

    /// Learns that stream `index` has something from one time to another.
    fn reach(&mut self, index: usize, begins: i64, ends: i64) {
        let Some(Some(stream)) = self.streams.get_mut(index) else {
            return;
        };
        let before = stream.ends.unwrap_or(begins);
        stream.ends = Some(before.max(ends));
        if begins - before < LEAST {
            return;
        }
        stream.gap = (before, begins);
        let kind = stream.kind;
        // The other streams come before and after it; one of them is the last to see the hole.
        let others = self
            .streams
            .iter()
            .flatten()
            .filter(|other| other.kind != kind);
        let common = others.map(|other| (other.gap.0.max(before), other.gap.1.min(begins)));
        let hole = common.max_by_key(|(from, to)| to - from);
        let is_new = |(from, to): &(i64, i64)| to - from >= LEAST && *from >= self.last;
        if let Some((from, to)) = hole.filter(is_new) {
            self.first.get_or_insert(from);
            self.length += to - from;
            self.last = to;
        }
    }

    /// What is missing, in one line; times begin at `start`, in microseconds.
    pub fn remark(&self, start: i64) -> Option<String> {
        let second = f64::from(av::ffi::AV_TIME_BASE);
        let [first, length] = [self.first? - start, self.length].map(|time| time as f64 / second);
        Some(format!(
            "{length:.1} s of picture and sound are missing, the first at {first:.1} s: the file may be damaged"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of packets of a tenth of a second: number of the stream (picture, sound), and tenth.
    fn remark(packets: impl Iterator<Item = (usize, i64)>) -> Option<String> {
        let stream = |kind| {
            Some(Stream {
                kind,
                base: rescale::TIME_BASE,
                ends: None,
                gap: (0, 0),
            })
        };
        let mut holes = Holes {
            streams: vec![stream(Type::Video), stream(Type::Audio), None],
            ..Holes::default()
        };
        for (index, tenth) in packets {
            holes.reach(index, tenth * 100_000, (tenth + 1) * 100_000);
        }
        holes.remark(0)
    }

    #[test]
    fn only_what_is_missing_of_picture_and_sound_is_a_hole() {
        let both = (0..100).flat_map(|tenth| [(0, tenth), (1, tenth)]);
        let without = |index: usize, from: i64, to: i64| {
            move |&(stream, tenth): &(usize, i64)| stream != index || !(from..to).contains(&tenth)
        };
        assert_eq!(remark(both.clone()), None);
        assert_eq!(
            remark(both.clone().filter(without(0, 20, 60))),
            None,
            "slides"
        );
        assert_eq!(
            remark(both.clone().filter(without(1, 20, 60))),
            None,
            "silence"
        );
        let apart = both
            .clone()
            .filter(without(0, 20, 40))
            .filter(without(1, 45, 70));
        assert_eq!(remark(apart), None);
        let hole = both.filter(without(0, 20, 50)).filter(without(1, 22, 45));
        let words = remark(hole).unwrap_or_default();
        assert!(
            words.starts_with("2.3 s of picture and sound are missing, the first at 2.2 s"),
            "{words}"
        );
    }
}
