//! `repaint eval`: a table and JSON with the same figures, and mistakes told in one line.

mod common;
#[path = "common/small_model.rs"]
mod small_model;
#[path = "common/studio.rs"]
mod studio;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use common::data;
use repaint::model::Precision;
#[cfg(feature = "video")]
use repaint::styles;
use small_model::small_model;
use studio::studio;

const VGG19: &str = "vgg19/vgg19_conv_f16.safetensors";

fn eval(folder: &Path, vgg19: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_repaint"))
        .args(["eval", "small.safetensors", "--vgg19"])
        .arg(vgg19)
        .args(arguments)
        .current_dir(folder)
        .output()?)
}

#[test]
fn the_table_and_json_hold_the_same_figures() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(2)?;
    let model = small_model();
    model.write(&studio.path().join("small.safetensors"), Precision::F32)?;
    let place = [
        "--photos",
        "photos",
        "--style",
        "painting.png",
        "--style-size",
        "48",
    ];
    let table = eval(studio.path(), &vgg19, &place)?;
    let json = eval(studio.path(), &vgg19, &[&place[..], &["--json"]].concat())?;
    let errors = String::from_utf8_lossy(&json.stderr).into_owned();
    assert!(table.status.success() && json.status.success(), "{errors}");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!(json["photos"], 2);
    let table = String::from_utf8(table.stdout)?;
    for name in ["content", "style", "flicker", "grid"] {
        let figure = json[name].as_f64().context("no figure")?;
        assert!(figure.is_finite() && figure > 0.0, "{name}: {figure}");
        let row = format!("{name:<10} {figure:>8.4}  2 photos");
        assert!(table.contains(&row), "{row:?} in {table}");
    }
    Ok(())
}

#[test]
fn without_photos_a_style_is_measured_on_the_samples() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(0)?;
    small_model().write(&studio.path().join("small.safetensors"), Precision::F32)?;
    let own = ["--style", "painting.png", "--style-size", "48", "--json"];
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    let folder = studio.path().join("samples");
    fs::create_dir(&folder)?;
    for name in ["lake.jpg", "lighthouse.jpg", "still_life.jpg"] {
        fs::copy(Path::new(samples).join(name), folder.join(name))?;
    }
    let without = eval(studio.path(), &vgg19, &own)?;
    let named = eval(
        studio.path(),
        &vgg19,
        &[&own[..], &["--photos", "samples"]].concat(),
    )?;
    let errors = String::from_utf8_lossy(&without.stderr);
    assert!(
        without.status.success() && named.status.success(),
        "{errors}"
    );
    assert!(errors.contains("--photos names others"), "{errors}");
    assert_eq!(without.stdout, named.stdout);
    Ok(())
}

#[cfg(feature = "video")]
#[test]
fn a_clip_is_measured_as_it_is_painted() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(0)?;
    let model = styles::find("the_scream")?;
    model.write(&studio.path().join("small.safetensors"), Precision::F32)?;
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/clip.mp4");
    let own = ["--style", "painting.png", "--style-size", "48", "--json"];
    let json = eval(
        studio.path(),
        &vgg19,
        &[&own[..], &["--clip", clip]].concat(),
    )?;
    assert!(
        json.status.success(),
        "{}",
        String::from_utf8_lossy(&json.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    let figure = |name: &str| json["film"][name].as_f64().context("no figure");
    let (steady, alone) = (figure("flicker")?, figure("flicker_alone")?);
    assert!(0.002 < steady && steady < 0.8 * alone, "{steady}, {alone}");
    let sharpness = figure("sharpness")?;
    assert!((0.7..1.3).contains(&sharpness), "{sharpness}");
    let frames = [&json["film"]["frames"], &json["clip"]["frames"]].map(|n| n.as_u64());
    assert!(frames[0] > frames[1] && frames[1] > Some(10), "{frames:?}");
    Ok(())
}

#[test]
fn a_recipe_that_nothing_can_be_measured_by_is_refused() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let studio = studio(1)?;
    let place = ["--photos", "photos", "--style", "painting.png"];
    for (recipe, expected) in [
        ("style_size = 100000", "style_size 100000 is out of range"),
        ("style_layers = []", "style_layers is empty"),
        ("no recipe", "line 1"),
    ] {
        let mut model = small_model();
        model.metadata.recipe = recipe.to_string();
        model.write(&studio.path().join("small.safetensors"), Precision::F32)?;
        let output = eval(studio.path(), &vgg19, &place)?;
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(expected), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    Ok(())
}

#[test]
fn mistakes_are_told_before_work_begins() -> Result<()> {
    let studio = studio(1)?;
    small_model().write(&studio.path().join("small.safetensors"), Precision::F32)?;
    let words = |arguments: &[&str]| -> Result<String> {
        let output = eval(studio.path(), Path::new("nowhere"), arguments)?;
        assert_eq!(output.status.code(), Some(1));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let cases: [(&[&str], &str); 3] = [
        (
            &["--photos", "none", "--style", "painting.png"],
            "no folder `none`",
        ),
        (
            &["--photos", "photos", "--style", "none.png"],
            "no picture `none.png`",
        ),
        (
            &["--photos", "photos", "--style", "painting.png"],
            "fetch vgg19",
        ),
    ];
    for (arguments, expected) in cases {
        let words = words(arguments)?;
        assert!(words.contains(expected), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    Ok(())
}
