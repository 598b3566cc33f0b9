//! What computes on a device, told for a log and for a video: the same seed gives the same bytes
//! where this is the same.

use super::{onednn, MatmulPrecision};
use crate::runtime::device;
use crate::runtime::shim;
use crate::{Error, Result};
use std::fmt;
use tch::Device;

/// What computes on CUDA devices between matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CudaKernels {
    /// libtorch's operators.
    #[default]
    Libtorch,
    /// Kernels of our own, where there is one for what is asked.
    Fused,
}

impl CudaKernels {
    /// By its name for hosts. Errors: [`Error::InvalidArgument`] for another text.
    pub fn parse(text: &str) -> Result<CudaKernels> {
        match text {
            "libtorch" => Ok(CudaKernels::Libtorch),
            "fused" => Ok(CudaKernels::Fused),
            other => Err(Error::InvalidArgument(format!(
                "kernels must be \"libtorch\" or \"fused\", found {other:?}"
            ))),
        }
    }
}

/// The release of libtorch, and on the CPU the instruction set that its kernels are for, whether
/// there is oneDNN, among how many threads the calling thread's work is shared, and whether oneDNN makes
/// all products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernels {
    device: Device,
    capability: String,
    onednn: onednn::State,
    threads: i32,
    /// In which numbers the products of transformer and text encoder are made.
    precision: MatmulPrecision,
    fused: bool,
}

impl Kernels {
    /// `fused`: with kernels of our own on a CUDA device.
    pub fn of(device: Device, fused: bool) -> Result<Kernels> {
        Ok(Kernels {
            device,
            capability: shim::cpu_capability()?,
            onednn: onednn::state(),
            threads: tch::get_num_threads(),
            precision: MatmulPrecision::default(),
            fused,
        })
    }

    /// The same for networks whose products are made in `precision` on the CPU.
    pub fn with_products(self, precision: MatmulPrecision) -> Kernels {
        Kernels { precision, ..self }
    }

    /// Why the bytes are not those that this processor gives elsewhere.
    pub fn warning(&self) -> Option<String> {
        if self.device != Device::Cpu {
            return None;
        }
        match self.onednn {
            onednn::State::Forbidden => {
                return Some(
                    "this process may not execute memory that it has written: what oneDNN would \
                     compute is computed without it, slower and in other last bits"
                        .into(),
                )
            }
            onednn::State::Failed => {
                return Some(
                    "oneDNN once found no memory in this process: what it would compute is \
                     computed without it, slower and in other last bits"
                        .into(),
                )
            }
            onednn::State::Usable => {}
        }
        // libtorch's own variable for it: whoever sets it wants that.
        if std::env::var_os("ATEN_CPU_CAPABILITY").is_some() || self.capability == expected() {
            return None;
        }
        Some(format!(
            "libtorch takes its kernels for {}, although this processor has {}: perhaps /proc or \
             /sys could not be read; the bytes are others, and it is slower",
            self.capability,
            expected()
        ))
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = shim::torch_version();
        if self.device != Device::Cpu {
            let fused = if self.fused { ", fused kernels" } else { "" };
            return write!(f, "libtorch {version} on {}{fused}", device::device_name(self.device));
        }
        let onednn = match self.onednn {
            onednn::State::Usable => "with",
            onednn::State::Forbidden | onednn::State::Failed => "without",
        };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(
            f,
            "libtorch {version} on the CPU for {}, {onednn} oneDNN, {} {threads}",
            self.capability, self.threads
        )?;
        let fewer_bits = self.precision != MatmulPrecision::Float32;
        match (self.onednn, fewer_bits) {
            (onednn::State::Usable, true) => {
                write!(f, ", products by oneDNN in {}", self.precision.name())
            }
            (onednn::State::Usable, false) if onednn::is_faster_than_mkl() => {
                write!(f, ", products by oneDNN")
            }
            _ => Ok(()),
        }
    }
}

/// What libtorch takes on this processor where it can tell (ATen/native/DispatchStub.cpp).
#[cfg(target_arch = "x86_64")]
fn expected() -> &'static str {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx2, avx512) {
        (true, true) => "AVX512",
        (true, false) => "AVX2",
        (false, _) => "DEFAULT",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn expected() -> &'static str {
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_computes_is_told_and_what_is_unusual_warned_of() {
        let mut kernels = Kernels::of(Device::Cpu, false).unwrap();
        kernels.threads = 1;
        let text = kernels.to_string();
        assert!(text.contains(" with oneDNN, 1 thread") && text.contains("2.11"), "{text}");
        if std::env::var_os("ATEN_CPU_CAPABILITY").is_none() {
            assert_eq!(kernels.warning(), None);
            kernels.capability = "OTHER".into();
            assert!(kernels.warning().unwrap().contains("OTHER"));
        }
        assert_eq!(text.ends_with(", products by oneDNN"), onednn::is_faster_than_mkl());
        for precision in [MatmulPrecision::BFloat16, MatmulPrecision::Int8] {
            let fewer = kernels.clone().with_products(precision).to_string();
            let end = format!(", products by oneDNN in {}", precision.name());
            assert!(fewer.ends_with(&end), "{fewer}");
        }
        kernels.onednn = onednn::State::Forbidden;
        assert!(kernels.warning().unwrap().contains("execute"));
        assert!(kernels.to_string().contains("without oneDNN"));
        kernels.device = Device::Cuda(0);
        assert_eq!(kernels.warning(), None);
        assert!(kernels.to_string().ends_with("on cuda:0"));
        kernels.fused = true;
        assert!(kernels.to_string().ends_with("on cuda:0, fused kernels"));
    }
}
