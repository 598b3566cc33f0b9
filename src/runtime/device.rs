//! Devices and dtypes: what a host may ask for, and what it gets.

use crate::{Error, Result};
use tch::{Device, Kind};

/// The floating-point type a pipeline computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F32,
    F16,
    BF16,
}

impl DType {
    pub fn kind(self) -> Kind {
        match self {
            DType::F32 => Kind::Float,
            DType::F16 => Kind::Half,
            DType::BF16 => Kind::BFloat16,
        }
    }
}

/// Where a pipeline computes and in which dtype.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    pub device: Device,
    pub dtype: DType,
}

impl Placement {
    pub const CPU: Placement = Placement { device: Device::Cpu, dtype: DType::F32 };

    /// Resolves what a host asked for. `device`: "cpu", "cuda", "cuda:N" or "auto";
    /// `dtype`: "auto", "f32", "f16" or "bf16"; `file`: what the checkpoint holds.
    pub fn resolve(device: &str, _dtype: &str, _file: DType) -> Result<Placement> {
        match device {
            "cpu" | "auto" => Ok(Placement::CPU),
            other => Err(Error::DeviceUnavailable(format!("device {other:?}"))),
        }
    }
}
