//! Reading PyTorch files: both formats, every kind of values, and files that lie.

mod common;
#[path = "common/torch_file.rs"]
mod torch_file;

use std::collections::BTreeMap;
use std::path::PathBuf;

use half::{bf16, f16};
use repaint::pickle::{read_tensors, read_tensors_named};
use repaint::tensors::Tensor;
use torch_file::TorchFile;

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor {
        shape: shape.to_vec(),
        data: data.to_vec(),
    }
}

fn read(bytes: &[u8]) -> anyhow::Result<BTreeMap<String, Tensor>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.pth");
    std::fs::write(&path, bytes).unwrap();
    read_tensors(&path)
}

fn error(bytes: &[u8]) -> String {
    let error = format!("{:#}", read(bytes).unwrap_err());
    assert!(
        !error.contains('\n') && error.contains("tiny.pth"),
        "{error}"
    );
    error
}

fn both(file: &TorchFile) -> [Vec<u8>; 2] {
    [file.zip(), file.legacy()]
}

#[test]
fn every_floating_point_type_and_stride_is_read() {
    let mut file = TorchFile::default();
    file.add("f32", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    file.view("transposed", 0, 0, &[3, 2], &[1, 3]);
    file.view("second row", 0, 3, &[3], &[1]);
    file.view("second column", 0, 1, &[2], &[3]);
    file.view("repeated", 0, 5, &[2, 2], &[0, 0]);
    file.view("scalar", 0, 2, &[], &[]);
    file.view("empty", 0, 0, &[0, 3], &[3, 1]);
    let values = [0.5f32, -2.0];
    let f16s = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes());
    file.storages.push(("Half", 2, f16s.collect()));
    let bf16s = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes());
    file.storages.push(("BFloat16", 2, bf16s.collect()));
    let f64s = values.iter().flat_map(|&v| f64::from(v).to_le_bytes());
    file.storages.push(("Double", 2, f64s.collect()));
    file.storages.push(("Long", 1, vec![7; 8]));
    for (i, name) in ["f16", "bf16", "f64"].iter().enumerate() {
        file.view(name, i + 1, 0, &[2], &[1]);
    }
    file.view("integers", 4, 0, &[1], &[1]);
    let expected = BTreeMap::from([
        ("f32", tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        (
            "transposed",
            tensor(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
        ),
        ("second row", tensor(&[3], &[4.0, 5.0, 6.0])),
        ("second column", tensor(&[2], &[2.0, 5.0])),
        ("repeated", tensor(&[2, 2], &[6.0; 4])),
        ("scalar", tensor(&[], &[3.0])),
        ("empty", tensor(&[0, 3], &[])),
        ("f16", tensor(&[2], &values)),
        ("bf16", tensor(&[2], &values)),
        ("f64", tensor(&[2], &values)),
    ]);
    for bytes in both(&file) {
        let found = read(&bytes).unwrap();
        let found: BTreeMap<_, _> = found.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn wrapped_state_dicts_and_module_prefixes_are_unwrapped() {
    let mut file = TorchFile {
        wrapped: Some("state_dict"),
        ..TorchFile::default()
    };
    file.add("module.a", &[1], &[1.0]);
    file.add("module.module.b", &[1], &[2.0]);
    for bytes in both(&file) {
        let names: Vec<_> = read(&bytes).unwrap().into_keys().collect();
        assert_eq!(names, ["a", "module.b"]);
    }
    file.add("c", &[1], &[3.0]);
    let names: Vec<_> = read(&file.zip()).unwrap().into_keys().collect();
    assert_eq!(names, ["c", "module.a", "module.module.b"]);
    file.wrapped = Some("optimizer");
    assert!(error(&file.zip()).ends_with("it holds no dict of tensors"));
}

#[test]
fn values_of_unwanted_tensors_are_not_read() {
    let mut file = TorchFile::default();
    file.add("wanted", &[2], &[1.0, 2.0]);
    file.add("other", &[2], &[3.0, 4.0]);
    file.tensors[1].shape = vec![1 << 40];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.pth");
    for bytes in both(&file) {
        std::fs::write(&path, bytes).unwrap();
        let found = read_tensors_named(&path, |name| name == "wanted").unwrap();
        assert_eq!(found["wanted"].data, [1.0, 2.0]);
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn tensors_larger_than_their_storage_or_the_file_are_refused() {
    let huge = 1usize << 60;
    for (offset, shape, strides, why) in [
        (
            0,
            vec![huge],
            vec![1],
            "reaches beyond its storage of 2 values",
        ),
        (0, vec![huge, huge], vec![0, 0], "is too large for the file"),
        (0, vec![1 << 30], vec![0], "is too large for the file"),
        (
            0,
            vec![2, 2],
            vec![huge, huge],
            "reaches beyond its storage",
        ),
        (
            0,
            vec![huge, 2],
            vec![huge, huge],
            "is too large for the file",
        ),
        (huge, vec![2], vec![1], "reaches beyond its storage"),
        (1, vec![2], vec![1], "reaches beyond its storage"),
        (0, vec![2], vec![1, 1], "with strides"),
        (0, vec![1; 9], vec![1; 9], "with strides"),
    ] {
        let mut file = TorchFile::default();
        file.add("a", &[2], &[1.0, 2.0]);
        file.view("b", 0, offset, &shape, &strides);
        for bytes in both(&file) {
            let error = error(&bytes);
            assert!(
                error.contains("tensor `b`: ") && error.contains(why),
                "{error}"
            );
        }
    }
}

#[test]
fn storages_that_lie_about_their_length_are_refused() {
    let mut file = TorchFile::default();
    file.add("a", &[2], &[1.0, 2.0]);
    for count in [3, 1 << 20, 1 << 61, usize::MAX] {
        file.storages[0].1 = count;
        file.tensors[0].shape = vec![3];
        for bytes in both(&file) {
            let error = error(&bytes);
            let told = error.contains("truncated") || error.contains("is no size");
            assert!(told || error.contains("no such size"), "{error}");
        }
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    assert!(error(b"").ends_with("it was not made by torch.save"));
    assert!(error(b"hello").ends_with("it was not made by torch.save"));
    assert!(error(b"\x80\x02K\x01.").ends_with("it was not made by torch.save"));
    assert!(error(b"PK\x03\x04").contains("damaged zip archive"));
    let folder = tempfile::tempdir().unwrap();
    let told = format!("{:#}", read_tensors(folder.path()).unwrap_err());
    assert!(told.ends_with("it is a folder"), "{told}");
    let told = format!("{:#}", read_tensors(&PathBuf::from("no.pth")).unwrap_err());
    let missing = std::fs::File::open("no.pth").unwrap_err();
    assert!(told.ends_with(&format!("`no.pth`: {missing}")), "{told}");
    let whole = b"\x80\x02c__main__\nTransformerNet\n)\x81}b.";
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("net/data.pkl", options).unwrap();
    std::io::Write::write_all(&mut archive, whole).unwrap();
    let told = error(&archive.finish().unwrap().into_inner());
    assert!(
        told.contains("\"__main__.TransformerNet\"") && told.contains("state_dict()"),
        "{told}"
    );
}

#[test]
fn pickles_that_grow_are_stopped() {
    let legacy = TorchFile::default().legacy();
    let start = legacy.windows(4).position(|w| w == b"ccol").unwrap();
    let mut bomb = legacy[..start].to_vec();
    // a list of a thousand pairs, then an OrderedDict of it again and again
    bomb.extend(b"](");
    bomb.extend(b"K\x01K\x01\x86".repeat(1000));
    bomb.extend(b"eq\x01ccollections\nOrderedDict\nq\x02");
    bomb.extend(b"h\x02h\x01\x85R0".repeat(100_000));
    assert!(error(&bomb).contains("more than 1048576 values"));
    let mut remembered = legacy[..start].to_vec();
    remembered.extend(b"K\x01");
    remembered.extend(vec![0x94; (1 << 20) + 1]); // the same value, remembered at one place after the other
    assert!(error(&remembered).contains("too many values in the memo"));
}

#[test]
fn damaged_files_never_panic() {
    let mut file = TorchFile::default();
    file.add("a", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    file.view("b", 0, 1, &[2], &[2]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.pth");
    let attempt = |bytes: &[u8]| {
        let _ = std::fs::remove_file(&path); // ext4 flushes files that are written over
        std::fs::write(&path, bytes).unwrap();
        if let Ok(tensors) = read_tensors(&path) {
            let values: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
            assert!(values < 1 << 21, "{values} values of {} bytes", bytes.len());
        }
    };
    for whole in both(&file) {
        for length in 0..whole.len() {
            assert!(
                read(&whole[..length]).is_err(),
                "{length} bytes pass for all"
            );
        }
        for place in 0..whole.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] ^= flip;
                attempt(&damaged);
            }
        }
    }
}

#[test]
fn both_formats_of_a_real_network_hold_the_same_values() {
    let (Some(zip), Some(legacy)) = (
        common::data("networks/candy_16.pth"),
        common::data("networks/candy_16_legacy.model"),
    ) else {
        return;
    };
    let (zip, legacy) = (read_tensors(&zip).unwrap(), read_tensors(&legacy).unwrap());
    assert_eq!(zip["conv1.conv2d.weight"].shape, [16, 3, 9, 9]);
    assert_eq!(zip, legacy);
}
