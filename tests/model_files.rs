//! Model files: round trips, and files that are damaged or lie.

#[path = "common/small_model.rs"]
mod small_model;

use std::collections::BTreeMap;
use std::path::Path;

use repaint::model::{Metadata, Model, Precision, Tensor};
use serde_json::{Value, json};
use small_model::small_model;

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
    assert!(refusal(&[b'x'; 100]).starts_with("not a safetensors file: name a model file"));
    assert!(refusal(&[0; 100]).starts_with("not a safetensors file: name a model file"));
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
        &[usize::MAX, 0, 9, 9],
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
    for newer in ["repaint.2", "repaint.99999999999", "repaint."] {
        let told = refusal(&with("format", newer));
        assert!(told.contains("update repaint"), "{told}");
    }
    let told = refusal(&with("format", "repaint.checkpoint.3"));
    assert!(told.contains("of another kind"), "{told}");
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
        told("src"),
        "could not open model `src`: it is a folder: name a file in it"
    );
    #[cfg(unix)]
    assert_eq!(
        told("/dev/zero"),
        "could not open model `/dev/zero`: it is not a file of bytes"
    );
    let missing = std::fs::File::open("/no/such").unwrap_err();
    assert_eq!(
        told("/no/such"),
        format!("could not open model `/no/such`: {missing}")
    );
}
