//! What one pass through a video carries from group to group, and the memory it works in.

use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// One video (or tile) on its way through a network.
pub(super) struct Stream<'a> {
    /// Of each causal convolution, the last frames of its input so far.
    pub caches: Vec<Option<Tensor>>,
    /// The group in work is the last: nothing need be kept for another.
    pub last: bool,
    pub workspace: &'a mut Workspace,
    pub control: &'a Control,
}

/// Memory that layers take turns in. Fresh memory costs a page fault for every four kilobytes
/// the first time it is written, which for narrow layers is a good part of a convolution.
pub(super) struct Workspace {
    stages: [Buffer; 2],
    turn: usize,
    hidden: Buffer,
    padded: Buffer,
    kind: Kind,
    device: Device,
    pub limits: Limits,
}

/// How much goes through a convolution at once, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The result of a call into libtorch.
    pub slab: i64,
    /// The input with the frames before it. With more frames in it, fewer are moved to its
    /// front from slab to slab.
    pub padded: i64,
}

impl Limits {
    pub fn of(device: Device) -> Limits {
        match device {
            // Results stay in the cache, and their memory is handed out again without page
            // faults.
            Device::Cpu => Limits { slab: 16 << 20, padded: 96 << 20 },
            // Enough to keep a GPU busy, little beside the features.
            _ => Limits { slab: 256 << 20, padded: 256 << 20 },
        }
    }
}

impl Workspace {
    pub fn new(placement: Placement, limits: Limits) -> Workspace {
        Workspace {
            stages: Default::default(),
            turn: 0,
            hidden: Buffer::default(),
            padded: Buffer::default(),
            kind: placement.dtype.kind(),
            device: placement.device,
            limits,
        }
    }

    /// How many times `elements` elements fit in `bytes` bytes.
    pub fn fit(&self, bytes: i64, elements: i64) -> i64 {
        bytes / elements.saturating_mul(self.kind.elt_size_in_bytes() as i64).max(1)
    }

    /// Room for what a layer makes of the stage before, which stays as it is.
    pub fn next_stage(&mut self, shape: [i64; 4]) -> Result<Tensor> {
        self.turn = 1 - self.turn;
        let [even, odd] = &mut self.stages;
        let stage = if self.turn == 0 { even } else { odd };
        stage.take(shape, self.kind, self.device)
    }

    /// Room for what lies between the two convolutions of a resnet.
    pub fn hidden(&mut self, shape: [i64; 4]) -> Result<Tensor> {
        self.hidden.take(shape, self.kind, self.device)
    }

    /// Room for a convolution's input with the frames before it.
    pub fn padded(&mut self, shape: [i64; 4]) -> Result<Tensor> {
        self.padded.take(shape, self.kind, self.device)
    }

    /// Memory that outlives the workspace.
    pub fn own(&self, shape: [i64; 4]) -> Result<Tensor> {
        elements(&shape)?;
        Ok(Tensor::f_empty(shape, (self.kind, self.device))?)
    }
}

/// Memory that grows to the largest tensor asked for.
#[derive(Default)]
struct Buffer(Option<Tensor>);

impl Buffer {
    /// A dense tensor of `shape` at the start of the buffer, holding whatever was there.
    fn take(&mut self, shape: [i64; 4], kind: Kind, device: Device) -> Result<Tensor> {
        let size = elements(&shape)?;
        let memory = match self.0.take() {
            Some(memory) if memory.numel() as i64 >= size => memory,
            small => {
                // Given back before the larger one is asked for.
                drop(small);
                Tensor::f_empty([size], (kind, device))?
            }
        };
        let view = memory.f_narrow(0, 0, size)?.f_view(shape)?;
        self.0 = Some(memory);
        Ok(view)
    }
}

/// The number of elements of `shape`, whose bytes can be counted too.
pub(super) fn elements(shape: &[i64]) -> Result<i64> {
    let bytes = shape.iter().try_fold(8i64, |product, &side| product.checked_mul(side));
    bytes
        .map(|bytes| bytes / 8)
        .ok_or_else(|| Error::OutOfMemory(format!("VAE: no memory holds {shape:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_alternate_and_buffers_are_used_again() {
        let mut workspace = Workspace::new(Placement::CPU, Limits::of(Device::Cpu));
        let mut stage = |shape| workspace.next_stage(shape).unwrap().data_ptr();
        let first = stage([1, 1, 4, 4]);
        let second = stage([1, 1, 2, 2]);
        assert_ne!(first, second);
        assert_eq!(stage([1, 1, 3, 5]), first);
        assert_eq!(stage([1, 1, 1, 4]), second);
        assert!(matches!(elements(&[1 << 40, 1 << 40]), Err(Error::OutOfMemory(_))));
    }
}
