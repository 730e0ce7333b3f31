//! Everything that changes from step to step: weights, their average, Adam's running means, the number
//! of steps, what the recent losses were. It can be taken down as a [`Snapshot`] and put back bit by bit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::Optimizer;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::adam::{Adam, AdamConfig, Moments};
use super::checkpoint::values;
use super::watch::Watch;
use crate::model::Model;
use crate::network::{CARRIED, Network};
use crate::tensors;

/// Gradients with a larger norm, taken over all weights, are shrunk to it.
const CLIP_NORM: f64 = 1.0;

/// Random numbers of the first weights come from this stream of the seed; a step's from the stream
/// of its number.
const WEIGHT_STREAM: u64 = u64::MAX;

/// Added to the bias of the last convolution: an untrained network paints grey.
const GREY: f64 = 127.0;

/// The average of the weights reaches back over about one in this many of all steps: with a rate that
/// falls to nothing, longer averages only lag behind.
const AVERAGED: u32 = 50;

/// How often a training may return to an earlier state before it is given up: the learning rate is
/// then a sixteenth.
const MAX_RETURNS: u32 = 4;

/// Tensors of a snapshot: those of the network by name, and with these words before the name.
const FIRST: &str = "adam.first.";
const SECOND: &str = "adam.second.";
const AVERAGE: &str = "average.";

/// Name of a snapshot's tensor of recent losses.
const RECENT: &str = "recent_losses";

/// The state of a training.
pub struct State {
    names: Vec<String>,
    vars: Vec<Var>,
    adam: Adam,
    watch: Watch,
    total: u32,
    steps: u32,
    returns: u32,
}

/// A state, taken down.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Steps made.
    pub steps: u32,
    /// How often the training had to return to an earlier state.
    pub returns: u32,
    /// Values by name.
    pub tensors: BTreeMap<String, tensors::Tensor>,
}

impl State {
    /// The state before the first of `total` steps, with these weights; `watch` sees when steps go wrong.
    pub fn new(weights: Vec<(String, Var)>, total: u32, watch: Watch) -> Result<Self> {
        let (names, vars): (Vec<_>, Vec<_>) = weights.into_iter().unzip();
        let config = AdamConfig {
            clip_norm: Some(CLIP_NORM),
            ..AdamConfig::default()
        };
        Ok(Self {
            adam: Adam::new(vars.clone(), config)?,
            names,
            vars,
            total,
            watch,
            steps: 0,
            returns: 0,
        })
    }

    /// Takes over the weights of a model before the first step, for this `network`. A memory that the
    /// model lacks begins with weights of zero, one that the network lacks is left out. Fails for a
    /// model of other widths, blocks or styles.
    pub fn begin_with(&mut self, network: &Network, model: &Model) -> Result<()> {
        let (name, found) = (&model.metadata.name, &model.network);
        let shape = |network: &Network| (network.residual_blocks, network.styles);
        ensure!(
            found.channels == network.channels,
            "`{name}` has {:?} channels, the network to train {:?}: choose another --network or \
             another model to start with",
            found.channels,
            network.channels
        );
        ensure!(
            shape(found) == shape(network),
            "`{name}` has {} residual blocks and {} styles, the network to train {} and {}: choose \
             another model to start with",
            found.residual_blocks,
            found.styles,
            network.residual_blocks,
            network.styles
        );
        for (name, var) in self.names.iter().zip(&self.vars) {
            let found = model.tensors.get(name);
            let found = found.with_context(|| format!("the model has no tensor `{name}`"))?;
            let mut value = Tensor::from_slice(&found.data, found.shape.as_slice(), var.device())?;
            if let ([_, given, ..], [_, wanted, ..]) = (&found.shape[..], var.dims()) {
                if given + CARRIED == *wanted {
                    value = value.pad_with_zeros(1, 0, CARRIED)?;
                } else if *given == wanted + CARRIED {
                    value = value.narrow(1, 0, *wanted)?.contiguous()?;
                }
            }
            ensure!(
                value.dims() == var.dims(),
                "the model to start with has `{name}` of shape {:?}, expected {:?}: choose another \
                 one",
                found.shape,
                var.dims()
            );
            var.set(&value)?;
        }
        Ok(self.adam.forget_average()?)
    }

    /// Steps made.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// What the scheduled learning rate is multiplied with: it is halved by every return.
    pub fn rate(&self) -> f64 {
        0.5f64.powi(self.returns as i32)
    }

    /// The weights by name; they follow the training.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        let tensors = self.vars.iter().map(|var| var.as_tensor().clone());
        self.names.iter().cloned().zip(tensors).collect()
    }

    /// An exponential moving average of the weights, by name: what is left of them when single
    /// batches are forgotten.
    pub fn average(&self) -> BTreeMap<String, Tensor> {
        let moments = self.adam.moments().iter();
        let tensors = moments.map(|moments| moments.average.clone());
        self.names.iter().cloned().zip(tensors).collect()
    }

    /// Euclidean norm of the gradients of all weights together.
    pub fn norm(&self, gradients: &GradStore) -> Result<f64> {
        Ok(self.adam.norm(gradients)?)
    }

    /// What is wrong with this loss and the norm of its gradients, if anything is.
    pub fn fault(&self, loss: f32, norm: f64) -> Option<String> {
        let fault = self.watch.fault(loss);
        fault
            .or_else(|| (!norm.is_finite()).then(|| format!("the norm of the gradients is {norm}")))
    }

    /// Makes a step along gradients without fault, of this norm. `rate` is the learning rate.
    pub fn step(
        &mut self,
        gradients: &GradStore,
        norm: f64,
        loss: f32,
        (rate, beta1): (f64, f64),
    ) -> Result<()> {
        self.steps += 1;
        let config = &mut self.adam.config;
        (config.learning_rate, config.beta1) = (rate, beta1);
        config.average_decay = decay(self.steps, self.total);
        self.adam.step_of_norm(gradients, norm)?;
        self.watch.add(loss);
        Ok(())
    }

    /// Takes the state down.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut tensors = BTreeMap::from([(RECENT.to_string(), self.watch.to_tensor())]);
        let parts = self.names.iter().zip(&self.vars).zip(self.adam.moments());
        for ((name, weight), moments) in parts {
            tensors.insert(format!("{AVERAGE}{name}"), values(&moments.average)?);
            tensors.insert(name.clone(), values(weight)?);
            tensors.insert(format!("{FIRST}{name}"), values(&moments.first)?);
            tensors.insert(format!("{SECOND}{name}"), values(&moments.second)?);
        }
        Ok(Snapshot {
            steps: self.steps,
            returns: self.returns,
            tensors,
        })
    }

    /// Puts a state back. Fails when it is one of another network.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let find = |name: &str| {
            let tensor = snapshot.tensors.get(name);
            tensor.with_context(|| format!("no tensor `{name}`"))
        };
        let device = self.vars.first().map_or(&Device::Cpu, |var| var.device());
        let tensor = |name: &str, like: &Var| {
            let found = find(name)?;
            ensure!(
                found.shape == like.dims(),
                "`{name}` has shape {:?}, expected {:?}",
                found.shape,
                like.dims()
            );
            Ok(Tensor::from_slice(
                &found.data,
                found.shape.as_slice(),
                device,
            )?)
        };
        let mut moments = Vec::new();
        for (name, var) in self.names.iter().zip(&self.vars) {
            var.set(&tensor(name, var)?)?;
            moments.push(Moments {
                average: tensor(&format!("{AVERAGE}{name}"), var)?,
                first: tensor(&format!("{FIRST}{name}"), var)?,
                second: tensor(&format!("{SECOND}{name}"), var)?,
            });
        }
        self.adam.restore(moments, snapshot.steps);
        self.watch.restore(find(RECENT)?);
        self.steps = snapshot.steps;
        self.returns = snapshot.returns;
        Ok(())
    }

    /// Returns to an earlier state because of `fault` and halves the learning rate; says so. Fails
    /// when that did not help several times before.
    pub fn return_to(&mut self, snapshot: &Snapshot, fault: &str) -> Result<String> {
        let (steps, returns) = (self.steps, self.returns + 1);
        ensure!(
            returns <= MAX_RETURNS,
            "{fault} after step {steps}, and {MAX_RETURNS} returns to an earlier state did not \
             help: lower --learning-rate"
        );
        self.restore(snapshot)?;
        self.returns = returns;
        Ok(format!(
            "{fault} after step {steps}: back to step {} with 1/{} of the learning rate",
            self.steps,
            1u32 << returns
        ))
    }
}

/// The part of the average that stays at a step, counted from 1: little at first, so that the first
/// weights are soon forgotten.
fn decay(step: u32, total: u32) -> f64 {
    let (step, window) = (f64::from(step), f64::from(total / AVERAGED));
    (1.0 - 1.0 / window.max(1.0)).min(step / (step + 10.0))
}

/// Random weights as PyTorch's `Conv2d` draws them (uniform, up to 1 / sqrt(fan-in)), norms that
/// change nothing; by name, in the order of [`Network::tensors`].
pub fn first_weights(
    network: &Network,
    seed: u64,
    device: &candle_core::Device,
) -> Result<Vec<(String, Var)>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(WEIGHT_STREAM);
    let layers = network.layers();
    let last = layers.last().map(|layer| layer.bias());
    let mut bound = 1.0; // that of the bias is that of the kernel before it
    let mut weights = Vec::new();
    for (name, shape) in network.tensors() {
        let count: usize = shape.iter().product();
        let is_conv = name.contains("conv2d");
        if shape.len() == 4 {
            bound = ((count / shape[0]) as f32).powf(-0.5);
        }
        let values: Vec<f32> = match (is_conv, name.ends_with(".weight")) {
            (true, _) => (0..count)
                .map(|_| random.random_range(-bound..=bound))
                .collect(),
            (false, is_scale) => vec![f32::from(u8::from(is_scale)); count],
        };
        let mut tensor = Tensor::from_vec(values, shape, device)?;
        if last.as_ref() == Some(&name) {
            tensor = (tensor + GREY)?;
        }
        weights.push((name, Var::from_tensor(&tensor)?));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_weights_fill_their_range_and_follow_from_the_seed() -> Result<()> {
        let network = Network::new([8, 16, 32]);
        let draw = |seed| first_weights(&network, seed, &candle_core::Device::Cpu);
        let weights = draw(7)?;
        let (name, kernel) = &weights[0];
        let kernel = kernel.flatten_all()?.to_vec1::<f32>()?;
        let bound = (3.0f32 * 81.0).powf(-0.5);
        let largest = kernel.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        assert_eq!(name, "conv1.conv2d.weight");
        assert!(largest <= bound && largest > 0.99 * bound, "{largest}");
        assert_eq!(draw(7)?[0].1.flatten_all()?.to_vec1::<f32>()?, kernel);
        assert_ne!(draw(8)?[0].1.flatten_all()?.to_vec1::<f32>()?, kernel);
        Ok(())
    }

    #[test]
    fn a_return_puts_everything_back_but_the_rate() -> Result<()> {
        let network = Network::new([8, 16, 32]);
        let mut state = State::new(
            first_weights(&network, 7, &Device::Cpu)?,
            100,
            Watch::new(10.0),
        )?;
        let step = |state: &mut State| {
            let sum = state
                .vars
                .iter()
                .map(|var| var.as_tensor().sqr()?.sum_all());
            let sums = sum.collect::<candle_core::Result<Vec<_>>>()?;
            let gradients = Tensor::stack(&sums, 0)?.sum_all()?.backward()?;
            let norm = state.norm(&gradients)?;
            state.step(&gradients, norm, 2.0, (0.1, 0.9))
        };
        step(&mut state)?;
        let good = state.snapshot()?;
        step(&mut state)?;
        let after = state.snapshot()?;
        assert_ne!(after.tensors, good.tensors);
        let words = state.return_to(&good, "it burns")?;
        assert!(
            words.contains("it burns after step 2: back to step 1"),
            "{words}"
        );
        assert_eq!((state.steps(), state.rate()), (1, 0.5));
        assert_eq!(state.snapshot()?.tensors, good.tensors);
        step(&mut state)?;
        assert_eq!(state.snapshot()?.tensors, after.tensors);
        Ok(())
    }

    #[test]
    fn the_average_follows_the_weights_and_forgets_the_first() {
        assert_eq!(decay(1, 49), 0.0, "a few steps are not averaged");
        assert!((decay(1, 2000) - 1.0 / 11.0).abs() < 1e-9);
        assert!((decay(1000, 2000) - 0.975).abs() < 1e-9);
        let constant = (1..=200).fold(0.0, |average, step| {
            let kept = decay(step, 2000);
            average * kept + 5.0 * (1.0 - kept)
        });
        assert!((constant - 5.0).abs() < 0.05, "{constant}");
    }
}
