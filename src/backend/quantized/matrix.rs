//! A quantized matrix and the dense ones that are made of it.

use super::codes::Codes;
use super::Quantization;
use crate::runtime::{dim, pieces};
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Columns that share a scale in four bits.
pub(super) const GROUP: i64 = 32;

/// Elements that are turned into numbers at once: on the CPU so few that they are still in its
/// caches for the next operation, elsewhere so many that launches do not count.
const BLOCK_ON_CPU: i64 = 1 << 17;
const BLOCK_ELSEWHERE: i64 = 1 << 24;

/// A matrix `(rows, columns)` that stands for `codes · scale`. It is not changed by use.
pub struct QuantizedMatrix {
    pub(super) codes: Codes,
    /// `(rows, groups)`, of any floating-point kind.
    pub(super) scale: Tensor,
    pub(super) columns: i64,
    /// Columns that share a scale; the last group of a row may have fewer.
    pub(super) group: i64,
    /// Of the dense matrices.
    pub(super) kind: Kind,
    /// Whether products are of codes.
    pub(super) computes: bool,
}

impl QuantizedMatrix {
    /// Room for a matrix whose rows are yet to be written.
    pub(super) fn empty(
        quantization: Quantization,
        rows: i64,
        columns: i64,
        kind: Kind,
        device: Device,
    ) -> Result<QuantizedMatrix> {
        let room = |(kind, shape): (Kind, [i64; 2])| Tensor::f_empty(shape, (kind, device));
        let [codes, scale] = QuantizedMatrix::layout(quantization, rows, columns);
        QuantizedMatrix::from_parts(quantization, room(codes)?, room(scale)?, columns, kind)
    }

    /// What the codes and the scales of a matrix `(rows, columns)` are: their kinds and shapes.
    pub fn layout(quantization: Quantization, rows: i64, columns: i64) -> [(Kind, [i64; 2]); 2] {
        match quantization {
            Quantization::Int8 => [(Kind::Int8, [rows, columns]), (Kind::Float, [rows, 1])],
            Quantization::Fp8 | Quantization::Fp8Compute => {
                [(Kind::Float8e4m3fn, [rows, columns]), (Kind::Float, [rows, 1])]
            }
            Quantization::Int4 => {
                let groups = (columns + GROUP - 1) / GROUP;
                [(Kind::Uint8, [rows, groups * GROUP / 2]), (Kind::BFloat16, [rows, groups])]
            }
        }
    }

    /// The matrix of these codes and scales, which are as [`QuantizedMatrix::layout`] says. Dense
    /// matrices that are made of it are of `kind`.
    pub fn from_parts(
        quantization: Quantization,
        codes: Tensor,
        scale: Tensor,
        columns: i64,
        kind: Kind,
    ) -> Result<QuantizedMatrix> {
        let rows = dim(&codes, 0)?;
        let [of_codes, of_scale] = QuantizedMatrix::layout(quantization, rows, columns);
        for (found, (kind, shape)) in [(&codes, of_codes), (&scale, of_scale)] {
            if found.f_kind()? != kind || found.size() != shape {
                return Err(Error::Internal(format!(
                    "{} of {rows} × {columns}: expected {kind:?} {shape:?}, found {found:?}",
                    quantization.name()
                )));
            }
        }
        let (codes, group) = match quantization {
            Quantization::Int8 => (Codes::Int8(codes), columns.max(1)),
            Quantization::Fp8 | Quantization::Fp8Compute => (Codes::Fp8(codes), columns.max(1)),
            Quantization::Int4 => (Codes::Int4(codes), GROUP),
        };
        let computes = quantization == Quantization::Fp8Compute;
        Ok(QuantizedMatrix { codes, scale, columns, group, kind, computes })
    }

    pub fn codes(&self) -> &Tensor {
        self.codes.tensor()
    }

    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    pub fn rows(&self) -> Result<i64> {
        dim(&self.scale, 0)
    }

    pub fn columns(&self) -> i64 {
        self.columns
    }

    /// Of the dense matrices that are made of it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn quantization(&self) -> Quantization {
        match self.codes {
            Codes::Int8(_) => Quantization::Int8,
            Codes::Fp8(_) if self.computes => Quantization::Fp8Compute,
            Codes::Fp8(_) => Quantization::Fp8,
            Codes::Int4(_) => Quantization::Int4,
        }
    }

    /// Whether products are of its codes.
    pub fn computes(&self) -> bool {
        self.computes
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> Result<u64> {
        let bytes = |tensor: &Tensor| {
            Ok::<_, Error>((tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()) as u64)
        };
        Ok(bytes(self.codes.tensor())? + bytes(&self.scale)?)
    }

    /// Another handle of the same memory.
    pub fn shallow_clone(&self) -> QuantizedMatrix {
        QuantizedMatrix {
            codes: self.codes.shallow_clone(),
            scale: self.scale.shallow_clone(),
            ..*self
        }
    }

    /// Columns with those that fill the last group.
    pub(super) fn padded_columns(&self) -> Result<i64> {
        Ok(dim(&self.scale, 1)? * self.group)
    }

    /// How many rows of `columns` elements become dense at once on `device`.
    pub fn rows_at_once(device: Device, columns: i64) -> i64 {
        block_rows(device, columns)
    }

    /// The whole matrix, dense.
    pub fn dense(&self) -> Result<Tensor> {
        self.dense_rows(0, self.rows()?)
    }

    /// The `length` rows from `start` on as a dense matrix, each element rounded once. Its rows may
    /// lie further apart than they are long.
    pub fn dense_rows(&self, start: i64, length: i64) -> Result<Tensor> {
        let device = self.scale.device();
        let padded = self.padded_columns()?;
        let out = Tensor::f_empty([length, padded], (self.kind, device))?;
        let step = block_rows(device, padded);
        let mut wide = None;
        let mut done = 0;
        while done < length {
            let count = step.min(length - done);
            let mut target = out.f_narrow(0, done, count)?;
            if self.kind == Kind::Float {
                self.write_numbers(start + done, count, &target)?;
            } else {
                if wide.is_none() {
                    wide = Some(Tensor::f_empty([count, padded], (Kind::Float, device))?);
                }
                if let Some(wide) = &wide {
                    let wide = wide.f_narrow(0, 0, count)?;
                    self.write_numbers(start + done, count, &wide)?;
                    target.f_copy_(&wide)?;
                }
            }
            done += count;
        }
        match padded == self.columns {
            true => Ok(out),
            false => Ok(out.f_narrow(1, 0, self.columns)?),
        }
    }

    /// Writes rows in float32 to `target` `(count, padded columns)`.
    fn write_numbers(&self, start: i64, count: i64, target: &Tensor) -> Result<()> {
        self.codes.numbers(start, count, self.group, target)?;
        let scale = self.scale.f_narrow(0, start, count)?.f_to_kind(Kind::Float)?;
        let mut groups = target.f_view([count, -1, self.group])?;
        let _ = groups.f_mul_(&scale.f_unsqueeze(-1)?)?;
        Ok(())
    }
}

/// Rows of `columns` that are done at once.
pub(super) fn block_rows(device: Device, columns: i64) -> i64 {
    let elements = match device {
        Device::Cpu => BLOCK_ON_CPU.saturating_mul(pieces::threads()),
        _ => BLOCK_ELSEWHERE,
    };
    (elements / columns.max(1)).max(1)
}
