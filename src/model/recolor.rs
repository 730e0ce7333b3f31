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
