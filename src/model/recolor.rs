//! A network that paints the same in other colours: the map lies in its weights, and costs nothing.

use super::Model;
use crate::network::CARRIED;
use crate::palette::ColorMap;

/// Carried paintings enter a network with this as 1 (see [`CARRIED`]).
const ONE: f64 = 127.5;

impl Model {
    /// Lets the network paint what it paints in the colours that `map` makes of its own: the last layer
    /// paints them, and the one that sees the last painting sees it as it was before. Exact but for colours
    /// that leave 0..255.
    pub fn recolor(&mut self, map: &ColorMap) {
        let layers = self.network.layers();
        for layer in layers.iter().filter(|layer| layer.carried > 0) {
            let back = map.inverse();
            let area = layer.kernel * layer.kernel;
            let weight = self.tensors.get_mut(&layer.weight());
            let kernels = weight.map(|weight| weight.data.chunks_exact_mut(layer.inputs * area));
            for kernel in kernels.into_iter().flatten() {
                let carried = &mut kernel[(layer.inputs - CARRIED) * area..];
                for place in 0..area {
                    let old: [f64; 3] = std::array::from_fn(|i| carried[i * area + place].into());
                    for j in 0..3 {
                        let new: f64 = (0..3).map(|i| old[i] * back.matrix[i][j]).sum();
                        carried[j * area + place] = new as f32;
                    }
                    // What is shifted is only so where there is a painting: the last channel says where.
                    let shift: f64 = (0..3).map(|i| old[i] * back.shift[i] / ONE).sum();
                    carried[3 * area + place] += shift as f32;
                }
            }
        }
        let Some(last) = layers.last() else { return };
        let moves = [(last.weight(), false), (last.bias(), true)];
        for (name, is_bias) in moves {
            let Some(tensor) = self.tensors.get_mut(&name) else {
                continue;
            };
            let size = tensor.data.len() / 3;
            let old = tensor.data.clone();
            for (i, values) in tensor.data.chunks_exact_mut(size).enumerate() {
                for (place, value) in values.iter_mut().enumerate() {
                    let new = (0..3).map(|k| map.matrix[i][k] * f64::from(old[k * size + place]));
                    let shift = if is_bias { map.shift[i] } else { 0.0 };
                    *value = (new.sum::<f64>() + shift) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anyhow::Result;
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::network::{Network, Width};
    use crate::ops::transformer;

    #[test]
    fn a_recoloured_network_paints_the_mapped_painting_after_mapped_paintings() -> Result<()> {
        let map = ColorMap {
            matrix: [[1.5, 0.2, -0.1], [0.2, 0.8, 0.3], [-0.1, 0.3, 1.2]],
            shift: [-20.0, 10.0, 5.0],
        };
        let network = Network::from(Width::Small).with_memory();
        let model = Model::random(network, 3)?;
        let mut recoloured = model.clone();
        recoloured.recolor(&map);

        let (device, size) = (Device::Cpu, 24);
        let photo = Tensor::rand(0f32, 255.0, (1, 3, size, size), &device)?;
        let last = Tensor::rand(0f32, 255.0, (3, size * size), &device)?;
        // Nothing is known of a part of the last painting.
        let seen = Tensor::arange(0, (size * size) as u32, &device)?.ge(100u32)?;
        let seen = seen.to_dtype(candle_core::DType::F32)?;
        let of_map = |x: &Tensor| {
            let matrix: Vec<f32> = map.matrix.iter().flatten().map(|v| *v as f32).collect();
            let shift: Vec<f32> = map.shift.iter().map(|v| *v as f32).collect();
            let (matrix, shift) = (
                Tensor::from_vec(matrix, (3, 3), &device)?,
                Tensor::from_vec(shift, (3, 1), &device)?,
            );
            matrix.matmul(x)?.broadcast_add(&shift)
        };
        let paint = |model: &Model, last: &Tensor| {
            let weights = model.tensors.iter().map(|(name, values)| {
                let shape = values.shape.as_slice();
                Ok((
                    name.clone(),
                    Tensor::from_slice(&values.data, shape, &device)?,
                ))
            });
            let weights = weights.collect::<Result<BTreeMap<_, _>>>()?;
            let pixels = (last.broadcast_mul(&seen)? / ONE)?;
            let carried = Tensor::cat(&[&pixels, &seen.unsqueeze(0)?], 0)?;
            let carried = carried.reshape((1, CARRIED, size, size))?;
            Ok::<_, anyhow::Error>(transformer(&network, &weights, &photo, Some(&carried))?)
        };
        let expected = of_map(&paint(&model, &last)?.reshape((3, size * size))?)?;
        let found = paint(&recoloured, &of_map(&last)?)?.reshape((3, size * size))?;
        let difference = (found - &expected)?.abs()?.flatten_all()?.max(0)?;
        let difference = difference.to_scalar::<f32>()?;
        assert!(difference < 0.02, "{difference} grey levels");
        let unmapped = paint(&recoloured, &last)?.reshape((3, size * size))?;
        let difference = (unmapped - expected)?.abs()?.flatten_all()?.max(0)?;
        assert!(difference.to_scalar::<f32>()? > 1.0, "the memory matters");
        Ok(())
    }
}
