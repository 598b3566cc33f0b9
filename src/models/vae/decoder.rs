//! `CogVideoXDecoder3D` (diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:796): one group of latent frames to frames.

use super::builder::Builder;
use super::causal_conv::CausalConv3d;
use super::features::Features;
use super::norm::Norm;
use super::resnet::Resnet;
use super::run::Network;
use super::spatial_norm::Latents;
use super::stream::Stream;
use super::upsample::Upsample;
use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::runtime::dim;
use crate::{Error, Result};
use tch::Tensor;

/// Resnets of the middle block of encoder and decoder, in every config
/// (autoencoder_kl_cogvideox.py:722 and :851).
pub(super) const MID_RESNETS: usize = 2;
/// Latent frames of the groups that convolutions are made ready for.
const TYPICAL_FRAMES: i64 = 2;

pub(super) struct Decoder {
    conv_in: CausalConv3d,
    mid_block: Vec<Resnet>,
    up_blocks: Vec<UpBlock>,
    norm_out: Norm,
    conv_out: CausalConv3d,
    channels: [i64; 2],
    backend: Backend,
    caches: usize,
}

/// `CogVideoXUpBlock3D` (autoencoder_kl_cogvideox.py:529).
struct UpBlock {
    resnets: Vec<Resnet>,
    upsampler: Option<Upsample>,
}

impl Decoder {
    /// Loads what lies below `decoder`.
    pub fn load(config: &VaeConfig, weights: &Weights, backend: Backend) -> Result<Decoder> {
        let builder = &mut Builder::for_decoder(config, backend.clone());
        let (Some(&narrowest), Some(&widest)) =
            (config.block_out_channels.first(), config.block_out_channels.last())
        else {
            return Err(Error::Internal("VAE decoder: no block_out_channels".into()));
        };
        let levels = config.block_out_channels.len();
        let compression = 1 << levels.saturating_sub(1).min(30);
        let mut size = [
            TYPICAL_FRAMES,
            (config.sample_height / compression).max(1),
            (config.sample_width / compression).max(1),
        ];

        let channels = [config.latent_channels, widest];
        let conv_in = CausalConv3d::load(&weights.at("conv_in"), channels, size, builder)?;
        let mut mid_block = Vec::new();
        for i in 0..MID_RESNETS {
            let weights = weights.at("mid_block").at("resnets").at(i);
            mid_block.push(Resnet::load(&weights, [widest, widest], size, false, builder)?);
        }

        let mut up_blocks = Vec::new();
        let (mut in_channels, mut doubled) = (widest, false);
        for (level, out_channels) in config.block_out_channels.iter().rev().copied().enumerate() {
            let weights = weights.at("up_blocks").at(level);
            let mut resnets = Vec::new();
            // One more than the encoder's (autoencoder_kl_cogvideox.py:875).
            for i in 0..=config.layers_per_block {
                let channels = [in_channels, out_channels];
                let weights = weights.at("resnets").at(i);
                let doubled = doubled && i == 0;
                resnets.push(Resnet::load(&weights, channels, size, doubled, builder)?);
                in_channels = out_channels;
            }
            doubled = level < super::doublings(config);
            let upsampler = if level + 1 < levels {
                let weights = weights.at("upsamplers").at(0);
                let sampler = Upsample::load(&weights, out_channels, doubled, size, builder)?;
                let [frames, height, width] = size;
                size = [if doubled { 2 * frames } else { frames }, 2 * height, 2 * width];
                Some(sampler)
            } else {
                None
            };
            up_blocks.push(UpBlock { resnets, upsampler });
        }

        let norm_out = builder.norm(&weights.at("norm_out"), narrowest)?;
        let channels = [narrowest, config.out_channels];
        let conv_out = CausalConv3d::load(&weights.at("conv_out"), channels, size, builder)?;
        Ok(Decoder {
            conv_in,
            mid_block,
            up_blocks,
            norm_out,
            conv_out,
            channels: [widest, config.out_channels],
            backend,
            caches: builder.caches(),
        })
    }
}

impl Network for Decoder {
    fn caches(&self) -> usize {
        self.caches
    }

    /// Latents of one group (frames × height × width × latent channels) to its frames (frames ×
    /// height × width × 3).
    fn forward(&self, latents: Tensor, stream: &mut Stream) -> Result<Tensor> {
        let [widest, out_channels] = self.channels;
        let latents = Latents::new(latents)?;
        let (z, latents) = (&latents.z, Some(&latents));
        let &[frames, height, width, _] = z.size().as_slice() else {
            return Err(Error::Internal(format!("VAE decoder: latents of {:?}", z.size())));
        };
        let room = stream.workspace.next_stage([frames, height, width, widest])?;
        let out = Features::into(room, false, &self.backend)?;
        let mut x = self.conv_in.write(stream, frames, out, &mut |padded, start| {
            let count = dim(padded, 0)?;
            Ok(padded.f_copy_(&z.f_narrow(0, start, count)?)?)
        })?;
        for resnet in &self.mid_block {
            x = resnet.forward(x, latents, stream)?;
        }
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(x, latents, stream)?;
            }
            if let Some(upsampler) = &block.upsampler {
                x = upsampler.forward(x, stream)?;
            }
        }
        let control = stream.control;
        control.begin_layer(x.data.device())?;
        let modulation = self.norm_out.modulation(&x, latents)?;
        let [frames, height, width, _] = x.size()?;
        let room = stream.workspace.own([frames, height, width, out_channels])?;
        let out = Features::into(room, false, &Backend::Aten)?;
        let out = self.conv_out.write(stream, frames, out, &mut |padded, start| {
            modulation.apply(&x, padded, start, control)
        })?;
        Ok(out.data)
    }
}
