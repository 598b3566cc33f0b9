//! Low-rank adaptation of linear layers: W + s · B A (Hu et al., arXiv 2106.09685, section 4.1).

use crate::runtime::{dim, ReadOnly};
use crate::Result;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// What an adapter has for one module.
#[derive(Debug)]
pub struct LowRankFactors {
    /// A `(rank, inputs)`: `lora_A`.
    pub down: Tensor,
    /// B `(outputs, rank)`: `lora_B`.
    pub up: Tensor,
    /// Of `lora_B`, `(outputs)`.
    pub bias: Option<Tensor>,
    /// What `B A x` is multiplied by: alpha / rank, or alpha / √rank (rsLoRA).
    pub scale: f64,
}

/// An adapter: the factors of each module that it adapts, by the module's checkpoint name.
#[derive(Debug)]
pub struct Adapter {
    pub factors: BTreeMap<String, LowRankFactors>,
}

impl Adapter {
    pub fn is_on(&self, device: Device) -> bool {
        self.factors.values().all(|factors| factors.down.device() == device)
    }

    /// The same numbers on a device; nothing is copied that is there.
    pub fn on(&self, device: Device) -> Result<Adapter> {
        let there = |of: &LowRankFactors| {
            Ok::<_, crate::Error>(LowRankFactors {
                down: of.down.f_to_device(device)?,
                up: of.up.f_to_device(device)?,
                bias: of.bias.as_ref().map(|bias| bias.f_to_device(device)).transpose()?,
                scale: of.scale,
            })
        };
        let factors = self
            .factors
            .iter()
            .map(|(module, of)| Ok::<_, crate::Error>((module.clone(), there(of)?)));
        Ok(Adapter { factors: factors.collect::<Result<_>>()? })
    }
}

// SAFETY: the factors are read once and then only read: products write to tensors of their own.
unsafe impl ReadOnly for Adapter {}

/// One adapter's part in a layer.
#[derive(Debug)]
pub(super) struct LowRank {
    /// The first of the layer's outputs that it adds to.
    start: i64,
    down: Tensor,
    up: Tensor,
    bias: Option<Tensor>,
    scale: f64,
}

impl LowRank {
    /// `weight` times what `factors` say, for the outputs from `start` on.
    pub fn new(factors: &LowRankFactors, start: i64, weight: f64) -> LowRank {
        LowRank {
            start,
            down: factors.down.shallow_clone(),
            up: factors.up.shallow_clone(),
            bias: factors.bias.as_ref().map(Tensor::shallow_clone),
            scale: weight * factors.scale,
        }
    }

    pub fn shallow_clone(&self) -> LowRank {
        LowRank {
            start: self.start,
            down: self.down.shallow_clone(),
            up: self.up.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            scale: self.scale,
        }
    }

    /// Adds `s (B A x + b)` to `y` in place. `x` is `(…, inputs)`; `y` `(…, n)`, dense, has the
    /// layer's outputs from `first` on.
    pub fn add_to(&self, y: &Tensor, x: &Tensor, first: i64) -> Result<()> {
        let count = dim(y, -1)?;
        let begin = self.start.max(first);
        let length = (self.start + dim(&self.up, 0)?).min(first + count) - begin;
        if length <= 0 {
            return Ok(());
        }
        let (row, column) = (begin - self.start, begin - first);
        let mut hidden = x.f_linear(&self.down, None::<&Tensor>)?;
        if self.scale != 1.0 {
            // Of all that the scale could be multiplied with, this is the smallest.
            hidden = hidden.f_mul_scalar_(self.scale)?;
        }
        let hidden = hidden.f_flatten(0, -2)?;
        let up = self.up.f_narrow(0, row, length)?;
        let mut part = y.f_view([-1, count])?.f_narrow(1, column, length)?;
        let _ = part.f_addmm_(&hidden, &up.f_tr()?)?;
        if let Some(bias) = &self.bias {
            let bias = bias.f_narrow(0, row, length)?.f_mul_scalar(self.scale)?;
            let _ = part.f_add_(&bias)?;
        }
        Ok(())
    }

    /// Adds `s B A` to the layer's matrix and `s b` to its bias, both in place.
    pub fn merge_into(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let rows = dim(&self.up, 0)?;
        let kind = weight.f_kind()?;
        // In float32, and rounded once: the product of half-precision factors is not.
        let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        let delta = wide(&self.up)?.f_matmul(&wide(&self.down)?)?.f_mul_scalar_(self.scale)?;
        let mut part = weight.f_narrow(0, self.start, rows)?;
        if kind == Kind::Float {
            let _ = part.f_add_(&delta)?;
        } else {
            part.f_copy_(&wide(&part)?.f_add_(&delta)?)?;
        }
        if let (Some(own), Some(bias)) = (&self.bias, bias) {
            let _ = bias.f_narrow(0, self.start, rows)?.f_add_(&own.f_mul_scalar(self.scale)?)?;
        }
        Ok(())
    }

    /// Whether it changes the layer's bias.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Whether it changes nothing.
    pub fn is_nothing(&self) -> bool {
        self.scale == 0.0
    }
}
