//! Long operations in pieces, so that cancelling is heeded within a promised time.
//!
//! libtorch's operators run to their end: attention over the tokens of a large video would not be
//! stopped for minutes. On the CPU an operation that would take longer than about a tenth of a
//! second is therefore done in pieces, with a look at the tokens between them. How long it would
//! take is estimated by its multiplications. Below that nothing is done otherwise than in one
//! call. On a device the host only launches operations, and `pace` holds it back.

use super::control::Control;
use super::{dim, waiting};
use crate::Result;
use tch::{Device, Tensor};

/// Multiplications of a piece for each thread: 40 to 85 ms in float32 on a core with AVX2, which
/// does 24 to 50 a nanosecond.
const MULTIPLICATIONS: i64 = 2_000_000_000;
/// The same with AVX-512, where it does 50 to 120. Smaller pieces cost more than they are worth.
const WIDE_MULTIPLICATIONS: i64 = 4_000_000_000;

/// What going through an element once costs, in multiplications: about half a nanosecond.
pub const ELEMENT: i64 = 24;

/// The multiplications of a piece on `device`; none on one that is launched to.
pub fn budget(device: Device) -> Option<i64> {
    match device {
        Device::Cpu => Some(multiplications().saturating_mul(threads())),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn multiplications() -> i64 {
    match is_x86_feature_detected!("avx512f") {
        true => WIDE_MULTIPLICATIONS,
        false => MULTIPLICATIONS,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplications() -> i64 {
    MULTIPLICATIONS
}

/// Threads that an operation is shared among.
pub fn threads() -> i64 {
    i64::from(tch::get_num_threads()).max(1)
}

/// How many of `rows` rows go into one piece, where each costs `cost` multiplications: `None` where
/// all are to be done at once. The pieces are of about the same size.
pub fn rows_of_a_piece(device: Device, rows: i64, cost: i64) -> Option<i64> {
    let budget = budget(device)?;
    let cost = cost.max(1);
    if rows <= 1 || rows.saturating_mul(cost) <= budget {
        return None;
    }
    let step = (budget / cost).clamp(1, rows);
    Some(even(rows, step))
}

/// Rows of `x` `(…, inputs)`.
pub fn rows(x: &Tensor) -> i64 {
    x.size().iter().rev().skip(1).product()
}

/// The size of the fewest equal pieces of `rows` that have at most `step` rows.
fn even(rows: i64, step: i64) -> i64 {
    let pieces = (rows - 1) / step.max(1) + 1;
    (rows - 1) / pieces.max(1) + 1
}

/// A look at the tokens before an operation that is not divided: a layer has several, each of which
/// may take what a piece takes. On a device the host only launches them.
pub fn begin(device: Device, control: &Control) -> Result<()> {
    match device {
        Device::Cpu => {
            waiting::look();
            control.check()
        }
        _ => Ok(()),
    }
}

/// Calls `each(start, count)` for pieces of `rows` rows in turn, one for all where that is short.
pub fn each(
    device: Device,
    rows: i64,
    cost: i64,
    control: &Control,
    mut each: impl FnMut(i64, i64) -> Result<()>,
) -> Result<()> {
    let Some(step) = rows_of_a_piece(device, rows, cost) else {
        begin(device, control)?;
        return each(0, rows);
    };
    let mut start = 0;
    while start < rows {
        begin(device, control)?;
        let count = step.min(rows - start);
        each(start, count)?;
        start += count;
    }
    Ok(())
}

/// `function(x)` for one that makes of each row of `x` `(…, inputs)` one of `(…, outputs)`, at
/// `cost` multiplications a row: in pieces of rows where all of them would take long.
pub fn map_rows(
    x: &Tensor,
    cost: i64,
    control: &Control,
    function: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let size = x.size();
    let [leading @ .., inputs] = size.as_slice() else { return function(x) };
    let rows: i64 = leading.iter().product();
    if rows_of_a_piece(x.device(), rows, cost).is_none() {
        begin(x.device(), control)?;
        return function(x);
    }
    let flat = x.f_reshape([rows, *inputs])?;
    let mut out: Option<Tensor> = None;
    each(x.device(), rows, cost, control, |start, count| {
        let part = function(&flat.f_narrow(0, start, count)?)?;
        let whole = match out.take() {
            Some(whole) => whole,
            None => Tensor::f_empty([rows, dim(&part, 1)?], (part.f_kind()?, part.device()))?,
        };
        whole.f_narrow(0, start, count)?.f_copy_(&part)?;
        out = Some(whole);
        Ok(())
    })?;
    match out {
        Some(out) => Ok(out.f_view([leading, &[-1]].concat().as_slice())?),
        None => function(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::CancelToken;
    use crate::Error;
    use tch::Kind;

    #[test]
    fn short_work_is_one_piece_and_long_work_is_shared_evenly() {
        let budget = budget(Device::Cpu).unwrap();
        assert_eq!(rows_of_a_piece(Device::Cpu, 10, budget / 10), None);
        assert_eq!(rows_of_a_piece(Device::Cpu, 10, budget / 4), Some(4));
        assert_eq!(rows_of_a_piece(Device::Cpu, 9, budget / 4), Some(3));
        assert_eq!(rows_of_a_piece(Device::Cpu, 9, i64::MAX), Some(1));
        assert_eq!(rows_of_a_piece(Device::Cuda(0), i64::MAX, i64::MAX), None);
    }

    #[test]
    fn rows_in_pieces_are_the_rows_and_a_token_ends_them() {
        let cost = budget(Device::Cpu).unwrap() / 3;
        let x = Tensor::f_arange(2 * 5 * 3, (Kind::Float, Device::Cpu)).unwrap().view([2, 5, 3]);
        let double = |x: &Tensor| Ok(x.f_mul_scalar(2.0)?);
        let control = Control::default();
        let y = map_rows(&x, cost, &control, double).unwrap();
        assert!(y.equal(&double(&x).unwrap()) && y.size() == [2, 5, 3]);

        let token = CancelToken::default();
        let control = Control { cancel: Some(token.clone()), ..Control::default() };
        // What is not divided is not begun.
        token.cancel();
        assert!(matches!(map_rows(&x, 1, &control, double), Err(Error::Cancelled(_))));
        let token = CancelToken::default();
        let control = Control { cancel: Some(token.clone()), ..Control::default() };
        let mut pieces = 0;
        let error = each(Device::Cpu, 10, cost, &control, |_, _| {
            pieces += 1;
            token.cancel();
            Ok(())
        });
        assert!(matches!(error, Err(Error::Cancelled(_))));
        assert_eq!(pieces, 1);
    }
}
