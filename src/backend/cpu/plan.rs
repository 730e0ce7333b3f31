//! Everything that depends on the size of a frame: the tensors' places in one arena, the layers as
//! jobs, their units of work. Made once for a size; running it allocates nothing.

use anyhow::Result;

use super::kernels::{self, Buffer, Job, Memory, Moments, Partials};
use super::layout::Layout;
use super::threads::Team;
use super::weights::{Packed, Weights};
use crate::frame::{Carried, Frame};
use crate::kernels::Level;
use crate::network::NORM_EPSILON;

/// Values after the last tensor that kernels may read (never use): a register of pixels.
const SLACK: usize = 16 * 1024;

/// A network laid out for frames of one size.
pub(super) struct Plan {
    width: usize,
    height: usize,
    arena: Buffer,
    scratch: (usize, usize),
    steps: Vec<Step>,
    /// Variance that rounding gave each layer's channels, after their norm.
    errors: Vec<Vec<f64>>,
}

/// A layer ready to run.
pub(super) struct Step {
    /// The work.
    pub job: Job,
    /// What follows it.
    pub norm: Option<Norm>,
}

/// What turns a layer's sums into the scale and shift of the next one's input.
pub(super) struct Norm {
    /// Sums of the units.
    pub partials: Partials,
    /// Place of the scales, followed by the shifts.
    pub place: usize,
    /// Channels with padding.
    pub channels: usize,
    /// Of the layer's channels.
    pub moments: Moments,
}

impl Plan {
    /// Lays out the network for frames of `width` x `height` and a team of `threads`.
    pub fn new(
        weights: &Weights,
        level: Level,
        (width, height): (usize, usize),
        threads: usize,
    ) -> Result<Self> {
        let layout = Layout::new(weights, (width, height))?;
        let mut steps = Vec::new();
        for index in 0..weights.layers.len() {
            steps.push(layout.step(weights, index, (width, height), level));
        }
        let table = |step: &Step| {
            let norm = step.norm.as_ref()?;
            Some(step.job.units() * norm.partials.unit_values())
        };
        let table = steps.iter().filter_map(table).max().unwrap_or(0);
        let each = steps.iter().map(|step| step.job.scratch()).max();
        let each = each.unwrap_or(0).next_multiple_of(1024) + 16;
        let scratch = layout.table + table.next_multiple_of(16);
        Ok(Self {
            width,
            height,
            arena: Buffer::zeros(scratch + threads * each + SLACK)?,
            scratch: (scratch, each),
            steps,
            errors: weights
                .layers
                .iter()
                .map(|packed| vec![0.0; packed.layer.outputs])
                .collect(),
        })
    }

    /// Whether it fits a frame.
    pub fn fits(&self, frame: &Frame) -> bool {
        (self.width, self.height) == (frame.width, frame.height)
    }

    /// Paints a frame of the plan's size, after a carried painting of the same size if there is one;
    /// `done` is called after each layer.
    pub fn run(
        &mut self,
        weights: &Weights,
        level: Level,
        team: &mut Team,
        (last, input): (Option<&Carried>, &Frame),
        output: &mut Frame,
        mut done: impl FnMut(usize),
    ) {
        for (index, step) in self.steps.iter_mut().enumerate() {
            let memory = Memory::new(
                self.arena.values_mut(),
                self.scratch,
                weights.values.values(),
                (&input.pixels, last),
                &mut output.pixels,
            );
            // Every other layer begins at the rows that the one before wrote last, which are still in
            // the cache.
            let backwards = index % 2 == 1;
            kernels::run(level, &step.job, &memory, team, backwards);
            if let Some(norm) = &mut step.norm {
                let (earlier, later) = self.errors.split_at_mut(index);
                norm.merge(
                    &weights.layers[index],
                    step.job.units(),
                    self.arena.values_mut(),
                    (earlier.last().map_or(&[], Vec::as_slice), &mut later[0]),
                );
            }
            done(index);
        }
    }
}

impl Norm {
    /// `before` is what rounding gave the channels of the layer before, `errors` becomes this one's.
    fn merge(
        &mut self,
        layer: &Packed,
        units: usize,
        arena: &mut [f32],
        (before, errors): (&[f64], &mut [f64]),
    ) {
        // The scales and shifts lie before the table.
        let (values, table) = arena.split_at_mut(self.partials.at);
        let partials = Partials {
            at: 0,
            ..self.partials
        };
        let (scales, shifts) =
            values[self.place..][..2 * self.channels].split_at_mut(self.channels);
        partials.merge(table, units, &mut self.moments);
        let moments = self.moments.means.iter().zip(&self.moments.variances);
        for (c, (norm, (&mean, &variance))) in layer.norm.iter().zip(moments).enumerate() {
            let noise = layer.noise(c, before);
            let scale = match variance > noise {
                true => f64::from(norm.scale) / (variance + f64::from(NORM_EPSILON)).sqrt(),
                false => 0.0,
            };
            scales[c] = scale as f32;
            shifts[c] = (f64::from(norm.shift) - mean * scale) as f32;
            errors[c] = noise * scale * scale;
        }
    }
}
