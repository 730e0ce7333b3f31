//! Frames over the bus, in bands: while one is on its way, the next is copied to or from the memory that
//! the bus reads and writes. A frame can be sent while the one before is painted, and a painting return
//! while the one after is: both wait on the card, in memory of their own, for their turn.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, PinnedHostSlice};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Bytes that cross the bus at once.
const BAND: usize = 2 << 20;

/// Bytes that one thread copies at once.
const SHARE: usize = 256 << 10;

/// Most threads that copy: the other cores watch, decode and encode.
const COPIERS: usize = 4;

/// Both ways between the host and the arena.
pub(super) struct Bus {
    /// The stream that paints.
    stream: Arc<CudaStream>,
    /// The stream in which frames are sent, and the one in which paintings return.
    sending: Arc<CudaStream>,
    returning: Arc<CudaStream>,
    outgoing: PinnedHostSlice<u8>,
    incoming: PinnedHostSlice<u8>,
    /// Where on the card what was sent waits for its turn.
    landing: CudaSlice<u8>,
    /// Where the painting lies that returns.
    departing: CudaSlice<u8>,
    /// Reached when what was sent last has landed: then `outgoing` is free.
    landed: Option<CudaEvent>,
    /// Reached when it has been taken to the arena: then `landing` is free.
    taken: Option<CudaEvent>,
    /// Reached, one after the other, as the bands of a painting arrive.
    arriving: Vec<CudaEvent>,
    /// Threads that copy: those of the whole program take what others ask of them last, and watching a
    /// film keeps them busy.
    copiers: ThreadPool,
}

impl Bus {
    /// Sends at most `sent` bytes at once and fetches at most `fetched`, beside what runs in `stream`,
    /// which is one of `context`.
    pub fn new(
        context: &Arc<CudaContext>,
        stream: Arc<CudaStream>,
        sent: usize,
        fetched: usize,
    ) -> Result<Self> {
        // SAFETY: every byte is written before it is read: `send` fills a band, then sends it, and
        // `finish_fetch` waits for each.
        let pinned = |bytes| unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) };
        // SAFETY: the same, by what the streams wait for.
        let on_card = |bytes| unsafe { stream.alloc::<u8>(bytes) };
        Ok(Self {
            sending: context.new_stream()?,
            returning: context.new_stream()?,
            outgoing: pinned(sent)?,
            incoming: pinned(fetched)?,
            landing: on_card(sent)?,
            departing: on_card(fetched)?,
            stream,
            landed: None,
            taken: None,
            arriving: Vec::new(),
            copiers: ThreadPoolBuilder::new()
                .num_threads(rayon::current_num_threads().min(COPIERS))
                .thread_name(|number| format!("bus {number}"))
                .build()?,
        })
    }

    /// Sends bytes, or as many 0s, to their places in the arena, where they are after what the stream
    /// was given to do before.
    pub fn send(
        &mut self,
        parts: &[(Option<&[u8]>, &Range<usize>)],
        arena: &mut CudaSlice<u8>,
    ) -> Result<()> {
        if let Some(landed) = &self.landed {
            landed.synchronize()?;
        }
        if let Some(taken) = &self.taken {
            self.sending.wait(taken)?;
        }
        let mut start = 0;
        for (bytes, place) in parts {
            let end = start + place.len();
            let host = &mut self.outgoing.as_mut_slice()?[start..end];
            let mut landing = self.landing.slice_mut(start..end);
            for (band, host) in host.chunks_mut(BAND).enumerate() {
                let range = band * BAND..band * BAND + host.len();
                match bytes {
                    Some(bytes) => copy(&self.copiers, &bytes[range.clone()], host),
                    None => host.fill(0),
                }
                self.sending
                    .memcpy_htod(host, &mut landing.slice_mut(range))?;
            }
            start = end;
        }
        let landed = self.sending.record_event(None)?;
        self.stream.wait(&landed)?;
        self.landed = Some(landed);
        let mut start = 0;
        for (_, place) in parts {
            let end = start + place.len();
            let to = &mut arena.slice_mut((*place).clone());
            self.stream
                .memcpy_dtod(&self.landing.slice(start..end), to)?;
            start = end;
        }
        self.taken = Some(self.stream.record_event(None)?);
        Ok(())
    }

    /// Asks for what is at `place` of the arena after what the stream was given to do before.
    pub fn begin_fetch(&mut self, arena: &CudaSlice<u8>, place: &Range<usize>) -> Result<()> {
        if let Some(last) = self.arriving.last() {
            self.stream.wait(last)?; // of a fetch that an error kept from being finished
        }
        self.arriving.clear();
        let to = &mut self.departing.slice_mut(..place.len());
        self.stream.memcpy_dtod(&arena.slice(place.clone()), to)?;
        self.returning.wait(&self.stream.record_event(None)?)?;
        let host = &mut self.incoming.as_mut_slice()?[..place.len()];
        for (band, host) in host.chunks_mut(BAND).enumerate() {
            let range = band * BAND..band * BAND + host.len();
            self.returning
                .memcpy_dtoh(&self.departing.slice(range), host)?;
            self.arriving.push(self.returning.record_event(None)?);
        }
        Ok(())
    }

    /// Waits for what was asked for.
    pub fn finish_fetch(&mut self, pixels: &mut [u8]) -> Result<()> {
        let host = self.incoming.as_mut_slice()?;
        let bands = host.chunks(BAND).zip(pixels.chunks_mut(BAND));
        for ((host, pixels), arrived) in bands.zip(&self.arriving) {
            arrived.synchronize()?;
            copy(&self.copiers, &host[..pixels.len()], pixels);
        }
        Ok(())
    }
}

impl Drop for Bus {
    /// Waits for what is on its way from or to the memory that goes. A card that fails has no way.
    fn drop(&mut self) {
        for stream in [&self.sending, &self.stream, &self.returning] {
            let _ = stream.synchronize();
        }
    }
}

/// Copies on several cores: one alone is slower than the bus.
fn copy(copiers: &ThreadPool, from: &[u8], to: &mut [u8]) {
    if from.len() <= SHARE {
        return to.copy_from_slice(from);
    }
    copiers.install(|| {
        let shares = from.par_chunks(SHARE).zip(to.par_chunks_mut(SHARE));
        shares.for_each(|(from, to)| to.copy_from_slice(from));
    });
}
