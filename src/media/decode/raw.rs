//! Frames as the codec gives them, one after the other: damaged packets are skipped and counted, frames
//! that the GPU decodes are fetched from its memory, interlaced ones become progressive.

use anyhow::{Error, Result, ensure};
use ffmpeg_next as av;

use super::deinterlace::Deinterlacer;
use super::packets::Packets;
use crate::media::Hwaccel;
use crate::media::ffmpeg::hwaccel::download;

/// Damaged packets in a row after which the rest of the file is given up.
const MAX_DAMAGED_IN_A_ROW: u64 = 100_000;

/// Decodes the packets of a stream.
pub(super) struct RawFrames {
    pub packets: Packets,
    decoder: av::decoder::Video,
    /// Who decodes.
    pub hwaccel: Hwaccel,
    deinterlacer: Deinterlacer,
    /// The frame decoded last.
    pub decoded: av::frame::Video,
    /// Its pixels where the GPU decodes.
    downloaded: av::frame::Video,
    /// Parts of the stream that were skipped or repaired.
    pub damaged: u64,
}

/// What comes next.
pub(super) enum Next {
    /// A frame, in [`RawFrames::decoded`].
    Frame,
    /// No frame any more.
    End,
    /// Nothing from the GPU any more, and why.
    GaveUp(Error),
}

/// What a decoder had ready.
enum Received {
    /// A frame.
    Frame,
    /// Nothing yet, or a frame for the deinterlacer.
    Nothing,
    /// The news that there are no more.
    End,
}

impl RawFrames {
    /// What `decoder`, on the CPU or with `hwaccel`, makes of `packets`, whose times are multiples of
    /// `time_base`.
    pub fn new(
        packets: Packets,
        decoder: av::decoder::Video,
        hwaccel: Hwaccel,
        time_base: (i32, i32),
    ) -> Self {
        Self {
            deinterlacer: Deinterlacer::new(time_base),
            packets,
            decoder,
            hwaccel,
            decoded: av::frame::Video::empty(),
            downloaded: av::frame::Video::empty(),
            damaged: 0,
        }
    }

    /// Decodes the next frame. Fails when the file could not be read on; every frame before that is
    /// decoded first.
    pub fn next(&mut self) -> Result<Next> {
        let mut in_a_row = 0;
        while in_a_row < MAX_DAMAGED_IN_A_ROW {
            if let Some(frame) = self.deinterlacer.next() {
                self.decoded = frame;
                return Ok(Next::Frame);
            }
            match self.receive() {
                Ok(Received::Frame) => return Ok(Next::Frame),
                Ok(Received::Nothing) => {}
                Ok(Received::End) => {
                    self.packets.ensure_read()?;
                    return Ok(Next::End);
                }
                Err(error) if self.hwaccel == Hwaccel::Cuda => return Ok(Next::GaveUp(error)),
                Err(_) => {
                    in_a_row += 1;
                    self.damaged += 1;
                }
            }
        }
        Ok(Next::End)
    }

    /// The frame decoded last where its pixels lie in the computer's memory.
    pub fn pixels(&self) -> &av::frame::Video {
        match self.hwaccel {
            Hwaccel::None => &self.decoded,
            Hwaccel::Cuda => &self.downloaded,
        }
    }

    /// The time of the frame decoded last, in ticks from the beginning of the part.
    pub fn time(&self) -> Option<i64> {
        let time = self.decoded.timestamp()?;
        Some(self.packets.since_start(time))
    }

    /// What had to be made up for, in one line.
    pub fn remark(&self) -> Option<String> {
        self.deinterlacer.remark()
    }

    /// Takes what the decoder has ready, or feeds it. Fails for a damaged packet, and for a frame of the
    /// GPU that is not to be taken.
    fn receive(&mut self) -> Result<Received> {
        match self.decoder.receive_frame(&mut self.decoded) {
            Ok(()) => {}
            Err(av::Error::Eof) => {
                return Ok(match self.deinterlacer.finish()? {
                    true => Received::Nothing,
                    false => Received::End,
                });
            }
            Err(av::Error::Other {
                errno: av::error::EAGAIN,
            }) => {
                self.feed()?;
                return Ok(Received::Nothing);
            }
            Err(error) => return Err(error.into()),
        }
        let damaged = self.decoded.is_corrupt() || self.decoded.has_decode_errors();
        if self.hwaccel == Hwaccel::Cuda {
            download(&self.decoded, &mut self.downloaded)?;
            ensure!(!damaged, "a damaged frame");
            ensure!(!self.decoded.is_interlaced(), "an interlaced frame");
            return Ok(Received::Frame);
        }
        self.damaged += u64::from(damaged);
        Ok(match self.deinterlacer.take(&mut self.decoded)? {
            true => Received::Nothing,
            false => Received::Frame,
        })
    }

    /// Hands the decoder one packet, or the news that there is none. Fails when it was damaged.
    fn feed(&mut self) -> Result<(), av::Error> {
        match self.packets.next()? {
            Some(packet) => self.decoder.send_packet(&packet),
            None => self.decoder.send_eof(),
        }
    }
}
