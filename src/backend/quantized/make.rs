//! Quantized matrices made of dense ones.

use super::codes::{Codes, ZERO};
use super::matrix::{block_rows, QuantizedMatrix};
use super::Quantization;
use crate::runtime::dim;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// The largest number of float8 e4m3.
pub(super) const LARGEST_E4M3: f64 = 448.0;

impl QuantizedMatrix {
    /// A matrix of `(rows, columns)` whose rows are all written by `fill`, so that the dense one is
    /// never there whole. Dense matrices that are made of it are of `kind`.
    pub fn from_rows(
        quantization: Quantization,
        [rows, columns]: [i64; 2],
        (kind, device): (Kind, Device),
        fill: impl FnOnce(&QuantizedMatrix) -> Result<()>,
    ) -> Result<QuantizedMatrix> {
        let matrix = QuantizedMatrix::empty(quantization, rows, columns, kind, device)?;
        fill(&matrix)?;
        Ok(matrix)
    }

    /// `dense` `(rows, columns)`, of any kind, for dense matrices of its kind. Nobody waits for a device.
    /// Numbers that are not finite take their row, or group, with them: it is read as no numbers.
    pub fn of_rows(quantization: Quantization, dense: &Tensor) -> Result<QuantizedMatrix> {
        let ((rows, columns), device) = (dense.size2()?, dense.device());
        let matrix = QuantizedMatrix::empty(quantization, rows, columns, dense.f_kind()?, device)?;
        let step = block_rows(device, columns);
        let mut done = 0;
        while done < rows {
            let part = dense.f_narrow(0, done, step.min(rows - done))?.f_to_kind(Kind::Float)?;
            matrix.write_blocks(done, &part)?;
            done += dim(&part, 0)?;
        }
        Ok(matrix)
    }

    /// `dense` `(rows, columns)` in the form that this matrix has, for dense matrices of its kind.
    pub fn remade(&self, dense: &Tensor) -> Result<QuantizedMatrix> {
        let (rows, columns) = dense.size2()?;
        let options = (self.kind, dense.device());
        QuantizedMatrix::from_rows(self.quantization(), [rows, columns], options, |matrix| {
            matrix.write(0, &dense.f_to_kind(Kind::Float)?)
        })
    }

    /// Quantizes `rows` `(count, columns)` float32 into the rows from `start` on, while it is made.
    ///
    /// Errors: [`Error::InvalidCheckpoint`] for numbers that are not finite, for which there are no
    /// codes.
    pub fn write(&self, start: i64, rows: &Tensor) -> Result<()> {
        let (count, columns) = rows.size2()?;
        if columns != self.columns || start + count > self.rows()? || rows.f_kind()? != Kind::Float
        {
            return Err(Error::Internal(format!("rows {rows:?} at {start} of a quantized matrix")));
        }
        self.write_blocks(start, rows)?;
        // Once for all, so that a device is waited for once: what is not finite has left its mark on
        // the scale.
        let scale = self.scale.f_narrow(0, start, count)?;
        if scale.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::InvalidCheckpoint(
                "expected finite numbers, found some that are not, for which there are no codes \
                 (or that are too large to scale)"
                    .into(),
            ));
        }
        Ok(())
    }

    fn write_blocks(&self, start: i64, rows: &Tensor) -> Result<()> {
        let (count, columns) = rows.size2()?;
        let padded = self.padded_columns()?;
        let step = block_rows(rows.device(), padded);
        let mut done = 0;
        while done < count {
            let part = rows.f_narrow(0, done, step.min(count - done))?;
            let part = match padded - columns {
                0 => part,
                more => part.f_constant_pad_nd([0, more])?,
            };
            self.write_block(start + done, &part)?;
            done += dim(&part, 0)?;
        }
        Ok(())
    }

    fn write_block(&self, start: i64, rows: &Tensor) -> Result<()> {
        let count = dim(rows, 0)?;
        let groups = rows.f_view([count, -1, self.group])?;
        let scale = match self.codes {
            Codes::Int8(_) => largest(&groups)?.f_div_scalar_(127.0)?,
            Codes::Fp8(_) => largest(&groups)?.f_div_scalar_(LARGEST_E4M3)?,
            Codes::Int4(_) => signed_largest(&groups)?.f_div_scalar_(-ZERO as f64)?,
        };
        let mut kept = self.scale.f_narrow(0, start, count)?;
        kept.f_copy_(&scale.f_squeeze_dim(-1)?)?;
        // Codes are of the scale as it is kept. Zeros, and what is so near that no scale can be
        // kept, have the code of zero.
        let scale = kept.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
        let scale = scale.f_masked_fill(&scale.f_eq(0.0)?, 1.0)?;
        let mut numbers = groups.f_div(&scale)?;
        if let Codes::Fp8(_) = self.codes {
            // A quotient may be rounded beyond the largest number, which would become NaN.
            numbers = numbers.f_clamp_(-LARGEST_E4M3, LARGEST_E4M3)?;
        }
        self.codes.write(start, self.group, numbers.f_view([count, -1])?)
    }
}

/// The largest magnitude of each group `(…, group)`: `(…, 1)`.
pub(super) fn largest(groups: &Tensor) -> Result<Tensor> {
    Ok(groups.f_abs()?.f_amax([-1i64].as_slice(), true)?)
}

/// The element of the largest magnitude of each group, with its sign.
fn signed_largest(groups: &Tensor) -> Result<Tensor> {
    let (most, least) =
        (groups.f_amax([-1i64].as_slice(), true)?, groups.f_amin([-1i64].as_slice(), true)?);
    let above = most.f_ge_tensor(&least.f_neg()?)?;
    Ok(most.f_where_self(&above, &least)?)
}
