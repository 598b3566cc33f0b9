//! Values of config fields, and the checks that every technique makes of them.
//!
//! Fields go by diffusers' names. A setter hands a name and a value to the config, and the
//! technique takes it or says that it has no such field; so a technique's own file is the only
//! place that knows what fields it has.

use super::callbacks::{LayerCallback, StepCallback};
use super::layer_selection;
use super::schedule::Window;
use crate::{Error, Result};

/// What a field is set to.
#[derive(Debug, Clone)]
pub enum Value {
    /// Compute every `n`th time.
    SkipRange(i64),
    /// `(low, high)`, both outside: the field acts while `low < timestep < high`.
    TimestepRange(i64, i64),
    Number(f64),
    Flag(bool),
    Name(String),
    /// Regular expressions over the attention modules' checkpoint names.
    Identifiers(Vec<String>),
    /// `None` takes the callback away again.
    StepCallback(Option<StepCallback>),
    LayerCallback(Option<LayerCallback>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::SkipRange(_) => "a skip range",
            Value::TimestepRange(..) => "a timestep range",
            Value::Number(_) => "a number",
            Value::Flag(_) => "a flag",
            Value::Name(_) => "a name",
            Value::Identifiers(_) => "identifiers",
            Value::StepCallback(_) => "a callback per step",
            Value::LayerCallback(_) => "a callback per layer",
        }
    }

    fn mismatch(&self, field: &str, expected: &str) -> Error {
        Error::InvalidArgument(format!("{field}: expected {expected}, found {}", self.kind()))
    }

    pub(super) fn skip_range(self, field: &str) -> Result<u32> {
        match self {
            Value::SkipRange(n) => u32::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "{field}: expected a whole number from 1 to {}, found {n}",
                    u32::MAX
                ))
            }),
            other => Err(other.mismatch(field, "a skip range")),
        }
    }

    pub(super) fn timestep_range(self, field: &str) -> Result<Window> {
        match self {
            // Both bounds are outside, so (100, 101) holds no whole timestep either.
            Value::TimestepRange(low, high) if high.saturating_sub(low) < 2 => {
                Err(Error::InvalidArgument(format!(
                    "{field}: expected (low, high) with a timestep strictly between, found \
                     ({low}, {high})"
                )))
            }
            Value::TimestepRange(low, high) => Ok(Window::Timesteps { low, high }),
            other => Err(other.mismatch(field, "a timestep range")),
        }
    }

    pub(super) fn number(self, field: &str) -> Result<f64> {
        match self {
            Value::Number(x) if !x.is_finite() => {
                Err(Error::InvalidArgument(format!("{field}: expected a finite number, found {x}")))
            }
            Value::Number(x) => Ok(x),
            other => Err(other.mismatch(field, "a number")),
        }
    }

    pub(super) fn flag(self, field: &str) -> Result<bool> {
        match self {
            Value::Flag(x) => Ok(x),
            other => Err(other.mismatch(field, "a flag")),
        }
    }

    /// One of `choices`.
    pub(super) fn choice(self, field: &str, choices: &[&'static str]) -> Result<&'static str> {
        match self {
            Value::Name(name) => {
                choices.iter().copied().find(|choice| *choice == name).ok_or_else(|| {
                    Error::InvalidArgument(format!(
                        "{field}: expected one of {choices:?}, found {name:?}"
                    ))
                })
            }
            other => Err(other.mismatch(field, "a name")),
        }
    }

    pub(super) fn identifiers(self, field: &str) -> Result<Vec<String>> {
        match self {
            Value::Identifiers(identifiers) => {
                layer_selection::check(field, &identifiers)?;
                Ok(identifiers)
            }
            other => Err(other.mismatch(field, "identifiers")),
        }
    }

    pub(super) fn step_callback(self, field: &str) -> Result<Option<StepCallback>> {
        match self {
            Value::StepCallback(callback) => Ok(callback),
            other => Err(other.mismatch(field, "a callback per step")),
        }
    }

    pub(super) fn layer_callback(self, field: &str) -> Result<Option<LayerCallback>> {
        match self {
            Value::LayerCallback(callback) => Ok(callback),
            other => Err(other.mismatch(field, "a callback per layer")),
        }
    }
}
