//! Running a network on a frame: the trait that every engine implements, and the choice of one.
//!
//! Backends know models and frames, and nothing of files, cameras, windows or training.

pub mod candle;
pub mod cpu;

use std::path::Path;

use anyhow::{Result, ensure};

use crate::frame::{Carried, Frame};
use crate::kernels::Level;
use crate::model::Model;

/// An engine that paints frames with a loaded model.
pub trait Backend: Send {
    /// What runs, for people and logs: `cpu-avx512`, `candle-cuda`.
    fn name(&self) -> &str;

    /// Takes over a model; later frames are painted with it.
    fn load(&mut self, model: &Model) -> Result<()>;

    /// Whether the loaded model looks at what it painted last.
    fn has_memory(&self) -> bool;

    /// Paints `input`, of any size from 1x1, into `output`, which takes on its size, index and pts.
    /// `last` is the last painting where it belongs in `input`, if there is one, of the same size;
    /// models without memory do not look at it. Fails when no model is loaded.
    fn stylize_after(
        &mut self,
        last: Option<&Carried>,
        input: &Frame,
        output: &mut Frame,
    ) -> Result<()>;

    /// Paints `input` as a still, or as the first frame of a film.
    fn stylize(&mut self, input: &Frame, output: &mut Frame) -> Result<()> {
        self.stylize_after(None, input, output)
    }
}

/// Fails when a frame has another number of bytes than its size says, or a carried painting another
/// size than the frame.
fn ensure_fits(input: &Frame, last: Option<&Carried>) -> Result<()> {
    let (width, height, bytes) = (input.width, input.height, input.pixels.len());
    ensure!(
        width > 0 && height > 0,
        "an empty frame has nothing to paint"
    );
    ensure!(
        bytes == width * height * 3,
        "a frame of {width}x{height} with {bytes} bytes"
    );
    if let Some(last) = last {
        let (pixels, valid) = (last.pixels.len(), last.valid.len());
        ensure!(
            (last.width, last.height, pixels, valid) == (width, height, bytes, width * height),
            "a carried painting of {}x{} for a frame of {width}x{height}",
            last.width,
            last.height
        );
    }
    Ok(())
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// An NVIDIA GPU where the program can use one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU; an error where there is none.
    Cuda,
}

/// Where the driver of NVIDIA's cards on Linux says that it runs.
const NVIDIA_DRIVER: &str = "/proc/driver/nvidia/version";

/// What to tell a user whose GPU lies idle because this program was built without CUDA.
pub fn idle_gpu(device: Device) -> Option<&'static str> {
    let usable = cfg!(feature = "cuda") || device != Device::Auto;
    idle_gpu_by(usable, Path::new(NVIDIA_DRIVER))
}

fn idle_gpu_by(usable: bool, driver: &Path) -> Option<&'static str> {
    (!usable && driver.exists()).then_some(
        "painting on the CPU: the NVIDIA GPU here needs a program built with \
         `cargo install --locked --path . --features cuda` (--device cpu says that this is meant)",
    )
}

/// Opens the engine for `device`. `threads` bounds the CPU threads (every core when `None`), `level`
/// the instructions of the CPU engine (the best that the CPU has when `None`).
pub fn open(
    device: Device,
    threads: Option<usize>,
    level: Option<Level>,
) -> Result<Box<dyn Backend>> {
    let cuda = match device {
        Device::Cuda => Some(candle::Candle::new(device, threads)?),
        Device::Auto if cfg!(feature = "cuda") => {
            candle::Candle::new(Device::Cuda, threads).ok() // no usable GPU: the CPU does it
        }
        _ => None,
    };
    match cuda {
        Some(engine) => Ok(Box::new(engine)),
        None => Ok(Box::new(cpu::Cpu::new(threads, level)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_gpu_is_named_once_there_is_one_and_nothing_can_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let driver = folder.path().join("version");
        assert_eq!(idle_gpu_by(false, &driver), None, "no GPU");
        std::fs::write(&driver, "NVRM version: 580").unwrap();
        let words = idle_gpu_by(false, &driver).unwrap();
        assert!(words.contains("--features cuda") && !words.contains('\n'));
        assert_eq!(
            idle_gpu_by(true, &driver),
            None,
            "it is used, or not wanted"
        );
        assert_eq!(idle_gpu(Device::Cpu), None);
    }
}
