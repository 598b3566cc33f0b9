//! Matrices in fewer bits: codes of eight or four bits, and a scale for each group of columns.
//!
//! | kind | codes | scale | error of an element, at most |
//! | --- | --- | --- | --- |
//! | `int8` | −127 to 127 | float32, one for a row | largest of the row / 254 |
//! | `fp8` | float8 e4m3 | float32, one for a row | 1/16 of the element, or largest of the row / 458752 |
//! | `int4` | 0 to 15, of which 8 is zero | bfloat16, one for 32 columns | largest of the group / 7.8 |
//!
//! A row is an output of the layer. Rounding to the nearest code makes the error of `int8` half a
//! step (Jacob et al., arXiv 1712.05877, section 2.1, without a zero point, since weights lie about
//! zero), of `fp8` half a unit in the last of four binary digits (Micikevicius et al., arXiv
//! 2209.05433, table 1). `int4` has one code more below zero than above: the element of largest
//! magnitude gets −8, whatever its sign, and one of opposite sign that is as large is off by a
//! step; others by half of one.
//!
//! Nothing computes in these: a product is one with a dense matrix that is made for it and gone
//! after it. So what is saved is memory, and what is paid a pass over the matrix for each product.

mod codes;
mod make;
mod matrix;

pub use matrix::QuantizedMatrix;

use crate::{Error, Result};
use tch::Kind;

/// How the matrices of a component are stored, as a host asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    Int8,
    Fp8,
    Int4,
}

impl Quantization {
    pub const ALL: [Quantization; 3] = [Quantization::Int8, Quantization::Fp8, Quantization::Int4];

    /// The name a host uses.
    pub fn name(self) -> &'static str {
        match self {
            Quantization::Int8 => "int8",
            Quantization::Fp8 => "fp8",
            Quantization::Int4 => "int4",
        }
    }

    /// The one whose codes are of this kind.
    pub fn of_codes(kind: Kind) -> Option<Quantization> {
        match kind {
            Kind::Int8 => Some(Quantization::Int8),
            Kind::Float8e4m3fn => Some(Quantization::Fp8),
            Kind::Uint8 => Some(Quantization::Int4),
            _ => None,
        }
    }

    /// Errors: [`Error::InvalidArgument`] for another name.
    pub fn parse(text: &str) -> Result<Quantization> {
        let found = Quantization::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "quantization must be one of {:?}, found {text:?}",
                Quantization::ALL.map(Quantization::name)
            ))
        })
    }
}

#[cfg(test)]
mod tests;
