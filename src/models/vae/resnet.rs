//! `CogVideoXResnetBlock3D` (diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:198), as encoder and decoder use it: no time
//! embedding, and a 1×1×1 convolution on the way past where the channels change.

use super::builder::Builder;
use super::causal_conv::CausalConv3d;
use super::features::Features;
use super::norm::Norm;
use super::spatial_norm::Latents;
use super::stream::Stream;
use crate::backend::Backend;
use crate::checkpoint::Weights;
use crate::models::layers::Linear;
use crate::runtime::{dim, pieces, Control};
use crate::Result;
use tch::Tensor;

pub(super) struct Resnet {
    norm1: Norm,
    conv1: CausalConv3d,
    norm2: Norm,
    conv2: CausalConv3d,
    conv_shortcut: Option<Linear>,
    out_channels: i64,
    backend: Backend,
}

impl Resnet {
    /// `size`: frames, height and width of typical inputs; `doubled`: whether they come with
    /// doubled frames.
    pub fn load(
        weights: &Weights,
        [in_channels, out_channels]: [i64; 2],
        size: [i64; 3],
        doubled: bool,
        builder: &mut Builder,
    ) -> Result<Resnet> {
        let load_conv1 = if doubled { CausalConv3d::load_for_doubled } else { CausalConv3d::load };
        let channels = [in_channels, out_channels];
        let conv1 = load_conv1(&weights.at("conv1"), channels, size, builder)?;
        let channels = [out_channels, out_channels];
        let conv2 = CausalConv3d::load(&weights.at("conv2"), channels, size, builder)?;
        let conv_shortcut = if in_channels == out_channels {
            None
        } else {
            let weights = weights.at("conv_shortcut");
            Some(Linear::load_pointwise(&weights, in_channels, out_channels)?)
        };
        Ok(Resnet {
            norm1: builder.norm(&weights.at("norm1"), in_channels)?,
            conv1,
            norm2: builder.norm(&weights.at("norm2"), out_channels)?,
            conv2,
            conv_shortcut,
            out_channels,
            backend: builder.backend.clone(),
        })
    }

    /// `x` is overwritten, unless its size changes. The decoder gives the latents that its norms
    /// need.
    pub fn forward(
        &self,
        x: Features,
        latents: Option<&Latents>,
        stream: &mut Stream,
    ) -> Result<Features> {
        let control = stream.control;
        control.begin_layer(x.data.device())?;
        let [held, height, width, _] = x.size()?;
        let size = [x.frames()?, height, width, self.out_channels];

        let modulation = self.norm1.modulation(&x, latents)?;
        let hidden = Features::into(stream.workspace.hidden(size)?, false, &self.backend)?;
        let hidden = self.conv1.write(stream, held, hidden, &mut |out, start| {
            modulation.apply(&x, out, start, control)
        })?;

        let modulation = self.norm2.modulation(&hidden, latents)?;
        let passed = if self.conv_shortcut.is_none() && !x.doubled {
            x.data
        } else {
            let passed = stream.workspace.next_stage(size)?;
            self.pass(&x, &passed, control)?;
            passed
        };
        // The second convolution adds to what went past.
        let out = Features::into(passed, false, &self.backend)?;
        self.conv2
            .add(stream, out, &mut |out, start| modulation.apply(&hidden, out, start, control))
    }

    /// Writes what goes past the convolutions to `out`, doubled frames twice.
    fn pass(&self, x: &Features, out: &Tensor, control: &Control) -> Result<()> {
        let write = |x: &Tensor, out: &mut Tensor| {
            let cost = match &self.conv_shortcut {
                Some(conv) => conv.cost()?,
                None => self.out_channels * pieces::ELEMENT,
            };
            let (x, out) = (x.f_flatten(0, 2)?, out.f_flatten(0, 2)?);
            pieces::each(x.device(), dim(&x, 0)?, cost, control, |start, count| {
                let (x, mut out) = (x.f_narrow(0, start, count)?, out.f_narrow(0, start, count)?);
                match &self.conv_shortcut {
                    Some(conv) => conv.forward_into(&x, &out),
                    None => Ok(out.f_copy_(&x)?),
                }
            })
        };
        if !x.doubled {
            return write(&x.data, &mut out.shallow_clone());
        }
        let single = x.single_frames()?;
        for frame in 0..x.size()?[0] {
            let at = if frame < single { frame } else { 2 * frame - single };
            let mut once = out.f_narrow(0, at, 1)?;
            write(&x.part(frame, 1)?, &mut once)?;
            if frame >= single {
                out.f_narrow(0, at + 1, 1)?.f_copy_(&once)?;
            }
        }
        Ok(())
    }
}
