//! Codes of a matrix's elements, and the numbers that they stand for.

use crate::Result;
use tch::{Device, Kind, Tensor};

/// Bits of a code of four, and the code that stands for zero.
const NIBBLE: i64 = 15;
pub(super) const ZERO: i64 = 8;

/// One code for each element of a matrix whose columns come in groups.
pub(super) enum Codes {
    /// `(rows, columns)` int8.
    Int8(Tensor),
    /// `(rows, columns)` float8 e4m3, which has no infinity.
    Fp8(Tensor),
    /// `(rows, columns / 2)` bytes: of each group, the first half of the columns in the low bits and
    /// the second in the high ones, as GGUF has them.
    Int4(Tensor),
}

impl Codes {
    pub fn tensor(&self) -> &Tensor {
        match self {
            Codes::Int8(codes) | Codes::Fp8(codes) | Codes::Int4(codes) => codes,
        }
    }

    pub fn shallow_clone(&self) -> Codes {
        match self {
            Codes::Int8(codes) => Codes::Int8(codes.shallow_clone()),
            Codes::Fp8(codes) => Codes::Fp8(codes.shallow_clone()),
            Codes::Int4(codes) => Codes::Int4(codes.shallow_clone()),
        }
    }

    /// Writes the numbers of `count` rows from `start` on to `target` `(count, columns)` float32,
    /// dense. `group` is how many columns share a scale.
    pub fn numbers(&self, start: i64, count: i64, group: i64, target: &Tensor) -> Result<()> {
        let mut target = target.shallow_clone();
        match self {
            Codes::Int8(codes) => target.f_copy_(&codes.f_narrow(0, start, count)?)?,
            Codes::Fp8(codes) => {
                let codes = codes.f_narrow(0, start, count)?;
                match codes.device() {
                    Device::Cpu => e4m3(&codes, &mut target)?,
                    _ => target.f_copy_(&codes)?,
                }
            }
            Codes::Int4(codes) => {
                let half = group / 2;
                let codes = codes.f_narrow(0, start, count)?.f_view([count, -1, half])?;
                let halves = target.f_view([count, -1, 2, half])?;
                halves.f_select(2, 0)?.f_copy_(&codes.f_bitwise_and(NIBBLE)?)?;
                let high = codes.f_bitwise_right_shift_tensor_scalar(4)?;
                halves.f_select(2, 1)?.f_copy_(&high)?;
                let _ = target.f_sub_scalar_(ZERO)?;
            }
        }
        Ok(())
    }

    /// Writes codes of `numbers` `(count, columns)`, which are in range and need not be whole, to
    /// the rows from `start` on. `group` is how many columns share a scale.
    pub fn write(&self, start: i64, group: i64, numbers: Tensor) -> Result<()> {
        let mut numbers = numbers;
        let (count, _) = numbers.size2()?;
        let mut target = self.tensor().f_narrow(0, start, count)?;
        match self {
            Codes::Int8(_) => target.f_copy_(&numbers.f_round_()?.f_clamp_(-127, 127)?)?,
            Codes::Fp8(_) => target.f_copy_(&numbers)?,
            Codes::Int4(_) => {
                let whole = numbers.f_round_()?.f_add_scalar_(ZERO)?.f_clamp_(0, NIBBLE)?;
                let whole = whole.f_to_kind(Kind::Uint8)?.f_view([count, -1, 2, group / 2])?;
                let high = whole.f_select(2, 1)?.f_bitwise_left_shift_tensor_scalar(4)?;
                let bytes = high.f_bitwise_or_tensor(&whole.f_select(2, 0)?)?;
                target.f_copy_(&bytes.f_reshape([count, -1])?)?;
            }
        }
        Ok(())
    }
}

/// The numbers of float8 e4m3 `codes` on the CPU, where libtorch converts them one by one: four
/// times as fast by way of float16, which has the same digits in other places and an exponent that
/// is 8 less. There are no NaNs among the codes.
fn e4m3(codes: &Tensor, target: &mut Tensor) -> Result<()> {
    let mut bits = codes.f_view_dtype(Kind::Int8)?.f_to_kind(Kind::Int16)?;
    // Sign extension leaves the sign in the upper bit; exponent and digits move up by 7.
    let mut moved = bits.f_bitwise_left_shift_tensor_scalar(7)?;
    let sign = bits.f_bitwise_and_(-0x8000)?;
    let half = moved.f_bitwise_and_(0x3fff)?.f_bitwise_or_tensor(&sign)?;
    target.f_copy_(&half.f_view_dtype(Kind::Half)?)?;
    let _ = target.f_mul_scalar_(256.0)?;
    Ok(())
}
