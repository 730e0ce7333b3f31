//! Video files out: painted frames encoded, every other stream of the source carried over, all
//! written to a hidden file that takes its name when it is whole.
//!
//! The source is opened a second time for its other streams. They are read only as far as the
//! painted frames have got, so that nothing piles up, however long the clip.

mod audio;
mod choice;
mod container;
mod copied;
mod copy;
mod cues;
mod route;
mod side_data;
mod silence;
mod sound;
mod spu;
mod subtitle;
mod tags;
mod tags_lost;
mod video;

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use ffmpeg_next as av;

use av::Rescale;
use av::rescale;

pub use container::Container;
use copy::Copier;
use sound::AudioEncoder;
use tags::are_apples;
use video::VideoEncoder;

use super::decode::{Part, VideoInfo};
use super::ffmpeg;
use super::{FrameSink, Hwaccel, SoundFormat};
use crate::frame::Frame;
use crate::output::{Existing, Output, Room};

/// Bytes that muxers hold back at most, with what any file ends with: a cluster of Matroska, mostly, which
/// would else grow to 5 MB.
const HELD_BACK: u64 = 2 << 20;
const CLUSTER: &str = "1048576";

/// What mp4 notes of a packet (size, times, place), all of it at the end of the file.
const INDEX: u64 = 40;

/// The frames still in the encoder may need as much more than those before them.
const PENDING: u64 = 2;

/// How the video is encoded.
#[derive(Clone, Debug)]
pub struct EncodeSettings {
    /// FFmpeg's name of the encoder; the usual one of the container when `None`.
    pub codec: Option<String>,
    /// Whose encoder is tried first where neither `codec` nor `preset` is given.
    pub hwaccel: Hwaccel,
    /// Constant quality, 0 (best) to 63; 18 when `None`.
    pub crf: Option<u8>,
    /// The encoder's preset, for encoders that have presets; a quick one for x264 and x265 when
    /// `None`.
    pub preset: Option<String>,
}

impl Default for EncodeSettings {
    fn default() -> Self {
        Self {
            codec: None,
            hwaccel: Hwaccel::None,
            crf: None,
            preset: None,
        }
    }
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With all the source holds. Its last frame ends at this time, in ticks.
    Whole(i64),
    /// After the last frame written; the other streams end there as well.
    Cut,
}

/// What a file holds besides its painted frames.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// Nothing.
    Nothing,
    /// The other streams, the chapters and the metadata of this file, of this part of it.
    Source(&'a Path, Part),
    /// Sound, which [`Encoder::write_sound`] brings.
    Sound(SoundFormat),
}

/// What writes [`Beside`].
enum Others {
    Nothing,
    Copied(Box<Copier>),
    Heard(Box<AudioEncoder>),
}

/// Writes a video file.
pub struct Encoder {
    muxer: av::format::context::Output,
    video: VideoEncoder,
    beside: Others,
    remarks: Vec<String>,
    place: PathBuf,
    output: Output,
}

impl Encoder {
    /// Begins the file `place`. `info` describes the frames to come, `beside` the rest. Fails when the file
    /// cannot be written, the encoder is unknown or refuses its settings, or the container cannot hold it.
    pub fn create(
        place: &Path,
        existing: Existing,
        info: &VideoInfo,
        settings: &EncodeSettings,
        beside: Beside,
    ) -> Result<Self> {
        ffmpeg::start()?;
        let container = Container::of(place)?;
        let output = Output::create(place, existing)?;
        let failed = || format!("could not write `{}`", place.display());
        let url = ffmpeg::url(output.path())?;
        let mut muxer = av::format::output_as(&url, container.muxer()).with_context(failed)?;
        let mut video = VideoEncoder::open(container, &muxer, info, settings)?;
        let mut remarks = Vec::new();
        if settings.crf.is_some() && !video.has_quality() {
            let name = video.name();
            remarks.push(format!(
                "encoder `{name}` knows no constant quality: --crf means nothing"
            ));
        }
        remarks.extend(video.foresight());
        let mut beside = match beside {
            Beside::Source(source, part) => Others::Copied(Box::new(Copier::open(
                (source, part),
                container,
                &mut muxer,
                &mut video,
                &mut remarks,
            )?)),
            Beside::Nothing => {
                video.add_stream(&mut muxer)?;
                Others::Nothing
            }
            Beside::Sound(heard) => {
                video.add_stream(&mut muxer)?;
                let encoder = AudioEncoder::open_live(heard, container, &mut muxer)?;
                Others::Heard(Box::new(encoder))
            }
        };
        let mut options = av::Dictionary::new();
        // FLAC and Opus in mp4 count as experimental in FFmpeg before 6.
        options.set("strict", "experimental");
        if matches!(container, Container::Matroska | Container::WebM) {
            options.set("cluster_size_limit", CLUSTER);
        } else {
            let flags = if are_apples(&muxer.metadata()) {
                "+faststart+use_metadata_tags"
            } else {
                "+faststart"
            };
            options.set("movflags", flags);
        }
        muxer.write_header_with(options).with_context(failed)?;
        video.begin(&muxer)?;
        let bases: Vec<_> = muxer.streams().map(|stream| stream.time_base()).collect();
        match &mut beside {
            Others::Nothing => {}
            Others::Copied(copier) => copier.begin(&bases),
            Others::Heard(encoder) => encoder.begin(&bases),
        }
        Ok(Self {
            muxer,
            video,
            beside,
            remarks,
            place: place.to_path_buf(),
            output,
        })
    }

    /// What the file leaves out or changes besides the picture, one line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::from_iter(self.video.remark());
        if let Others::Copied(copier) = &self.beside {
            faults.extend(copier.remarks());
        }
        faults
    }

    /// FFmpeg's name of the video encoder.
    pub fn codec(&self) -> &str {
        self.video.name()
    }

    /// What the file takes of its disk so far, and what is left; `None` where the disk does not tell.
    pub fn room(&self) -> Option<Room> {
        self.output.room()
    }

    /// Frames in the file so far. Encoders hold up to 60 more.
    pub fn frames_written(&self) -> u64 {
        let stream = self.muxer.stream(self.video.stream());
        stream.map_or(0, |stream| stream.frames().max(0) as u64)
    }

    /// Takes samples of the kind that [`Beside::Sound`] told, the first of which was heard at the time `at`,
    /// counted in samples from when the first frame is shown.
    pub fn write_sound(&mut self, samples: &[f32], at: i64) -> Result<()> {
        let Others::Heard(encoder) = &mut self.beside else {
            return Ok(());
        };
        encoder
            .write_samples(samples, at, &mut self.muxer)
            .with_context(|| format!("could not write `{}`", self.place.display()))
    }

    /// Fails when the disk takes little more than the end of the file: one that is full leaves nothing
    /// that plays of hours of work.
    fn ensure_room(&self) -> Result<()> {
        let Some(room) = self.room() else {
            return Ok(());
        };
        let packets: i64 = self.muxer.streams().map(|stream| stream.frames()).sum();
        let frame = room.written / self.frames_written().max(1);
        let pending = self.video.pending() * frame * PENDING;
        let end = HELD_BACK + pending + packets.max(0) as u64 * INDEX;
        ensure!(
            room.free >= end,
            "its disk has {} MB left, which the end of the file takes: make room or choose another disk",
            room.free >> 20
        );
        Ok(())
    }

    /// Writes what is still held back and gives the file its name. Returns what was lost of times and of the other
    /// streams on the way, one line each. Where it fails, what was written is kept as far as it can be.
    pub fn finish(mut self, ending: Ending) -> Result<Vec<String>> {
        if let Err(error) = self.complete(ending) {
            return Err(self.keep_written(error));
        }
        let faults = self.faults();
        self.end()?.finish()?;
        Ok(faults)
    }

    fn complete(&mut self, ending: Ending) -> Result<()> {
        let failed = || format!("could not write `{}`", self.place.display());
        let end = match ending {
            Ending::Whole(end) => Some(end),
            Ending::Cut => None,
        };
        let last = self.video.finish(&mut self.muxer, end);
        if let Others::Copied(copier) = &self.beside {
            // Of a film whose encoder failed, too: it is kept up to there.
            let end = match ending {
                Ending::Cut => Some(*last.as_ref().unwrap_or(&self.video.time())),
                Ending::Whole(_) => None,
            };
            copier.copy_chapters(end, &mut self.muxer)?;
        }
        let last = last.with_context(failed)?;
        match &mut self.beside {
            Others::Nothing => {}
            Others::Copied(copier) => {
                let limit = match ending {
                    Ending::Cut => last,
                    Ending::Whole(_) => i64::MAX,
                };
                let copied = copier.copy_until(limit, &mut self.muxer);
                copier.finish(&mut self.muxer)?;
                copied?;
            }
            Others::Heard(encoder) => encoder.finish(&mut self.muxer).with_context(failed)?,
        }
        Ok(())
    }

    /// Ends the file that `error` broke off, as far as that is possible, and gives it its name, or one beside
    /// the file that has it: this one may be hours of work. Returns the error, which tells of what was kept.
    pub fn keep(mut self, error: Error) -> Error {
        // What fails now most likely does for the same reason.
        let _ = self.complete(Ending::Cut);
        self.keep_written(error)
    }

    fn keep_written(self, error: Error) -> Error {
        if !self.video.has_frames() {
            return error;
        }
        match self.end().and_then(Output::finish_beside) {
            Ok(place) => error.context(format!("`{}` holds the film up to here", place.display())),
            Err(_) => error,
        }
    }

    fn end(mut self) -> Result<Output> {
        let failed = || format!("could not write `{}`", self.place.display());
        self.muxer.write_trailer().with_context(failed)?;
        drop(self.muxer);
        Ok(self.output)
    }
}

impl FrameSink for Encoder {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        let failed = || format!("could not write `{}`", self.place.display());
        self.ensure_room().with_context(failed)?;
        let time = self
            .video
            .write(frame, &mut self.muxer)
            .with_context(failed)?;
        if let Others::Copied(copier) = &mut self.beside {
            copier
                .copy_until(time, &mut self.muxer)
                .with_context(failed)?;
        }
        Ok(())
    }
}

/// Ticks of `base` in microseconds.
pub(super) fn microseconds(ticks: i64, base: av::Rational) -> i64 {
    ticks.rescale(base, rescale::TIME_BASE)
}
