//! The layers everything here is made of.

use crate::checkpoint::Weights;
use crate::runtime::shim::{addmm_gelu, LinearGelu};
use crate::Result;
use tch::Tensor;

/// `y = x Wᵀ + b`, weight `(outputs, inputs)` as torch keeps it.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight` and, if the layer has one, `bias` at `weights`.
    pub fn load(weights: &Weights, inputs: i64, outputs: i64, bias: bool) -> Result<Linear> {
        let weight = weights.tensor("weight", &[outputs, inputs])?;
        let bias = if bias { Some(weights.tensor("bias", &[outputs])?) } else { None };
        Ok(Linear { weight, bias })
    }

    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Linear {
        Linear { weight, bias }
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, self.bias.as_ref())?)
    }

    /// As [`Linear::forward`], for the `length` outputs from `start` on alone.
    pub fn forward_rows(&self, x: &Tensor, start: i64, length: i64) -> Result<Tensor> {
        let weight = self.weight.f_narrow(0, start, length)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_narrow(0, start, length)).transpose()?;
        Ok(x.f_linear(&weight, bias.as_ref())?)
    }
}

/// A linear layer followed by GELU with the tanh approximation, in one pass where libtorch has
/// such a kernel for the weights' device and dtype.
pub(super) enum LinearGeluTanh {
    /// CPU, float32.
    Cpu(LinearGelu),
    Cuda {
        /// Transposed, `(inputs, outputs)`.
        weight: Tensor,
        bias: Tensor,
    },
    Separate(Linear),
}

impl LinearGeluTanh {
    pub fn load(weights: &Weights, inputs: i64, outputs: i64) -> Result<LinearGeluTanh> {
        let weight = weights.tensor("weight", &[outputs, inputs])?;
        let bias = weights.tensor("bias", &[outputs])?;
        if let Some(fused) = LinearGelu::new(&weight, &bias)? {
            return Ok(LinearGeluTanh::Cpu(fused));
        }
        if weight.device().is_cuda() {
            return Ok(LinearGeluTanh::Cuda { weight: weight.f_transpose(0, 1)?, bias });
        }
        Ok(LinearGeluTanh::Separate(Linear::new(weight, Some(bias))))
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            LinearGeluTanh::Cpu(fused) => fused.forward(x),
            LinearGeluTanh::Cuda { weight, bias } => {
                let rows = x.f_flatten(0, -2)?;
                let out = addmm_gelu(bias, &rows, weight)?;
                let mut shape = x.size();
                shape.pop();
                shape.extend(bias.size());
                Ok(out.f_view(shape.as_slice())?)
            }
            LinearGeluTanh::Separate(linear) => Ok(linear.forward(x)?.f_gelu_("tanh")?),
        }
    }
}

/// Layer normalisation over the last dimension; `weight` and `bias` are absent where the
/// config says `norm_elementwise_affine: false`.
pub(super) struct LayerNorm {
    width: i64,
    epsilon: f64,
    affine: Option<(Tensor, Tensor)>,
}

impl LayerNorm {
    pub fn load(weights: &Weights, width: i64, epsilon: f64, affine: bool) -> Result<LayerNorm> {
        let affine = if affine {
            Some((weights.tensor("weight", &[width])?, weights.tensor("bias", &[width])?))
        } else {
            None
        };
        Ok(LayerNorm { width, epsilon, affine })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (Some(weight), Some(bias)),
            None => (None, None),
        };
        Ok(x.f_layer_norm([self.width], weight, bias, self.epsilon, true)?)
    }

    /// `norm(x) · (1 + scale) + shift` in one pass: scale and shift, both `(width)`, are the
    /// same for every token, so they fold into the norm's own weight and bias.
    pub fn forward_modulated(&self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        let gain = scale.f_add_scalar(1.0)?;
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (weight.f_mul(&gain)?, shift.f_addcmul(bias, &gain)?),
            None => (gain, shift.shallow_clone()),
        };
        Ok(x.f_layer_norm([self.width], Some(weight), Some(bias), self.epsilon, true)?)
    }
}
