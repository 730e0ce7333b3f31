//! Everything of a source but the painted video: sound, subtitles, other streams, chapters, tags.
//!
//! Packets are copied as they are where the container can hold them. Sound and text subtitles that
//! it cannot hold are encoded anew; anything else is left out with a remark.

use std::path::Path;

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::Id;
use av::format::context::{Input, Output};
use av::format::stream::Disposition;
use av::media::Type;
use av::rescale;

use super::decode_input::{best_video, open_input, start_shift};
use super::encode::{Container, can_hold, microseconds};
use super::encode_audio::AudioTranscoder;
use super::encode_subtitle::SubtitleTranscoder;
use super::encode_video::VideoEncoder;

/// Tags of a file that describe the file itself rather than what it shows.
const FILE_TAGS: [&str; 4] = [
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
];

/// Tags of a stream that are no longer true once it is encoded anew, by their beginnings
/// in lower case.
const OLD_TAGS: [&str; 6] = [
    "encoder",
    "rotate",
    "bps",
    "duration",
    "number_of_",
    "_statistics_",
];

/// What becomes of one stream of the source.
enum Route {
    /// Left out, or painted.
    Skip,
    /// Copied packet by packet.
    Copy {
        to: usize,
        base: av::Rational,
        last_dts: Option<i64>,
    },
    /// Sound, decoded and encoded as another codec.
    Transcode(Box<AudioTranscoder>),
    /// Text, decoded and encoded in another form.
    Rewrite(Box<SubtitleTranscoder>),
}

/// Carries the other streams of a source over.
pub(super) struct Copier {
    input: Input,
    routes: Vec<Route>,
    bases: Vec<av::Rational>,
    /// Read, but too late for the frames written so far.
    waiting: Option<av::Packet>,
    ended: bool,
    /// Subtracted from all times, in microseconds.
    shift: i64,
}

impl Copier {
    /// Opens `source` and adds to `muxer`, in the source's order, the painted stream and every
    /// stream that the container can hold, with tags and chapters. What cannot be kept as it is
    /// goes to `remarks`.
    pub fn open(
        source: &Path,
        container: Container,
        muxer: &mut Output,
        video: &mut VideoEncoder,
        remarks: &mut Vec<String>,
    ) -> Result<Self> {
        let input = open_input(source)?;
        let painted = best_video(&input);
        let shift = start_shift(&input);
        let mut routes = Vec::new();
        for stream in input.streams() {
            if Some(stream.index()) == painted {
                let to = video.add_stream(muxer)?;
                describe(&stream, muxer, to, &OLD_TAGS);
                routes.push(Route::Skip);
                continue;
            }
            routes.push(route(&stream, &input, container, muxer, remarks)?);
        }
        muxer.set_metadata(without(&input.metadata(), &FILE_TAGS));
        for (id, chapter) in input.chapters().enumerate() {
            let base = chapter.time_base();
            let shift = shift.rescale(rescale::TIME_BASE, base);
            let title = chapter.metadata().get("title").unwrap_or("").to_string();
            let (start, end) = (chapter.start() - shift, chapter.end() - shift);
            muxer
                .add_chapter(id as i64, base, start, end, title)
                .context("could not copy the chapters")?;
        }
        let bases = input.streams().map(|s| s.time_base()).collect();
        Ok(Self {
            input,
            routes,
            bases,
            waiting: None,
            ended: false,
            shift,
        })
    }

    /// Learns the time bases that the muxer chose; called after the header.
    pub fn begin(&mut self, muxer: &Output) {
        let bases: Vec<_> = muxer.streams().map(|s| s.time_base()).collect();
        for route in &mut self.routes {
            match route {
                Route::Skip => {}
                Route::Copy { to, base, .. } => *base = bases[*to],
                Route::Transcode(transcoder) => transcoder.begin(&bases),
                Route::Rewrite(transcoder) => transcoder.begin(&bases),
            }
        }
    }

    /// Copies what comes before `limit`, in microseconds from the start.
    pub fn copy_until(&mut self, limit: i64, muxer: &mut Output) -> Result<()> {
        while let Some(packet) = self.next() {
            let base = self.bases[packet.stream()];
            let time = packet.dts().or(packet.pts());
            if time.is_some_and(|ticks| microseconds(ticks, base) - self.shift > limit) {
                self.waiting = Some(packet);
                break;
            }
            self.write(packet, muxer)?;
        }
        Ok(())
    }

    /// Writes the sound that encoders still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        for route in &mut self.routes {
            if let Route::Transcode(transcoder) = route {
                transcoder.finish(muxer)?;
            }
        }
        Ok(())
    }

    /// The next packet that goes somewhere. Damaged ones are passed over; the decoder of the
    /// video counts them.
    fn next(&mut self) -> Option<av::Packet> {
        if let Some(packet) = self.waiting.take() {
            return Some(packet);
        }
        while !self.ended {
            let mut packet = av::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {
                    let route = self.routes.get(packet.stream());
                    if packet.size() > 0 && !matches!(route, None | Some(Route::Skip)) {
                        return Some(packet);
                    }
                }
                Err(av::Error::InvalidData) => {}
                Err(_) => self.ended = true,
            }
        }
        None
    }

    fn write(&mut self, mut packet: av::Packet, muxer: &mut Output) -> Result<()> {
        let from = packet.stream();
        let shift = self.shift.rescale(rescale::TIME_BASE, self.bases[from]);
        packet.set_pts(packet.pts().map(|pts| pts - shift));
        packet.set_dts(packet.dts().map(|dts| dts - shift));
        match &mut self.routes[from] {
            Route::Skip => Ok(()),
            Route::Transcode(transcoder) => transcoder.write(&packet, muxer),
            Route::Rewrite(transcoder) => transcoder.write(&packet, muxer),
            Route::Copy { to, base, last_dts } => {
                packet.rescale_ts(self.bases[from], *base);
                // Muxers refuse times that stand still or go back, which broken sources have.
                if let (Some(dts), Some(last)) = (packet.dts(), *last_dts)
                    && dts <= last
                {
                    packet.set_dts(Some(last + 1));
                    packet.set_pts(packet.pts().map(|pts| pts.max(last + 1)));
                }
                *last_dts = packet.dts().or(*last_dts);
                packet.set_position(-1);
                packet.set_stream(*to);
                packet
                    .write_interleaved(muxer)
                    .with_context(|| format!("could not copy stream {from}"))
            }
        }
    }
}

/// Decides what becomes of a stream and adds its counterpart to the muxer.
fn route(
    stream: &av::Stream,
    input: &Input,
    container: Container,
    muxer: &mut Output,
    remarks: &mut Vec<String>,
) -> Result<Route> {
    let parameters = stream.parameters();
    let (kind, id) = (parameters.medium(), parameters.id());
    let cover = stream.disposition().contains(Disposition::ATTACHED_PIC);
    let apple = matches!(container, Container::Mp4 | Container::Mov);
    let held = match kind {
        Type::Audio | Type::Subtitle => can_hold(muxer, id),
        Type::Video => can_hold(muxer, id) && (!cover || apple),
        Type::Attachment => container == Container::Matroska,
        _ => false,
    };
    if held {
        let mut copy = muxer.add_stream(av::encoder::find(Id::None))?;
        copy.set_parameters(parameters);
        copy.set_time_base(stream.time_base());
        copy.set_avg_frame_rate(stream.avg_frame_rate());
        // SAFETY: the stream and its parameters are live for the borrow. The tag is that of the
        // source's container; 0 has the muxer choose its own.
        unsafe { (*(*copy.as_mut_ptr()).codecpar).codec_tag = 0 };
        let to = copy.index();
        describe(stream, muxer, to, &[]);
        return Ok(Route::Copy {
            to,
            base: stream.time_base(),
            last_dts: None,
        });
    }
    let what = format!("{kind:?} stream {} ({})", stream.index(), id.name()).to_lowercase();
    let encoded = match kind {
        Type::Audio => Some(
            AudioTranscoder::open(stream, container, muxer).map(|transcoder| {
                let words = (transcoder.stream(), transcoder.name().to_string());
                (words, Route::Transcode(Box::new(transcoder)))
            }),
        ),
        Type::Subtitle => Some(SubtitleTranscoder::open(stream, container, muxer).map(
            |transcoder| {
                let words = (transcoder.stream(), transcoder.name().to_string());
                (words, Route::Rewrite(Box::new(transcoder)))
            },
        )),
        _ => None,
    };
    match encoded {
        Some(Ok(((to, name), route))) => {
            describe(stream, muxer, to, &OLD_TAGS);
            let container = container.name();
            remarks.push(format!("{what} becomes {name}: {container} cannot hold it"));
            return Ok(route);
        }
        Some(Err(error)) => {
            remarks.push(format!("{what} is left out: {error:#}"));
            return Ok(Route::Skip);
        }
        None => {}
    }
    // Chapter marks of mp4 files also show up as a data stream; they are copied as chapters.
    let chapter_marks = kind == Type::Data && id == Id::BIN_DATA && input.nb_chapters() > 0;
    if !chapter_marks {
        let elsewhere = match container {
            Container::Matroska => "",
            _ => " (mkv holds most)",
        };
        let container = container.name();
        remarks.push(format!(
            "{what} is left out: {container} cannot hold it{elsewhere}"
        ));
    }
    Ok(Route::Skip)
}

/// Gives stream `to` of the muxer the tags and the disposition of `stream`.
fn describe(stream: &av::Stream, muxer: &mut Output, to: usize, untrue: &[&str]) {
    if let Some(mut copy) = muxer.stream_mut(to) {
        copy.set_metadata(without(&stream.metadata(), untrue));
        // SAFETY: both streams are live for their borrows; the field is a plain integer.
        unsafe { (*copy.as_mut_ptr()).disposition = (*stream.as_ptr()).disposition };
    }
}

/// A copy of `tags` without those that begin with one of `beginnings`, in whatever case.
fn without(tags: &av::DictionaryRef, beginnings: &[&str]) -> av::Dictionary<'static> {
    let mut copy = av::Dictionary::new();
    for (key, value) in tags.iter() {
        let lower = key.to_ascii_lowercase();
        if !beginnings.iter().any(|b| lower.starts_with(b)) {
            copy.set(key, value);
        }
    }
    copy
}
