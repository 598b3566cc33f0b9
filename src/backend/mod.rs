//! What computes: the kernels of this library and libtorch's operators, behind one door.
//!
//! Networks say what they want computed (a matrix product, a convolution, a norm's modulation);
//! which kernel does it follows from the device and the dtype, and is decided here. Nothing here
//! knows a network, a file or a name of a checkpoint.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `weight` | matrices, in the storage that their device and use call for |
//! | `matmul_precision` | in which numbers products are made on the CPU |
//! | `quantized` | matrices in eight or four bits for each element |
//! | `attention` | scaled dot-product attention, in pieces that can be cancelled |
//! | `conv` | two- and three-dimensional convolutions |
//! | `tokens` | what lies between a transformer's matrix products: norms, modulation, gates |
//! | `video` | what lies between convolutions: moments, modulation, pixel shuffle |
//! | `cpu` | kernels for float32 on the CPU, our own and oneDNN's (C++ in `kernels/`) |
//! | `kernels` | what computes, told for the log and for videos |
//! | `onednn` | whether oneDNN can be called, and when to do without it |
//! | `cuda` | kernels of our own for CUDA devices, and what tch does not bind rightly of libtorch's |
//! | `aten` | the same of libtorch's operators, for every device and dtype |

mod aten;
mod attention;
mod conv;
mod cpu;
mod cuda;
mod kernels;
mod matmul_precision;
pub mod onednn;
pub mod quantized;
pub mod tokens;
pub mod video;
pub mod weight;

pub use aten::libtorch_convolution;
pub use attention::Attention;
pub use conv::{fold_taps, Conv, Same};
pub use cuda::DeviceKernels;
pub use kernels::{CudaKernels, Kernels};
pub use matmul_precision::MatmulPrecision;
pub use quantized::{Quantization, QuantizedMatrix};
pub use weight::{copy_of, Epilogue, Rows, Weight};

use crate::runtime::{DType, Placement};
use tch::Device;

/// How the work between matrix products is done.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Float32 on the CPU: kernels of our own, oneDNN's convolutions.
    Fused,
    /// On a CUDA device that has kernels of our own: those, and libtorch's operators where there is
    /// none.
    Cuda(DeviceKernels),
    /// Anywhere: libtorch's operators.
    Aten,
}

impl Backend {
    /// The fastest that can serve `placement`.
    /// With `kernels`, those serve the device that has them.
    pub fn of(placement: Placement, kernels: Option<&DeviceKernels>) -> Backend {
        if let Some(kernels) = kernels.filter(|kernels| kernels.device() == placement.device) {
            return Backend::Cuda(kernels.clone());
        }
        let float_on_cpu = placement.device == Device::Cpu && placement.dtype == DType::F32;
        let onednn = onednn::state() == onednn::State::Usable;
        if float_on_cpu && onednn && cpu::video::conv_available() {
            Backend::Fused
        } else {
            Backend::Aten
        }
    }
}
