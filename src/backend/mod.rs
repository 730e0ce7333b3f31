//! Running a network on a frame: the trait that every engine implements, and the choice of one.
//!
//! Backends know models and frames, and nothing of files, cameras, windows or training.

mod arena;
pub mod candle;
pub mod check;
pub mod cpu;
pub mod cuda;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::frame::{Carried, Frame};
use crate::kernels::Level;
use crate::model::Model;
use crate::steady::{Seen, Steadier};

/// An engine that paints frames with a loaded model.
pub trait Backend: Send {
    /// What runs, for people and logs: `cpu-avx512`, `candle-cuda`.
    fn name(&self) -> &str;

    /// Where it computes.
    fn device(&self) -> Device {
        Device::Cpu
    }

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

    /// Paints the next frame of a film, of which `seen` tells, and steadies the painting. `steadier` does
    /// that, the same one for all frames, unless the engine does as it does by itself. `next` tells of the
    /// frame that is painted after this one, if it is known already: an engine may begin with it. Fails
    /// for a film that is not steadied, whose frames are stills.
    fn stylize_next(
        &mut self,
        seen: &Seen,
        next: Option<&Seen>,
        steadier: &mut Steadier,
        output: &mut Frame,
    ) -> Result<()> {
        let _ = next;
        let last = steadier.before(seen);
        self.stylize_after(last, held(seen)?, output)?;
        steadier.after(seen, output);
        Ok(())
    }

    /// Paints `input` as a still, or as the first frame of a film.
    fn stylize(&mut self, input: &Frame, output: &mut Frame) -> Result<()> {
        self.stylize_after(None, input, output)
    }
}

/// The pixels to paint of a frame of a steadied film.
fn held(seen: &Seen) -> Result<&Frame> {
    seen.held().context("a film that is not steadied")
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

/// An engine, and what to tell the user about it.
pub struct Opened {
    /// The engine.
    pub engine: Box<dyn Backend>,
    /// What becomes of an NVIDIA GPU, where there is one.
    pub remark: Option<String>,
}

/// What is there where NVIDIA's driver is: on Linux, and on Linux within Windows.
const NVIDIA_DRIVER: [&str; 2] = [
    "/proc/driver/nvidia/version",
    "/usr/lib/wsl/lib/libcuda.so.1",
];

/// Opens the engine for `device`. `threads` bounds the CPU threads (every core when `None`), `level`
/// the instructions of the CPU engine (the best that the CPU has when `None`).
pub fn open(device: Device, threads: Option<usize>, level: Option<Level>) -> Result<Opened> {
    let mut remark = None;
    if device != Device::Cpu {
        match open_cuda() {
            Ok(opened) => return Ok(opened),
            Err(error) if device == Device::Cuda => return Err(error),
            Err(error) => remark = idle_gpu(&error),
        }
    }
    Ok(Opened {
        engine: Box::new(cpu::Cpu::new(threads, level)?),
        remark,
    })
}

/// Opens the GPU and checks that it paints what the CPU does: another driver, a damaged card or a
/// new kind of it must not paint black unseen.
#[cfg(feature = "cuda")]
fn open_cuda() -> Result<Opened> {
    let mut engine = cuda::Cuda::new()?;
    let remark = Some(format!("painting on the {}", engine.card()));
    check::ensure_paints_alike(&mut engine, &mut cpu::Cpu::new(None, None)?)?;
    Ok(Opened {
        engine: Box::new(engine),
        remark,
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> Result<Opened> {
    anyhow::bail!("{NO_CUDA}")
}

/// Why a program without the feature `cuda` uses no GPU, and what to do.
#[cfg(not(feature = "cuda"))]
const NO_CUDA: &str = "this program was built without CUDA: build it with \
    `cargo install --locked --path . --features cuda` or use --device cpu";

/// What to tell a user whose GPU lies idle: `reason` says why.
fn idle_gpu(reason: &anyhow::Error) -> Option<String> {
    idle_gpu_of(reason, &NVIDIA_DRIVER.map(Path::new))
}

fn idle_gpu_of(reason: &anyhow::Error, driver: &[&Path]) -> Option<String> {
    let there = driver.iter().any(|place| place.exists());
    there.then(|| format!("working on the CPU, not on the NVIDIA GPU: {reason:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_gpu_is_named_with_the_reason_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let driver = folder.path().join("version");
        let places = [Path::new("nowhere"), &driver];
        let reason = anyhow::anyhow!("the reason");
        assert_eq!(idle_gpu_of(&reason, &places), None, "no GPU");
        std::fs::write(&driver, "NVRM version: 580").unwrap();
        let words = idle_gpu_of(&reason, &places).unwrap();
        assert!(words.contains("the reason") && !words.contains('\n'));
    }

    #[test]
    fn an_engine_that_paints_something_else_is_refused() {
        /// Adds to a value, or forgets what it painted last.
        struct Other {
            cpu: cpu::Cpu,
            adds: u8,
            forgets: bool,
        }

        impl Backend for Other {
            fn name(&self) -> &str {
                "other"
            }

            fn load(&mut self, model: &Model) -> Result<()> {
                self.cpu.load(model)
            }

            fn has_memory(&self) -> bool {
                self.cpu.has_memory()
            }

            fn stylize_after(
                &mut self,
                last: Option<&Carried>,
                input: &Frame,
                output: &mut Frame,
            ) -> Result<()> {
                self.cpu.stylize_after(last, input, output)?;
                let value = &mut output.pixels[4321];
                *value = match *value {
                    dark @ ..128 => dark + self.adds,
                    bright => bright - self.adds,
                };
                Ok(())
            }

            fn stylize_next(
                &mut self,
                seen: &Seen,
                next: Option<&Seen>,
                steadier: &mut Steadier,
                output: &mut Frame,
            ) -> Result<()> {
                if self.forgets {
                    *steadier = Steadier::default();
                }
                self.cpu.stylize_next(seen, next, steadier, output)
            }
        }

        let check = |adds, forgets| {
            let [cpu, mut reference] = [(); 2].map(|()| cpu::Cpu::new(Some(1), None).unwrap());
            let mut other = Other { cpu, adds, forgets };
            check::ensure_paints_alike(&mut other, &mut reference)
        };
        check(1, false).unwrap();
        let error = check(90, false).unwrap_err();
        assert!(error.to_string().contains("90"), "{error}");
        let error = check(0, true).unwrap_err();
        assert!(error.to_string().contains("`other`"), "{error}");
    }
}
