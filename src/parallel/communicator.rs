//! What ranks ask of each other.

use crate::runtime::Control;
use crate::{Error, Result};
use std::ops::Range;
use tch::{Kind, Tensor};

/// One rank's end of what connects the ranks. Ranks are numbered from 0 to [`Communicator::size`].
///
/// Every exchange is among a range of ranks, and all of them, and only they, ask for it, in the same
/// order. Tensors are dense, and of one dtype and device in one call. A tensor without elements is
/// not sent. Nobody writes to a tensor that was sent.
///
/// Errors: while a rank waits for others, those of `control`; and [`Communicator::failure`] once a
/// rank has called [`Communicator::abort`], also for ranks that wait already.
pub trait Communicator: Send + Sync {
    fn rank(&self) -> usize;

    fn size(&self) -> usize;

    /// Gives the i-th of `send` to the i-th rank of `among`, and returns what they gave to this
    /// one, of which the i-th has the i-th of `shapes`. What a rank gives itself is handed back.
    fn all_to_all(
        &self,
        among: &Range<usize>,
        send: Vec<Tensor>,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>>;

    /// What each rank of `among` gave; the i-th has the i-th of `shapes`.
    fn all_gather(
        &self,
        among: &Range<usize>,
        tensor: Tensor,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>> {
        let send = among.clone().map(|_| tensor.shallow_clone()).collect();
        self.all_to_all(among, send, shapes, control)
    }

    /// What the first rank of `among` has; the others give a tensor of the same shape.
    fn broadcast(&self, among: &Range<usize>, tensor: Tensor, control: &Control) -> Result<Tensor> {
        let (first, whole) = (among.start, tensor.size());
        let none = Tensor::f_empty([0], (tensor.f_kind()?, tensor.device()))?;
        let send = among.clone().map(|_| match self.rank() == first {
            true => tensor.shallow_clone(),
            false => none.shallow_clone(),
        });
        let shapes: Vec<_> =
            among.clone().map(|of| if of == first { whole.clone() } else { vec![0] }).collect();
        let mut received = self.all_to_all(among, send.collect(), &shapes, control)?;
        if received.is_empty() {
            return Err(Error::Internal("broadcast: among no ranks".into()));
        }
        Ok(received.swap_remove(0))
    }

    /// Returns once all ranks have called it.
    fn barrier(&self, control: &Control) -> Result<()> {
        let all = 0..self.size();
        let word = Tensor::f_zeros([1], (Kind::Uint8, tch::Device::Cpu))?;
        let shapes: Vec<_> = all.clone().map(|_| vec![1]).collect();
        self.all_gather(&all, word, &shapes, control).map(drop)
    }

    /// This rank can't go on, for `error`: ends what all others wait for. The first error counts.
    fn abort(&self, error: &Error);

    /// The error of the first rank that could not go on.
    fn failure(&self) -> Option<Error>;
}

/// Where a rank stands in `among`, and whether the lists of a call have an entry for each rank.
pub(super) fn place(
    rank: usize,
    among: &Range<usize>,
    send: &[Tensor],
    shapes: &[Vec<i64>],
) -> Result<usize> {
    let ranks = among.len();
    if !among.contains(&rank) || send.len() != ranks || shapes.len() != ranks {
        return Err(Error::Internal(format!(
            "rank {rank} among {among:?}: {} tensors to send and {} to receive",
            send.len(),
            shapes.len()
        )));
    }
    Ok(rank - among.start)
}
