//! A program with its memory on the GPU, and its launches as graphs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use cudarc::driver::sys::CUgraphInstantiate_flags;
use cudarc::driver::sys::CUstreamCaptureMode as CaptureMode;
use cudarc::driver::{CudaFunction, CudaGraph, CudaSlice, CudaStream};
use cudarc::driver::{DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};

use super::program::{Arguments, Launch, Program};

// SAFETY: plain integers in the layout of C, which `Layer` in kernels.cu repeats.
unsafe impl DeviceRepr for Arguments {}

/// A program with its memory and kernels.
pub(super) struct OnCard {
    /// What to launch.
    pub program: Program,
    /// Its kernels by name.
    pub functions: BTreeMap<String, CudaFunction>,
    /// Its memory.
    pub arena: CudaSlice<u8>,
}

/// A captured program.
pub(super) struct Graph(CudaGraph);

// SAFETY: a graph may be used from any thread, by one at a time; `&mut self` of the engine sees to
// that.
unsafe impl Send for Graph {}

impl Graph {
    /// Runs it.
    pub fn launch(&self) -> Result<()> {
        Ok(self.0.launch()?)
    }
}

impl OnCard {
    /// A graph of `launches`, one after the other.
    pub fn capture<'a>(
        &self,
        stream: &Arc<CudaStream>,
        mut launches: impl Iterator<Item = &'a Launch>,
    ) -> Result<Graph> {
        stream.begin_capture(CaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let started = launches.try_for_each(|launch| self.start(stream, launch));
        let graph = stream.end_capture(CUgraphInstantiate_flags(0));
        started?;
        Ok(Graph(graph?.context("the GPU captured nothing")?))
    }

    /// Starts one launch.
    pub fn start(&self, stream: &Arc<CudaStream>, launch: &Launch) -> Result<()> {
        let (arena, _) = self.arena.device_ptr(stream);
        let function = &self.functions[&launch.kernel];
        let [x, y, z] = launch.grid;
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared,
        };
        let mut builder = stream.launch_builder(function);
        builder.arg(&arena).arg(&launch.arguments);
        // SAFETY: the kernels of kernels.cu take these two arguments, and stay within the arena for
        // the launches of its program, which the emulator's guards in tests/cuda.rs watch.
        unsafe { builder.launch(config) }?;
        Ok(())
    }
}
