//! What a file says besides what it holds: tags, chapters, covers of Matroska.

use std::ffi::{CStr, CString};

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

/// Tags of a stream that are no longer true where only a part of it is copied, by their beginnings in lower case.
pub(super) const STATISTICS: [&str; 4] = ["bps", "duration", "number_of_", "_statistics_"];

/// The same of a stream that is encoded anew.
pub(super) const OLD_TAGS: [&str; 8] = [
    "encoder",
    "rotate",
    "stereo_mode",
    "alpha_mode",
    STATISTICS[0],
    STATISTICS[1],
    STATISTICS[2],
    STATISTICS[3],
];

/// Languages that FFmpeg writes to mov by another code than that of ISO 639-2 that a film may have, and that one: of two
/// codes it knows one, of some an older or shorter one.
const TWINS: [[&str; 2]; 27] = [
    ["bod", "tib"],
    ["cym", "wel"],
    ["cze", "ces"],
    ["deu", "ger"],
    ["ell", "gre"],
    ["eus", "baq"],
    ["fao", "fo "],
    ["fas", "per"],
    ["fre", "fra"],
    ["gle", "iri"],
    ["hrv", "hr "],
    ["hye", "arm"],
    ["isl", "ice"],
    ["kat", "geo"],
    ["mkd", "mac"],
    ["msa", "may"],
    ["mya", "bur"],
    ["nld", "dut"],
    ["nob", "nor"],
    ["pan", "pa "],
    ["rum", "ron"],
    ["slo", "slk"],
    ["sme", "smi"],
    ["sqi", "alb"],
    ["srp", "sr "],
    ["swe", "sve"],
    ["zho", "chi"],
];

/// Tag of the time code of the first frame.
const TIME_CODE: &str = "timecode";

/// Gives `muxer` the chapters of `input` that begin before `end`, which cuts the last one. Times begin at `shift`; both in
/// microseconds.
pub(super) fn copy_chapters(
    input: &Input,
    muxer: &mut Output,
    shift: i64,
    end: Option<i64>,
) -> Result<()> {
    for (id, chapter) in input.chapters().enumerate() {
        let base = chapter.time_base();
        let ticks = |time: i64| time.rescale(rescale::TIME_BASE, base);
        let title = chapter.metadata().get("title").unwrap_or("").to_string();
        let (start, ends) = (chapter.start() - ticks(shift), chapter.end() - ticks(shift));
        let end = end.map_or(i64::MAX, ticks);
        if start < 0 && ends <= 0 || start >= end {
            continue;
        }
        // Matroska knows no times below 0, and broken films chapters that end before they begin.
        let start = start.max(0);
        let end = ends.min(end).max(start);
        let mut copy = muxer
            .add_chapter(id as i64, base, start, end, title)
            .context("could not copy the chapters")?;
        for (key, value) in chapter.metadata().iter() {
            copy.set_metadata(key, value);
        }
    }
    Ok(())
}

/// Moves the time codes that `muxer` tells, those of films of `rate`, to where `part` begins.
pub(super) fn move_time_codes(muxer: &mut Output, rate: av::Rational, part: Part) {
    let moved = |tags: &av::DictionaryRef| {
        let code = moved_time_code(tags.get(TIME_CODE)?, rate, part.from)?;
        let mut tags = without(tags, &[TIME_CODE]);
        tags.set(TIME_CODE, &code);
        Some(tags)
    };
    if let Some(tags) = moved(&muxer.metadata()) {
        muxer.set_metadata(tags);
    }
    for i in 0..muxer.nb_streams() as usize {
        if let Some(mut stream) = muxer.stream_mut(i)
            && let Some(tags) = moved(&stream.metadata())
        {
            stream.set_metadata(tags);
        }
    }
}

/// The time code of the first frame at `from`, in microseconds, of a film of `rate` whose first frame has the time
/// code `first` (SMPTE ST 12-1, with or without dropped numbers); `None` for what is none.
fn moved_time_code(first: &str, rate: av::Rational, from: i64) -> Option<String> {
    let first = CString::new(first).ok()?;
    let frames = f64::from(rate) * from as f64 / f64::from(av::ffi::AV_TIME_BASE);
    // SAFETY: the time code is a plain struct that the first call fills where it returns 0; the text ends with a zero
    // byte; the second call writes at most AV_TIMECODE_STR_SIZE bytes with a zero byte among them.
    unsafe {
        let mut code = std::mem::zeroed::<av::ffi::AVTimecode>();
        let no_log = std::ptr::null_mut();
        let parsed =
            av::ffi::av_timecode_init_from_string(&mut code, rate.into(), first.as_ptr(), no_log);
        let mut text = [0; av::ffi::AV_TIMECODE_STR_SIZE as usize];
        if parsed != 0 {
            return None;
        }
        code.flags |= av::ffi::AVTimecodeFlag::AV_TIMECODE_FLAG_24HOURSMAX as u32;
        av::ffi::av_timecode_make_string(&code, text.as_mut_ptr(), frames.ceil() as i32);
        Some(CStr::from_ptr(text.as_ptr()).to_str().ok()?.to_string())
    }
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
    let mut tags = without(&stream.metadata(), &[]);
    if tags.get("filename").is_none() {
        // Players know a cover by this name.
        let names = (1..).map(|number| match number {
            1 => format!("cover.{ending}"),
            _ => format!("cover-{number}.{ending}"),
        });
        let is_free = |name: &String| {
            let mut others = muxer.streams();
            others.all(|other| other.metadata().get("filename") != Some(name))
        };
        let name = { names }.find(is_free);
        tags.set("filename", &name.unwrap_or_default());
    }
    tags.set("mimetype", kind);
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
    copy.set_metadata(tags);
    Ok(())
}

/// Whether there are tags of Apple's devices (place, camera), which mp4 and mov only hold as pairs of names and
/// values; then they hold any.
pub(super) fn are_apples(tags: &av::DictionaryRef) -> bool {
    tags.iter().any(|(key, _)| key.starts_with("com."))
}

/// Gives stream `to` of the muxer the tags and the disposition of `stream`.
pub(super) fn describe(stream: &av::Stream, muxer: &mut Output, to: usize, untrue: &[&str]) {
    let is_mov = muxer.format().name() == "mov";
    if let Some(mut copy) = muxer.stream_mut(to) {
        let mut tags = without(&stream.metadata(), untrue);
        let language = tags.get("language").unwrap_or_default().to_string();
        if let Some([_, known]) = TWINS.iter().find(|[other, _]| is_mov && *other == language) {
            tags.set("language", known);
        }
        copy.set_metadata(tags);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_codes_move_with_the_beginning() {
        let moved = |first, rate: (i32, i32), from| {
            moved_time_code(first, av::Rational(rate.0, rate.1), from)
        };
        let second = 1_000_000;
        assert_eq!(
            moved("10:00:00:00", (25, 1), 3 * second / 2).unwrap(),
            "10:00:01:13"
        );
        assert_eq!(
            moved("23:59:59:24", (25, 1), second).unwrap(),
            "00:00:00:24"
        );
        // At 29.97 frames/s the first two numbers of most minutes are dropped.
        assert_eq!(
            moved("00:00:59;29", (30000, 1001), 33_366).unwrap(),
            "00:01:00;02"
        );
        assert_eq!(moved("yesterday", (25, 1), second), None);
    }
}
