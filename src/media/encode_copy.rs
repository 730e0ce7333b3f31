//! Everything of a source but the painted video: sound, subtitles, other streams, chapters, tags.
//!
//! Packets are copied as they are where the container can hold them. Sound and text subtitles that
//! it cannot hold are encoded anew, cover pictures attached; anything else is left out with a remark.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::{Id, Parameters};
use av::format::Flags;
use av::format::context::{Input, Output};
use av::format::stream::Disposition;
use av::media::Type;
use av::rescale;

use super::decode_clock::Clock;
use super::decode_input::{best_video, open_input, start_shift};
use super::decode_packets::{Reading, read_on};
use super::encode::{Container, can_hold, microseconds};
use super::encode_audio::AudioTranscoder;
use super::encode_subtitle::SubtitleTranscoder;
use super::encode_video::VideoEncoder;
use super::ffmpeg::is_discarded;

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
    /// A cover picture, attached as a whole before anything is written.
    Attached,
    /// Sound, decoded and encoded as another codec.
    Transcode(Box<AudioTranscoder>),
    /// Text, decoded and encoded in another form.
    Rewrite(Box<SubtitleTranscoder>),
}

/// Carries the other streams of a source over.
pub(super) struct Copier {
    source: PathBuf,
    input: Input,
    clock: Clock,
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
            let mut copy = muxer
                .add_chapter(id as i64, base, start, end, title)
                .context("could not copy the chapters")?;
            for (key, value) in chapter.metadata().iter() {
                copy.set_metadata(key, value);
            }
        }
        let bases = input.streams().map(|s| s.time_base()).collect();
        Ok(Self {
            source: source.to_path_buf(),
            clock: Clock::new(&input),
            input,
            routes,
            bases,
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
                Route::Copy { to, base, .. } => *base = bases[*to],
                Route::Transcode(transcoder) => transcoder.begin(bases),
                Route::Rewrite(transcoder) => transcoder.begin(bases),
            }
        }
    }

    /// Copies what comes before `limit`, in microseconds from the start. Fails once where the
    /// source cannot be read on, and takes that for its end from then on.
    pub fn copy_until(&mut self, limit: i64, muxer: &mut Output) -> Result<()> {
        while let Some(packet) = self.next()? {
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
                    let route = self.routes.get(packet.stream());
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
        let shift = self.shift.rescale(rescale::TIME_BASE, self.bases[from]);
        packet.set_pts(packet.pts().map(|pts| pts - shift));
        packet.set_dts(packet.dts().map(|dts| dts - shift));
        match &mut self.routes[from] {
            Route::Skip | Route::Attached => Ok(()),
            Route::Transcode(transcoder) => transcoder.write(&packet, muxer),
            Route::Rewrite(transcoder) => transcoder.write(&packet, muxer),
            Route::Copy { to, base, last_dts } => {
                packet.rescale_ts(self.bases[from], *base);
                // What edits cut away before the sound begins is decoded ahead of it; the rest is not heard.
                if last_dts.is_some() && is_discarded(&packet) {
                    return Ok(());
                }
                // Muxers refuse times that go back, and most those that stand still, as broken sources
                // have them. Where they may stand still, lines of subtitles that are shown at the same
                // time do, and so does sound in packets of less than a tick.
                let strict = !muxer.format().flags().contains(Flags::TS_NONSTRICT);
                let next = last_dts.map(|last| last + i64::from(strict));
                if let (Some(dts), Some(next)) = (packet.dts(), next)
                    && dts < next
                {
                    packet.set_dts(Some(next));
                    packet.set_pts(packet.pts().map(|pts| pts.max(next)));
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
    let what = format!("{kind:?} stream {} ({})", stream.index(), id.name()).to_lowercase();
    if kind == Type::Audio && is_silent(&parameters) {
        remarks.push(format!("{what} is left out: it holds no sound"));
        return Ok(Route::Skip);
    }
    if cover && container == Container::Matroska {
        attach(stream, muxer)?;
        return Ok(Route::Attached);
    }
    let held = match kind {
        // FFmpeg says that mov holds these three, and refuses them when it comes to it.
        Type::Audio if container == Container::Mov => {
            !matches!(id, Id::FLAC | Id::OPUS | Id::TRUEHD) && can_hold(muxer, id)
        }
        Type::Audio | Type::Subtitle => can_hold(muxer, id),
        Type::Video => can_hold(muxer, id) && (!cover || container == Container::Mp4),
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
    // The muxer makes a track of the time code itself, by the tag that comes with it.
    let time_code = apple && kind == Type::Data && stream.metadata().get("timecode").is_some();
    if !chapter_marks && !time_code {
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

/// Whether a stream of sound was announced and never came.
fn is_silent(parameters: &Parameters) -> bool {
    // SAFETY: the parameters are live for the borrow; the field is a plain integer.
    unsafe { (*parameters.as_ptr()).sample_rate <= 0 }
}

/// Attaches the cover picture `stream` to a Matroska file, where players look for covers.
fn attach(stream: &av::Stream, muxer: &mut Output) -> Result<()> {
    let parameters = stream.parameters();
    let id = parameters.id();
    let (ending, kind) = match id {
        Id::PNG => ("png", "image/png"),
        Id::BMP => ("bmp", "image/bmp"),
        Id::WEBP => ("webp", "image/webp"),
        Id::GIF => ("gif", "image/gif"),
        _ => ("jpg", "image/jpeg"),
    };
    let mut copy = muxer.add_stream(av::encoder::find(Id::None))?;
    copy.set_parameters(parameters);
    // SAFETY: both streams are live for their borrows. The source's picture is a packet of `size` bytes,
    // which are copied to memory that FFmpeg allocates, with the padding that it asks for; the parameters
    // own it from then on, and what they held before is freed.
    unsafe {
        let (from, to) = (
            &(*stream.as_ptr()).attached_pic,
            (*copy.as_mut_ptr()).codecpar,
        );
        let padding = av::ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        let bytes = av::ffi::av_mallocz(from.size as usize + padding).cast::<u8>();
        ensure!(!bytes.is_null(), "no memory for a cover picture");
        std::ptr::copy_nonoverlapping(from.data, bytes, from.size as usize);
        av::ffi::av_freep((&raw mut (*to).extradata).cast());
        (*to).extradata = bytes;
        (*to).extradata_size = from.size;
        (*to).codec_type = av::ffi::AVMediaType::AVMEDIA_TYPE_ATTACHMENT;
        (*to).codec_tag = 0;
    }
    let mut tags = without(&stream.metadata(), &[]);
    tags.set("filename", &format!("cover.{ending}"));
    tags.set("mimetype", kind);
    copy.set_metadata(tags);
    Ok(())
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
