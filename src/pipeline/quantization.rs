//! How the matrices of each network are stored.

use super::placements::Placements;
use crate::backend::Quantization;
use crate::checkpoint::folder::Component;
use crate::runtime::devices;
use crate::{Error, Result};
use tch::Device;

/// The first compute capability with products of float8 numbers.
const FLOAT8: (i32, i32) = (8, 9);

/// What a host asks for; `None`: in the component's dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantizations {
    pub text_encoder: Option<Quantization>,
    pub transformer: Option<Quantization>,
}

impl Quantizations {
    /// That of the component of this name. Errors: [`Error::InvalidArgument`] for another, and for
    /// the VAE, which is made of convolutions.
    pub fn of_mut(&mut self, component: &str) -> Result<&mut Option<Quantization>> {
        match Component::ALL.into_iter().find(|known| known.name() == component) {
            Some(Component::TextEncoder) => Ok(&mut self.text_encoder),
            Some(Component::Transformer) => Ok(&mut self.transformer),
            Some(Component::Vae) | None => Err(Error::InvalidArgument(format!(
                "component must be \"text_encoder\" or \"transformer\" to be quantized (a VAE is \
                 made of convolutions), found {component:?}"
            ))),
        }
    }

    /// What is wanted of a folder whose weights are stored as `stored` says. Errors:
    /// [`Error::InvalidArgument`] for another kind than a component's files have.
    pub fn over(self, stored: Quantizations) -> Result<Quantizations> {
        for component in [Component::TextEncoder, Component::Transformer] {
            if let (Some(wanted), Some(found)) = (self.of(component), stored.of(component)) {
                if wanted.stored() != found {
                    return Err(Error::InvalidArgument(format!(
                        "quantization of {}: expected {:?}, as its files are quantized, or none, \
                         found {:?}",
                        component.name(),
                        found.name(),
                        wanted.name()
                    )));
                }
            }
        }
        Ok(Quantizations {
            text_encoder: self.text_encoder.or(stored.text_encoder),
            transformer: self.transformer.or(stored.transformer),
        })
    }

    /// Errors: [`Error::InvalidArgument`] where products of float8 numbers are wanted and a component's
    /// device has none: the CPU, and CUDA devices before compute capability 8.9.
    pub fn check(self, placements: &Placements) -> Result<()> {
        for component in [Component::TextEncoder, Component::Transformer] {
            if self.of(component) != Some(Quantization::Fp8Compute) {
                continue;
            }
            let name = placements.of(component).device_name();
            // The CPU alone is no reason to look for CUDA.
            let device = match placements.of(component).device {
                Device::Cpu => None,
                _ => devices::list()?.into_iter().find(|info| info.device == name),
            };
            let capability = device.map_or((0, 0), |info| info.capability);
            if capability < FLOAT8 {
                let found = match capability {
                    (0, 0) => name,
                    (major, minor) => format!("{name} of compute capability {major}.{minor}"),
                };
                return Err(Error::InvalidArgument(format!(
                    "quantization \"fp8_compute\" of {}: expected a CUDA device of compute capability \
                     8.9 or later, since others have no products of float8 numbers, found {found}; \
                     \"fp8\" stores weights in it on every device",
                    component.name()
                )));
            }
        }
        Ok(())
    }

    pub fn of(&self, component: Component) -> Option<Quantization> {
        match component {
            Component::TextEncoder => self.text_encoder,
            Component::Transformer => self.transformer,
            Component::Vae => None,
        }
    }
}
