//! What a training learns: the style of one painting, or to predict the style of any from those in a folder.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use super::loss::PerceptualLoss;
use super::paintings::Paintings;
use super::state::{State, first_weights};
use super::watch::{TOO_LARGE, Watch};
use super::{Event, Job, Start};
use crate::frame::Frame;
use crate::photos::read_scaled;
use crate::predict::Predictor;
use crate::styles;

/// What is learned.
pub enum Subject {
    /// The style of this painting.
    Style(Frame),
    /// To predict styles.
    Styles(Box<Paintings>),
}

impl Subject {
    /// That of a job: a folder stands for the paintings in it.
    pub fn open(job: &Job, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        let settings = &job.settings;
        Ok(match job.painting.is_dir() {
            true => Self::Styles(Box::new(Paintings::open(&job.painting, settings, tell)?)),
            false => Self::Style(read_scaled(&job.painting, settings.style_size)?),
        })
    }

    /// The painting, or the first one.
    pub fn painting(&self) -> &Frame {
        match self {
            Self::Style(painting) => painting,
            Self::Styles(paintings) => paintings.first(),
        }
    }

    /// The pixels of everything that is learned from.
    pub fn pixels(&self) -> Vec<&[u8]> {
        match self {
            Self::Style(painting) => vec![&painting.pixels],
            Self::Styles(paintings) => paintings.pixels().collect(),
        }
    }

    /// The state before the first step.
    pub fn state(&self, job: &Job, device: &Device) -> Result<State> {
        let (settings, network) = (&job.settings, job.settings.network());
        if let Self::Styles(paintings) = self {
            let watch = Watch::new(f32::INFINITY); // losses of paintings differ
            return State::new(paintings.first_weights(device)?, settings.steps, watch);
        }
        let first = first_weights(&network, settings.seed, device)?;
        let mut state = State::new(first, settings.steps, Watch::new(TOO_LARGE))?;
        let start = match &settings.start {
            Start::Random => None,
            Start::Predicted => {
                let mut model = Predictor::built_in()?.model(self.painting())?;
                model.metadata.name = "the predicted style".to_string();
                Some(model)
            }
            Start::Model(name) => Some(styles::find(name)?),
            Start::BuiltIn => Some(styles::built_in_mean(settings.network)?.with_context(|| {
                let [a, b, c] = network.channels;
                format!("no built-in style has {a}-{b}-{c} channels to start with: use --start random")
            })?),
        };
        if let Some(model) = start {
            state.begin_with(&network, &model)?;
        }
        Ok(state)
    }

    /// The network's weights in the next step; `loss` aims at the painting of that step from then on.
    pub fn begin_step(
        &self,
        state: &State,
        loss: &mut PerceptualLoss,
        device: &Device,
    ) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Style(_) => Ok(state.weights()),
            Self::Styles(paintings) => {
                paintings.begin_step(state.steps(), &state.weights(), loss, device)
            }
        }
    }

    /// The network's weights to look at: those of the style, or of the first one.
    pub fn shown(&self, state: &State, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Style(_) => Ok(state.average()),
            Self::Styles(paintings) => paintings.shown(&state.average(), device),
        }
    }
}
