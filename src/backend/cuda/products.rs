//! Products that libtorch's CUDA backend has and tch does not bind rightly.

use crate::runtime::{dim, shim::call};
use crate::Result;
use std::ffi::c_char;
use tch::Tensor;
use torch_sys::C_tensor;

extern "C" {
    fn cvx_shim_addmm_gelu(
        bias: *const C_tensor,
        rows: *const C_tensor,
        weight: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// `gelu(x Wᵀ + bias)`, W `(outputs, inputs)`: on CUDA one kernel, with the tanh approximation
/// (aten/src/ATen/native/cuda/Blas.cpp); on the CPU the same operator takes the exact GELU.
///
/// tch's function of that name can't be used: it leaves out the defaulted `beta` and `alpha`, so
/// that `use_gelu` lands in `beta`, and what is left is ReLU.
pub fn linear_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (rows, weight) = (x.f_flatten(0, -2)?, weight.f_tr()?);
    let mut out = std::ptr::null_mut();
    // SAFETY: the three tensors are alive during the call and both out-parameters are valid for
    // writing.
    call(|message| unsafe {
        cvx_shim_addmm_gelu(bias.as_ptr(), rows.as_ptr(), weight.as_ptr(), &mut out, message)
    })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    let out = unsafe { Tensor::from_ptr(out) };
    let mut shape = x.size();
    shape.pop();
    shape.push(dim(&out, -1)?);
    Ok(out.f_view(shape.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;
    use tch::Kind;

    #[test]
    fn the_kernel_takes_gelu_rather_than_relu() {
        let mut generator = Generator::new(5).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (weight, bias, x) = (randn(&[16, 8]), randn(&[16]), randn(&[3, 5, 8]));
        // With the bias as it is: beta and alpha are 1.
        let expected = x.linear(&weight, Some(&bias)).gelu("none");
        let found = linear_gelu(&x, &weight, &bias).unwrap();
        assert_eq!(found.size(), [3, 5, 16]);
        let error = (found - expected).abs().max().double_value(&[]);
        assert!(error < 1e-5, "{error}");
    }
}
