//! Text subtitles that a container cannot hold, rewritten in the form that it can: mov_text for
//! mp4, SubRip for mkv, WebVTT for webm. Words, times and simple emphasis are kept.

use std::ffi::CString;

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::codec::Id;
use av::format::context::Output;
use av::rescale;

use super::Container;
use super::cues::{Cue, Cues};

/// Longest subtitle in bytes; files of books stay below it.
const MAX_BYTES: usize = 1 << 16;

/// Decodes one subtitle stream and encodes it in another form of text.
pub(super) struct SubtitleTranscoder {
    decoder: av::decoder::Subtitle,
    encoder: av::encoder::Subtitle,
    codec: av::Codec,
    bytes: Vec<u8>,
    base: av::Rational,
    stream_base: av::Rational,
    stream: usize,
    /// When the last line began.
    last: Option<i64>,
    /// Where the container shows one line at a time.
    cues: Option<Cues>,
}

impl SubtitleTranscoder {
    /// Opens decoder and encoder for `stream` and adds the encoder's stream to `muxer`. Fails for
    /// subtitles that are pictures.
    pub fn open(stream: &av::Stream, container: Container, muxer: &mut Output) -> Result<Self> {
        let text = [
            Id::TEXT,
            Id::SUBRIP,
            Id::MOV_TEXT,
            Id::WEBVTT,
            Id::ASS,
            Id::SSA,
        ];
        let name = container.name();
        ensure!(
            text.contains(&stream.parameters().id()),
            "{name} cannot hold it"
        );
        let context = av::codec::Context::from_parameters(stream.parameters())?;
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(stream.time_base());
        let decoder = decoder.subtitle().context("this FFmpeg cannot decode it")?;
        let name = match container {
            Container::Mp4 | Container::Mov => "mov_text",
            Container::Matroska => "subrip",
            Container::WebM => "webvtt",
        };
        let codec = av::encoder::find_by_name(name)
            .with_context(|| format!("this FFmpeg has no encoder `{name}`"))?;
        let base = stream.time_base();
        let mut context = av::codec::Context::new_with_codec(codec);
        context.set_time_base(base);
        let mut encoder = context.encoder().subtitle()?;
        copy_header(&decoder, &mut encoder)?;
        let encoder = encoder
            .open_as(codec)
            .with_context(|| format!("`{name}` refuses its format"))?;
        let mut added = muxer.add_stream(codec)?;
        added.set_parameters(&encoder);
        // FFmpeg's muxer compares ticks of mov_text with those of other streams without regard to their length; of
        // microseconds, which are more than those of any other, none come too early.
        added.set_time_base(match name {
            "mov_text" => rescale::TIME_BASE,
            _ => base,
        });
        let index = added.index();
        Ok(Self {
            decoder,
            encoder,
            codec,
            bytes: vec![0; MAX_BYTES],
            base,
            stream_base: base,
            stream: index,
            last: None,
            cues: (codec.id() == Id::MOV_TEXT).then(Cues::default),
        })
    }

    /// Index of the stream in the muxer.
    pub fn stream(&self) -> usize {
        self.stream
    }

    /// FFmpeg's name of the encoder.
    pub fn name(&self) -> &str {
        self.codec.name()
    }

    /// Learns the time base that the muxer chose, of the time bases of all its streams.
    pub fn begin(&mut self, bases: &[av::Rational]) {
        self.stream_base = bases[self.stream];
    }

    /// Takes one packet of the source. Empty and damaged ones are passed over.
    pub fn write(&mut self, packet: &av::Packet, muxer: &mut Output) -> Result<()> {
        let mut subtitle = av::Subtitle::new();
        if !matches!(self.decoder.decode(packet, &mut subtitle), Ok(true)) {
            return Ok(());
        }
        let lines: Vec<_> = subtitle.rects().filter_map(line).collect();
        // SAFETY: the subtitle, filled by the decoder, is freed once and not used afterwards.
        unsafe { av::ffi::avsubtitle_free(subtitle.as_mut_ptr()) };
        let Some(begins) = packet.pts().or(packet.dts()) else {
            return Ok(());
        };
        for text in lines {
            let ends = begins + packet.duration().max(0);
            let cue = Cue { begins, ends, text };
            match &mut self.cues {
                Some(cues) if ends > begins => {
                    for cue in cues.push(cue) {
                        self.encode(&cue, muxer)?;
                    }
                }
                _ => self.encode(&cue, muxer)?,
            }
        }
        Ok(())
    }

    /// Writes what is still shown at the end.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        let cues = self.cues.as_mut().map(|cues| cues.until(i64::MAX));
        for cue in cues.into_iter().flatten() {
            self.encode(&cue, muxer)?;
        }
        Ok(())
    }

    fn encode(&mut self, cue: &Cue, muxer: &mut Output) -> Result<()> {
        let text = CString::new(cue.text.as_str()).unwrap_or_default();
        let mut rect = av::ffi::AVSubtitleRect {
            type_: av::ffi::AVSubtitleType::SUBTITLE_ASS,
            ass: text.as_ptr().cast_mut(),
            // SAFETY: of zeros it is one of no size without data.
            ..unsafe { std::mem::zeroed() }
        };
        let mut rects = [&raw mut rect];
        let subtitle = av::ffi::AVSubtitle {
            num_rects: 1,
            rects: rects.as_mut_ptr(),
            // SAFETY: of zeros it is one without times of its own.
            ..unsafe { std::mem::zeroed() }
        };
        // SAFETY: the encoder is live and owned here, the length is that of the buffer, and the subtitle and its
        // text, which the encoder only reads, outlive the call.
        let length = unsafe {
            av::ffi::avcodec_encode_subtitle(
                self.encoder.as_mut_ptr(),
                self.bytes.as_mut_ptr(),
                self.bytes.len() as i32,
                &subtitle,
            )
        };
        let length = usize::try_from(length).unwrap_or(0); // what it refuses is passed over
        let Some(bytes) = self.bytes.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let mut copy = av::Packet::copy(bytes);
        copy.set_pts(Some(cue.begins));
        copy.set_dts(copy.pts());
        copy.set_duration(cue.ends - cue.begins);
        copy.set_flags(av::packet::Flags::KEY);
        copy.set_stream(self.stream);
        copy.rescale_ts(self.base, self.stream_base);
        if let Some(last) = self.last
            && copy.pts() <= Some(last)
        {
            copy.set_pts(Some(last + 1)); // lines that stand in another order
            copy.set_dts(copy.pts());
        }
        self.last = copy.pts().or(self.last);
        copy.write_interleaved(muxer)
            .context("could not write subtitles")
    }
}

/// A line of text; `None` for pictures and what has no text.
fn line(rect: av::subtitle::Rect) -> Option<String> {
    match rect {
        av::subtitle::Rect::Ass(ass) => Some(ass.get().to_string()),
        _ => None,
    }
}

/// Hands the styles that the decoder speaks of to the encoder, which reads them when it is opened.
fn copy_header(
    decoder: &av::decoder::Subtitle,
    encoder: &mut av::encoder::subtitle::Subtitle,
) -> Result<()> {
    // SAFETY: both contexts are live. The decoder's header holds `subtitle_header_size` bytes; the
    // copy is allocated by FFmpeg, zero-terminated, and owned and freed by the encoder's context.
    unsafe {
        let (from, to) = (decoder.as_ptr(), encoder.as_mut_ptr());
        let size = (*from).subtitle_header_size;
        ensure!(
            size > 0 && !(*from).subtitle_header.is_null(),
            "its decoder gives no styles"
        );
        let copy = av::ffi::av_mallocz(size as usize + 1).cast::<u8>();
        ensure!(!copy.is_null(), "no memory for subtitles");
        std::ptr::copy_nonoverlapping((*from).subtitle_header, copy, size as usize);
        (*to).subtitle_header = copy;
        (*to).subtitle_header_size = size;
    }
    Ok(())
}
