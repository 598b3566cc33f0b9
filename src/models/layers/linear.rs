//! The linear layer.

use super::low_rank::LowRank;
use super::Adapter;
use crate::backend::{copy_of, Epilogue, Rows, Weight};
use crate::checkpoint::weights::{LinearParts, LinearSpec};
use crate::checkpoint::Weights;
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// `y = epilogue(x Wᵀ + b + Σ s (B A x + b'))`, W `(outputs, inputs)`; the sum is over the adapters
/// of the layer, of which it has none unless [`Linear::adapted`] made it. It is not changed by use.
pub struct Linear {
    /// The checkpoint names of the modules whose outputs lie side by side, all of one size.
    modules: Vec<String>,
    weight: Weight,
    bias: Option<Tensor>,
    epilogue: Epilogue,
    adapters: Vec<LowRank>,
}

/// A layer to be called several times: [`Linear::ready`].
pub enum Ready<'a> {
    Same(&'a Linear),
    Made(Linear),
}

impl std::ops::Deref for Ready<'_> {
    type Target = Linear;

    fn deref(&self) -> &Linear {
        match self {
            Ready::Same(layer) => layer,
            Ready::Made(layer) => layer,
        }
    }
}

/// What makes another layer of each one of a network.
pub type LinearChange<'a> = &'a dyn Fn(&Linear) -> Result<Linear>;

impl Linear {
    /// The layer that `spec` describes, below `weights`. Errors: those of [`Weights::linear`].
    pub fn read(weights: &Weights, spec: &LinearSpec) -> Result<Linear> {
        let LinearParts { weight, bias } = weights.linear(spec)?;
        let name = |module: &&str| match module.is_empty() {
            true => weights.name().to_string(),
            false => weights.at(module).name().to_string(),
        };
        let modules = spec.modules.iter().map(name).collect();
        Ok(Linear { modules, weight, bias, epilogue: spec.epilogue, adapters: Vec::new() })
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
        let (shape, epilogue, rows) = (&[outputs, inputs], Epilogue::None, Rows::Many);
        Linear::read(weights, &LinearSpec { modules, shape, bias, kind: None, epilogue, rows })
    }

    /// As [`Linear::load`] with a bias, for a row at a time.
    pub fn load_for_a_row(weights: &Weights, inputs: i64, outputs: i64) -> Result<Linear> {
        let (shape, modules) = (&[outputs, inputs], &[""]);
        let (epilogue, rows) = (Epilogue::None, Rows::Few);
        Linear::read(
            weights,
            &LinearSpec { modules, shape, bias: true, kind: None, epilogue, rows },
        )
    }

    /// As [`Linear::load`] with a bias, and with GELU or another function after it.
    pub fn load_activated(
        weights: &Weights,
        inputs: i64,
        outputs: i64,
        epilogue: Epilogue,
    ) -> Result<Linear> {
        let (shape, modules, rows) = (&[outputs, inputs], &[""], Rows::Many);
        Linear::read(
            weights,
            &LinearSpec { modules, shape, bias: true, kind: None, epilogue, rows },
        )
    }

    /// The convolution at `weights` over single points, of one dimension or three: a product with
    /// the channels of each point.
    pub fn load_pointwise(weights: &Weights, inputs: i64, outputs: i64) -> Result<Linear> {
        let (shape, modules) = (&[outputs, inputs, 1, 1, 1], &[""]);
        // Their products are mostly written into memory that is there, which oneDNN's are not.
        let (epilogue, rows) = (Epilogue::None, Rows::Few);
        Linear::read(
            weights,
            &LinearSpec { modules, shape, bias: true, kind: None, epilogue, rows },
        )
    }

    /// Another layer over the same memory, which adds what `adapters` have for its modules, each
    /// times its weight.
    pub fn adapted(&self, adapters: &[(&Adapter, f64)]) -> Result<Linear> {
        let mut layer = self.shallow_clone();
        layer.adapters.extend(self.parts(adapters)?);
        Ok(layer)
    }

    /// The layer with what `adapters` have for its modules, each times its weight, added to its
    /// matrix: in memory of its own where they have something, else over the same. A quantized
    /// matrix is quantized anew.
    pub fn fused(&self, adapters: &[(&Adapter, f64)]) -> Result<Linear> {
        let mut layer = self.shallow_clone();
        let parts = self.parts(adapters)?;
        if parts.is_empty() {
            return Ok(layer);
        }
        let dense = self.weight.dense_copy()?;
        layer.bias = match &self.bias {
            Some(bias) => Some(copy_of(bias)?),
            None if parts.iter().any(LowRank::has_bias) => {
                Some(Tensor::f_zeros([dim(&dense, 0)?], (dense.f_kind()?, dense.device()))?)
            }
            None => None,
        };
        for part in &parts {
            part.merge_into(&dense, layer.bias.as_ref())?;
        }
        layer.weight = self.weight.store_alike(dense, self.epilogue)?;
        Ok(layer)
    }

    /// The parts that `adapters` have in this layer, without those that change nothing.
    fn parts(&self, adapters: &[(&Adapter, f64)]) -> Result<Vec<LowRank>> {
        let mut parts = Vec::new();
        for (adapter, weight) in adapters {
            let mut start = 0;
            for module in &self.modules {
                let outputs = self.module_outputs()?;
                if let Some(factors) = adapter.factors.get(module) {
                    parts.push(LowRank::new(factors, start, *weight));
                }
                start += outputs;
            }
        }
        parts.retain(|part| !part.is_nothing());
        Ok(parts)
    }

    fn module_outputs(&self) -> Result<i64> {
        Ok(self.weight.outputs()? / (self.modules.len() as i64).max(1))
    }

    /// Another layer over the same memory.
    pub fn shallow_clone(&self) -> Linear {
        Linear {
            modules: self.modules.clone(),
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            epilogue: self.epilogue,
            adapters: self.adapters.iter().map(LowRank::shallow_clone).collect(),
        }
    }

    /// `(…, inputs)` to `(…, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.adapters.is_empty() {
            return self.weight.product(x, self.bias.as_ref(), self.epilogue);
        }
        // A layer before it may hand over what it has rounded already.
        let x = &x.f_to_kind(self.weight.kind())?;
        let y = self.weight.product(x, self.bias.as_ref(), Epilogue::None)?;
        self.finish(y, x, 0)
    }

    /// As [`Linear::forward`], in pieces between which `control` is asked where all at once would
    /// take long.
    pub fn forward_in_pieces(&self, x: &Tensor, control: &Control) -> Result<Tensor> {
        let cost = self.cost()?;
        if pieces::rows_of_a_piece(x.device(), pieces::rows(x), cost).is_none() {
            return self.forward(x);
        }
        let layer = self.ready()?;
        pieces::map_rows(x, cost, control, |x| layer.forward(x))
    }

    /// The layer as several calls in a row are best made: a quantized matrix is made dense once for
    /// all of them.
    pub fn ready(&self) -> Result<Ready<'_>> {
        Ok(match self.weight.ready()? {
            None => Ready::Same(self),
            Some(weight) => {
                let bias = self.bias.as_ref().map(Tensor::shallow_clone);
                let adapters = self.adapters.iter().map(LowRank::shallow_clone).collect();
                let (modules, epilogue) = (Vec::new(), self.epilogue);
                Ready::Made(Linear { modules, weight, bias, epilogue, adapters })
            }
        })
    }

    /// [`Linear::ready`] for `several` calls in a row, else the layer as it is.
    pub fn ready_if(&self, several: bool) -> Result<Ready<'_>> {
        match several {
            true => self.ready(),
            false => Ok(Ready::Same(self)),
        }
    }

    /// Multiplications for each row, and what reading it and writing its outputs is worth: with few
    /// channels, that is most of it.
    pub fn cost(&self) -> Result<i64> {
        let (inputs, outputs) = (self.weight.inputs()?, self.weight.outputs()?);
        let passes = inputs.saturating_add(outputs).saturating_mul(2 * pieces::ELEMENT);
        Ok(inputs.saturating_mul(outputs).saturating_add(passes))
    }

    /// As [`Linear::forward`], for the `length` outputs from `start` on alone.
    pub fn forward_rows(&self, x: &Tensor, start: i64, length: i64) -> Result<Tensor> {
        let weight = self.weight.rows(start, length)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_narrow(0, start, length)).transpose()?;
        self.finish(x.f_linear(&weight, bias.as_ref())?, x, start)
    }

    /// What follows the product with the matrix, of which `y` has the outputs from `first` on.
    fn finish(&self, y: Tensor, x: &Tensor, first: i64) -> Result<Tensor> {
        for adapter in &self.adapters {
            adapter.add_to(&y, x, first)?;
        }
        self.epilogue.apply(y)
    }

    /// As [`Linear::forward`], written to `out`. Both are contiguous; the layer has a bias and no
    /// epilogue.
    pub fn forward_into(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        match (&self.bias, self.epilogue) {
            (Some(bias), Epilogue::None) => self.weight.product_into(x, bias, out)?,
            _ => {
                return Err(Error::Internal(
                    "linear layer: only a plain one with a bias writes".into(),
                ))
            }
        }
        self.adapters.iter().try_for_each(|adapter| adapter.add_to(out, x, 0))
    }

    /// In which inputs must be.
    pub fn kind(&self) -> Kind {
        self.weight.kind()
    }

    /// The checkpoint names of the modules that the layer stands for.
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    /// Inputs, and outputs of each module.
    pub fn module_size(&self) -> Result<(i64, i64)> {
        Ok((self.weight.inputs()?, self.module_outputs()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// What a piece may take is counted in multiplications, and a layer of few channels has hardly
    /// any: its pieces must not take as much longer as reading and writing them does.
    #[test]
    fn pieces_of_a_narrow_layer_are_bounded_by_what_they_read_and_write() {
        let budget = pieces::budget(Device::Cpu).unwrap();
        for (inputs, outputs) in [(16, 16), (64, 16), (128, 128), (512, 2048)] {
            let matrix = Tensor::f_zeros([outputs, inputs], (Kind::Float, Device::Cpu)).unwrap();
            let layer = Linear {
                modules: Vec::new(),
                weight: Weight::store(matrix, Epilogue::None, Rows::Many).unwrap(),
                bias: None,
                epilogue: Epilogue::None,
                adapters: Vec::new(),
            };
            let rows = 1 << 40;
            let step = pieces::rows_of_a_piece(Device::Cpu, rows, layer.cost().unwrap()).unwrap();
            assert!(step * inputs * outputs <= budget, "{inputs} to {outputs}: {step} rows");
            let elements = step * (inputs + outputs);
            assert!(elements * pieces::ELEMENT <= budget / 2, "{inputs} to {outputs}: {step} rows");
        }
    }
}
