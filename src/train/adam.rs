//! Adam (Kingma & Ba 2015) and the one-cycle schedule (Smith & Topin 2018), both as PyTorch
//! computes them. The state is open, so that a checkpoint can hold it.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};
use candle_nn::Optimizer;

#[cfg(feature = "cuda")]
use crate::ops::cuda::Optimized;

/// Settings of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean of the squares.
    pub epsilon: f64,
    /// Gradients whose norm, taken over all variables, is larger are shrunk to this norm.
    pub clip_norm: Option<f64>,
    /// What stays of the average of the variables in a step.
    pub average_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: None,
            average_decay: 0.0,
        }
    }
}

/// The optimizer and its state.
pub struct Adam {
    /// Settings, which may change between steps.
    pub config: AdamConfig,
    vars: Vec<Var>,
    moments: Vec<Moments>,
    steps: u32,
}

/// Running means of one variable, of its shape.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of the gradients.
    pub first: Tensor,
    /// Mean of their squares.
    pub second: Tensor,
    /// Mean of the variable itself.
    pub average: Tensor,
}

impl Adam {
    /// Steps made so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The running means, in the order of the variables.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Goes back to a state: the running means, in the order of the variables, after `steps` steps.
    pub fn restore(&mut self, moments: Vec<Moments>, steps: u32) {
        self.moments = moments;
        self.steps = steps;
    }

    /// Euclidean norm of all gradients together.
    pub fn norm(&self, gradients: &GradStore) -> Result<f64> {
        let gradients = self.gradients(gradients)?;
        #[cfg(feature = "cuda")]
        if gradients.iter().any(|one| one.device().is_cuda()) {
            let squares = crate::ops::cuda::squares(&gradients)?;
            return Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt());
        }
        let squares = gradients
            .into_iter()
            .map(|gradient| gradient.sqr()?.sum_all())
            .collect::<Result<Vec<_>>>()?;
        let square = Tensor::stack(&squares, 0)?.sum_all()?.to_scalar::<f32>()?;
        Ok(f64::from(square).sqrt())
    }

    /// The gradients in the order of the variables.
    fn gradients<'a>(&self, gradients: &'a GradStore) -> Result<Vec<&'a Tensor>> {
        self.vars
            .iter()
            .map(|var| match gradients.get(var) {
                Some(gradient) => Ok(gradient),
                None => bail!("a variable of shape {:?} has no gradient", var.dims()),
            })
            .collect()
    }

    /// Takes over the variables' present values as their average.
    pub fn forget_average(&mut self) -> Result<()> {
        for (moments, var) in self.moments.iter_mut().zip(&self.vars) {
            moments.average = var.as_detached_tensor().copy()?;
        }
        Ok(())
    }

    /// A step along gradients of this norm. Fails when it is no number.
    pub fn step_of_norm(&mut self, gradients: &GradStore, norm: f64) -> Result<()> {
        if !norm.is_finite() {
            bail!("the norm of the gradients is {norm}: lower the learning rate");
        }
        let scale = match self.config.clip_norm {
            Some(limit) => (limit / (norm + 1e-6)).min(1.0),
            None => 1.0,
        };
        let found = self.gradients(gradients)?;
        self.steps += 1;
        let AdamConfig {
            beta1,
            beta2,
            epsilon,
            average_decay,
            ..
        } = self.config;
        let correction1 = 1.0 - beta1.powf(f64::from(self.steps));
        let correction2 = 1.0 - beta2.powf(f64::from(self.steps));
        let rate = self.config.learning_rate / correction1;
        #[cfg(feature = "cuda")]
        if found.iter().any(|one| one.device().is_cuda()) {
            let root = correction2.sqrt().recip();
            let numbers = [scale, beta1, beta2, rate, root, epsilon, average_decay];
            let all = self.vars.iter().zip(&self.moments).zip(found);
            let optimized = all.map(|((weight, moments), gradient)| Optimized {
                gradient,
                weight,
                first: &moments.first,
                second: &moments.second,
                average: &moments.average,
            });
            let optimized = optimized.collect::<Vec<_>>();
            return crate::ops::cuda::adam(&optimized, numbers.map(|number| number as f32));
        }
        for ((var, moments), gradient) in self.vars.iter().zip(&mut self.moments).zip(found) {
            // Neither gradients nor averages of the variable itself: the running means would hold what these
            // were made of, in every step there was.
            let (gradient, now) = ((gradient.detach() * scale)?, var.as_detached_tensor());
            moments.first = ((&moments.first * beta1)? + (&gradient * (1.0 - beta1))?)?;
            moments.second = ((&moments.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let root = ((moments.second.sqrt()? / correction2.sqrt())? + epsilon)?;
            var.set(&(&now - ((&moments.first / root)? * rate)?)?)?;
            let kept = (&moments.average * average_decay)?;
            moments.average = (kept + (now * (1.0 - average_decay))?)?;
        }
        Ok(())
    }
}

impl Optimizer for Adam {
    type Config = AdamConfig;

    fn new(vars: Vec<Var>, config: AdamConfig) -> Result<Self> {
        let moments = vars
            .iter()
            .map(|var| {
                Ok(Moments {
                    first: var.zeros_like()?,
                    second: var.zeros_like()?,
                    average: var.as_detached_tensor().copy()?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            config,
            vars,
            moments,
            steps: 0,
        })
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        let norm = match self.config.clip_norm {
            Some(_) => self.norm(gradients)?,
            None => 1.0,
        };
        self.step_of_norm(gradients, norm)
    }

    fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }
}

/// A learning rate that rises along a cosine from 1/25 of its peak, then falls to 1/250000, while
/// `beta1` falls from 0.95 to 0.85 and rises again: PyTorch's `OneCycleLR`.
#[derive(Clone, Copy, Debug)]
pub struct OneCycle {
    /// Highest learning rate.
    pub peak: f64,
    /// Length of the training in steps.
    pub steps: u32,
    /// Part of the steps in which the rate rises.
    pub rising: f64,
}

impl OneCycle {
    /// Learning rate and `beta1` of a step, counted from 0.
    pub fn at(&self, step: u32) -> (f64, f64) {
        let first = self.peak / 25.0;
        let turn = self.rising * f64::from(self.steps) - 1.0;
        let end = f64::from(self.steps) - 1.0;
        let step = f64::from(step);
        let cosine = |from: f64, to: f64, part: f64| {
            to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
        };
        if step <= turn {
            let part = if turn > 0.0 { step / turn } else { 1.0 };
            (cosine(first, self.peak, part), cosine(0.95, 0.85, part))
        } else {
            let part = (step - turn) / (end - turn);
            (
                cosine(self.peak, first / 1e4, part),
                cosine(0.85, 0.95, part),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_that_of_pytorch() {
        // adam = torch.optim.Adam(w, lr=2e-3)
        // OneCycleLR(adam, 2e-3, total_steps=100, pct_start=0.05): lr and betas[0] by step
        let schedule = OneCycle {
            peak: 2e-3,
            steps: 100,
            rising: 0.05,
        };
        for (step, rate, beta) in [
            (0, 8e-5, 0.95),
            (1, 0.00036117749006091444, 0.9353553390593273),
            (4, 2e-3, 0.85),
            (5, 0.0019994532595278966, 0.8500273371329536),
            (50, 0.0010495875562383034, 0.8975208122663388),
            (99, 8e-9, 0.95),
        ] {
            let found = schedule.at(step);
            assert!(
                (found.0 - rate).abs() < 1e-12,
                "rate of step {step}: {}",
                found.0
            );
            assert!(
                (found.1 - beta).abs() < 1e-12,
                "beta of step {step}: {}",
                found.1
            );
        }
    }

    #[test]
    fn the_schedule_of_a_few_steps_stays_in_range() {
        for steps in 1..40 {
            let schedule = OneCycle {
                peak: 1.0,
                steps,
                rising: 0.05,
            };
            for step in 0..steps {
                let (rate, beta) = schedule.at(step);
                assert!(rate > 0.0 && rate <= 1.0, "{step} of {steps}: {rate}");
                assert!((0.85..=0.95).contains(&beta), "{step} of {steps}: {beta}");
            }
        }
    }

    #[test]
    fn a_step_leaves_no_graph_behind() -> Result<()> {
        let var = Var::new(&[1f32, 2.0], &candle_core::Device::Cpu)?;
        let config = AdamConfig {
            average_decay: 0.5,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(vec![var.clone()], config)?;
        for _ in 0..2 {
            adam.step(&var.as_tensor().sqr()?.sum_all()?.backward()?)?;
        }
        let Moments {
            first,
            second,
            average,
        } = &adam.moments()[0];
        for kept in [first, second, average] {
            let gradients = kept.sum_all()?.backward()?;
            assert!(
                gradients.get(&var).is_none(),
                "{kept} was made of the variable"
            );
        }
        Ok(())
    }

    #[test]
    fn large_gradients_are_shrunk_to_the_norm_and_no_numbers_are_refused() -> Result<()> {
        let var = Var::new(&[0f32, 0.0], &candle_core::Device::Cpu)?;
        let config = AdamConfig {
            clip_norm: Some(1.0),
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(vec![var.clone()], config)?;
        let slope = Tensor::new(&[30f32, 40.0], var.device())?;
        adam.step(&(var.as_tensor() * slope)?.sum_all()?.backward()?)?;
        let first = adam.moments()[0].first.to_vec1::<f32>()?;
        assert!((first[0] - 0.06).abs() < 1e-6 && (first[1] - 0.08).abs() < 1e-6);
        let slope = Tensor::new(&[f32::NAN, 0.0], var.device())?;
        let gradients = (var.as_tensor() * slope)?.sum_all()?.backward()?;
        let error = adam.step(&gradients).unwrap_err().to_string();
        assert!(error.contains("norm of the gradients"), "{error}");
        Ok(())
    }
}
