//! Norms over the last dimension.

use crate::backend::tokens::Affine;
use crate::checkpoint::Weights;
use crate::Result;
use tch::{Kind, Tensor};

/// Layer normalisation; `weight` and `bias` are absent where the config says
/// `norm_elementwise_affine: false`.
pub struct LayerNorm {
    size: i64,
    epsilon: f64,
    affine: Option<(Tensor, Tensor)>,
}

impl LayerNorm {
    /// Of vectors of `size`, at `weights`.
    pub fn load(weights: &Weights, size: i64, epsilon: f64, affine: bool) -> Result<LayerNorm> {
        let affine = if affine {
            Some((weights.tensor("weight", &[size])?, weights.tensor("bias", &[size])?))
        } else {
            None
        };
        Ok(LayerNorm { size, epsilon, affine })
    }

    /// Another one over the same memory.
    pub fn shallow_clone(&self) -> LayerNorm {
        let shared =
            |(weight, bias): &(Tensor, Tensor)| (weight.shallow_clone(), bias.shallow_clone());
        LayerNorm {
            size: self.size,
            epsilon: self.epsilon,
            affine: self.affine.as_ref().map(shared),
        }
    }

    /// Weight and bias, each `(size)`, if it has them.
    pub fn affine(&self) -> Option<Affine<'_>> {
        self.affine.as_ref().map(|(weight, bias)| (weight, bias))
    }

    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// `(…, size)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (Some(weight), Some(bias)),
            None => (None, None),
        };
        Ok(x.f_layer_norm([self.size], weight, bias, self.epsilon, true)?)
    }

    /// `norm(x) · (1 + scale) + shift` in one pass: scale and shift, both `(size)`, are the
    /// same for every token, so they fold into the norm's own weight and bias.
    pub fn forward_modulated(&self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        let gain = scale.f_add_scalar(1.0)?;
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (weight.f_mul(&gain)?, shift.f_addcmul(bias, &gain)?),
            None => (gain, shift.shallow_clone()),
        };
        Ok(x.f_layer_norm([self.size], Some(weight), Some(bias), self.epsilon, true)?)
    }
}

/// T5LayerNorm: scaled by the root mean square, without mean or bias (transformers 5.23
/// models/t5/modeling_t5.py:50).
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// Of vectors of `size`, at `weights`.
    pub fn load(weights: &Weights, size: i64, epsilon: f64) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: weights.tensor("weight", &[size])?, epsilon })
    }

    /// Another one over the same memory.
    pub fn shallow_clone(&self) -> RmsNorm {
        RmsNorm { weight: self.weight.shallow_clone(), epsilon: self.epsilon }
    }

    /// `(…, size)` to the same shape. The result is in the dtype of the weight, whatever that
    /// of `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.f_to_kind(Kind::Float)?;
        let scale = wide
            .f_square()?
            .f_mean_dim([-1i64].as_slice(), true, Kind::Float)?
            .f_add_scalar_(self.epsilon)?
            .f_rsqrt_()?;
        Ok(wide.f_mul(&scale)?.f_to_kind(self.weight.kind())?.f_mul_(&self.weight)?)
    }
}
