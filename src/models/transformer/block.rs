//! One transformer block (diffusers 0.42.1 models/transformers/cogvideox_transformer_3d.py:38).

use super::attention::SelfAttention;
use super::modulation::LayerNormZero;
use super::rotary::Rotary;
use crate::backend::Epilogue;
use crate::cache::{ForwardCache, Module};
use crate::checkpoint::config::{Activation, TransformerConfig};
use crate::checkpoint::Weights;
use crate::models::layers::{Linear, LinearChange};
use crate::parallel::Shard;
use crate::runtime::{pieces, Control};
use crate::{Error, Result};
use tch::Tensor;

pub(super) struct Block {
    norm1: LayerNormZero,
    attn1: SelfAttention,
    norm2: LayerNormZero,
    ff: FeedForward,
}

/// What every block of a call is given beside the tokens.
pub(super) struct BlockInput<'a> {
    /// `silu` of the time embedding, `(1, time_embed_dim)`.
    pub time: &'a Tensor,
    /// How many tokens at the front of the sequence are text.
    pub text: i64,
    pub rotary: Option<&'a Rotary>,
    /// Where ranks share the tokens, this one's part.
    pub shard: Option<&'a Shard>,
    /// Asked between the pieces of what takes long.
    pub control: &'a Control,
}

impl crate::models::layers::Block for Block {
    fn with_linears(&self, change: LinearChange) -> Result<Block> {
        Ok(Block {
            norm1: self.norm1.with_linears(change)?,
            attn1: self.attn1.with_linears(change)?,
            norm2: self.norm2.with_linears(change)?,
            ff: FeedForward { proj: change(&self.ff.proj)?, out: change(&self.ff.out)? },
        })
    }
}

impl Block {
    /// `weights` is the place of `transformer_blocks.N`.
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<Block> {
        let width = config.num_attention_heads * config.attention_head_dim;
        let norm = |name| {
            LayerNormZero::load(
                &weights.at(name),
                config.time_embed_dim,
                width,
                config.norm_eps,
                config.norm_elementwise_affine,
            )
        };
        Ok(Block {
            norm1: norm("norm1")?,
            attn1: SelfAttention::load(config, &weights.at("attn1"))?,
            norm2: norm("norm2")?,
            ff: FeedForward::load(config, &weights.at("ff"))?,
        })
    }

    /// Runs the block on `x` `(batch, text + video tokens, width)` in place. `index` is the
    /// block's, which the cache is asked about.
    pub fn forward(
        &self,
        x: &Tensor,
        input: &BlockInput,
        index: usize,
        cache: &mut dyn ForwardCache,
    ) -> Result<()> {
        let &BlockInput { time, text, control, .. } = input;
        let attention = Module::Attention;
        let attended = match substitute(x, index, attention, cache)? {
            Some(output) => (output, self.norm1.gates(time)?),
            None => {
                let (normed, gates) = self.norm1.forward(x, None, text, time, control)?;
                let output = self.attn1.forward(normed, input)?;
                cache.module_computed(index, attention, &output)?;
                (output, gates)
            }
        };

        let (output, gates) = match substitute(x, index, Module::FeedForward, cache)? {
            Some(output) => {
                let (attended, gates) = attended;
                gates.add(x, &attended, text, control)?;
                (output, self.norm2.gates(time)?)
            }
            None => {
                // What attention found is added on the way.
                let (normed, gates) = self.norm2.forward(x, Some(attended), text, time, control)?;
                let output = self.ff.forward(normed, control)?;
                cache.module_computed(index, Module::FeedForward, &output)?;
                (output, gates)
            }
        };
        gates.add(x, &output, text, control)
    }
}

/// The output that the cache has for a module, if it has one: shaped as the tokens `x`.
fn substitute(
    x: &Tensor,
    index: usize,
    module: Module,
    cache: &mut dyn ForwardCache,
) -> Result<Option<Tensor>> {
    let Some(substitute) = cache.module(index, module)? else { return Ok(None) };
    let (expected, found) = (x.size(), substitute.value.size());
    if expected != found {
        return Err(Error::Internal(format!(
            "cache of transformer_blocks.{index}.{}: expected shape {expected:?}, found {found:?}",
            module.name()
        )));
    }
    Ok(Some(substitute.value))
}

/// Linear, GELU, linear (diffusers 0.42.1 models/attention.py:1682).
struct FeedForward {
    /// With the GELU that the config asks for.
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    fn load(config: &TransformerConfig, weights: &Weights) -> Result<FeedForward> {
        let width = config.num_attention_heads * config.attention_head_dim;
        let (place, inner) = (weights.at("net.0.proj"), 4 * width);
        let epilogue = match config.activation_fn {
            Activation::GeluApproximate => Epilogue::GeluTanh,
            Activation::Gelu => Epilogue::Gelu,
        };
        let proj = Linear::load_activated(&place, width, inner, epilogue)?;
        Ok(FeedForward { proj, out: Linear::load(&weights.at("net.2"), inner, width, true)? })
    }

    fn forward(&self, x: Tensor, control: &Control) -> Result<Tensor> {
        let cost = self.proj.cost()?.saturating_add(self.out.cost()?);
        if pieces::rows_of_a_piece(x.device(), pieces::rows(&x), cost).is_some() {
            let (proj, out) = (self.proj.ready()?, self.out.ready()?);
            // Both layers piece by piece: the hidden layer is never held whole.
            return pieces::map_rows(&x, cost, control, |x| out.forward(&proj.forward(x)?));
        }
        let hidden = self.proj.forward(&x)?;
        drop(x);
        self.out.forward(&hidden)
    }
}
