//! Convolution as products of matrices: a packed kernel (outputs x patch) times the patches of the
//! picture (patch x pixels), which are read where they lie.
//!
//! As in Goto & van de Geijn 2008, with rows of the picture in the place of packed panels: a core
//! copies a block of the picture, its border and its padding with it, into its own cache, and each
//! row of patches is that block from another place on. Cores never wait for one another.

use std::ops::Range;

use rayon::prelude::*;

use super::convolution::Geometry;
use super::level::{Level, WithKernel};
use super::micro::{Kernel, Right, Start, Tile};
use super::pack::{PackRows, panel_lines};
use super::share::{Line, Shared, with_buffer, written};

/// Longest sum before results go back to memory, in rows of patches: a register tile's share of
/// the kernel (6 x 288 values) and of the picture fit L1 together.
const DEPTH: usize = 288;

/// Output columns that a block should have, up to twice as many where they do not divide the width.
const COLUMNS: usize = 48;

/// Output pixels that a block should have: with the 32 channels of a pass it takes 70 KiB of L2.
const PIXELS: usize = 8 * COLUMNS;

/// What happens to the sums of a convolution.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to each output channel.
    pub bias: Option<&'a [f32]>,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// A kernel of any size, packed into panels of the rows of a register tile.
pub struct DirectKernel {
    level: Level,
    outputs: usize,
    channels: usize,
    size: usize,
    lines: Vec<Line>, // panels of outputs x channels x size x size x outputs of a panel
}

impl DirectKernel {
    /// Packs `kernel`, `outputs` x `channels` x `size` x `size`, for convolutions at `level`.
    pub fn new(level: Level, kernel: &[f32], outputs: usize, channels: usize, size: usize) -> Self {
        let depth = channels * size * size;
        assert_eq!(kernel.len(), outputs * depth, "kernel of a convolution");
        let level = level.min(Level::supported());
        let lines = level.with_kernel(PackRows {
            values: kernel,
            rows: outputs,
            depth,
        });
        Self {
            level,
            outputs,
            channels,
            size,
            lines,
        }
    }

    /// Convolves pictures (batch x channels x height x width): batch x outputs x output height x
    /// output width. Where a `gate` of the pictures' shape is not positive, they count as 0.
    pub fn convolve(
        &self,
        input: &[f32],
        gate: Option<&[f32]>,
        geometry: &Geometry,
        epilogue: Epilogue,
    ) -> Vec<f32> {
        let batch = input.len() / geometry.picture().max(1);
        let length = batch * self.result(geometry);
        let convolve = |result| self.run(input, gate, geometry, epilogue, result);
        // SAFETY: the blocks cover the result.
        unsafe { written(length, convolve) }
    }

    /// Convolves each picture with a kernel of its own, all of one shape.
    pub fn convolve_each(kernels: &[Self], input: &[f32], geometry: &Geometry) -> Vec<f32> {
        let picture = geometry.picture();
        assert_eq!(input.len(), kernels.len() * picture, "a kernel for each");
        let length = kernels.iter().map(|kernel| kernel.result(geometry)).sum();
        let convolve = |result: Shared| {
            let mut start = 0;
            for (kernel, input) in kernels.iter().zip(input.chunks_exact(picture.max(1))) {
                let result = result.part(start, kernel.result(geometry));
                kernel.run(input, None, geometry, Epilogue::default(), result);
                start += kernel.result(geometry);
            }
        };
        // SAFETY: the parts cover the result, the blocks their part.
        unsafe { written(length, convolve) }
    }

    /// Values that become of a picture.
    fn result(&self, geometry: &Geometry) -> usize {
        let (height, width) = geometry.output();
        self.outputs * height * width
    }

    /// Writes every value of `result`.
    fn run(
        &self,
        input: &[f32],
        gate: Option<&[f32]>,
        geometry: &Geometry,
        epilogue: Epilogue,
        result: Shared,
    ) {
        let g = *geometry;
        assert_eq!((g.channels, g.kernel), (self.channels, self.size), "kernel");
        assert!(g.picture() > 0, "convolution of nothing");
        let batch = input.len() / g.picture();
        assert_eq!(input.len(), batch * g.picture(), "input");
        assert!(gate.is_none_or(|gate| gate.len() == input.len()), "gate");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), self.outputs, "bias of a convolution");
        }
        if batch * self.result(geometry) == 0 {
            return;
        }
        self.level.with_kernel(Convolve {
            kernel: self,
            input,
            gate,
            geometry: g,
            epilogue,
            batch,
            result,
        });
    }
}

struct Convolve<'a> {
    kernel: &'a DirectKernel,
    input: &'a [f32],
    gate: Option<&'a [f32]>,
    geometry: Geometry,
    epilogue: Epilogue<'a>,
    batch: usize,
    result: Shared,
}

/// Part of one picture's outputs.
struct Block {
    picture: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    panels: Range<usize>,
}

/// How a block of the picture lies in a core's memory: for each channel the rows that its outputs
/// look at, each as `stride` phases: every stride-th value from the first, from the second, ...
struct Layout {
    channels: usize,    // of a pass
    phase: usize,       // values from one phase to the next
    row: usize,         // from one row to the next
    plane: usize,       // from one channel to the next
    starts: Vec<usize>, // of each row of patches of a pass
}

impl Layout {
    /// The layout for blocks of `rows` x `columns` outputs.
    fn new<K: Kernel>(g: &Geometry, rows: usize, columns: usize) -> Self {
        let area = g.kernel * g.kernel;
        let passes = g.channels.div_ceil((DEPTH / area).max(1)).max(1);
        let channels = g.channels.div_ceil(passes);
        // A vector may reach beyond the columns that count.
        let phase = columns.next_multiple_of(K::LANES) + (g.kernel - 1).div_ceil(g.stride);
        let row = g.stride * phase;
        // An odd number of lines: neighbouring channels fall on different cache sets.
        let lines = (((rows - 1) * g.stride + g.kernel) * row).div_ceil(Line::VALUES) | 1;
        let plane = lines * Line::VALUES;
        let starts = (0..channels * area)
            .map(|i| {
                let (channel, ky, kx) = (i / area, i / g.kernel % g.kernel, i % g.kernel);
                channel * plane + ky * row + kx % g.stride * phase + kx / g.stride
            })
            .collect();
        Self {
            channels,
            phase,
            row,
            plane,
            starts,
        }
    }
}

impl WithKernel for Convolve<'_> {
    type Output = ();

    /// Cuts the results into blocks, some for each thread where there is enough to do.
    fn run<K: Kernel>(self) {
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let (height, width) = self.geometry.output();
        let across = (width / COLUMNS).max(1);
        let columns = width.div_ceil(across).next_multiple_of(K::LANES).min(width);
        let across = width.div_ceil(columns);
        let shared = height.div_ceil(wanted.div_ceil(self.batch * across));
        let rows = (PIXELS / columns).min(shared).clamp(1, height);
        let down = height.div_ceil(rows);
        let row_panels = self.kernel.outputs.div_ceil(K::ROWS);
        let bands = threads.div_ceil(self.batch * across * down).min(row_panels);
        let band = row_panels.div_ceil(bands);
        let bands = row_panels.div_ceil(band);
        let layout = Layout::new::<K>(&self.geometry, rows, columns);
        let part = |i: usize, length: usize, end: usize| i * length..((i + 1) * length).min(end);
        (0..self.batch * down * across * bands)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (task, i) = (task / bands, task % bands);
                let (task, x) = (task / across, task % across);
                let (picture, y) = (task / down, task % down);
                let block = Block {
                    picture,
                    rows: part(y, rows, height),
                    columns: part(x, columns, width),
                    panels: part(i, band, row_panels),
                };
                with_buffer(layout.channels * layout.plane, |buffer| {
                    // SAFETY: the CPU has the instructions of the kernel it is run with.
                    unsafe {
                        K::vectorize(
                            #[inline(always)]
                            || self.block::<K>(&block, &layout, buffer),
                        )
                    }
                });
            });
    }
}

impl Convolve<'_> {
    /// Computes a block, pass after pass through the channels.
    #[inline(always)]
    fn block<K: Kernel>(&self, block: &Block, layout: &Layout, buffer: &mut [f32]) {
        let g = &self.geometry;
        let area = g.kernel * g.kernel;
        for first in (0..g.channels).step_by(layout.channels.max(1)) {
            let channels = first..(first + layout.channels).min(g.channels);
            for (channel, plane) in channels.clone().zip(buffer.chunks_exact_mut(layout.plane)) {
                self.read(block, channel, layout, plane);
            }
            let sums = channels.start * area..channels.end * area;
            for y in 0..block.rows.len() {
                for column in block.columns.clone().step_by(K::WIDTH) {
                    let at = y * g.stride * layout.row + column - block.columns.start;
                    let width = K::WIDTH.min(block.columns.end - column);
                    let place = (block.picture, block.rows.start + y, column);
                    for panel in block.panels.clone() {
                        let patches = (&buffer[at..], &layout.starts[..sums.len()]);
                        self.tile::<K>(place, panel, sums.clone(), patches, width);
                    }
                }
            }
        }
    }

    /// Copies what a block looks at of one channel, with padding and gate.
    #[inline(always)]
    fn read(&self, block: &Block, channel: usize, layout: &Layout, plane: &mut [f32]) {
        let g = &self.geometry;
        let rows = (block.rows.len() - 1) * g.stride + g.kernel;
        let length = (block.columns.len() - 1) * g.stride + g.kernel;
        let from = (block.picture * g.channels + channel) * g.height;
        let first = block.columns.start * g.stride;
        let pad = g.padding.size();
        let before = pad.saturating_sub(first).min(length);
        let inside = (pad + g.width).saturating_sub(first).clamp(before, length);
        for (y, line) in plane.chunks_mut(layout.row).take(rows).enumerate() {
            let Some(y) = g.padding.place(block.rows.start * g.stride + y, g.height) else {
                line.fill(0.0);
                continue;
            };
            let row = (from + y) * g.width..(from + y + 1) * g.width;
            let (values, gate) = (&self.input[row.clone()], self.gate.map(|gate| &gate[row]));
            let value = |x: usize| match g.padding.place(first + x, g.width) {
                Some(x) if gate.is_none_or(|gate| gate[x] > 0.0) => values[x],
                _ => 0.0,
            };
            if g.stride != 1 {
                for x in 0..length {
                    line[x % g.stride * layout.phase + x / g.stride] = value(x);
                }
                continue;
            }
            for x in (0..before).chain(inside..length) {
                line[x] = value(x);
            }
            if before == inside {
                continue;
            }
            let middle = first + before - pad..first + inside - pad;
            let to = &mut line[before..inside];
            match gate {
                None => to.copy_from_slice(&values[middle]),
                Some(gate) => {
                    let values = values[middle.clone()].iter().zip(&gate[middle]);
                    for (to, (value, gate)) in to.iter_mut().zip(values) {
                        *to = if *gate > 0.0 { *value } else { 0.0 };
                    }
                }
            }
        }
    }

    /// Computes one register tile over one range of the sums: `width` pixels from `place` (picture,
    /// row, column) on.
    #[inline(always)]
    fn tile<K: Kernel>(
        &self,
        (picture, y, x): (usize, usize, usize),
        panel: usize,
        sums: Range<usize>,
        (patches, starts): (&[f32], &[usize]),
        width: usize,
    ) {
        let kernel = self.kernel;
        let depth = kernel.channels * kernel.size * kernel.size;
        let row = panel * K::ROWS;
        let rows = K::ROWS.min(kernel.outputs - row);
        let values = Line::values(&kernel.lines);
        let a = &values[panel * panel_lines::<K>(depth) * Line::VALUES + sums.start * K::ROWS..];
        let vectors = width.div_ceil(K::LANES);
        let last = starts.last().copied().unwrap_or(0);
        assert!(a.len() >= sums.len() * K::ROWS && starts.len() == sums.len());
        assert!(patches.len() >= last + vectors * K::LANES);
        let start = match self.epilogue.bias {
            _ if sums.start > 0 => Start::Accumulate,
            Some(bias) => Start::Bias(bias[row..row + rows].as_ptr()),
            None => Start::Zero,
        };
        let (height, pitch) = self.geometry.output();
        let pitch = height * pitch;
        let first = (picture * kernel.outputs + row) * pitch + y * (pitch / height) + x;
        let c = self.result.at(first);
        self.result.at(first + (rows - 1) * pitch + width - 1);
        let mut tile = Tile {
            a: a.as_ptr(),
            b: patches.as_ptr(),
            right: Right::Rows(starts),
            c,
            pitch,
            start,
            relu: self.epilogue.relu && sums.end == depth,
        };
        if width == vectors * K::LANES {
            // SAFETY: the slices above cover the tile, and no other task has its results.
            unsafe { K::tile(rows, vectors, &tile) };
            return;
        }
        // The last vector is cut short: compute beside the result, copy the columns that count.
        let mut beside = [Line::ZERO; 8 * 48 / Line::VALUES];
        let values = Line::values_mut(&mut beside);
        assert!(K::ROWS * K::WIDTH <= values.len());
        tile.c = values.as_mut_ptr();
        tile.pitch = K::WIDTH;
        if matches!(start, Start::Accumulate) {
            for (r, line) in values.chunks_exact_mut(K::WIDTH).take(rows).enumerate() {
                // SAFETY: the pass before wrote `width` values of each of these rows.
                let from = unsafe { std::slice::from_raw_parts(c.add(r * pitch), width) };
                line[..width].copy_from_slice(from);
            }
        }
        // SAFETY: `beside` holds a whole tile.
        unsafe { K::tile(rows, vectors, &tile) };
        for (r, line) in Line::values(&beside)
            .chunks_exact(K::WIDTH)
            .take(rows)
            .enumerate()
        {
            let from = line[..width].as_ptr();
            // SAFETY: these values of the result are this task's.
            unsafe { from.copy_to_nonoverlapping(c.add(r * pitch), width) };
        }
    }
}
