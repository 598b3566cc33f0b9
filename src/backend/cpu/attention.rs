//! Attention in float32, where this processor has a kernel for it.

use crate::runtime::shim::call;
use crate::Result;
use std::ffi::c_char;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

extern "C" {
    fn cvx_shim_attention_available(head_size: i64) -> i32;
    fn cvx_shim_attention(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        scale: f64,
        out: *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// Whether [`attend`] can be called with them: float32 on the CPU, a head's numbers side by side, at
/// most 128 of them, and AVX2 or AVX-512. It takes half of the time of libtorch's, and gives each
/// query the same bits whichever others it is called with.
pub fn suits(parts: [&Tensor; 3]) -> bool {
    let suits = |tensor: &&Tensor| {
        let (size, stride) = (tensor.size(), tensor.stride());
        let [.., head_size] = size.as_slice() else { return false };
        // SAFETY: takes a number alone.
        let available = || unsafe { cvx_shim_attention_available(*head_size) != 0 };
        tensor.device() == Device::Cpu
            && tensor.kind() == Kind::Float
            && size.len() == 4
            && size.get(2).is_some_and(|&tokens| tokens > 0)
            && stride.last() == Some(&1)
            && available()
    };
    parts.iter().all(suits)
}

/// `softmax(scale · query keyᵀ) value` of `(batch, heads, tokens, head_size)`, written to `out`
/// `(batch, queries, heads, head_size)`, whose numbers of a head lie side by side.
pub fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    scale: f64,
    out: &mut Tensor,
) -> Result<()> {
    // SAFETY: the tensors are alive during the call; the shim checks their layout and that they fit
    // each other.
    call(|message| unsafe {
        cvx_shim_attention(
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            scale,
            out.as_mut_ptr(),
            message,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;

    fn attended(query: &Tensor, key: &Tensor, value: &Tensor, scale: f64) -> Tensor {
        let &[batch, heads, queries, head_size] = query.size().as_slice() else { panic!() };
        let shape = [batch, queries, heads, head_size];
        let mut out = Tensor::full(shape, 7.0, (Kind::Float, Device::Cpu));
        attend(query, key, value, scale, &mut out).unwrap();
        out.transpose(1, 2)
    }

    /// In float64, by its parts.
    fn exact(query: &Tensor, key: &Tensor, value: &Tensor, scale: f64) -> Tensor {
        let [query, key, value] = [query, key, value].map(|t| t.to_kind(Kind::Double));
        let scores = query.matmul(&key.transpose(-2, -1)) * scale;
        scores.softmax(-1, Kind::Double).matmul(&value)
    }

    #[test]
    fn attention_is_that_of_libtorch_for_odd_sizes_and_strides() {
        let mut generator = Generator::new(8).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        for (queries, keys, head_size) in [
            (1, 1, 1),
            (3, 7, 5),
            (47, 96, 16),
            (48, 97, 64),
            (49, 95, 64),
            (150, 311, 24),
            (200, 60, 128),
        ] {
            let query = randn(&[2, 3, queries, head_size]);
            // As they lie side by side in one product: (batch, tokens, key and value, heads, size)
            let pair = randn(&[2, keys, 2, 3, head_size]).permute([2, 0, 3, 1, 4]);
            let (key, value) = (pair.select(0, 0), pair.select(0, 1));
            if !suits([&query, &key, &value]) {
                return;
            }
            // Scores of some tens, too.
            for scale in [1.0 / (head_size as f64).sqrt(), 2.0] {
                let found = attended(&query, &key, &value, scale);
                let exact = exact(&query, &key, &value, scale);
                let error = (&found - &exact).abs().max().double_value(&[]);
                let what = format!("{queries} queries, {keys} keys, {head_size}, scale {scale}");
                // A weight is off by what its score is, which has 24 bits: scores reach 100 there.
                assert!(error < if scale == 2.0 { 1e-4 } else { 2e-6 }, "{what}: {error}");
                let theirs = Tensor::scaled_dot_product_attention(
                    &query,
                    &key,
                    &value,
                    None::<&Tensor>,
                    0.0,
                    false,
                    Some(scale),
                    false,
                );
                let theirs = (theirs - &exact).abs().max().double_value(&[]);
                assert!(error <= 2.0 * theirs + 5e-7, "{what}: {error}, libtorch {theirs}");
            }
        }
    }

    #[test]
    fn a_query_has_the_same_bits_whichever_others_there_are() {
        let mut generator = Generator::new(9).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let (query, key, value) =
            (randn(&[1, 2, 130, 16]), randn(&[1, 2, 130, 16]), randn(&[1, 2, 130, 16]));
        if !suits([&query, &key, &value]) {
            return;
        }
        let whole = attended(&query, &key, &value, 0.25);
        for (start, count) in [(0, 1), (5, 17), (48, 48), (47, 83)] {
            let part = attended(&query.narrow(2, start, count), &key, &value, 0.25);
            assert!(part.equal(&whole.narrow(2, start, count)), "from {start}, {count}");
        }
    }

    #[test]
    fn what_is_no_number_stays_with_its_query_and_infinity_is_as_in_libtorch() {
        let ones = |tokens: i64| Tensor::ones([1, 1, tokens, 16], (Kind::Float, Device::Cpu));
        let (query, key, value) = (ones(60), ones(200), ones(200));
        if !suits([&query, &key, &value]) {
            return;
        }
        let at = |tensor: &Tensor, token: i64, number: f64| {
            let _ = tensor.narrow(2, token, 1).narrow(3, 3, 1).fill_(number);
        };
        // One query: its row alone. Then values: their column for all.
        for number in [f64::NAN, f64::INFINITY] {
            let query = query.copy();
            at(&query, 20, number);
            let found = attended(&query, &key, &value, 0.25);
            let rows: Vec<bool> =
                Vec::try_from(found.isnan().any_dim(3, false).flatten(0, -1)).unwrap();
            assert!(rows.iter().enumerate().all(|(row, &is)| is == (row == 20)), "{number}");
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let value = value.copy();
            at(&value, 150, number);
            let found = attended(&query, &key, &value, 0.25).narrow(3, 3, 1);
            let column = f64::try_from(found.flatten(0, -1).get(7)).unwrap();
            assert!(column.is_nan() == number.is_nan() && (number.is_nan() || column == number));
        }
        // A key that scores far above or below all others takes all, or nothing.
        let other = value.copy();
        let _ = other.narrow(2, 100, 1).fill_(5.0);
        for (number, expected) in [(1e30, 5.0), (-1e30, 1.0)] {
            let key = key.copy();
            at(&key, 100, number);
            let found = attended(&query, &key, &other, 0.25);
            let error = (found - expected).abs().max().double_value(&[]);
            assert!(error < 1e-5, "{number}: {error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let heads = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        let (query, key) = (heads(&[1, 2, 5, 8]), heads(&[1, 2, 6, 8]));
        if !suits([&query, &key, &key]) {
            return;
        }
        let mut out = heads(&[1, 5, 2, 8]);
        assert!(attend(&query, &key, &key, 1.0, &mut out).is_ok());
        assert!(attend(&query, &key, &heads(&[1, 2, 7, 8]), 1.0, &mut out).is_err());
        assert!(attend(&query, &key, &key, 1.0, &mut heads(&[1, 2, 5, 8])).is_err());
        assert!(attend(&query.to_kind(Kind::Double), &key, &key, 1.0, &mut out).is_err());
        assert!(!suits([&query.transpose(2, 3), &key, &key]));
        assert!(!suits([&heads(&[1, 1, 2, 200]), &key, &key]));
    }
}
