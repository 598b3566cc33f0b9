//! A run that was left after a step, in a file: a safetensors file with the latents, the state of
//! the run's random numbers and what the scheduler keeps, and in its metadata the next step and what
//! the run was asked for. There is no part of the reference that does this.

use crate::runtime::files::open_regular;
use crate::runtime::DType;
use crate::video::save;
use crate::{Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const FORMAT: &str = "libcogvideox run state";
const VERSION: &str = "1";
/// The largest file that is read: latents of several GB, and what the scheduler keeps of them.
const MAX_BYTES: u64 = 32 << 30;
/// Prefix of what the scheduler keeps.
const SCHEDULER: &str = "scheduler.";

/// What makes a run what it is, by the name of each setting. Long ones are there as a hash.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Signature(BTreeMap<String, String>);

impl Signature {
    pub fn add(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// Bytes that are told apart by a hash.
    pub fn add_hash(&mut self, name: &str, bytes: &[u8]) {
        self.add(name, format!("hash {:016x}", fnv1a(FNV_START, bytes)));
    }

    /// As [`Signature::add_hash`], of many pieces in their order.
    pub fn add_hash_of(&mut self, name: &str, pieces: impl Iterator<Item = Vec<u8>>) {
        let hash = pieces.fold(FNV_START, |hash, piece| fnv1a(hash, &piece));
        self.add(name, format!("hash {hash:016x}"));
    }

    /// A number that tells it apart from other runs', with what `more` says.
    pub fn number(&self, more: &str) -> u64 {
        fnv1a(FNV_START, format!("{:?} {more}", self.0).as_bytes())
    }

    /// [`Error::InvalidArgument`] that names the setting if `saved` is another run.
    fn check(&self, saved: &BTreeMap<String, String>, path: &Path) -> Result<()> {
        let names = self.0.keys().chain(saved.keys());
        for name in names {
            let none = || "none".to_string();
            let (expected, found) = (saved.get(name), self.0.get(name));
            if expected != found {
                return Err(Error::InvalidArgument(format!(
                    "{}: {name}: expected that of the run that was saved, {}, found {}",
                    path.display(),
                    expected.cloned().unwrap_or_else(none),
                    found.cloned().unwrap_or_else(none)
                )));
            }
        }
        Ok(())
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// 64-bit FNV-1a, going on from `start`: tells accidents apart, not attacks.
fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(start, step)
}

/// A run after one of its steps.
pub(super) struct RunState {
    /// How many steps are done.
    pub next_step: usize,
    /// Of the next step, before dynamic CFG.
    pub guidance_scale: f64,
    pub latents: Tensor,
    /// Bytes, on the CPU.
    pub generator: Tensor,
    /// What the scheduler keeps, by name; float32, of the latents' shape.
    pub scheduler: BTreeMap<String, Tensor>,
}

/// What a state must be to fit a run.
pub(super) struct Expected<'a> {
    pub signature: &'a Signature,
    pub shape: &'a [i64],
    pub dtype: DType,
    pub total: usize,
    /// What the scheduler keeps.
    pub scheduler: &'static [&'static str],
}

impl RunState {
    /// Writes the state; a failure leaves no half-written file, and a file that was there.
    pub fn save(&self, path: &Path, signature: &Signature) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut tensors = vec![
            ("latents".to_string(), Bytes::of(&self.latents)?),
            ("generator".to_string(), Bytes::of(&self.generator)?),
        ];
        for (name, tensor) in &self.scheduler {
            tensors.push((format!("{SCHEDULER}{name}"), Bytes::of(tensor)?));
        }
        let views: Vec<(&str, TensorView)> = tensors
            .iter()
            .map(|(name, bytes)| Ok((name.as_str(), bytes.view()?)))
            .collect::<Result<_>>()?;
        let request = serde_json::to_string(&signature.0)
            .map_err(|error| Error::Internal(format!("run state: {error}")))?;
        let metadata = HashMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("version".to_string(), VERSION.to_string()),
            ("next_step".to_string(), self.next_step.to_string()),
            // Its shortest text reads as the same number again.
            ("guidance_scale".to_string(), self.guidance_scale.to_string()),
            ("request".to_string(), request),
        ]);
        let file = safetensors::serialize(views, Some(metadata))
            .map_err(|error| Error::Internal(format!("run state: {error}")))?;
        save::save_file(path, |sink| {
            sink.write_all(&file).map_err(|error| Error::Io(error.to_string()))
        })
    }

    /// Reads the state of a run like the one that is expected.
    ///
    /// Errors: [`Error::NotFound`], [`Error::Io`]; [`Error::InvalidArgument`] for what is no such
    /// file, or the state of another run, naming the setting.
    pub fn read(path: &Path, expected: &Expected) -> Result<RunState> {
        let bytes = read_file(path)?;
        let wrong = |what: String| Error::InvalidArgument(format!("{}: {what}", path.display()));
        let no_state = |found: String| {
            wrong(format!("expected the state of a run (cvx_step_save), found {found}"))
        };
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| no_state(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata.get(name).ok_or_else(|| no_state(format!("no {name} in its metadata")))
        };
        for (name, value) in [("format", FORMAT), ("version", VERSION)] {
            let found = field(name)?;
            if found != value {
                return Err(no_state(format!("{name} {found:?} instead of {value:?}")));
            }
        }
        let saved: BTreeMap<String, String> = serde_json::from_str(field("request")?)
            .map_err(|error| no_state(format!("a request that is no JSON: {error}")))?;
        expected.signature.check(&saved, path)?;
        let next_step = field("next_step")?
            .parse()
            .ok()
            .filter(|step| (1..=expected.total).contains(step))
            .ok_or_else(|| no_state(format!("a next_step outside [1, {}]", expected.total)))?;
        let guidance_scale = field("guidance_scale")?
            .parse()
            .ok()
            .filter(|scale: &f64| scale.is_finite())
            .ok_or_else(|| no_state("a guidance_scale that is no number".into()))?;

        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| no_state(error.to_string()))?;
        let read = |name: &str, kind: Kind, shape: Option<&[i64]>| {
            let view = tensors
                .tensor(name)
                .map_err(|_| wrong(format!("expected a tensor {name}, found none")))?;
            let found: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            if view.dtype() != dtype(kind)? || shape.is_some_and(|shape| shape != found) {
                return Err(wrong(format!(
                    "tensor {name}: expected {kind:?} of shape {:?}, found {:?} of {found:?}",
                    shape.unwrap_or(&found),
                    view.dtype()
                )));
            }
            let tensor = Tensor::f_from_data_size(view.data(), &found, kind)?;
            if kind != Kind::Uint8 && tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                return Err(wrong(format!("tensor {name}: expected finite numbers, found others")));
            }
            Ok(tensor)
        };
        let shape = Some(expected.shape);
        let mut scheduler = BTreeMap::new();
        for name in expected.scheduler {
            let tensor = read(&format!("{SCHEDULER}{name}"), Kind::Float, shape)?;
            scheduler.insert(name.to_string(), tensor);
        }
        Ok(RunState {
            next_step,
            guidance_scale,
            latents: read("latents", expected.dtype.kind(), shape)?,
            generator: read("generator", Kind::Uint8, None)?,
            scheduler,
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound(message),
            std::io::ErrorKind::OutOfMemory => Error::OutOfMemory(message),
            _ => Error::Io(message),
        }
    };
    let wrong = |expected: &str, found: String| {
        Error::InvalidArgument(format!("{}: expected {expected}, found {found}", path.display()))
    };
    let (file, length) = open_regular(path)
        .map_err(io)?
        .map_err(|found| wrong("the state of a run (cvx_step_save)", found.into()))?;
    if length > MAX_BYTES {
        return Err(wrong(&format!("a file of at most {MAX_BYTES} bytes"), length.to_string()));
    }
    let mut bytes = Vec::new();
    crate::video::frames::reserve(&mut bytes, length as usize)?;
    file.take(length).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn dtype(kind: Kind) -> Result<Dtype> {
    Ok(match kind {
        Kind::Float => Dtype::F32,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Uint8 => Dtype::U8,
        other => return Err(Error::Internal(format!("run state: a tensor of {other:?}"))),
    })
}

/// A tensor's bytes on the host.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Bytes {
    fn of(tensor: &Tensor) -> Result<Bytes> {
        let kind = tensor.f_kind()?;
        let host = tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_view_dtype(Kind::Uint8)?;
        let mut data = Vec::new();
        crate::video::frames::reserve(&mut data, host.numel())?;
        data.resize(host.numel(), 0u8);
        host.f_copy_data(&mut data, host.numel())?;
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        Ok(Bytes { dtype: dtype(kind)?, shape, data })
    }

    fn view(&self) -> Result<TensorView<'_>> {
        TensorView::new(self.dtype, self.shape.clone(), &self.data)
            .map_err(|error| Error::Internal(format!("run state: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_and_files_of_proc_do_not_block() {
        crate::runtime::files::testing::reads_regular_files_only(|path| read_file(path).err());
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The test vectors of its authors.
        assert_eq!(fnv1a(FNV_START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_START, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a(fnv1a(FNV_START, b"foo"), b"bar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_state_is_read_as_it_was_written_in_every_dtype() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut signature = Signature::default();
        signature.add("seed", 7);
        for (kind, dtype) in
            [(Kind::Float, DType::F32), (Kind::Half, DType::F16), (Kind::BFloat16, DType::BF16)]
        {
            let latents = Tensor::f_arange(24, (Kind::Float, Device::Cpu)).unwrap();
            let latents = latents.f_view([1, 2, 3, 2, 2]).unwrap().f_to_kind(kind).unwrap();
            let old = latents.f_to_kind(Kind::Float).unwrap().f_mul_scalar(0.1).unwrap();
            let state = RunState {
                next_step: 3,
                guidance_scale: 0.1 + 0.2,
                latents: latents.shallow_clone(),
                generator: Tensor::f_from_slice(&[1u8, 2, 255]).unwrap(),
                scheduler: BTreeMap::from([("old".to_string(), old.shallow_clone())]),
            };
            state.save(&path, &signature).unwrap();
            let shape = [1, 2, 3, 2, 2];
            let expected = Expected {
                signature: &signature,
                shape: &shape,
                dtype,
                total: 3,
                scheduler: &["old"],
            };
            let read = RunState::read(&path, &expected).unwrap();
            assert_eq!((read.next_step, read.guidance_scale), (3, 0.1 + 0.2));
            assert!(read.latents.f_equal(&latents).unwrap());
            assert!(read.scheduler["old"].f_equal(&old).unwrap());
            assert!(read.generator.f_equal(&state.generator).unwrap());
        }
    }
}
