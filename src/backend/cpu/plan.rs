//! Everything that depends on the size of a frame: the tensors' places in one arena, the layers as
//! jobs, their units of work. Made once for a size; running it allocates nothing.

use anyhow::{Context, Result, ensure};

use super::kernels::{
    self, Border, Buffer, First, Job, Last, Memory, Nested, Partials, STEP, Source, Strided, TILE,
    Tensor, Tiling, Winograd, reflect,
};
use super::threads::Team;
use super::weights::{Kind, Packed, Weights};
use crate::frame::Frame;
use crate::kernels::Level;
use crate::network::{NORM_EPSILON, Network};

/// Scratch memory that a unit may fill, in values: 640 KiB of 1 MiB of L2 cache. Half of it and
/// twice as much were within 3 % on all three widths.
const SCRATCH: usize = 160 << 10;

/// Values after the last tensor that kernels may read (never use): a register of pixels.
const SLACK: usize = 16 * 1024;

/// A network laid out for frames of one size.
pub(super) struct Plan {
    width: usize,
    height: usize,
    arena: Buffer,
    scratch: (usize, usize),
    steps: Vec<Step>,
}

struct Step {
    job: Job,
    norm: Option<Norm>,
}

/// What turns a layer's sums into the scale and shift of the next one's input.
struct Norm {
    partials: Partials,
    place: usize,
    channels: usize,
}

/// A tensor to be placed: alive from step `born` to step `dies`, both included.
struct Wanted {
    born: usize,
    dies: usize,
    tensor: Tensor,
    length: usize,
}

impl Plan {
    /// Lays out the network for frames of `width` x `height` and a team of `threads`.
    pub fn new(
        weights: &Weights,
        level: Level,
        (width, height): (usize, usize),
        threads: usize,
    ) -> Result<Self> {
        ensure!(
            width > 0 && height > 0,
            "an empty frame has nothing to paint"
        );
        let mut arena = Layout::new(weights, (width, height))?;
        let mut steps = Vec::new();
        for index in 0..weights.layers.len() {
            steps.push(arena.step(weights, index, (width, height), level));
        }
        let table = |step: &Step| {
            let norm = step.norm.as_ref()?;
            Some(step.job.units() * norm.partials.unit_values())
        };
        let table = steps.iter().filter_map(table).max().unwrap_or(0);
        let each = steps.iter().map(|step| step.job.scratch()).max();
        let each = each.unwrap_or(0).next_multiple_of(1024) + 16;
        let scratch = arena.table + table.next_multiple_of(16);
        Ok(Self {
            width,
            height,
            arena: Buffer::zeros(scratch + threads * each + SLACK),
            scratch: (scratch, each),
            steps,
        })
    }

    /// Whether it fits a frame.
    pub fn fits(&self, frame: &Frame) -> bool {
        (self.width, self.height) == (frame.width, frame.height)
    }

    /// Paints a frame of the plan's size; `done` is called after each layer.
    pub fn run(
        &mut self,
        weights: &Weights,
        level: Level,
        team: &mut Team,
        input: &Frame,
        output: &mut Frame,
        mut done: impl FnMut(usize),
    ) {
        for (index, step) in self.steps.iter().enumerate() {
            let memory = Memory::new(
                self.arena.values_mut(),
                self.scratch,
                weights.values.values(),
                &input.pixels,
                &mut output.pixels,
            );
            kernels::run(level, &step.job, &memory, team);
            if let Some(norm) = &step.norm {
                norm.merge(
                    &weights.layers[index],
                    step.job.units(),
                    self.arena.values_mut(),
                );
            }
            done(index);
        }
    }
}

impl Norm {
    fn merge(&self, layer: &Packed, units: usize, arena: &mut [f32]) {
        // The scales and shifts lie before the table.
        let (before, table) = arena.split_at_mut(self.partials.at);
        let partials = Partials {
            at: 0,
            ..self.partials
        };
        let (scales, shifts) =
            before[self.place..][..2 * self.channels].split_at_mut(self.channels);
        partials.merge(table, units, layer.norm.len(), |c, mean, variance| {
            let norm = layer.norm[c];
            let scale = match variance > norm.noise {
                true => f64::from(norm.scale) / (variance + f64::from(NORM_EPSILON)).sqrt(),
                false => 0.0,
            };
            scales[c] = scale as f32;
            shifts[c] = (f64::from(norm.shift) - mean * scale) as f32;
        });
    }
}

/// Places in the arena: scales and shifts, tensors, then the table of partial sums.
struct Layout {
    norms: Vec<usize>,
    outputs: Vec<Option<Tensor>>,
    kept: Vec<Option<Tensor>>,
    table: usize,
}

impl Layout {
    fn new(weights: &Weights, (width, height): (usize, usize)) -> Result<Self> {
        let layers = &weights.layers;
        let mut end = 0;
        let mut norms = Vec::new();
        for packed in layers {
            norms.push(end);
            end += 2 * packed.step.next_multiple_of(16);
        }
        let (mut width, mut height) = (Network::padded(width), Network::padded(height));
        let mut wanted = Vec::new();
        for (index, packed) in layers.iter().enumerate() {
            let layer = &packed.layer;
            width = width * layer.upsample / layer.stride;
            height = height * layer.upsample / layer.stride;
            if packed.kind == Kind::Last {
                continue;
            }
            let (tensor, length) = shape(packed, width, height)?;
            let raw = Wanted {
                born: index,
                dies: index + 1,
                tensor,
                length,
            };
            wanted.push((index, false, raw));
            let mut users = layers.iter().enumerate();
            let last = users.rfind(|(_, user)| user.layer.skip == Some(index));
            if let Some((last, _)) = last {
                let kept = Wanted {
                    born: index + 1,
                    dies: last + 1,
                    tensor,
                    length,
                };
                wanted.push((index, true, kept));
            }
        }
        let tensors_end = place(end, &mut wanted)?;
        let mut outputs = vec![None; layers.len()];
        let mut kept = vec![None; layers.len()];
        for (index, is_kept, wanted) in &wanted {
            let list = if *is_kept { &mut kept } else { &mut outputs };
            list[*index] = Some(wanted.tensor);
        }
        Ok(Self {
            norms,
            outputs,
            kept,
            table: tensors_end.next_multiple_of(16),
        })
    }

    fn step(
        &mut self,
        weights: &Weights,
        index: usize,
        frame: (usize, usize),
        level: Level,
    ) -> Step {
        let packed = &weights.layers[index];
        let channels = packed.step.next_multiple_of(16);
        let partials = Partials {
            at: self.table,
            channels,
        };
        let norm = (packed.kind != Kind::Last).then_some(Norm {
            partials,
            place: self.norms[index],
            channels,
        });
        let source = index.checked_sub(1).and_then(|before| {
            let layer = &weights.layers[before].layer;
            Some(Source {
                tensor: self.outputs[before]?,
                norm: self.norms[before],
                norm_channels: weights.layers[before].step.next_multiple_of(16),
                floor: if layer.relu { 0.0 } else { f32::NEG_INFINITY },
                skip: layer.skip.and_then(|skip| self.kept[skip]),
                keep: self.kept[before],
                border: match packed.kind {
                    Kind::Upsampled => Border::Clamp,
                    _ => Border::Reflect,
                },
            })
        });
        let job = match (packed.kind, source, self.outputs[index]) {
            (Kind::First, None, Some(out)) => first(packed, out, partials, frame),
            (Kind::Strided, Some(source), Some(out)) => strided(packed, source, out, partials),
            (Kind::Plain | Kind::Upsampled, Some(source), Some(out)) => {
                winograd(packed, source, out, partials, level)
            }
            (Kind::Last, Some(source), None) => last(packed, source, frame),
            _ => unreachable!("`Weights::pack` checked the order of the layers"),
        };
        Step { job, norm }
    }
}

/// The shape of a layer's output at place 0, and its length with margins.
fn shape(packed: &Packed, width: usize, height: usize) -> Result<(Tensor, usize)> {
    let channels = packed.layer.outputs;
    let tensor = if packed.kind == Kind::First {
        // Rows are written in threes of registers.
        let pitch = width.next_multiple_of(48);
        Tensor {
            origin: 0,
            height,
            width,
            channels,
            step: 1,
            pitch,
            plane: pitch * height,
        }
    } else {
        Tensor {
            origin: packed.step,
            height,
            width,
            channels,
            step: packed.step,
            pitch: (width + 8) * packed.step,
            plane: 1,
        }
    };
    let rows = if tensor.step == 1 {
        height * channels
    } else {
        height
    };
    let length = rows
        .checked_mul(tensor.pitch)
        .and_then(|length| length.checked_add(16));
    let length = length.with_context(|| format!("{width}x{height} pixels are too many"))?;
    Ok((tensor, length))
}

/// Places tensors from `start` on, large ones first, each at the lowest place where it overlaps
/// none that is alive with it; returns the end.
fn place(start: usize, wanted: &mut [(usize, bool, Wanted)]) -> Result<usize> {
    wanted.sort_by_key(|(_, _, tensor)| std::cmp::Reverse(tensor.length));
    let mut placed: Vec<(usize, usize, usize, usize)> = Vec::new(); // place, end, born, dies
    for (_, _, tensor) in wanted {
        let mut at = start;
        let mut rivals: Vec<_> = placed
            .iter()
            .filter(|(.., born, dies)| *born <= tensor.dies && tensor.born <= *dies)
            .collect();
        rivals.sort();
        for (from, to, ..) in rivals {
            if at + tensor.length <= *from {
                break;
            }
            at = at.max(*to);
        }
        let end = (at + tensor.length).next_multiple_of(16);
        placed.push((at, end, tensor.born, tensor.dies));
        tensor.tensor.origin += at;
    }
    let end = placed.iter().map(|tensor| tensor.1).max().unwrap_or(start);
    ensure!(end < isize::MAX as usize / 8, "the frame is too large");
    Ok(end)
}

/// The number of columns, at most `most`, a multiple of `multiple`, that divides `width` evenly.
fn even(width: usize, most: usize, multiple: usize) -> usize {
    let most = (most / multiple * multiple).max(multiple);
    width
        .div_ceil(width.div_ceil(most))
        .next_multiple_of(multiple)
}

fn first(packed: &Packed, out: Tensor, partials: Partials, frame: (usize, usize)) -> Job {
    let pad = packed.layer.kernel / 2;
    let indices = |padded: usize, length: usize| {
        let all = -(pad as isize)..(padded + pad) as isize;
        all.map(|i| reflect(reflect(i, padded) as isize, length))
            .collect()
    };
    Job::First(First {
        nested: nested(packed, out.height, out.width),
        pad,
        columns: indices(out.width, frame.0),
        rows: indices(out.height, frame.1),
        width: frame.0,
        out,
        partials,
    })
}

fn strided(packed: &Packed, source: Source, out: Tensor, partials: Partials) -> Job {
    let rows = 4;
    let strip_rows = 2 * (rows - 1) + packed.layer.kernel;
    let channels = source.tensor.step.max(source.tensor.channels);
    let tiling = Tiling {
        height: out.height,
        width: out.width,
        rows,
        columns: even(out.width, SCRATCH / (2 * strip_rows * channels), 12),
    };
    let kernel = packed.layer.kernel;
    Job::Strided(Strided::new(
        source,
        out,
        tiling,
        kernel,
        packed.place,
        partials,
    ))
}

fn winograd(packed: &Packed, source: Source, out: Tensor, partials: Partials, level: Level) -> Job {
    let upsample = packed.kind == Kind::Upsampled;
    let (points, reach, copies) = if upsample { (25, 1, 4) } else { (36, 0, 1) };
    // An enlarged tile begins one pixel early, so the last may hold that pixel alone.
    let tiles = |length: usize| (length + reach).div_ceil(TILE);
    let across = tiles(source.tensor.width);
    // Values of scratch memory for each tile: transformed input, products, strip.
    let step = source.tensor.step;
    let per_tile = points * (step + 2 * kernels::lanes(level)) + 6 * TILE * step;
    Job::Winograd(Winograd {
        source,
        out,
        tiling: Tiling {
            height: tiles(source.tensor.height),
            width: across,
            rows: 1,
            columns: even(across, SCRATCH / per_tile, 1),
        },
        upsample,
        weights: packed.place,
        outputs: (packed.step * copies).next_multiple_of(kernels::lanes(level)),
        partials,
    })
}

fn last(packed: &Packed, source: Source, (width, height): (usize, usize)) -> Job {
    let mut bias = [0.0; 3];
    for (to, from) in bias.iter_mut().zip(&packed.bias) {
        *to = *from;
    }
    Job::Last(Last {
        nested: nested(packed, height, width),
        size: (height, width),
        source,
        bias,
    })
}

fn nested(packed: &Packed, height: usize, width: usize) -> Nested {
    let kernels = packed.layer.kernel.div_ceil(STEP);
    // Values of scratch memory for each column of tiles: transformed rows and products.
    let column = 25 * (kernels * packed.inputs + packed.layer.outputs);
    let width = width.div_ceil(STEP);
    Nested {
        tiling: Tiling {
            height: height.div_ceil(STEP),
            width,
            rows: 8,
            columns: even(width, SCRATCH / column, 16),
        },
        inputs: packed.inputs,
        blocks: packed.blocks.clone(),
        kernel: packed.layer.kernel,
        weights: packed.place,
    }
}
