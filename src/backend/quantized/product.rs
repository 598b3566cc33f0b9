//! Products of float8 numbers: both factors are rounded to e4m3 with a scale for each row, so that what
//! is multiplied is codes, and scales are multiplied to the result (Micikevicius et al., arXiv
//! 2209.05433, section 3, with a scale for each row in place of one for the tensor).
//!
//! libtorch's `_scaled_mm` has scales of its own, one a tensor everywhere, one a row on some devices
//! and into bfloat16 alone. Here it is given ones and multiplies codes into float32, which every
//! device that has it can, the CPU too: so the same code is tested without a card.

use super::codes::Codes;
use super::make::{largest, LARGEST_E4M3};
use super::QuantizedMatrix;
use crate::runtime::dim;
use crate::Result;
use tch::{Kind, Tensor};

/// The sides of both factors must be multiples of it.
const SIDE: i64 = 16;

impl QuantizedMatrix {
    /// `x Wᵀ + bias` of float8 numbers, `(…, columns)` to `(…, rows)` in the kind of `x`; `None` where
    /// the matrix is not for that, or its sides are no multiples of 16.
    pub fn product(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Option<Tensor>> {
        let Codes::Fp8(codes) = &self.codes else { return Ok(None) };
        let (rows, columns) = (self.rows()?, self.columns);
        if !self.computes || rows % SIDE != 0 || columns % SIDE != 0 {
            return Ok(None);
        }
        let (kind, size) = (x.f_kind()?, x.size());
        let x = x.f_reshape([-1, columns])?.f_to_kind(Kind::Float)?;
        let scale = largest(&x)?.f_div_scalar_(LARGEST_E4M3)?;
        let scale = scale.f_masked_fill(&scale.f_eq(0.0)?, 1.0)?;
        let near = x.f_div(&scale)?.f_clamp_(-LARGEST_E4M3, LARGEST_E4M3)?;
        let near = near.f_to_kind(Kind::Float8e4m3fn)?;
        let one = Tensor::f_ones([0i64; 0].as_slice(), (Kind::Float, x.device()))?;
        let none = None::<&Tensor>;
        let mut y =
            near.f_internal_scaled_mm(&codes.f_tr()?, &one, &one, none, none, Kind::Float, false)?;
        y = y.f_mul_(&scale)?.f_mul_(&self.scale.f_view([1, -1])?)?;
        if let Some(bias) = bias {
            y = y.f_add_(bias)?;
        }
        let mut size = size;
        size.pop();
        size.push(dim(&y, 1)?);
        Ok(Some(y.f_to_kind(kind)?.f_view(size.as_slice())?))
    }
}
