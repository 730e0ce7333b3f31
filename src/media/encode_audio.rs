//! Sound that a container cannot hold, encoded anew: AAC, or Opus for webm.
//!
//! A filter graph converts format and rate, fills gaps with silence and cuts the stream into the
//! encoder's frames, so that the sound stays where it was.

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::codec::capabilities::Capabilities;
use av::codec::encoder;
use av::filter;
use av::format::context::Output;

use super::encode::Container;

/// Bits a second for each channel.
const BIT_RATE: usize = 96_000;

/// Sample rate where an encoder does not take the source's.
const USUAL_RATE: u32 = 48_000;

/// Decodes one audio stream and encodes it as another codec.
pub(super) struct AudioTranscoder {
    decoder: av::decoder::Audio,
    encoder: av::encoder::Audio,
    codec: av::Codec,
    graph: filter::Graph,
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
        if decoder.channel_layout().is_empty() {
            let channels = i32::from(decoder.channels());
            decoder.set_channel_layout(av::ChannelLayout::default(channels));
        }
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
        let layout = decoder.channel_layout();
        let base = av::Rational::new(1, rate as i32);
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
        let graph = convert(&decoder, stream.time_base(), &encoder, &codec)?;
        let mut added = muxer.add_stream(codec)?;
        added.set_parameters(&encoder);
        added.set_time_base(base);
        let index = added.index();
        Ok(Self {
            decoder,
            encoder,
            codec,
            graph,
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
            if frame.channel_layout().is_empty() {
                frame.set_channel_layout(self.decoder.channel_layout());
            }
            self.source()?
                .source()
                .add(&frame)
                .context("resampling failed")?;
        }
        Ok(())
    }

    fn encode(&mut self, muxer: &mut Output) -> Result<()> {
        let mut frame = av::frame::Audio::empty();
        loop {
            let mut sink = self.graph.get("out").context("no filter `out`")?;
            if sink.sink().frame(&mut frame).is_err() {
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
        while self.encoder.receive_packet(&mut packet).is_ok() {
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

/// The filter graph from the decoder's sound to the encoder's.
fn convert(
    decoder: &av::decoder::Audio,
    time_base: av::Rational,
    encoder: &av::encoder::Audio,
    codec: &av::Codec,
) -> Result<filter::Graph> {
    let mut graph = filter::Graph::new();
    let layout = decoder.channel_layout().bits();
    ensure!(layout != 0, "its channels are in no known order");
    let format = decoder.format().name();
    let rate = decoder.rate();
    let input = format!(
        "time_base={time_base}:sample_rate={rate}:sample_fmt={format}:channel_layout=0x{layout:x}"
    );
    let (source, sink) = (filter::find("abuffer"), filter::find("abuffersink"));
    graph.add(&source.context("no filter `abuffer`")?, "in", &input)?;
    graph.add(&sink.context("no filter `abuffersink`")?, "out", "")?;
    let chain = format!(
        "aresample=async=1,aformat=sample_fmts={}:sample_rates={}:channel_layouts=0x{:x}",
        encoder.format().name(),
        encoder.rate(),
        encoder.channel_layout().bits()
    );
    graph.output("in", 0)?.input("out", 0)?.parse(&chain)?;
    graph.validate().context("could not set up resampling")?;
    if !codec
        .capabilities()
        .contains(Capabilities::VARIABLE_FRAME_SIZE)
    {
        let mut out = graph.get("out").context("no filter `out`")?;
        // SAFETY: an opened encoder's context is live; the field is a plain integer.
        let size = unsafe { (*encoder.as_ptr()).frame_size } as u32;
        out.sink().set_frame_size(size);
    }
    Ok(graph)
}
