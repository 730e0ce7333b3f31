//! The containers that films are written in, and what they hold.

use std::ffi::CString;
use std::path::Path;
use std::ptr::null;

use anyhow::{Result, bail, ensure};
use ffmpeg_next as av;

use av::codec::Id;

/// What mov cannot hold.
const NOT_IN_MOV: [Id; 6] = [Id::FLAC, Id::OPUS, Id::TRUEHD, Id::VP8, Id::VP9, Id::AV1];

/// What FFmpeg writes to Matroska and does not decode from there.
const NOT_DECODED: [Id; 3] = [Id::ADPCM_SWF, Id::TTA, Id::QTRLE];

/// The containers that files are written in, by the ending of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// .mp4, .m4v
    Mp4,
    /// .mov
    Mov,
    /// .mkv
    Matroska,
    /// .webm
    WebM,
}

impl Container {
    /// The container that the ending of `path` stands for; an error that names the known endings
    /// for any other.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("mp4" | "m4v") => Ok(Self::Mp4),
            Some("mov") => Ok(Self::Mov),
            Some("mkv") => Ok(Self::Matroska),
            Some("webm") => Ok(Self::WebM),
            _ => bail!(
                "cannot write `{}`: its ending is none of .mp4, .m4v, .mov, .mkv, .webm",
                path.display()
            ),
        }
    }

    /// Name for people: the usual ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Matroska => "mkv",
            Self::WebM => "webm",
        }
    }

    /// FFmpeg's name of the muxer.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Matroska => "matroska",
            Self::WebM => "webm",
        }
    }

    /// Whether it can hold streams of `codec`.
    pub(super) fn holds(self, codec: Id) -> bool {
        let compliance = match self {
            // FFmpeg says that mov holds these, and refuses them when it comes to it.
            Self::Mov if NOT_IN_MOV.contains(&codec) => return false,
            Self::Matroska if NOT_DECODED.contains(&codec) => return false,
            // Otherwise it says that Matroska holds everything, as what AVI has numbers for.
            Self::Matroska => av::ffi::FF_COMPLIANCE_NORMAL,
            // FLAC and Opus in mp4 count as experimental before FFmpeg 6.
            _ => av::ffi::FF_COMPLIANCE_EXPERIMENTAL,
        };
        let name = CString::new(self.muxer()).unwrap_or_default();
        // SAFETY: the name ends with a zero byte and outlives the call; formats are static in libavformat, and
        // the second call takes none at all for one that holds nothing.
        let answer = unsafe {
            let format = av::ffi::av_guess_format(name.as_ptr(), null(), null());
            av::ffi::avformat_query_codec(format, codec.into(), compliance)
        };
        answer == 1 || self == Self::Matroska && has_number(codec)
    }

    /// Fails with words for people when it cannot hold the video of an encoder.
    pub(super) fn ensure_holds(self, codec: &av::Codec) -> Result<()> {
        let remedy = match self {
            Self::Matroska => "",
            _ => "write an .mkv file or ",
        };
        ensure!(
            self.holds(codec.id()),
            "{} files cannot hold the video of `{}`: {remedy}choose another --codec",
            self.name(),
            codec.name()
        );
        Ok(())
    }
}

/// Whether AVI or QuickTime have a number for streams of `codec`, by which Matroska holds them.
fn has_number(codec: Id) -> bool {
    // SAFETY: the tables are static in libavformat, and the list of them ends with its null.
    let number = unsafe {
        let tables = [
            av::ffi::avformat_get_riff_audio_tags(),
            av::ffi::avformat_get_riff_video_tags(),
            av::ffi::avformat_get_mov_video_tags(),
            null(),
        ];
        av::ffi::av_codec_get_tag(tables.as_ptr(), codec.into())
    };
    number != 0
}
