//! Where everything of a frame lies: scales and shifts, the tensors by their lifetimes, and the
//! layers as jobs with their units of work.

use anyhow::{Context, Result, ensure};

use super::kernels::{
    self, Appended, Border, First, Job, Last, Moments, Nested, Partials, STEP, Source, Strided,
    TILE, Tensor, Tiling, Winograd, reflect,
};
use super::plan::{Norm, Step};
use super::weights::{Kind, Packed, Weights};
use crate::backend::arena::{Wanted, place};
use crate::kernels::Level;
use crate::network::Network;

/// Scratch memory that a unit may fill, in values: 640 KiB of 1 MiB of L2 cache. Half of it and
/// twice as much were within 3 % on all three widths.
const SCRATCH: usize = 160 << 10;

/// Places in the arena: scales and shifts, tensors, then the table of partial sums.
pub(super) struct Layout {
    norms: Vec<usize>,
    outputs: Vec<Option<Tensor>>,
    kept: Vec<Option<Tensor>>,
    /// Place of the partial sums: after the last tensor.
    pub table: usize,
}

impl Layout {
    /// Places everything for frames of the given width and height.
    pub fn new(weights: &Weights, (width, height): (usize, usize)) -> Result<Self> {
        let layers = &weights.layers;
        let mut end = 0;
        let mut norms = Vec::new();
        for packed in layers {
            norms.push(end);
            end += 2 * packed.step.next_multiple_of(16);
        }
        let (mut width, mut height) = (Network::padded(width), Network::padded(height));
        let (mut tensors, mut wanted) = (Vec::new(), Vec::new());
        for (index, packed) in layers.iter().enumerate() {
            let layer = &packed.layer;
            width = width * layer.upsample / layer.stride;
            height = height * layer.upsample / layer.stride;
            if packed.kind == Kind::Last {
                continue;
            }
            let (tensor, length) = shape(packed, width, height)?;
            tensors.push(tensor);
            wanted.push(Wanted {
                layer: index,
                kept: false,
                length,
                born: index,
                dies: index + 1,
            });
            let mut users = layers.iter().enumerate();
            let last = users.rfind(|(_, user)| user.layer.skip == Some(index));
            if let Some((last, _)) = last {
                wanted.push(Wanted {
                    layer: index,
                    kept: true,
                    length,
                    born: index + 1,
                    dies: last + 1,
                });
            }
        }
        let (placed, table) = place(end, 16, wanted);
        ensure!(table < isize::MAX as usize / 8, "the frame is too large");
        let mut outputs = vec![None; layers.len()];
        let mut kept = vec![None; layers.len()];
        for (wanted, at) in placed {
            let list = if wanted.kept { &mut kept } else { &mut outputs };
            let mut tensor: Tensor = tensors[wanted.layer];
            tensor.origin += at;
            list[wanted.layer] = Some(tensor);
        }
        Ok(Self {
            norms,
            outputs,
            kept,
            table,
        })
    }

    /// Layer `index` as a job for frames of the given width and height.
    pub fn step(
        &self,
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
            moments: Moments::new(packed.layer.outputs),
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
            (Kind::Strided, Some(source), Some(out)) => {
                strided(packed, source, out, partials, frame)
            }
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

fn strided(
    packed: &Packed,
    source: Source,
    out: Tensor,
    partials: Partials,
    frame: (usize, usize),
) -> Job {
    let indices = |padded: usize, length: usize| {
        let all = 0..padded as isize;
        all.map(|i| reflect(i, length)).collect()
    };
    let appended = (packed.layer.carried > 0).then(|| Appended {
        columns: indices(source.tensor.width, frame.0),
        rows: indices(source.tensor.height, frame.1),
        width: frame.0,
    });

    let rows = 4;
    let strip_rows = 2 * (rows - 1) + packed.layer.kernel;
    let channels = source.tensor.step.max(packed.layer.inputs);
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
        appended,
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
