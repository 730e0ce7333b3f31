//! The engine for plain CPUs: hand-optimised inference for this one family of networks.
//!
//! It knows no candle, so that the two backends are independent witnesses. `weights` packs a model
//! for a level's kernels, `layout` and `plan` lay a network out for a size of frame, `kernels` do
//! the work on the `threads` of a fixed team. README.md beside this file says what each layer costs
//! and why.

mod kernels;
mod layout;
mod plan;
#[cfg(test)]
mod tests;
mod threads;
mod weights;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Backend, ensure_fits};
use crate::frame::{Carried, Frame};
use crate::kernels::Level;
use crate::model::Model;
use plan::Plan;
use threads::Team;
use weights::Weights;

/// The engine.
pub struct Cpu {
    name: String,
    level: Level,
    team: Team,
    weights: Option<Weights>,
    plan: Option<Plan>,
    times: Vec<Duration>,
}

impl Cpu {
    /// Starts the engine with `threads` threads (as many as rayon's pool has when `None`) at `level` (the highest
    /// that the CPU has, or that `REPAINT_CPU_LEVEL` allows, when `None`). Fails for a level that
    /// the CPU lacks.
    pub fn new(threads: Option<usize>, level: Option<Level>) -> Result<Self> {
        let level = level.unwrap_or_else(Level::detected);
        ensure!(
            level.is_supported(),
            "this CPU has no {level}: its highest level is {}, leave out --cpu-level and REPAINT_CPU_LEVEL",
            Level::supported()
        );
        Ok(Self {
            name: format!("cpu-{level}"),
            level,
            team: Team::new(threads.unwrap_or_else(rayon::current_num_threads).max(1))?,
            weights: None,
            plan: None,
            times: Vec::new(),
        })
    }

    /// The level of the kernels.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Number of threads that paint.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Name and time of each layer in the last frame.
    pub fn layer_times(&self) -> impl Iterator<Item = (&str, Duration)> {
        let layers = self.weights.iter().flat_map(|weights| &weights.layers);
        let names = layers.map(|packed| packed.layer.name.as_str());
        names.zip(self.times.iter().copied())
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&mut self, model: &Model) -> Result<()> {
        let weights = Weights::pack(model, self.level)?;
        self.times = vec![Duration::ZERO; weights.layers.len()];
        self.weights = Some(weights);
        self.plan = None;
        Ok(())
    }

    fn has_memory(&self) -> bool {
        let mut layers = self.weights.iter().flat_map(|weights| &weights.layers);
        layers.any(|packed| packed.layer.carried > 0)
    }

    fn stylize_after(
        &mut self,
        last: Option<&Carried>,
        input: &Frame,
        output: &mut Frame,
    ) -> Result<()> {
        let weights = self.weights.as_ref().context("no model is loaded")?;
        ensure_fits(input, last)?;
        // One for another size is let go of first: each has memory of its own.
        self.plan = self.plan.take().filter(|plan| plan.fits(input));
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => {
                let size = (input.width, input.height);
                Plan::new(weights, self.level, size, self.team.threads())?
            }
        };
        let plan = self.plan.insert(plan);
        output.shape_like(input);
        let mut since = Instant::now();
        let times = &mut self.times;
        plan.run(
            weights,
            self.level,
            &mut self.team,
            (last, input),
            output,
            |layer| {
                let now = Instant::now();
                times[layer] = now - since;
                since = now;
            },
        );
        Ok(())
    }
}
