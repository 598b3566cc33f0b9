//! The configs of the components, with diffusers' and transformers' field names and defaults.

use serde::Deserialize;

/// `transformer/config.json` of class CogVideoXTransformer3DModel.
#[derive(Debug, Clone, Deserialize)]
pub struct TransformerConfig {
    pub num_attention_heads: i64,
    pub attention_head_dim: i64,
    pub in_channels: i64,
    pub out_channels: i64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: i64,
    pub time_embed_dim: i64,
    pub text_embed_dim: i64,
    pub num_layers: i64,
    pub attention_bias: bool,
    pub sample_width: i64,
    pub sample_height: i64,
    pub sample_frames: i64,
    pub patch_size: i64,
    pub patch_size_t: Option<i64>,
    pub temporal_compression_ratio: i64,
    pub max_text_seq_length: i64,
    pub activation_fn: String,
    pub timestep_activation_fn: String,
    pub norm_elementwise_affine: bool,
    pub norm_eps: f64,
    pub spatial_interpolation_scale: f64,
    pub temporal_interpolation_scale: f64,
    pub use_rotary_positional_embeddings: bool,
    pub use_learned_positional_embeddings: bool,
    pub patch_bias: bool,
}

/// `vae/config.json` of class AutoencoderKLCogVideoX.
#[derive(Debug, Clone, Deserialize)]
pub struct VaeConfig {
    pub out_channels: i64,
    pub block_out_channels: Vec<i64>,
    pub latent_channels: i64,
    pub layers_per_block: i64,
    pub act_fn: String,
    pub norm_eps: f64,
    pub norm_num_groups: i64,
    pub temporal_compression_ratio: i64,
    pub sample_height: i64,
    pub sample_width: i64,
    pub scaling_factor: f64,
    pub shift_factor: Option<f64>,
    pub use_quant_conv: bool,
    pub use_post_quant_conv: bool,
    pub invert_scale_latents: bool,
}

/// `text_encoder/config.json` of class T5EncoderModel (v1.1: gated-gelu).
#[derive(Debug, Clone, Deserialize)]
pub struct T5Config {
    pub vocab_size: i64,
    pub d_model: i64,
    pub d_kv: i64,
    pub d_ff: i64,
    pub num_layers: i64,
    pub num_heads: i64,
    pub relative_attention_num_buckets: i64,
    pub relative_attention_max_distance: i64,
    pub layer_norm_epsilon: f64,
    pub feed_forward_proj: String,
}

/// Which of the two schedulers a folder names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerClass {
    Ddim,
    Dpm,
}

/// `scheduler/scheduler_config.json` of class CogVideoXDDIMScheduler or CogVideoXDPMScheduler.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    pub class: SchedulerClass,
    pub num_train_timesteps: i64,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: String,
    pub trained_betas: Option<Vec<f64>>,
    pub clip_sample: bool,
    pub clip_sample_range: f64,
    pub set_alpha_to_one: bool,
    pub steps_offset: i64,
    pub prediction_type: String,
    pub timestep_spacing: String,
    pub rescale_betas_zero_snr: bool,
    pub snr_shift_scale: f64,
}
