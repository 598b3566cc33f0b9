//! Ranks that are threads of one process, each with a device: tensors are handed over as they are,
//! and copied where the device is another one.
//!
//! Between CUDA devices the copy is libtorch's, which makes the streams of both devices wait for
//! it (aten/src/ATen/native/cuda/Copy.cu), so that neither side has to.

use super::communicator::{place, Communicator};
use crate::runtime::{CancelToken, Control};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tch::Tensor;

/// How often a rank that waits looks at its tokens: cancelling is heeded within this time.
const LOOK: Duration = Duration::from_millis(20);

/// What all ranks share.
#[derive(Default)]
struct Hub {
    state: Mutex<State>,
    /// Told when mail comes, and when a rank fails.
    changed: Condvar,
    /// Cancelled when a rank fails: ranks that compute look at it between two pieces.
    failed: CancelToken,
}

#[derive(Default)]
struct State {
    /// From one rank to another, in the order of sending.
    mail: HashMap<(usize, usize), VecDeque<Tensor>>,
    failure: Option<Error>,
}

/// One rank's end.
struct Rank {
    hub: Arc<Hub>,
    rank: usize,
    size: usize,
}

/// The ends of `size` ranks, which are used by a thread each, and a token that is cancelled when one
/// of them fails.
pub fn connect(size: usize) -> (Vec<Arc<dyn Communicator>>, CancelToken) {
    let hub = Arc::new(Hub::default());
    let failed = hub.failed.clone();
    let end =
        |rank| -> Arc<dyn Communicator> { Arc::new(Rank { hub: Arc::clone(&hub), rank, size }) };
    ((0..size).map(end).collect(), failed)
}

impl Rank {
    /// What `from` sent, once it is there.
    fn receive(&self, from: usize, control: &Control) -> Result<Tensor> {
        let mut state = self.hub.state.lock();
        loop {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            let mail = state.mail.get_mut(&(from, self.rank));
            if let Some(tensor) = mail.and_then(VecDeque::pop_front) {
                return Ok(tensor);
            }
            if self.hub.changed.wait_for(&mut state, LOOK).timed_out() {
                drop(state);
                control.check()?;
                state = self.hub.state.lock();
            }
        }
    }
}

impl Communicator for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_to_all(
        &self,
        among: &Range<usize>,
        send: Vec<Tensor>,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>> {
        let own = place(self.rank, among, &send, shapes)?;
        let like = send.get(own).map(|own| (own.kind(), own.device()));
        let mut kept = None;
        {
            let mut state = self.hub.state.lock();
            for (to, tensor) in among.clone().zip(send) {
                if to == self.rank {
                    kept = Some(tensor);
                } else if tensor.numel() > 0 {
                    state.mail.entry((self.rank, to)).or_default().push_back(tensor);
                }
            }
        }
        self.hub.changed.notify_all();
        let (Some(mut kept), Some((kind, device))) = (kept.map(Some), like) else {
            return Err(Error::Internal("all to all: a rank without a part of its own".into()));
        };
        let mut received = Vec::with_capacity(among.len());
        for (from, shape) in among.clone().zip(shapes) {
            let tensor = if from == self.rank {
                kept.take()
            } else if shape.contains(&0) {
                Some(Tensor::f_empty(shape.as_slice(), (kind, device))?)
            } else {
                Some(self.receive(from, control)?.f_to_device(device)?)
            };
            let tensor = tensor.ok_or_else(|| Error::Internal("all to all: twice here".into()))?;
            if tensor.size() != *shape || tensor.f_kind()? != kind {
                return Err(Error::Internal(format!(
                    "rank {}: expected {shape:?} in {kind:?} from rank {from}, found {:?} in {:?}",
                    self.rank,
                    tensor.size(),
                    tensor.f_kind()?
                )));
            }
            received.push(tensor);
        }
        Ok(received)
    }

    fn abort(&self, error: &Error) {
        let mut state = self.hub.state.lock();
        if state.failure.is_none() {
            state.failure = Some(error.clone());
        }
        // What nobody will fetch goes without the lock.
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        drop(mail);
        self.hub.failed.cancel();
        self.hub.changed.notify_all();
    }

    fn failure(&self) -> Option<Error> {
        self.hub.state.lock().failure.clone()
    }
}
