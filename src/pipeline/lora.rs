//! LoRA adapters of one pipeline: which are loaded, which are in force and how strongly
//! (diffusers 0.42.1 loaders/lora_base.py:395, loaders/peft.py:79).
//!
//! A run takes the state as it is when the run begins, or is submitted, and makes a transformer of
//! its own from it: changes reach later runs alone, and nothing waits for a run.

use super::components::Components;
use super::Pipeline;
use crate::checkpoint::lora;
use crate::models::layers::{Adapter, Change};
use crate::models::transformer::{linear_modules, Transformer};
use crate::runtime::number::Short;
use crate::runtime::process::Work;
use crate::runtime::{Control, Shared};
use crate::{Error, Result};
use std::path::Path;
use tch::Device;

/// The longest name of an adapter, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The adapters of a pipeline at one moment. Cheap to clone: the numbers are shared.
#[derive(Clone, Default)]
pub struct Adapters {
    /// In the order of loading.
    loaded: Vec<Loaded>,
    disabled: bool,
    /// Present while loaded adapters are fused.
    fused: Option<Fused>,
    /// The transformer with fused weights, in place of the folder's, on each device of the pipeline.
    base: Vec<Shared<Transformer>>,
    /// Counts changes.
    version: u64,
}

#[derive(Clone)]
struct Loaded {
    name: String,
    adapter: Shared<Adapter>,
    /// Its weight, if it is active.
    weight: Option<f64>,
}

#[derive(Clone)]
struct Fused {
    /// What [`Adapters::base`] was before.
    below: Vec<Shared<Transformer>>,
}

impl Adapters {
    /// Whether weights are not those of the folder.
    pub(super) fn has_fused(&self) -> bool {
        !self.base.is_empty()
    }

    /// Names and weights in the order of loading; `None` for one that is not active.
    pub fn list(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.loaded.iter().map(|loaded| (loaded.name.as_str(), loaded.weight))
    }

    /// The transformer of a run whose adapters are scaled by `scale`, beside their own weights.
    ///
    /// The reference's `attention_kwargs={"scale": 0}` leaves the adapters with a weight of 1 behind
    /// (utils/peft_utils.py:148); here a run changes nothing.
    pub(super) fn transformer(
        &self,
        components: &Components,
        scale: f64,
        control: &Control,
    ) -> Result<Shared<Transformer>> {
        let base = self.base(components, control)?;
        if self.disabled || self.fused.is_some() {
            return Ok(base);
        }
        let active = on_device(self.active(scale), base.device())?;
        if active.is_empty() {
            return Ok(base);
        }
        Ok(Shared::new(base.changed(&Change::Adapted(active))?))
    }

    fn base(&self, components: &Components, control: &Control) -> Result<Shared<Transformer>> {
        let device = components.placements.transformer.device;
        match self.base.iter().find(|base| base.device() == device) {
            Some(base) => Ok(base.clone()),
            None => components.transformer(control),
        }
    }

    /// The adapters in force, with `scale` times their weights.
    fn active(&self, scale: f64) -> Vec<(Shared<Adapter>, f64)> {
        let weighted = |loaded: &'_ Loaded| loaded.weight.map(|weight| weight * scale);
        self.loaded
            .iter()
            .filter_map(|loaded| Some((loaded.adapter.clone(), weighted(loaded)?)))
            .filter(|(_, weight)| *weight != 0.0)
            .collect()
    }

    /// `name`, or the first free one of default_0, default_1, … (utils/peft_utils.py:215).
    fn free_name(&self, name: Option<&str>) -> Result<String> {
        let taken = |name: &str| self.loaded.iter().any(|loaded| loaded.name == name);
        let Some(name) = name else {
            let mut number = self.loaded.len();
            while taken(&format!("default_{number}")) {
                number += 1;
            }
            return Ok(format!("default_{number}"));
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::InvalidArgument(format!(
                "adapter_name: expected 1 to {MAX_NAME_BYTES} bytes, found {}",
                name.len()
            )));
        }
        if taken(name) {
            return Err(Error::InvalidArgument(format!(
                "adapter_name: expected one that is free, found {name:?}, which is loaded already; \
                 loaded are {}",
                self.names()
            )));
        }
        Ok(name.to_string())
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.list().map(|(name, _)| format!("{name:?}")).collect();
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    }

    fn unless_fused(&self, what: &str) -> Result<()> {
        match self.fused {
            None => Ok(()),
            Some(_) => Err(Error::InvalidArgument(format!(
                "{what}: expected adapters that are not fused, found {} fused: unfuse them, or \
                 unload them, which keeps what is fused",
                self.names()
            ))),
        }
    }

    fn set_active(&mut self, names: &[&str], weights: Option<&[f64]>) -> Result<()> {
        self.unless_fused("set_adapters")?;
        if names.is_empty() {
            return Err(Error::InvalidArgument(format!(
                "names: expected at least one adapter, found none; loaded are {}",
                self.names()
            )));
        }
        let mut chosen: Vec<Option<f64>> = vec![None; self.loaded.len()];
        for (position, name) in names.iter().enumerate() {
            let at = self.loaded.iter().position(|loaded| loaded.name == *name);
            let slot = at.and_then(|at| chosen.get_mut(at)).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "names[{position}]: expected a loaded adapter, found {name:?}; loaded are {}",
                    self.names()
                ))
            })?;
            let weight = weights.map_or(Some(1.0), |weights| weights.get(position).copied());
            let weight = weight.filter(|weight| weight.is_finite()).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "weights[{position}]: expected a finite number for {name:?}"
                ))
            })?;
            if slot.replace(weight).is_some() {
                return Err(Error::InvalidArgument(format!(
                    "names[{position}]: expected each adapter once, found {name:?} again"
                )));
            }
        }
        for (loaded, weight) in self.loaded.iter_mut().zip(chosen) {
            loaded.weight = weight;
        }
        Ok(())
    }

    fn unfuse(&mut self) {
        if let Some(fused) = self.fused.take() {
            self.base = fused.below;
        }
    }
}

/// Adapters with their weights, on a device; those that are there are not copied.
fn on_device(
    active: Vec<(Shared<Adapter>, f64)>,
    device: Device,
) -> Result<Vec<(Shared<Adapter>, f64)>> {
    let there = |(adapter, weight): (Shared<Adapter>, f64)| match adapter.is_on(device) {
        true => Ok((adapter, weight)),
        false => Ok((Shared::new(adapter.on(device)?), weight)),
    };
    active.into_iter().map(there).collect()
}

impl Pipeline {
    /// Loads the adapter at `path`, a file or a folder with `pytorch_lora_weights.safetensors`. It
    /// is active with the weight 1 then, and the others are not, as in the reference.
    ///
    /// Errors, before anything changes: those of [`lora::read`]; [`Error::InvalidArgument`] for a
    /// name that is taken, and while adapters are fused.
    pub fn load_lora(&self, path: &Path, name: Option<&str>) -> Result<()> {
        let _work = Work::begin()?;
        let _no_grad = tch::no_grad_guard();
        let before = self.adapters();
        before.unless_fused("load_lora")?;
        before.free_name(name)?;
        let control = self.with_log(&Control::default());
        let read = || {
            let modules = linear_modules(&self.folder().transformer);
            lora::read(path, &modules, self.placement(), &control)
        };
        let adapter = self.components.logged(&control, read)?;
        let adapter = Shared::new(adapter);
        self.change_adapters(None, |adapters| {
            adapters.unless_fused("load_lora")?;
            let name = adapters.free_name(name)?;
            for loaded in &mut adapters.loaded {
                loaded.weight = None;
            }
            adapters.loaded.push(Loaded { name, adapter, weight: Some(1.0) });
            Ok(())
        })
    }

    /// Makes `names` the active adapters, with `weights`, all 1 without.
    ///
    /// Errors: [`Error::InvalidArgument`] for none, an unknown one, one twice, a weight that is not
    /// finite, and while adapters are fused.
    pub fn set_adapters(&self, names: &[&str], weights: Option<&[f64]>) -> Result<()> {
        self.change_adapters(None, |adapters| adapters.set_active(names, weights))
    }

    /// Whether the active adapters are in force. Disabling unfuses, as in the reference.
    pub fn enable_lora(&self, enabled: bool) -> Result<()> {
        self.change_adapters(None, |adapters| {
            if adapters.loaded.is_empty() {
                return Ok(());
            }
            if !enabled {
                adapters.unfuse();
            }
            adapters.disabled = !enabled;
            Ok(())
        })
    }

    /// Adds the active adapters, `scale` times their weights, to a copy of the weights that they
    /// change. As in the reference, the scale stays with the active adapters' weights.
    ///
    /// Errors: [`Error::InvalidArgument`] if none is active, if they are disabled or fused already.
    pub fn fuse_lora(&self, scale: f64) -> Result<()> {
        let _work = Work::begin()?;
        let _no_grad = tch::no_grad_guard();
        let before = self.adapters();
        before.unless_fused("fuse_lora")?;
        let wrong = |found: String| {
            Err(Error::InvalidArgument(format!(
                "fuse_lora: expected active adapters, found {found}"
            )))
        };
        if before.loaded.iter().all(|loaded| loaded.weight.is_none()) {
            return wrong(format!("none; loaded are {}", before.names()));
        }
        if before.disabled {
            return wrong(format!("{} disabled: enable them first", before.names()));
        }
        let mut scaled = before.loaded.iter().filter_map(|loaded| Some(loaded.weight? * scale));
        if let Some(weight) = scaled.find(|weight| !weight.is_finite()) {
            return Err(Error::InvalidArgument(format!(
                "lora_scale: expected finite weights of the adapters, found {} with {}",
                Short(weight),
                Short(scale)
            )));
        }
        let control = self.with_log(&Control::default());
        let fuse = |components: &Components| {
            let base = before.base(components, &control)?;
            let active = on_device(before.active(scale), base.device())?;
            Ok(Shared::new(base.changed(&Change::Fused(active))?))
        };
        let mut fused: Vec<Shared<Transformer>> = Vec::new();
        for components in self.parallel.on_each_device(&self.components) {
            fused.push(components.logged(&control, || fuse(components))?);
        }
        self.change_adapters(Some(before.version), |adapters| {
            let below = std::mem::replace(&mut adapters.base, fused);
            adapters.fused = Some(Fused { below });
            for loaded in &mut adapters.loaded {
                loaded.weight = loaded.weight.map(|weight| weight * scale);
            }
            Ok(())
        })
    }

    /// Takes back what the last [`Pipeline::fuse_lora`] did: the weights are those from before, the
    /// same memory. Does nothing where nothing is fused.
    pub fn unfuse_lora(&self) -> Result<()> {
        self.change_adapters(None, |adapters| {
            adapters.unfuse();
            Ok(())
        })
    }

    /// Unloads all adapters. What is fused stays, for good, as in the reference.
    pub fn unload_lora(&self) -> Result<()> {
        self.change_adapters(None, |adapters| {
            let base = std::mem::take(&mut adapters.base);
            *adapters = Adapters { base, version: adapters.version, ..Adapters::default() };
            Ok(())
        })
    }

    /// The adapters as they are now.
    pub fn adapters(&self) -> Adapters {
        self.adapters.lock().clone()
    }

    /// Changes the adapters, or leaves them as they are on an error. With `since`, only if nothing
    /// has changed since that version.
    fn change_adapters(
        &self,
        since: Option<u64>,
        change: impl FnOnce(&mut Adapters) -> Result<()>,
    ) -> Result<()> {
        let mut adapters = self.adapters.lock();
        if since.is_some_and(|version| version != adapters.version) {
            return Err(Error::Busy(
                "another thread changed the pipeline's adapters meanwhile: do it once more".into(),
            ));
        }
        let mut changed = adapters.clone();
        change(&mut changed)?;
        changed.version += 1;
        let before = std::mem::replace(&mut *adapters, changed);
        // What is unloaded is freed without the lock.
        drop(adapters);
        drop(before);
        Ok(())
    }
}
