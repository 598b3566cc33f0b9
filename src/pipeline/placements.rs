//! Where each network of a pipeline is, and what it computes in.

use crate::checkpoint::folder::Component;
use crate::runtime::{DType, Placement};
use crate::{Error, Result};
use tch::Device;

/// What a host asks for in place of the pipeline's own device and dtype; `None`: as the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementChange {
    pub device: Option<String>,
    pub dtype: Option<String>,
}

/// A change for each component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementChanges {
    pub text_encoder: PlacementChange,
    pub transformer: PlacementChange,
    pub vae: PlacementChange,
}

/// One placement for each component. What goes from one to the next is moved and converted on the
/// way: embeddings and latents are the transformer's, frames are float32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placements {
    pub text_encoder: Placement,
    pub transformer: Placement,
    pub vae: Placement,
}

impl PlacementChanges {
    /// That of the component of this name. Errors: [`Error::InvalidArgument`] for another.
    pub fn of(&mut self, component: &str) -> Result<&mut PlacementChange> {
        let found = Component::ALL.into_iter().find(|known| known.name() == component);
        match found {
            Some(Component::TextEncoder) => Ok(&mut self.text_encoder),
            Some(Component::Transformer) => Ok(&mut self.transformer),
            Some(Component::Vae) => Ok(&mut self.vae),
            None => Err(Error::InvalidArgument(format!(
                "component must be one of {:?}, found {component:?}",
                Component::ALL.map(Component::name)
            ))),
        }
    }
}

impl Placements {
    /// `device` and `dtype` are the pipeline's; `file` is the transformer's dtype. Errors: those of
    /// [`Placement::resolve`], with the component's name.
    pub fn resolve(
        device: &str,
        dtype: &str,
        file: DType,
        changes: &PlacementChanges,
    ) -> Result<Placements> {
        let all = Placement::resolve(device, dtype, file)?;
        let of = |component: Component, change: &PlacementChange| {
            if *change == PlacementChange::default() {
                return Ok(all);
            }
            let device = change.device.as_deref().unwrap_or(device);
            let dtype = change.dtype.as_deref().unwrap_or(dtype);
            Placement::resolve(device, dtype, file).map_err(|error| error.context(component.name()))
        };
        Ok(Placements {
            text_encoder: of(Component::TextEncoder, &changes.text_encoder)?,
            transformer: of(Component::Transformer, &changes.transformer)?,
            vae: of(Component::Vae, &changes.vae)?,
        })
    }

    /// The same dtypes on another device.
    pub fn on_device(&self, device: Device) -> Placements {
        let there = |placement: Placement| Placement { device, ..placement };
        Placements {
            text_encoder: there(self.text_encoder),
            transformer: there(self.transformer),
            vae: there(self.vae),
        }
    }

    pub fn of(&self, component: Component) -> Placement {
        match component {
            Component::TextEncoder => self.text_encoder,
            Component::Transformer => self.transformer,
            Component::Vae => self.vae,
        }
    }

    pub fn all(&self) -> [Placement; 3] {
        [self.text_encoder, self.transformer, self.vae]
    }

    /// The devices that components are on, each once.
    pub fn devices(&self) -> Vec<Device> {
        let mut devices = Vec::new();
        for Placement { device, .. } in self.all() {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices
    }
}
