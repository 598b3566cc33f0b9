//! The layers that all three networks are made of.
//!
//! A network asks for a layer at a place of its checkpoint and calls it; how the layer's numbers
//! are stored and which kernel computes is decided below (`checkpoint::Weights`, `backend`).

mod linear;
mod norm;

pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm};
