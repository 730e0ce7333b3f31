//! The transformer network evaluated layer by layer: the one walk that painting and training share.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};

use super::{Conv, Padding, conv2d, instance_norm, upsample_nearest2};
use crate::network::Network;

/// Paints `x` (N, input channels, H, W; 0..255; H and W multiples of [`Network::MULTIPLE`], at
/// least 16) with `tensors`, named as [`Network::tensors`] says: (N, 3, H, W), linear, not clamped.
/// Of several style rows the first is used. `carried` (N, [`CARRIED`], H, W) is what a network with
/// memory sees of its last painting; without it, it sees none.
///
/// [`CARRIED`]: crate::network::CARRIED
pub fn transformer(
    network: &Network,
    tensors: &BTreeMap<String, Tensor>,
    x: &Tensor,
    carried: Option<&Tensor>,
) -> Result<Tensor> {
    let tensor = |name: &str| match tensors.get(name) {
        Some(tensor) => Ok(tensor),
        None => bail!("no tensor `{name}`"),
    };
    let row = |name: &str| {
        let tensor = tensor(name)?;
        if tensor.rank() == 2 {
            tensor.get(0)
        } else {
            Ok(tensor.clone())
        }
    };
    let layers = network.layers();
    let mut kept = vec![None; layers.len()]; // outputs that a later layer adds
    let mut x = x.clone();
    for (index, layer) in layers.iter().enumerate() {
        if layer.upsample == 2 {
            x = upsample_nearest2(&x)?;
        }
        let conv = Conv {
            stride: layer.stride,
            padding: Padding::Reflect(layer.kernel / 2),
            relu: layer.relu && layer.norm.is_none() && layer.skip.is_none(),
        };
        if layer.carried > 0 {
            x = match carried {
                Some(carried) => Tensor::cat(&[&x, carried], 1)?,
                None => x.pad_with_zeros(1, 0, layer.carried)?,
            };
        }
        let bias = tensor(&layer.bias())?;
        x = conv2d(&x, tensor(&layer.weight())?, Some(bias), conv)?;
        if let Some(norm) = &layer.norm {
            let (scale, shift) = (
                row(&format!("{norm}.weight"))?,
                row(&format!("{norm}.bias"))?,
            );
            x = instance_norm(&x, &scale, &shift, layer.relu && layer.skip.is_none())?;
        }
        if let Some(skip) = layer.skip {
            x = match &kept[skip] {
                Some(other) => (x + other)?,
                None => bail!("layer {skip} is not there to be added to `{}`", layer.name),
            };
            if layer.relu {
                x = x.relu()?;
            }
        }
        if layers[index..]
            .iter()
            .any(|later| later.skip == Some(index))
        {
            kept[index] = Some(x.clone());
        }
    }
    Ok(x)
}
