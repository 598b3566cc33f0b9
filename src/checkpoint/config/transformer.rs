//! `transformer/config.json`.

use super::{EPSILON, MAX_COUNT, MAX_SIDE, MAX_WIDTH};
use crate::backend::Quantization;
use crate::checkpoint::fields::Fields;
use crate::Result;
use std::path::Path;

/// `transformer/config.json` of class CogVideoXTransformer3DModel
/// (diffusers 0.42.1 models/transformers/cogvideox_transformer_3d.py:218).
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// Default 30.
    pub num_attention_heads: i64,
    /// Channels of one head; default 64. With rotary positions a multiple of 16, since a
    /// quarter of it is turned by time and three eighths each by height and width, in pairs.
    pub attention_head_dim: i64,
    /// Channels of what the model is given; default 16. The latents', and in an image-to-video
    /// pipeline as many of the image's latents after them.
    pub in_channels: i64,
    /// Latent channels; default 16.
    pub out_channels: i64,
    /// Puts the cosines of the timestep embedding first; default true.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies; default 0.
    pub freq_shift: i64,
    /// Width of the timestep embedding; default 512.
    pub time_embed_dim: i64,
    /// Width of the embedding of the offset ("ofs") that is added to the timestep's, which the 1.5
    /// family's image-to-video model has; default none. Then it is `time_embed_dim`.
    pub ofs_embed_dim: Option<i64>,
    /// Width of the text encoder's output; default 4096.
    pub text_embed_dim: i64,
    /// Number of blocks; default 30.
    pub num_layers: i64,
    /// Whether query, key and value projections have a bias; default true.
    pub attention_bias: bool,
    /// Width of the latents of the default size; default 90.
    pub sample_width: i64,
    /// Height of the latents of the default size; default 60.
    pub sample_height: i64,
    /// Frames (of video, not of latents) of the default length; default 49.
    pub sample_frames: i64,
    /// Side of a patch in latent pixels; default 2.
    pub patch_size: i64,
    /// Latent frames of a patch, which the 1.5 family sets; default none: one frame, and the
    /// patch embedding is a convolution instead of a linear layer.
    pub patch_size_t: Option<i64>,
    /// Frames of video per latent frame, for the positions; default 4.
    pub temporal_compression_ratio: i64,
    /// Length of the text sequence; default 226.
    pub max_text_seq_length: i64,
    /// Of the feed-forward: "gelu-approximate" (default, the tanh form) or "gelu".
    pub activation_fn: Activation,
    /// Whether the layer norms have a weight and a bias; default true. Those of query and key
    /// always have.
    pub norm_elementwise_affine: bool,
    /// ε of the layer norms; default 1e-5. That of query and key is fixed, 1e-6.
    pub norm_eps: f64,
    /// Divides spatial positions; default 1.875. Only for sine-cosine positions.
    pub spatial_interpolation_scale: f64,
    /// Divides temporal positions; default 1. Only for sine-cosine positions.
    pub temporal_interpolation_scale: f64,
    /// `use_rotary_positional_embeddings` and `use_learned_positional_embeddings`; default
    /// sine-cosine.
    pub positions: Positions,
    /// Whether an inpainting model was trained with some noise in the frames that it is given; default
    /// false. A field of CogVideoX-Fun's own, read for inpainting alone.
    pub add_noise_in_inpaint_model: bool,
    /// Whether the convolution of the patch embedding has a bias; default true. The linear
    /// layer that `patch_size_t` asks for has one in any case.
    pub patch_bias: bool,
    /// How the matrices of the blocks lie in the files; default none: in the files' dtype.
    pub quantization: Option<Quantization>,
}

named! {
    /// What a feed-forward layer bends its values with.
    Activation {
        /// GELU in its tanh form.
        GeluApproximate = "gelu-approximate",
        Gelu = "gelu",
    }
}

/// How tokens know where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Sine-cosine tables, added to the tokens: 2b.
    Sincos,
    /// Query and key are turned: 5b, 1.5.
    Rotary,
    /// That, and a learned table `patch_embed.pos_embedding` is added: 5b image to video.
    RotaryAndLearned,
}

impl Positions {
    pub fn rotary(self) -> bool {
        self != Positions::Sincos
    }

    pub fn learned(self) -> bool {
        self == Positions::RotaryAndLearned
    }
}

/// Which published models a transformer is built like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Sine-cosine positions: CogVideoX-2b.
    CogVideoX2b,
    /// Rotary positions, one frame a patch: CogVideoX-5b.
    CogVideoX5b,
    /// Patches over time: CogVideoX1.5-5B.
    CogVideoX1_5,
    /// Patches over time and an offset embedding: CogVideoX1.5-5B-I2V.
    CogVideoX1_5ImageToVideo,
}

impl TransformerConfig {
    pub const CLASS: &'static str = "CogVideoXTransformer3DModel";

    /// What the config says of it.
    pub fn family(&self) -> Family {
        if self.patch_size_t.is_some() && self.ofs_embed_dim.is_some() {
            Family::CogVideoX1_5ImageToVideo
        } else if self.patch_size_t.is_some() {
            Family::CogVideoX1_5
        } else if self.positions.rotary() {
            Family::CogVideoX5b
        } else {
            Family::CogVideoX2b
        }
    }

    /// What is passed over goes into `warnings`.
    pub fn read(file: &Path, warnings: &mut Vec<String>) -> Result<TransformerConfig> {
        TransformerConfig::from_fields(Fields::read(file)?, warnings)
    }

    /// Parses the text of a config; `file` is what messages call it.
    pub fn parse(file: &Path, json: &str, warnings: &mut Vec<String>) -> Result<TransformerConfig> {
        TransformerConfig::from_fields(Fields::parse(file, json)?, warnings)
    }

    fn from_fields(mut fields: Fields, warnings: &mut Vec<String>) -> Result<TransformerConfig> {
        let f = &mut fields;
        f.class(Self::CLASS)?;
        let quantization = f.quantization()?;
        let config = TransformerConfig {
            quantization,
            num_attention_heads: f.integer("num_attention_heads", 30, 1..=MAX_COUNT)?,
            attention_head_dim: f.integer("attention_head_dim", 64, 1..=MAX_COUNT)?,
            in_channels: f.integer("in_channels", 16, 1..=MAX_COUNT)?,
            out_channels: f.integer("out_channels", 16, 1..=MAX_COUNT)?,
            flip_sin_to_cos: f.boolean("flip_sin_to_cos", true)?,
            freq_shift: f.integer("freq_shift", 0, 0..=1)?,
            time_embed_dim: f.integer("time_embed_dim", 512, 1..=MAX_WIDTH)?,
            // Zero is as good as none (cogvideox_transformer_3d.py:289).
            ofs_embed_dim: f.optional_integer("ofs_embed_dim", 0..=MAX_WIDTH)?.filter(|&n| n > 0),
            text_embed_dim: f.integer("text_embed_dim", 4096, 1..=MAX_WIDTH)?,
            num_layers: f.integer("num_layers", 30, 1..=MAX_COUNT)?,
            attention_bias: f.boolean("attention_bias", true)?,
            sample_width: f.integer("sample_width", 90, 1..=MAX_SIDE)?,
            sample_height: f.integer("sample_height", 60, 1..=MAX_SIDE)?,
            sample_frames: f.integer("sample_frames", 49, 1..=MAX_SIDE)?,
            patch_size: f.integer("patch_size", 2, 1..=64)?,
            patch_size_t: f.optional_integer("patch_size_t", 1..=64)?,
            temporal_compression_ratio: f.integer("temporal_compression_ratio", 4, 1..=64)?,
            max_text_seq_length: f.integer("max_text_seq_length", 226, 1..=MAX_SIDE)?,
            activation_fn: f.one_of(
                "activation_fn",
                Activation::GeluApproximate,
                Activation::ALL,
            )?,
            norm_elementwise_affine: f.boolean("norm_elementwise_affine", true)?,
            norm_eps: f.float("norm_eps", 1e-5, EPSILON)?,
            spatial_interpolation_scale: f.float(
                "spatial_interpolation_scale",
                1.875,
                1e-3..=1e3,
            )?,
            temporal_interpolation_scale: f.float(
                "temporal_interpolation_scale",
                1.0,
                1e-3..=1e3,
            )?,
            positions: positions(f)?,
            add_noise_in_inpaint_model: f.boolean("add_noise_in_inpaint_model", false)?,
            patch_bias: f.boolean("patch_bias", true)?,
        };
        // What the networks have in any case.
        f.choice("timestep_activation_fn", "silu", &["silu"])?;
        // Dropout does nothing outside training.
        f.ignore(&["dropout"]);
        config.check(f)?;
        fields.ignore_rest(warnings);
        Ok(config)
    }

    /// What fields must agree about.
    fn check(&self, f: &Fields) -> Result<()> {
        let width = self.num_attention_heads * self.attention_head_dim;
        if width > MAX_WIDTH {
            let field = "num_attention_heads × attention_head_dim";
            return Err(f.unsupported(field, format!("at most {MAX_WIDTH}"), &width.to_string()));
        }
        for (field, side) in
            [("sample_width", self.sample_width), ("sample_height", self.sample_height)]
        {
            if side < self.patch_size {
                let expected = format!("at least patch_size {}", self.patch_size);
                return Err(f.invalid(field, expected, &side.to_string()));
            }
        }
        if let Some(found) = self.ofs_embed_dim.filter(|&width| width != self.time_embed_dim) {
            let expected = format!("null or time_embed_dim {}", self.time_embed_dim);
            return Err(f.invalid("ofs_embed_dim", expected, &found.to_string()));
        }
        let rotary = self.positions.rotary();
        if rotary && self.attention_head_dim % 16 != 0 {
            return Err(f.invalid(
                "attention_head_dim",
                "a multiple of 16, for use_rotary_positional_embeddings",
                &self.attention_head_dim.to_string(),
            ));
        }
        if !rotary && width % 16 != 0 {
            return Err(f.invalid(
                "num_attention_heads × attention_head_dim",
                "a multiple of 16, for sine-cosine positions",
                &width.to_string(),
            ));
        }
        // The tables of the other kinds of positions have an entry per latent frame, not per
        // patch.
        let only_rotary = self.positions == Positions::Rotary;
        if let Some(frames) = self.patch_size_t.filter(|&p| p > 1 && !only_rotary) {
            return Err(f.unsupported(
                "patch_size_t",
                "null or 1 without rotary positions alone",
                &frames.to_string(),
            ));
        }
        Ok(())
    }

    /// Width of the tokens: heads × channels of a head.
    pub fn width(&self) -> i64 {
        self.num_attention_heads * self.attention_head_dim
    }
}

fn positions(f: &mut Fields) -> Result<Positions> {
    let rotary = f.boolean("use_rotary_positional_embeddings", false)?;
    let learned = f.boolean("use_learned_positional_embeddings", false)?;
    match (rotary, learned) {
        (false, false) => Ok(Positions::Sincos),
        (true, false) => Ok(Positions::Rotary),
        (true, true) => Ok(Positions::RotaryAndLearned),
        (false, true) => Err(f.unsupported(
            "use_learned_positional_embeddings",
            "false without use_rotary_positional_embeddings",
            "true",
        )),
    }
}
