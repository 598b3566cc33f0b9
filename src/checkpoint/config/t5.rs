//! `text_encoder/config.json`.

use super::{EPSILON, MAX_COUNT, MAX_WIDTH};
use crate::backend::Quantization;
use crate::checkpoint::fields::Fields;
use crate::Result;
use std::path::Path;

/// `text_encoder/config.json` of class T5EncoderModel (v1.1: gated-gelu)
/// (transformers 5.23 models/t5/configuration_t5.py:24). transformers writes many fields that
/// every model has; those that do not bear on the encoder are not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct T5Config {
    /// Rows of the embedding table; default 32128.
    pub vocab_size: i64,
    /// Width of the hidden states; default 512.
    pub d_model: i64,
    /// Channels of one head; default 64. Heads × channels need not be `d_model`.
    pub d_kv: i64,
    /// Width of the feed-forward; default 2048.
    pub d_ff: i64,
    /// Number of blocks of the encoder; default 6.
    pub num_layers: i64,
    /// Default 8.
    pub num_heads: i64,
    /// Rows of the relative position table, half of them for each direction; default 32.
    pub relative_attention_num_buckets: i64,
    /// Distances from here on share the last bucket; default 128.
    pub relative_attention_max_distance: i64,
    /// ε of the RMS norms; default 1e-6.
    pub layer_norm_epsilon: f64,
    /// How the matrices of the blocks lie in the files; default none: in the files' dtype.
    pub quantization: Option<Quantization>,
}

impl T5Config {
    pub const CLASS: &'static str = "T5EncoderModel";

    pub fn read(file: &Path) -> Result<T5Config> {
        T5Config::from_fields(Fields::read(file)?)
    }

    /// Parses the text of a config; `file` is what errors call it.
    pub fn parse(file: &Path, json: &str) -> Result<T5Config> {
        T5Config::from_fields(Fields::parse(file, json)?)
    }

    fn from_fields(mut fields: Fields) -> Result<T5Config> {
        let f = &mut fields;
        let mut config = T5Config {
            vocab_size: f.integer("vocab_size", 32128, 1..=1 << 24)?,
            d_model: f.integer("d_model", 512, 1..=MAX_WIDTH)?,
            d_kv: f.integer("d_kv", 64, 1..=MAX_COUNT)?,
            d_ff: f.integer("d_ff", 2048, 1..=MAX_WIDTH)?,
            num_layers: f.integer("num_layers", 6, 1..=MAX_COUNT)?,
            num_heads: f.integer("num_heads", 8, 1..=MAX_COUNT)?,
            relative_attention_num_buckets: f.integer(
                "relative_attention_num_buckets",
                32,
                4..=MAX_COUNT,
            )?,
            relative_attention_max_distance: f.integer(
                "relative_attention_max_distance",
                128,
                2..=1 << 20,
            )?,
            layer_norm_epsilon: f.float("layer_norm_epsilon", 1e-6, EPSILON)?,
            quantization: None,
        };
        // The gelu is the tanh form. transformers' default "relu" is the first T5, which no
        // published CogVideoX uses.
        f.choice("feed_forward_proj", "relu", &["gated-gelu"])?;
        f.choice("model_type", "t5", &["t5"])?;
        f.choice("dense_act_fn", "gelu_new", &["gelu_new"])?;
        for (field, expected) in [("is_gated_act", true), ("is_decoder", false)] {
            if f.boolean(field, expected)? != expected {
                return Err(f.unsupported(field, expected, &(!expected).to_string()));
            }
        }
        config.quantization = f.quantization()?;
        config.check(f)?;
        Ok(config)
    }

    /// What fields must agree about.
    fn check(&self, f: &Fields) -> Result<()> {
        let width = self.num_heads * self.d_kv;
        if width > MAX_WIDTH {
            let expected = format!("at most {MAX_WIDTH}");
            return Err(f.unsupported("num_heads × d_kv", expected, &width.to_string()));
        }
        let buckets = self.relative_attention_num_buckets;
        if buckets % 4 != 0 {
            return Err(f.unsupported(
                "relative_attention_num_buckets",
                "a multiple of 4",
                &buckets.to_string(),
            ));
        }
        // A quarter of the buckets are single distances; the logarithmic ones begin after them.
        if self.relative_attention_max_distance <= buckets / 4 {
            return Err(f.invalid(
                "relative_attention_max_distance",
                format!("more than a quarter of relative_attention_num_buckets {buckets}"),
                &self.relative_attention_max_distance.to_string(),
            ));
        }
        Ok(())
    }
}
