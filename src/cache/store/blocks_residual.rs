//! What the blocks of one step add to the video tokens.
//!
//! Text tokens are left out: nothing reads them after the last block
//! (diffusers 0.42.1 models/transformers/cogvideox_transformer_3d.py:448).

use super::{bytes_of, CachedTensor, MemoryCounter, Store};
use crate::cache::run_info::{RunInfo, Sizes};
use crate::guidance::Branches;
use crate::runtime::dim;
use crate::{Error, Result};
use tch::Tensor;

/// Taken between the tokens that enter the first block and those that leave the last.
#[derive(Debug)]
pub(in crate::cache) struct BlocksResidual {
    text_tokens: i64,
    /// The video tokens as they entered.
    before: Option<CachedTensor>,
}

impl BlocksResidual {
    pub fn new(run: &RunInfo) -> Result<BlocksResidual> {
        Ok(BlocksResidual { text_tokens: run.sizes()?.own_text_tokens, before: None })
    }

    /// Bytes of what the blocks add, for the whole guidance batch, kept as `store` says.
    pub fn bytes(run: &RunInfo, sizes: &Sizes, store: impl Into<Store>) -> Result<u64> {
        let video = sizes.tokens - sizes.text_tokens;
        bytes_of(&[run.token_rows(Branches::All), video, sizes.hidden_size], store)
    }

    /// The tokens `x` are about to enter the first block.
    pub fn begin(&mut self, x: &Tensor, memory: &MemoryCounter) -> Result<()> {
        self.before = None;
        let video = self.video(x)?;
        self.before = Some(CachedTensor::copy(&video, video.f_kind()?, memory)?);
        Ok(())
    }

    /// The tokens `x` have left the last block: their video tokens less those that entered, kept as
    /// `store` says; in the storage of the latter where that is the model's dtype.
    pub fn end(
        &mut self,
        x: &Tensor,
        store: Store,
        memory: &MemoryCounter,
    ) -> Result<CachedTensor> {
        let mut residual = self
            .before
            .take()
            .ok_or_else(|| Error::Internal("cache: blocks ended that had not begun".into()))?;
        let video = self.video(x)?;
        let _ = residual.tensor_mut()?.f_neg_()?.f_add_(&video)?;
        if store == video.f_kind()?.into() {
            return Ok(residual);
        }
        CachedTensor::copy(&residual.read()?, store, memory)
    }

    fn video(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_narrow(1, self.text_tokens, dim(x, 1)? - self.text_tokens)?)
    }
}
