//! Microphones: a thread of its own reads each and lays what was heard on a shelf, as whoever writes it
//! may be busy.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use ffmpeg_next as av;

use av::format::context::Input;
use av::software::resampling;

use super::SoundFormat;
use super::encode_sound::known_layout;
use super::ffmpeg::is_ready;
use super::ffmpeg_devices::input_format;

pub use super::microphone_sources::{DEFAULT, Microphone, find, list};

/// Longest wait for a microphone to open and be heard.
const OPENING: Duration = Duration::from_secs(3);

/// Time between two looks at a microphone that had nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// How far ahead of time sound may be that comes faster than it can be heard, as that of FFmpeg's generators.
const HURRY: Duration = Duration::from_millis(500);

/// Most sound that waits for whoever writes it; the oldest is given up for more.
const WAITING: Duration = Duration::from_secs(30);

/// Devices tell the time of day; what is further off is some other time.
const CLOCK_LIMIT: f64 = 5.0;

/// Sound that was heard in one go.
pub struct Heard {
    /// Samples from -1 to 1, those of one moment side by side.
    pub samples: Vec<f32>,
    /// When the first of them was heard.
    pub at: Instant,
}

/// A microphone that is listened to, until this is dropped.
pub struct Listening {
    shelf: Arc<Shelf>,
    format: SoundFormat,
}

/// Where sound waits; the thread stops when nobody wants it.
#[derive(Default)]
struct Shelf {
    pieces: Mutex<VecDeque<Heard>>,
    came: Condvar,
    unwanted: AtomicBool,
}

impl Microphone {
    /// Listens from now on. What the receiver gets is why nothing is heard any more.
    pub fn listen(&self) -> Result<(Listening, Receiver<String>)> {
        let shelf = Arc::new(Shelf::default());
        let (opened, opening) = sync_channel(1);
        let (troubles, trouble) = channel();
        let (microphone, to) = (self.clone(), Arc::clone(&shelf));
        Builder::new()
            .name("microphone".into())
            .spawn(move || run(&microphone, &to, &opened, &troubles))
            .context("could not start the microphone thread")?;
        let format = match opening.recv_timeout(OPENING) {
            Ok(opened) => opened?,
            Err(RecvTimeoutError::Timeout) => {
                shelf.unwanted.store(true, Ordering::Relaxed);
                bail!("microphone `{}` does not answer", self.name)
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the microphone thread panicked"),
        };
        Ok((Listening { shelf, format }, trouble))
    }
}

impl Listening {
    /// How it is sampled.
    pub fn format(&self) -> SoundFormat {
        self.format
    }

    /// What was heard next, if it is here already.
    pub fn next(&self) -> Option<Heard> {
        self.shelf.pieces().pop_front()
    }

    /// What was heard next; waits for it until `deadline`.
    pub fn wait_for_next(&self, deadline: Instant) -> Option<Heard> {
        let mut pieces = self.shelf.pieces();
        while pieces.is_empty() {
            let patience = deadline.checked_duration_since(Instant::now())?;
            let waited = self.shelf.came.wait_timeout(pieces, patience);
            pieces = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pieces.pop_front()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shelf.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Shelf {
    fn pieces(&self) -> MutexGuard<'_, VecDeque<Heard>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lay(&self, heard: Heard, format: SoundFormat) {
        let most = WAITING.as_secs() as usize * format.rate as usize * usize::from(format.channels);
        let mut pieces = self.pieces();
        pieces.push_back(heard);
        let mut waiting: usize = pieces.iter().map(|heard| heard.samples.len()).sum();
        while waiting > most {
            waiting -= pieces.pop_front().map_or(waiting, |old| old.samples.len());
        }
        drop(pieces);
        self.came.notify_one();
    }
}

/// An open device, and what makes samples of its packets.
struct Reader {
    begun: Instant,
    /// How long what was heard lasts.
    heard: Duration,
    input: Input,
    decoder: av::decoder::Audio,
    resampler: resampling::Context,
    format: SoundFormat,
    stream: usize,
    base: f64,
}

/// The thread that reads.
fn run(
    microphone: &Microphone,
    shelf: &Shelf,
    opened: &SyncSender<Result<SoundFormat>>,
    troubles: &Sender<String>,
) {
    let mut reader = match Reader::open(microphone) {
        Ok(reader) => reader,
        Err(error) => {
            let _ = opened.send(Err(error)); // who asked may have given up
            return;
        }
    };
    let _ = opened.send(Ok(reader.format));
    while !shelf.unwanted.load(Ordering::Relaxed) {
        match reader.read(shelf) {
            Ok(true) => {}
            Ok(false) => std::thread::sleep(PAUSE),
            Err(error) => {
                let name = &microphone.name;
                let words = format!("microphone `{name}`: {error:#}: no sound from here on");
                let _ = troubles.send(words); // nobody may want to know any more
                return;
            }
        }
    }
}

impl Reader {
    fn open(microphone: &Microphone) -> Result<Self> {
        let failed = || format!("could not open microphone `{}`", microphone.name);
        let format = input_format(&microphone.device)
            .with_context(|| format!("this FFmpeg has no device `{}`", microphone.device))?;
        let opened = av::format::open(&microphone.url, &format).with_context(failed)?;
        let mut input = opened.input();
        // SAFETY: the context is live for the borrow of `input`; the field is a plain integer, which devices
        // look at before each wait.
        unsafe { (*input.as_mut_ptr()).flags |= av::ffi::AVFMT_FLAG_NONBLOCK };
        let stream = input
            .streams()
            .best(av::media::Type::Audio)
            .with_context(|| format!("`{}` has no sound", microphone.name))?;
        let (index, base) = (stream.index(), f64::from(stream.time_base()));
        let context = av::codec::Context::from_parameters(stream.parameters())?;
        let mut decoder = context.decoder().audio().with_context(failed)?;
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
        )
        .with_context(failed)?;
        Ok(Self {
            begun: Instant::now(),
            heard: Duration::ZERO,
            input,
            decoder,
            resampler,
            format,
            stream: index,
            base,
        })
    }

    /// Lays what was heard on the shelf; `false` when there is nothing new.
    fn read(&mut self, shelf: &Shelf) -> Result<bool> {
        if self.heard > self.begun.elapsed() + HURRY {
            return Ok(false);
        }
        let mut packet = av::Packet::empty();
        match packet.read(&mut self.input) {
            Err(av::Error::Eof) => bail!("it has ended"),
            read => {
                if !is_ready(read)? {
                    return Ok(false);
                }
            }
        }
        if packet.stream() != self.stream {
            return Ok(true);
        }
        self.decoder.send_packet(&packet)?;
        let mut frame = av::frame::Audio::empty();
        while is_ready(self.decoder.receive_frame(&mut frame))? {
            let layout = known_layout(frame.channel_layout(), frame.channels());
            frame.set_channel_layout(layout);
            let mut samples = av::frame::Audio::empty();
            self.resampler.run(&frame, &mut samples)?;
            let lasts = samples.samples() as f64 / f64::from(self.format.rate.max(1));
            self.heard += Duration::from_secs_f64(lasts);
            let length = samples.samples() * usize::from(self.format.channels) * 4;
            let number =
                |bytes: &[u8]| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let heard = Heard {
                samples: samples.data(0)[..length]
                    .chunks_exact(4)
                    .map(number)
                    .collect(),
                at: self.when(&frame),
            };
            shelf.lay(heard, self.format);
        }
        Ok(true)
    }

    /// When the first sample of `frame` was heard: by the time of day that the device tells, or just now.
    fn when(&self, frame: &av::frame::Audio) -> Instant {
        let now = Instant::now();
        let length = frame.samples() as f64 / f64::from(self.format.rate.max(1));
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let told = frame.timestamp().zip(day.ok());
        let ago = told.map(|(ticks, day)| day.as_secs_f64() - ticks as f64 * self.base);
        let ago = ago.filter(|ago| (0.0..CLOCK_LIMIT).contains(ago));
        let ago = Duration::from_secs_f64(ago.unwrap_or(length));
        now.checked_sub(ago).unwrap_or(now)
    }
}
