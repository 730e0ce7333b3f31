//! The reference engine: the network evaluated layer by layer with the operators of `ops`.

use anyhow::{Result, bail};

use super::{Backend, Device};
use crate::frame::Frame;
use crate::model::Model;

/// The network on candle, on the CPU or a CUDA device.
pub struct Candle;

impl Candle {
    /// Opens the device; see [`super::open`].
    pub fn new(_device: Device, _threads: Option<usize>) -> Result<Self> {
        Ok(Self)
    }
}

impl Backend for Candle {
    fn name(&self) -> &str {
        "candle-cpu"
    }

    fn load(&mut self, _model: &Model) -> Result<()> {
        bail!("to be written")
    }

    fn stylize(&mut self, _input: &Frame, _output: &mut Frame) -> Result<()> {
        bail!("to be written")
    }
}
