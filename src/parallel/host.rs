//! Ranks that are processes, which the host connects: with MPI, UCX, gloo, or what it has.
//!
//! What is exchanged goes through host memory, as bytes.

use super::communicator::{place, Communicator};
use crate::runtime::Control;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::ops::Range;
use tch::{Kind, Tensor};

/// The host's functions. Each is called by all ranks from `first` on, as many as there are parts, in
/// the same order. A part of no bytes is neither sent nor received. What is not there is made of
/// [`HostExchange::all_to_all`].
pub trait HostExchange: Send + Sync {
    /// Gives the i-th part to the i-th rank, and fills the i-th of `receive` with what that gave.
    fn all_to_all(&self, first: usize, send: &[&[u8]], receive: &mut [&mut [u8]]) -> Result<()>;

    /// Gives `send` to all, and fills the i-th of `receive` with what the i-th gave.
    fn all_gather(
        &self,
        first: usize,
        send: &[u8],
        receive: &mut [&mut [u8]],
    ) -> Option<Result<()>>;

    /// Gives what the first of `count` ranks has in `data` to the others.
    fn broadcast(&self, first: usize, count: usize, data: &mut [u8]) -> Option<Result<()>>;

    /// Returns once all `count` ranks have called it.
    fn barrier(&self, count: usize) -> Option<Result<()>>;

    /// This rank has failed: what others wait for has to fail, too.
    fn abort(&self, error: &Error);
}

/// This process's end.
pub struct Host<E> {
    rank: usize,
    size: usize,
    exchange: E,
    failure: Mutex<Option<Error>>,
}

impl<E: HostExchange> Host<E> {
    pub fn new(rank: usize, size: usize, exchange: E) -> Host<E> {
        Host { rank, size, exchange, failure: Mutex::new(None) }
    }

    /// Another rank has failed, as the host has learned: the run of this one ends with `error`.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            *failure = Some(error);
        }
    }

    /// The host has put its ranks right after a failure: the next run may begin.
    pub fn reset(&self) {
        *self.failure.lock() = None;
    }

    fn check(&self, control: &Control) -> Result<()> {
        if let Some(error) = &*self.failure.lock() {
            return Err(error.clone());
        }
        control.check()
    }

    /// What a function of the host has done, unless the host has said meanwhile why not.
    fn done(&self, result: Result<()>) -> Result<()> {
        match (&*self.failure.lock(), result) {
            (Some(error), _) => Err(error.clone()),
            (None, result) => result,
        }
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()];
    if !bytes.is_empty() {
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    }
    Ok(bytes)
}

fn room(shape: &[i64], kind: Kind) -> Result<Vec<u8>> {
    let elements = shape.iter().try_fold(kind.elt_size_in_bytes(), |all, side| {
        usize::try_from(*side).ok().and_then(|side| all.checked_mul(side))
    });
    let size = elements.ok_or_else(|| Error::Internal(format!("exchange of {shape:?}")))?;
    Ok(vec![0; size])
}

impl<E: HostExchange> Communicator for Host<E> {
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
        self.check(control)?;
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for (number, (tensor, shape)) in send.iter().zip(shapes).enumerate() {
            let other = number != own;
            given.push(if other { bytes(tensor)? } else { Vec::new() });
            taken.push(if other { room(shape, tensor.f_kind()?)? } else { Vec::new() });
        }
        let parts: Vec<&[u8]> = given.iter().map(Vec::as_slice).collect();
        let mut rooms: Vec<&mut [u8]> = taken.iter_mut().map(Vec::as_mut_slice).collect();
        self.done(self.exchange.all_to_all(among.start, &parts, &mut rooms))?;
        let received = send.into_iter().zip(shapes).zip(&taken).enumerate();
        received
            .map(|(number, ((tensor, shape), bytes))| match number == own {
                true => Ok(tensor),
                false => tensor_of(bytes, shape, &tensor),
            })
            .collect()
    }

    fn all_gather(
        &self,
        among: &Range<usize>,
        tensor: Tensor,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>> {
        self.check(control)?;
        let (own, kind) = (bytes(&tensor)?, tensor.f_kind()?);
        let mut taken = Vec::new();
        for shape in shapes {
            taken.push(room(shape, kind)?);
        }
        let mut rooms: Vec<&mut [u8]> = taken.iter_mut().map(Vec::as_mut_slice).collect();
        match self.exchange.all_gather(among.start, &own, &mut rooms) {
            None => {
                let send = among.clone().map(|_| tensor.shallow_clone()).collect();
                self.all_to_all(among, send, shapes, control)
            }
            Some(result) => {
                self.done(result)?;
                let of = |(bytes, shape): (&Vec<u8>, &Vec<i64>)| tensor_of(bytes, shape, &tensor);
                taken.iter().zip(shapes).map(of).collect()
            }
        }
    }

    fn broadcast(&self, among: &Range<usize>, tensor: Tensor, control: &Control) -> Result<Tensor> {
        self.check(control)?;
        let mut data = bytes(&tensor)?;
        match self.exchange.broadcast(among.start, among.len(), &mut data) {
            Some(result) => {
                self.done(result)?;
                match self.rank == among.start {
                    true => Ok(tensor),
                    false => tensor_of(&data, &tensor.size(), &tensor),
                }
            }
            None => {
                let none = || Tensor::f_empty([0], (tensor.f_kind()?, tensor.device()));
                let first = self.rank == among.start;
                let (mut send, mut shapes) = (Vec::new(), Vec::new());
                for of in among.clone() {
                    send.push(if first { tensor.shallow_clone() } else { none()? });
                    shapes.push(if of == among.start { tensor.size() } else { vec![0] });
                }
                let mut received = self.all_to_all(among, send, &shapes, control)?;
                Ok(received.swap_remove(0))
            }
        }
    }

    fn barrier(&self, control: &Control) -> Result<()> {
        self.check(control)?;
        match self.exchange.barrier(self.size) {
            Some(result) => self.done(result),
            None => {
                let word = Tensor::f_zeros([1], (Kind::Uint8, tch::Device::Cpu))?;
                let shapes = vec![vec![1]; self.size];
                self.all_gather(&(0..self.size), word, &shapes, control).map(drop)
            }
        }
    }

    fn abort(&self, error: &Error) {
        let first = {
            let mut failure = self.failure.lock();
            let first = failure.is_none();
            if first {
                *failure = Some(error.clone());
            }
            first
        };
        if first {
            self.exchange.abort(error);
        }
    }

    fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }
}

/// A tensor of `shape` with these bytes, of the dtype and on the device of `like`.
fn tensor_of(bytes: &[u8], shape: &[i64], like: &Tensor) -> Result<Tensor> {
    let (kind, device) = (like.f_kind()?, like.device());
    if bytes.is_empty() {
        return Ok(Tensor::f_empty(shape, (kind, device))?);
    }
    Ok(Tensor::f_from_data_size(bytes, shape, kind)?.f_to_device(device)?)
}
