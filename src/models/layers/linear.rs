//! The linear layer.

use crate::backend::{Epilogue, Weight};
use crate::checkpoint::weights::{LinearParts, LinearSpec};
use crate::checkpoint::Weights;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// `y = epilogue(x Wᵀ + b)`, W `(outputs, inputs)`. It is not changed by use.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    epilogue: Epilogue,
}

impl Linear {
    /// The layer that `spec` describes, below `weights`. Errors: those of [`Weights::linear`].
    pub fn read(weights: &Weights, spec: &LinearSpec) -> Result<Linear> {
        let LinearParts { weight, bias } = weights.linear(spec)?;
        Ok(Linear { weight, bias, epilogue: spec.epilogue })
    }

    /// The layer at `weights`: a `weight` `(outputs, inputs)` and, where it has one, a `bias`.
    pub fn load(weights: &Weights, inputs: i64, outputs: i64, bias: bool) -> Result<Linear> {
        Linear::load_stacked(weights, &[""], inputs, outputs, bias)
    }

    /// The layers `modules` below `weights` as one, whose outputs, `outputs` each, lie side by
    /// side.
    pub fn load_stacked(
        weights: &Weights,
        modules: &[&str],
        inputs: i64,
        outputs: i64,
        bias: bool,
    ) -> Result<Linear> {
        let shape = &[outputs, inputs];
        let epilogue = Epilogue::None;
        Linear::read(weights, &LinearSpec { modules, shape, bias, kind: None, epilogue })
    }

    /// As [`Linear::load`] with a bias, and with GELU or another function after it.
    pub fn load_activated(
        weights: &Weights,
        inputs: i64,
        outputs: i64,
        epilogue: Epilogue,
    ) -> Result<Linear> {
        let (shape, modules) = (&[outputs, inputs], &[""]);
        Linear::read(weights, &LinearSpec { modules, shape, bias: true, kind: None, epilogue })
    }

    /// The convolution at `weights` over single points, of one dimension or three: a product with
    /// the channels of each point.
    pub fn load_pointwise(weights: &Weights, inputs: i64, outputs: i64) -> Result<Linear> {
        let (shape, modules) = (&[outputs, inputs, 1, 1, 1], &[""]);
        let epilogue = Epilogue::None;
        Linear::read(weights, &LinearSpec { modules, shape, bias: true, kind: None, epilogue })
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.product(x, self.bias.as_ref(), self.epilogue)
    }

    /// As [`Linear::forward`], for the `length` outputs from `start` on alone.
    pub fn forward_rows(&self, x: &Tensor, start: i64, length: i64) -> Result<Tensor> {
        let weight = self.weight.rows(start, length)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_narrow(0, start, length)).transpose()?;
        self.epilogue.apply(x.f_linear(&weight, bias.as_ref())?)
    }

    /// As [`Linear::forward`], written to `out`. Both are contiguous; the layer has a bias and no
    /// epilogue.
    pub fn forward_into(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        match (&self.bias, self.epilogue) {
            (Some(bias), Epilogue::None) => self.weight.product_into(x, bias, out),
            _ => Err(Error::Internal("linear layer: only a plain one with a bias writes".into())),
        }
    }

    /// In which inputs must be.
    pub fn kind(&self) -> Kind {
        self.weight.kind()
    }
}
