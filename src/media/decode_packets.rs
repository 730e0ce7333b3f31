//! The packets of the video of a file: read one after the other, and held against what the file promises.

use ffmpeg_next as av;

use super::decode_clock::Clock;
use super::ffmpeg::is_discarded;

/// Reads the packets of one stream.
pub(super) struct Packets {
    input: av::format::context::Input,
    clock: Clock,
    stream: usize,
    /// Subtracted from times, in ticks: files that start late start at 0.
    shift: i64,
    /// How many packets the file says it has, and when they end, in ticks; both 0 where it does not.
    promised: (u64, i64),
    read: u64,
    end: i64,
    drained: bool,
    failure: Option<av::Error>,
}

impl Packets {
    /// Of the stream of this number. Times begin at `shift`, in ticks.
    pub fn new(input: av::format::context::Input, stream: usize, shift: i64) -> Self {
        let promised = input.stream(stream).map_or((0, 0), |parts| {
            (parts.frames().max(0) as u64, parts.duration().max(0))
        });
        Self {
            clock: Clock::new(&input),
            input,
            stream,
            shift,
            promised,
            read: 0,
            end: 0,
            drained: false,
            failure: None,
        }
    }

    /// The next packet; `None` at the end. Fails for a damaged one.
    pub fn next(&mut self) -> Result<Option<av::Packet>, av::Error> {
        loop {
            let mut packet = av::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {
                    self.clock.mend(&mut packet);
                    if packet.stream() != self.stream {
                        continue;
                    }
                    self.read += 1;
                    if let Some(pts) = packet.pts().filter(|_| !is_discarded(&packet)) {
                        self.end = self.end.max(pts - self.shift + packet.duration());
                    }
                    return Ok(Some(packet));
                }
                Err(error @ av::Error::InvalidData) => return Err(error),
                Err(error) => {
                    self.failure = (error != av::Error::Eof).then_some(error);
                    self.drained = true;
                    return Ok(None);
                }
            }
        }
    }

    /// When what was read ends, in ticks.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// `time` from the beginning of the film, in ticks.
    pub fn since_start(&self, time: i64) -> i64 {
        time - self.shift
    }

    /// What the file lacks, in one line; a frame lasts for `step` ticks.
    pub fn remark(&self, step: i64) -> Option<String> {
        if let Some(failure) = self.failure {
            return Some(format!("the file could not be read to its end: {failure}"));
        }
        let (promised, end) = self.promised;
        // Some files count a frame too many, and edited ones those that are left out.
        let lacks = self.read + 1 < promised && self.end < end - 3 * step / 2;
        (self.drained && lacks).then(|| {
            let read = self.read;
            format!("the file is cut off: it promises {promised} frames and holds {read}")
        })
    }
}
