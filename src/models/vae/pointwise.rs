//! 1×1×1 convolutions, which are matrix products over the pixels.

use crate::checkpoint::Weights;
use crate::{Error, Result};
use tch::Tensor;

pub(super) struct Pointwise {
    /// In channels × out channels.
    weight: Tensor,
    bias: Tensor,
    out_channels: i64,
}

impl Pointwise {
    pub fn load(weights: &Weights, in_channels: i64, out_channels: i64) -> Result<Pointwise> {
        let weight = weights.tensor("weight", &[out_channels, in_channels, 1, 1, 1])?;
        let bias = weights.tensor("bias", &[out_channels])?;
        let weight = weight.f_view([out_channels, in_channels])?.f_tr()?;
        Ok(Pointwise { weight, bias, out_channels })
    }

    /// Writes the convolution of `x` to `out`; both are dense with channels innermost.
    pub fn write(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        let in_channels = x.size().last().copied().unwrap_or(0);
        let (x, out) = (x.f_view([-1, in_channels])?, out.f_view([-1, self.out_channels])?);
        let _ = self.bias.f_addmm_out(&out, &x, &self.weight)?;
        Ok(())
    }

    /// The convolution of `x`, in memory of its own.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = x.size();
        let Some(channels) = shape.last_mut() else {
            return Err(Error::Internal("VAE decoder: features without channels".into()));
        };
        *channels = self.out_channels;
        let out = Tensor::f_empty(shape.as_slice(), (x.f_kind()?, x.device()))?;
        self.write(x, &out)?;
        Ok(out)
    }
}
