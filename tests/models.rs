//! `repaint models`: the look-up order, and networks imported from PyTorch.

mod common;
#[path = "common/small_model.rs"]
mod small_model;
#[path = "common/torch_file.rs"]
mod torch_file;

use std::path::Path;
use std::process::{Command, Output};

use repaint::backend::Backend;
use repaint::backend::cpu::Cpu;
use repaint::frame::Frame;
use repaint::kernels::Level;
use repaint::model::{Model, Precision};
use repaint::styles;
use repaint::tensors;
use small_model::small_model;
use torch_file::TorchFile;

/// Runs `repaint models ...` with its own user folders under `home`.
fn repaint(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_repaint"))
        .arg("models")
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn names_are_looked_up_as_paths_then_in_the_users_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data/repaint/models");
    std::fs::create_dir_all(&folder).unwrap();
    let mut model = small_model();
    for name in ["udnie", "candy"] {
        model.metadata.title = format!("{name} in the folder");
        let path = folder.join(name).with_extension("safetensors");
        model.write(&path, Precision::F32).unwrap();
    }
    std::fs::write(folder.join("broken.safetensors"), "no model").unwrap();

    let told = stderr(&repaint(home.path(), &["show", "candi"]));
    let expected = "error: could not open model \"candi\": no such file, did you mean \"candy\"? (known: broken, candy, ";
    assert!(told.starts_with(expected), "{told}");
    let told = stderr(&repaint(home.path(), &["show", "broken"]));
    assert!(
        told.contains("broken.safetensors`: not a safetensors file"),
        "{told}"
    );
    let told = stderr(&repaint(home.path(), &["show", "data"]));
    assert!(
        told.contains("model \"data\": it is a folder (known: "),
        "{told}"
    );

    std::fs::create_dir(home.path().join("candy")).unwrap();
    let shown = stdout(&repaint(home.path(), &["show", "candy"]));
    assert!(
        shown.contains("candy in the folder"),
        "a folder hides no name: {shown}"
    );
    std::fs::remove_dir(home.path().join("candy")).unwrap();
    model.metadata.title = "candy by path".to_string();
    model
        .write(&home.path().join("candy"), Precision::F32)
        .unwrap();
    let shown = stdout(&repaint(home.path(), &["show", "candy"]));
    assert!(shown.contains("candy by path"), "{shown}");
    assert!(
        shown.contains("1-1-2") && shown.contains("  seed = 2\n"),
        "{shown}"
    );

    let listed = repaint(home.path(), &["list"]);
    let remarks = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(remarks.contains("broken.safetensors"), "{remarks}");
    let table = stdout(&listed);
    let names: Vec<_> = table
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert_eq!(names[..3], ["NAME", "candy", "udnie"], "{table}");
}

#[test]
fn imported_networks_are_kept_until_overwriting_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let model = small_model();
    let mut file = TorchFile::default();
    for (name, tensor) in &model.tensors {
        file.add(name, &tensor.shape, &tensor.data);
    }
    file.add("in1.running_mean", &[1], &[0.0]);
    file.add("in1.running_var", &[1], &[1.0]);
    file.add("in1.num_batches_tracked", &[], &[1.0]);
    std::fs::write(home.path().join("pastel.pth"), file.zip()).unwrap();
    std::fs::write(home.path().join("chalk.model"), file.legacy()).unwrap();

    let told = stderr(&repaint(home.path(), &["show", "pastel.pth"]));
    assert!(
        told.contains("run `repaint models import pastel.pth` first"),
        "{told}"
    );
    let printed = stdout(&repaint(
        home.path(),
        &["import", "pastel.pth", "--title", "Pastel"],
    ));
    let place = home.path().join("data/repaint/models/pastel.safetensors");
    assert_eq!(Path::new(printed.trim_end()), place);
    let found = Model::read(&place).unwrap();
    assert_eq!(found.tensors, model.tensors);
    assert_eq!(
        (found.metadata.name.as_str(), found.metadata.title.as_str()),
        ("pastel", "Pastel")
    );

    let told = stderr(&repaint(home.path(), &["import", "pastel.pth"]));
    assert!(
        told.contains("pastel.safetensors` exists") && told.contains("--overwrite"),
        "{told}"
    );
    assert_eq!(Model::read(&place).unwrap().metadata.title, "Pastel");
    stdout(&repaint(
        home.path(),
        &["import", "pastel.pth", "--overwrite"],
    ));
    assert_eq!(Model::read(&place).unwrap().metadata.title, "");

    stdout(&repaint(
        home.path(),
        &["import", "chalk.model", "-o", "c.safetensors"],
    ));
    assert_eq!(
        Model::read(&home.path().join("c.safetensors"))
            .unwrap()
            .tensors,
        model.tensors
    );

    // What a file says of itself names nothing here.
    let mut stranger = model.clone();
    stranger.metadata.name = "../../../../stranger".to_string();
    let path = home.path().join("s.safetensors");
    stranger.write(&path, Precision::F32).unwrap();
    let printed = stdout(&repaint(home.path(), &["import", "s.safetensors"]));
    let imported = place.with_file_name("s.safetensors");
    assert_eq!(Path::new(printed.trim_end()), imported);
    assert_eq!(Model::read(&imported).unwrap().metadata.name, "s");
    std::fs::remove_file(imported).unwrap();
    for command in ["import", "export"] {
        let args = [command, "s.safetensors", "-o", "s.pth"];
        let told = stderr(&repaint(home.path(), &args));
        assert!(told.contains("does not end in .safetensors"), "{told}");
    }

    file.tensors.pop();
    file.tensors[0].name = "fc.weight".to_string();
    std::fs::write(home.path().join("other.pth"), file.zip()).unwrap();
    let told = stderr(&repaint(home.path(), &["import", "other.pth"]));
    assert!(
        told.contains("could not import `other.pth`: not a transformer network: no tensor"),
        "{told}"
    );
    let left: Vec<_> = std::fs::read_dir(place.parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(
        left.len(),
        1,
        "a failed import leaves nothing behind: {left:?}"
    );

    std::fs::copy(
        home.path().join("pastel.pth"),
        home.path().join("udnie.pth"),
    )
    .unwrap();
    let imported = repaint(home.path(), &["import", "udnie.pth"]);
    let remarks = String::from_utf8_lossy(&imported.stderr);
    assert!(remarks.contains("not the built-in one"), "{remarks}");
}

#[test]
fn an_exported_model_has_values_of_half_the_size_and_the_name_of_its_file() {
    let home = tempfile::tempdir().unwrap();
    let model = small_model();
    let whole = model.to_bytes(Precision::F32).unwrap();
    std::fs::write(home.path().join("whole.safetensors"), &whole).unwrap();
    let args = ["export", "whole.safetensors", "-o", "half.safetensors"];
    assert_eq!(stdout(&repaint(home.path(), &args)), "half.safetensors\n");
    let path = home.path().join("half.safetensors");
    let half = std::fs::read(&path).unwrap();
    let saved = 2 * model.network.parameters();
    let padding = 16; // headers are padded, and the names differ
    assert!(whole.len().abs_diff(half.len() + saved) <= padding);
    let exported = Model::read(&path).unwrap();
    assert_eq!(exported.metadata.name, "half");
    for (name, tensor) in &model.tensors {
        for (&before, &after) in tensor.data.iter().zip(&exported.tensors[name].data) {
            assert!((before - after).abs() <= before.abs() / 2048.0 + 1e-7);
        }
    }
    assert!(stderr(&repaint(home.path(), &args)).contains("--overwrite"));
}

#[test]
fn imported_networks_paint_as_pytorch_does() {
    for (network, expected) in [
        ("candy_16.pth", "candy_16"),
        ("mosaic_8.pth", "mosaic_8"),
        ("udnie_16.pth", "udnie_16"),
        ("candy_16_legacy.model", "candy_16"),
    ] {
        let (Some(network), Some(expected)) = (
            common::data(&format!("networks/{network}")),
            common::data(&format!("networks/{expected}.expected.safetensors")),
        ) else {
            return;
        };
        let bytes = std::fs::read(expected).unwrap();
        let tensors = tensors::File::open(&bytes).unwrap().read().unwrap();
        let [_, _, height, width] = tensors["input"].shape[..] else {
            panic!("{:?}", tensors["input"].shape)
        };
        let frame = |planes: &[f32]| {
            let mut frame = Frame::new(width, height);
            frame.set_from_planes(planes);
            frame
        };
        let expected = frame(&tensors["output"].data);
        let model = Model::import(&network).unwrap();
        for level in Level::all_supported() {
            let mut painted = Frame::default();
            let mut engine = Cpu::new(None, Some(level)).unwrap();
            assert_eq!(engine.level(), level);
            engine.load(&model).unwrap();
            engine
                .stylize(&frame(&tensors["input"].data), &mut painted)
                .unwrap();
            assert_eq!(painted.pixels.len(), expected.pixels.len());
            let pairs = painted.pixels.iter().zip(&expected.pixels);
            let largest = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            assert!(
                largest <= Some(1),
                "{}: differs by {largest:?} at {level:?}",
                network.display()
            );
        }
    }
}

#[test]
fn styles_that_began_as_one_are_mixed() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| repaint(home.path(), args);
    let folder = home.path().join("data/repaint/models");
    let place = folder.join("udnie_great_wave.safetensors");
    let told = stdout(&run(&["mix", "udnie", "great_wave:3"]));
    assert_eq!(Path::new(told.trim_end()), place);
    let mixed = Model::read(&place).unwrap();
    let [udnie, wave] = ["udnie", "great_wave"].map(|name| styles::find(name).unwrap());
    for (name, tensor) in &mixed.tensors {
        let (one, other) = (&udnie.tensors[name].data, &wave.tensors[name].data);
        for (mixed, (one, other)) in tensor.data.iter().zip(one.iter().zip(other)) {
            let mean = 0.25 * one + 0.75 * other;
            assert!(
                (mixed - mean).abs() <= 1e-6 * mean.abs(),
                "{name}: {mixed} {mean}"
            );
        }
    }
    let shown = stdout(&run(&["show", "udnie_great_wave"]));
    for part in [
        "Udnie and The Great Wave",
        "Picabia, Katsushika Hokusai",
        "# mixed: udnie 0.250, great_wave 0.750",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let told = stderr(&run(&["mix", "udnie", "great_wave"]));
    assert!(
        told.contains("exists: choose another name or add --overwrite"),
        "{told}"
    );
    stdout(&run(&[
        "mix",
        "udnie",
        "udnie_great_wave:0.1",
        "-o",
        "b.safetensors",
        "--title",
        "Sea",
    ]));
    assert_eq!(
        Model::read(&home.path().join("b.safetensors"))
            .unwrap()
            .metadata
            .title,
        "Sea"
    );
    // These began with the same random values alone.
    stdout(&run(&[
        "mix",
        "starry_night_medium",
        "the_scream_medium",
        "-o",
        "wide.safetensors",
    ]));
}

#[test]
fn styles_that_cannot_be_mixed_are_told() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| repaint(home.path(), args);
    let path = |name: &str| home.path().join(name);
    let udnie = styles::find("udnie").unwrap();
    let mut other = Model::random(udnie.network, 1).unwrap();
    other
        .write(&path("other.safetensors"), Precision::F32)
        .unwrap();
    small_model()
        .write(&path("small.safetensors"), Precision::F32)
        .unwrap();
    let told = stderr(&run(&[
        "mix",
        "udnie",
        "other.safetensors",
        "-o",
        "a.safetensors",
    ]));
    let expected =
        "error: `udnie` and `other` cannot be mixed: they were not trained from one beginning";
    assert!(told.starts_with(expected), "{told}");
    let told = stderr(&run(&[
        "mix",
        "udnie",
        "small.safetensors",
        "-o",
        "a.safetensors",
    ]));
    assert!(
        told.contains("their networks differ, 8-16-32 of 5 blocks with memory and 1-1-2 of "),
        "{told}"
    );
    for share in ["0", "-1", "nan", "inf"] {
        let told = stderr(&run(&["mix", "udnie", &format!("great_wave:{share}")]));
        assert!(
            told.contains("the weight of a style is a number above 0"),
            "{told}"
        );
    }
    let told = stderr(&run(&["mix", "udnie", "great_wave:half"]));
    assert!(
        told.contains("could not open model \"great_wave:half\""),
        "{told}"
    );
    // A model of that very name, whatever follows its colon.
    other.tensors.clone_from(&udnie.tensors);
    other.write(&path("odd:2"), Precision::F32).unwrap();
    stdout(&run(&["mix", "udnie", "odd:2", "-o", "a.safetensors"]));
    assert_eq!(
        Model::read(&path("a.safetensors")).unwrap().tensors,
        udnie.tensors
    );
    assert_eq!(run(&["mix", "udnie"]).status.code(), Some(2));
}
