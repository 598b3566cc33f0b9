//! Matrices of linear layers, in the storage that their device and use call for.
//!
//! A layer holds a [`Weight`] and multiplies with it; how the numbers lie in memory is told
//! nowhere else. A new storage is a variant here and an arm in each `match` below.

use super::cpu::int8::Int8Linear;
use super::cpu::linear::PackedLinear;
use super::quantized::QuantizedMatrix;
use super::{aten, cuda, onednn, MatmulPrecision};
use crate::runtime::dim;
use crate::Result;
use tch::{Device, Kind, Tensor};

/// What is done with each element of a product, in the same pass where there is a kernel for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Epilogue {
    #[default]
    None,
    /// GELU.
    Gelu,
    /// GELU in its tanh approximation.
    GeluTanh,
}

impl Epilogue {
    /// Applies it to `y` in place.
    pub fn apply(self, y: Tensor) -> Result<Tensor> {
        let mut y = y;
        Ok(match self {
            Epilogue::None => y,
            Epilogue::Gelu => aten::gelu(y)?,
            Epilogue::GeluTanh => y.f_gelu_("tanh")?,
        })
    }
}

/// How many rows the products with a matrix mostly have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rows {
    /// One, or a few.
    Few,
    /// A sequence of tokens.
    #[default]
    Many,
}

impl Rows {
    /// Those of `x` `(…, inputs)`, for a matrix that is stored for this one product: packing reads
    /// and writes it once, which is little beside some dozens of rows.
    fn of(x: &Tensor) -> Result<Rows> {
        let rows = x.numel() as i64 / dim(x, -1)?.max(1);
        Ok(if rows < 64 { Rows::Few } else { Rows::Many })
    }
}

/// Elements from which on a matrix gains from oneDNN's layout, whose products take some ten
/// microseconds to begin: below, libtorch's own are as fast.
const WORTH_PACKING: i64 = 1 << 14;

/// A matrix W `(outputs, inputs)`. It is not changed by use.
pub enum Weight {
    /// As torch keeps it.
    Dense(Tensor),
    /// In oneDNN's layout, for float32 on the CPU; its products may be made in bfloat16.
    Packed(PackedLinear),
    /// For products of int8 on the CPU, of float32 tokens.
    Int8(Int8Linear),
    /// In fewer bits. A product makes it dense for as long as it takes: see [`Weight::ready`].
    Quantized(QuantizedMatrix),
}

impl Weight {
    /// Stores `dense` `(outputs, inputs)` in the way that suits products of so many `rows` with
    /// `epilogue` best.
    pub fn store(dense: Tensor, epilogue: Epilogue, rows: Rows) -> Result<Weight> {
        Weight::store_for(dense, epilogue, rows, MatmulPrecision::Float32)
    }

    /// The same, for products that are made so. Small matrices stay in float32.
    pub fn store_for(
        dense: Tensor,
        epilogue: Epilogue,
        rows: Rows,
        precision: MatmulPrecision,
    ) -> Result<Weight> {
        let elements = dense.numel() as i64;
        let floats = dense.device() == Device::Cpu && dense.f_kind()? == Kind::Float;
        let precision = match floats && Weight::is_large(elements, rows) {
            true => precision,
            false => MatmulPrecision::Float32,
        };
        if Weight::is_packed(elements, epilogue, rows, precision) {
            let pack = || {
                let packed = Weight::packed(&dense, precision)?;
                if let Some(packed) = &packed {
                    onednn::practise(&dense.size(), precision, || packed.dense_copy())?;
                }
                Ok(packed)
            };
            if let Some(Some(packed)) = onednn::call(onednn::bytes(&[&dense]), pack)? {
                return Ok(packed);
            }
        }
        Ok(Weight::Dense(dense))
    }

    /// `dense` in one of oneDNN's layouts, if it has one for it.
    fn packed(dense: &Tensor, precision: MatmulPrecision) -> Result<Option<Weight>> {
        Ok(match precision {
            MatmulPrecision::Float32 => PackedLinear::new(dense)?.map(Weight::Packed),
            MatmulPrecision::BFloat16 => {
                PackedLinear::new(&dense.f_to_kind(Kind::BFloat16)?)?.map(Weight::Packed)
            }
            MatmulPrecision::Int8 => Int8Linear::new(dense)?.map(Weight::Int8),
        })
    }

    /// Whether a float32 matrix on the CPU of so many elements is packed, where oneDNN can be used:
    /// where the epilogue gains from it, or all products do.
    pub fn is_packed(
        elements: i64,
        epilogue: Epilogue,
        rows: Rows,
        precision: MatmulPrecision,
    ) -> bool {
        let gains = onednn::is_faster_than_mkl() || precision != MatmulPrecision::Float32;
        epilogue == Epilogue::GeluTanh || (gains && Weight::is_large(elements, rows))
    }

    fn is_large(elements: i64, rows: Rows) -> bool {
        rows == Rows::Many && elements >= WORTH_PACKING
    }

    /// Stores `dense` in the way that this matrix is stored, which had the same `epilogue`.
    pub fn store_alike(&self, dense: Tensor, epilogue: Epilogue) -> Result<Weight> {
        match self {
            Weight::Quantized(matrix) => Ok(Weight::Quantized(matrix.remade(&dense)?)),
            Weight::Dense(_) => Weight::store(dense, epilogue, Rows::Few),
            Weight::Packed(packed) => {
                let precision = match packed.kind() {
                    Kind::BFloat16 => MatmulPrecision::BFloat16,
                    _ => MatmulPrecision::Float32,
                };
                Weight::store_for(dense, epilogue, Rows::Many, precision)
            }
            Weight::Int8(_) => {
                Weight::store_for(dense, epilogue, Rows::Many, MatmulPrecision::Int8)
            }
        }
    }

    /// What products are made with where that is not the matrix as it is stored: worth keeping for
    /// several products that follow one another.
    pub fn ready(&self) -> Result<Option<Weight>> {
        match self {
            Weight::Quantized(matrix) if matrix.computes() => Ok(None),
            Weight::Quantized(matrix) => {
                Ok(Some(Weight::store(matrix.dense()?, Epilogue::None, Rows::Many)?))
            }
            Weight::Dense(_) | Weight::Packed(_) | Weight::Int8(_) => Ok(None),
        }
    }

    /// `epilogue(x Wᵀ + bias)`: `(…, inputs)` to `(…, outputs)`.
    pub fn product(&self, x: &Tensor, bias: Option<&Tensor>, epilogue: Epilogue) -> Result<Tensor> {
        let fused = epilogue == Epilogue::GeluTanh;
        match (self, bias) {
            (Weight::Packed(packed), _) => {
                self.product_by_onednn(x, bias, epilogue, || packed.forward(x, bias, fused))
            }
            (Weight::Int8(packed), _) => {
                self.product_by_onednn(x, bias, epilogue, || packed.forward(x, bias, fused))
            }
            (Weight::Dense(weight), Some(bias)) if fused && weight.device().is_cuda() => {
                cuda::linear_gelu(x, weight, bias)
            }
            (Weight::Dense(weight), _) => epilogue.apply(x.f_linear(weight, bias)?),
            (Weight::Quantized(matrix), _) => match matrix.product(x, bias)? {
                Some(y) => epilogue.apply(y),
                None => Weight::store(matrix.dense()?, epilogue, Rows::of(x)?)?
                    .product(x, bias, epilogue),
            },
        }
    }

    /// What a product with `x` makes of float32 numbers.
    fn product_bytes(&self, x: &Tensor) -> Result<usize> {
        let rows = onednn::bytes(&[x]) / dim(x, -1)?.max(1) as usize;
        Ok(rows.saturating_mul(self.outputs()?.max(1) as usize))
    }

    /// The product that `forward` makes with oneDNN, GELU in its tanh approximation included.
    fn product_by_onednn(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue,
        forward: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        match onednn::call(self.product_bytes(x)?, forward)? {
            Some(y) if epilogue == Epilogue::GeluTanh => Ok(y),
            Some(y) => epilogue.apply(y),
            None => self.dense_product(x, bias, epilogue),
        }
    }

    /// The same without oneDNN, with a matrix that is made for it.
    fn dense_product(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue,
    ) -> Result<Tensor> {
        let x = x.f_to_kind(Kind::Float)?;
        epilogue.apply(x.f_linear(&self.dense()?, bias)?)
    }

    /// Writes `x Wᵀ + bias` to `out`; both are contiguous, `(…, inputs)` and `(…, outputs)`.
    pub fn product_into(&self, x: &Tensor, bias: &Tensor, out: &Tensor) -> Result<()> {
        match self {
            Weight::Dense(weight) => {
                // Views: a copy of `out` would be written in vain.
                let x = x.f_view([-1, dim(weight, 1)?])?;
                let out = out.f_view([-1, dim(weight, 0)?])?;
                let _ = bias.f_addmm_out(&out, &x, &weight.f_tr()?)?;
                Ok(())
            }
            Weight::Quantized(matrix) => match matrix.product(x, Some(bias))? {
                Some(y) => Ok(out.shallow_clone().f_copy_(&y)?),
                None => Weight::Dense(matrix.dense()?).product_into(x, bias, out),
            },
            Weight::Int8(packed) => {
                let written = || packed.forward_into(x, Some(bias), false, out);
                match onednn::call(self.product_bytes(x)?, written)? {
                    Some(()) => Ok(()),
                    None => Weight::Dense(self.dense()?).product_into(x, bias, out),
                }
            }
            Weight::Packed(_) => {
                let product = self.product(x, Some(bias), Epilogue::None)?;
                Ok(out.shallow_clone().f_copy_(&product)?)
            }
        }
    }

    /// The matrix as torch keeps it: shared where it is stored so, else a copy.
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Weight::Dense(weight) => Ok(weight.shallow_clone()),
            Weight::Packed(packed) => packed.unpacked(),
            Weight::Int8(packed) => packed.unpacked(),
            Weight::Quantized(matrix) => matrix.dense(),
        }
    }

    /// As [`Weight::dense`], in memory of its own.
    pub fn dense_copy(&self) -> Result<Tensor> {
        match self {
            Weight::Dense(weight) => copy_of(weight),
            Weight::Packed(packed) => packed.unpacked(),
            Weight::Int8(packed) => packed.unpacked(),
            Weight::Quantized(matrix) => matrix.dense(),
        }
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> Result<i64> {
        match self {
            Weight::Dense(weight) => dim(weight, 0),
            Weight::Packed(packed) => dim(packed.tensor(), 0),
            Weight::Int8(packed) => packed.outputs(),
            Weight::Quantized(matrix) => matrix.rows(),
        }
    }

    /// Bytes that it takes less than in float32, where its products are made in fewer bits.
    pub fn bytes_saved(&self) -> u64 {
        match self {
            Weight::Packed(packed) if packed.kind() == Kind::BFloat16 => {
                2 * packed.tensor().numel() as u64
            }
            Weight::Int8(packed) => packed.bytes_saved(),
            _ => 0,
        }
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> Result<i64> {
        match self {
            Weight::Dense(weight) => dim(weight, 1),
            Weight::Packed(packed) => dim(packed.tensor(), 1),
            Weight::Int8(packed) => packed.inputs(),
            Weight::Quantized(matrix) => Ok(matrix.columns()),
        }
    }

    /// Of the matrix the `length` rows from `start` on, which give that part of the outputs.
    pub fn rows(&self, start: i64, length: i64) -> Result<Tensor> {
        match self {
            Weight::Quantized(matrix) => matrix.dense_rows(start, length),
            _ => Ok(self.dense()?.f_narrow(0, start, length)?),
        }
    }

    /// In which inputs must be.
    pub fn kind(&self) -> Kind {
        match self {
            Weight::Dense(weight) => weight.kind(),
            Weight::Packed(_) | Weight::Int8(_) => Kind::Float,
            Weight::Quantized(matrix) => matrix.kind(),
        }
    }

    /// Another handle of the same memory.
    pub fn shallow_clone(&self) -> Weight {
        match self {
            Weight::Dense(weight) => Weight::Dense(weight.shallow_clone()),
            Weight::Packed(packed) => Weight::Packed(packed.shallow_clone()),
            Weight::Int8(packed) => Weight::Int8(packed.shallow_clone()),
            Weight::Quantized(matrix) => Weight::Quantized(matrix.shallow_clone()),
        }
    }
}

/// The numbers of `tensor` in memory of their own.
pub fn copy_of(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;

    #[test]
    fn products_are_the_same_however_a_matrix_is_stored() {
        let mut generator = Generator::new(4).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (matrix, bias, x) = (randn(&[160, 112]), randn(&[160]), randn(&[2, 90, 112]));
        let expected = x.linear(&matrix, Some(&bias));
        let precision = MatmulPrecision::Float32;
        for rows in [Rows::Few, Rows::Many] {
            let stored = Weight::store(matrix.copy(), Epilogue::None, rows).unwrap();
            let packed = Weight::is_packed(160 * 112, Epilogue::None, rows, precision);
            assert_eq!(packed, rows == Rows::Many && onednn::is_faster_than_mkl());
            assert_eq!(matches!(stored, Weight::Packed(_)), packed);
            let near = |found: &Tensor| found.allclose(&expected, 1e-5, 1e-4, false);
            assert!(near(&stored.product(&x, Some(&bias), Epilogue::None).unwrap()));
            let out = expected.zeros_like();
            stored.product_into(&x, &bias, &out).unwrap();
            assert!(near(&out));
            // What goes in comes out, and what is made of it is stored as it was.
            assert!(stored.dense().unwrap().equal(&matrix));
            assert!(stored.rows(3, 50).unwrap().equal(&matrix.narrow(0, 3, 50)));
            assert_eq!((stored.outputs().unwrap(), stored.inputs().unwrap()), (160, 112));
            let again = stored.store_alike(stored.dense_copy().unwrap(), Epilogue::None).unwrap();
            assert_eq!(matches!(again, Weight::Packed(_)), packed);
        }
        // A call of oneDNN costs more than a small product.
        assert!(!Weight::is_packed(WORTH_PACKING - 1, Epilogue::None, Rows::Many, precision));
        for fewer in [MatmulPrecision::BFloat16, MatmulPrecision::Int8] {
            assert!(!Weight::is_packed(WORTH_PACKING - 1, Epilogue::None, Rows::Many, fewer));
            assert!(Weight::is_packed(WORTH_PACKING, Epilogue::None, Rows::Many, fewer));
        }
    }

    #[test]
    fn products_in_fewer_bits_are_those_of_the_matrix_that_is_given_back() {
        let mut generator = Generator::new(4).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (matrix, bias, x) = (randn(&[160, 112]), randn(&[160]), randn(&[2, 90, 112]));
        let store = |rows, epilogue, precision| {
            Weight::store_for(matrix.copy(), epilogue, rows, precision).unwrap()
        };
        let saved = [(MatmulPrecision::BFloat16, 2 * 160 * 112)];
        let saved = saved.into_iter().chain([(MatmulPrecision::Int8, 3 * 160 * 112 - 4 * 160)]);
        for (precision, saved) in saved.filter(|(precision, _)| precision.check().is_ok()) {
            let stored = store(Rows::Many, Epilogue::None, precision);
            assert_eq!(stored.bytes_saved(), saved);
            assert_eq!((stored.outputs().unwrap(), stored.inputs().unwrap()), (160, 112));
            assert!(stored.kind() == Kind::Float && stored.ready().unwrap().is_none());
            let rounded = stored.dense().unwrap();
            let off = |found: &Tensor, expected: &Tensor| {
                let off = (found.to_kind(Kind::Float) - expected).norm() / expected.norm();
                off.double_value(&[])
            };
            assert!(off(&rounded, &matrix) > 1e-4 && off(&rounded, &matrix) < 0.01);
            assert!(stored.dense_copy().unwrap().equal(&rounded));
            assert!(stored.rows(3, 50).unwrap().equal(&rounded.narrow(0, 3, 50)));
            let expected = x.linear(&rounded, Some(&bias));
            // What is off is that x is rounded, too.
            let y = stored.product(&x, Some(&bias), Epilogue::None).unwrap();
            assert!(off(&y, &expected) > 1e-4 && off(&y, &expected) < 0.01, "{precision:?}");
            for epilogue in [Epilogue::Gelu, Epilogue::GeluTanh] {
                let found = store(Rows::Many, epilogue, precision);
                let found = found.product(&x, Some(&bias), epilogue).unwrap();
                let expected = epilogue.apply(expected.copy()).unwrap();
                assert!(off(&found, &expected) < 0.015, "{precision:?} {epilogue:?}");
            }
            let out = expected.zeros_like();
            stored.product_into(&x, &bias, &out).unwrap();
            assert!(out.equal(&y));
            assert!(stored.shallow_clone().product(&x, Some(&bias), Epilogue::None).unwrap() == y);
            // Without oneDNN, the matrix alone is rounded.
            let without = stored.dense_product(&x, Some(&bias), Epilogue::None).unwrap();
            assert!(off(&without, &expected) < 1e-6);
            // A matrix that is made of it is stored as it was.
            let again = stored.store_alike(matrix.copy(), Epilogue::None).unwrap();
            assert_eq!(again.bytes_saved(), saved);
            assert!(again.dense().unwrap().equal(&rounded));
            // One for a few rows is not rounded, and neither is one that is for no float32.
            assert!(store(Rows::Few, Epilogue::None, precision).dense().unwrap().equal(&matrix));
            assert!(store(Rows::Few, Epilogue::GeluTanh, precision).bytes_saved() == 0);
            let double = matrix.to_kind(Kind::Double);
            let stored = Weight::store_for(double, Epilogue::None, Rows::Many, precision).unwrap();
            assert!(matches!(stored, Weight::Dense(_)));
        }
    }
}
