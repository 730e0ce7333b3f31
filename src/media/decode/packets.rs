//! The packets of the video of a file: read one after the other, and held against what the file promises.

use ffmpeg_next as av;

use av::Rescale;
use av::codec::packet::side_data::Type as SideData;
use av::rescale;

use super::clock::Clock;
use super::holes::Holes;
use super::input::Part;
use crate::media::ffmpeg::is_discarded;

/// The kind of an addition to a block, a big-endian number.
const OPACITY: [u8; 8] = 1u64.to_be_bytes();

/// What the length that a file tells may be too long, in microseconds; and of Matroska, which counts milliseconds.
const ROUNDED: i64 = 2_000_000;
const ROUNDED_LESS: i64 = 500_000;

/// What reading on in a file comes to.
pub(in crate::media) enum Reading {
    /// A packet of any stream.
    Packet(av::Packet),
    /// Damage; what follows it may be whole.
    Damaged,
    /// The end, or what a demuxer says where a file is cut off.
    End(av::Error),
    /// The system could not read on.
    Failed(av::Error),
}

/// Reads the next packet of `input`.
pub(in crate::media) fn read_on(input: &mut av::format::context::Input) -> Reading {
    let mut packet = av::Packet::empty();
    let read = packet.read(input);
    if read.is_ok() && !packet.is_corrupt() {
        return Reading::Packet(packet);
    }
    // Demuxers make damage or the end of a file of what the system could not read, and an I/O error
    // of a file that is cut off (RealMedia): only the reader below them tells these apart.
    // SAFETY: the context and its reader, where it has one, are live for the borrow; the field is a
    // plain integer.
    let code = unsafe { (*input.as_ptr()).pb.as_ref() }.map_or(0, |reader| reader.error);
    match read {
        _ if code < 0 => Reading::Failed(av::Error::from(code)),
        Ok(()) => Reading::Packet(packet),
        Err(av::Error::InvalidData) => Reading::Damaged,
        Err(error) => Reading::End(error),
    }
}

/// Reads the packets of one stream.
pub(super) struct Packets {
    input: av::format::context::Input,
    clock: Clock,
    stream: usize,
    /// Subtracted from times, in ticks: files that start late start at 0.
    shift: i64,
    /// How many packets the file says it has, and when they end, in ticks; both 0 where it does not.
    promised: (u64, i64),
    /// When the whole file ends as it says, and what came of it, in microseconds; 0 where it does not say.
    promised_end: i64,
    read_end: i64,
    /// How much the former may be later; with the longest time without a packet, as of slides, whose last one may be
    /// shown for as long.
    tolerance: i64,
    longest_gap: i64,
    /// Where the part ends, in ticks.
    limit: i64,
    read: u64,
    holes: Holes,
    /// Whether one came with a picture of what can be seen through.
    has_alpha: bool,
    end: i64,
    drained: bool,
    /// Why reading ended, where neither the end of the file nor the system is the reason.
    failure: Option<av::Error>,
    /// What the system said when it could not read on.
    unread: Option<av::Error>,
}

impl Packets {
    /// Of the stream of this number, for a `part` of its film. Times begin at `shift`, in ticks.
    pub fn new(input: av::format::context::Input, stream: usize, shift: i64, part: Part) -> Self {
        let parts = input.stream(stream);
        let promised = parts.as_ref().filter(|_| part == Part::default());
        let promised = promised.map_or((0, 0), |parts| {
            (parts.frames().max(0) as u64, parts.duration().max(0))
        });
        let base = parts.map_or(rescale::TIME_BASE, |parts| parts.time_base());
        let promised_end = match (promised, part == Part::default()) {
            ((0, _), true) => told_length(&input),
            _ => 0,
        };
        let limit = part
            .length()
            .map(|length| length.rescale(rescale::TIME_BASE, base));
        let tolerance = match input.format().name() {
            "matroska,webm" => ROUNDED_LESS,
            _ => ROUNDED,
        };
        Self {
            clock: Clock::new(&input),
            holes: Holes::new(&input),
            input,
            stream,
            shift,
            promised,
            promised_end,
            read_end: 0,
            tolerance,
            longest_gap: 0,
            limit: limit.unwrap_or(i64::MAX),
            read: 0,
            has_alpha: false,
            end: 0,
            drained: false,
            failure: None,
            unread: None,
        }
    }

    /// What the file says of the stream.
    pub fn stream(&self) -> Option<av::Stream<'_>> {
        self.input.stream(self.stream)
    }

    /// The next packet; `None` at the end, and where the system cannot read on, as
    /// [`Packets::ensure_read`] tells. Fails for a damaged one.
    pub fn next(&mut self) -> Result<Option<av::Packet>, av::Error> {
        loop {
            match read_on(&mut self.input) {
                Reading::Packet(mut packet) => {
                    self.clock.mend(&mut packet);
                    self.holes.see(&packet);
                    self.reach(&packet);
                    if packet.stream() != self.stream {
                        continue;
                    }
                    self.read += 1;
                    self.has_alpha = self.has_alpha || has_alpha(&packet);
                    if let Some(pts) = packet.pts().filter(|_| !is_discarded(&packet)) {
                        self.end = self.end.max(pts - self.shift + packet.duration());
                    }
                    return Ok(Some(packet));
                }
                Reading::Damaged => return Err(av::Error::InvalidData),
                Reading::End(error) => {
                    self.failure = (error != av::Error::Eof).then_some(error);
                    self.drained = true;
                    return Ok(None);
                }
                Reading::Failed(error) => {
                    self.unread = Some(error);
                    return Ok(None);
                }
            }
        }
    }

    /// Fails when the system could not read on.
    pub fn ensure_read(&self) -> Result<(), av::Error> {
        self.unread.map_or(Ok(()), Err)
    }

    /// When what was read ends, in ticks, within the part.
    pub fn end(&self) -> i64 {
        self.end.min(self.limit)
    }

    /// When the part ends, in ticks.
    pub fn limit(&self) -> i64 {
        self.limit
    }

    /// Whether frames can be seen through by what FFmpeg's own decoders of VP8 and VP9 leave out.
    pub fn has_alpha(&self) -> bool {
        self.has_alpha
    }

    /// `time` from the beginning of the part, in ticks.
    pub fn since_start(&self, time: i64) -> i64 {
        time - self.shift
    }

    /// What is missing on the way, in one line.
    pub fn holes(&self) -> Option<String> {
        let base = self.stream()?.time_base();
        self.holes
            .remark(self.shift.rescale(base, rescale::TIME_BASE))
    }

    /// What the file lacks, in one line; a frame lasts for `step` ticks.
    pub fn remark(&self, step: i64) -> Option<String> {
        if let Some(failure) = self.failure {
            return Some(format!("the file could not be read to its end: {failure}"));
        }
        let (promised, end) = self.promised;
        // Some files count a frame too many, and edited ones those that are left out.
        let lacks = self.read + 1 < promised && self.end < end - 3 * step / 2;
        let seconds = |time: i64| time as f64 / f64::from(av::ffi::AV_TIME_BASE);
        let [promises, holds] = if lacks {
            [format!("{promised} frames"), self.read.to_string()]
        } else if self.read_end + self.tolerance + self.longest_gap < self.promised_end {
            [self.promised_end, self.read_end].map(|time| format!("{:.1} s", seconds(time)))
        } else {
            return None;
        };
        self.drained
            .then(|| format!("the file is cut off: it promises {promises} and holds {holds}"))
    }

    /// Learns until when the packets of any stream come.
    fn reach(&mut self, packet: &av::Packet) {
        let stream = self.input.stream(packet.stream());
        let time = packet.pts().or(packet.dts());
        if let Some((stream, time)) = stream.zip(time) {
            // Times of decoding: those of showing go to and fro.
            let begins = packet.dts().unwrap_or(time);
            let [begins, ends] = [begins, time + packet.duration()]
                .map(|time| time.rescale(stream.time_base(), rescale::TIME_BASE));
            if self.read_end > 0 {
                self.longest_gap = self.longest_gap.max(begins - self.read_end);
            }
            self.read_end = self.read_end.max(ends);
        }
    }
}

/// Whether a packet of Matroska carries opacity beside the picture: additions of the kind 1 do.
fn has_alpha(packet: &av::Packet) -> bool {
    packet.side_data().any(|data| {
        data.kind() == SideData::MatroskaBlockAdditional && data.data().starts_with(&OPACITY)
    })
}

/// How long a file is in microseconds where it says so itself; else 0.
fn told_length(input: &av::format::context::Input) -> i64 {
    use av::ffi::AVDurationEstimationMethod::AVFMT_DURATION_FROM_STREAM;

    // SAFETY: the context is live for the borrow of `input`; the field is a plain number.
    let method = unsafe { (*input.as_ptr()).duration_estimation_method };
    match method == AVFMT_DURATION_FROM_STREAM {
        true => input.duration().max(0),
        false => 0,
    }
}
