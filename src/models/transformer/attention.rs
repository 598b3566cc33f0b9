//! Joint self-attention over text and video (diffusers 0.42.1 models/attention_processor.py:2277).

use super::layers::{LayerNorm, Linear};
use super::rotary::Rotary;
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::Weights;
use crate::Result;
use tch::Tensor;

/// ε of the norms of query and key, which no config sets (cogvideox_transformer_3d.py:97).
const QK_NORM_EPSILON: f64 = 1e-6;

/// An attention module with its projections: `transformer_blocks.N.attn1`.
pub(super) struct SelfAttention {
    heads: i64,
    head_dim: i64,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    norm_q: LayerNorm,
    norm_k: LayerNorm,
    to_out: Linear,
}

impl SelfAttention {
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<SelfAttention> {
        let (heads, head_dim) = (config.num_attention_heads, config.attention_head_dim);
        let width = heads * head_dim;
        let project = |name| Linear::load(&weights.at(name), width, width, config.attention_bias);
        let norm = |name| LayerNorm::load(&weights.at(name), head_dim, QK_NORM_EPSILON, true);
        Ok(SelfAttention {
            heads,
            head_dim,
            to_q: project("to_q")?,
            to_k: project("to_k")?,
            to_v: project("to_v")?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            to_out: Linear::load(&weights.at("to_out.0"), width, width, true)?,
        })
    }

    /// `(batch, text + video tokens, width)` to the same shape. `rotary` turns the video
    /// tokens of query and key, which begin after `text` tokens.
    pub fn forward(&self, x: Tensor, text: i64, rotary: Option<&Rotary>) -> Result<Tensor> {
        let query = self.normed(&self.to_q, &self.norm_q, &x, text, rotary)?;
        let key = self.normed(&self.to_k, &self.norm_k, &x, text, rotary)?;
        let value = self.heads_of(self.to_v.forward(&x)?)?;
        drop(x);
        let attended = Tensor::f_scaled_dot_product_attention(
            &query.f_transpose(1, 2)?,
            &key.f_transpose(1, 2)?,
            &value.f_transpose(1, 2)?,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        )?;
        drop((query, key, value));
        self.to_out.forward(&attended.f_transpose(1, 2)?.f_flatten(2, 3)?)
    }

    /// One of query and key: projected, normalised per head, its video part rotated.
    fn normed(
        &self,
        project: &Linear,
        norm: &LayerNorm,
        x: &Tensor,
        text: i64,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor> {
        let heads = norm.forward(&self.heads_of(project.forward(x)?)?)?;
        if let Some(rotary) = rotary {
            let tokens = heads.size().get(1).copied().unwrap_or(0);
            rotary.apply(&mut heads.f_narrow(1, text, tokens - text)?)?;
        }
        Ok(heads)
    }

    /// `(batch, tokens, width)` to `(batch, tokens, heads, head_dim)`.
    fn heads_of(&self, x: Tensor) -> Result<Tensor> {
        Ok(x.f_unflatten(-1, [self.heads, self.head_dim])?)
    }
}
