//! `kernels/tokens.cuh` on tensors: see `backend::tokens` for what is computed.

use super::loaded::{blocks, data, DeviceKernels};
use crate::backend::tokens::{HeadNorms, Modulated, PerToken};
use crate::runtime::modules::Arguments;
use crate::Result;
use std::ptr::null_mut;
use tch::{Kind, Tensor};

/// Threads of a block that has a row, and numbers that each of them takes at a time.
const ROW_THREADS: i64 = 128;
const VECTOR: i64 = 8;
/// Threads of a block of the other kernels; eight of them have a head.
const THREADS: u32 = 256;
const HEADS_A_BLOCK: i64 = 32;
const LONGEST_HEAD: i64 = 64;

/// Rows of tokens as a kernel counts them.
struct Rows {
    count: i64,
    tokens: i32,
    text: i32,
    width: i32,
}

impl DeviceKernels {
    pub fn norm_heads(&self, qkv: &Tensor, norms: &HeadNorms) -> Result<bool> {
        let kind = qkv.f_kind()?;
        let (Some(of), &[3, batch, heads, tokens, head_dim]) =
            (self.of(kind), qkv.size().as_slice())
        else {
            return Ok(false);
        };
        let packed = qkv.f_permute([1, 3, 0, 2, 4])?;
        let vectors = [norms.query.0, norms.query.1, norms.key.0, norms.key.1];
        let fits = self.takes(&packed, kind)
            && vectors.iter().all(|v| self.takes(v, kind) && v.size() == [head_dim])
            && head_dim % VECTOR == 0
            && head_dim <= LONGEST_HEAD
            && (0..=tokens).contains(&norms.text);
        let rotary = match norms.rotary {
            Some(table) => {
                let expected = [tokens - norms.text, head_dim / 2];
                if !self.takes(table, Kind::ComplexFloat) || table.size() != expected {
                    return Ok(false);
                }
                data(table)
            }
            None => null_mut(),
        };
        let units = 2 * heads * batch * tokens;
        let (Some(blocks), Some(rows)) =
            (blocks(units, HEADS_A_BLOCK), Rows::new([batch, tokens, head_dim], norms.text))
        else {
            return Ok(false);
        };
        let (Ok(units), Ok(heads), true) = (u32::try_from(units), i32::try_from(heads), fits)
        else {
            return Ok(false);
        };
        let [query, query_bias, key, key_bias] = vectors.map(data);
        let arguments = Arguments::default()
            .addresses_of([data(&packed)])
            .addresses_of([query])
            .addresses_of([query_bias])
            .addresses_of([key])
            .addresses_of([key_bias])
            .addresses_of([rotary])
            .i32(rows.tokens)
            .i32(rows.text)
            .i32(heads)
            .i32(rows.width)
            .u32(units)
            .f32(norms.epsilon as f32);
        // SAFETY: these are the arguments of cvx_norm_heads; above, dtypes, sizes and layouts were
        // found to be what it counts on.
        unsafe { self.launch(of.norm_heads, (blocks, 1, THREADS), arguments)? };
        Ok(true)
    }

    pub fn norm_modulate(
        &self,
        x: &Tensor,
        branch: Option<(&Tensor, PerToken)>,
        to: &Modulated,
    ) -> Result<Option<Tensor>> {
        let (kind, size) = (x.f_kind()?, x.size());
        let (Some(of), &[batch, tokens, width]) = (self.of(kind), size.as_slice()) else {
            return Ok(None);
        };
        let vector = |v: &Tensor| self.takes(v, kind) && v.size() == [width];
        let pair = |pair: PerToken| vector(pair.video) && vector(pair.text);
        let fits = self.takes(x, kind)
            && branch.is_none_or(|(b, gate)| self.takes(b, kind) && b.size() == size && pair(gate))
            && to.affine.is_none_or(|(weight, bias)| vector(weight) && vector(bias))
            && pair(to.scale)
            && pair(to.shift)
            && width % VECTOR == 0;
        let parts = (width + ROW_THREADS * VECTOR - 1) / (ROW_THREADS * VECTOR);
        let functions = if branch.is_some() { &of.gate_norm_modulate } else { &of.norm_modulate };
        let function = usize::try_from(parts - 1).ok().and_then(|part| functions.get(part));
        let (Some(&function), Some(rows), true) =
            (function, Rows::new([batch, tokens, width], to.text), fits)
        else {
            return Ok(None);
        };
        let Some(blocks) = blocks(rows.count, 1) else { return Ok(None) };
        let out = Tensor::f_empty(size.as_slice(), (kind, x.device()))?;
        let (weight, bias) = match to.affine {
            Some((weight, bias)) => (data(weight), data(bias)),
            None => (null_mut(), null_mut()),
        };
        let mut arguments = Arguments::default().addresses_of([data(x)]);
        if let Some((branch, gate)) = branch {
            arguments = arguments.addresses_of([data(branch)]).addresses_of(both(gate));
        }
        let arguments = arguments
            .addresses_of([data(&out)])
            .addresses_of([weight])
            .addresses_of([bias])
            .addresses_of(both(to.scale))
            .addresses_of(both(to.shift))
            .i32(rows.width)
            .i32(rows.tokens)
            .i32(rows.text)
            .f32(to.epsilon as f32);
        // SAFETY: these are the arguments of cvx_norm_modulate, or cvx_gate_norm_modulate with a
        // branch, for rows of this width; dtypes, sizes and layouts were found to be what it counts
        // on.
        unsafe { self.launch(function, (blocks, 1, ROW_THREADS as u32), arguments)? };
        Ok(Some(out))
    }

    pub fn add_gated(
        &self,
        x: &Tensor,
        branch: &Tensor,
        gate: PerToken,
        text: i64,
    ) -> Result<bool> {
        let (kind, size) = (x.f_kind()?, x.size());
        let (Some(of), &[batch, tokens, width]) = (self.of(kind), size.as_slice()) else {
            return Ok(false);
        };
        let vector = |v: &Tensor| self.takes(v, kind) && v.size() == [width];
        let fits = self.takes(x, kind)
            && self.takes(branch, kind)
            && branch.size() == size
            && vector(gate.video)
            && vector(gate.text)
            && width % VECTOR == 0;
        let vectors = batch * tokens * (width / VECTOR);
        let (Some(blocks), Some(rows)) =
            (blocks(vectors, i64::from(THREADS)), Rows::new([batch, tokens, width], text))
        else {
            return Ok(false);
        };
        let (Ok(vectors), true) = (u32::try_from(vectors), fits) else { return Ok(false) };
        let arguments = Arguments::default()
            .addresses_of([data(x)])
            .addresses_of([data(branch)])
            .addresses_of(both(gate))
            .i32(rows.width)
            .i32(rows.tokens)
            .i32(rows.text)
            .u32(vectors);
        // SAFETY: these are the arguments of cvx_add_gated; dtypes, sizes and layouts were found to
        // be what it counts on.
        unsafe { self.launch(of.add_gated, (blocks, 1, THREADS), arguments)? };
        Ok(true)
    }
}

impl Rows {
    /// `None` for more than a kernel counts, and for none.
    fn new([batch, tokens, width]: [i64; 3], text: i64) -> Option<Rows> {
        let number = |n: i64| i32::try_from(n).ok();
        let known = batch > 0 && tokens > 0 && (0..=tokens).contains(&text);
        let rows = Rows {
            count: batch.checked_mul(tokens)?,
            tokens: number(tokens)?,
            text: number(text)?,
            width: number(width)?,
        };
        known.then_some(rows)
    }
}

fn both(of: PerToken) -> [*mut std::ffi::c_void; 2] {
    [data(of.video), data(of.text)]
}
