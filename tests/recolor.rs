//! Styles in other colours: the map in the weights, and `repaint models recolor`.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use program::{done, repaint};
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::{Model, Precision};
use repaint::network::{CARRIED, Network, Width};
use repaint::ops::transformer;
use repaint::output::Existing;
use repaint::palette::{ColorMap, Palette};
use repaint::styles;

/// A picture of reds and blues, from dark to light.
fn sunset() -> Frame {
    let mut frame = Frame::new(96, 64);
    for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % 96, i / 96);
        let light = (40 + 2 * y) as u8;
        pixel.copy_from_slice(&match (x / 8) % 2 {
            0 => [light.saturating_add(60), light / 2, 30],
            _ => [20, light / 2, light],
        });
    }
    frame
}

/// How far apart the mean colours of two pictures are, in grey levels.
fn apart(a: &Palette, b: &Palette) -> f64 {
    let squares = (0..3).map(|i| (a.mean[i] - b.mean[i]).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Correlation of the brightness of two pictures.
fn alike(a: &Frame, b: &Frame) -> f64 {
    let grey = |frame: &Frame| {
        let sums = frame
            .pixels
            .chunks_exact(3)
            .map(|p| p.iter().map(|v| f64::from(*v)).sum());
        let values: Vec<f64> = sums.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values
            .into_iter()
            .map(|value| value - mean)
            .collect::<Vec<_>>()
    };
    let (a, b) = (grey(a), grey(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

#[test]
fn a_style_takes_the_colours_of_a_picture_and_keeps_its_strokes() -> Result<()> {
    let home = tempfile::tempdir()?;
    let path = |name: &str| home.path().join(name);
    picture::write(&path("sunset.png"), &sunset(), Existing::Keep)?;
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/lake.jpg");
    let photo = photo.to_str().context("an odd path")?;
    done(
        home.path(),
        &[
            "models",
            "recolor",
            "great_wave",
            "sunset.png",
            "--title",
            "Dusk",
        ],
    )?;
    let part = ["-o", "part.safetensors", "--palette", "0.5"];
    done(
        home.path(),
        &[
            &["models", "recolor", "great_wave", "sunset.png"][..],
            &part,
        ]
        .concat(),
    )?;
    let mut painted = Vec::new();
    for (model, place) in [
        ("great_wave", "wave.png"),
        ("part.safetensors", "part.png"),
        ("great_wave_sunset", "dusk.png"),
    ] {
        let size = ["--size", "240"];
        let args = ["image", photo, "-o", place, "--model", model];
        done(home.path(), &[&args[..], &size].concat())?;
        painted.push(picture::read(&path(place))?);
    }
    let aim = Palette::of([&sunset()]).context("no colours")?;
    let [wave, part, dusk] = [0, 1, 2].map(|i| apart(&Palette::of([&painted[i]]).unwrap(), &aim));
    // Three other pictures tell which colours are the style's own.
    assert!(wave > 80.0 && dusk < 0.3 * wave, "{wave} {part} {dusk}");
    assert!(dusk < part && part < 0.8 * wave, "{wave} {part} {dusk}");
    let alike = alike(&painted[0], &painted[2]);
    assert!(alike > 0.8, "{alike}");

    let model = Model::read(&path("data/repaint/models/great_wave_sunset.safetensors"))?;
    assert_eq!(model.metadata.title, "Dusk");
    assert!(
        model
            .metadata
            .recipe
            .ends_with("# recoloured: sunset 1.000\n")
    );
    Ok(())
}

#[test]
fn networks_without_memory_and_of_other_widths_are_recoloured() -> Result<()> {
    let home = tempfile::tempdir()?;
    picture::write(&home.path().join("sunset.png"), &sunset(), Existing::Keep)?;
    let plain = Model::random(Network::new([4, 6, 8]), 2)?;
    plain.write(&home.path().join("plain.safetensors"), Precision::F32)?;
    for model in ["plain.safetensors", "udnie_medium"] {
        done(
            home.path(),
            &[
                "models",
                "recolor",
                model,
                "sunset.png",
                "-o",
                "a.safetensors",
                "--overwrite",
            ],
        )?;
        let (before, after) = (
            styles::find(&match model {
                "udnie_medium" => model.to_string(),
                _ => home.path().join(model).to_string_lossy().into_owned(),
            })?,
            Model::read(&home.path().join("a.safetensors"))?,
        );
        assert_eq!(before.network, after.network);
        let changed = before
            .tensors
            .iter()
            .filter(|(name, tensor)| after.tensors[*name] != **tensor);
        let changed: Vec<_> = changed.map(|(name, _)| name.as_str()).collect();
        let last = ["deconv3.conv2d.bias", "deconv3.conv2d.weight"];
        match before.network.memory {
            false => assert_eq!(changed, last),
            true => assert_eq!(changed, [&["conv2.conv2d.weight"], &last[..]].concat()),
        }
    }
    Ok(())
}

#[test]
fn mistakes_are_told() -> Result<()> {
    let home = tempfile::tempdir()?;
    let path = |name: &str| home.path().join(name);
    picture::write(&path("sunset.png"), &sunset(), Existing::Keep)?;
    std::fs::write(path("words.png"), "not a picture")?;
    std::fs::write(path("there.safetensors"), "a model")?;
    std::fs::create_dir(path("empty"))?;
    let deep = Network {
        input_channels: 4,
        ..Network::new([4, 6, 8])
    };
    Model::random(deep, 1)?.write(&path("deep.safetensors"), Precision::F32)?;
    let cases: [(&[&str], i32, &str); 8] = [
        (&["deep.safetensors", "sunset.png"], 1, "sees 4 channels"),
        (&["udnie", "nowhere.png"], 1, "nowhere.png"),
        (&["udnie", "words.png"], 1, "words.png"),
        (
            &["udnei", "sunset.png"],
            1,
            "could not open model \"udnei\"",
        ),
        (
            &["udnie", "sunset.png", "--palette", "2"],
            2,
            "expected a number from 0 to 1",
        ),
        (
            &["udnie", "sunset.png", "--photos", "empty"],
            1,
            "no photos in",
        ),
        (&["udnie", "sunset.png", "-o", "a.pth"], 1, ".safetensors"),
        (
            &["udnie", "sunset.png", "-o", "there.safetensors"],
            1,
            "--overwrite",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = repaint(home.path(), &[&["models", "recolor"], arguments].concat())?;
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(words.contains(expected), "{arguments:?}: {words}");
    }
    assert_eq!(std::fs::read(path("there.safetensors"))?, b"a model");
    Ok(())
}

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
    let seen = seen.to_dtype(DType::F32)?;
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
        let pixels = (last.broadcast_mul(&seen)? / 127.5)?;
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
