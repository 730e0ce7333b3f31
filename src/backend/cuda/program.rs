//! What the GPU does for a frame: the launches of a model's layers for one size of frame, and where
//! everything lies in one block of the GPU's memory, the arena.
//!
//! Nothing here needs a GPU; `device` runs a program on one, the tests run it in an emulator.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::film;
use super::kind::{Kind, LAST_PIXEL, NORM_THREADS};
use super::weights::{OCTET, Packed, Weights};
use crate::backend::arena::{Wanted, place};
use crate::frame::Frame;
use crate::network::Network;

/// Places are multiples of this, in bytes: a line of the GPU's caches.
const LINE: usize = 128;

/// A layer's place in the program.
struct Place {
    /// Its output before the norm.
    output: usize,
    /// Scale and shift of its norm.
    scales: usize,
    /// Its normed output with what is added to it, where a later layer wants it.
    kept: usize,
    width: usize,
    height: usize,
}

/// What a kernel is told: `Layer` in `kernels.cu`, which documents it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in kernels.cu")]
pub struct Arguments {
    pub frame: u64,
    pub center: u64,
    pub carried: u64,
    pub valid: u64,
    pub blur: u64,
    pub painted: u64,
    pub told: u64,
    pub kept: u64,
    pub source: u64,
    pub scales: u64,
    pub skip: u64,
    pub keep: u64,
    pub weights: u64,
    pub octets: u64,
    pub affine: u64,
    pub output: u64,
    pub partials: u64,
    pub frame_width: i32,
    pub frame_height: i32,
    pub source_width: i32,
    pub source_height: i32,
    pub source_octets: i32,
    pub width: i32,
    pub height: i32,
    pub octets_out: i32,
    pub pixel: i32,
    pub steps: i32,
    pub tiles_x: i32,
    pub tiles_y: i32,
    pub tile: i32,
    pub stage: i32,
    pub sums: i32,
    pub floor: i32,
    pub single: i32,
    pub phases: i32,
    pub tile_rows: i32,
    pub tile_columns: i32,
    pub cells_x: i32,
    pub cells_y: i32,
    pub cell_side: i32,
}

/// One kernel to run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Name of the layer, and of its norm.
    pub name: String,
    /// Its name in `kernels.cu`.
    pub kernel: String,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// What it is told.
    pub arguments: Arguments,
}

/// The launches for one size of frame, and the places of what goes in and out, in bytes.
pub struct Program {
    /// Bytes of the arena; it begins with the weights, the rest may hold anything.
    pub arena: usize,
    /// Where the frame goes: RGB bytes.
    pub frame: Range<usize>,
    /// Where the frame's [`center`] goes.
    pub center: Range<usize>,
    /// Where the carried painting lies: RGB bytes. A network with memory looks at it.
    pub carried: Range<usize>,
    /// Where it is said which of its pixels are valid: a byte each, all 0 where there is none.
    pub valid: Range<usize>,
    /// Where the painting comes out: RGB bytes.
    pub painted: Range<usize>,
    /// Where what [`film::tell`] says of a frame of a film goes.
    pub told: Range<usize>,
    /// Where a film's painting comes out, steadied, and stays for its next frame: RGB bytes.
    pub kept: Range<usize>,
    /// What to run for a still, in this order.
    pub launches: Vec<Launch>,
    /// What to run before these for a frame of a film.
    pub carry: Launch,
    /// And after them.
    pub keep: Launch,
}

impl Program {
    /// The program for frames of `width` x `height` pixels. Fails when the places do not fit into
    /// the address space.
    pub fn new(weights: &Weights, (width, height): (usize, usize)) -> Result<Self> {
        let too_large = || format!("{width}x{height} pixels are too many");
        let layers = &weights.layers;
        let pixels = width.checked_mul(height).with_context(too_large)?;
        let mut end = weights.bytes.len();
        let mut take = |bytes: usize| {
            let start = end.next_multiple_of(LINE);
            end = start.checked_add(bytes)?;
            Some(start..end)
        };
        // A grid has at most 65535 blocks of 8 rows.
        ensure!(height < 8 * 65_535, too_large());
        let bytes = pixels.checked_mul(3).filter(|bytes| *bytes < 1 << 31);
        let bytes = bytes.with_context(too_large)?;
        let frame = take(bytes).with_context(too_large)?;
        let center = take(3).with_context(too_large)?;
        let painted = take(bytes).with_context(too_large)?;
        let carried = take(bytes).with_context(too_large)?;
        let valid = take(pixels).with_context(too_large)?;
        let blur = take(film::runs(width, height)).with_context(too_large)?;
        let kept = take(bytes).with_context(too_large)?;
        let told = take(film::told(width, height)).with_context(too_large)?;
        let mut scales = Vec::new();
        let mut parts = 0; // bytes of the partial sums, at most
        let mut wanted = Vec::new();
        let (mut columns, mut rows) = (Network::padded(width), Network::padded(height));
        let mut places = Vec::new();
        for (index, packed) in layers.iter().enumerate() {
            let layer = &packed.layer;
            (columns, rows) = (columns / layer.stride, rows / layer.stride);
            let channels = packed.octets * OCTET;
            let [x, y] = blocks(packed.kind, columns, rows);
            parts = parts.max(x * y * packed.kind.phases() * channels * 8);
            scales.push(take(channels * 8).with_context(too_large)?.start);
            (columns, rows) = (columns * layer.upsample, rows * layer.upsample);
            let bytes = if packed.kind == Kind::First { 4 } else { 2 };
            let length = (columns * rows).checked_mul(bytes * channels);
            let length = length.with_context(too_large)?;
            if packed.kind != Kind::Last {
                wanted.push(Wanted {
                    layer: index,
                    kept: false,
                    length,
                    born: index,
                    dies: index + 1,
                });
            }
            let user = layers
                .iter()
                .rposition(|user| user.layer.skip == Some(index));
            if let Some(user) = user {
                wanted.push(Wanted {
                    layer: index,
                    kept: true,
                    length,
                    born: index + 1,
                    dies: user + 1,
                });
            }
            places.push(Place {
                output: 0,
                scales: scales[index],
                kept: 0,
                width: columns,
                height: rows,
            });
        }
        let partials = take(parts).with_context(too_large)?.start;
        let (placed, arena) = place(end.next_multiple_of(LINE), LINE, wanted);
        for (wanted, at) in placed {
            let place: &mut Place = &mut places[wanted.layer];
            match wanted.kept {
                true => place.kept = at,
                false => place.output = at,
            }
        }
        let film = Arguments {
            frame: frame.start as u64,
            carried: carried.start as u64,
            valid: valid.start as u64,
            blur: blur.start as u64,
            painted: painted.start as u64,
            told: told.start as u64,
            kept: kept.start as u64,
            ..Arguments::default()
        };
        let [carry, keep] = film::launches(film, width, height);
        let mut program = Self {
            arena,
            frame,
            center,
            carried,
            valid,
            painted,
            told,
            kept,
            launches: Vec::new(),
            carry,
            keep,
        };
        for (index, packed) in layers.iter().enumerate() {
            program.launch(layers, &places, index, packed, (width, height), partials);
        }
        Ok(program)
    }

    /// What to run for a frame of a film, in this order.
    pub fn film(&self) -> impl Iterator<Item = &Launch> {
        let layers = [&self.carry].into_iter().chain(&self.launches);
        layers.chain([&self.keep])
    }

    /// Appends the launches of layer `index`.
    fn launch(
        &mut self,
        layers: &[Packed],
        places: &[Place],
        index: usize,
        packed: &Packed,
        frame: (usize, usize),
        partials: usize,
    ) {
        let (kind, here) = (packed.kind, &places[index]);
        let growth = packed.layer.upsample;
        let (width, height) = (here.width / growth, here.height / growth);
        let [tiles_x, tiles_y] = blocks(kind, width, height);
        let phases = kind.phases();
        let (block_rows, block_columns) = kind.block();
        let (tile_rows, tile_columns) = kind.tile();

        let pixels = block_rows * block_columns;
        let staged = match kind {
            Kind::Last => kind.warps() * 32 * LAST_PIXEL * 4,
            Kind::First => 0, // goes from the registers to memory
            _ => pixels * (packed.tiles | 1) * 2 * OCTET,
        };
        let mut tile = tile_rows * tile_columns * packed.pixel();
        if kind == Kind::First {
            tile = 2 * (tile + 2 * LINE); // and the copy that begins a pixel later
        }
        let at = (2 * packed.steps * phases * 4).next_multiple_of(LINE);
        // The doubling layer reads its tile four times, the others are done with it.
        let stage = match kind {
            Kind::Doubling => (at + tile).next_multiple_of(LINE),
            _ => at,
        };
        let sums = (stage + staged).max(at + tile).next_multiple_of(LINE);
        let shared = sums + (kind.warps() + 1) * packed.tiles * OCTET * 4;

        let int = |value: usize| value as i32;
        let mut arguments = Arguments {
            frame: self.frame.start as u64,
            center: self.center.start as u64,
            painted: self.painted.start as u64,
            weights: packed.weights as u64,
            octets: packed.begins as u64,
            affine: packed.affine as u64,
            output: here.output as u64,
            partials: partials as u64,
            frame_width: int(frame.0),
            frame_height: int(frame.1),
            width: int(width),
            height: int(height),
            octets_out: int(packed.octets),
            pixel: int(packed.pixel()),
            steps: int(packed.steps),
            tiles_x: int(tiles_x),
            tiles_y: int(tiles_y),
            tile: int(at),
            stage: int(stage),
            sums: int(sums),
            phases: int(phases),
            tile_rows: int(block_rows),
            tile_columns: int(block_columns),
            ..Arguments::default()
        };
        if let Some(before) = index.checked_sub(1) {
            let (layer, source) = (&layers[before].layer, &places[before]);
            arguments.source = source.output as u64;
            arguments.scales = source.scales as u64;
            arguments.keep = source.kept as u64;
            arguments.skip = layer.skip.map_or(0, |skip| places[skip].kept as u64);
            arguments.source_width = int(source.width);
            arguments.source_height = int(source.height);
            arguments.source_octets = int(packed.source_octets);
            arguments.floor = i32::from(layer.relu);
            arguments.single = i32::from(layers[before].kind == Kind::First);
            if packed.layer.carried > 0 {
                arguments.carried = self.carried.start as u64;
                arguments.valid = self.valid.start as u64;
            }
        } else {
            arguments.source_width = int(width);
            arguments.source_height = int(height);
        }
        let name = match kind {
            Kind::First => "first",
            Kind::Plain => "plain",
            Kind::Strided => "strided",
            Kind::Doubling => "doubling",
            Kind::Last => "last",
        };
        let count = |value: usize| value as u32;
        self.launches.push(Launch {
            name: packed.layer.name.clone(),
            kernel: format!("{name}_{}", packed.tiles),
            grid: [count(tiles_x), count(tiles_y), count(packed.chunks())],
            threads: count(32 * kind.warps()),
            shared: count(shared),
            arguments,
        });
        if let Some(norm) = &packed.layer.norm {
            arguments.output = here.scales as u64;
            self.launches.push(Launch {
                name: norm.clone(),
                kernel: "finish".to_string(),
                grid: [count(packed.octets * OCTET), 1, 1],
                threads: NORM_THREADS,
                shared: 32 * 4, // a sum a warp
                arguments,
            });
        }
    }
}

/// About the mean colour of `frame`, from which the first layer counts: any colour would do, but the
/// nearer it is to the pixels, the less their differences are rounded.
pub fn center(frame: &Frame) -> [u8; 3] {
    const SAMPLES: usize = 4096;
    let pixels = frame.pixels.as_chunks::<3>().0;
    let step = (pixels.len() / SAMPLES) | 1;
    let mut sums = [0; 3];
    let mut count = 0;
    for pixel in pixels.iter().step_by(step) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += usize::from(*value);
        }
        count += 1;
    }
    sums.map(|sum| (sum / count.max(1)) as u8)
}

/// Blocks along x and y that an output of this size takes.
fn blocks(kind: Kind, width: usize, height: usize) -> [usize; 2] {
    let (rows, columns) = kind.block();
    [width.div_ceil(columns), height.div_ceil(rows)]
}
