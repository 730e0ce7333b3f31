//! The transformer network as data: a list of layers with names and shapes, and no arithmetic.
//!
//! This is the one place where the architecture is written. Backends walk [`Network::layers`];
//! model files are checked against [`Network::tensors`]. The shape is TransformerNet of Johnson et
//! al. 2016 (section 3.1 and its supplement) as pytorch/examples made it the standard: 9x9, two
//! strided 3x3, residual blocks, two nearest x2 + 3x3, 9x9; reflection padding, instance norm.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Added to the variance in every instance norm.
pub const NORM_EPSILON: f32 = 1e-5;

/// Channels of a carried painting: R, G, B in 0..2 where it is valid, and where it is (0..1). All are
/// 0 where there is none.
pub const CARRIED: usize = 4;

/// Widths, depth and variants of a transformer network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Channels at full, half and quarter resolution.
    pub channels: [usize; 3],
    /// Residual blocks at quarter resolution.
    pub residual_blocks: usize,
    /// Channels of the input: 3 for RGB.
    pub input_channels: usize,
    /// Whether the network also sees its last painting, carried along the motion: [`CARRIED`] more
    /// channels enter the second layer.
    pub memory: bool,
    /// Rows of each instance norm's scale and shift: one for each style (Dumoulin et al. 2017).
    pub styles: usize,
}

/// The three widths that the program trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// 8, 16, 32 channels: 109 k parameters, 12.5 kMAC a pixel.
    #[default]
    Small,
    /// 16, 32, 64 channels: 425 k parameters, 42.3 kMAC a pixel.
    Medium,
    /// 32, 64, 128 channels: 1.68 M parameters, 153.8 kMAC a pixel.
    Large,
}

/// One convolution with what comes before and after it, in this order: nearest upsampling,
/// reflection padding of `kernel / 2`, convolution, instance norm, sum with `skip`, ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the convolution: its tensors are `{name}.conv2d.weight` and `.bias`.
    pub name: String,
    /// Name of the instance norm: its tensors are `{norm}.weight` and `.bias`.
    pub norm: Option<String>,
    /// Channels in, those of `carried` counted.
    pub inputs: usize,
    /// Channels of the carried painting that follow those of the layer before: 0 or [`CARRIED`].
    pub carried: usize,
    /// Channels out.
    pub outputs: usize,
    /// Kernel height and width, odd.
    pub kernel: usize,
    /// Step of the convolution: 1 or 2.
    pub stride: usize,
    /// Nearest-neighbour enlargement before the padding: 1 or 2.
    pub upsample: usize,
    /// Whether ReLU comes last.
    pub relu: bool,
    /// Index of the layer whose output is added after the norm (end of a residual block).
    pub skip: Option<usize>,
}

impl Width {
    /// Channels at full, half and quarter resolution.
    pub fn channels(self) -> [usize; 3] {
        match self {
            Self::Small => [8, 16, 32],
            Self::Medium => [16, 32, 64],
            Self::Large => [32, 64, 128],
        }
    }
}

impl From<Width> for Network {
    fn from(width: Width) -> Self {
        Self::new(width.channels())
    }
}

impl Network {
    /// The standard network for RGB pictures and one style: five residual blocks.
    pub fn new(channels: [usize; 3]) -> Self {
        Self {
            channels,
            residual_blocks: 5,
            input_channels: 3,
            memory: false,
            styles: 1,
        }
    }

    /// The same network, which also sees its last painting.
    pub fn with_memory(self) -> Self {
        Self {
            memory: true,
            ..self
        }
    }

    /// Sizes of frames are padded to multiples of this before they enter the network.
    pub const MULTIPLE: usize = 4;

    /// Smallest height and width that enter the network: at a quarter of it and at the whole, the
    /// mirrored paddings (1 and 4) still find enough values.
    pub const SMALLEST: usize = 16;

    /// The height or width that a frame's is padded to, by reflection on the right and bottom (as
    /// often as it takes; a single row or column is repeated).
    pub fn padded(length: usize) -> usize {
        length.next_multiple_of(Self::MULTIPLE).max(Self::SMALLEST)
    }

    /// The layers in the order of their evaluation.
    pub fn layers(&self) -> Vec<Layer> {
        let [a, b, c] = self.channels;
        // In the first layer, 9x9 at full resolution, four channels would cost a fifth of the small
        // network; here they cost an eightieth of it.
        let carried = if self.memory { CARRIED } else { 0 };
        let mut layers = vec![
            Layer::new("conv1", "in1", self.input_channels, a, 9),
            Layer {
                stride: 2,
                carried,
                ..Layer::new("conv2", "in2", a + carried, b, 3)
            },
            Layer {
                stride: 2,
                ..Layer::new("conv3", "in3", b, c, 3)
            },
        ];
        for block in 1..=self.residual_blocks {
            let skip = Some(layers.len() - 1);
            let (first, second) = (format!("res{block}.conv1"), format!("res{block}.conv2"));
            let (norm1, norm2) = (format!("res{block}.in1"), format!("res{block}.in2"));
            layers.push(Layer::new(&first, &norm1, c, c, 3));
            layers.push(Layer {
                relu: false,
                skip,
                ..Layer::new(&second, &norm2, c, c, 3)
            });
        }
        layers.push(Layer {
            upsample: 2,
            ..Layer::new("deconv1", "in4", c, b, 3)
        });
        layers.push(Layer {
            upsample: 2,
            ..Layer::new("deconv2", "in5", b, a, 3)
        });
        layers.push(Layer {
            norm: None,
            relu: false,
            ..Layer::new("deconv3", "", a, 3, 9)
        });
        layers
    }

    /// Name and shape of every tensor, in the order of the layers.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        for layer in self.layers() {
            let kernel = vec![layer.outputs, layer.inputs, layer.kernel, layer.kernel];
            tensors.push((layer.weight(), kernel));
            tensors.push((layer.bias(), vec![layer.outputs]));
            if let Some(norm) = &layer.norm {
                let shape = match self.styles {
                    1 => vec![layer.outputs],
                    styles => vec![styles, layer.outputs],
                };
                tensors.push((format!("{norm}.weight"), shape.clone()));
                tensors.push((format!("{norm}.bias"), shape));
            }
        }
        tensors
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        self.tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Multiplications of the convolutions for one pixel of the input, computed directly.
    pub fn macs_per_pixel(&self) -> f64 {
        let mut scale = 1.0; // output pixels of the layer for each input pixel of the network
        let mut macs = 0.0;
        for layer in self.layers() {
            let ratio = layer.upsample as f64 / layer.stride as f64;
            scale *= ratio * ratio;
            macs += scale * (layer.inputs * layer.outputs * layer.kernel * layer.kernel) as f64;
        }
        macs
    }

    /// Finds the network that tensors of these names and shapes belong to, and checks that they
    /// are exactly its tensors.
    pub fn from_shapes(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let shape = |name: &str| {
            shapes
                .get(name)
                .with_context(|| format!("no tensor `{name}`"))
        };
        let first = shape("conv1.conv2d.weight")?;
        ensure!(
            first.len() == 4,
            "`conv1.conv2d.weight` has shape {first:?}, not 4 dimensions"
        );
        let outputs = |name: &str| Ok::<_, anyhow::Error>(shape(name)?.first().copied());
        let second = shape("conv2.conv2d.weight")?;
        let norm = shape("in1.weight")?;
        let network = Self {
            channels: [
                first[0],
                outputs("conv2.conv2d.weight")?.unwrap_or(0),
                outputs("conv3.conv2d.weight")?.unwrap_or(0),
            ],
            residual_blocks: (1..)
                .take_while(|i| shapes.contains_key(&format!("res{i}.conv1.conv2d.weight")))
                .count(),
            input_channels: first[1],
            memory: second.get(1).copied() == first[0].checked_add(CARRIED),
            styles: if norm.len() == 2 { norm[0] } else { 1 },
        };
        network.ensure_sane()?;
        let tensors = network.tensors();
        for (name, expected) in &tensors {
            let found = shape(name)?;
            ensure!(
                found == expected,
                "`{name}` has shape {found:?}, expected {expected:?}"
            );
        }
        if shapes.len() != tensors.len() {
            let known: Vec<_> = tensors.iter().map(|(name, _)| name).collect();
            let extra = shapes.keys().find(|name| !known.contains(name));
            anyhow::bail!("unknown tensor `{}`", extra.map_or("", |name| name));
        }
        Ok(network)
    }

    /// Refuses widths and depths that no trained network has.
    pub fn ensure_sane(&self) -> Result<()> {
        let [a, b, c] = self.channels;
        let sane = (1..=1024).contains(&a) && (1..=1024).contains(&b) && (1..=1024).contains(&c);
        ensure!(sane, "widths {a}, {b}, {c} are out of range (1 to 1024)");
        ensure!(
            self.residual_blocks <= 32,
            "{} residual blocks, at most 32",
            self.residual_blocks
        );
        let inputs = self.input_channels;
        ensure!(
            (3..=64).contains(&inputs),
            "{inputs} input channels, expected 3 to 64"
        );
        ensure!(
            (1..=1024).contains(&self.styles),
            "{} styles, expected 1 to 1024",
            self.styles
        );
        Ok(())
    }
}

impl Layer {
    fn new(name: &str, norm: &str, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self {
            name: name.to_string(),
            norm: Some(norm.to_string()),
            inputs,
            carried: 0,
            outputs,
            kernel,
            stride: 1,
            upsample: 1,
            relu: true,
            skip: None,
        }
    }

    /// Fails unless layer `index` of `count` has its norm and its carried painting where the engines
    /// that fold them into their kernels expect them.
    pub fn ensure_place(&self, index: usize, count: usize) -> Result<()> {
        ensure!(
            self.carried == 0 || (self.stride == 2 && index == 1),
            "layer `{}`: no kernel sees a carried painting there",
            self.name
        );
        ensure!(
            self.norm.is_some() == (index + 1 < count),
            "layer `{}`: a norm is expected after each layer but the last",
            self.name
        );
        Ok(())
    }

    /// Name of the kernel's tensor, shape (outputs, inputs, kernel, kernel).
    pub fn weight(&self) -> String {
        format!("{}.conv2d.weight", self.name)
    }

    /// Name of the bias, shape (outputs).
    pub fn bias(&self) -> String {
        format!("{}.conv2d.bias", self.name)
    }
}
