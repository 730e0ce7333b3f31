//! Sound into a file: AAC, or Opus for webm.
//!
//! A filter graph converts format and rate, fills gaps with silence and cuts the sound into the
//! encoder's frames, so that it stays where it was.

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::codec::capabilities::Capabilities;
use av::codec::encoder;
use av::filter;
use av::format::context::Output;

use super::Container;
use crate::media::SoundFormat;
use crate::media::ffmpeg::is_ready;

/// Bits a second for each channel.
const BIT_RATE: usize = 96_000;

/// Sample rate where an encoder does not take the source's.
const USUAL_RATE: u32 = 48_000;

/// Gaps are filled and overlaps cut once they are 0.1 s long.
pub(super) const KEEP_TIMES: &str = "aresample=async=1";

/// As [`KEEP_TIMES`], from the time 0 on. Less than that is made up for in small steps, by at most 0.2 % of the
/// speed, 3.5 cents: clocks of microphones and computers drift apart by a hundredth of that.
const HOLD_CLOCK: &str = "aresample=first_pts=0:flags=res:async=";
const MOST_STRETCHED: f32 = 0.002;

/// Encodes one stream of sound.
pub(super) struct AudioEncoder {
    encoder: av::encoder::Audio,
    codec: av::Codec,
    from: Kind,
    graph: filter::Graph,
    base: av::Rational,
    stream_base: av::Rational,
    stream: usize,
}

impl AudioEncoder {
    /// Opens the encoder for sound of the kind `from`, timed in `time_base`, and adds its stream to `muxer`.
    /// `first` is the filter that the sound passes first.
    pub fn open(
        from: Kind,
        time_base: av::Rational,
        first: &str,
        container: Container,
        muxer: &mut Output,
    ) -> Result<Self> {
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
            .and_then(|mut rates| rates.find(|&rate| rate == from.rate as i32))
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
        let (encoder, layout) = match open(from.layout) {
            Ok(opened) => opened,
            Err(refused) => [of_opus(from.layout.channels()), av::ChannelLayout::STEREO]
                .into_iter()
                .find_map(|layout| open(layout).ok())
                .ok_or(refused)?,
        };
        let made = Kind {
            format,
            rate,
            layout,
        };
        let mut graph = convert(from, time_base, made, [first, "anull"])?;
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
        let stream = added.index();
        Ok(Self {
            encoder,
            codec,
            from,
            graph,
            base,
            stream_base: base,
            stream,
        })
    }

    /// Opens the encoder for sound that [`AudioEncoder::write_samples`] brings while it is heard.
    pub fn open_live(heard: SoundFormat, container: Container, muxer: &mut Output) -> Result<Self> {
        let kind = Kind {
            format: av::format::Sample::F32(av::format::sample::Type::Packed),
            rate: heard.rate,
            layout: av::ChannelLayout::default(heard.channels.into()),
        };
        let most = (heard.rate as f32 * MOST_STRETCHED).max(2.0);
        let base = av::Rational::new(1, heard.rate as i32);
        Self::open(kind, base, &format!("{HOLD_CLOCK}{most}"), container, muxer)
    }

    /// The kind of sound that it takes.
    pub fn from(&self) -> Kind {
        self.from
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

    /// Takes sound, of the kind that it was opened for.
    pub fn write(&mut self, frame: &av::frame::Audio, muxer: &mut Output) -> Result<()> {
        let mut source = self.source()?;
        source.source().add(frame).context("resampling failed")?;
        self.encode(muxer)
    }

    /// Takes samples, the first of which was heard at the time `at`, counted in samples. Those of
    /// one moment lie side by side.
    pub fn write_samples(&mut self, samples: &[f32], at: i64, muxer: &mut Output) -> Result<()> {
        let Kind {
            format,
            layout,
            rate,
        } = self.from;
        let count = samples.len() / layout.channels().max(1) as usize;
        if count == 0 {
            return Ok(());
        }
        let mut frame = av::frame::Audio::new(format, count, layout);
        frame.set_rate(rate);
        frame.set_pts(Some(at));
        for (bytes, sample) in frame.data_mut(0).chunks_exact_mut(4).zip(samples) {
            bytes.copy_from_slice(&sample.to_ne_bytes());
        }
        self.write(&frame, muxer)
    }

    /// Writes what filters and encoder still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        let mut source = self.source()?;
        source.source().flush().context("resampling failed")?;
        self.encode(muxer)?;
        self.encoder
            .send_eof()
            .context("the audio encoder failed")?;
        self.mux(muxer)
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
pub(super) struct Kind {
    /// How a sample is written.
    pub format: av::format::Sample,
    /// Samples a second.
    pub rate: u32,
    /// Its channels.
    pub layout: av::ChannelLayout,
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

/// A filter graph from sound of the kind `from`, timed in `time_base`, to the kind `to`: by the filter `first`,
/// and `last` when it is of that kind. Resampling counts time in samples.
pub(super) fn convert(
    from: Kind,
    time_base: av::Rational,
    to: Kind,
    [first, last]: [&str; 2],
) -> Result<filter::Graph> {
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
        "{first},aformat=sample_fmts={}:sample_rates={}:channel_layouts=0x{:x},{last}",
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
        crate::media::ffmpeg::start()?;
        let kind = |format| Kind {
            format,
            rate: 48000,
            layout: av::ChannelLayout::STEREO,
        };
        let known = kind(av::format::Sample::F32(av::format::sample::Type::Planar));
        let (base, none) = (av::Rational::new(1, 48000), ["anull"; 2]);
        let convert = |from| convert(from, base, known, none).map(drop);
        convert(known)?;
        let error = convert(kind(av::format::Sample::None)).expect_err("nothing to convert");
        assert!(error.to_string().contains("of no known kind"), "{error}");
        Ok(())
    }
}
