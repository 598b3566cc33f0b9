//! How a run's outputs are kept.

use super::run_info::RunInfo;
use super::store::Store;
use crate::runtime::DType;
use crate::{Error, Result};
use tch::Kind;

/// In what outputs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheDType {
    /// As numbers of this type.
    Numbers(DType),
    /// Float8 e4m3 with a float32 scale for each token.
    Fp8,
}

impl CacheDType {
    /// The name a host uses: "f32", "f16", "bf16" or "fp8".
    pub fn name(self) -> &'static str {
        match self {
            CacheDType::Numbers(dtype) => dtype.name(),
            CacheDType::Fp8 => "fp8",
        }
    }

    /// What a host asks for; `None` is "auto". Errors: [`Error::InvalidArgument`] for another text.
    pub fn parse(text: &str) -> Result<Option<CacheDType>> {
        if text == "fp8" {
            return Ok(Some(CacheDType::Fp8));
        }
        match DType::parse(text) {
            Ok(dtype) => Ok(dtype.map(CacheDType::Numbers)),
            Err(_) => Err(Error::InvalidArgument(format!(
                "cache_dtype must be \"auto\", \"f32\", \"f16\", \"bf16\" or \"fp8\", found {text:?}"
            ))),
        }
    }

    fn kind(self) -> Kind {
        match self {
            CacheDType::Numbers(dtype) => dtype.kind(),
            CacheDType::Fp8 => Kind::Float8e4m3fn,
        }
    }
}

/// Where outputs are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheLocation {
    /// Where the model computes.
    #[default]
    Device,
    /// In host memory, which a CUDA device copies to and from by itself.
    Host,
}

impl CacheLocation {
    const ALL: [CacheLocation; 2] = [CacheLocation::Device, CacheLocation::Host];

    /// The name a host uses: "device" or "host".
    pub fn name(self) -> &'static str {
        match self {
            CacheLocation::Device => "device",
            CacheLocation::Host => "host",
        }
    }

    /// What a host asks for. Errors: [`Error::InvalidArgument`] for another text.
    pub fn parse(text: &str) -> Result<CacheLocation> {
        Self::ALL.into_iter().find(|place| place.name() == text).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "cache_location must be one of {:?}, found {text:?}",
                Self::ALL.map(CacheLocation::name)
            ))
        })
    }
}

/// How outputs are kept, whatever the technique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// The most bytes that a run may keep, wherever; layers that don't fit compute. Default: no limit.
    pub max_cache_bytes: Option<u64>,
    /// The dtype of kept outputs. Default: what the model computes in. float16 halves float32's
    /// bytes; its values end at 65504, where bfloat16 keeps float32's range.
    pub cache_dtype: Option<CacheDType>,
    /// Where they are. Default: where the model computes.
    pub cache_location: CacheLocation,
}

impl StorageOptions {
    /// How outputs are kept in a run; in float32 where the model's dtype is not known.
    pub(super) fn store(&self, run: &RunInfo) -> Store {
        let kind = match (self.cache_dtype, &run.sizes) {
            (Some(dtype), _) => dtype.kind(),
            (None, Some(sizes)) => sizes.dtype,
            (None, None) => Kind::Float,
        };
        Store { kind, on_host: self.cache_location == CacheLocation::Host }
    }

    /// The most bytes that a run may keep.
    pub(super) fn budget(&self) -> u64 {
        self.max_cache_bytes.unwrap_or(u64::MAX)
    }

    /// What asks for more than another dtype of numbers, as a host wrote it.
    pub(super) fn beyond_dtypes(&self) -> Option<String> {
        match (self.cache_dtype, self.cache_location) {
            (_, CacheLocation::Host) => Some("cache_location \"host\"".into()),
            (Some(CacheDType::Fp8), _) => Some("cache_dtype \"fp8\"".into()),
            _ => None,
        }
    }
}
