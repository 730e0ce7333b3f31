//! Sound that a container cannot hold, encoded anew: AAC, or Opus for webm.
//!
//! A filter graph converts format and rate, fills gaps with silence and cuts the stream into the
//! encoder's frames, so that the sound stays where it was. Sound that changes its format on the way,
//! as recorded broadcasts do between films, passes another graph first, which gives it the format from before.

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::codec::capabilities::Capabilities;
use av::codec::encoder;
use av::filter;
use av::format::context::Output;

use super::encode::Container;
use super::ffmpeg::is_ready;

/// Bits a second for each channel.
const BIT_RATE: usize = 96_000;

/// Sample rate where an encoder does not take the source's.
const USUAL_RATE: u32 = 48_000;

/// Decodes one audio stream and encodes it as another codec.
pub(super) struct AudioTranscoder {
    decoder: av::decoder::Audio,
    encoder: av::encoder::Audio,
    codec: av::Codec,
    /// What the sound was at first, and the graph for it.
    kind: Kind,
    graph: filter::Graph,
    /// What it is now, where that is something else, and the graph that makes it what it was.
    other: Option<(Kind, filter::Graph)>,
    source_base: av::Rational,
    base: av::Rational,
    stream_base: av::Rational,
    stream: usize,
}

impl AudioTranscoder {
    /// Opens decoder and encoder for `stream` and adds the encoder's stream to `muxer`.
    pub fn open(stream: &av::Stream, container: Container, muxer: &mut Output) -> Result<Self> {
        let context = av::codec::Context::from_parameters(stream.parameters())?;
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(stream.time_base());
        let mut decoder = decoder.audio().context("this FFmpeg cannot decode it")?;
        let heard = known_layout(decoder.channel_layout(), decoder.channels());
        decoder.set_channel_layout(heard);
        let names = match container {
            Container::WebM => ["libopus", "libvorbis"],
            _ => ["aac", "libfdk_aac"],
        };
        let codec = names
            .iter()
            .find_map(|name| encoder::find_by_name(name))
            .with_context(|| format!("this FFmpeg has no encoder `{}`", names[0]))?;
        let audio = codec.audio()?;
        let rate = audio
            .rates()
            .and_then(|mut rates| rates.find(|&rate| rate == decoder.rate() as i32))
            .map_or(USUAL_RATE, |rate| rate as u32);
        let format = audio.formats().and_then(|mut formats| formats.next());
        let format = format.context("the encoder names no sample format")?;
        let base = av::Rational::new(1, rate as i32);
        let open = |layout: av::ChannelLayout| {
            let mut context = av::codec::Context::new_with_codec(codec);
            context.set_time_base(base);
            if muxer
                .format()
                .flags()
                .contains(av::format::Flags::GLOBAL_HEADER)
            {
                context.set_flags(av::codec::Flags::GLOBAL_HEADER);
            }
            let mut encoder = context.encoder().audio()?;
            encoder.set_rate(rate as i32);
            encoder.set_format(format);
            encoder.set_channel_layout(layout);
            encoder.set_bit_rate(BIT_RATE * layout.channels().max(1) as usize);
            let encoder = encoder
                .open_as(codec)
                .with_context(|| format!("`{}` refuses its format", codec.name()))?;
            Ok::<_, anyhow::Error>((encoder, layout))
        };
        // Opus takes speakers behind for those at the sides, and not every number of them.
        let (encoder, layout) = match open(heard) {
            Ok(opened) => opened,
            Err(refused) => [of_opus(heard.channels()), av::ChannelLayout::STEREO]
                .into_iter()
                .find_map(|layout| open(layout).ok())
                .ok_or(refused)?,
        };
        let kind = Kind {
            format: decoder.format(),
            rate: decoder.rate(),
            layout: heard,
        };
        let made = Kind {
            format,
            rate,
            layout,
        };
        let mut graph = convert(kind, stream.time_base(), made, "aresample=async=1")?;
        if !codec
            .capabilities()
            .contains(Capabilities::VARIABLE_FRAME_SIZE)
        {
            let mut out = graph.get("out").context("no filter `out`")?;
            // SAFETY: an opened encoder's context is live; the field is a plain integer.
            let size = unsafe { (*encoder.as_ptr()).frame_size } as u32;
            out.sink().set_frame_size(size);
        }
        let mut added = muxer.add_stream(codec)?;
        added.set_parameters(&encoder);
        added.set_time_base(base);
        let index = added.index();
        Ok(Self {
            decoder,
            encoder,
            codec,
            kind,
            graph,
            other: None,
            source_base: stream.time_base(),
            base,
            stream_base: base,
            stream: index,
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

    /// Takes one packet of the source. Damaged ones are passed over.
    pub fn write(&mut self, packet: &av::Packet, muxer: &mut Output) -> Result<()> {
        if self.decoder.send_packet(packet).is_ok() {
            self.filter_decoded()?;
        }
        self.encode(muxer)
    }

    /// Writes what decoder, filters and encoder still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        if self.decoder.send_eof().is_ok() {
            self.filter_decoded()?;
        }
        self.source()?
            .source()
            .flush()
            .context("resampling failed")?;
        self.encode(muxer)?;
        self.encoder
            .send_eof()
            .context("the audio encoder failed")?;
        self.mux(muxer)
    }

    fn filter_decoded(&mut self) -> Result<()> {
        let mut frame = av::frame::Audio::empty();
        while self.decoder.receive_frame(&mut frame).is_ok() {
            let time = frame.timestamp();
            frame.set_pts(time);
            let layout = known_layout(frame.channel_layout(), frame.channels());
            frame.set_channel_layout(layout);
            self.filter(&frame)?;
        }
        Ok(())
    }

    /// Hands a decoded frame to the filters.
    fn filter(&mut self, frame: &av::frame::Audio) -> Result<()> {
        const FAILED: &str = "resampling failed";
        let kind = Kind {
            format: frame.format(),
            rate: frame.rate(),
            layout: frame.channel_layout(),
        };
        if kind == self.kind {
            return self.source()?.source().add(frame).context(FAILED);
        }
        let mut graph = match self.other.take() {
            Some((other, graph)) if other == kind => graph,
            _ => {
                let ticks = format!("asettb={}", self.source_base);
                convert(kind, self.source_base, self.kind, &ticks)?
            }
        };
        let mut source = graph.get("in").context("no filter `in`")?;
        source.source().add(frame).context(FAILED)?;
        let mut sink = graph.get("out").context("no filter `out`")?;
        let mut converted = av::frame::Audio::empty();
        while is_ready(sink.sink().frame(&mut converted)).context(FAILED)? {
            self.source()?.source().add(&converted).context(FAILED)?;
        }
        self.other = Some((kind, graph));
        Ok(())
    }

    fn encode(&mut self, muxer: &mut Output) -> Result<()> {
        let mut frame = av::frame::Audio::empty();
        loop {
            let mut sink = self.graph.get("out").context("no filter `out`")?;
            if !is_ready(sink.sink().frame(&mut frame)).context("resampling failed")? {
                return Ok(());
            }
            self.encoder
                .send_frame(&frame)
                .context("the audio encoder failed")?;
            self.mux(muxer)?;
        }
    }

    fn mux(&mut self, muxer: &mut Output) -> Result<()> {
        let mut packet = av::Packet::empty();
        let failed = "the audio encoder failed";
        while is_ready(self.encoder.receive_packet(&mut packet)).context(failed)? {
            packet.set_stream(self.stream);
            packet.rescale_ts(self.base, self.stream_base);
            packet.write_interleaved(muxer)?;
        }
        Ok(())
    }

    fn source(&mut self) -> Result<filter::Context> {
        self.graph.get("in").context("no filter `in`")
    }
}

/// How sound is sampled.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    format: av::format::Sample,
    rate: u32,
    layout: av::ChannelLayout,
}

/// `layout`, or the usual one for as many channels where it does not say their order.
fn known_layout(layout: av::ChannelLayout, channels: u16) -> av::ChannelLayout {
    match layout.bits() {
        0 => av::ChannelLayout::default(channels.into()),
        _ => layout,
    }
}

/// The layout of Opus for `channels` (RFC 7845, section 5.1.1.2), or the next larger one.
fn of_opus(channels: i32) -> av::ChannelLayout {
    use av::ChannelLayout as Layout;
    match channels {
        ..=2 => Layout::default(channels),
        3 => Layout::SURROUND,
        4 => Layout::QUAD,
        5 => Layout::_5POINT0_BACK,
        6 => Layout::_5POINT1_BACK,
        7 => Layout::_6POINT1,
        _ => Layout::_7POINT1,
    }
}

/// A filter graph from sound of the kind `from`, timed in `time_base`, by the filter `first` to the kind `to`.
fn convert(from: Kind, time_base: av::Rational, to: Kind, first: &str) -> Result<filter::Graph> {
    let mut graph = filter::Graph::new();
    let channels = from.layout.bits();
    ensure!(channels != 0, "its channels are in no known order");
    // Such a format, of sound that is damaged from its beginning on, has no name to ask for.
    ensure!(
        from.format != av::format::Sample::None,
        "its samples are of no known kind"
    );
    let input = format!(
        "time_base={time_base}:sample_rate={}:sample_fmt={}:channel_layout=0x{channels:x}",
        from.rate,
        from.format.name()
    );
    let (source, sink) = (filter::find("abuffer"), filter::find("abuffersink"));
    graph.add(&source.context("no filter `abuffer`")?, "in", &input)?;
    graph.add(&sink.context("no filter `abuffersink`")?, "out", "")?;
    let chain = format!(
        "{first},aformat=sample_fmts={}:sample_rates={}:channel_layouts=0x{:x}",
        to.format.name(),
        to.rate,
        to.layout.bits()
    );
    graph.output("in", 0)?.input("out", 0)?.parse(&chain)?;
    graph.validate().context("could not set up resampling")?;
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_no_known_kind_are_an_error() -> Result<()> {
        super::super::ffmpeg::start()?;
        let kind = |format| Kind {
            format,
            rate: 48000,
            layout: av::ChannelLayout::STEREO,
        };
        let known = kind(av::format::Sample::F32(av::format::sample::Type::Planar));
        let convert = |from| convert(from, av::Rational::new(1, 48000), known, "anull").map(drop);
        convert(known)?;
        let error = convert(kind(av::format::Sample::None)).expect_err("nothing to convert");
        assert!(error.to_string().contains("of no known kind"), "{error}");
        Ok(())
    }
}
