//! VGG19's convolutions (Simonyan & Zisserman 2015) up to conv5_1: the eyes of the loss.
//!
//! Weights come as the Caffe model's (BGR, 0..255 minus the mean) or as torchvision's (RGB, ImageNet
//! normalisation). Either way the first kernel is turned so that it takes RGB in 0..255 minus a
//! mean, and nothing later needs to know. The weights are frozen: no gradient is computed for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::ops::{Conv, FrozenConv, Padding, average_pool2, max_pool2};
use crate::{fetch, tensors};

/// Channels and number of convolutions of each block; pooling lies between blocks. The last
/// block ends after its first convolution, since no loss looks deeper.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 4), (512, 4), (512, 1)];

/// Mean of the Caffe model's training pictures: R, G, B in 0..255.
const CAFFE_MEAN: [f32; 3] = [123.68, 116.779, 103.939];

/// ImageNet mean and deviation that torchvision's weights expect: R, G, B in 0..1.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Environment variable that names the weights.
const VARIABLE: &str = "REPAINT_VGG19";

/// Where the network's inputs and tensor names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `conv1_1.weight`, BGR.
    Caffe,
    /// `features.0.weight`, RGB.
    Torchvision,
}

impl Layout {
    /// The mean that is subtracted from RGB in 0..255.
    fn mean(self) -> [f32; 3] {
        match self {
            Self::Caffe => CAFFE_MEAN,
            Self::Torchvision => IMAGENET_MEAN.map(|mean| mean * 255.0),
        }
    }

    /// The first kernel, turned so that it takes RGB in 0..255 minus the mean.
    fn for_rgb(self, kernel: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Caffe => {
                let [r, g, b] = [2, 1, 0].map(|i| kernel.narrow(1, i, 1));
                Tensor::cat(&[r?, g?, b?], 1)?.contiguous()?
            }
            Self::Torchvision => {
                let scale = IMAGENET_DEVIATION.map(|deviation| 1.0 / (255.0 * deviation));
                let scale = Tensor::new(&scale, kernel.device())?.reshape((1, 3, 1, 1))?;
                kernel.broadcast_mul(&scale)?
            }
        })
    }
}

/// What lies between two blocks; both halve height and width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The largest of each 2x2 values, as the network was trained.
    #[default]
    Max,
    /// Their mean, with which gradients flow more evenly (Gatys et al. 2016, section 2).
    Average,
}

/// The network, its weights on one device.
pub struct Vgg19 {
    mean: Tensor,
    pooling: Pooling,
    layers: Vec<Layer>,
}

/// A convolution with its ReLU.
pub struct Layer {
    /// `conv1_1` and so on.
    pub name: String,
    conv: FrozenConv,
    block: usize,
}

impl Layer {
    /// The features (N, C, H, W) of `x`, whose height and width they keep.
    pub fn run(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.conv.forward(x)?)
    }
}

impl Vgg19 {
    /// Reads the weights from a safetensors file of either layout, or torchvision's `.pth`.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let what = || format!("could not open VGG19 weights `{}`", path.display());
        if path.extension().is_some_and(|ending| ending == "pth") {
            let wanted = |name: &str| name.starts_with("features.");
            let tensors = crate::pickle::read_tensors_named(path, wanted)?;
            return Self::new(&tensors, true, device).with_context(what);
        }
        let bytes = std::fs::read(path).with_context(what)?;
        let file = tensors::File::open(&bytes).with_context(what)?;
        let torchvision = file
            .metadata
            .get("layout")
            .is_some_and(|layout| layout == "torchvision");
        let tensors = file.read().with_context(what)?;
        Self::new(&tensors, torchvision, device).with_context(what)
    }

    /// Puts the network together from tensors named after either layout; `torchvision` says that
    /// tensors of the Caffe names hold torchvision's values.
    pub fn new(
        tensors: &BTreeMap<String, tensors::Tensor>,
        torchvision: bool,
        device: &Device,
    ) -> Result<Self> {
        let indexed = tensors.contains_key("features.0.weight");
        let layout = match torchvision || indexed {
            true => Layout::Torchvision,
            false => Layout::Caffe,
        };
        let conv = Conv {
            stride: 1,
            padding: Padding::Zero(1),
            relu: true,
        };
        let mut layers = Vec::new();
        let mut inputs = 3;
        let mut index = 0; // of the convolution in torchvision's list, which counts ReLU and pooling
        for (block, (channels, count)) in BLOCKS.into_iter().enumerate() {
            for number in 0..count {
                let name = format!("conv{}_{}", block + 1, number + 1);
                let stored = match indexed {
                    true => format!("features.{index}"),
                    false => name.clone(),
                };
                let tensor = |part: &str, shape: &[usize]| {
                    let key = format!("{stored}.{part}");
                    let tensor = tensors.get(&key).with_context(|| {
                        format!("no tensor `{key}`: these are no VGG19 weights")
                    })?;
                    ensure!(
                        tensor.shape == shape,
                        "`{key}` has shape {:?}, expected {shape:?}",
                        tensor.shape
                    );
                    Ok(Tensor::from_slice(&tensor.data, shape, device)?)
                };
                let mut weight = tensor("weight", &[channels, inputs, 3, 3])?;
                if layers.is_empty() {
                    weight = layout.for_rgb(&weight)?;
                }
                layers.push(Layer {
                    conv: FrozenConv::new(&weight, &tensor("bias", &[channels])?, conv),
                    block,
                    name,
                });
                inputs = channels;
                index += 2;
            }
            index += 1;
        }
        Ok(Self {
            mean: Tensor::new(&layout.mean(), device)?.reshape((1, 3, 1, 1))?,
            pooling: Pooling::Max,
            layers,
        })
    }

    /// The same network with another pooling.
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// The same network, to which a picture goes on mirrored beyond its rims. It was trained with zeros there, its mean
    /// colour, and a painting that is to look right to it turns grey along them, in strips of 8 to 30 pixels.
    pub fn with_mirrored_rims(mut self) -> Self {
        for layer in &mut self.layers {
            layer.conv = layer.conv.with_padding(Padding::Reflect(1));
        }
        self
    }

    /// Names of all layers, from shallow to deep.
    pub fn layer_names() -> Vec<String> {
        let names = BLOCKS.iter().enumerate().flat_map(|(block, (_, count))| {
            (1..=*count).map(move |conv| format!("conv{}_{conv}", block + 1))
        });
        names.collect()
    }

    /// Fails when the network has no layer of this name.
    pub fn ensure_layer(name: &str) -> Result<()> {
        let names = Self::layer_names();
        ensure!(
            names.iter().any(|known| known == name),
            "no VGG19 layer `{name}` (known: {})",
            names.join(", ")
        );
        Ok(())
    }

    /// Features after ReLU of the named layers for `rgb` (N, 3, H, W; 0..255; at least 16x16, with mirrored
    /// rims 32x32). No layer beyond the last named one is computed.
    pub fn features(&self, rgb: &Tensor, names: &[String]) -> Result<BTreeMap<String, Tensor>> {
        self.features_from(0, &self.input(rgb)?, names)
    }

    /// What the first block takes, for `rgb` (N, 3, H, W; 0..255).
    pub fn input(&self, rgb: &Tensor) -> Result<Tensor> {
        Ok(rgb.broadcast_sub(&self.mean)?)
    }

    /// The layers of a block, counted from 0.
    pub fn block(&self, block: usize) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.block == block)
    }

    /// Channels of a block, counted from 0.
    pub fn channels(&self, block: usize) -> usize {
        BLOCKS.get(block).map_or(0, |(channels, _)| *channels)
    }

    /// The block, counted from 0, that a layer lies in.
    pub fn block_of(&self, name: &str) -> Option<usize> {
        let layer = self.layers.iter().find(|layer| layer.name == name)?;
        Some(layer.block)
    }

    /// What block `block` + 1 takes, for the last features of block `block`.
    pub fn pool(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.pooling {
            Pooling::Max => max_pool2(x)?,
            Pooling::Average => average_pool2(x)?,
        })
    }

    /// As [`Vgg19::features`], for the input `x` of block `first`, of layers in it or behind it.
    pub fn features_from(
        &self,
        first: usize,
        x: &Tensor,
        names: &[String],
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut features = BTreeMap::new();
        let mut x = x.clone();
        let mut block = first;
        for layer in self.layers.iter().filter(|layer| layer.block >= first) {
            if layer.block > block {
                x = self.pool(&x)?;
                block = layer.block;
            }
            x = layer.run(&x)?;
            if names.contains(&layer.name) {
                features.insert(layer.name.clone(), x.clone());
                if features.len() == names.len() {
                    return Ok(features);
                }
            }
        }
        bail!("VGG19 does not have every layer of {}", names.join(", "))
    }
}

/// Finds the weights: `given`, else the file that `REPAINT_VGG19` names, else the user's cache.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    let (path, source) = match (given, named) {
        (Some(path), _) => (path.to_path_buf(), "--vgg19"),
        (None, Some(path)) => (PathBuf::from(path), VARIABLE),
        (None, None) => {
            let cached = fetch::vgg19_path().filter(|path| path.is_file());
            return cached.context(
                "no VGG19 weights to look with: run `repaint models fetch vgg19`, or name a file \
                 with --vgg19 FILE",
            );
        }
    };
    ensure!(
        path.is_file(),
        "no VGG19 weights at `{}` (from {source}): run `repaint models fetch vgg19`, or name a \
         file with --vgg19 FILE",
        path.display()
    );
    Ok(path)
}
