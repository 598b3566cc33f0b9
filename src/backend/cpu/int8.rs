//! Linear layers whose products are of int8 numbers: a scale for each output of the matrix, and one for
//! each row that it is multiplied with (Dettmers et al., arXiv 2208.07339, section 2, "vector-wise
//! quantization").
//!
//! Sums are whole numbers of 32 bits, so that they are exact whatever their order: the bits of a row
//! of outputs follow from that row of inputs alone, not from the rows beside it, from pieces or from
//! threads.

use crate::backend::{onednn, Quantization, QuantizedMatrix};
use crate::runtime::dim;
use crate::runtime::shim::call;
use crate::{Error, Result};
use std::ffi::c_char;
use std::ptr::null;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

extern "C" {
    fn cvx_shim_int8_pack(
        codes: *const C_tensor,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_int8_linear(
        x: *const C_tensor,
        packed: *const C_tensor,
        scale: *const C_tensor,
        bias: *const C_tensor,
        gelu: i32,
        out: *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// A matrix of int8 codes in oneDNN's layout, and the scale of each row of it.
pub struct Int8Linear {
    /// `(inputs, outputs)`.
    codes: Tensor,
    /// `(outputs)`.
    scale: Tensor,
}

impl Int8Linear {
    /// `weight` `(outputs, inputs)` float32 on the CPU, rounded. `None` where this libtorch has no oneDNN.
    /// The processor must have products of int8 (`MatmulPrecision::check`). A row with a number that is
    /// not finite is read as no numbers.
    pub fn new(weight: &Tensor) -> Result<Option<Int8Linear>> {
        let rounded = QuantizedMatrix::of_rows(Quantization::Int8, weight)?;
        let mut out = std::ptr::null_mut();
        // SAFETY: the codes are alive during the call and both out-parameters are valid for writing.
        call(|message| unsafe { cvx_shim_int8_pack(rounded.codes().as_ptr(), &mut out, message) })?;
        if out.is_null() {
            return Ok(None);
        }
        // SAFETY: on success a non-null `out` is a heap-allocated at::Tensor that nobody else holds.
        let codes = unsafe { Tensor::from_ptr(out) };
        Ok(Some(Int8Linear { codes, scale: rounded.scale().f_flatten(0, -1)? }))
    }

    /// Whether sums of the largest products come out whole. Where oneDNN is held to instructions from before
    /// VNNI (`ONEDNN_MAX_CPU_ISA`), pairs of them are cut to 16 bits, and nobody is told.
    pub fn sums_are_whole() -> Result<bool> {
        let largest = Tensor::f_ones([64, 64], (Kind::Float, Device::Cpu))?;
        let Some(packed) = Int8Linear::new(&largest)? else { return Ok(false) };
        let off = packed.forward(&largest, None, false)?.f_sub_scalar(64.0)?.f_abs()?.f_max()?;
        Ok(off.f_double_value(&[])? < 1e-3)
    }

    /// `x Wᵀ + bias`, with `gelu` the GELU of it in the tanh approximation: `(…, inputs)` to
    /// `(…, outputs)`, all float32 on the CPU. Each row of x is rounded to multiples of the 127th part of
    /// its largest magnitude; one that has a number that is not finite gives NaN alone.
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>, gelu: bool) -> Result<Tensor> {
        let mut size = x.size();
        size.pop();
        size.push(self.outputs()?);
        let out = Tensor::f_empty(size.as_slice(), (Kind::Float, Device::Cpu))?;
        self.forward_into(x, bias, gelu, &out)?;
        Ok(out)
    }

    /// The same, written to `out`, which is contiguous.
    pub fn forward_into(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        gelu: bool,
        out: &Tensor,
    ) -> Result<()> {
        if x.device() != Device::Cpu || x.f_kind()? != Kind::Float {
            let found = (x.kind(), x.device());
            return Err(Error::Internal(format!("expected float32 on the CPU, found {found:?}")));
        }
        let (x, mut out) = (x.f_contiguous()?, out.shallow_clone());
        let bias = bias.map_or(null(), |bias| bias.as_ptr());
        let (codes, scale) = (self.codes.as_ptr(), self.scale.as_ptr());
        // SAFETY: the tensors are alive during the call, a bias may be NULL, and what is written to is
        // checked there to be as large as it must be.
        call(|message| unsafe {
            let out = out.as_mut_ptr();
            cvx_shim_int8_linear(x.as_ptr(), codes, scale, bias, gelu.into(), out, message)
        })
    }

    /// The matrix that products are made with, in float32 and in memory of its own.
    pub fn unpacked(&self) -> Result<Tensor> {
        let codes = onednn::unpacked(&self.codes)?.f_tr()?.f_contiguous()?;
        let (scale, inputs) = (self.scale.f_unsqueeze(-1)?, self.inputs()?);
        QuantizedMatrix::from_parts(Quantization::Int8, codes, scale, inputs, Kind::Float)?.dense()
    }

    pub fn outputs(&self) -> Result<i64> {
        dim(&self.codes, 1)
    }

    pub fn inputs(&self) -> Result<i64> {
        dim(&self.codes, 0)
    }

    /// Bytes that it takes less than in float32.
    pub fn bytes_saved(&self) -> u64 {
        let (elements, scales) = (self.codes.numel() as u64, self.scale.numel() as u64);
        (3 * elements).saturating_sub(4 * scales)
    }

    pub fn shallow_clone(&self) -> Int8Linear {
        Int8Linear { codes: self.codes.shallow_clone(), scale: self.scale.shallow_clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MatmulPrecision;
    use crate::runtime::shim::Generator;

    fn there_are_products() -> bool {
        MatmulPrecision::Int8.check().is_ok()
    }

    /// What the numbers of `x` are rounded to, row by row. Quotients are not: in float32, one that
    /// lies between two codes might go to the other.
    fn rounded(x: &Tensor) -> Tensor {
        let most = x.abs().amax([-1i64].as_slice(), true);
        let inverse: Tensor = 127.0 / &most;
        let codes = (x.to_kind(Kind::Double) * inverse.to_kind(Kind::Double)).round();
        codes.to_kind(Kind::Float) * (most / 127.0)
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn a_product_is_that_of_rounded_numbers() {
        if !there_are_products() {
            return;
        }
        let mut generator = Generator::new(3).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        // The last has more numbers than are computed at once.
        for (inputs, outputs, rows) in
            [(48, 192, 40), (5, 7, 3), (131, 257, 1), (1, 65, 17), (64, 1, 2), (33, 2100, 700)]
        {
            let (weight, bias) = (randn(&[outputs, inputs]), randn(&[outputs]));
            let packed = Int8Linear::new(&weight).unwrap().unwrap();
            assert_eq!((packed.inputs().unwrap(), packed.outputs().unwrap()), (inputs, outputs));
            let saved = (3 * inputs * outputs - 4 * outputs).max(0);
            assert_eq!(packed.bytes_saved(), saved as u64);
            let matrix = packed.unpacked().unwrap();
            let step = weight.abs().amax([-1i64].as_slice(), true) / 127.0;
            assert!(largest(&((&matrix - &weight) / step)) < 0.5001);
            // What is rounded once does not change any more.
            let again = Int8Linear::new(&matrix).unwrap().unwrap().unpacked().unwrap();
            assert!(again.allclose(&matrix, 1e-6, 0.0, false));
            let x = randn(&[2, rows, inputs]);
            let exact =
                rounded(&x).to_kind(Kind::Double).matmul(&matrix.tr().to_kind(Kind::Double));
            let near = |found: Tensor, expected: Tensor| {
                assert_eq!(found.size(), [2, rows, outputs]);
                let off = largest(&(found.to_kind(Kind::Double) - &expected));
                assert!(off < 1e-6 * (1.0 + largest(&expected)), "{inputs} to {outputs}: {off}");
            };
            near(packed.forward(&x, None, false).unwrap(), exact.copy());
            let sum = exact + bias.to_kind(Kind::Double);
            near(packed.forward(&x, Some(&bias), true).unwrap(), sum.gelu("tanh"));
            near(packed.forward(&x, Some(&bias), false).unwrap(), sum);
        }
    }

    #[test]
    fn a_row_is_the_same_whatever_is_beside_it() {
        if !there_are_products() {
            return;
        }
        let mut generator = Generator::new(5).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (x, bias) = (randn(&[300, 100]), randn(&[130]));
        let packed = Int8Linear::new(&randn(&[130, 100])).unwrap().unwrap();
        let forward = |x: &Tensor| packed.forward(x, Some(&bias), true).unwrap();
        let all = forward(&x);
        for (start, rows) in [(0, 1), (7, 2), (100, 33), (299, 1)] {
            let part = forward(&x.narrow(0, start, rows));
            assert!(part.equal(&all.narrow(0, start, rows)), "{rows} rows from {start} on");
        }
        // Outliers in some rows, and what is no number, stay there.
        let spoiled = x.copy();
        for (row, value) in [(1, 1e4), (20, f64::NAN), (31, f64::INFINITY), (40, f64::NEG_INFINITY)]
        {
            let _ = spoiled.get(row).narrow(0, 57, 1).fill_(value);
        }
        let _ = spoiled.get(50).zero_();
        let found = forward(&spoiled);
        for row in 0..300 {
            match row {
                1 => assert!(!found.get(row).equal(&all.get(row))),
                20 | 31 | 40 => assert!(bool::try_from(found.get(row).isnan().all()).unwrap()),
                50 => assert!(largest(&(found.get(row) - bias.gelu("tanh"))) < 1e-6),
                _ => assert!(found.get(row).equal(&all.get(row)), "row {row}"),
            }
        }
        let one = tch::get_num_threads();
        tch::set_num_threads(if one == 1 { 2 } else { 1 });
        let again = forward(&x);
        tch::set_num_threads(one);
        assert!(again.equal(&all));
    }

    #[test]
    fn numbers_at_the_ends_of_float32_are_zero_or_there() {
        if !there_are_products() {
            return;
        }
        let packed = Int8Linear::new(&Tensor::from_slice(&[1.0f32, -1.0]).view([1, 2])).unwrap();
        let product = |pair: [f32; 2]| {
            let x = Tensor::from_slice(&pair).view([1, 2]);
            packed.as_ref().unwrap().forward(&x, None, false).unwrap().double_value(&[0, 0])
        };
        assert!((product([3e38, 2e38]) / 1e38 - 1.0).abs() < 0.02);
        assert!((product([3e-35, 2e-35]) / 1e-35 - 1.0).abs() < 0.02);
        assert_eq!(product([1e-40, -1e-40]), 0.0);
        assert_eq!(product([0.0, -0.0]), 0.0);
    }

    #[test]
    fn a_matrix_with_what_is_no_number_gives_none() {
        if !there_are_products() {
            return;
        }
        let weight = Tensor::f_ones([3, 4], (Kind::Float, Device::Cpu)).unwrap();
        let _ = weight.get(1).narrow(0, 2, 1).fill_(f64::NAN);
        let packed = Int8Linear::new(&weight).unwrap().unwrap();
        let y = packed.forward(&weight.narrow(0, 0, 1), None, false).unwrap();
        let finite: Vec<bool> = y.isfinite().view([-1]).try_into().unwrap();
        assert_eq!(finite, [true, false, true]);
    }

    #[test]
    fn only_float_on_the_cpu_and_of_the_right_size_is_taken() {
        if !there_are_products() {
            return;
        }
        let float = Tensor::f_ones([4, 4], (Kind::Float, Device::Cpu)).unwrap();
        let packed = Int8Linear::new(&float).unwrap().unwrap();
        assert!(packed.forward(&float.to_kind(Kind::Half), None, true).is_err());
        assert!(packed.forward(&float.narrow(1, 0, 3), None, true).is_err());
        assert!(packed.forward(&float, Some(&float), true).is_err());
        assert!(packed.forward_into(&float, None, false, &float.narrow(0, 0, 3)).is_err());
        // What is strided is copied first.
        let strided = packed.forward(&float.narrow(1, 0, 1).expand([4, 4], false), None, false);
        assert!(
            strided.unwrap().isclose(&(&float * 4), 1e-6, 0.0, false).all().int64_value(&[]) == 1
        );
        assert_eq!(packed.forward(&float.narrow(0, 0, 0), None, false).unwrap().size(), [0, 4]);
    }
}
