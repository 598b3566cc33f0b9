//! The linear layer with GELU in the epilogue of its matrix product.

use crate::runtime::shim::call;
use crate::{Error, Result};
use std::ffi::c_char;
use std::ptr::null;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

extern "C" {
    fn cvx_shim_linear_pack(
        weight: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_linear(
        x: *const C_tensor,
        packed: *const C_tensor,
        bias: *const C_tensor,
        gelu: i32,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// A matrix in oneDNN's blocked layout, which [`PackedLinear::forward`] alone can read. There
/// GELU costs next to nothing, as an operation of its own 6 to 10% of a transformer block's time.
pub struct PackedLinear(Tensor);

impl PackedLinear {
    /// A copy of `weight` `(outputs, inputs)`, ready for use. `None` unless it is float32 on the
    /// CPU and this libtorch has oneDNN enabled.
    pub fn new(weight: &Tensor) -> Result<Option<PackedLinear>> {
        if weight.device() != Device::Cpu || weight.kind() != Kind::Float {
            return Ok(None);
        }
        let mut out = std::ptr::null_mut();
        // SAFETY: `weight` is alive during the call and both out-parameters are valid for
        // writing.
        call(|message| unsafe { cvx_shim_linear_pack(weight.as_ptr(), &mut out, message) })?;
        if out.is_null() {
            return Ok(None);
        }
        // SAFETY: on success a non-null `out` is a heap-allocated at::Tensor that nobody else
        // holds.
        Ok(Some(PackedLinear(unsafe { Tensor::from_ptr(out) })))
    }

    /// `x Wᵀ + bias`, with `gelu` the GELU of it in the tanh approximation: `(…, inputs)` to
    /// `(…, outputs)`, all float32 on the CPU.
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>, gelu: bool) -> Result<Tensor> {
        if x.device() != Device::Cpu || x.kind() != Kind::Float {
            let found = (x.kind(), x.device());
            return Err(Error::Internal(format!("expected float32 on the CPU, found {found:?}")));
        }
        let bias = bias.map_or(null(), |bias| bias.as_ptr());
        let mut out = std::ptr::null_mut();
        // SAFETY: the tensors are alive during the call, a bias may be NULL, and both
        // out-parameters are valid for writing.
        call(|message| unsafe {
            cvx_shim_linear(x.as_ptr(), self.0.as_ptr(), bias, gelu.into(), &mut out, message)
        })?;
        // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
        Ok(unsafe { Tensor::from_ptr(out) })
    }

    /// The matrix as torch keeps it, in memory of its own.
    pub fn unpacked(&self) -> Result<Tensor> {
        Ok(self.0.f_to_dense(None::<Kind>, false)?)
    }

    /// As it is stored; of it, only the shape can be asked.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    pub fn shallow_clone(&self) -> PackedLinear {
        PackedLinear(self.0.shallow_clone())
    }
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
            let packed = PackedLinear::new(&weight).unwrap().unwrap();
            assert!(packed.unpacked().unwrap().f_equal(&weight).unwrap());
            // The layout must suit any number of rows.
            for rows in [1, 3, 40] {
                let x = randn(&[2, rows, inputs]);
                let near = |found: Tensor, expected: Tensor| {
                    assert_eq!(found.size(), [2, rows, outputs]);
                    let error = (found - expected).abs().max().double_value(&[]);
                    assert!(error < 1e-4, "{inputs} to {outputs}, {rows} rows: {error}");
                };
                let linear = x.linear(&weight, Some(&bias));
                near(packed.forward(&x, Some(&bias), true).unwrap(), linear.gelu("tanh"));
                near(packed.forward(&x, Some(&bias), false).unwrap(), linear);
                let plain = x.linear(&weight, None::<&Tensor>);
                near(packed.forward(&x, None, false).unwrap(), plain);
            }
        }
    }

    #[test]
    fn only_float32_on_the_cpu_is_fused() {
        let half = Tensor::f_zeros([4, 4], (Kind::BFloat16, Device::Cpu)).unwrap();
        assert!(PackedLinear::new(&half).unwrap().is_none());
        let float = half.f_to_kind(Kind::Float).unwrap();
        let packed = PackedLinear::new(&float).unwrap().unwrap();
        assert!(packed.forward(&half, None, true).is_err());
        assert!(packed.forward(&float.narrow(1, 0, 3), None, true).is_err());
    }
}
