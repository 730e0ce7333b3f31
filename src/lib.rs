//! `repaint` turns a live webcam, a video file or a picture into a moving painting.
//!
//! The path of a frame:
//!
//! ```text
//! webcam:  capture -> newest -> paint -> newest -> main thread: window, keys
//!                                  |-> bounded(8) -> encode (recording), with what the microphone hears
//!                                  `-> newest -> virtual camera
//! video:   decode -> bounded(4) -> watch -> bounded(2) -> paint -> bounded(4) -> encode;
//!          other streams copied
//! image:   picture -> paint -> picture
//! ```
//!
//! The layer rule: `commands` use `pipeline`, which uses the traits of `media` and `backend`;
//! these use `model`, `network` and `frame`. `model` stands on `tensors` (safetensors) and `pickle`
//! (PyTorch's files); `fetch` gets VGG19 for `train`. `train` and `backend::candle` use `ops`, which
//! uses `kernels` (plain slices, no framework); `backend::cpu`, the engine for plain CPUs, and
//! `backend::cuda`, the one for NVIDIA GPUs, have their own; both GPU parts load the driver through
//! `nvidia`. `paint` adds to a backend what users set, `mask` among it. `steady` watches a film and steadies its
//! paintings, on `flow`, `detail` and `noise_hold`, which stand on `frame` and `kernels`, and `strokes`; `paint` does it with
//! its help, or an engine that can. `strokes` says at what size a picture is painted, and enlarges what is
//! smaller than the picture. `styles` knows what `--model` means, for `commands` and `train`: a model, or a picture, whose
//! model `predict` makes and `colors` colours, with a `palette` and an engine. `photos` finds the pictures for all
//! this. Arrows never go up; `media` and `backend` do not know each other.

pub mod backend;
pub mod cli;
pub mod colors;
pub mod commands;
pub mod detail;
mod eigen;
pub mod fetch;
pub mod flow;
pub mod folders;
pub mod frame;
pub mod kernels;
pub mod mask;
pub mod media;
pub mod model;
pub mod network;
pub mod noise_hold;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod nvidia;
pub mod ops;
pub mod output;
pub mod paint;
pub mod palette;
pub mod photos;
pub mod pickle;
pub mod pipeline;
pub mod predict;
pub mod scale;
pub mod steady;
pub mod strokes;
pub mod styles;
pub mod tensors;
pub mod text;
pub mod train;
