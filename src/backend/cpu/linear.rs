//! Linear layers over matrices in oneDNN's layout, with GELU in the epilogue of the product.

use crate::backend::onednn;
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
    /// A copy of `weight` `(outputs, inputs)`, ready for use. `None` unless it is float32 or bfloat16
    /// on the CPU and this libtorch has oneDNN enabled. In bfloat16, the processor must have products
    /// of it (`MatmulPrecision::check`).
    pub fn new(weight: &Tensor) -> Result<Option<PackedLinear>> {
        let known = [Kind::Float, Kind::BFloat16].contains(&weight.kind());
        if weight.device() != Device::Cpu || !known {
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
    /// `(…, outputs)`, all float32 on the CPU. Where the matrix is in bfloat16, x is rounded to it, and
    /// so is the product, to which the bias is added in float32; after GELU, which takes the bias in
    /// bfloat16, what comes out stays in bfloat16, to be rounded to it by the next product anyway.
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>, gelu: bool) -> Result<Tensor> {
        let half = self.0.f_kind()? == Kind::BFloat16;
        let fits = x.kind() == Kind::Float || (half && x.kind() == Kind::BFloat16);
        if x.device() != Device::Cpu || !fits {
            let found = (x.kind(), x.device());
            return Err(Error::Internal(format!("expected float32 on the CPU, found {found:?}")));
        }
        if !half {
            return self.product(x, bias, gelu);
        }
        let x = x.f_to_kind(Kind::BFloat16)?;
        if gelu {
            let bias = bias.map(|bias| bias.f_to_kind(Kind::BFloat16)).transpose()?;
            return self.product(&x, bias.as_ref(), true);
        }
        let mut y = self.product(&x, None, false)?.f_to_kind(Kind::Float)?;
        if let Some(bias) = bias {
            y = y.f_add_(bias)?;
        }
        Ok(y)
    }

    /// All of one kind.
    fn product(&self, x: &Tensor, bias: Option<&Tensor>, gelu: bool) -> Result<Tensor> {
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

    /// The matrix as torch keeps it, in float32 and in memory of its own.
    pub fn unpacked(&self) -> Result<Tensor> {
        Ok(onednn::unpacked(&self.0)?.f_to_kind(Kind::Float)?)
    }

    /// In which products are made.
    pub fn kind(&self) -> Kind {
        self.0.kind()
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
    use crate::backend::MatmulPrecision;
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
    fn products_of_bfloat16_are_those_of_rounded_numbers() {
        if MatmulPrecision::BFloat16.check().is_err() {
            return;
        }
        let mut generator = Generator::new(3).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (weight, bias, x) = (randn(&[192, 48]), randn(&[192]), randn(&[2, 70, 48]));
        let rounded = |x: &Tensor| x.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let packed = PackedLinear::new(&weight.to_kind(Kind::BFloat16)).unwrap().unwrap();
        assert!(packed.unpacked().unwrap().equal(&rounded(&weight)));
        let exact = rounded(&x).linear(&rounded(&weight), None::<&Tensor>);
        // What is off is the last of eight binary digits of the product.
        let near = |found: &Tensor, expected: &Tensor, of: &Tensor| {
            let bound = of.abs() / 256.0 + 1e-4;
            let off = (found.to_kind(Kind::Float) - expected).abs();
            assert!(bool::try_from(off.le_tensor(&bound).all()).unwrap());
        };
        let y = packed.forward(&x, Some(&bias), false).unwrap();
        assert_eq!((y.kind(), y.size()), (Kind::Float, vec![2, 70, 192]));
        near(&y, &(&exact + &bias), &exact);
        let hidden = packed.forward(&x, Some(&bias), true).unwrap();
        let sum = &exact + rounded(&bias);
        near(&hidden, &sum.gelu("tanh"), &sum);
        // It goes into the next product as it is.
        assert_eq!(hidden.kind(), Kind::BFloat16);
        let next = PackedLinear::new(&randn(&[48, 192]).to_kind(Kind::BFloat16)).unwrap().unwrap();
        assert_eq!(next.forward(&hidden, None, false).unwrap().size(), [2, 70, 48]);
    }

    #[test]
    fn only_float_on_the_cpu_is_fused() {
        let half = Tensor::f_zeros([4, 4], (Kind::Half, Device::Cpu)).unwrap();
        assert!(PackedLinear::new(&half).unwrap().is_none());
        let float = half.f_to_kind(Kind::Float).unwrap();
        let packed = PackedLinear::new(&float).unwrap().unwrap();
        assert!(packed.forward(&half, None, true).is_err());
        assert!(packed.forward(&float.narrow(1, 0, 3), None, true).is_err());
    }
}
