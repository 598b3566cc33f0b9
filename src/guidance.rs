//! Classifier-free guidance as a batch (arXiv 2207.12598; diffusers 0.42.1
//! pipelines/cogvideo/pipeline_cogvideox.py:719-744).
//!
//! The transformer sees both halves of the guidance in one batch, `[unconditional;
//! conditional]`, each as many rows as videos. Which row belongs to which half is known here and
//! nowhere else: whoever needs a half asks for it.

use crate::{Error, Result};
use tch::Tensor;

/// How the rows of a batch are laid out during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuidanceBatch {
    /// Videos per run, at least 1.
    pub videos: i64,
    /// Guidance is on: the batch has an unconditional half before the conditional one.
    pub guided: bool,
}

/// Which halves of the guidance batch a tensor, or a call of the model, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// The whole batch (also: guidance is off and there is only one half).
    All,
    /// The conditional half alone.
    ConditionalOnly,
}

impl GuidanceBatch {
    /// Rows of a batch that has `branches`.
    pub fn rows(self, branches: Branches) -> i64 {
        match branches {
            Branches::All if self.guided => self.videos.saturating_mul(2),
            _ => self.videos,
        }
    }

    /// Views of the unconditional and the conditional half of a whole batch. Errors:
    /// [`Error::Internal`] without guidance, or for another number of rows.
    pub fn split(self, batch: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check(batch)?;
        Ok((batch.f_narrow(0, 0, self.videos)?, self.conditional(batch)?))
    }

    /// A view of the conditional half of a whole batch; errors as for [`GuidanceBatch::split`].
    pub fn conditional(self, batch: &Tensor) -> Result<Tensor> {
        self.check(batch)?;
        Ok(batch.f_narrow(0, self.videos, self.videos)?)
    }

    /// The whole batch of two halves.
    pub fn join(self, unconditional: &Tensor, conditional: &Tensor) -> Result<Tensor> {
        Ok(Tensor::f_cat(&[unconditional, conditional], 0)?)
    }

    /// What the scheduler is given: `unconditional + scale · (conditional − unconditional)` of a
    /// whole batch, and the batch itself without guidance.
    pub fn combine(self, batch: Tensor, scale: f64) -> Result<Tensor> {
        if !self.guided {
            return Ok(batch);
        }
        let (unconditional, conditional) = self.split(&batch)?;
        Ok(conditional.f_sub(&unconditional)?.f_mul_scalar_(scale)?.f_add_(&unconditional)?)
    }

    fn check(self, batch: &Tensor) -> Result<()> {
        let found = batch.size();
        match found.first() {
            Some(rows) if self.guided && *rows == self.rows(Branches::All) => Ok(()),
            _ => Err(Error::Internal(format!(
                "guidance batch: expected {} rows of two halves, found shape {found:?}",
                self.videos.saturating_mul(2)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_goes_from_the_unconditional_half_through_the_conditional_one() -> Result<()> {
        let batch = GuidanceBatch { videos: 2, guided: true };
        let rows = Tensor::f_from_slice(&[1f32, 2.0, 3.0, 6.0])?.f_view([4, 1])?;
        let (unconditional, conditional) = batch.split(&rows)?;
        assert_eq!(Vec::<f32>::try_from(unconditional.f_view([-1])?)?, [1.0, 2.0]);
        assert_eq!(Vec::<f32>::try_from(conditional.f_view([-1])?)?, [3.0, 6.0]);
        assert!(batch.join(&unconditional, &conditional)?.f_equal(&rows)?);
        let combined = batch.combine(rows, 2.0)?;
        assert_eq!(Vec::<f32>::try_from(combined.f_view([-1])?)?, [5.0, 10.0]);
        Ok(())
    }

    #[test]
    fn a_batch_of_other_rows_is_refused() -> Result<()> {
        let batch = GuidanceBatch { videos: 2, guided: true };
        let rows = Tensor::f_from_slice(&[1f32, 2.0])?;
        assert!(matches!(batch.split(&rows), Err(Error::Internal(_))));
        let plain = GuidanceBatch { videos: 2, guided: false };
        assert!(matches!(plain.conditional(&rows), Err(Error::Internal(_))));
        assert_eq!((plain.rows(Branches::All), batch.rows(Branches::All)), (2, 4));
        assert_eq!(batch.rows(Branches::ConditionalOnly), 2);
        Ok(())
    }
}
