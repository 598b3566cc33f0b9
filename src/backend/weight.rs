//! Matrices of linear layers, in the storage that their device and use call for.
//!
//! A layer holds a [`Weight`] and multiplies with it; how the numbers lie in memory is told
//! nowhere else. A new storage is a variant here and an arm in each `match` below.

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
        let half = precision == MatmulPrecision::BFloat16 && Weight::is_large(elements, rows);
        let half = half && dense.device() == Device::Cpu && dense.f_kind()? == Kind::Float;
        if half || Weight::is_packed(elements, epilogue, rows, precision) {
            let bytes = onednn::bytes(&[&dense]);
            let pack = || {
                let packed = match half {
                    true => PackedLinear::new(&dense.f_to_kind(Kind::BFloat16)?)?,
                    false => PackedLinear::new(&dense)?,
                };
                if let Some(packed) = &packed {
                    onednn::practise(&dense.size(), || packed.unpacked())?;
                }
                Ok(packed)
            };
            if let Some(Some(packed)) = onednn::call(bytes, pack)? {
                return Ok(Weight::Packed(packed));
            }
        }
        Ok(Weight::Dense(dense))
    }

    /// Whether a float32 matrix on the CPU of so many elements is packed, where oneDNN can be used:
    /// where the epilogue gains from it, or all products do.
    pub fn is_packed(
        elements: i64,
        epilogue: Epilogue,
        rows: Rows,
        precision: MatmulPrecision,
    ) -> bool {
        let gains = onednn::is_faster_than_mkl() || precision == MatmulPrecision::BFloat16;
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
            Weight::Dense(_) | Weight::Packed(_) => Ok(None),
        }
    }

    /// `epilogue(x Wᵀ + bias)`: `(…, inputs)` to `(…, outputs)`.
    pub fn product(&self, x: &Tensor, bias: Option<&Tensor>, epilogue: Epilogue) -> Result<Tensor> {
        match (self, bias) {
            (Weight::Packed(packed), _) => {
                let fused = epilogue == Epilogue::GeluTanh;
                let rows = onednn::bytes(&[x]) / dim(x, -1)?.max(1) as usize;
                let bytes = rows.saturating_mul(dim(packed.tensor(), 0)?.max(1) as usize);
                match onednn::call(bytes, || packed.forward(x, bias, fused))? {
                    Some(y) if fused => Ok(y),
                    Some(y) => epilogue.apply(y),
                    None => {
                        let x = x.f_to_kind(Kind::Float)?;
                        epilogue.apply(x.f_linear(&packed.unpacked()?, bias)?)
                    }
                }
            }
            (Weight::Dense(weight), Some(bias))
                if epilogue == Epilogue::GeluTanh && weight.device().is_cuda() =>
            {
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
            Weight::Quantized(matrix) => matrix.dense(),
        }
    }

    /// As [`Weight::dense`], in memory of its own.
    pub fn dense_copy(&self) -> Result<Tensor> {
        match self {
            Weight::Dense(weight) => copy_of(weight),
            Weight::Packed(packed) => packed.unpacked(),
            Weight::Quantized(matrix) => matrix.dense(),
        }
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> Result<i64> {
        match self {
            Weight::Dense(weight) => dim(weight, 0),
            Weight::Packed(packed) => dim(packed.tensor(), 0),
            Weight::Quantized(matrix) => matrix.rows(),
        }
    }

    /// Bytes that it takes less than in float32, where its products are made in bfloat16.
    pub fn bytes_saved(&self) -> u64 {
        match self {
            Weight::Packed(packed) if packed.kind() == Kind::BFloat16 => {
                2 * packed.tensor().numel() as u64
            }
            _ => 0,
        }
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> Result<i64> {
        match self {
            Weight::Dense(weight) => dim(weight, 1),
            Weight::Packed(packed) => dim(packed.tensor(), 1),
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
            Weight::Packed(_) => Kind::Float,
            Weight::Quantized(matrix) => matrix.kind(),
        }
    }

    /// Another handle of the same memory.
    pub fn shallow_clone(&self) -> Weight {
        match self {
            Weight::Dense(weight) => Weight::Dense(weight.shallow_clone()),
            Weight::Packed(packed) => Weight::Packed(packed.shallow_clone()),
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
        let half = MatmulPrecision::BFloat16;
        assert!(!Weight::is_packed(WORTH_PACKING - 1, Epilogue::None, Rows::Many, half));
        assert!(Weight::is_packed(WORTH_PACKING, Epilogue::None, Rows::Many, half));
    }
}
