//! A model small enough to be damaged byte by byte.

use repaint::model::{Metadata, Model, Tensor};
use repaint::network::Network;

/// A network of the smallest widths with distinct values.
pub fn small_model() -> Model {
    let network = Network {
        residual_blocks: 1,
        ..Network::new([1, 1, 2])
    };
    let tensor = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let count = shape.iter().product::<usize>();
        let data = (0..count).map(|j| (i * 100 + j) as f32 / 1024.0).collect();
        (name, Tensor { shape, data })
    };
    let tensors = network.tensors().into_iter().enumerate().map(tensor);
    let metadata = Metadata {
        name: "small".to_string(),
        title: "Small Picture".to_string(),
        painter: "Nobody".to_string(),
        recipe: "steps = 1\nseed = 2\n".to_string(),
        ..Metadata::default()
    };
    Model::new(metadata, tensors.collect()).unwrap()
}
