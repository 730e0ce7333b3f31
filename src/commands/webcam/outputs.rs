//! What the command line has paintings written to: a recording, a virtual camera.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;

use super::files::{Device, Files, Settings, Tape};
use super::recorder::{Format, Recording};
use super::show::lock;
use crate::cli::WebcamArgs;
use crate::commands::existing;
use crate::frame::Frame;
use crate::media::FrameSink;
use crate::media::virtual_camera::VirtualCamera;
use crate::pipeline::live::Picture;
use crate::pipeline::worker::Worker;

/// Takes every painting.
pub(super) struct Outputs {
    tape: Tape,
    device: Device,
    record: fn(&mut Recording, &Frame, Instant),
    /// Paintings that are still to be taken, where they are counted.
    left: Option<u64>,
}

impl Outputs {
    /// Opens what `args` name.
    pub fn open(args: &WebcamArgs, format: &Format) -> Result<Self> {
        let begin = |place| Recording::begin(place, existing(args.paint.overwrite), format);
        let recording = args.record.as_deref().map(begin).transpose()?;
        if let (Some(recording), Some(_)) = (&recording, &format.microphone) {
            remark!("recording {}", recording.sound());
        }
        let device = match &args.virtual_camera {
            Some(path) => Some(feed(VirtualCamera::open(path, format.size, format.rate)?)?),
            None => None,
        };
        Ok(Self {
            tape: Arc::new(Mutex::new(recording)),
            device: Arc::new(Mutex::new(device)),
            record: match args.virtual_camera {
                None if args.headless => Recording::wait_and_take,
                _ => Recording::take, // windows and other programs do not wait for the encoder
            },
            left: match args.headless {
                true => args.frames, // no more than that is recorded, though the painter may be ahead
                false => None,
            },
        })
    }

    /// What keys have written, and what completes all of it; recordings by key have this `format` and go to `folder`.
    pub fn files(&self, folder: PathBuf, format: Format) -> Result<Files> {
        let (tape, device) = (Arc::clone(&self.tape), Arc::clone(&self.device));
        Files::new(Settings { folder, format }, tape, device)
    }

    /// Hands a painting to the recording and the virtual camera, whichever there are. Says whether it is one of those
    /// that were asked for.
    pub fn take(&mut self, picture: &Picture) -> bool {
        if self.left == Some(0) {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        if let Some(recording) = lock(&self.tape).as_mut() {
            (self.record)(recording, &picture.painting, picture.at);
        }
        if let Some(device) = lock(&self.device).as_ref() {
            let mut frame = device.done().unwrap_or_default();
            frame.shape_like(&picture.painting);
            frame.pixels.copy_from_slice(&picture.painting.pixels);
            device.offer(frame); // a device that is behind gets the next one
        }
        true
    }
}

/// Starts the thread that writes to the virtual camera.
fn feed(mut device: VirtualCamera) -> Result<Worker<Frame>> {
    Worker::start("virtual camera", 1, move |frame: &mut Frame| {
        device.write(frame)
    })
}
