//! Silence for the gaps of sound that a container stores without times.
//!
//! FFmpeg writes no times to mp4 and mov for samples that all have the same size: they are heard one after the
//! other, however late their packets are.

use ffmpeg_next as av;

use av::Rescale;
use av::codec::{Id, Parameters};

/// Gaps from this length on are filled, in microseconds: the times of Matroska are rounded to milliseconds, those of
/// broken sources go to and fro.
const GAP: i64 = 20_000;

/// Most silence of a stream in seconds, 700 MB of stereo: more is that of broken times.
const MOST: i64 = 3600;

/// Fills the gaps of one stream.
pub(super) struct Silence {
    /// A byte of it.
    byte: u8,
    /// Bytes of a sample of all channels, and its seconds.
    block: usize,
    length: av::Rational,
    /// When the first packet began, in ticks of the muxer, and how many samples came since.
    began: Option<i64>,
    samples: i64,
    /// Samples of silence that may still come, and how many were left out for want of them.
    left: i64,
    left_out: i64,
}

impl Silence {
    /// For sound of `parameters`; `None` for such as is compressed.
    pub fn new(parameters: &Parameters) -> Option<Self> {
        let name = parameters.id().name();
        if !name.starts_with("pcm_") {
            return None;
        }
        let context = av::codec::Context::from_parameters(parameters.clone()).ok()?;
        let decoder = context.decoder().audio().ok()?;
        let (channels, rate) = (i32::from(decoder.channels()), decoder.rate() as i32);
        // SAFETY: the call only looks a number up.
        let bits = unsafe { av::ffi::av_get_exact_bits_per_sample(parameters.id().into()) };
        let block = usize::try_from(channels * bits / 8).ok()?;
        (block > 0 && rate > 0).then(|| Self {
            byte: match parameters.id() {
                Id::PCM_U8 => 0x80,
                Id::PCM_MULAW => 0xff,
                Id::PCM_ALAW => 0xd5,
                _ => 0,
            },
            block,
            length: av::Rational::new(1, rate),
            began: None,
            samples: 0,
            left: MOST * i64::from(rate),
            left_out: 0,
        })
    }

    /// Up to a second of silence that belongs before `packet`, which is timed in `base`; `None` where nothing
    /// is missing any more, or more than all silence that there may be.
    pub fn before(&mut self, packet: &av::Packet, base: av::Rational) -> Option<av::Packet> {
        let (begins, began) = (packet.pts().or(packet.dts())?, self.began?);
        let ends = began + self.samples.rescale(self.length, base);
        let missing = (begins - ends).rescale(base, self.length);
        if missing < GAP.rescale(av::rescale::TIME_BASE, self.length).max(1) {
            return None;
        }
        if missing > self.left {
            self.samples += missing;
            self.left_out += missing;
            return None;
        }
        let samples = missing.min(self.length.denominator().into());
        self.left -= samples;
        let mut silence = av::Packet::copy(&vec![self.byte; samples as usize * self.block]);
        silence.set_pts(Some(ends));
        silence.set_dts(Some(ends));
        silence.set_duration(samples.rescale(self.length, base));
        silence.set_flags(av::packet::Flags::KEY);
        Some(silence)
    }

    /// Seconds of silence that were left out.
    pub fn left_out(&self) -> i64 {
        self.left_out / i64::from(self.length.denominator())
    }

    /// Learns of a packet that was written: when it began, and its bytes.
    pub fn count(&mut self, begins: Option<i64>, bytes: usize) {
        self.began = self.began.or(begins);
        self.samples += (bytes / self.block) as i64;
    }
}
