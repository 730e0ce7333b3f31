//! What becomes of the streams of a source that are not painted.

use anyhow::Result;
use ffmpeg_next as av;

use av::codec::{Id, Parameters};
use av::format::context::{Input, Output};
use av::format::stream::Disposition;
use av::media::Type;

use super::Container;
use super::audio::AudioTranscoder;
use super::copied::Copied;
use super::side_data::copy_side_data;
use super::subtitle::SubtitleTranscoder;
use super::tags::{OLD_TAGS, STATISTICS, attach, describe};
use crate::media::decode::Part;
use crate::media::decode::input::is_unknown;

/// Tag of what action cameras measure, in mp4 and mov.
const TELEMETRY: [u8; 4] = *b"gpmd";

/// What becomes of one stream of the source.
pub(super) enum Route {
    /// Left out, or painted.
    Skip,
    /// Copied packet by packet.
    Copy(Box<Copied>),
    /// A cover picture, attached as a whole before anything is written.
    Attached,
    /// Sound, decoded and encoded as another codec.
    Transcode(Box<AudioTranscoder>),
    /// Text, decoded and encoded in another form.
    Rewrite(Box<SubtitleTranscoder>),
}

/// Decides what becomes of a stream and adds its counterpart to the muxer.
pub(super) fn route(
    stream: &av::Stream,
    (input, part): (&Input, Part),
    container: Container,
    muxer: &mut Output,
    remarks: &mut Vec<String>,
) -> Result<Route> {
    let parameters = stream.parameters();
    let (kind, id) = (parameters.medium(), parameters.id());
    let what = format!("{kind:?} stream {} ({})", stream.index(), id.name()).to_lowercase();
    if is_unknown(&parameters) {
        let nothing = match kind {
            Type::Audio => "sound",
            _ => "picture",
        };
        remarks.push(format!(
            "{what} is left out: it holds no {nothing} in its first minute"
        ));
        return Ok(Route::Skip);
    }
    if is_cover(stream) && container == Container::Matroska {
        attach(stream, muxer)?;
        return Ok(Route::Attached);
    }
    if is_held(stream, container) {
        return copied(stream, part, container, muxer);
    }
    let cannot = format!("{} cannot hold it", container.name());
    match encoded(stream, container, muxer) {
        Some(Ok((to, name, route))) => {
            describe(stream, muxer, to, &OLD_TAGS);
            remarks.push(format!("{what} becomes {name}: {cannot}"));
            return Ok(route);
        }
        Some(Err(error)) => remarks.push(format!("{what} is left out: {error:#}")),
        None if is_kept_otherwise(stream, input) => {}
        None => {
            let elsewhere = match container {
                Container::Matroska => "",
                _ if kind == Type::Data => "",
                _ => " (mkv holds most)",
            };
            remarks.push(format!("{what} is left out: {cannot}{elsewhere}"));
        }
    }
    Ok(Route::Skip)
}

/// Whether the container can hold a stream as it is.
fn is_held(stream: &av::Stream, container: Container) -> bool {
    let parameters = stream.parameters();
    let id = parameters.id();
    match parameters.medium() {
        Type::Audio | Type::Subtitle => container.holds(id),
        Type::Video => container.holds(id) && (!is_cover(stream) || container == Container::Mp4),
        Type::Attachment => container == Container::Matroska,
        Type::Data => is_apple(container) && tag(&parameters) == TELEMETRY,
        _ => false,
    }
}

fn copied(
    stream: &av::Stream,
    part: Part,
    container: Container,
    muxer: &mut Output,
) -> Result<Route> {
    let parameters = stream.parameters();
    let tag = match parameters.medium() {
        Type::Data => tag(&parameters),
        _ => *b"\0\0\0\0",
    };
    let mut copy = muxer.add_stream(av::encoder::find(Id::None))?;
    copy.set_parameters(parameters);
    copy.set_time_base(stream.time_base());
    copy.set_avg_frame_rate(stream.avg_frame_rate());
    // SAFETY: the stream and its parameters are live for the borrow. The tag is that of the
    // source's container; 0 has the muxer choose its own.
    unsafe { (*(*copy.as_mut_ptr()).codecpar).codec_tag = u32::from_le_bytes(tag) };
    let to = copy.index();
    copy_side_data(stream, muxer, to);
    let untrue: &[&str] = match part == Part::default() {
        true => &[],
        false => &STATISTICS,
    };
    describe(stream, muxer, to, untrue);
    let copied = Copied::new(stream, to, is_apple(container));
    Ok(Route::Copy(Box::new(copied)))
}

/// Index in the muxer, name of the encoder and route of a stream that is encoded anew; `None` for one that never is.
fn encoded(
    stream: &av::Stream,
    container: Container,
    muxer: &mut Output,
) -> Option<Result<(usize, String, Route)>> {
    match stream.parameters().medium() {
        Type::Audio => Some(
            AudioTranscoder::open(stream, container, muxer).map(|transcoder| {
                let (to, name) = (transcoder.stream(), transcoder.name().to_string());
                (to, name, Route::Transcode(Box::new(transcoder)))
            }),
        ),
        Type::Subtitle => Some(SubtitleTranscoder::open(stream, container, muxer).map(
            |transcoder| {
                let (to, name) = (transcoder.stream(), transcoder.name().to_string());
                (to, name, Route::Rewrite(Box::new(transcoder)))
            },
        )),
        _ => None,
    }
}

/// Whether what a stream says comes along without it: chapter marks of mp4 files, which also show up as a data stream,
/// as chapters, time codes as the tag that comes with them, of which mp4 and mov make a track themselves.
fn is_kept_otherwise(stream: &av::Stream, input: &Input) -> bool {
    let parameters = stream.parameters();
    let chapter_marks = &tag(&parameters) == b"text" && input.nb_chapters() > 0;
    let time_code = stream.metadata().get("timecode").is_some();
    parameters.medium() == Type::Data && (chapter_marks || time_code)
}

fn is_cover(stream: &av::Stream) -> bool {
    stream.disposition().contains(Disposition::ATTACHED_PIC)
}

fn is_apple(container: Container) -> bool {
    matches!(container, Container::Mp4 | Container::Mov)
}

/// The tag of a stream in its container; zeros where there is none.
fn tag(parameters: &Parameters) -> [u8; 4] {
    // SAFETY: the parameters are live for the borrow; the field is a plain integer.
    unsafe { (*parameters.as_ptr()).codec_tag }.to_le_bytes()
}
