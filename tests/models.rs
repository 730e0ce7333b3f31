//! Model files: round trips, hostile files, the look-up order, and `repaint models`.

mod common;
#[path = "common/torch_file.rs"]
mod torch_file;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use repaint::model::{Metadata, Model, Precision, Tensor};
use repaint::network::Network;
use serde_json::{Value, json};
use torch_file::TorchFile;

/// A network of the smallest widths with distinct values.
fn small_model() -> Model {
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

/// The file's bytes with its header changed.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header);
    changed.extend(&bytes[8 + length..]);
    changed
}

fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let error = format!("{:#}", Model::read(&path).unwrap_err());
    let line = format!("could not open model `{}`: ", path.display());
    assert!(!error.contains('\n') && error.len() < 500, "{error}");
    error.strip_prefix(&line).unwrap().to_string()
}

#[test]
fn models_come_back_from_files_as_they_were() {
    let model = small_model();
    let bytes = model.to_bytes(Precision::F32).unwrap();
    assert_eq!(bytes, model.to_bytes(Precision::F32).unwrap());
    let found = Model::from_bytes(&bytes).unwrap();
    assert_eq!(found.tensors, model.tensors);
    assert_eq!(found.metadata, model.metadata);
    assert_eq!(found.network, model.network);
}

#[test]
fn f16_files_are_half_as_large_and_round_to_nearest() {
    let mut model = small_model();
    let bias = &mut model.tensors.get_mut("conv1.conv2d.bias").unwrap().data;
    bias[0] = 1.0 + 1.5 / 1024.0; // between two f16 values: ties go to the even one
    let found = Model::from_bytes(&model.to_bytes(Precision::F16).unwrap()).unwrap();
    let rounded = found.tensors["conv1.conv2d.bias"].data[0];
    assert_eq!(rounded, 1.0 + 2.0 / 1024.0);

    let values = |bytes: &[u8]| {
        bytes.len() - 8 - u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
    };
    let f16 = values(&model.to_bytes(Precision::F16).unwrap());
    assert_eq!(2 * f16, values(&model.to_bytes(Precision::F32).unwrap()));
    assert_eq!(f16, 2 * model.network.parameters());
}

#[test]
fn values_beyond_f16_are_not_written_as_infinity() {
    let mut model = small_model();
    let bias = &mut model.tensors.get_mut("in1.bias").unwrap().data;
    bias[0] = 65519.0; // rounds down to 65504
    assert!(model.to_bytes(Precision::F16).is_ok());
    model.tensors.get_mut("in1.bias").unwrap().data[0] = 65520.0;
    let error = model.to_bytes(Precision::F16).unwrap_err().to_string();
    assert!(
        error.starts_with("`in1.bias` holds 65520, more than f16"),
        "{error}"
    );
    assert!(model.to_bytes(Precision::F32).is_ok());
}

#[test]
fn files_that_are_no_models_are_refused_in_one_line() {
    assert!(refusal(b"").starts_with("not a safetensors file (only 0 bytes)"));
    assert!(refusal(b"hello").starts_with("not a safetensors file (only 5 bytes)"));
    assert!(refusal(&[b'x'; 100]).starts_with("not a safetensors file (a header of"));
    assert!(refusal(&[0; 100]).starts_with("not a safetensors file (a header of 0 bytes)"));
    let mut text = 20u64.to_le_bytes().to_vec();
    text.extend(b"this is no json \xff\xfe\n\n");
    assert!(refusal(&text).starts_with("not a safetensors file ("));
    assert!(refusal(b"PK\x03\x04 and more").starts_with("a PyTorch file: run `repaint models"));

    let mut model = small_model();
    let whole = model.to_bytes(Precision::F32).unwrap();
    assert!(refusal(&whole[..whole.len() - 1]).starts_with("truncated: "));
    assert!(refusal(&whole[..100]).starts_with("truncated: a header of"));
    let longer = [whole.as_slice(), b"tail"].concat();
    assert!(refusal(&longer).starts_with("4 bytes too many"));

    let norm = model.tensors.get_mut("in2.weight").unwrap();
    norm.data[0] = f32::NAN;
    let bytes = model.to_bytes(Precision::F32).unwrap();
    assert!(refusal(&bytes).starts_with("value 0 of `in2.weight` is NaN"));
    let norm = model.tensors.get_mut("in2.weight").unwrap();
    norm.data[0] = f32::NEG_INFINITY;
    let bytes = model.to_bytes(Precision::F16).unwrap();
    assert!(refusal(&bytes).starts_with("value 0 of `in2.weight` is -inf"));
}

#[test]
fn headers_that_lie_are_refused_in_one_line() {
    let whole = small_model().to_bytes(Precision::F32).unwrap();
    let refused = |change: &dyn Fn(&mut Value)| refusal(&with_header(&whole, change));
    let huge = 1u64 << 60;

    // Sixteen tensors of 2^60 bytes: their end wraps around to the start of the file.
    let mut wrapped = serde_json::Map::new();
    for i in 0..15 {
        let offsets = [i * huge, (i + 1) * huge];
        let tensor = json!({"dtype": "U8", "shape": [huge], "data_offsets": offsets});
        wrapped.insert(format!("{i:02}"), tensor);
    }
    let last = (huge - 16) as usize;
    let offsets = [15 * huge, 15 * huge + last as u64];
    wrapped.insert(
        "15".into(),
        json!({"dtype": "U8", "shape": [last], "data_offsets": offsets}),
    );
    let told = refused(&|header| *header = Value::Object(wrapped.clone()));
    assert!(told.starts_with("truncated: "), "{told}");

    for (shape, offsets) in [
        (json!([huge, huge]), json!([0, 4])),
        (json!([huge]), json!([0, huge])),
        (json!([1]), json!([huge, huge + 4])),
        (json!([1]), json!([4, 0])),
        (json!([2]), json!([0, 4])),
        (json!([-1]), json!([0, 4])),
        (json!([1.5]), json!([0, 4])),
    ] {
        let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        refused(&|header| header["conv1.conv2d.bias"] = tensor.clone());
    }
    let told = refused(&|header| header["in1.bias"]["dtype"] = json!("I32"));
    assert!(
        told.starts_with("`in1.bias` holds values of type I32"),
        "{told}"
    );
    refused(&|header| header["in1.bias"]["dtype"] = json!("F32\n\n\x1b[2J"));
    let told = refused(&|header| {
        let tensor = header.as_object_mut().unwrap().remove("in1.bias").unwrap();
        header["in1\n.bias"] = tensor;
    });
    assert!(
        told.starts_with("the name of a tensor is not plain text"),
        "{told}"
    );
}

#[test]
fn tensors_that_are_no_network_are_refused_by_name() {
    let changed = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut model = small_model();
        change(&mut model.tensors);
        let told = refusal(&model.to_bytes(Precision::F32).unwrap());
        told.strip_prefix("not a transformer network: ")
            .unwrap()
            .to_string()
    };
    let tensor = |shape: &[usize]| Tensor {
        shape: shape.to_vec(),
        data: vec![0.5; shape.iter().product()],
    };
    let put = |name: &'static str, shape: &'static [usize]| {
        changed(&|tensors| drop(tensors.insert(name.to_string(), tensor(shape))))
    };
    let told = changed(&|tensors| drop(tensors.remove("res1.in2.bias")));
    assert_eq!(told, "no tensor `res1.in2.bias`");
    assert_eq!(put("extra", &[1]), "unknown tensor `extra`");
    assert_eq!(
        changed(&|tensors| tensors.clear()),
        "no tensor `conv1.conv2d.weight`"
    );
    for shape in [
        &[1, 3, 9, 9, 1][..],
        &[],
        &[0],
        &[0, 3, 9, 9],
        &[1, 0, 9, 9],
        &[1, 2, 9, 9],
    ] {
        put(
            "conv1.conv2d.weight",
            Box::leak(shape.to_vec().into_boxed_slice()),
        );
    }
    put("conv2.conv2d.weight", &[]);
    put("in1.weight", &[0, 1]);
    put("in1.weight", &[1, 1]);
    put("in3.bias", &[0]);
}

#[test]
fn newer_formats_are_refused_and_unknown_keys_are_not() {
    let whole = small_model().to_bytes(Precision::F32).unwrap();
    let with = |key: &str, value: &str| {
        with_header(&whole, |header| header["__metadata__"][key] = json!(value))
    };
    for newer in ["repaint.2", "repaint.99999999999", "repaint.x", "repaint."] {
        let told = refusal(&with("format", newer));
        assert!(told.contains("update repaint"), "{told}");
    }
    for bytes in [with("format", "pt"), with("mood", "blue")] {
        assert_eq!(
            Model::from_bytes(&bytes).unwrap().metadata,
            small_model().metadata
        );
    }
    let bare = with_header(&whole, |header| {
        header.as_object_mut().unwrap().remove("__metadata__");
    });
    assert_eq!(
        Model::from_bytes(&bare).unwrap().metadata,
        Metadata::default()
    );
}

#[test]
fn damaged_model_files_never_panic() {
    let whole = small_model().to_bytes(Precision::F16).unwrap();
    for length in 0..whole.len() {
        assert!(
            Model::from_bytes(&whole[..length]).is_err(),
            "{length} bytes pass for all"
        );
    }
    let mut refused = 0;
    for place in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[place] ^= flip;
            refused += usize::from(Model::from_bytes(&damaged).is_err());
        }
    }
    assert!(
        refused > 1000,
        "only {refused} damaged headers were refused"
    );
}

#[test]
fn things_that_are_no_files_are_refused() {
    let told = |path: &str| format!("{:#}", Model::read(Path::new(path)).unwrap_err());
    assert_eq!(
        told("/dev"),
        "could not open model `/dev`: it is a folder: name a file in it"
    );
    assert_eq!(
        told("/dev/zero"),
        "could not open model `/dev/zero`: it is not a file of bytes"
    );
    assert!(told("/no/such").starts_with("could not open model `/no/such`: No such file"));
}

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
    let expected = "error: could not open model \"candi\": no such file (known: broken, candy, ";
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
    assert_eq!(printed.trim_end(), place.to_str().unwrap());
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
}
