//! What a video file says before anything in it is decoded: its streams, start, rate and length.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ffmpeg_next as av;

use av::Rescale;
use av::format::Pixel;
use av::format::stream::Disposition;
use av::rescale;

use super::turn::Turn;
use crate::media::ffmpeg::{self, Color};

/// How far before a part reading begins, in microseconds: files are searched by the times at which frames are
/// decoded, which lie before those at which they are shown.
const AHEAD: i64 = 1_000_000;

/// Bytes and microseconds in which FFmpeg looks for streams that begin late; 5 MB and some seconds by itself.
const LATE_STREAMS: [(&str, &str); 2] =
    [("probesize", "67108864"), ("analyzeduration", "60000000")];

/// What of a picture can be seen through, for people.
pub(super) const TRANSPARENCY: &str = "its transparency";

/// Frame rate assumed where a file tells none.
pub(super) const DEFAULT_RATE: (i32, i32) = (25, 1);

/// What a video is, apart from its pixels.
#[derive(Clone, Debug)]
pub struct VideoInfo {
    /// Width of its frames in pixels, upright.
    pub width: usize,
    /// Height of its frames in pixels, upright.
    pub height: usize,
    /// Seconds in a tick of [`Frame::pts`](crate::frame::Frame::pts), as a fraction.
    pub time_base: (i32, i32),
    /// Average frames a second, as a fraction.
    pub frame_rate: (i32, i32),
    /// Width of a pixel divided by its height, as a fraction.
    pub pixel_aspect: (i32, i32),
    /// Number of frames as far as the file tells.
    pub frames: Option<u64>,
    pub(in crate::media) color: Color,
    /// Whether the file tells that some frames last for longer than others.
    pub(in crate::media) varies: bool,
}

impl VideoInfo {
    /// Video of square pixels at `frame_rate` frames a second, whose time base is one frame.
    pub fn new(width: usize, height: usize, frame_rate: (i32, i32)) -> Self {
        Self {
            width,
            height,
            time_base: (frame_rate.1, frame_rate.0),
            frame_rate,
            pixel_aspect: (1, 1),
            frames: None,
            color: Color::default(),
            varies: false,
        }
    }
}

/// What of a film is painted, in microseconds from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub from: i64,
    /// Where it ends, if not with the film.
    pub to: Option<i64>,
}

impl Part {
    /// How long it is, unless it ends with the film.
    pub(in crate::media) fn length(self) -> Option<i64> {
        self.to.map(|to| (to - self.from).max(0))
    }

    /// Where it begins, in seconds.
    pub(super) fn start(self) -> f64 {
        self.from as f64 / f64::from(av::ffi::AV_TIME_BASE)
    }
}

/// Opens a file for reading packets. What its streams are is looked for in its first minute where its first
/// seconds do not tell.
pub(in crate::media) fn open_input(path: &Path) -> Result<av::format::context::Input> {
    let input = open_input_with(path, &[])?;
    match lacks_something(&input) {
        true => open_input_with(path, &LATE_STREAMS),
        false => Ok(input),
    }
}

/// Whether a stream is announced of which nothing is known, or a format that announces none has no sound.
fn lacks_something(input: &av::format::context::Input) -> bool {
    // SAFETY: the context is live for the borrow of `input`; the field is a plain integer.
    let flags = unsafe { (*input.as_ptr()).ctx_flags };
    let is_sound = |stream: av::Stream| stream.parameters().medium() == av::media::Type::Audio;
    let announces_none = flags & av::ffi::AVFMTCTX_NOHEADER != 0;
    input
        .streams()
        .any(|stream| is_unknown(&stream.parameters()))
        || announces_none && !input.streams().any(is_sound)
}

/// Whether sound or picture of a stream were announced and did not come.
pub(in crate::media) fn is_unknown(parameters: &av::codec::Parameters) -> bool {
    // SAFETY: the parameters are live for the borrow; the fields are plain integers.
    let (rate, width, height) = unsafe {
        let parameters = parameters.as_ptr();
        (
            (*parameters).sample_rate,
            (*parameters).width,
            (*parameters).height,
        )
    };
    match parameters.medium() {
        av::media::Type::Audio => rate <= 0,
        av::media::Type::Video => width <= 0 || height <= 0,
        _ => false,
    }
}

fn open_input_with(path: &Path, more: &[(&str, &str)]) -> Result<av::format::context::Input> {
    let name = path.display();
    let mut options = av::Dictionary::new();
    options.set("pattern_type", "none"); // `50%d.png` is a picture, not a series of them
    options.set("scan_all_pmts", "1"); // recordings that were joined have several
    for (key, value) in more {
        options.set(key, value);
    }
    match av::format::input_with_dictionary(&ffmpeg::url(path)?, options) {
        Ok(input) => Ok(input),
        Err(av::Error::InvalidData) => bail!(
            "could not open `{name}`: it is not a video file, or was cut off before its index"
        ),
        Err(error) => Err(error).with_context(|| format!("could not open `{name}`")),
    }
}

/// Index of the video stream to paint: FFmpeg's choice, but never a cover picture.
pub(in crate::media) fn best_video(input: &av::format::context::Input) -> Option<usize> {
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

/// How late the file starts, in microseconds; below 0 where its video does, as in recordings that began before the
/// clock of their station did anew. Sound with a lead-in before 0 keeps its times.
pub(in crate::media) fn start_shift(input: &av::format::context::Input) -> i64 {
    // SAFETY: the context is live for the borrow of `input`; the field is a plain integer.
    let start = unsafe { (*input.as_ptr()).start_time };
    if start == av::ffi::AV_NOPTS_VALUE {
        return 0;
    }
    let video = best_video(input).and_then(|index| input.stream(index));
    let begins = video.and_then(|video| {
        let start = Some(video.start_time()).filter(|time| *time != av::ffi::AV_NOPTS_VALUE);
        Some(start?.rescale(video.time_base(), rescale::TIME_BASE))
    });
    start.max(begins.unwrap_or(0).min(0))
}

/// Goes to where reading must begin for what is shown in `part`, and for what begins up to `before` (microseconds) ahead
/// of it. Files that cannot be searched, and those whose clock may begin anew, are read from their beginning.
pub(in crate::media) fn go_to(
    input: &mut av::format::context::Input,
    path: &Path,
    part: Part,
    before: i64,
) -> Result<()> {
    let ahead = AHEAD.max(before);
    let time = start_shift(input) + part.from - ahead;
    if part.from > ahead && !restarts(input) && input.seek(time, ..time).is_err() {
        *input = open_input(path)?;
    }
    Ok(())
}

/// Whether the format of a file is one whose clock may begin anew.
pub(super) fn restarts(input: &av::format::context::Input) -> bool {
    // SAFETY: the context is live for the borrow of `input`, and its format is static in libavformat.
    let flags = unsafe { (*(*input.as_ptr()).iformat).flags };
    flags & av::ffi::AVFMT_TS_DISCONT != 0
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
    let transparency = is_transparent(frame).then_some(TRANSPARENCY);
    found.into_iter().flatten().chain(transparency)
}

/// Whether a frame may be seen through in places. GIF, which alone is decoded to BGRA, has places for it in every
/// film: there it is looked for.
fn is_transparent(frame: &av::frame::Video) -> bool {
    // SAFETY: descriptions are static in libavutil; the field is a plain integer.
    let flags =
        (frame.format().descriptor()).map_or(0, |described| unsafe { (*described.as_ptr()).flags });
    let row = |y| {
        frame.data(0)[y * frame.stride(0)..]
            .chunks(4)
            .take(frame.width() as usize)
    };
    match frame.format() {
        Pixel::PAL8 => false,
        Pixel::BGRA => (0..frame.height() as usize)
            .flat_map(row)
            .any(|pixel| pixel[3] < u8::MAX),
        _ => flags & u64::from(av::ffi::AV_PIX_FMT_FLAG_ALPHA as u32) != 0,
    }
}

/// How the picture of `stream` is turned, as it or a decoded `frame` says.
pub(super) fn turn(stream: &av::Stream, frame: &av::frame::Video) -> Turn {
    use av::codec::packet::side_data::Type as OfStream;
    use av::frame::side_data::Type as OfFrame;

    let mut of_stream = stream.side_data();
    let of_stream = of_stream.find(|data| data.kind() == OfStream::DisplayMatrix);
    let of_frame = frame.side_data(OfFrame::DisplayMatrix);
    match (&of_stream, &of_frame) {
        (Some(matrix), _) => Turn::from_matrix(matrix.data()),
        (None, Some(matrix)) => Turn::from_matrix(matrix.data()),
        (None, None) => Turn::default(),
    }
}

/// Width of a pixel divided by its height.
pub(super) fn pixel_aspect(frame: &av::frame::Video) -> av::Rational {
    let aspect = frame.aspect_ratio();
    match aspect.numerator() > 0 && aspect.denominator() > 0 {
        true => aspect,
        false => av::Rational::new(1, 1),
    }
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

/// Whether the rate that holds all frames is another than the average one. Of interlaced films it may be twice that.
pub(super) fn varies(stream: &av::Stream) -> bool {
    let ratio = f64::from(stream.rate()) / f64::from(stream.avg_frame_rate());
    let is_near = |number: f64| (ratio - number).abs() < 0.1;
    ratio.is_finite() && !is_near(1.0) && !is_near(2.0)
}

/// Number of frames of `part` as far as the file tells.
pub(super) fn expected_frames(
    input: &av::format::context::Input,
    stream: &av::Stream,
    part: Part,
) -> Option<u64> {
    if stream.frames() > 0 && part == Part::default() {
        return Some(stream.frames() as u64);
    }
    let (num, den) = frame_rate(stream);
    let duration = match (input.duration(), part.to) {
        (..=0, None) => return None,
        (..=0, Some(to)) => to,
        (duration, to) => to.map_or(duration, |to| to.min(duration)),
    };
    let seconds = (duration - part.from).max(0) as f64 / f64::from(av::ffi::AV_TIME_BASE);
    Some((seconds * f64::from(num) / f64::from(den)).round() as u64)
}
