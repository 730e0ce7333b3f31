//! Models that paint one colour, whatever they see: what a window shows can be told at a glance.

use std::path::Path;

use repaint::model::{Metadata, Model, Precision, Tensor};
use repaint::network::Network;

/// Writes a model that paints all in `color` to the file `path`.
pub fn write_flat_model(path: &Path, color: [u8; 3]) {
    let network = Network::new([8, 16, 32]);
    let tensors = network.tensors().into_iter().map(|(name, shape)| {
        let data = match name.as_str() {
            "deconv3.conv2d.bias" => color.map(f32::from).to_vec(),
            _ => vec![0.0; shape.iter().product()],
        };
        (name, Tensor { shape, data })
    });
    let model = Model::new(Metadata::default(), tensors.collect()).expect("a network");
    model.write(path, Precision::F32).expect("written");
}
