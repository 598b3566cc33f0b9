//! Weights of one component, read from memory-mapped safetensors.

use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use std::fmt::Display;
use std::path::Path;
use tch::{Kind, Tensor};

/// The tensors of one component, memory-mapped: a single safetensors file or the shards of an
/// index.
pub struct WeightStore {
    pub placement: Placement,
}

impl WeightStore {
    /// Opens `<folder>/<stem>[.<variant>].safetensors` or the shards that
    /// `<stem>.safetensors.index[.<variant>].json` names.
    pub fn open(
        _folder: &Path,
        _stem: &str,
        _variant: Option<&str>,
        placement: Placement,
        _control: &Control,
    ) -> Result<WeightStore> {
        Ok(WeightStore { placement })
    }

    pub fn root(&self) -> Weights<'_> {
        Weights { store: self, prefix: String::new() }
    }

    /// Errors with the names of tensors that were never asked for, unless below one of
    /// `unused_prefixes`.
    pub fn finish(self, _unused_prefixes: &[&str]) -> Result<()> {
        Ok(())
    }
}

/// A place in the module tree of a component; names are those of the checkpoint.
#[derive(Clone)]
pub struct Weights<'a> {
    store: &'a WeightStore,
    prefix: String,
}

impl<'a> Weights<'a> {
    /// The place called `name` below this one.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        let prefix = if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        };
        Weights { store: self.store, prefix }
    }

    /// The full checkpoint name of this place, such as `transformer_blocks.0.attn1`.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    pub fn placement(&self) -> Placement {
        self.store.placement
    }

    pub fn has(&self, _name: &str) -> bool {
        false
    }

    /// The tensor `name` below this place: it must have exactly `shape`; answered in the
    /// placement's dtype and device, in memory of its own.
    pub fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        self.tensor_as(name, shape, self.store.placement.dtype.kind())
    }

    /// As [`Weights::tensor`], in `kind`.
    pub fn tensor_as(&self, name: &str, _shape: &[i64], _kind: Kind) -> Result<Tensor> {
        Err(Error::Internal(format!("{}.{name}", self.prefix)))
    }

    /// `names` joined along dimension 0, each of exactly `shape`, without a second copy: the
    /// result is allocated once and each tensor is read into its part.
    pub fn stacked(&self, names: &[&str], _shape: &[i64]) -> Result<Tensor> {
        Err(Error::Internal(format!("{}.{names:?}", self.prefix)))
    }
}
