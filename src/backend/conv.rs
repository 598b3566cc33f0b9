//! Convolutions over channels-innermost tensors, in the fastest way the device has.

use super::cpu::video as kernels;
use super::Backend;
use crate::runtime::dim;
use crate::Result;
use tch::Tensor;

/// A convolution in two or three dimensions. Inputs and outputs are dense with
/// channels innermost: frames × height × width × channels. In two dimensions each frame is an
/// image; in three the frames are the depth of one volume.
pub struct Conv {
    weight: Weight,
    bias: Tensor,
    padding: Vec<i64>,
    stride: i64,
}

enum Weight {
    /// For oneDNN.
    Packed(kernels::PackedWeight),
    /// For libtorch, channels innermost.
    Plain(Tensor),
}

impl Weight {
    /// `weight` (out, in, …kernel of `dimensions`) with channels innermost.
    fn plain(weight: &Tensor, dimensions: usize) -> Result<Weight> {
        Ok(Weight::Plain(match dimensions {
            2 => weight.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?,
            _ => weight.f_permute([0, 2, 3, 4, 1])?.f_contiguous()?.f_permute([0, 4, 1, 2, 3])?,
        }))
    }
}

impl Conv {
    /// With stride 1. `weight` is (out, in, …kernel); `size` is about the frames, height and width of inputs.
    pub fn new(
        weight: &Tensor,
        bias: Tensor,
        padding: &[i64],
        size: [i64; 3],
        backend: Backend,
    ) -> Result<Conv> {
        let [frames, height, width] = size;
        let channels = dim(weight, 1)?;
        let weight = match backend {
            Backend::Fused => {
                let input = match padding.len() {
                    2 => vec![frames, channels, height, width],
                    _ => vec![1, channels, frames, height, width],
                };
                Weight::Packed(kernels::PackedWeight::new(weight, padding, &input)?)
            }
            Backend::Aten => Weight::plain(weight, padding.len())?,
        };
        Ok(Conv { weight, bias, padding: padding.to_vec(), stride: 1 })
    }

    /// With `stride` in each dimension, by libtorch's operators: oneDNN's packed weights are for
    /// stride 1 here.
    pub fn strided(weight: &Tensor, bias: Tensor, padding: &[i64], stride: i64) -> Result<Conv> {
        let weight = Weight::plain(weight, padding.len())?;
        Ok(Conv { weight, bias, padding: padding.to_vec(), stride })
    }

    /// The convolution of `x`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.channels_first(x)?;
        let y = match &self.weight {
            Weight::Packed(weight) => kernels::conv(&x, weight, &self.bias, &self.padding)?,
            Weight::Plain(weight) if self.padding.len() == 2 => x.f_conv2d(
                weight,
                Some(&self.bias),
                [self.stride],
                self.padding.as_slice(),
                [1],
                1,
            )?,
            Weight::Plain(weight) => x.f_conv3d(
                weight,
                Some(&self.bias),
                [self.stride],
                self.padding.as_slice(),
                [1],
                1,
            )?,
        };
        let y = match self.padding.len() {
            2 => y.f_permute([0, 2, 3, 1])?,
            _ => y.f_squeeze_dim(0)?.f_permute([1, 2, 3, 0])?,
        };
        Ok(y.f_contiguous()?)
    }

    /// Adds the convolution of `x` to `sum`.
    pub fn add_to(&self, sum: &Tensor, x: &Tensor) -> Result<()> {
        match &self.weight {
            Weight::Packed(weight) => {
                let (mut sum, x) = (self.channels_first(sum)?, self.channels_first(x)?);
                kernels::conv_add(&mut sum, &x, weight, &self.bias, &self.padding)
            }
            Weight::Plain(_) => {
                let _ = sum.shallow_clone().f_add_(&self.apply(x)?)?;
                Ok(())
            }
        }
    }

    /// `x` as libtorch's convolutions take it; a view.
    fn channels_first(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.padding.len() {
            2 => x.f_permute([0, 3, 1, 2])?,
            _ => x.f_permute([3, 0, 1, 2])?.f_unsqueeze(0)?,
        })
    }
}

/// Which two of three neighbours under a kernel are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    First,
    Last,
}

/// The three taps of `weight` along `dim` as two, for inputs where two of three neighbours are
/// the same and one of them is left out.
pub fn fold_taps(weight: &Tensor, dim: i64, same: Same) -> Result<Tensor> {
    let tap = |i: i64| weight.f_narrow(dim, i, 1);
    let pair = match same {
        Same::First => [tap(0)?.f_add(&tap(1)?)?, tap(2)?],
        Same::Last => [tap(0)?, tap(1)?.f_add(&tap(2)?)?],
    };
    Ok(Tensor::f_cat(&pair, dim)?)
}
