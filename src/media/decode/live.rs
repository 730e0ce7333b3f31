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
    clock: Clock,
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
            clock: Clock::begin(Instant::now()),
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

    /// When the first sample of `frame` was heard: by the time of day that the device tells, else by a clock
    /// of the device's own, else just now.
    fn when(&mut self, frame: &av::frame::Audio) -> Instant {
        let now = Instant::now();
        let length = frame.samples() * usize::from(self.format.channels);
        let length = self.format.duration(length).as_secs_f64();
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let told = frame.timestamp().map(|ticks| ticks as f64 * self.base);
        let ago = told
            .zip(day.ok())
            .map(|(told, day)| day.as_secs_f64() - told);
        let ago = ago.filter(|ago| (0.0..CLOCK_LIMIT).contains(ago));
        let ago = match (ago, told) {
            (Some(ago), _) => ago,
            (None, Some(told)) => length + self.clock.late(told + length, now),
            (None, None) => length,
        };
        now.checked_sub(Duration::from_secs_f64(ago)).unwrap_or(now)
    }
}

/// How long the shortest way of a piece of sound to here is known: a clock that is slow by a thousandth is
/// 10 to 20 ms late then.
const KNOWN: Duration = Duration::from_secs(10);

/// A device's own clock, whatever it counts from. Sound is never here before it was heard, only later: what
/// took the shortest way tells how late others are.
struct Clock {
    begun: Instant,
    /// When the newest stretch of time began.
    stretch: Instant,
    /// Seconds from a device's time to `begun` by the shortest way, in the newest stretch and the one before.
    shortest: [f64; 2],
}

impl Clock {
    fn begin(now: Instant) -> Self {
        Self {
            begun: now,
            stretch: now,
            shortest: [f64::INFINITY; 2],
        }
    }

    /// How much later than others sound is here `now`, in seconds, whose end the device heard at `told`.
    fn late(&mut self, told: f64, now: Instant) -> f64 {
        let way = now.saturating_duration_since(self.begun).as_secs_f64() - told;
        let [newest, before] = self.shortest;
        if way - newest.min(before) > CLOCK_LIMIT {
            self.shortest = [f64::INFINITY; 2]; // the device counts from somewhere else now
        } else if now.saturating_duration_since(self.stretch) > KNOWN {
            self.shortest = [f64::INFINITY, newest];
            self.stretch = now;
        }
        self.shortest[0] = self.shortest[0].min(way);
        way - self.shortest[0].min(self.shortest[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far off the end of each piece of 20 ms is placed, in seconds, of a device whose clock is `slow` and
    /// that counts from -500 s, where a piece is here `late` seconds after it was heard.
    fn off(slow: f64, late: impl Fn(usize) -> f64) -> Vec<f64> {
        let begun = Instant::now();
        let mut clock = Clock::begin(begun);
        let place = |piece: usize| {
            let heard = piece as f64 * 0.02;
            let now = heard + late(piece);
            let told = heard * (1.0 - slow) - 500.0;
            now - clock.late(told, begun + Duration::from_secs_f64(now)) - heard
        };
        (0..5000).map(place).collect()
    }

    #[test]
    fn sound_that_is_late_once_stays_where_it_was() {
        let hiccup = |piece: usize| match piece % 500 {
            200..220 => 0.01 + (220 - piece % 500) as f64 * 0.02,
            odd if odd % 2 == 1 => 0.013,
            _ => 0.01,
        };
        for (piece, off) in off(0.0, hiccup).into_iter().enumerate() {
            assert!((off - 0.01).abs() < 1e-6, "{off} s at {piece}");
        }
    }

    #[test]
    fn a_clock_that_is_slow_is_followed() {
        let worst = off(0.001, |_| 0.0).into_iter().fold(0.0, f64::max);
        assert!((0.0..0.021).contains(&worst), "{worst} s");
    }

    #[test]
    fn a_device_that_counts_anew_is_followed() {
        let begun = Instant::now();
        let mut clock = Clock::begin(begun);
        let seconds = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(clock.late(1000.0, seconds(1)), 0.0);
        assert_eq!(clock.late(1000.0, seconds(2)), 1.0);
        assert_eq!(clock.late(0.0, seconds(3)), 0.0);
        assert_eq!(clock.late(1.0, seconds(4)), 0.0);
    }
}
