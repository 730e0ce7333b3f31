//! A stream that is copied packet by packet.

use ffmpeg_next as av;

use av::Rescale;
use av::codec::Id;
use av::format::Flags;
use av::format::context::Output;
use av::media::Type;
use av::rescale;

use super::microseconds;
use super::silence::Silence;
use super::spu::shown;
use crate::media::ffmpeg::is_discarded;

/// A day in microseconds.
const A_DAY: i64 = 86_400_000_000;

/// Copies the packets of one stream.
pub(super) struct Copied {
    /// Index of the stream in the muxer, and its time base there.
    to: usize,
    base: av::Rational,
    kind: Type,
    id: Id,
    /// Whether the container is mp4 or mov, which can hide what a picture needs before it begins.
    apple: bool,
    /// Whether something came that is seen or heard.
    begun: bool,
    /// The last packet of what an edit cuts away before the sound begins: it is decoded ahead of it.
    ahead: Option<av::Packet>,
    /// Whether a picture cannot begin before its next key frame.
    needs_key: bool,
    /// Where the container stores no times of the sound.
    silence: Option<Silence>,
    last_dts: Option<i64>,
    damaged: u64,
    /// Rate and channels as the packets of a broadcast's sound have them, and whether they changed.
    told: Option<[u8; 2]>,
    changed: bool,
}

impl Copied {
    /// For `stream`, which is `to` of the muxer; `apple` says whether the container is mp4 or mov, which have edits.
    pub fn new(stream: &av::Stream, to: usize, apple: bool) -> Self {
        let silence = Silence::new(&stream.parameters());
        Self {
            to,
            base: stream.time_base(),
            kind: stream.parameters().medium(),
            id: stream.parameters().id(),
            apple,
            begun: false,
            ahead: None,
            needs_key: false,
            silence: silence.filter(|_| apple),
            last_dts: None,
            damaged: 0,
            told: None,
            changed: false,
        }
    }

    /// Learns the time base that the muxer chose, of the time bases of all its streams.
    pub fn begin(&mut self, bases: &[av::Rational]) {
        self.base = bases[self.to];
    }

    /// Takes the next packet, timed in `base`.
    pub fn write(
        &mut self,
        mut packet: av::Packet,
        base: av::Rational,
        muxer: &mut Output,
    ) -> Result<(), av::Error> {
        // Lines of pictures whose end nobody tells are said to last for 49 days.
        if microseconds(packet.duration(), base) > A_DAY {
            packet.set_duration(0);
        }
        if self.apple && self.id == Id::DVD_SUBTITLE && packet.duration() == 0 {
            // The last one would be shown for no time at all.
            let shown = packet.data().map_or(0, shown);
            packet.set_duration(shown.rescale(rescale::TIME_BASE, base));
        }
        packet.set_pts(packet.pts().or(packet.dts()));
        packet.rescale_ts(base, self.base);
        match (is_discarded(&packet), self.kind) {
            (true, _) if self.begun => return Ok(()), // behind the end of an edit
            (true, Type::Video) if self.apple => {}
            (true, Type::Video) => {
                self.needs_key = true;
                return Ok(());
            }
            (true, _) => {
                self.ahead = Some(packet);
                return Ok(());
            }
            (false, _) if self.needs_key && !packet.is_key() => return Ok(()),
            (false, _) => {
                (self.begun, self.needs_key) = (true, false);
                if let Some(ahead) = self.ahead.take() {
                    self.put(ahead, muxer)?;
                }
            }
        }
        self.put(packet, muxer)
    }

    fn put(&mut self, packet: av::Packet, muxer: &mut Output) -> Result<(), av::Error> {
        let missing = |this: &mut Self| this.silence.as_mut()?.before(&packet, this.base);
        while let Some(silence) = missing(self) {
            self.send(silence, muxer)?;
        }
        self.send(packet, muxer)
    }

    fn send(&mut self, mut packet: av::Packet, muxer: &mut Output) -> Result<(), av::Error> {
        // Muxers refuse times that go back, and most those that stand still, as broken sources
        // have them. Where they may stand still, lines of subtitles that are shown at the same
        // time do, and so does sound in packets of less than a tick.
        let strict = !muxer.format().flags().contains(Flags::TS_NONSTRICT);
        let next = self.last_dts.map(|last| last + i64::from(strict));
        if let (Some(dts), Some(next)) = (packet.dts(), next)
            && dts < next
        {
            packet.set_dts(Some(next));
            packet.set_pts(packet.pts().map(|pts| pts.max(next)));
        }
        let dts = packet.dts().or(self.last_dts);
        let told = packet
            .data()
            .and_then(|data| rate_and_channels(self.id, data));
        let (begins, bytes) = (packet.pts(), packet.size());
        packet.set_position(-1);
        packet.set_stream(self.to);
        match packet.write_interleaved(muxer) {
            // So say the filter that takes AAC out of the packets of broadcasts, and muxers.
            Err(
                av::Error::InvalidData
                | av::Error::Other {
                    errno: av::error::EINVAL,
                },
            ) => self.damaged += 1,
            written => {
                written?;
                self.last_dts = dts;
                self.changed |= told.is_some_and(|now| *self.told.get_or_insert(now) != now);
                if let Some(silence) = &mut self.silence {
                    silence.count(begins, bytes);
                }
            }
        }
        Ok(())
    }

    /// What was lost on the way, in one line.
    pub fn remark(&self) -> Option<String> {
        let what = format!("{:?} stream ({})", self.kind, self.id.name()).to_lowercase();
        let gap = self.silence.as_ref().map_or(0, Silence::left_out);
        match (self.damaged, self.changed) {
            (0, false) if gap > 0 => Some(format!(
                "{what} says that it pauses for {gap} s, too long to be filled with silence: what follows is heard too early"
            )),
            (0, false) => None,
            (0, true) => Some(format!(
                "{what} changes its rate or channels on the way, which players may not follow: in a .webm \
                 file it is encoded anew"
            )),
            (damaged, _) => Some(format!("{what}: damaged packets left out: {damaged}")),
        }
    }
}

/// The bytes of a packet of broadcast sound that have its rate and channels, less what says other things; `None` where
/// it does not begin with a header of its own.
fn rate_and_channels(id: Id, packet: &[u8]) -> Option<[u8; 2]> {
    match (id, packet) {
        // ADTS (ISO/IEC 14496-3, 1.A.3.2).
        (Id::AAC, [0xff, second, third, fourth, ..]) if second & 0xf6 == 0xf0 => {
            Some([third & 0b0011_1101, fourth & 0b1100_0000])
        }
        // ISO/IEC 11172-3, 2.4.1.3. Two channels may be coded together in one packet and not in the next.
        (Id::MP2 | Id::MP3, [0xff, second, third, fourth, ..]) if second & 0xe0 == 0xe0 => {
            Some([third & 0b1100, u8::from(fourth >> 6 == 0b11)])
        }
        // ATSC A/52, 5.3; from bsid 11 on E-AC-3 has another header.
        (Id::AC3, [0x0b, 0x77, _, _, rate, bsid, mode, ..]) if bsid >> 3 <= 10 => {
            Some([rate & 0b1100_0000, mode & 0b1110_0000])
        }
        _ => None,
    }
}
