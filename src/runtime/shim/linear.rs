//! The linear layer with GELU in the epilogue of its matrix product.

use super::call;
use crate::{Error, Result};
use std::ffi::c_char;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

extern "C" {
    fn cvx_shim_linear_gelu_pack(
        weight: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_addmm_gelu(
        bias: *const C_tensor,
        rows: *const C_tensor,
        weight: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_linear_gelu(
        x: *const C_tensor,
        packed: *const C_tensor,
        bias: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// `gelu(x Wᵀ + b)` with the tanh approximation, by oneDNN: there the activation costs next to
/// nothing, as an operation of its own 6 to 10% of a transformer block's time.
pub struct LinearGelu {
    /// The weight in a blocked layout that no other operation understands.
    packed: Tensor,
    bias: Tensor,
}

impl LinearGelu {
    /// A copy of `weight` `(outputs, inputs)`, ready for use, and `bias` `(outputs)`. `None`
    /// unless both are float32 on the CPU and this libtorch has oneDNN enabled.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Option<LinearGelu>> {
        let fits = |t: &Tensor| t.device() == Device::Cpu && t.kind() == Kind::Float;
        if !fits(weight) || !fits(bias) {
            return Ok(None);
        }
        let mut out = std::ptr::null_mut();
        // SAFETY: `weight` is alive during the call and both out-parameters are valid for
        // writing.
        call(|message| unsafe { cvx_shim_linear_gelu_pack(weight.as_ptr(), &mut out, message) })?;
        if out.is_null() {
            return Ok(None);
        }
        // SAFETY: on success a non-null `out` is a heap-allocated at::Tensor that nobody else
        // holds.
        let packed = unsafe { Tensor::from_ptr(out) };
        Ok(Some(LinearGelu { packed, bias: bias.shallow_clone() }))
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.device() != Device::Cpu || x.kind() != Kind::Float {
            let found = (x.kind(), x.device());
            return Err(Error::Internal(format!("expected float32 on the CPU, found {found:?}")));
        }
        let mut out = std::ptr::null_mut();
        // SAFETY: the three tensors are alive during the call and both out-parameters are
        // valid for writing.
        call(|message| unsafe {
            cvx_shim_linear_gelu(
                x.as_ptr(),
                self.packed.as_ptr(),
                self.bias.as_ptr(),
                &mut out,
                message,
            )
        })?;
        // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}

/// `gelu(rows · weight + bias)`, `rows` `(count, inputs)`, `weight` `(inputs, outputs)`: on CUDA one
/// kernel, with the tanh approximation (aten/src/ATen/native/cuda/Blas.cpp); on the CPU the same
/// operator takes the exact GELU.
///
/// tch's function of that name can't be used: it leaves out the defaulted `beta` and `alpha`, so
/// that `use_gelu` lands in `beta`, and what is left is ReLU.
pub fn addmm_gelu(bias: &Tensor, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the three tensors are alive during the call and both out-parameters are valid for
    // writing.
    call(|message| unsafe {
        cvx_shim_addmm_gelu(bias.as_ptr(), rows.as_ptr(), weight.as_ptr(), &mut out, message)
    })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;

    #[test]
    fn the_fused_layer_is_the_two_operations() {
        let mut generator = Generator::new(3).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        for (inputs, outputs) in [(48, 192), (5, 7), (64, 256)] {
            let (weight, bias) = (randn(&[outputs, inputs]), randn(&[outputs]));
            let fused = LinearGelu::new(&weight, &bias).unwrap().unwrap();
            // The layout must suit any number of rows.
            for rows in [1, 3, 40] {
                let x = randn(&[2, rows, inputs]);
                let expected = x.linear(&weight, Some(&bias)).gelu("tanh");
                let found = fused.forward(&x).unwrap();
                assert_eq!(found.size(), [2, rows, outputs]);
                let error = (found - expected).abs().max().double_value(&[]);
                assert!(error < 1e-4, "{inputs} to {outputs}, {rows} rows: {error}");
            }
        }
    }

    #[test]
    fn addmm_takes_gelu_rather_than_relu() {
        let mut generator = Generator::new(5).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (weight, bias, rows) = (randn(&[8, 16]), randn(&[16]), randn(&[5, 8]));
        // With the bias as it is: beta and alpha are 1.
        let expected = rows.matmul(&weight).g_add(&bias).gelu("none");
        let found = addmm_gelu(&bias, &rows, &weight).unwrap();
        let error = (found - expected).abs().max().double_value(&[]);
        assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn only_float32_on_the_cpu_is_fused() {
        let half = Tensor::f_zeros([4, 4], (Kind::BFloat16, Device::Cpu)).unwrap();
        let bias = Tensor::f_zeros([4], (Kind::BFloat16, Device::Cpu)).unwrap();
        assert!(LinearGelu::new(&half, &bias).unwrap().is_none());
        let float = |t: &Tensor| t.f_to_kind(Kind::Float).unwrap();
        let fused = LinearGelu::new(&float(&half), &float(&bias)).unwrap().unwrap();
        assert!(fused.forward(&half).is_err());
        assert!(fused.forward(&float(&bias).narrow(0, 0, 3)).is_err());
    }
}
