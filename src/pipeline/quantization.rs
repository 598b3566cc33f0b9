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

    pub fn of(&self, component: Component) -> Option<Quantization> {
        match component {
            Component::TextEncoder => self.text_encoder,
            Component::Transformer => self.transformer,
            Component::Vae => None,
        }
    }
}
