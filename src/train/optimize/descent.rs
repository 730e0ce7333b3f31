//! The pixels and how they are moved: Adam or L-BFGS, with a state that can be put aside.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use candle_nn::Optimizer as _;

use super::super::adam::{Adam, AdamConfig, Moments};
use super::lbfgs::{Lbfgs, Sample};
use super::objective::{Losses, Objective};
use super::settings::{Optimizer, Settings};
use crate::tensors;
use crate::train::checkpoint::values;

/// Adam's step in levels of 0..255 when none is given.
const ADAM_RATE: f64 = 5.0;

/// Text and tensors that a state file holds.
pub type State = (BTreeMap<String, String>, BTreeMap<String, tensors::Tensor>);

/// A picture (1, 3, H, W; 0..255) on its way down.
pub struct Descent {
    shape: (usize, usize, usize, usize),
    device: Device,
    method: Method,
}

enum Method {
    Adam(Var, Box<Adam>),
    Lbfgs(Box<Lbfgs<Losses>>),
}

impl Descent {
    /// Starts at `picture`.
    pub fn new(settings: &Settings, picture: &Tensor, objective: &Objective) -> Result<Self> {
        let (shape, device) = (picture.dims4()?, picture.device().clone());
        let method = match settings.optimizer {
            Optimizer::Adam => {
                let picture = Var::from_tensor(picture)?;
                let config = AdamConfig {
                    learning_rate: settings.learning_rate.unwrap_or(ADAM_RATE),
                    ..AdamConfig::default()
                };
                let adam = Adam::new(vec![picture.clone()], config)?;
                Method::Adam(picture, Box::new(adam))
            }
            Optimizer::Lbfgs => {
                let start = picture.flatten_all()?.to_vec1()?;
                let rate = settings.learning_rate.unwrap_or(1.0);
                let function = sampler(objective, shape, &device);
                let search = Lbfgs::new(start, rate, function)?;
                ensure_finite(&search.sample.details, &search.sample.gradient)?;
                Method::Lbfgs(Box::new(search))
            }
        };
        Ok(Self {
            shape,
            device,
            method,
        })
    }

    /// Makes a step. The losses are those before it with Adam, those behind it with L-BFGS; `None`
    /// where no step in sight would lower them.
    pub fn step(&mut self, objective: &Objective) -> Result<Option<Losses>> {
        let losses = match &mut self.method {
            Method::Adam(picture, adam) => {
                let (losses, gradient) = objective.at(picture)?;
                ensure_finite(&losses, &[])?; // a bad gradient shows in the next losses
                let product = (picture.as_tensor() * gradient)?.sum_all()?;
                adam.step(&product.backward()?)?; // whose gradient is `gradient`
                Some(losses)
            }
            Method::Lbfgs(search) => {
                let moved = search.step(sampler(objective, self.shape, &self.device))?;
                ensure_finite(&search.sample.details, &search.sample.gradient)?;
                moved.then_some(search.sample.details)
            }
        };
        Ok(losses)
    }

    /// The picture as it is now.
    pub fn picture(&self) -> Result<Tensor> {
        Ok(match &self.method {
            Method::Adam(picture, _) => picture.as_detached_tensor(),
            Method::Lbfgs(search) => Tensor::from_slice(&search.point, self.shape, &self.device)?,
        })
    }

    /// All that [`Descent::from_state`] needs.
    pub fn state(&self) -> Result<State> {
        let (mut texts, mut tensors) = (BTreeMap::new(), BTreeMap::new());
        tensors.insert("picture".to_string(), values(&self.picture()?)?);
        match &self.method {
            Method::Adam(_, adam) => {
                let moments = adam.moments().first().context("Adam has no picture")?;
                tensors.insert("first".to_string(), values(&moments.first)?);
                tensors.insert("second".to_string(), values(&moments.second)?);
                texts.insert("adam_steps".to_string(), adam.steps().to_string());
            }
            Method::Lbfgs(search) => {
                let flat = |data: &Vec<f32>| tensors::Tensor {
                    shape: vec![data.len()],
                    data: data.clone(),
                };
                let Losses {
                    content, style, tv, ..
                } = search.sample.details;
                let numbers = [content, style, tv, search.sample.value];
                texts.insert(
                    "losses".to_string(),
                    numbers.map(|n| n.to_string()).join(" "),
                );
                tensors.insert("gradient".to_string(), flat(&search.sample.gradient));
                for (i, (moved, changed)) in search.history.iter().enumerate() {
                    tensors.insert(format!("moved.{i}"), flat(moved));
                    tensors.insert(format!("changed.{i}"), flat(changed));
                }
            }
        }
        Ok((texts, tensors))
    }

    /// Goes on from where [`Descent::state`] was taken, bit by bit, for a picture of `shape`.
    pub fn from_state(
        settings: &Settings,
        (texts, mut tensors): State,
        shape: (usize, usize, usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let mut take = |name: &str| {
            let tensor = tensors.remove(name);
            let tensor = tensor.with_context(|| format!("the state has no `{name}`"))?;
            ensure!(
                tensor.data.len() == count,
                "`{name}` of the state has {} values, expected {count}",
                tensor.data.len()
            );
            Ok::<_, anyhow::Error>(tensor.data)
        };
        let text = |name: &str| texts.get(name).context("the state is incomplete");
        let picture = take("picture")?;
        let method = match settings.optimizer {
            Optimizer::Adam => {
                let picture = Var::from_vec(picture, shape, device)?;
                let config = AdamConfig {
                    learning_rate: settings.learning_rate.unwrap_or(ADAM_RATE),
                    ..AdamConfig::default()
                };
                let moments = Moments {
                    first: Tensor::from_vec(take("first")?, shape, device)?,
                    second: Tensor::from_vec(take("second")?, shape, device)?,
                    average: picture.copy()?,
                };
                let steps = text("adam_steps")?.parse()?;
                let vars = vec![picture.clone()];
                let mut adam = Adam::new(vars, config)?;
                adam.restore(vec![moments], steps);
                Method::Adam(picture, Box::new(adam))
            }
            Optimizer::Lbfgs => {
                let numbers = text("losses")?.split(' ').map(str::parse);
                let numbers: Vec<f64> = numbers.collect::<Result<_, _>>()?;
                let [content, style, tv, total] = numbers[..] else {
                    anyhow::bail!("the state has {} losses, expected 4", numbers.len());
                };
                let sample = Sample {
                    value: total,
                    gradient: take("gradient")?,
                    details: Losses {
                        content,
                        style,
                        tv,
                        total,
                    },
                };
                let mut history = VecDeque::new();
                while let Ok(moved) = take(&format!("moved.{}", history.len())) {
                    let changed = take(&format!("changed.{}", history.len()))?;
                    history.push_back((moved, changed));
                }
                Method::Lbfgs(Box::new(Lbfgs {
                    point: picture,
                    rate: settings.learning_rate.unwrap_or(1.0),
                    sample,
                    history,
                }))
            }
        };
        Ok(Self {
            shape,
            device: device.clone(),
            method,
        })
    }
}

/// The objective as a function of plain values.
fn sampler<'a>(
    objective: &'a Objective,
    shape: (usize, usize, usize, usize),
    device: &'a Device,
) -> impl Fn(&[f32]) -> Result<Sample<Losses>> + 'a {
    move |point| {
        let (losses, gradient) = objective.at(&Tensor::from_slice(point, shape, device)?)?;
        Ok(Sample {
            value: losses.total,
            gradient: gradient.flatten_all()?.to_vec1()?,
            details: losses,
        })
    }
}

fn ensure_finite(losses: &Losses, gradient: &[f32]) -> Result<()> {
    ensure!(
        losses.total.is_finite() && gradient.iter().all(|value| value.is_finite()),
        "the losses or their gradient are no numbers (content {}, style {}, total variation {}): lower the weights or \
         --learning-rate",
        losses.content,
        losses.style,
        losses.tv
    );
    Ok(())
}
