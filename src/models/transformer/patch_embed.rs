//! From latents and text to tokens and back (diffusers 0.42.1 models/embeddings.py:445,
//! models/transformers/cogvideox_transformer_3d.py:459).

use super::positions::Grid;
use crate::backend::{Epilogue, Rows};
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::weights::LinearSpec;
use crate::checkpoint::Weights;
use crate::models::layers::{Linear, LinearChange};
use crate::runtime::dim;
use crate::{Error, Result};
use std::ops::Range;
use tch::Tensor;

/// More patches than any machine has memory for, few enough that no size overflows.
const MAX_TOKENS: i64 = 1 << 31;

/// The projections of patches and of text to the width of the tokens.
pub(super) struct PatchEmbed {
    patches: Patches,
    proj: Linear,
    text_proj: Linear,
}

impl PatchEmbed {
    /// `weights` is the place of `patch_embed`.
    ///
    /// A convolution whose stride is its kernel is a linear layer over patches, so both
    /// variants are one here. The 1.5 family's linear layer has its bias whatever
    /// `patch_bias` says (embeddings.py:486).
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<PatchEmbed> {
        let patches = Patches::new(config, config.in_channels);
        let width = config.num_attention_heads * config.attention_head_dim;
        let side = config.patch_size;
        let (convolution, linear) =
            ([width, config.in_channels, side, side], [width, patches.features()]);
        let (shape, bias): (&[i64], bool) = match config.patch_size_t {
            None => (&convolution, config.patch_bias),
            Some(_) => (&linear, true),
        };
        let (modules, epilogue, rows) = (&["proj"], Epilogue::None, Rows::Many);
        let proj = LinearSpec { modules, shape, bias, kind: None, epilogue, rows };
        Ok(PatchEmbed {
            patches,
            proj: Linear::read(weights, &proj)?,
            text_proj: Linear::load(&weights.at("text_proj"), config.text_embed_dim, width, true)?,
        })
    }

    /// The same with other linear layers.
    pub fn with_linears(&self, change: LinearChange) -> Result<PatchEmbed> {
        Ok(PatchEmbed {
            patches: self.patches,
            proj: change(&self.proj)?,
            text_proj: change(&self.text_proj)?,
        })
    }

    /// Latents `(n, frames, channels, height, width)` to video tokens `(n, tokens, width)`: those of
    /// `only`, or all.
    pub fn video(&self, latents: &Tensor, only: Option<Range<i64>>) -> Result<Tensor> {
        let patches = self.patches.patchify(latents)?;
        match only {
            None => self.proj.forward(&patches),
            Some(part) => {
                let part = patches.f_narrow(1, part.start, part.end - part.start)?;
                self.proj.forward(&part.f_contiguous()?)
            }
        }
    }

    /// Prompt embeddings `(batch, length, text_embed_dim)` to text tokens
    /// `(batch, length, width)`.
    pub fn text(&self, prompt_embeds: &Tensor) -> Result<Tensor> {
        self.text_proj.forward(prompt_embeds)
    }
}

/// How latents of `channels` channels are cut into patches: `side` × `side` latent pixels of
/// `frames` latent frames each. The features of a patch run over channel, frame, row, column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patches {
    channels: i64,
    frames: i64,
    side: i64,
}

impl Patches {
    pub fn new(config: &TransformerConfig, channels: i64) -> Patches {
        Patches { channels, frames: config.patch_size_t.unwrap_or(1), side: config.patch_size }
    }

    pub fn features(&self) -> i64 {
        self.channels * self.frames * self.side * self.side
    }

    /// The patches of latents of `frames` × `height` × `width`, which must be multiples of a
    /// patch.
    pub fn grid(&self, frames: i64, height: i64, width: i64) -> Result<Grid> {
        for (name, found, patch) in [
            ("frames", frames, self.frames),
            ("height", height, self.side),
            ("width", width, self.side),
        ] {
            if found < 1 || found % patch != 0 {
                return Err(Error::InvalidArgument(format!(
                    "latent {name}: expected a positive multiple of the patch's {patch}, \
                     found {found}"
                )));
            }
        }
        let grid = Grid {
            frames: frames / self.frames,
            height: height / self.side,
            width: width / self.side,
        };
        let tokens = grid.frames.checked_mul(grid.height).and_then(|n| n.checked_mul(grid.width));
        match tokens {
            Some(tokens) if tokens <= MAX_TOKENS => Ok(grid),
            _ => Err(Error::InvalidArgument(format!(
                "latents of {frames} × {height} × {width}: expected at most {MAX_TOKENS} patches"
            ))),
        }
    }

    /// `(n, frames, channels, height, width)` to `(n, patches, features)`.
    fn patchify(&self, latents: &Tensor) -> Result<Tensor> {
        let (n, frames, channels, height, width) = latents.size5()?;
        let grid = self.grid(frames, height, width)?;
        Ok(latents
            .f_reshape([
                n,
                grid.frames,
                self.frames,
                channels,
                grid.height,
                self.side,
                grid.width,
                self.side,
            ])?
            .f_permute([0, 1, 4, 6, 3, 2, 5, 7])?
            .f_reshape([n, grid.tokens(), self.features()])?)
    }

    /// `(n, patches, features)` of a video of `grid` patches back to
    /// `(n, frames, channels, height, width)`.
    pub fn unpatchify(&self, patches: &Tensor, grid: Grid) -> Result<Tensor> {
        let n = dim(patches, 0)?;
        let (frames, height, width) =
            (grid.frames * self.frames, grid.height * self.side, grid.width * self.side);
        Ok(patches
            .f_reshape([
                n,
                grid.frames,
                grid.height,
                grid.width,
                self.channels,
                self.frames,
                self.side,
                self.side,
            ])?
            .f_permute([0, 1, 5, 4, 2, 6, 3, 7])?
            .f_reshape([n, frames, self.channels, height, width])?)
    }
}
