//! The configs of the components, with diffusers' and transformers' field names and defaults.
//!
//! A field that changes the result and can't be honoured is an error
//! ([`crate::Error::UnsupportedModel`]); what a field may be is bounded, so that products of a few
//! of them fit an `i64`. A field that diffusers 0.42.1 does not know is passed over with a warning,
//! as there (configuration_utils.py:589): published folders have some.

/// A choice among a few names, as a config spells them.
macro_rules! named {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $choice:ident = $text:literal),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $choice),* }

        impl $name {
            /// Every choice with its name.
            pub const ALL: &'static [($name, &'static str)] = &[$(($name::$choice, $text)),*];
        }
    };
}

mod scheduler;
mod t5;
mod transformer;
mod vae;

pub use scheduler::{
    BetaSchedule, PredictionType, SchedulerClass, SchedulerConfig, SchedulerOverrides,
    TimestepSpacing,
};
pub use t5::T5Config;
pub use transformer::{Activation, Family, Positions, TransformerConfig};
pub use vae::VaeConfig;

/// The largest number of layers, heads or latent channels.
const MAX_COUNT: i64 = 1 << 12;
/// The largest width of a layer. CogVideoX-5b has 3,072, T5 xxl 10,240 in its feed-forward.
const MAX_WIDTH: i64 = 1 << 17;
/// The largest side or number of frames of a latent.
const MAX_SIDE: i64 = 1 << 14;
/// The largest ε of a norm, and the smallest: 0 would divide by zero on a constant input.
const EPSILON: std::ops::RangeInclusive<f64> = 1e-12..=1.0;
