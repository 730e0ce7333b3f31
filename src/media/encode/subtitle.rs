//! Text subtitles that a container cannot hold, rewritten in the form that it can: mov_text for
//! mp4, SubRip for mkv, WebVTT for webm. Words, times and simple emphasis are kept.

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::codec::Id;
use av::format::context::Output;
use av::rescale;

use super::Container;

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
        // SAFETY: encoder and subtitle are live and owned here, and the length is that of the
        // buffer; the subtitle, filled by the decoder, is freed once and not used afterwards.
        let length = unsafe {
            let length = av::ffi::avcodec_encode_subtitle(
                self.encoder.as_mut_ptr(),
                self.bytes.as_mut_ptr(),
                self.bytes.len() as i32,
                subtitle.as_ptr(),
            );
            av::ffi::avsubtitle_free(subtitle.as_mut_ptr());
            length
        };
        let Some(bytes) = usize::try_from(length)
            .ok()
            .and_then(|n| self.bytes.get(..n))
        else {
            return Ok(());
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let mut copy = av::Packet::copy(bytes);
        copy.set_pts(packet.pts().or(packet.dts()));
        copy.set_dts(copy.pts());
        copy.set_duration(packet.duration());
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
