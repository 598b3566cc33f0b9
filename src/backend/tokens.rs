//! What lies between the matrix products of a transformer's block.
//!
//! Tokens are `(batch, tokens, width)`, of which the first are text. Each function has a kernel on
//! devices that have ours ([`Backend::Cuda`]), which goes through the tokens once; where there is none
//! for what it is given, it does nothing and says so, and the network does the same by libtorch's
//! operators.

use super::Backend;
use crate::Result;
use tch::Tensor;

/// A vector for the tokens of the video, and one for those of the text, each `(width)`.
#[derive(Clone, Copy)]
pub struct PerToken<'a> {
    pub video: &'a Tensor,
    pub text: &'a Tensor,
}

/// What is normed is multiplied with, and what is added to it then: weight and bias, both of the
/// length that is normed.
pub type Affine<'a> = (&'a Tensor, &'a Tensor);

/// The layer norms over each head of queries and keys, and what turns them after that.
pub struct HeadNorms<'a> {
    pub query: Affine<'a>,
    pub key: Affine<'a>,
    pub epsilon: f64,
    /// `exp(i · angle)` of every video token and pair of numbers, `(video tokens, head_dim / 2)`
    /// complex64.
    pub rotary: Option<&'a Tensor>,
    /// Tokens of text, which are not turned.
    pub text: i64,
}

/// A layer norm over the width, and what becomes of it: `(norm · weight + bias) · (1 + scale) + shift`.
pub struct Modulated<'a> {
    pub affine: Option<Affine<'a>>,
    pub epsilon: f64,
    pub scale: PerToken<'a>,
    pub shift: PerToken<'a>,
    pub text: i64,
}

impl Backend {
    /// Norms and turns the queries and keys of `qkv` `(3, batch, heads, tokens, head_dim)` in place,
    /// which lies in memory as `(batch, tokens, 3, heads, head_dim)`. Returns whether it did.
    pub fn norm_heads(&self, qkv: &Tensor, norms: &HeadNorms) -> Result<bool> {
        match self {
            Backend::Cuda(kernels) => kernels.norm_heads(qkv, norms),
            Backend::Fused | Backend::Aten => Ok(false),
        }
    }

    /// The tokens `x` normed and modulated. With a branch and its gates, `x += gate · branch` in place
    /// before that. `None`: nothing was done.
    pub fn norm_modulate(
        &self,
        x: &Tensor,
        branch: Option<(&Tensor, PerToken)>,
        to: &Modulated,
    ) -> Result<Option<Tensor>> {
        match self {
            Backend::Cuda(kernels) => kernels.norm_modulate(x, branch, to),
            Backend::Fused | Backend::Aten => Ok(None),
        }
    }

    /// `x += gate · branch` in place; of `x` the first `text` tokens are text. Returns whether it did.
    pub fn add_gated(
        &self,
        x: &Tensor,
        branch: &Tensor,
        gate: PerToken,
        text: i64,
    ) -> Result<bool> {
        match self {
            Backend::Cuda(kernels) => kernels.add_gated(x, branch, gate, text),
            Backend::Fused | Backend::Aten => Ok(false),
        }
    }
}
