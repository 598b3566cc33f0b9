//! Joint self-attention over text and video (diffusers 0.42.1 models/attention_processor.py:2277).

use super::block::BlockInput;
use super::rotary::Rotary;
use crate::backend::tokens::HeadNorms;
use crate::backend::{Attention, Backend};
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::Weights;
use crate::models::layers::{LayerNorm, Linear, LinearChange};
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::Tensor;

/// ε of the norms of query and key, which no config sets (cogvideox_transformer_3d.py:100).
const QK_NORM_EPSILON: f64 = 1e-6;

/// An attention module with its projections: `transformer_blocks.N.attn1`.
pub(super) struct SelfAttention {
    heads: i64,
    head_dim: i64,
    /// `to_q`, `to_k` and `to_v` stacked.
    to_qkv: Linear,
    norm_q: LayerNorm,
    norm_k: LayerNorm,
    to_out: Linear,
    backend: Backend,
}

impl SelfAttention {
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<SelfAttention> {
        let (heads, head_dim) = (config.num_attention_heads, config.attention_head_dim);
        let width = heads * head_dim;
        let norm = |name| LayerNorm::load(&weights.at(name), head_dim, QK_NORM_EPSILON, true);
        Ok(SelfAttention {
            heads,
            head_dim,
            to_qkv: Linear::load_stacked(
                weights,
                &["to_q", "to_k", "to_v"],
                width,
                width,
                config.attention_bias,
            )?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            to_out: Linear::load(&weights.at("to_out.0"), width, width, true)?,
            backend: weights.backend(),
        })
    }

    /// The same with other linear layers.
    pub fn with_linears(&self, change: LinearChange) -> Result<SelfAttention> {
        Ok(SelfAttention {
            heads: self.heads,
            head_dim: self.head_dim,
            to_qkv: change(&self.to_qkv)?,
            norm_q: self.norm_q.shallow_clone(),
            norm_k: self.norm_k.shallow_clone(),
            to_out: change(&self.to_out)?,
            backend: self.backend.clone(),
        })
    }

    /// `(batch, text + video tokens, width)` to the same shape. The rotary positions turn the
    /// video tokens of query and key, which begin after the text tokens.
    pub fn forward(&self, x: Tensor, input: &BlockInput) -> Result<Tensor> {
        let &BlockInput { text, rotary, shard, control, .. } = input;
        // (3, batch, heads, tokens, head_dim)
        let qkv = self
            .to_qkv
            .forward_in_pieces(&x, control)?
            .f_unflatten(-1, [3, self.heads, self.head_dim])?
            .f_permute([2, 0, 3, 1, 4])?;
        drop(x);
        let attended = match shard {
            None => self.attend(qkv, text, rotary, control)?,
            Some(shard) => {
                // Norms and positions are each token's own; only attention is among all of them.
                let parts = self.normed(&qkv, text, rotary, control)?;
                drop(qkv);
                let [query, key, value] = &parts;
                let heads = shard.to_heads([query, key, value])?;
                drop(parts);
                let part = |index| heads.f_select(0, index);
                let (query, key, value) = (part(0)?, part(1)?, part(2)?);
                drop(heads);
                let attention =
                    Attention { query: &query, key: &key, value: &value, bias: None, scale: None };
                shard.to_tokens(attention.attend(control)?)?
            }
        };
        self.to_out.forward_in_pieces(&attended, control)
    }

    /// `(3, batch, heads, tokens, head_dim)` to `(batch, tokens, width)`.
    fn attend(
        &self,
        qkv: Tensor,
        text: i64,
        rotary: Option<&Rotary>,
        control: &Control,
    ) -> Result<Tensor> {
        let size = qkv.size();
        let &[_, batch, heads, tokens, head_dim] = size.as_slice() else {
            return Err(Error::Internal(format!("attention: queries and keys of {size:?}")));
        };
        // Norms and positions go through a head a few times.
        let cost = batch * tokens * head_dim * 4 * pieces::ELEMENT;
        let device = qkv.device();
        if pieces::rows_of_a_piece(device, heads, cost).is_none() {
            return self.attend_heads(&qkv, text, rotary, control);
        }
        let options = (qkv.f_kind()?, device);
        let out = Tensor::f_empty([batch, tokens, heads * head_dim], options)?;
        pieces::each(device, heads, cost, control, |start, count| {
            let attended =
                self.attend_heads(&qkv.f_narrow(2, start, count)?, text, rotary, control)?;
            let mut place = out.f_narrow(2, start * head_dim, count * head_dim)?;
            Ok(place.f_copy_(&attended)?)
        })?;
        Ok(out)
    }

    fn attend_heads(
        &self,
        qkv: &Tensor,
        text: i64,
        rotary: Option<&Rotary>,
        control: &Control,
    ) -> Result<Tensor> {
        let [query, key, value] = self.normed(qkv, text, rotary, control)?;
        Attention { query: &query, key: &key, value: &value, bias: None, scale: None }
            .attend(control)
    }

    /// Query and key `(batch, heads, tokens, head_dim)`, normed and turned, and value. A kernel for
    /// it works in place. Else the norms write each head's tokens side by side, which attention
    /// reads faster on the CPU than tokens that lie three widths apart.
    fn normed(
        &self,
        qkv: &Tensor,
        text: i64,
        rotary: Option<&Rotary>,
        control: &Control,
    ) -> Result<[Tensor; 3]> {
        if let (Some(query), Some(key)) = (self.norm_q.affine(), self.norm_k.affine()) {
            let rotary = rotary.map(Rotary::table);
            let norms = HeadNorms { query, key, epsilon: QK_NORM_EPSILON, rotary, text };
            if self.backend.norm_heads(qkv, &norms)? {
                return Ok([qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?]);
            }
        }
        let query = self.norm_q.forward(&qkv.f_select(0, 0)?)?;
        control.check()?;
        let key = self.norm_k.forward(&qkv.f_select(0, 1)?)?;
        if let Some(rotary) = rotary {
            let video = dim(&query, 2)? - text;
            for heads in [&query, &key] {
                control.check()?;
                rotary.apply(&mut heads.f_narrow(2, text, video)?)?;
            }
        }
        Ok([query, key, qkv.f_select(0, 2)?])
    }
}
