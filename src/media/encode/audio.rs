//! Sound that a container cannot hold, encoded anew.
//!
//! Sound that changes its format on the way, as recorded broadcasts do between films, passes a filter graph
//! that gives it the format from before.

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::filter;
use av::format::context::Output;

use super::Container;
use super::sound::{AudioEncoder, KEEP_TIMES, Kind, convert};
use crate::media::ffmpeg::{is_ready, known_layout};

/// Decodes one audio stream and encodes it as another codec.
pub(super) struct AudioTranscoder {
    decoder: av::decoder::Audio,
    encoder: AudioEncoder,
    /// What the sound is where that is not what it was at first, and the graph that makes it that.
    other: Option<(Kind, filter::Graph)>,
    source_base: av::Rational,
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
        let kind = Kind {
            format: decoder.format(),
            rate: decoder.rate(),
            layout: heard,
        };
        let base = stream.time_base();
        let encoder = AudioEncoder::open(kind, base, KEEP_TIMES, container, muxer)?;
        Ok(Self {
            decoder,
            encoder,
            other: None,
            source_base: base,
        })
    }

    /// Index of the stream in the muxer.
    pub fn stream(&self) -> usize {
        self.encoder.stream()
    }

    /// FFmpeg's name of the encoder.
    pub fn name(&self) -> &str {
        self.encoder.name()
    }

    /// Learns the time base that the muxer chose, of the time bases of all its streams.
    pub fn begin(&mut self, bases: &[av::Rational]) {
        self.encoder.begin(bases);
    }

    /// Takes one packet of the source. Damaged ones are passed over.
    pub fn write(&mut self, packet: &av::Packet, muxer: &mut Output) -> Result<()> {
        match self.decoder.send_packet(packet) {
            Ok(()) => self.write_decoded(muxer),
            Err(_) => Ok(()),
        }
    }

    /// Writes what decoder, filters and encoder still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        if self.decoder.send_eof().is_ok() {
            self.write_decoded(muxer)?;
        }
        self.encoder.finish(muxer)
    }

    fn write_decoded(&mut self, muxer: &mut Output) -> Result<()> {
        let mut frame = av::frame::Audio::empty();
        while self.decoder.receive_frame(&mut frame).is_ok() {
            let time = frame.timestamp();
            frame.set_pts(time);
            let layout = known_layout(frame.channel_layout(), frame.channels());
            frame.set_channel_layout(layout);
            self.write_frame(&frame, muxer)?;
        }
        Ok(())
    }

    fn write_frame(&mut self, frame: &av::frame::Audio, muxer: &mut Output) -> Result<()> {
        const FAILED: &str = "resampling failed";
        let kind = Kind {
            format: frame.format(),
            rate: frame.rate(),
            layout: frame.channel_layout(),
        };
        if kind == self.encoder.from() {
            return self.encoder.write(frame, muxer);
        }
        let mut graph = match self.other.take() {
            Some((other, graph)) if other == kind => graph,
            _ => {
                let ticks = format!("asettb={}", self.source_base);
                let filters = ["anull", &ticks];
                convert(kind, self.source_base, self.encoder.from(), filters)?
            }
        };
        let mut source = graph.get("in").context("no filter `in`")?;
        source.source().add(frame).context(FAILED)?;
        let mut sink = graph.get("out").context("no filter `out`")?;
        let mut converted = av::frame::Audio::empty();
        while is_ready(sink.sink().frame(&mut converted)).context(FAILED)? {
            self.encoder.write(&converted, muxer)?;
        }
        self.other = Some((kind, graph));
        Ok(())
    }
}
