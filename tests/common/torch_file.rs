//! Writes small files as `torch.save` does, in both formats, byte by byte.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Write;

use zip::write::SimpleFileOptions;

/// A state dict to be written.
#[derive(Default)]
pub struct TorchFile {
    /// Class without `torch.` and `Storage`, number of values, bytes.
    pub storages: Vec<(&'static str, usize, Vec<u8>)>,
    /// The tensors in order.
    pub tensors: Vec<View>,
    /// Key under which a checkpoint holds the state dict.
    pub wrapped: Option<&'static str>,
}

/// A tensor: a view of a storage.
pub struct View {
    pub name: String,
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl TorchFile {
    /// Adds a contiguous f32 tensor with a storage of its own.
    pub fn add(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.storages.push(("Float", values.len(), bytes));
        let strides = (0..shape.len())
            .map(|i| shape[i + 1..].iter().product())
            .collect::<Vec<_>>();
        self.view(name, self.storages.len() - 1, 0, shape, &strides)
    }

    /// Adds a view of a storage.
    pub fn view(
        &mut self,
        name: &str,
        storage: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> &mut Self {
        self.tensors.push(View {
            name: name.to_string(),
            storage,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        });
        self
    }

    /// The legacy format: five pickles, then the storages.
    pub fn legacy(&self) -> Vec<u8> {
        let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
        bytes.extend(b"\x80\x02M\xe9\x03.");
        bytes.extend(b"\x80\x02}q\x00(X\x0d\x00\x00\x00little_endianq\x01\x88u.");
        bytes.extend(self.pickle(true));
        bytes.extend(b"\x80\x02]q\x00(");
        for key in 0..self.storages.len() {
            text(&mut bytes, &key.to_string());
        }
        bytes.extend(b"e.");
        for (_, count, values) in &self.storages {
            bytes.extend((*count as u64).to_le_bytes());
            bytes.extend(values);
        }
        bytes
    }

    /// The zip format.
    pub fn zip(&self) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let mut entry = |name: String, bytes: &[u8]| {
            archive.start_file(name, stored).unwrap();
            archive.write_all(bytes).unwrap();
        };
        entry("tiny/data.pkl".to_string(), &self.pickle(false));
        entry("tiny/byteorder".to_string(), b"little");
        for (key, (_, _, values)) in self.storages.iter().enumerate() {
            entry(format!("tiny/data/{key}"), values);
        }
        archive.finish().unwrap().into_inner()
    }

    fn pickle(&self, legacy: bool) -> Vec<u8> {
        let mut bytes = b"\x80\x02".to_vec();
        if let Some(key) = self.wrapped {
            bytes.extend(b"}q\x00(X\x05\x00\x00\x00epochK\x07");
            text(&mut bytes, key);
        }
        bytes.extend(b"ccollections\nOrderedDict\nq\x01)Rq\x02(");
        for view in &self.tensors {
            text(&mut bytes, &view.name);
            bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut bytes, "storage");
            let (class, count, _) = self.storages[view.storage];
            bytes.extend(format!("ctorch\n{class}Storage\n").bytes());
            text(&mut bytes, &view.storage.to_string());
            text(&mut bytes, "cpu");
            number(&mut bytes, count);
            bytes.extend(if legacy { &b"NtQ"[..] } else { b"tQ" });
            number(&mut bytes, view.offset);
            for sizes in [&view.shape, &view.strides] {
                bytes.push(b'(');
                sizes.iter().for_each(|&size| number(&mut bytes, size));
                bytes.push(b't');
            }
            bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        // Every state dict carries an attribute `_metadata`.
        bytes.extend(b"u}X\x09\x00\x00\x00_metadata}sb");
        bytes.extend(if self.wrapped.is_some() {
            &b"u."[..]
        } else {
            b"."
        });
        bytes
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
}

fn number(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend([0x8a, 8]);
    bytes.extend((value as u64).to_le_bytes());
}
