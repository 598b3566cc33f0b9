//! The layers that all three networks are made of.
//!
//! A network asks for a layer at a place of its checkpoint and calls it; how the layer's numbers
//! are stored and which kernel computes is decided below (`checkpoint::Weights`, `backend`).

mod blocks;
mod linear;
mod low_rank;
mod norm;

pub use blocks::{Block, Blocks, Change};
pub use linear::{Linear, LinearChange};
pub use low_rank::{Adapter, LowRankFactors};
pub use norm::{LayerNorm, RmsNorm};
