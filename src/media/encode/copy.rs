//! Everything of a source but the painted video: sound, subtitles, other streams, chapters, tags.
//!
//! Packets are copied as they are where the container can hold them. Sound and text subtitles that
//! it cannot hold are encoded anew, cover pictures attached; anything else is left out with a remark.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::Id;
use av::format::context::{Input, Output};
use av::format::stream::Disposition;
use av::media::Type;
use av::rescale;

use super::route::{Route, route};
use super::spu::shown;
use super::tags::{FILE_TAGS, OLD_TAGS, copy_chapters, describe, move_time_codes, without};
use super::tags_lost::{languages_left_out, left_out};
use super::video::VideoEncoder;
use super::{Container, microseconds};
use crate::media::decode::Part;
use crate::media::decode::clock::Clock;
use crate::media::decode::input::{best_video, go_to, open_input, start_shift};
use crate::media::decode::packets::{Reading, read_on};

/// How far behind the end of a part is read on for what belongs to it, in microseconds.
const BEHIND: i64 = 3_000_000;

/// How far before a part is looked for subtitles that are still shown where it begins, in microseconds.
const LINES_AHEAD: i64 = 30_000_000;

/// What is to know of a stream of the source.
struct Stream {
    base: av::Rational,
    kind: Type,
    id: Id,
    is_cover: bool,
    /// Whether a key frame has been met where only a part is copied.
    begun: bool,
    /// What was shown last before the part, of subtitles that are shown until the next packet.
    shown: Option<av::Packet>,
}

/// Carries the other streams of a source over.
pub(super) struct Copier {
    source: PathBuf,
    input: Input,
    clock: Clock,
    routes: Vec<Route>,
    streams: Vec<Stream>,
    /// Whether the beginning of the source is copied, too.
    is_whole: bool,
    /// Up to where is copied, in microseconds from the beginning of the part.
    length: i64,
    /// Whether something came of a stream that nobody had announced.
    late: bool,
    /// Read, but too late for the frames written so far.
    waiting: Option<av::Packet>,
    ended: bool,
    /// Subtracted from all times, in microseconds.
    shift: i64,
}

impl Copier {
    /// Opens `source`, of which a `part` is painted, and adds to `muxer`, in the source's order, the
    /// painted stream and every stream that the container can hold, with tags. What cannot be kept as it
    /// is goes to `remarks`.
    pub fn open(
        (source, part): (&Path, Part),
        container: Container,
        muxer: &mut Output,
        video: &mut VideoEncoder,
        remarks: &mut Vec<String>,
    ) -> Result<Self> {
        let mut input = open_input(source)?;
        let painted = best_video(&input);
        let shift = start_shift(&input) + part.from;
        let length = part.length().map_or(i64::MAX, |length| length - 1);
        let mut routes = Vec::new();
        for stream in input.streams() {
            if Some(stream.index()) == painted {
                let to = video.add_stream(muxer)?;
                describe(&stream, muxer, to, &OLD_TAGS);
                routes.push(Route::Skip);
                continue;
            }
            routes.push(route(&stream, (&input, part), container, muxer, remarks)?);
        }
        muxer.set_metadata(without(&input.metadata(), &FILE_TAGS));
        remarks.extend(left_out(&muxer.metadata(), container));
        remarks.extend(languages_left_out(muxer, container));
        if let Some(painted) = painted.and_then(|stream| input.stream(stream)) {
            move_time_codes(muxer, painted.avg_frame_rate(), part);
        }
        let streams = input.streams().map(|stream| Stream {
            base: stream.time_base(),
            kind: stream.parameters().medium(),
            id: stream.parameters().id(),
            is_cover: stream.disposition().contains(Disposition::ATTACHED_PIC),
            begun: false,
            shown: None,
        });
        let streams: Vec<_> = streams.collect();
        let has_lines = streams.iter().any(|stream| stream.kind == Type::Subtitle);
        let lines_ahead = if has_lines { LINES_AHEAD } else { 0 };
        go_to(&mut input, source, part, lines_ahead)?;
        Ok(Self {
            source: source.to_path_buf(),
            clock: Clock::new(&input),
            input,
            routes,
            streams,
            is_whole: part.from == 0,
            length,
            late: false,
            waiting: None,
            ended: false,
            shift,
        })
    }

    /// Learns the time bases that the muxer chose for its streams; called after the header.
    pub fn begin(&mut self, bases: &[av::Rational]) {
        for route in &mut self.routes {
            match route {
                Route::Skip | Route::Attached => {}
                Route::Copy(copied) => copied.begin(bases),
                Route::Transcode(transcoder) => transcoder.begin(bases),
                Route::Rewrite(transcoder) => transcoder.begin(bases),
            }
        }
    }

    /// Copies what comes before `limit`, in microseconds from the start. Fails once where the
    /// source cannot be read on, and takes that for its end from then on.
    pub fn copy_until(&mut self, limit: i64, muxer: &mut Output) -> Result<()> {
        while let Some(mut packet) = self.next()? {
            let base = self.streams[packet.stream()].base;
            let since = |ticks: i64| microseconds(ticks, base) - self.shift;
            let time = packet.dts().or(packet.pts()).map(since);
            if time > Some(self.length) {
                continue; // lines of subtitles may lie before sound that comes earlier
            }
            if time > Some(limit) {
                self.waiting = Some(packet);
                break;
            }
            if time >= Some(0) {
                self.show_on(muxer)?;
            }
            if self.is_in_part(&mut packet) {
                self.write(packet, muxer)?;
            }
        }
        Ok(())
    }

    /// Writes what is shown where the part begins of subtitles that do not tell until when.
    fn show_on(&mut self, muxer: &mut Output) -> Result<()> {
        for i in 0..self.streams.len() {
            if let Some(mut packet) = self.streams[i].shown.take() {
                let start = self.shift.rescale(rescale::TIME_BASE, self.streams[i].base);
                packet.set_pts(Some(start));
                packet.set_dts(Some(start));
                self.write(packet, muxer)?;
            }
        }
        Ok(())
    }

    /// Whether something of `packet` belongs to the part. A line of a subtitle that is shown already where the part
    /// begins is shown from there on; sound keeps its time, so that none is missing.
    fn is_in_part(&mut self, packet: &mut av::Packet) -> bool {
        let stream = &mut self.streams[packet.stream()];
        let Some(begins) = packet.pts().or(packet.dts()) else {
            return self.is_whole || stream.is_cover;
        };
        let start = self.shift.rescale(rescale::TIME_BASE, stream.base);
        if stream.id == Id::DVD_SUBTITLE && packet.duration() == 0 && begins < start {
            let shown = packet.data().map_or(0, shown);
            packet.set_duration(shown.rescale(rescale::TIME_BASE, stream.base));
        }
        if stream.id == Id::HDMV_PGS_SUBTITLE && !self.is_whole && begins < start {
            stream.shown = Some(packet.clone()).filter(|packet| !is_empty(packet));
            return false;
        }
        if stream.kind == Type::Subtitle && self.length < i64::MAX {
            let most = start + self.length.rescale(rescale::TIME_BASE, stream.base) - begins;
            packet.set_duration(packet.duration().min(most.max(0)));
        }
        let ends = begins + packet.duration().max(1);
        if self.is_whole || stream.is_cover || begins >= start && stream.kind != Type::Video {
            return true;
        }
        match stream.kind {
            Type::Audio => ends > start,
            Type::Video => {
                stream.begun |= begins >= start && packet.is_key();
                stream.begun
            }
            _ => {
                packet.set_pts(Some(start));
                packet.set_dts(Some(start));
                packet.set_duration(ends - start);
                ends > start
            }
        }
    }

    /// Whether a packet lies so far behind the part that nothing of it comes any more.
    fn is_beyond(&self, packet: &av::Packet) -> bool {
        let Some(stream) = self.streams.get(packet.stream()) else {
            return false;
        };
        let time = packet.dts().or(packet.pts());
        let since = time.map(|ticks| microseconds(ticks, stream.base) - self.shift);
        let is_steady = matches!(stream.kind, Type::Audio | Type::Video) && !stream.is_cover;
        is_steady && since > Some(self.length.saturating_add(BEHIND))
    }

    /// Gives `muxer` the chapters, of a film that ends at `end` (microseconds) or with the part. FFmpeg writes those that
    /// come after the header at the end of the file.
    pub fn copy_chapters(&self, end: Option<i64>, muxer: &mut Output) -> Result<()> {
        let of_part = Some(self.length).filter(|&length| length < i64::MAX);
        let end = end
            .into_iter()
            .chain(of_part.map(|length| length + 1))
            .min();
        copy_chapters(&self.input, muxer, self.shift, end)
    }

    /// Writes the sound and the lines that encoders still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        for route in &mut self.routes {
            match route {
                Route::Transcode(transcoder) => transcoder.finish(muxer)?,
                Route::Rewrite(transcoder) => transcoder.finish(muxer)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The next packet that goes somewhere. Damaged ones are passed over, and files that are cut
    /// off end; the decoder of the video tells of both.
    fn next(&mut self) -> Result<Option<av::Packet>> {
        if let Some(packet) = self.waiting.take() {
            return Ok(Some(packet));
        }
        while !self.ended {
            match read_on(&mut self.input) {
                Reading::Packet(mut packet) => {
                    self.clock.mend(&mut packet);
                    if self.is_beyond(&packet) {
                        self.ended = true;
                        break;
                    }
                    let route = self.routes.get(packet.stream());
                    if route.is_none() {
                        self.late = true;
                    }
                    let wanted = !matches!(route, None | Some(Route::Skip | Route::Attached));
                    if wanted && packet.size() > 0 {
                        return Ok(Some(packet));
                    }
                }
                Reading::Damaged => {}
                Reading::End(_) => self.ended = true,
                Reading::Failed(error) => {
                    self.ended = true;
                    let source = self.source.display();
                    return Err(error).context(format!("could not read `{source}` to its end"));
                }
            }
        }
        Ok(None)
    }

    fn write(&mut self, mut packet: av::Packet, muxer: &mut Output) -> Result<()> {
        let from = packet.stream();
        let shift = self
            .shift
            .rescale(rescale::TIME_BASE, self.streams[from].base);
        packet.set_pts(packet.pts().map(|pts| pts - shift));
        packet.set_dts(packet.dts().map(|dts| dts - shift));
        match &mut self.routes[from] {
            Route::Skip | Route::Attached => Ok(()),
            Route::Transcode(transcoder) => transcoder.write(&packet, muxer),
            Route::Rewrite(transcoder) => transcoder.write(&packet, muxer),
            Route::Copy(copied) => copied
                .write(packet, self.streams[from].base, muxer)
                .with_context(|| format!("could not copy stream {from}")),
        }
    }

    /// What was lost on the way, one line each.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let late = "a stream that begins late is left out".to_string();
        let of_streams = self.routes.iter().filter_map(|route| match route {
            Route::Copy(copied) => copied.remark(),
            Route::Transcode(transcoder) => transcoder.remark(),
            _ => None,
        });
        of_streams.chain(self.late.then_some(late))
    }
}

/// Whether a packet of a Blu-ray's subtitles ends what is shown: it begins with a composition of no objects, whose
/// number is its eleventh byte, after three of the segment's kind and length.
fn is_empty(packet: &av::Packet) -> bool {
    packet.data().and_then(|data| data.get(13)) == Some(&0)
}
