//! `CogVideoXEncoder3D` (diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:638): one group of frames to the parameters of
//! its latents' distribution.

use super::builder::Builder;
use super::causal_conv::CausalConv3d;
use super::decoder::MID_RESNETS;
use super::downsample::Downsample;
use super::features::Features;
use super::norm::Norm;
use super::resnet::Resnet;
use super::run::Network;
use super::stream::Stream;
use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::runtime::dim;
use crate::{Error, Result};
use tch::Tensor;

/// Frames of a video's groups, which convolutions are made ready for.
const TYPICAL_FRAMES: i64 = 8;
/// ε of the last norm, whatever the config's `norm_eps` (autoencoder_kl_cogvideox.py:731).
const EPSILON: f64 = 1e-6;

pub(super) struct Encoder {
    conv_in: CausalConv3d,
    down_blocks: Vec<DownBlock>,
    mid_block: Vec<Resnet>,
    norm_out: Norm,
    conv_out: CausalConv3d,
    narrowest: i64,
    latent_channels: i64,
    backend: Backend,
    caches: usize,
}

/// `CogVideoXDownBlock3D` (autoencoder_kl_cogvideox.py:329).
struct DownBlock {
    resnets: Vec<Resnet>,
    downsampler: Option<Downsample>,
}

impl Encoder {
    /// Loads what lies below `encoder`; if `still`, for videos of one frame alone.
    pub fn load(
        config: &VaeConfig,
        weights: &Weights,
        still: bool,
        backend: Backend,
    ) -> Result<Encoder> {
        let builder = &mut Builder::for_encoder(config, still, backend.clone());
        let (Some(&narrowest), Some(&widest)) =
            (config.block_out_channels.first(), config.block_out_channels.last())
        else {
            return Err(Error::Internal("VAE encoder: no block_out_channels".into()));
        };
        let levels = config.block_out_channels.len();
        let frames = if still { 1 } else { TYPICAL_FRAMES };
        let mut size = [frames, config.sample_height, config.sample_width];

        let channels = [config.in_channels, narrowest];
        let conv_in = CausalConv3d::load(&weights.at("conv_in"), channels, size, builder)?;
        let mut down_blocks = Vec::new();
        let mut in_channels = narrowest;
        for (level, out_channels) in config.block_out_channels.iter().copied().enumerate() {
            let weights = weights.at("down_blocks").at(level);
            let mut resnets = Vec::new();
            for i in 0..config.layers_per_block {
                let channels = [in_channels, out_channels];
                let weights = weights.at("resnets").at(i);
                resnets.push(Resnet::load(&weights, channels, size, false, builder)?);
                in_channels = out_channels;
            }
            let downsampler = if level + 1 < levels {
                let weights = weights.at("downsamplers").at(0);
                let halved = level < super::doublings(config);
                let [frames, height, width] = size;
                size = [frames, (height / 2).max(1), (width / 2).max(1)];
                Some(Downsample::load(&weights, out_channels, halved, builder)?)
            } else {
                None
            };
            down_blocks.push(DownBlock { resnets, downsampler });
        }

        let mut mid_block = Vec::new();
        for i in 0..MID_RESNETS {
            let weights = weights.at("mid_block").at("resnets").at(i);
            mid_block.push(Resnet::load(&weights, [widest, widest], size, false, builder)?);
        }
        let norm_out = builder.group_norm(&weights.at("norm_out"), widest, EPSILON)?;
        let channels = [widest, 2 * config.latent_channels];
        let conv_out = CausalConv3d::load(&weights.at("conv_out"), channels, size, builder)?;
        Ok(Encoder {
            conv_in,
            down_blocks,
            mid_block,
            norm_out,
            conv_out,
            narrowest,
            latent_channels: config.latent_channels,
            backend,
            caches: builder.caches(),
        })
    }
}

impl Network for Encoder {
    fn caches(&self) -> usize {
        self.caches
    }

    /// Frames of one group (frames × height × width × 3) to means and logarithms of variances
    /// (latent frames × height × width × twice the latent channels).
    fn forward(&self, sample: Tensor, stream: &mut Stream) -> Result<Tensor> {
        let &[frames, height, width, _] = sample.size().as_slice() else {
            return Err(Error::Internal(format!("VAE encoder: frames of {:?}", sample.size())));
        };
        let room = stream.workspace.next_stage([frames, height, width, self.narrowest])?;
        let out = Features::into(room, false, &self.backend)?;
        let mut x = self.conv_in.write(stream, frames, out, &mut |padded, start| {
            let count = dim(padded, 0)?;
            Ok(padded.f_copy_(&sample.f_narrow(0, start, count)?)?)
        })?;
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(x, None, stream)?;
            }
            if let Some(downsampler) = &block.downsampler {
                x = downsampler.forward(x, stream)?;
            }
        }
        for resnet in &self.mid_block {
            x = resnet.forward(x, None, stream)?;
        }
        let control = stream.control;
        control.begin_layer(x.data.device())?;
        let modulation = self.norm_out.modulation(&x, None)?;
        let [frames, height, width, _] = x.size()?;
        let room = stream.workspace.own([frames, height, width, 2 * self.latent_channels])?;
        let out = Features::into(room, false, &Backend::Aten)?;
        let out = self.conv_out.write(stream, frames, out, &mut |padded, start| {
            modulation.apply(&x, padded, start, control)
        })?;
        Ok(out.data)
    }
}
