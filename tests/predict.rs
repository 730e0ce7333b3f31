//! Styles that are predicted from pictures, without training.

mod common;
#[path = "common/program.rs"]
mod program;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use common::data;
use program::{done, fails, repaint};
use repaint::backend::Device;
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Model;
use repaint::network::{Network, Width};
use repaint::output::Existing;
use repaint::palette::Palette;
use repaint::photos::read_scaled;
use repaint::predict::descriptor::{NUMBERS, describe};
use repaint::predict::{Places, Predictor, SHORT, to_bytes};
use repaint::styles;
use repaint::tensors::Tensor;
use repaint::train::evaluate::{Exam, evaluate};

/// A painting of strokes: bars of `length` pixels along x or y, of two colours that vary from bar to bar.
fn strokes(length: usize, upright: bool, colors: [[u8; 3]; 2]) -> Frame {
    let mut frame = Frame::new(320, 240);
    for (i, pixel) in frame.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % 320, i / 320);
        let (along, across) = if upright { (y, x) } else { (x, y) };
        let row = across / 5;
        let bar = (along + row * 17) / length + row * 31;
        let color = colors[bar * 7 % 11 % 2];
        let light = (bar * 13 % 40) as u8;
        pixel.copy_from_slice(&color.map(|value| value.saturating_add(light)));
    }
    frame
}

const BLUES: [[u8; 3]; 2] = [[20, 40, 110], [40, 90, 180]];
const REDS: [[u8; 3]; 2] = [[150, 30, 20], [200, 140, 30]];

#[test]
fn descriptors_tell_colours_directions_and_sizes_apart() {
    let of = |length, upright, colors| describe(&strokes(length, upright, colors));
    let (blue, red) = (of(40, false, BLUES), of(40, false, REDS));
    assert!(
        red[1] > blue[1] + 2.0,
        "red against blue: {} {}",
        red[1],
        blue[1]
    );
    // Edges of the finest scale come after the colours: more along x or along y.
    let upright = of(40, true, BLUES);
    assert!(
        upright[7] > 1.0 && blue[7] < -1.0,
        "{} {}",
        upright[7],
        blue[7]
    );
    let far = |a: &[f32; NUMBERS], b: &[f32; NUMBERS]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f32>()
            .sqrt()
    };
    let (alike, short) = (of(44, false, BLUES), of(6, false, BLUES));
    assert!(far(&blue, &alike) < 0.5 * far(&blue, &short));
    assert!(far(&blue, &alike) < 0.5 * far(&blue, &upright));
    // Plain pictures and small ones have numbers, too.
    for size in [(1, 1), (3, 200), (64, 64)] {
        let plain = describe(&Frame::new(size.0, size.1));
        assert!(plain.iter().all(|number| number.is_finite()), "{size:?}");
    }
}

#[test]
fn a_predicted_network_is_the_base_and_its_place_along_each_direction() -> Result<()> {
    let painting = strokes(20, true, REDS);
    let numbers = describe(&painting);
    // The first direction is one deviation away along the first number, the second far beyond the last.
    let mut rows = vec![[0.0; NUMBERS]; 2];
    rows[0][0] = 1.0;
    rows[1][3] = -1e3;
    let mut middle = numbers;
    middle[0] -= 1.0;
    middle[3] -= 1.0;
    let places = Places { middle, rows };
    let place = places.of(&painting);
    let root = 2f32.sqrt();
    assert!(
        (place[0] - 1.0 / root).abs() < 1e-5 && (place[1] + 2.5 / root).abs() < 1e-5,
        "{place:?}"
    );

    let network = Network::new([4, 6, 8]);
    let base = Model::random(network, 1)?;
    let steps = [Model::random(network, 2)?, Model::random(network, 3)?];
    let mut parts = std::collections::BTreeMap::new();
    for (name, tensor) in &base.tensors {
        parts.insert(format!("base.{name}"), tensor.clone());
        let data = steps
            .iter()
            .flat_map(|step| step.tensors[name].data.clone())
            .collect();
        let shape = [&[2][..], &tensor.shape].concat();
        parts.insert(format!("directions.{name}"), Tensor { shape, data });
    }
    let bytes = to_bytes(&places, parts.clone(), Default::default())?;
    let model = Predictor::from_bytes(&bytes)?.model(&painting)?;
    assert_eq!(model.network, base.network);
    for (name, tensor) in &model.tensors {
        // Half of a 127th of the largest of each direction, and what f16 takes of the base.
        let most = |k: usize| {
            let values = steps[k].tensors[name].data.iter();
            values.fold(0.0, |most, value| f64::max(most, value.abs().into()))
        };
        let least = (most(0) + 2.5 * most(1)) / f64::from(root) / 254.0 + 1e-4;
        for (i, value) in tensor.data.iter().enumerate() {
            let [a, b] = [0, 1].map(|k| f64::from(steps[k].tensors[name].data[i]));
            let wanted = f64::from(base.tensors[name].data[i]) + (a - 2.5 * b) / f64::from(root);
            let off = (f64::from(*value) - wanted).abs();
            assert!(
                off <= least + 0.001 * wanted.abs().max(base.tensors[name].data[i].abs().into()),
                "{name} {i}: {value} {wanted}"
            );
        }
    }

    // A file that lacks something says what.
    let refused = |parts, places: &Places| -> Result<String> {
        let bytes = to_bytes(places, parts, Default::default())?;
        let error = Predictor::from_bytes(&bytes).err().context("it was read")?;
        Ok(format!("{error:#}"))
    };
    let mut lacking = parts.clone();
    lacking.remove("directions.in1.weight");
    let words = refused(lacking, &places)?;
    assert!(words.contains("`directions.in1.weight`"), "{words}");
    let longer = Places {
        rows: vec![[0.0; NUMBERS]; 3],
        ..places
    };
    let words = refused(parts, &longer)?;
    assert!(words.contains("values, expected"), "{words}");
    let words = Predictor::from_bytes(&base.to_bytes(repaint::model::Precision::F32)?);
    let words = format!("{:#}", words.err().context("a model was read")?);
    assert!(words.contains("no predictor"), "{words}");
    Ok(())
}

#[test]
fn pictures_are_styles_in_every_command() -> Result<()> {
    let home = tempfile::tempdir()?;
    let write =
        |name: &str, frame: &Frame| picture::write(&home.path().join(name), frame, Existing::Keep);
    write("blue bars.png", &strokes(30, false, BLUES))?;
    write("red.jpg", &strokes(12, true, REDS))?;
    std::fs::rename(home.path().join("red.jpg"), home.path().join("red.art"))?; // known by its content
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/lake.jpg");
    let mut painted = Vec::new();
    for (style, place) in [("blue bars.png", "a.png"), ("red.art", "b.png")] {
        done(
            home.path(),
            &[
                "image", photo, "-o", place, "--model", style, "--size", "240",
            ],
        )?;
        painted.push(picture::read(&home.path().join(place))?);
    }
    let colors = |frame: &Frame| Palette::of([frame]).unwrap().mean;
    let [blue, red] = [colors(&painted[0]), colors(&painted[1])];
    assert!(
        red[0] - red[2] > blue[0] - blue[2] + 40.0,
        "{red:?} {blue:?}"
    );

    let shown = done(home.path(), &["models", "show", "blue bars.png"])?;
    assert!(
        shown.contains("blue bars") && shown.contains("predicted"),
        "{shown}"
    );
    done(
        home.path(),
        &["models", "import", "red.art", "--title", "Red"],
    )?;
    let output = repaint(home.path(), &["models", "import", "blue bars.png"])?;
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.ends_with("--model 'blue bars'\n"), "{words}"); // as a shell takes it
    let listed = done(home.path(), &["models", "list"])?;
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("red ") && line.contains("Red")),
        "{listed}"
    );
    let args = [
        "image", photo, "-o", "c.png", "--model", "red", "--size", "240",
    ];
    done(home.path(), &args)?;
    assert_eq!(
        picture::read(&home.path().join("c.png"))?.pixels,
        painted[1].pixels
    );
    // One in the model folder has a name, after a model of the same.
    let folder = home.path().join("data/repaint/models");
    std::fs::copy(home.path().join("blue bars.png"), folder.join("bars.png"))?;
    std::fs::copy(home.path().join("blue bars.png"), folder.join("red.png"))?;
    for (name, place, number) in [("bars", "d.png", 0), ("red", "e.png", 1)] {
        let args = [
            "image", photo, "-o", place, "--model", name, "--size", "240",
        ];
        done(home.path(), &args)?;
        let found = picture::read(&home.path().join(place))?;
        assert_eq!(found.pixels, painted[number].pixels, "{name}");
    }
    let listed = done(home.path(), &["models", "list"])?;
    assert!(
        listed.contains("picture in the model folder, hidden by the one above"),
        "{listed}"
    );
    done(
        home.path(),
        &[
            "models",
            "mix",
            "red",
            "blue bars.png:3",
            "-o",
            "m.safetensors",
        ],
    )?;
    assert!(
        Model::read(&home.path().join("m.safetensors"))?
            .network
            .memory
    );
    Ok(())
}

#[test]
fn what_is_no_picture_is_refused_in_one_line() -> Result<()> {
    let home = tempfile::tempdir()?;
    let path = |name: &str| home.path().join(name);
    picture::write(&path("p.png"), &strokes(30, false, BLUES), Existing::Keep)?;
    picture::write(&path("thin.png"), &Frame::new(900, 20), Existing::Keep)?;
    let whole = std::fs::read(path("p.png"))?;
    std::fs::write(path("cut.png"), &whole[..whole.len() / 2])?;
    std::fs::write(path("words.png"), "not a picture")?;
    std::fs::create_dir(path("folder"))?;
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/lake.jpg");
    for (style, words) in [
        ("cut.png", "could not read picture `cut.png`"),
        ("words.png", "`words.png`"),
        ("thin.png", "too narrow"),
        ("folder", "it is a folder"),
        ("none.png", "no such file"),
    ] {
        let said = fails(
            home.path(),
            &["image", photo, "-o", "a.png", "--model", style],
        )?;
        assert!(said.contains(words), "{said}");
        assert!(!path("a.png").exists());
    }
    let udnie = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/udnie.safetensors");
    let args = ["models", "import", "p.png", "--predictor", udnie];
    let said = fails(home.path(), &args)?;
    assert!(said.contains("no predictor of this version"), "{said}");
    let said = fails(
        home.path(),
        &["models", "import", udnie, "--predictor", udnie],
    )?;
    assert!(said.contains("leave out --predictor"), "{said}");
    let predictor = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/predictor.safetensors");
    let args = ["image", photo, "-o", "a.png", "--model", predictor];
    let said = fails(home.path(), &args)?;
    assert!(said.contains("it predicts styles and is none"), "{said}");
    let said = fails(home.path(), &["train", "folder"])?;
    assert!(said.contains("training/predictor.toml"), "{said}");
    Ok(())
}

#[test]
fn the_same_picture_gives_the_same_network_at_any_size() -> Result<()> {
    let home = tempfile::tempdir()?;
    let painting = strokes(60, false, REDS);
    let mut twice = Frame::new(640, 480);
    for (i, pixel) in twice.pixels.chunks_exact_mut(3).enumerate() {
        let from = (i / 640 / 2 * 320 + i % 640 / 2) * 3;
        pixel.copy_from_slice(&painting.pixels[from..from + 3]);
    }
    let predictor = Predictor::built_in()?;
    let model = |name: &str, frame: &Frame| -> Result<Model> {
        let place = home.path().join(name);
        picture::write(&place, frame, Existing::Keep)?;
        predictor.model(&read_scaled(&place, SHORT)?)
    };
    let (one, two) = (model("a.png", &painting)?, model("b.png", &twice)?);
    let (mut off, mut size) = (0.0, 0.0);
    for (name, tensor) in one
        .tensors
        .iter()
        .filter(|(name, _)| name.ends_with("conv2d.weight"))
    {
        for (a, b) in tensor.data.iter().zip(&two.tensors[name].data) {
            off += f64::from(a - b).powi(2);
            size += f64::from(*a).powi(2);
        }
    }
    assert!(off < 0.02 * size, "{off} of {size}");
    Ok(())
}

#[test]
fn a_predicted_style_is_that_of_its_painting_and_no_other() -> Result<()> {
    let (Some(vgg19), Some(paintings)) = (data("vgg19/vgg19_conv_f16.safetensors"), data("styles"))
    else {
        return Ok(());
    };
    let paintings = ["starry_night.jpg", "udnie.jpg"].map(|name| paintings.join(name));
    let style = |model: &Model, painting: &Path| -> Result<f64> {
        let exam = Exam {
            photos: None,
            style: painting.to_path_buf(),
            style_size: None,
            vgg19: vgg19.clone(),
            device: Device::Cpu,
        };
        let found = evaluate(model, &exam, &[], &AtomicBool::new(false), &mut |_| {})?;
        Ok(found.context("stopped")?.photos.style)
    };
    let mean = styles::built_in_mean(Width::Small)?.context("no built-in styles")?;
    for (own, other) in [(0, 1), (1, 0)] {
        let name = paintings[own].to_str().context("no name")?;
        let model = styles::find(name)?;
        let far = style(&mean, &paintings[own])?;
        let (own, other) = (
            style(&model, &paintings[own])?,
            style(&model, &paintings[other])?,
        );
        assert!(
            own < 0.75 * far && own < 0.6 * other,
            "{name}: {own}, mean {far}, other {other}"
        );
    }
    Ok(())
}
