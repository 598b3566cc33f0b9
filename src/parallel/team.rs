//! A rank's place in a run.

use super::communicator::Communicator;
use super::degrees::Layout;
use crate::guidance::Branches;
use crate::runtime::Control;
use crate::{Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Which rows of the guidance batch a rank's tokens are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Half {
    /// All that run.
    #[default]
    Both,
    Conditional,
    Unconditional,
}

/// Whom something is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// All ranks.
    All,
    /// Those whose halves run in this step.
    Running,
}

/// What a rank sent to others so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
}

/// The ranks of one run as one of them sees it. A run on one rank has a team too, which exchanges
/// nothing.
pub struct Team {
    communicator: Option<Arc<dyn Communicator>>,
    layout: Layout,
    control: Control,
    /// The step under way runs the conditional half alone.
    conditional_only: AtomicBool,
    bytes: AtomicU64,
    messages: AtomicU64,
}

impl Team {
    /// Of a single rank.
    pub fn alone() -> Arc<Team> {
        Arc::new(Team::of(None, Layout::ALONE, Control::default()))
    }

    /// This end of `communicator` in a run that is laid out like that. `control` is asked while it
    /// waits for others.
    pub fn new(
        communicator: Arc<dyn Communicator>,
        layout: Layout,
        control: &Control,
    ) -> Arc<Team> {
        Arc::new(Team::of(Some(communicator), layout, control.clone()))
    }

    fn of(communicator: Option<Arc<dyn Communicator>>, layout: Layout, control: Control) -> Team {
        Team {
            communicator: communicator.filter(|communicator| communicator.size() > 1),
            layout,
            control,
            conditional_only: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        }
    }

    pub fn is_alone(&self) -> bool {
        self.communicator.is_none()
    }

    pub fn rank(&self) -> usize {
        self.communicator.as_ref().map_or(0, |communicator| communicator.rank())
    }

    pub fn size(&self) -> usize {
        self.communicator.as_ref().map_or(1, |communicator| communicator.size())
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Of which half this rank has tokens.
    pub fn half(&self) -> Half {
        match (self.layout.guidance, self.rank() / self.layout.sequence.max(1)) {
            (2, 0) => Half::Conditional,
            (2, 1) => Half::Unconditional,
            _ => Half::Both,
        }
    }

    /// This rank's number among those that share a sequence.
    pub(super) fn sequence_rank(&self) -> usize {
        self.rank() % self.layout.sequence.max(1)
    }

    /// The ranks that share a sequence with this one.
    pub(super) fn sequence_group(&self) -> Range<usize> {
        let first = self.rank() - self.sequence_rank();
        first..first + self.layout.sequence
    }

    /// A step begins that runs these halves.
    pub fn begin_step(&self, branches: Branches) {
        self.conditional_only.store(branches == Branches::ConditionalOnly, Ordering::Relaxed);
    }

    /// The ranks whose halves run in this step. Rank 0 is always among them.
    pub(super) fn running(&self) -> Range<usize> {
        match self.conditional_only.load(Ordering::Relaxed) {
            true => 0..self.layout.sequence,
            false => 0..self.layout.ranks(),
        }
    }

    /// This rank's half runs in this step.
    pub fn runs(&self) -> bool {
        self.running().contains(&self.rank())
    }

    /// The rows of `batch` `(all rows, …)`, unconditional first, that this rank's tokens are of.
    pub fn rows(&self, batch: &Tensor) -> Result<Tensor> {
        let rows = batch.size().first().copied().unwrap_or(0) / 2;
        Ok(match self.half() {
            Half::Both => batch.shallow_clone(),
            Half::Unconditional => batch.f_narrow(0, 0, rows)?,
            Half::Conditional => batch.f_narrow(0, rows, rows)?,
        })
    }

    /// Gives the i-th of `send` to the i-th rank of `among`; see [`Communicator::all_to_all`].
    pub(super) fn all_to_all(
        &self,
        among: &Range<usize>,
        send: Vec<Tensor>,
        shapes: &[Vec<i64>],
    ) -> Result<Vec<Tensor>> {
        let Some(communicator) = &self.communicator else { return Ok(send) };
        let others = among.clone().zip(&send).filter(|(to, _)| *to != self.rank());
        self.count(others.map(|(_, tensor)| tensor));
        communicator.all_to_all(among, send, shapes, &self.control)
    }

    pub(super) fn all_gather(
        &self,
        among: &Range<usize>,
        tensor: Tensor,
        shapes: &[Vec<i64>],
    ) -> Result<Vec<Tensor>> {
        let Some(communicator) = &self.communicator else { return Ok(vec![tensor]) };
        self.count((1..among.len()).map(|_| &tensor));
        communicator.all_gather(among, tensor, shapes, &self.control)
    }

    /// Rank 0's tensor; the other ranks give one of the same shape, dtype and device.
    pub fn broadcast(&self, tensor: Tensor) -> Result<Tensor> {
        self.broadcast_among(&(0..self.size()), tensor)
    }

    fn broadcast_among(&self, among: &Range<usize>, tensor: Tensor) -> Result<Tensor> {
        let Some(communicator) = &self.communicator else { return Ok(tensor) };
        if self.rank() == 0 {
            self.count((1..among.len()).map(|_| &tensor));
        }
        communicator.broadcast(among, tensor, &self.control)
    }

    fn among(&self, among: Among) -> Range<usize> {
        match among {
            Among::All => 0..self.size(),
            Among::Running => self.running(),
        }
    }

    /// What rank 0 makes of it: the others wait for the number. So a callback of the host is called
    /// on one rank, and all go by the same answer.
    pub fn told_by_first(&self, among: Among, number: impl FnOnce() -> Result<f64>) -> Result<f64> {
        if self.is_alone() {
            return number();
        }
        let number = if self.rank() == 0 { number()? } else { 0.0 };
        let told = self.broadcast_among(&self.among(among), numbers(&[number])?)?;
        Ok(told.f_double_value(&[0])?)
    }

    /// Numbers of each rank, added up over the ranks in their order, so that all have the same.
    pub fn sum<const N: usize>(&self, among: Among, own: [f64; N]) -> Result<[f64; N]> {
        let mut sums = [0.0; N];
        for numbers in self.each(among, own)? {
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum += number;
            }
        }
        Ok(sums)
    }

    /// Numbers of each rank, in the order of the ranks.
    pub fn each<const N: usize>(&self, among: Among, own: [f64; N]) -> Result<Vec<[f64; N]>> {
        if self.is_alone() {
            return Ok(vec![own]);
        }
        let among = self.among(among);
        let shapes: Vec<_> = among.clone().map(|_| vec![N as i64]).collect();
        let gathered = self.all_gather(&among, numbers(&own)?, &shapes)?;
        let mut each = Vec::with_capacity(gathered.len());
        for tensor in gathered {
            let mut numbers = [0.0; N];
            for (number, found) in numbers.iter_mut().zip(Vec::<f64>::try_from(tensor)?) {
                *number = found;
            }
            each.push(numbers);
        }
        Ok(each)
    }

    /// From the rank that has the conditional half of the same tokens to the one that has the
    /// unconditional half, which gets `value` and gives a tensor of the same shape; nothing for any
    /// other rank.
    pub fn conditional_to_unconditional(&self, value: &Tensor) -> Result<Option<Tensor>> {
        let (half, sequence) = (self.half(), self.layout.sequence);
        if half == Half::Both || self.is_alone() {
            return Ok(None);
        }
        let none = || Ok::<_, Error>(Tensor::f_empty([0], (value.f_kind()?, value.device()))?);
        let (among, rank) = (0..self.layout.ranks(), self.rank());
        let (mut send, mut shapes) = (Vec::new(), Vec::new());
        for other in among.clone() {
            let gives = half == Half::Conditional && other == rank + sequence;
            send.push(if gives { value.f_contiguous()? } else { none()? });
            let gets = half == Half::Unconditional && other + sequence == rank;
            shapes.push(if gets { value.size() } else { vec![0] });
        }
        let mut received = self.all_to_all(&among, send, &shapes)?;
        Ok(match half {
            Half::Unconditional if rank >= sequence && received.len() > rank - sequence => {
                Some(received.swap_remove(rank - sequence))
            }
            _ => None,
        })
    }

    /// A tensor of each rank to rank 0, in the order of the ranks; `shapes` are theirs. Nothing for
    /// the others.
    pub fn to_first(&self, tensor: Tensor, shapes: &[Vec<i64>]) -> Result<Vec<Tensor>> {
        if self.is_alone() {
            return Ok(vec![tensor]);
        }
        let rank = self.rank();
        let none = Tensor::f_empty([0], (tensor.f_kind()?, tensor.device()))?;
        let of = |to: usize| match to {
            0 => tensor.shallow_clone(),
            // What this rank keeps for itself has the shape that it expects.
            _ => none.shallow_clone(),
        };
        let among = 0..self.size();
        let send = among.clone().map(of).collect();
        let expected: Vec<Vec<i64>> = match rank {
            0 => shapes.to_vec(),
            _ => among.clone().map(|_| vec![0]).collect(),
        };
        let received = self.all_to_all(&among, send, &expected)?;
        Ok(if rank == 0 { received } else { Vec::new() })
    }

    /// Returns once all ranks have come this far: so a run ends well on all of them or on none,
    /// although what the last ones do is for rank 0 alone.
    pub fn finish(&self) -> Result<()> {
        match &self.communicator {
            None => Ok(()),
            Some(communicator) => {
                self.control.check()?;
                communicator.barrier(&self.control)
            }
        }
    }

    pub fn traffic(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
        }
    }

    fn count<'a>(&self, sent: impl Iterator<Item = &'a Tensor>) {
        for tensor in sent {
            let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.messages.fetch_add(u64::from(bytes > 0), Ordering::Relaxed);
        }
    }
}

fn numbers(numbers: &[f64]) -> Result<Tensor> {
    let tensor = Tensor::f_from_slice(numbers)?;
    debug_assert_eq!((tensor.kind(), tensor.device()), (Kind::Double, Device::Cpu));
    Ok(tensor)
}
