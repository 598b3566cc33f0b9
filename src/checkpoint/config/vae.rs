//! `vae/config.json`.

use super::{EPSILON, MAX_COUNT, MAX_SIDE};
use crate::checkpoint::fields::Fields;
use crate::Result;
use std::path::Path;

/// `vae/config.json` of class AutoencoderKLCogVideoX
/// (diffusers 0.42.1 models/autoencoders/autoencoder_kl_cogvideox.py:992).
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// Channels of the video that is encoded; 3 (default) where there is an encoder.
    pub in_channels: i64,
    /// Channels of the video; 3 (default).
    pub out_channels: i64,
    /// Channels of the blocks in the encoder's order; default [128, 256, 256, 512]. Each
    /// block but one halves height and width.
    pub block_out_channels: Vec<i64>,
    /// Default 16.
    pub latent_channels: i64,
    /// Resnets per block of the encoder; the decoder has one more. Default 3.
    pub layers_per_block: i64,
    /// ε of the encoder's group norms; default 1e-6. That of the decoder's spatial norms is
    /// fixed, 1e-6.
    pub norm_eps: f64,
    /// Groups of the group norms; default 32. Divides every block's channels.
    pub norm_num_groups: i64,
    /// Frames of video per latent frame: a power of two; default 4.
    pub temporal_compression_ratio: i64,
    /// Height of a video of the default size, which tiles are measured by; default 480.
    pub sample_height: i64,
    /// Likewise its width; default 720.
    pub sample_width: i64,
    /// Latents are multiplied by this for the transformer; default 1.15258426.
    pub scaling_factor: f64,
    /// Not used by CogVideoXPipeline; default none.
    pub shift_factor: Option<f64>,
    /// A 1×1×1 convolution after the encoder; default false. It has twice `out_channels` channels,
    /// so it can only run where `latent_channels` is the same.
    pub use_quant_conv: bool,
    /// A 1×1×1 convolution before the decoder; default false. It has `out_channels` channels,
    /// so it can only run where `latent_channels` is the same.
    pub use_post_quant_conv: bool,
    /// An image's latents are divided by the scaling factor instead of multiplied. Only
    /// image-to-video heeds it; default false.
    pub invert_scale_latents: bool,
}

impl VaeConfig {
    pub const CLASS: &'static str = "AutoencoderKLCogVideoX";

    /// What is passed over goes into `warnings`.
    pub fn read(file: &Path, warnings: &mut Vec<String>) -> Result<VaeConfig> {
        VaeConfig::from_fields(Fields::read(file)?, warnings)
    }

    /// Parses the text of a config; `file` is what messages call it.
    pub fn parse(file: &Path, json: &str, warnings: &mut Vec<String>) -> Result<VaeConfig> {
        VaeConfig::from_fields(Fields::parse(file, json)?, warnings)
    }

    fn from_fields(mut fields: Fields, warnings: &mut Vec<String>) -> Result<VaeConfig> {
        let f = &mut fields;
        f.class(Self::CLASS)?;
        f.reject_quantised()?;
        // Eight blocks would be a spatial compression of 128; more would only overflow.
        let channels = [128, 256, 256, 512];
        let config = VaeConfig {
            in_channels: f.integer("in_channels", 3, 1..=MAX_COUNT)?,
            out_channels: f.integer("out_channels", 3, 1..=MAX_COUNT)?,
            block_out_channels: f.integers("block_out_channels", &channels, 8, 1..=1 << 14)?,
            latent_channels: f.integer("latent_channels", 16, 1..=MAX_COUNT)?,
            layers_per_block: f.integer("layers_per_block", 3, 1..=64)?,
            norm_eps: f.float("norm_eps", 1e-6, EPSILON)?,
            norm_num_groups: f.integer("norm_num_groups", 32, 1..=1 << 14)?,
            temporal_compression_ratio: f.integer("temporal_compression_ratio", 4, 1..=64)?,
            sample_height: f.integer("sample_height", 480, 1..=MAX_SIDE * 8)?,
            sample_width: f.integer("sample_width", 720, 1..=MAX_SIDE * 8)?,
            scaling_factor: f.float("scaling_factor", 1.15258426, 1e-6..=1e6)?,
            shift_factor: f.optional_float("shift_factor", -1e6..=1e6)?,
            use_quant_conv: f.boolean("use_quant_conv", false)?,
            use_post_quant_conv: f.boolean("use_post_quant_conv", false)?,
            invert_scale_latents: f.boolean("invert_scale_latents", false)?,
        };
        // Two names of what the network has in any case.
        f.choice("act_fn", "silu", &["silu", "swish"])?;
        let blocks = config.block_out_channels.len();
        f.repeated("down_block_types", "CogVideoXDownBlock3D", blocks)?;
        f.repeated("up_block_types", "CogVideoXUpBlock3D", blocks)?;
        // `force_upcast` and the latents' statistics are read by other pipelines.
        f.ignore(&["force_upcast", "latents_mean", "latents_std"]);
        config.check(f)?;
        fields.ignore_rest(warnings);
        Ok(config)
    }

    /// What fields must agree about.
    fn check(&self, f: &Fields) -> Result<()> {
        if self.out_channels != 3 {
            return Err(f.unsupported(
                "out_channels",
                "3 (red, green, blue)",
                &self.out_channels.to_string(),
            ));
        }
        let groups = self.norm_num_groups;
        if let Some(channels) = self.block_out_channels.iter().find(|&c| c % groups != 0) {
            return Err(f.invalid(
                "block_out_channels",
                format!("multiples of norm_num_groups {groups}"),
                &channels.to_string(),
            ));
        }
        let ratio = self.temporal_compression_ratio;
        if ratio.count_ones() != 1 {
            let expected = "a power of two";
            return Err(f.unsupported("temporal_compression_ratio", expected, &ratio.to_string()));
        }
        // The last block does not upsample, so time can be doubled once in each of the others.
        let doublings = i64::from(ratio.trailing_zeros());
        if doublings >= self.block_out_channels.len() as i64 {
            return Err(f.unsupported(
                "temporal_compression_ratio",
                format!("at most 2^{}", self.block_out_channels.len() - 1),
                &ratio.to_string(),
            ));
        }
        if self.use_post_quant_conv && self.latent_channels != self.out_channels {
            return Err(f.invalid(
                "use_post_quant_conv",
                format!("false, since latent_channels is not out_channels {}", self.out_channels),
                "true",
            ));
        }
        Ok(())
    }

    /// Pixels per latent pixel, in height and in width.
    pub fn spatial_compression_ratio(&self) -> i64 {
        1 << self.block_out_channels.len().saturating_sub(1).min(62)
    }
}
