//! Kernels for float32 on the CPU: safe wrappers of `kernels.h`.

pub mod attention;
pub mod int8;
pub mod linear;
pub mod video;
