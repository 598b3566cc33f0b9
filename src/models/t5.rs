//! T5 v1.1 encoder (transformers 5.23 models/t5/modeling_t5.py).
//!
//! It is called as CogVideoXPipeline calls it: without an attention mask, so padding is
//! attended to.

use crate::backend::{Attention, Epilogue, Rows};
use crate::checkpoint::config::T5Config;
use crate::checkpoint::weights::LinearSpec;
use crate::checkpoint::Weights;
use crate::models::layers::{self, Blocks, Linear, LinearChange, RmsNorm};
use crate::runtime::device::upload;
use crate::runtime::{pieces, Control, DType, Placement, Progress, ReadOnly, Stage};
use crate::{Error, Result};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// The encoder. It is not changed by use: one may serve several runs at once.
pub struct T5Encoder {
    config: T5Config,
    placement: Placement,
    embedding: Tensor,
    relative_attention_bias: Tensor,
    blocks: Blocks<Block>,
    final_layer_norm: RmsNorm,
}

struct Block {
    attention_norm: RmsNorm,
    /// Query, key and value stacked, `(3 × heads × d_kv, d_model)`.
    qkv: Linear,
    o: Linear,
    feed_forward_norm: RmsNorm,
    /// `wi_0` and `wi_1` stacked, `(2 × d_ff, d_model)`.
    wi: Linear,
    wo: Linear,
}

// SAFETY: the networks are built once and then only read: their forward passes take `&self` and
// write to tensors of their own.
unsafe impl ReadOnly for T5Encoder {}

impl T5Encoder {
    /// Reads the weights of the encoder that `config` describes; `weights` is the root of the
    /// component. Errors: those of [`Weights::tensor`], and
    /// [`Error::InvalidCheckpoint`] where the two names of the embedding table hold different
    /// tables.
    pub fn load(config: &T5Config, weights: &Weights) -> Result<T5Encoder> {
        let encoder = weights.at("encoder");
        let table = encoder
            .at("block.0.layer.0.SelfAttention.relative_attention_bias")
            .tensor("weight", &[config.relative_attention_num_buckets, config.num_heads])?;
        let of_block = config.clone();
        let place = encoder.at("block").quantizable();
        let blocks = Blocks::load(&place, config.num_layers, move |weights| {
            Block::load(&of_block, &weights.at("layer"))
        })?;
        Ok(T5Encoder {
            config: config.clone(),
            placement: weights.placement(),
            embedding: load_embedding(config, weights)?,
            relative_attention_bias: table,
            blocks,
            final_layer_norm: rms_norm(config, &encoder.at("final_layer_norm"))?,
        })
    }

    /// Token ids `(batch, length)` int64 on the host to the last hidden state
    /// `(batch, length, d_model)` in the dtype of the weights.
    ///
    /// Reports [`Stage::Encode`] after each layer and heeds cancelling before it.
    /// Errors: [`Error::InvalidArgument`] for ids outside the vocabulary.
    pub fn forward(&self, ids: &Tensor, control: &Control) -> Result<Tensor> {
        let (_, length) = self.check_ids(ids)?;
        let device = self.placement.device;
        control.check()?;
        let bias = self.position_bias(length, control)?;
        let mut x = Tensor::f_embedding(&self.embedding, &upload(ids, device)?, -1, false, false)?;
        let total = self.blocks.count() as u64;
        let mut pass = self.blocks.pass(control)?;
        for layer in 0..self.blocks.count() {
            control.begin_layer(device)?;
            let block = pass.block(layer)?;
            x = block.attend(x, &self.config, &bias, control)?;
            x = block.feed_forward(x, control)?;
            let done = layer as u64 + 1;
            control.report(Progress { stage: Stage::Encode, done, total, timestep: None })?;
        }
        self.final_layer_norm.forward(&x)
    }

    /// `(batch, length)` of ids that are all in the vocabulary: on CUDA an id outside it would
    /// take the whole process's context down.
    fn check_ids(&self, ids: &Tensor) -> Result<(i64, i64)> {
        let size = ids.size();
        let [batch, length] = size[..] else {
            return Err(Error::InvalidArgument(format!(
                "token ids: expected shape (batch, length), found {size:?}"
            )));
        };
        if batch < 1 || length < 1 {
            return Err(Error::InvalidArgument(format!(
                "token ids: expected at least one, found shape {size:?}"
            )));
        }
        let values = Vec::<i64>::try_from(ids.f_flatten(0, -1)?)?;
        match values.iter().find(|id| !(0..self.config.vocab_size).contains(id)) {
            Some(id) => Err(Error::InvalidArgument(format!(
                "token ids: expected 0 to {}, found {id}",
                self.config.vocab_size - 1
            ))),
            None => Ok((batch, length)),
        }
    }

    /// What the relative positions add to the scores of every layer,
    /// `(1, heads, length, length)` (modeling_t5.py:264).
    fn position_bias(&self, length: i64, control: &Control) -> Result<Tensor> {
        let config = &self.config;
        let device = self.placement.device;
        let of_queries = |first: i64, count: i64| {
            let buckets = relative_position_buckets(
                first..first + count,
                length,
                config.relative_attention_num_buckets,
                config.relative_attention_max_distance,
            )?;
            let buckets = upload(&buckets, device)?;
            Ok::<_, Error>(
                Tensor::f_embedding(&self.relative_attention_bias, &buckets, -1, false, false)?
                    .f_permute([2, 0, 1])?
                    .f_unsqueeze(0)?,
            )
        };
        // Two dozen passes over the buckets, some of them through logarithms; of each head, memory that
        // is new.
        let cost = length * (8 * config.num_heads + 64) * pieces::ELEMENT;
        if pieces::rows_of_a_piece(device, length, cost).is_none() {
            return Ok(of_queries(0, length)?.f_contiguous()?);
        }
        let options = (self.relative_attention_bias.f_kind()?, device);
        let bias = Tensor::f_empty([1, config.num_heads, length, length], options)?;
        pieces::each(device, length, cost, control, |first, count| {
            Ok(bias.f_narrow(2, first, count)?.f_copy_(&of_queries(first, count)?)?)
        })?;
        Ok(bias)
    }
}

impl layers::Block for Block {
    fn with_linears(&self, change: LinearChange) -> Result<Block> {
        Ok(Block {
            attention_norm: self.attention_norm.shallow_clone(),
            qkv: change(&self.qkv)?,
            o: change(&self.o)?,
            feed_forward_norm: self.feed_forward_norm.shallow_clone(),
            wi: change(&self.wi)?,
            wo: change(&self.wo)?,
        })
    }
}

impl Block {
    /// `weights` is the place of `encoder.block.N.layer`.
    fn load(config: &T5Config, weights: &Weights) -> Result<Block> {
        let (model, ff) = (config.d_model, config.d_ff);
        let inner = config.num_heads * config.d_kv;
        let (attention, dense) = (weights.at("0.SelfAttention"), weights.at("1.DenseReluDense"));
        // In float16 the down projection overflows; transformers keeps it in float32
        // (`_keep_in_fp32_modules`), and with it everything that is added up after it.
        let wo = LinearSpec {
            modules: &["wo"],
            shape: &[model, ff],
            bias: false,
            kind: (weights.placement().dtype == DType::F16).then_some(Kind::Float),
            epilogue: Epilogue::None,
            rows: Rows::Many,
        };
        Ok(Block {
            attention_norm: rms_norm(config, &weights.at("0.layer_norm"))?,
            qkv: Linear::load_stacked(&attention, &["q", "k", "v"], model, inner, false)?,
            o: Linear::load(&attention.at("o"), inner, model, false)?,
            feed_forward_norm: rms_norm(config, &weights.at("1.layer_norm"))?,
            wi: Linear::load_stacked(&dense, &["wi_0", "wi_1"], model, ff, false)?,
            wo: Linear::read(&dense, &wo)?,
        })
    }

    /// The attention half of a block, on `x` `(batch, length, d_model)`. T5 does not scale
    /// its scores.
    fn attend(
        &self,
        x: Tensor,
        config: &T5Config,
        bias: &Tensor,
        control: &Control,
    ) -> Result<Tensor> {
        let cost = 4 * config.d_model * pieces::ELEMENT;
        let normed = pieces::map_rows(&x, cost, control, |x| self.attention_norm.forward(x))?;
        let qkv = self
            .qkv
            .forward_in_pieces(&normed, control)?
            .f_unflatten(-1, [3, config.num_heads, config.d_kv])?
            .f_permute([2, 0, 3, 1, 4])?;
        let (q, k, v) = (qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?);
        let attended = if q.device() == Device::Cpu {
            let (query, key, value) = (&q, &k, &v);
            Attention { query, key, value, bias: Some(bias), scale: Some(1.0) }.attend(control)?
        } else {
            explicit_attention(&q, &k, &v, bias)?.f_transpose(1, 2)?.f_flatten(2, 3)?
        };
        add(x, self.o.forward_in_pieces(&attended, control)?)
    }

    /// The feed-forward half: `wo(gelu(wi_0 x) · wi_1 x)`.
    fn feed_forward(&self, x: Tensor, control: &Control) -> Result<Tensor> {
        let cost = self.wi.cost()?.saturating_add(self.wo.cost()?);
        let several = pieces::rows_of_a_piece(x.device(), pieces::rows(&x), cost).is_some();
        let (wi, wo) = (self.wi.ready_if(several)?, self.wo.ready_if(several)?);
        let branch = pieces::map_rows(&x, cost, control, |x| {
            let normed = self.feed_forward_norm.forward(x)?;
            let hidden = wi.forward(&normed)?.f_chunk(2, -1)?;
            let [gate, value] = &hidden[..] else {
                return Err(Error::Internal(format!("T5 feed-forward: {} chunks", hidden.len())));
            };
            // gelu_new is the tanh approximation.
            let hidden = gate.f_gelu("tanh")?.f_mul_(value)?.f_to_kind(wo.kind())?;
            wo.forward(&hidden)
        })?;
        add(x, branch)
    }
}

fn rms_norm(config: &T5Config, weights: &Weights) -> Result<RmsNorm> {
    RmsNorm::load(weights, config.d_model, config.layer_norm_epsilon)
}

/// Attention by its parts, as transformers has it (modeling_t5.py:333): softmax in float32.
///
/// On GPUs from capability 9.0 on, libtorch would give a bias to cuDNN, whose kernel wants rows at
/// multiples of 16 bytes and fails where a prompt's length does not make them so. For a prompt's
/// few tokens the parts take about as long.
fn explicit_attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let mut scores = q.f_matmul(&k.f_transpose(-2, -1)?)?;
    scores = scores.f_add_(bias)?.f_to_kind(Kind::Float)?;
    let weights = scores.f_softmax(-1, Kind::Float)?.f_to_kind(v.kind())?;
    Ok(weights.f_matmul(v)?)
}

/// `x + branch`. float16 is clamped where it overflowed (modeling_t5.py:467); float16 and
/// float32 make float32, which is what carries on after the first float32 down projection.
fn add(x: Tensor, branch: Tensor) -> Result<Tensor> {
    let mut sum = if x.kind() == branch.kind() { x } else { x.f_to_kind(Kind::Float)? };
    sum = sum.f_add_(&branch)?;
    if sum.kind() != Kind::Half {
        return Ok(sum);
    }
    const MAX: f64 = 65504.0;
    let overflowed = sum.f_isinf()?.f_any()?.f_int64_value(&[])? != 0;
    let limit = if overflowed { MAX - 1000.0 } else { MAX };
    Ok(sum.f_clamp_(-limit, limit)?)
}

/// The embedding table, under either of the two names that checkpoints give it, or both.
fn load_embedding(config: &T5Config, weights: &Weights) -> Result<Tensor> {
    const NAMES: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];
    let shape = [config.vocab_size, config.d_model];
    let [shared, tied] = NAMES;
    if !weights.has(tied) {
        return weights.tensor(shared, &shape);
    }
    let table = weights.tensor(tied, &shape)?;
    if weights.has(shared) && !weights.tensor(shared, &shape)?.f_equal(&table)? {
        return Err(Error::InvalidCheckpoint(format!(
            "text encoder: expected tensors {shared} and {tied} to be equal, found two tables"
        )));
    }
    Ok(table)
}

/// Bucket of every pair of a query's position and one of `length` keys', `(queries, length)` int64
/// on the CPU, for
/// `key position - query position` (modeling_t5.py:217): half of the buckets for keys that
/// come later; of each half, half for single distances, half for logarithmic ranges.
///
/// The logarithm is libtorch's in float32: a bucket begins exactly at a power of two.
fn relative_position_buckets(
    queries: Range<i64>,
    length: i64,
    buckets: i64,
    max_distance: i64,
) -> Result<Tensor> {
    let positions = Tensor::f_arange(length, (Kind::Int64, Device::Cpu))?;
    let own = positions.f_narrow(0, queries.start, queries.end - queries.start)?;
    let relative = positions.f_unsqueeze(0)?.f_sub(&own.f_unsqueeze(1)?)?;
    let half = buckets / 2;
    let exact = half / 2;
    let later = relative.f_gt(0)?.f_to_kind(Kind::Int64)?.f_mul_scalar_(half)?;
    let distance = relative.f_abs()?;
    let range = distance
        .f_to_kind(Kind::Float)?
        .f_div_scalar_(exact as f64)?
        .f_log_()?
        .f_div_scalar_((max_distance as f64 / exact as f64).ln())?
        .f_mul_scalar_((half - exact) as f64)?
        // Distance 0 has no logarithm and is not looked up here.
        .f_clamp_min_(0)?
        .f_to_kind(Kind::Int64)?
        .f_add_scalar_(exact)?
        .f_clamp_max_(half - 1)?;
    Ok(distance.f_where_self(&distance.f_lt(exact)?, &range)?.f_add_(&later)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_then_logarithmic_then_shared() {
        // T5Attention._relative_position_bucket(d, True, 32, 128) for d = key - query
        let length = 200;
        let all = relative_position_buckets(0..length, length, 32, 128).unwrap();
        let bucket = |query: i64, key: i64| all.int64_value(&[query, key]);
        for (distance, expected) in
            [(0, 0), (1, 17), (7, 23), (8, 24), (11, 24), (12, 25), (15, 25), (16, 26), (31, 27)]
        {
            assert_eq!(bucket(0, distance), expected, "{distance}");
        }
        for (distance, expected) in [(32, 28), (64, 30), (127, 31), (128, 31), (199, 31)] {
            assert_eq!(bucket(0, distance), expected, "{distance}");
            assert_eq!(bucket(distance, 0), expected - 16, "-{distance}");
        }
    }
}
