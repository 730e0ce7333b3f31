//! Sound in while it is heard: what a device of FFmpeg hears, as samples with their times.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use ffmpeg_next as av;

use av::format::context::Input;
use av::software::resampling;

use crate::media::SoundFormat;
use crate::media::ffmpeg::devices::input_format;
use crate::media::ffmpeg::{is_ready, known_layout};

/// Devices tell the time of day; what is further off, in seconds, is some other time.
const CLOCK_LIMIT: f64 = 5.0;

/// Sound that was heard in one go.
pub struct Heard {
    /// Samples from -1 to 1, those of one moment side by side.
    pub samples: Vec<f32>,
    /// When the first of them was heard.
    pub at: Instant,
}

/// An open device, and what makes samples of its packets.
pub(in crate::media) struct LiveDecoder {
    input: Input,
    decoder: av::decoder::Audio,
    resampler: resampling::Context,
    format: SoundFormat,
    stream: usize,
    base: f64,
}

impl LiveDecoder {
    /// Opens `url` of FFmpeg's device `device` and waits until something is heard. More than two channels
    /// become two.
    pub fn open(device: &str, url: &str) -> Result<Self> {
        let format = input_format(device)
            .with_context(|| format!("this FFmpeg has no device `{device}`"))?;
        let mut input = av::format::open(url, &format)?.input();
        // SAFETY: the context is live for the borrow of `input`; the field is a plain integer, which devices
        // look at before each wait.
        unsafe { (*input.as_mut_ptr()).flags |= av::ffi::AVFMT_FLAG_NONBLOCK };
        let stream = input.streams().best(av::media::Type::Audio);
        let stream = stream.context("it has no sound")?;
        let (index, base) = (stream.index(), f64::from(stream.time_base()));
        let context = av::codec::Context::from_parameters(stream.parameters())?;
        let mut decoder = context.decoder().audio()?;
        let layout = known_layout(decoder.channel_layout(), decoder.channels());
        decoder.set_channel_layout(layout);
        let format = SoundFormat {
            rate: decoder.rate(),
            channels: layout.channels().clamp(1, 2) as u16,
        };
        let resampler = resampling::Context::get(
            decoder.format(),
            layout,
            format.rate,
            av::format::Sample::F32(av::format::sample::Type::Packed),
            av::ChannelLayout::default(format.channels.into()),
            format.rate,
        )?;
        Ok(Self {
            input,
            decoder,
            resampler,
            format,
            stream: index,
            base,
        })
    }

    /// How its sound is sampled.
    pub fn format(&self) -> SoundFormat {
        self.format
    }

    /// What was heard next; `None` when there is nothing new. Fails where nothing will come any more.
    pub fn read(&mut self) -> Result<Option<Heard>> {
        let mut frame = av::frame::Audio::empty();
        while !is_ready(self.decoder.receive_frame(&mut frame))? {
            let mut packet = av::Packet::empty();
            match packet.read(&mut self.input) {
                Err(av::Error::Eof) => bail!("it has ended"),
                read if !is_ready(read)? => return Ok(None),
                _ if packet.stream() == self.stream => self.decoder.send_packet(&packet)?,
                _ => {}
            }
        }
        let layout = known_layout(frame.channel_layout(), frame.channels());
        frame.set_channel_layout(layout);
        let mut samples = av::frame::Audio::empty();
        self.resampler.run(&frame, &mut samples)?;
        let count = samples.samples() * usize::from(self.format.channels);
        let (numbers, _) = samples.data(0).as_chunks();
        let numbers = numbers.iter().take(count);
        Ok(Some(Heard {
            samples: numbers.copied().map(f32::from_ne_bytes).collect(),
            at: self.when(&frame),
        }))
    }

    /// When the first sample of `frame` was heard: by the time of day that the device tells, or just now.
    fn when(&self, frame: &av::frame::Audio) -> Instant {
        let now = Instant::now();
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let told = frame.timestamp().zip(day.ok());
        let ago = told.map(|(ticks, day)| day.as_secs_f64() - ticks as f64 * self.base);
        let ago = ago.filter(|ago| (0.0..CLOCK_LIMIT).contains(ago));
        let length = frame.samples() * usize::from(self.format.channels);
        let ago = ago.map_or(self.format.duration(length), Duration::from_secs_f64);
        now.checked_sub(ago).unwrap_or(now)
    }
}
