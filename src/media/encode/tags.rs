//! What a file says besides what it holds: tags, chapters, covers of Matroska.

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::codec::Id;
use av::format::context::{Input, Output};
use av::rescale;

use crate::media::decode::Part;

/// Tags of a file that describe the file itself rather than what it shows.
pub(super) const FILE_TAGS: [&str; 4] = [
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
];

/// Tags of a stream that are no longer true once it is encoded anew, by their beginnings
/// in lower case.
pub(super) const OLD_TAGS: [&str; 8] = [
    "encoder",
    "rotate",
    "bps",
    "duration",
    "number_of_",
    "_statistics_",
    "stereo_mode",
    "alpha_mode",
];

/// Gives `muxer` the chapters of `input` that lie in `part`. Times begin at `shift`, in microseconds.
pub(super) fn copy_chapters(
    input: &Input,
    muxer: &mut Output,
    shift: i64,
    part: Part,
) -> Result<()> {
    for (id, chapter) in input.chapters().enumerate() {
        let base = chapter.time_base();
        let shift = shift.rescale(rescale::TIME_BASE, base);
        let title = chapter.metadata().get("title").unwrap_or("").to_string();
        let (start, end) = (chapter.start() - shift, chapter.end() - shift);
        let length = part
            .length()
            .map_or(i64::MAX, |length| length.rescale(rescale::TIME_BASE, base));
        if start < 0 && end <= 0 || start >= length {
            continue;
        }
        // Matroska knows no times below 0.
        let (start, end) = (start.max(0), end.min(length));
        let mut copy = muxer
            .add_chapter(id as i64, base, start, end, title)
            .context("could not copy the chapters")?;
        for (key, value) in chapter.metadata().iter() {
            copy.set_metadata(key, value);
        }
    }
    Ok(())
}

/// Attaches the cover picture `stream` to a Matroska file, where players look for covers.
pub(super) fn attach(stream: &av::Stream, muxer: &mut Output) -> Result<()> {
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
pub(super) fn describe(stream: &av::Stream, muxer: &mut Output, to: usize, untrue: &[&str]) {
    if let Some(mut copy) = muxer.stream_mut(to) {
        copy.set_metadata(without(&stream.metadata(), untrue));
        // SAFETY: both streams are live for their borrows; the field is a plain integer.
        unsafe { (*copy.as_mut_ptr()).disposition = (*stream.as_ptr()).disposition };
    }
}

/// A copy of `tags` without those that begin with one of `beginnings`, in whatever case.
pub(super) fn without(tags: &av::DictionaryRef, beginnings: &[&str]) -> av::Dictionary<'static> {
    let mut copy = av::Dictionary::new();
    for (key, value) in tags.iter() {
        let lower = key.to_ascii_lowercase();
        if !beginnings.iter().any(|b| lower.starts_with(b)) {
            copy.set(key, value);
        }
    }
    copy
}
