//! On CUDA devices: what tch does not bind rightly of libtorch's, and kernels of our own.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `products` | convolutions and a product with GELU of libtorch's |
//! | `loaded` | our kernels, loaded once for a device, and launched |
//! | `tokens`, `video` | what they compute, on tensors |
//! | `kernels/` | their source, and the PTX that `make kernels` compiles of it |

mod loaded;
mod products;
mod tokens;
mod video;

pub use loaded::DeviceKernels;
pub use products::{convolution, linear_gelu};
