//! `CogVideoXDownsample3D` (diffusers 0.42.1 models/downsampling.py:287): where asked, pairs of
//! frames become their mean, but for the first of an odd number, then a 3×3 convolution of stride
//! 2 per frame, with a line of zeros below and to the right.

use super::builder::Builder;
use super::features::Features;
use super::stream::Stream;
use crate::backend::{Backend, Conv};
use crate::checkpoint::Weights;
use crate::{Error, Result};
use tch::Tensor;

pub(super) struct Downsample {
    conv: Conv,
    compress_time: bool,
    backend: Backend,
}

impl Downsample {
    pub fn load(
        weights: &Weights,
        channels: i64,
        compress_time: bool,
        builder: &Builder,
    ) -> Result<Downsample> {
        let weights = weights.at("conv");
        let weight = weights.passing("weight", &[channels, channels, 3, 3], None)?;
        let conv = Conv::strided(&weight, weights.tensor("bias", &[channels])?, &[0, 0], 2)?;
        Ok(Downsample { conv, compress_time, backend: builder.backend.clone() })
    }

    /// Halves height and width, rounding down, and frames, rounding up.
    pub fn forward(&self, x: Features, stream: &mut Stream) -> Result<Features> {
        stream.control.begin_layer(x.data.device())?;
        let [frames, height, width, channels] = x.size()?;
        if height < 2 || width < 2 {
            return Err(Error::Internal(format!("VAE encoder: features of {:?}", x.size()?)));
        }
        let single = if self.compress_time { frames % 2 } else { frames };
        let held = single + (frames - single) / 2;
        let small = stream.workspace.next_stage([held, height / 2, width / 2, channels])?;
        let mut out = Features::into(small, false, &self.backend)?;

        let image = (height + 1) * (width + 1) * channels;
        let step = stream.workspace.fit(stream.workspace.limits.slab, image).clamp(1, held);
        let padded = stream.workspace.padded([step, height + 1, width + 1, channels])?;
        let _ = padded.f_narrow(1, height, 1)?.f_zero_()?;
        let _ = padded.f_narrow(2, width, 1)?.f_zero_()?;
        let mut start = 0;
        while start < held {
            let end = if start < single { single } else { held };
            let count = step.min(end - start);
            let window = padded.f_narrow(0, 0, count)?;
            let mut target = window.f_narrow(1, 0, height)?.f_narrow(2, 0, width)?;
            if start < single {
                target.f_copy_(&x.part(start, count)?)?;
            } else {
                let pairs = x.part(2 * start - single, 2 * count)?.f_unflatten(0, [count, 2])?;
                mean(&pairs.f_select(1, 0)?, &pairs.f_select(1, 1)?, &mut target)?;
            }
            out.put(&self.conv.apply(&window, stream.control)?, start, stream.control)?;
            start += count;
        }
        Ok(out)
    }
}

/// Writes the mean of `a` and `b` to `out`.
fn mean(a: &Tensor, b: &Tensor, out: &mut Tensor) -> Result<()> {
    out.f_copy_(a)?;
    let _ = out.f_add_(b)?.f_mul_scalar_(0.5)?;
    Ok(())
}
