//! Frames over the bus, in bands: while one is on its way, the next is copied to or from the memory that
//! the bus reads and writes.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, PinnedHostSlice};
use rayon::prelude::*;

/// Bytes that cross the bus at once.
const BAND: usize = 2 << 20;

/// Bytes that one thread copies at once.
const SHARE: usize = 256 << 10;

/// The host's end of the bus: memory for what goes to the card, one after the other; the painting takes
/// the place of the frame on its way back.
pub(super) struct Bus {
    stream: Arc<CudaStream>,
    memory: PinnedHostSlice<u8>,
    /// Bytes of the memory that are on their way.
    sent: usize,
}

impl Bus {
    /// For at most `bytes` at once, by a stream of `context`.
    pub fn new(context: &Arc<CudaContext>, stream: Arc<CudaStream>, bytes: usize) -> Result<Self> {
        // SAFETY: every byte is written before it is read: `send` fills a band, then sends it.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) }?;
        Ok(Self {
            stream,
            memory,
            sent: 0,
        })
    }

    /// Begins anew: what was sent before has arrived.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Sends `bytes`, or 0s, to `place` of the arena.
    pub fn send(
        &mut self,
        bytes: Option<&[u8]>,
        arena: &mut CudaSlice<u8>,
        place: &Range<usize>,
    ) -> Result<()> {
        let start = self.sent;
        self.sent += place.len();
        let host = &mut self.memory.as_mut_slice()?[start..self.sent];
        let mut to = arena.slice_mut(place.clone());
        for (band, host) in host.chunks_mut(BAND).enumerate() {
            let range = band * BAND..band * BAND + host.len();
            match bytes {
                Some(bytes) => copy(&bytes[range.clone()], host),
                None => host.fill(0),
            }
            self.stream.memcpy_htod(host, &mut to.slice_mut(range))?;
        }
        Ok(())
    }

    /// Fetches what is at `place` of the arena.
    pub fn fetch(
        &mut self,
        arena: &CudaSlice<u8>,
        place: &Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        let from = arena.slice(place.clone());
        let host = &mut self.memory.as_mut_slice()?[..place.len()];
        let mut arrived = Vec::new();
        for (band, host) in host.chunks_mut(BAND).enumerate() {
            let range = band * BAND..band * BAND + host.len();
            self.stream.memcpy_dtoh(&from.slice(range), host)?;
            arrived.push(self.stream.record_event(None)?);
        }
        let bands = host.chunks(BAND).zip(pixels.chunks_mut(BAND));
        for ((host, pixels), arrived) in bands.zip(arrived) {
            arrived.synchronize()?;
            copy(host, pixels);
        }
        Ok(())
    }
}

/// Copies on every core: one alone is slower than the bus.
fn copy(from: &[u8], to: &mut [u8]) {
    let shares = from.par_chunks(SHARE).zip(to.par_chunks_mut(SHARE));
    shares.for_each(|(from, to)| to.copy_from_slice(from));
}
