//! Sound that a container cannot hold, encoded anew.
//!
//! Sound that changes its format on the way, as recorded broadcasts do between films, passes a filter graph
//! that gives it the format from before.

use anyhow::{Context, Result};
use ffmpeg_next as av;

use av::codec::Id;
use av::filter;
use av::format::context::Output;

use super::Container;
use super::sound::{AudioEncoder, KEEP_TIMES, Kind, convert};
use crate::media::ffmpeg::{is_ready, known_layout};

const FAILED: &str = "resampling failed";

/// Decodes one audio stream and encodes it as another codec.
pub(super) struct AudioTranscoder {
    decoder: av::decoder::Audio,
    encoder: AudioEncoder,
    /// What the sound is where that is not what it was at first, and the graph that makes it that.
    other: Option<(Kind, filter::Graph)>,
    codec: Id,
    source_base: av::Rational,
    /// Packets that could not be decoded; those before the first sound may be cut.
    damaged: u64,
    begun: bool,
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
            codec: stream.parameters().id(),
            source_base: base,
            damaged: 0,
            begun: false,
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

    /// Takes one packet of the source. Damaged ones are passed over and counted.
    pub fn write(&mut self, packet: &av::Packet, muxer: &mut Output) -> Result<()> {
        match self.decoder.send_packet(packet) {
            Ok(()) => self.write_decoded(muxer),
            Err(_) => {
                self.damaged += 1;
                Ok(())
            }
        }
    }

    /// Writes what decoder, filters and encoder still hold.
    pub fn finish(&mut self, muxer: &mut Output) -> Result<()> {
        if self.decoder.send_eof().is_ok() {
            self.write_decoded(muxer)?;
        }
        self.finish_other(muxer)?;
        self.encoder.finish(muxer)
    }

    /// What was lost on the way, in one line.
    pub fn remark(&self) -> Option<String> {
        let (name, damaged) = (self.codec.name(), self.damaged);
        (damaged > 0).then(|| format!("audio stream ({name}): damaged packets left out: {damaged}"))
    }

    fn write_decoded(&mut self, muxer: &mut Output) -> Result<()> {
        let mut frame = av::frame::Audio::empty();
        loop {
            match is_ready(self.decoder.receive_frame(&mut frame)) {
                Ok(true) if !self.begun => (self.begun, self.damaged) = (true, 0),
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) => {
                    self.damaged += 1;
                    return Ok(());
                }
            }
            let time = frame.timestamp();
            frame.set_pts(time);
            let layout = known_layout(frame.channel_layout(), frame.channels());
            frame.set_channel_layout(layout);
            self.write_frame(&frame, muxer)?;
        }
    }

    fn write_frame(&mut self, frame: &av::frame::Audio, muxer: &mut Output) -> Result<()> {
        let kind = Kind {
            format: frame.format(),
            rate: frame.rate(),
            layout: frame.channel_layout(),
        };
        if self.other.as_ref().is_none_or(|(other, _)| *other != kind) {
            self.finish_other(muxer)?;
        }
        if kind == self.encoder.from() {
            return self.encoder.write(frame, muxer);
        }
        if self.other.is_none() {
            let ticks = format!("asettb={}", self.source_base);
            let filters = ["anull", &ticks];
            let graph = convert(kind, self.source_base, self.encoder.from(), filters)?;
            self.other = Some((kind, graph));
        }
        if let Some((_, graph)) = &mut self.other {
            let mut source = graph.get("in").context("no filter `in`")?;
            source.source().add(frame).context(FAILED)?;
        }
        self.write_converted(muxer)
    }

    /// Writes what filters still hold of sound that is not what it was at first.
    fn finish_other(&mut self, muxer: &mut Output) -> Result<()> {
        if let Some((_, graph)) = &mut self.other {
            let mut source = graph.get("in").context("no filter `in`")?;
            source.source().flush().context(FAILED)?;
            self.write_converted(muxer)?;
        }
        self.other = None;
        Ok(())
    }

    fn write_converted(&mut self, muxer: &mut Output) -> Result<()> {
        let Some((_, graph)) = &mut self.other else {
            return Ok(());
        };
        let mut sink = graph.get("out").context("no filter `out`")?;
        let mut converted = av::frame::Audio::empty();
        while is_ready(sink.sink().frame(&mut converted)).context(FAILED)? {
            self.encoder.write(&converted, muxer)?;
        }
        Ok(())
    }
}
