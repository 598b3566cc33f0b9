//! CogVideoXLayerNormZero: a layer norm whose scale, shift and gate come from the timestep,
//! apart for text and video tokens (diffusers 0.42.1 models/normalization.py:448).
//!
//! A call has one timestep for its whole batch, so each of these is one vector of the tokens'
//! width, not one per batch row.

use crate::backend::tokens::{Modulated, PerToken};
use crate::backend::Backend;
use crate::checkpoint::Weights;
use crate::models::layers::{LayerNorm, Linear, LinearChange};
use crate::runtime::{pieces, Control};
use crate::Result;
use tch::Tensor;

pub(super) struct LayerNormZero {
    width: i64,
    linear: Linear,
    norm: LayerNorm,
    backend: Backend,
}

/// What a residual branch is multiplied by before it is added, each `(width)`.
pub(super) struct Gates {
    video: Tensor,
    text: Tensor,
    backend: Backend,
}

/// A residual branch that is still to be added, and its gates.
pub(super) type Branch = (Tensor, Gates);

impl LayerNormZero {
    /// `time` is the width of the time embedding.
    pub fn load(
        weights: &Weights,
        time: i64,
        width: i64,
        epsilon: f64,
        affine: bool,
    ) -> Result<LayerNormZero> {
        Ok(LayerNormZero {
            width,
            linear: Linear::load_for_a_row(&weights.at("linear"), time, 6 * width)?,
            norm: LayerNorm::load(&weights.at("norm"), width, epsilon, affine)?,
            backend: weights.backend(),
        })
    }

    /// The same with another linear layer.
    pub fn with_linears(&self, change: LinearChange) -> Result<LayerNormZero> {
        Ok(LayerNormZero {
            width: self.width,
            linear: change(&self.linear)?,
            norm: self.norm.shallow_clone(),
            backend: self.backend.clone(),
        })
    }

    /// `x` `(batch, text + video tokens, width)` normalised and modulated, and the gates for
    /// what is made of it. With a branch, that is added to `x` before, in place. `time` is
    /// `silu(embedding)`, `(1, time_embed_dim)`.
    pub fn forward(
        &self,
        x: &Tensor,
        branch: Option<Branch>,
        text: i64,
        time: &Tensor,
        control: &Control,
    ) -> Result<(Tensor, Gates)> {
        let modulation = self.linear.forward(time)?.f_view([6, self.width])?;
        let row = |index| modulation.f_select(0, index);
        // The order of the chunks (normalization.py:466): shift, scale and gate of the video,
        // then of the text.
        let gates = Gates { video: row(2)?, text: row(5)?, backend: self.backend.clone() };
        let (shift, scale) = (row(0)?, row(1)?);
        let (text_shift, text_scale) = (row(3)?, row(4)?);
        let to = Modulated {
            affine: self.norm.affine(),
            epsilon: self.norm.epsilon(),
            scale: PerToken { video: &scale, text: &text_scale },
            shift: PerToken { video: &shift, text: &text_shift },
            text,
        };
        let added = branch.as_ref().map(|(branch, gates)| (branch, gates.per_token()));
        if let Some(normed) = self.backend.norm_modulate(x, added, &to)? {
            return Ok((normed, gates));
        }
        if let Some((branch, gates)) = branch {
            gates.add(x, &branch, text, control)?;
        }

        // Most tokens are video: all are modulated as video, and the text done over.
        let cost = 2 * self.width * pieces::ELEMENT;
        let normed =
            pieces::map_rows(x, cost, control, |x| self.norm.forward_modulated(x, &shift, &scale))?;
        if text == 0 {
            return Ok((normed, gates));
        }
        let text_part = x.f_narrow(1, 0, text)?;
        let text_normed = self.norm.forward_modulated(&text_part, &text_shift, &text_scale)?;
        normed.f_narrow(1, 0, text)?.f_copy_(&text_normed)?;
        Ok((normed, gates))
    }

    /// The gates alone, for a branch whose input is not needed.
    pub fn gates(&self, time: &Tensor) -> Result<Gates> {
        let gate = |chunk| {
            let rows = self.linear.forward_rows(time, chunk * self.width, self.width)?;
            Ok::<_, crate::Error>(rows.f_view([self.width])?)
        };
        Ok(Gates { video: gate(2)?, text: gate(5)?, backend: self.backend.clone() })
    }
}

impl Gates {
    fn per_token(&self) -> PerToken<'_> {
        PerToken { video: &self.video, text: &self.text }
    }

    /// `x += gate · branch` in place, both `(batch, text + video tokens, width)`.
    pub fn add(&self, x: &Tensor, branch: &Tensor, text: i64, control: &Control) -> Result<()> {
        if self.backend.add_gated(x, branch, self.per_token(), text)? {
            return Ok(());
        }
        let (batch, tokens, width) = x.size3()?;
        let cost = 2 * batch * width * pieces::ELEMENT;
        for (gate, first, length) in [(&self.text, 0, text), (&self.video, text, tokens - text)] {
            pieces::each(x.device(), length, cost, control, |start, count| {
                let mut part = x.f_narrow(1, first + start, count)?;
                let _ = part.f_addcmul_(&branch.f_narrow(1, first + start, count)?, gate)?;
                Ok(())
            })?;
        }
        Ok(())
    }
}
