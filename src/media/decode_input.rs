//! What a video file says before anything in it is decoded: its streams, start, rate and length.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ffmpeg_next as av;

use av::format::stream::Disposition;

use super::ffmpeg;

/// Frame rate assumed where a file tells none.
pub(super) const DEFAULT_RATE: (i32, i32) = (25, 1);

/// Opens a file for reading packets.
pub(super) fn open_input(path: &Path) -> Result<av::format::context::Input> {
    let name = path.display();
    let mut options = av::Dictionary::new();
    options.set("pattern_type", "none"); // `50%d.png` is a picture, not a series of them
    match av::format::input_with_dictionary(&ffmpeg::url(path)?, options) {
        Ok(input) => Ok(input),
        Err(av::Error::InvalidData) => bail!(
            "could not open `{name}`: it is not a video file, or was cut off before its index"
        ),
        Err(error) => Err(error).with_context(|| format!("could not open `{name}`")),
    }
}

/// Index of the video stream to paint: FFmpeg's choice, but never a cover picture.
pub(super) fn best_video(input: &av::format::context::Input) -> Option<usize> {
    let picture = |stream: &av::Stream| stream.disposition().contains(Disposition::ATTACHED_PIC);
    let best = input.streams().best(av::media::Type::Video)?;
    if !picture(&best) {
        return Some(best.index());
    }
    input
        .streams()
        .find(|s| s.parameters().medium() == av::media::Type::Video && !picture(s))
        .map(|s| s.index())
}

/// How late the file starts, in microseconds. Files that start before 0 (sound with a lead-in)
/// keep their times.
pub(super) fn start_shift(input: &av::format::context::Input) -> i64 {
    // SAFETY: the context is live for the borrow of `input`; the field is a plain integer.
    let start = unsafe { (*input.as_ptr()).start_time };
    if start == av::ffi::AV_NOPTS_VALUE {
        0
    } else {
        start.max(0)
    }
}

/// What belongs to the picture of a stream and does not come through painting, for people.
pub(super) fn lost(stream: &av::Stream) -> Vec<&'static str> {
    use av::codec::packet::side_data::Type;

    let mut lost: Vec<_> = stream
        .side_data()
        .filter_map(|data| match data.kind() {
            Type::MasteringDisplayMetadata | Type::ContentLightLevel => Some("HDR10 metadata"),
            // The third byte is the profile; frames of this one make sense with the metadata alone.
            Type::DOVI_CONF if data.data().get(2) == Some(&5) => {
                Some("Dolby Vision of profile 5, without which its colours are wrong")
            }
            Type::DOVI_CONF => Some("Dolby Vision metadata"),
            Type::Stereo3d => Some("the mark of a stereoscopic film"),
            Type::DataSpherical => Some("the mark of a 360 degree film"),
            _ => None,
        })
        .collect();
    lost.dedup();
    lost
}

/// As [`lost`], of what a decoded frame carries with it.
pub(super) fn lost_of(frame: &av::frame::Video) -> impl Iterator<Item = &'static str> {
    use av::frame::side_data::Type;

    let carried = [
        (Type::MasteringDisplayMetadata, "HDR10 metadata"),
        (Type::A53CC, "closed captions"),
    ];
    let found = carried.map(|(kind, words)| frame.side_data(kind).map(|_| words));
    found.into_iter().flatten()
}

/// Brightest light of a film of high dynamic range in nits, as its stream or a decoded `frame` tells: that
/// of its pictures, or of the screen that it was made on.
pub(super) fn brightest(stream: &av::Stream, frame: &av::frame::Video) -> Option<f64> {
    use av::codec::packet::side_data::Type as OfStream;
    use av::frame::side_data::Type as OfFrame;

    let told = |of_stream, of_frame, read: fn(&[u8]) -> Option<f64>| {
        let mut of_stream = stream.side_data().filter(|data| data.kind() == of_stream);
        let of_frame = frame.side_data(of_frame);
        let found = of_frame.and_then(|data| read(data.data()));
        found.or_else(|| of_stream.find_map(|data| read(data.data())))
    };
    let pictures = told(
        OfStream::ContentLightLevel,
        OfFrame::ContentLightLevel,
        |data| word(data, 0).map(f64::from), // MaxCLL, the first of AVContentLightMetadata
    );
    let screen = told(
        OfStream::MasteringDisplayMetadata,
        OfFrame::MasteringDisplayMetadata,
        |data| {
            // In AVMasteringDisplayMetadata it comes after nine fractions, for three primaries, white and the
            // darkest light; whether it is told, after whether the primaries are.
            let [num, den, is_told] = [18, 19, 21].map(|at| word(data, at));
            (is_told? != 0).then_some(f64::from(num?) / f64::from(den?))
        },
    );
    let known = |nits: &f64| nits.is_finite() && *nits > 0.0;
    pictures.filter(known).or(screen.filter(known))
}

/// The word at `index` of a struct of 32-bit integers.
fn word(data: &[u8], index: usize) -> Option<u32> {
    data.as_chunks()
        .0
        .get(index)
        .copied()
        .map(u32::from_ne_bytes)
}

/// Average frames a second as the file tells them, else [`DEFAULT_RATE`].
pub(super) fn frame_rate(stream: &av::Stream) -> (i32, i32) {
    [stream.avg_frame_rate(), stream.rate()]
        .into_iter()
        .map(|rate| (rate.numerator(), rate.denominator()))
        .find(|rate| rate.0 > 0 && rate.1 > 0 && rate.0 / rate.1 <= 1000)
        .unwrap_or(DEFAULT_RATE)
}

/// Number of frames as far as the file tells.
pub(super) fn expected_frames(
    input: &av::format::context::Input,
    stream: &av::Stream,
) -> Option<u64> {
    if stream.frames() > 0 {
        return Some(stream.frames() as u64);
    }
    let (num, den) = frame_rate(stream);
    let seconds = input.duration() as f64 / f64::from(av::ffi::AV_TIME_BASE);
    (input.duration() > 0).then(|| (seconds * f64::from(num) / f64::from(den)).round() as u64)
}
