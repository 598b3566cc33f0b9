//! How the matrices of each network are stored.

use crate::backend::Quantization;
use crate::checkpoint::folder::Component;
use crate::{Error, Result};

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
                if wanted != found {
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

    pub fn of(&self, component: Component) -> Option<Quantization> {
        match component {
            Component::TextEncoder => self.text_encoder,
            Component::Transformer => self.transformer,
            Component::Vae => None,
        }
    }
}
