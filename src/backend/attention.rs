//! Scaled dot-product attention, in pieces where it would take long.

use super::cpu::attention as fused;
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::Tensor;

/// Queries that libtorch's CPU kernel takes at once for long sequences; pieces of a multiple of it
/// are computed as they would be in one call, as any pieces are by our own (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp).
const BLOCK: i64 = 256;

/// What a query sees.
pub struct Attention<'a> {
    /// `(batch, heads, queries, head_dim)`.
    pub query: &'a Tensor,
    /// `(batch, heads, keys, head_dim)`, as `value`.
    pub key: &'a Tensor,
    pub value: &'a Tensor,
    /// Added to the scores, `(1 or batch, 1 or heads, queries, keys)`.
    pub bias: Option<&'a Tensor>,
    /// What scores are multiplied by; 1 / √head_dim unless given.
    pub scale: Option<f64>,
}

impl Attention<'_> {
    /// The attended values `(batch, queries, heads × head_dim)`. On the CPU a token of `control`
    /// ends it with [`Error::Cancelled`] within about a tenth of a second.
    pub fn attend(&self, control: &Control) -> Result<Tensor> {
        let size = self.query.size();
        let &[batch, heads, queries, head_dim] = size.as_slice() else {
            return Err(Error::Internal(format!("attention: queries of {size:?}")));
        };
        // Two products, of queries and keys and of scores and values; and each score's exponential
        // and what is added to it, which count where heads are small.
        let passes = if self.bias.is_some() { 3 } else { 2 };
        let score = 2i64.saturating_mul(head_dim).saturating_add(passes * pieces::ELEMENT);
        let cost = score.saturating_mul(dim(self.key, 2)?).max(1);
        let all = cost.saturating_mul(batch * heads).saturating_mul(queries);
        let budget = match pieces::budget(self.query.device()) {
            Some(budget) if all > budget => budget,
            _ => return self.at_once(),
        };
        let [some_heads, rows] = piece(budget, cost, heads, queries);
        let out = self.room()?;
        for row in 0..batch {
            for head in (0..heads).step_by(some_heads as usize) {
                for start in (0..queries).step_by(rows as usize) {
                    control.check()?;
                    let part = [(row, 1), (head, some_heads), (start, rows)];
                    self.part(part, &out)?;
                }
            }
        }
        Ok(out.f_flatten(2, 3)?)
    }

    /// Writes a piece, given as starts and lengths of rows, heads and queries, to its place in
    /// `out` `(batch, queries, heads, head_dim)`.
    fn part(&self, part: [(i64, i64); 3], out: &Tensor) -> Result<()> {
        let narrow = |tensor: &Tensor, along: &[(i64, usize)]| {
            let mut view = tensor.shallow_clone();
            for &(axis, of) in along {
                let (Some(&(start, length)), whole) = (part.get(of), dim(&view, axis)?) else {
                    continue;
                };
                // A bias may be the same for all rows or heads.
                if whole > 1 {
                    view = view.f_narrow(axis, start, length.min(whole - start))?;
                }
            }
            Ok::<_, Error>(view)
        };
        let queries = [(0, 0), (1, 1), (2, 2)];
        let keys = [(0, 0), (1, 1)];
        let bias = self.bias.map(|bias| narrow(bias, &queries)).transpose()?;
        let attended = Attention {
            query: &narrow(self.query, &queries)?,
            key: &narrow(self.key, &keys)?,
            value: &narrow(self.value, &keys)?,
            bias: bias.as_ref(),
            scale: self.scale,
        };
        attended.write(narrow(out, &[(0, 0), (1, 2), (2, 1)])?)
    }

    fn at_once(&self) -> Result<Tensor> {
        if !self.has_kernel() {
            return Ok(self.call()?.f_transpose(1, 2)?.f_flatten(2, 3)?);
        }
        let out = self.room()?;
        self.write(out.shallow_clone())?;
        Ok(out.f_flatten(2, 3)?)
    }

    /// Memory for the result, `(batch, queries, heads, head_dim)`.
    fn room(&self) -> Result<Tensor> {
        let &[batch, heads, queries, head_dim] = self.query.size().as_slice() else {
            return Err(Error::Internal(format!("attention: queries of {:?}", self.query.size())));
        };
        let options = (self.value.f_kind()?, self.value.device());
        Ok(Tensor::f_empty([batch, queries, heads, head_dim], options)?)
    }

    /// Whether a kernel of our own takes it.
    fn has_kernel(&self) -> bool {
        self.bias.is_none() && fused::suits([self.query, self.key, self.value])
    }

    /// Writes the result to `out` `(batch, queries, heads, head_dim)`.
    fn write(&self, mut out: Tensor) -> Result<()> {
        if self.has_kernel() {
            let scale = match self.scale {
                Some(scale) => scale,
                None => 1.0 / (dim(self.query, 3)?.max(1) as f64).sqrt(),
            };
            return fused::attend(self.query, self.key, self.value, scale, &mut out);
        }
        Ok(out.f_copy_(&self.call()?.f_transpose(1, 2)?)?)
    }

    /// By libtorch: `(batch, heads, queries, head_dim)`.
    fn call(&self) -> Result<Tensor> {
        let (dropout, causal, gqa) = (0.0, false, false);
        Ok(Tensor::f_scaled_dot_product_attention(
            self.query, self.key, self.value, self.bias, dropout, causal, self.scale, gqa,
        )?)
    }
}

/// Heads and queries of a piece of at most `budget` multiplications, if a query of a head costs
/// `cost`: whole blocks of queries where they fit, and something to do for each thread.
fn piece(budget: i64, cost: i64, heads: i64, queries: i64) -> [i64; 2] {
    let threads = pieces::threads();
    let blocks = budget / cost.saturating_mul(BLOCK).max(1);
    if blocks >= heads {
        let rows = (blocks / heads.max(1)).max(1) * BLOCK;
        return [heads, rows.min(queries)];
    }
    if blocks >= threads {
        return [(blocks / threads * threads).min(heads), BLOCK.min(queries)];
    }
    // Smaller blocks, as the kernel has them for short sequences.
    let some_heads = threads.min(heads);
    let rows = budget / cost.saturating_mul(some_heads).max(1);
    let rows = if rows >= 32 { rows / 32 * 32 } else { rows.max(1) };
    [some_heads, rows.min(queries)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;
    use tch::Kind;

    #[test]
    fn pieces_of_attention_are_the_whole() {
        let mut generator = Generator::new(5).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        let queries = 1100;
        let (q, k, v) =
            (randn(&[2, 3, queries, 8]), randn(&[2, 3, queries, 8]), randn(&[2, 3, queries, 8]));
        let bias = randn(&[1, 3, queries, queries]);
        for bias in [None, Some(&bias)] {
            let attention = Attention { query: &q, key: &k, value: &v, bias, scale: None };
            let whole = attention.at_once().unwrap().unflatten(2, [3, 8]);
            for [heads, rows] in [[3, 512], [2, 256], [1, 1100], [3, 100]] {
                let out = whole.zeros_like();
                for row in 0..2 {
                    for head in (0..3).step_by(heads as usize) {
                        for start in (0..queries).step_by(rows as usize) {
                            let part = [(row, 1), (head, heads), (start, rows)];
                            attention.part(part, &out).unwrap();
                        }
                    }
                }
                if rows % BLOCK == 0 {
                    assert!(out.equal(&whole), "{heads} heads, {rows} queries");
                }
                assert!(out.allclose(&whole, 1e-5, 1e-5, false), "{heads} heads, {rows} queries");
            }
        }
    }

    #[test]
    fn a_piece_is_not_above_its_budget_and_gives_each_thread_something() {
        let threads = pieces::threads();
        let budget = 2_000_000_000 * threads;
        for heads in [1, 2, 30, 48] {
            for keys in [1_000, 17_776, 53_248, 212_992, 10_000_000] {
                let cost = 2 * 64 * keys;
                let [some, rows] = piece(budget, cost, heads, keys);
                assert!(some * rows * cost <= budget || rows == 1, "{heads} {keys}");
                assert!(some >= 1 && some <= heads && rows >= 1 && rows <= keys);
                assert!(some * rows.max(BLOCK) / BLOCK >= threads.min(heads), "{heads} {keys}");
            }
        }
    }
}
