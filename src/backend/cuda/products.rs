//! What libtorch's CUDA backend has and tch does not bind rightly.

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
    fn cvx_shim_conv_in_full(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        stride: i64,
        padding: *const i64,
        dimensions: i64,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// libtorch's convolution of `x` in the precision of its dtype.
///
/// libtorch lets cuDNN cut float32 to TF32's ten bits of fraction in convolutions, by a flag of the
/// process (`torch.backends.cudnn.allow_tf32`) that is the host's and true by default. Its operator
/// `_convolution` takes that flag as an argument, and cuDNN's engines are chosen by it alone
/// (aten/src/ATen/native/Convolution.cpp, aten/src/ATen/native/cudnn/Conv_v8.cpp). For half precision
/// the same argument would rule out tensor cores, so it is left alone there.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: &[i64],
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let bias = bias.map_or(std::ptr::null(), |bias| bias.as_ptr());
    let dimensions = padding.len() as i64;
    // SAFETY: the tensors are alive during the call, `bias` is one of them or NULL, `padding` has
    // `dimensions` numbers, and both out-parameters are valid for writing.
    call(|message| unsafe {
        cvx_shim_conv_in_full(
            x.as_ptr(),
            weight.as_ptr(),
            bias,
            stride,
            padding.as_ptr(),
            dimensions,
            &mut out,
            message,
        )
    })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
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
    fn a_convolution_in_full_is_libtorchs() {
        let mut generator = Generator::new(6).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (x, weight, bias) = (randn(&[2, 3, 9, 8]), randn(&[4, 3, 3, 3]), randn(&[4]));
        for bias in [Some(&bias), None] {
            for stride in [1, 2] {
                let expected = x.conv2d(&weight, bias, [stride], [1, 0], [1], 1);
                let found = convolution(&x, &weight, bias, stride, &[1, 0]).unwrap();
                assert!(found.equal(&expected), "stride {stride}");
            }
        }
        let (x, weight) = (randn(&[1, 3, 4, 9, 8]), randn(&[4, 3, 2, 3, 3]));
        let expected = x.conv3d(&weight, Some(&bias), [1], [0, 1, 1], [1], 1);
        let found = convolution(&x, &weight, Some(&bias), 1, &[0, 1, 1]).unwrap();
        assert!(found.equal(&expected));
        let refused = convolution(&x, &bias, None, 1, &[0, 1, 1]);
        assert!(refused.is_err());
    }

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
