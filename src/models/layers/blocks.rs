//! The blocks that a network repeats: all in memory, or on their way through it one after another
//! (`checkpoint::streaming`).

use super::{Adapter, Linear, LinearChange};
use crate::checkpoint::streaming::Slot;
use crate::checkpoint::{BlockWeights, HostWeights, Streaming, Weights};
use crate::runtime::ahead::Ahead;
use crate::runtime::device::{copy_stream, CopyMark, CopyStream};
use crate::runtime::{Control, Shared};
use crate::{Error, Result};
use std::sync::Arc;

/// One of the blocks.
pub trait Block: Sized + Send + 'static {
    /// The same with other linear layers.
    fn with_linears(&self, change: LinearChange) -> Result<Self>;
}

type Load<B> = dyn Fn(&Weights) -> Result<B> + Send + Sync;

/// All blocks of a network. They are not changed by use.
pub struct Blocks<B>(Kept<B>);

enum Kept<B> {
    Resident(Vec<B>),
    Streamed(Streamed<B>),
}

struct Streamed<B> {
    weights: Shared<BlockWeights>,
    /// Of one block, at its place.
    load: Arc<Load<B>>,
    /// What is done with each block once it is loaded, in this order.
    changes: Vec<Change>,
}

/// What adapters, each with its weight, make of each linear layer of a network.
#[derive(Clone)]
pub enum Change {
    /// They add to its product: [`Linear::adapted`].
    Adapted(Vec<(Shared<Adapter>, f64)>),
    /// They are added to its matrix: [`Linear::fused`].
    Fused(Vec<(Shared<Adapter>, f64)>),
}

impl Change {
    pub fn apply(&self, linear: &Linear) -> Result<Linear> {
        let (Change::Adapted(adapters) | Change::Fused(adapters)) = self;
        let adapters: Vec<(&Adapter, f64)> =
            adapters.iter().map(|(adapter, weight)| (&**adapter, *weight)).collect();
        match self {
            Change::Adapted(_) => linear.adapted(&adapters),
            Change::Fused(_) => linear.fused(&adapters),
        }
    }
}

impl<B: Block> Blocks<B> {
    /// `count` blocks, each at its number below `weights`, where `load` finds what it needs. They
    /// are kept as the weights say ([`Weights::streaming`]).
    pub fn load(
        weights: &Weights,
        count: i64,
        load: impl Fn(&Weights) -> Result<B> + Send + Sync + 'static,
    ) -> Result<Blocks<B>> {
        if weights.streaming() == Streaming::Resident {
            let blocks = (0..count).map(|index| load(&weights.at(index)));
            return Ok(Blocks(Kept::Resident(blocks.collect::<Result<_>>()?)));
        }
        let count = usize::try_from(count).unwrap_or(0);
        Ok(Blocks(Kept::Streamed(Streamed {
            weights: Shared::new(BlockWeights::open(weights, count, &load)?),
            load: Arc::new(load),
            changes: Vec::new(),
        })))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match &self.0 {
            Kept::Resident(blocks) => blocks.len(),
            Kept::Streamed(streamed) => streamed.weights.count(),
        }
    }

    /// The same blocks, changed; those that stream are changed whenever they come by.
    pub fn changed(&self, change: &Change) -> Result<Blocks<B>> {
        Ok(Blocks(match &self.0 {
            Kept::Resident(blocks) => {
                let changed = |block: &B| block.with_linears(&|linear| change.apply(linear));
                Kept::Resident(blocks.iter().map(changed).collect::<Result<_>>()?)
            }
            Kept::Streamed(streamed) => Kept::Streamed(Streamed {
                weights: streamed.weights.clone(),
                load: Arc::clone(&streamed.load),
                changes: streamed.changes.iter().cloned().chain([change.clone()]).collect(),
            }),
        }))
    }

    /// Those that stay in memory.
    #[cfg(test)]
    pub fn resident(&self) -> &[B] {
        match &self.0 {
            Kept::Resident(blocks) => blocks,
            Kept::Streamed(_) => &[],
        }
    }

    /// One pass through the blocks, whose waiting `control` ends. Errors: those of
    /// [`BlockWeights::check_unchanged`].
    pub fn pass<'a>(&'a self, control: &'a Control) -> Result<Pass<'a, B>> {
        let lane = match &self.0 {
            Kept::Resident(blocks) => return Ok(Pass(Lane::Resident(blocks))),
            Kept::Streamed(streamed) => streamed,
        };
        lane.weights.check_unchanged()?;
        let changes = &lane.changes;
        Ok(Pass(match copy_stream(lane.weights.device())? {
            Some(copies) => Lane::Device(DeviceLane::begin(lane, copies)?, control, changes),
            None => Lane::Host(HostLane::begin(lane)?, control, changes),
        }))
    }
}

/// A pass through the blocks, from front to back. Blocks may be left out.
pub struct Pass<'a, B: Block>(Lane<'a, B>);

enum Lane<'a, B: Block> {
    Resident(&'a [B]),
    Host(HostLane<B>, &'a Control, &'a [Change]),
    Device(DeviceLane<'a, B>, &'a Control, &'a [Change]),
}

impl<B: Block> Pass<'_, B> {
    /// Block `index`, until the next is asked for; the one behind it is read meanwhile. Errors:
    /// those of reading.
    pub fn block(&mut self, index: usize) -> Result<&B> {
        match &mut self.0 {
            Lane::Resident(blocks) => {
                blocks.get(index).ok_or_else(|| Error::Internal(format!("no block {index}")))
            }
            Lane::Host(lane, control, changes) => lane.block(index, control, changes),
            Lane::Device(lane, control, changes) => lane.block(index, control, changes),
        }
    }
}

/// `block` with all changes.
fn changed<B: Block>(mut block: B, changes: &[Change]) -> Result<B> {
    for change in changes {
        block = block.with_linears(&|linear| change.apply(linear))?;
    }
    Ok(block)
}

/// On the CPU: a second thread reads and converts the next block into the memory of the last one.
struct HostLane<B> {
    reader: Ahead<(usize, Slot), (B, Slot)>,
    count: usize,
    /// The block that the reader is at.
    asked: Option<usize>,
    current: Option<(B, Slot)>,
    spare: Vec<Slot>,
}

impl<B: Block> HostLane<B> {
    fn begin(streamed: &Streamed<B>) -> Result<HostLane<B>> {
        let (weights, load) = (streamed.weights.clone(), Arc::clone(&streamed.load));
        let count = weights.count();
        let read = move |(index, mut slot): (usize, Slot), control: &Control| {
            let block = weights.load(index, &mut slot, (None, None), control, &*load)?;
            Ok((block, slot))
        };
        let reader = Ahead::start("cvx-weights", read)?;
        Ok(HostLane { reader, count, asked: None, current: None, spare: Vec::new() })
    }

    fn block(&mut self, index: usize, control: &Control, changes: &[Change]) -> Result<&B> {
        if let Some((block, slot)) = self.current.take() {
            drop(block);
            self.spare.push(slot);
        }
        if self.asked.is_some_and(|asked| asked != index) {
            let (block, slot) = self.receive(control)?;
            drop(block);
            self.spare.push(slot);
        }
        if self.asked.is_none() {
            self.ask(index)?;
        }
        let (block, slot) = self.receive(control)?;
        if index + 1 < self.count {
            self.ask(index + 1)?;
        }
        let (block, _) = self.current.insert((changed(block, changes)?, slot));
        Ok(block)
    }

    fn ask(&mut self, index: usize) -> Result<()> {
        self.asked = Some(index);
        self.reader.ask((index, self.spare.pop().unwrap_or_default()))
    }

    fn receive(&mut self, control: &Control) -> Result<(B, Slot)> {
        let result = self.reader.receive(control);
        self.asked = None;
        result
    }
}

/// On a CUDA device: the next block is copied there from the host's memory, on a stream of its own,
/// into the memory of the last one. Where the host's memory does not hold the weights, a second
/// thread reads the block after that into it.
struct DeviceLane<'a, B> {
    streamed: &'a Streamed<B>,
    copies: CopyStream,
    stager: Option<Ahead<usize, HostWeights>>,
    /// The block that the stager is at.
    asked: Option<usize>,
    current: Option<(B, Slot)>,
    /// Under way, and the mark behind its copies.
    next: Option<(usize, B, Slot, CopyMark)>,
    spare: Vec<Slot>,
}

impl<'a, B: Block> DeviceLane<'a, B> {
    fn begin(streamed: &'a Streamed<B>, copies: CopyStream) -> Result<DeviceLane<'a, B>> {
        let weights = streamed.weights.clone();
        let stager = if weights.are_in_memory() {
            None
        } else {
            let stage = move |index: usize, control: &Control| weights.stage(index, control);
            Some(Ahead::start("cvx-weights", stage)?)
        };
        let (asked, current, next, spare) = (None, None, None, Vec::new());
        Ok(DeviceLane { streamed, copies, stager, asked, current, next, spare })
    }

    fn block(&mut self, index: usize, control: &Control, changes: &[Change]) -> Result<&B> {
        if let Some((block, slot)) = self.current.take() {
            drop(block);
            self.spare.push(slot);
        }
        if self.next.as_ref().is_some_and(|(next, ..)| *next != index) {
            if let Some((_, block, slot, mark)) = self.next.take() {
                self.copies.wait_for(&mark)?;
                drop(block);
                self.spare.push(slot);
            }
        }
        let (block, slot, mark) = match self.next.take() {
            Some((_, block, slot, mark)) => (block, slot, mark),
            None => self.launch(index, control)?,
        };
        self.copies.wait_for(&mark)?;
        let block = changed(block, changes)?;
        self.current = Some((block, slot));
        if index + 1 < self.streamed.weights.count() {
            let (block, slot, mark) = self.launch(index + 1, control)?;
            self.next = Some((index + 1, block, slot, mark));
        }
        match &self.current {
            Some((block, _)) => Ok(block),
            None => Err(Error::Internal(format!("no block {index}"))),
        }
    }

    /// Begins to copy block `index`, behind everything that the device has to do now: what used its
    /// memory before is part of that.
    fn launch(&mut self, index: usize, control: &Control) -> Result<(B, Slot, CopyMark)> {
        let staged = self.staged(index, control)?;
        self.copies.follow()?;
        let mut slot = self.spare.pop().unwrap_or_default();
        let Streamed { weights, load, .. } = self.streamed;
        let sources = (staged.as_ref(), Some(&self.copies));
        let block = weights.load(index, &mut slot, sources, control, &**load)?;
        Ok((block, slot, self.copies.mark()?))
    }

    /// Block `index` in the host's memory, where that does not hold it anyway; the next one is read
    /// from here on.
    fn staged(&mut self, index: usize, control: &Control) -> Result<Option<HostWeights>> {
        let Some(stager) = &self.stager else { return Ok(None) };
        if self.asked.take_if(|asked| *asked != index).is_some() {
            stager.receive(control)?;
        }
        if self.asked.take().is_none() {
            stager.ask(index)?;
        }
        let staged = stager.receive(control)?;
        if index + 1 < self.streamed.weights.count() {
            stager.ask(index + 1)?;
            self.asked = Some(index + 1);
        }
        Ok(Some(staged))
    }
}

impl<B> Drop for DeviceLane<'_, B> {
    fn drop(&mut self) {
        // The memory that copies are under way to is used again behind them.
        let _ = self.copies.join();
    }
}
