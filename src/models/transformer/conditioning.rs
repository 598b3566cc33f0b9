//! What the transformer is given once per run: text, positions, size.

use super::patch_embed::Patches;
use super::positions::{self, Grid};
use super::rotary::Rotary;
use super::Transformer;
use crate::checkpoint::config::{Positions, TransformerConfig};
use crate::checkpoint::Weights;
use crate::guidance::GuidanceBatch;
use crate::parallel::{Half, Shard, Team};
use crate::runtime::device::upload;
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;
use tch::Tensor;

/// What does not change between the steps of a run: projected text, positions, rotary tables.
/// Made by [`Transformer::condition`] for one size of latents.
pub struct Conditioning {
    /// `(batch, text tokens, width)`, with positions where the model has learned ones.
    pub(super) text: Tensor,
    /// Added to the video tokens, `(video tokens, width)`.
    pub(super) positions: Option<Tensor>,
    pub(super) rotary: Option<Rotary>,
    /// The tokens that this rank has, where ranks share them: all of the above is of those alone.
    pub(super) shard: Option<Arc<Shard>>,
    pub(super) grid: Grid,
    /// `[frames, channels, height, width]` of the latents.
    pub(super) latent_size: [i64; 4],
}

impl Conditioning {
    /// The conditional half of what was made for a whole guidance batch. Nothing is copied.
    pub fn conditional(&self, batch: GuidanceBatch) -> Result<Conditioning> {
        let apart = self.shard.as_ref().is_some_and(|shard| shard.half() != Half::Both);
        Ok(Conditioning {
            text: if apart { self.text.shallow_clone() } else { batch.conditional(&self.text)? },
            positions: self.positions.as_ref().map(Tensor::shallow_clone),
            rotary: self.rotary.as_ref().map(Rotary::shallow_clone),
            shard: self.shard.clone(),
            grid: self.grid,
            latent_size: self.latent_size,
        })
    }

    /// What a rank of `team` needs of it: its half's rows, its part of the text and the video. The
    /// same for a rank alone.
    pub fn shared(self, team: &Arc<Team>) -> Result<Conditioning> {
        let (text, video) = (self.text_tokens()?, self.grid.tokens());
        let Some(shard) = Shard::new(team, text, video)? else { return Ok(self) };
        let (text, video) = (shard.text(), shard.video());
        let length = |range: &Range<i64>| range.end - range.start;
        Ok(Conditioning {
            text: team.rows(&self.text)?.f_narrow(1, text.start, length(&text))?,
            positions: match &self.positions {
                Some(table) => Some(table.f_narrow(0, video.start, length(&video))?),
                None => None,
            },
            rotary: self.rotary.as_ref().map(|rotary| rotary.of(&video)).transpose()?,
            shard: Some(Arc::new(shard)),
            ..self
        })
    }

    /// Video tokens that this rank has.
    pub(super) fn video_tokens(&self) -> i64 {
        match &self.shard {
            Some(shard) => shard.video().end - shard.video().start,
            None => self.grid.tokens(),
        }
    }

    pub(super) fn text_tokens(&self) -> Result<i64> {
        Ok(self.text.size3()?.1)
    }
}

impl Transformer {
    /// Prepares a run. `prompt_embeds` is `(batch, length, text_embed_dim)`, in any dtype and
    /// on any device; `frames`, `height` and `width` are the latents', frames with those that
    /// pad them to a multiple of `patch_size_t`.
    ///
    /// Sine-cosine positions leave text as it is, so a length other than
    /// `max_text_seq_length` is fine here, where the reference fails to add its table.
    ///
    /// Errors: [`Error::InvalidArgument`] for embeddings of another shape, a size that is not
    /// a multiple of the patch, one beyond the positions that the model has (1.5 family), and
    /// any other than the config's for learned positions.
    pub fn condition(
        &self,
        prompt_embeds: &Tensor,
        frames: i64,
        height: i64,
        width: i64,
    ) -> Result<Conditioning> {
        let config = &self.config;
        let found = prompt_embeds.size();
        match found[..] {
            [batch, length, embed_dim]
                if batch > 0 && length > 0 && embed_dim == config.text_embed_dim => {}
            _ => {
                return Err(Error::InvalidArgument(format!(
                    "prompt embeddings: expected shape (batch, length, {}), found {found:?}",
                    config.text_embed_dim
                )))
            }
        }
        let grid = Patches::new(config, config.in_channels).grid(frames, height, width)?;
        let device = self.placement.device;
        let kind = self.placement.dtype.kind();
        let rotary =
            if config.positions.rotary() { Some(Rotary::new(config, grid, device)?) } else { None };

        let text = prompt_embeds.f_to_device(device)?.f_to_kind(kind)?;
        let mut text = self.patch_embed.text(&text)?;
        let mut positions = None;
        if let Some(learned) = self.learned_positions_for(&text, grid, frames, height, width)? {
            let length = config.max_text_seq_length;
            text = text.f_add_(&learned.f_narrow(0, 0, length)?)?;
            positions = Some(learned.f_narrow(0, length, grid.tokens())?);
        } else if config.positions != Positions::Rotary {
            let table = positions::sincos(
                grid,
                self.config.num_attention_heads * self.config.attention_head_dim,
                config.spatial_interpolation_scale,
                config.temporal_interpolation_scale,
            )?;
            positions = Some(upload(&table.f_to_kind(kind)?, device)?);
        }
        Ok(Conditioning {
            text,
            positions,
            rotary,
            shard: None,
            grid,
            latent_size: [frames, config.in_channels, height, width],
        })
    }

    /// The learned table, if the model has one and it is for this length; for another length
    /// the reference takes sine-cosine positions instead (embeddings.py:562).
    fn learned_positions_for(
        &self,
        text: &Tensor,
        grid: Grid,
        frames: i64,
        height: i64,
        width: i64,
    ) -> Result<Option<&Tensor>> {
        let (Some(table), config) = (&self.learned_positions, &self.config) else {
            return Ok(None);
        };
        let length = text.size3()?.1;
        for (name, expected, found) in [
            ("latent height", config.sample_height, height),
            ("latent width", config.sample_width, width),
            ("prompt embeddings' length", config.max_text_seq_length, length),
            ("latent frames of a patch", 1, frames / grid.frames),
        ] {
            if expected != found {
                return Err(Error::InvalidArgument(format!(
                    "{name}: expected {expected}, since the model's positions are learned, \
                     found {found}"
                )));
            }
        }
        let sample_frames = (frames - 1) * config.temporal_compression_ratio + 1;
        Ok((sample_frames == config.sample_frames).then_some(table))
    }
}

/// `patch_embed.pos_embedding` as `(text + video tokens, width)`, of a model that has it.
pub(super) fn load_learned_positions(
    config: &TransformerConfig,
    weights: &Weights,
) -> Result<Option<Tensor>> {
    if !config.positions.learned() {
        return Ok(None);
    }
    let frames = (config.sample_frames - 1) / config.temporal_compression_ratio + 1;
    let (rows, columns) =
        (config.sample_height / config.patch_size, config.sample_width / config.patch_size);
    let video = frames.checked_mul(rows).and_then(|n| n.checked_mul(columns));
    let tokens =
        video.and_then(|n| n.checked_add(config.max_text_seq_length)).ok_or_else(|| {
            Error::UnsupportedModel(format!(
            "transformer config: sample size {frames} × {rows} × {columns} patches is too large"
        ))
        })?;
    let width = config.num_attention_heads * config.attention_head_dim;
    let table = weights.at("patch_embed").tensor("pos_embedding", &[1, tokens, width])?;
    Ok(Some(table.f_squeeze_dim(0)?))
}
