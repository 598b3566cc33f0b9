//! Reading what `tests/goldens/make.py` wrote.

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The families, which are also the names of their folders.
pub const FAMILIES: [&str; 3] = ["2b", "5b", "1.5-5b"];

pub fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub fn pipeline_folder(family: &str) -> PathBuf {
    tests_folder().join("pipelines").join(family)
}

pub fn golden(path: impl AsRef<Path>) -> PathBuf {
    tests_folder().join("goldens").join(path)
}

/// One array of numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    pub shape: Vec<i64>,
    pub data: Vec<T>,
}

impl Array<f32> {
    pub fn tensor(&self) -> tch::Tensor {
        tch::Tensor::from_slice(&self.data).view(self.shape.as_slice())
    }

    pub fn of(tensor: &tch::Tensor) -> Array<f32> {
        let flat = tensor.to_kind(tch::Kind::Float).contiguous().view([-1]);
        Array { shape: tensor.size(), data: Vec::try_from(&flat).unwrap() }
    }
}

/// A picture as a host has it, `(height, width, channels)`, or a video with its frames before that.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    Bytes(Array<u8>),
    Floats(Array<f32>),
}

/// The tensors of one safetensors file.
pub struct Goldens {
    floats: HashMap<String, Array<f64>>,
    bytes: HashMap<String, Array<u8>>,
}

impl Goldens {
    pub fn open(path: impl AsRef<Path>) -> Goldens {
        let path = golden(path);
        let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let mut goldens = Goldens { floats: HashMap::new(), bytes: HashMap::new() };
        for (name, view) in tensors.tensors() {
            let shape = view.shape().iter().map(|&side| side as i64).collect();
            let raw = view.data();
            let data = match view.dtype() {
                Dtype::F32 => {
                    let word = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
                    raw.chunks_exact(4).map(word).collect()
                }
                Dtype::F64 => {
                    let word = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap());
                    raw.chunks_exact(8).map(word).collect()
                }
                Dtype::U8 => {
                    goldens.bytes.insert(name, Array { shape, data: raw.to_vec() });
                    continue;
                }
                other => panic!("{name} of {} is {other:?}", path.display()),
            };
            goldens.floats.insert(name, Array { shape, data });
        }
        goldens
    }

    pub fn f64(&self, name: &str) -> &Array<f64> {
        self.floats.get(name).unwrap_or_else(|| panic!("no golden {name:?}"))
    }

    pub fn f32(&self, name: &str) -> Array<f32> {
        let Array { shape, data } = self.f64(name);
        Array { shape: shape.clone(), data: data.iter().map(|&value| value as f32).collect() }
    }

    pub fn u8(&self, name: &str) -> &Array<u8> {
        self.bytes.get(name).unwrap_or_else(|| panic!("no golden {name:?}"))
    }

    /// The picture `image.<name>`.
    pub fn image(&self, name: &str) -> Picture {
        self.picture(&format!("image.{name}"))
    }

    pub fn picture(&self, name: &str) -> Picture {
        match self.bytes.get(name) {
            Some(bytes) => Picture::Bytes(bytes.clone()),
            None => Picture::Floats(self.f32(name)),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.floats.contains_key(name) || self.bytes.contains_key(name)
    }
}

/// The manifest at `path`, below the goldens.
pub fn manifest<T: DeserializeOwned>(path: impl AsRef<Path>) -> T {
    let path = golden(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
