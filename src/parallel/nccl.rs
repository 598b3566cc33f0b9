//! Ranks that are processes with a CUDA device each, which NCCL connects: from device to device,
//! without a stop in host memory.
//!
//! NCCL is not linked: `libnccl.so.2` is opened when a communicator is made, and its C functions, which
//! have not changed since 2.7 (nccl.h), are looked up by name. Everything is sent as bytes, from each
//! rank to each other one in one group of calls (ncclSend, ncclRecv), so that ranks need no
//! communicator of their own for each part of them.
//!
//! What NCCL does is under way on libtorch's stream, the default one, when its functions return. A rank
//! that fails leaves the others' streams waiting for ever: so every exchange is waited for with a look at
//! NCCL's own errors and at the run's tokens, and ended by ncclCommAbort.

use super::communicator::{place, Communicator};
use crate::runtime::device::Mark;
use crate::runtime::Control;
use crate::{Error, Result};
use libloading::{Library, Symbol};
use parking_lot::Mutex;
use std::ffi::{c_char, c_int, c_void, CStr, OsStr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tch::{Device, Tensor};

/// The file that is opened, found as any library is.
pub const LIBRARY: &str = "libnccl.so.2";
/// `NCCL_UNIQUE_ID_BYTES`.
pub const UNIQUE_ID_BYTES: usize = 128;

/// `ncclUint8`.
const UINT8: c_int = 1;
/// `ncclInProgress`.
const IN_PROGRESS: c_int = 7;
/// Between two looks at a device that is waited for.
const PAUSE: Duration = Duration::from_micros(50);

/// `ncclUniqueId`: one rank makes it, and the host carries it to the others.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UniqueId(pub [u8; UNIQUE_ID_BYTES]);

type Comm = *mut c_void;
type Stream = *mut c_void;

/// NCCL's functions, which live as long as the library is open.
struct Functions {
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> c_int,
    comm_get_async_error: unsafe extern "C" fn(Comm, *mut c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(Comm) -> c_int,
    comm_destroy: unsafe extern "C" fn(Comm) -> c_int,
    group_start: unsafe extern "C" fn() -> c_int,
    group_end: unsafe extern "C" fn() -> c_int,
    send: unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Comm, Stream) -> c_int,
    recv: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Comm, Stream) -> c_int,
    _library: Library,
}

impl Functions {
    fn open(library: &OsStr) -> Result<Functions> {
        let unavailable = |error: &dyn std::fmt::Display| {
            Error::DeviceUnavailable(format!("NCCL: {}: {error}", library.to_string_lossy()))
        };
        // SAFETY: the host asks for this library, whose initialisers are NCCL's own.
        let opened = unsafe { Library::new(library) }.map_err(|error| unavailable(&error))?;
        macro_rules! find {
            ($name:literal) => {{
                // SAFETY: the functions have these types in nccl.h.
                let found: std::result::Result<Symbol<_>, _> = unsafe { opened.get($name) };
                *found.map_err(|error| unavailable(&error))?
            }};
        }
        Ok(Functions {
            get_error_string: find!(b"ncclGetErrorString\0"),
            get_unique_id: find!(b"ncclGetUniqueId\0"),
            comm_init_rank: find!(b"ncclCommInitRank\0"),
            comm_get_async_error: find!(b"ncclCommGetAsyncError\0"),
            comm_abort: find!(b"ncclCommAbort\0"),
            comm_destroy: find!(b"ncclCommDestroy\0"),
            group_start: find!(b"ncclGroupStart\0"),
            group_end: find!(b"ncclGroupEnd\0"),
            send: find!(b"ncclSend\0"),
            recv: find!(b"ncclRecv\0"),
            _library: opened,
        })
    }

    /// What a call answered, as an error if it is one.
    fn check(&self, what: &str, answer: c_int) -> Result<()> {
        if answer == 0 || answer == IN_PROGRESS {
            return Ok(());
        }
        // SAFETY: takes any number; what it answers is a static text, or NULL.
        let text = unsafe {
            let text = (self.get_error_string)(answer);
            if text.is_null() {
                c"unknown"
            } else {
                CStr::from_ptr(text)
            }
        };
        Err(Error::Internal(format!("NCCL: {what}: {} ({answer})", text.to_string_lossy())))
    }
}

/// A new id, for one rank to make and all to be given.
pub fn unique_id(library: &OsStr) -> Result<UniqueId> {
    let functions = Functions::open(library)?;
    let mut id = UniqueId([0; UNIQUE_ID_BYTES]);
    // SAFETY: there is room for an id.
    let answer = unsafe { (functions.get_unique_id)(&mut id) };
    functions.check("ncclGetUniqueId", answer)?;
    Ok(id)
}

/// This process's end.
pub struct Nccl {
    functions: Functions,
    rank: usize,
    size: usize,
    device: Device,
    state: Mutex<State>,
}

struct State {
    /// NULL once it was aborted.
    comm: Comm,
    failure: Option<Error>,
}

// SAFETY: NCCL lets a communicator be used from any thread, by one at a time: it is behind a lock.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Meets the other ranks that have the same id; returns once all of them are there.
    pub fn new(
        library: &OsStr,
        id: UniqueId,
        rank: usize,
        size: usize,
        device: Device,
    ) -> Result<Arc<Nccl>> {
        let functions = Functions::open(library)?;
        // NCCL takes the current device: work on it makes it that.
        if device.is_cuda() {
            let _current = Mark::set(device)?;
        }
        let mut comm = std::ptr::null_mut();
        // SAFETY: there is room for a communicator; the numbers are within the ranks.
        let answer =
            unsafe { (functions.comm_init_rank)(&mut comm, size as c_int, id, rank as c_int) };
        functions.check("ncclCommInitRank", answer)?;
        let state = Mutex::new(State { comm, failure: None });
        Ok(Arc::new(Nccl { functions, rank, size, device, state }))
    }

    /// Starts all sends and receives of one exchange.
    fn start(&self, comm: Comm, first: usize, send: &[Tensor], receive: &[Tensor]) -> Result<()> {
        let f = &self.functions;
        let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        let stream: Stream = std::ptr::null_mut();
        // SAFETY: a group of calls on this thread.
        f.check("ncclGroupStart", unsafe { (f.group_start)() })?;
        let mut started = Ok(());
        for (number, (give, take)) in send.iter().zip(receive).enumerate() {
            let peer = first + number;
            if peer == self.rank || started.is_err() {
                continue;
            }
            let (to, peer) = (take.data_ptr(), peer as c_int);
            if bytes(give) > 0 {
                let (from, count) = (give.data_ptr(), bytes(give));
                // SAFETY: dense memory of as many bytes, which lives until the exchange is over.
                let answer = unsafe { (f.send)(from, count, UINT8, peer, comm, stream) };
                started = started.and_then(|()| f.check("ncclSend", answer));
            }
            if bytes(take) > 0 {
                // SAFETY: as above.
                let answer = unsafe { (f.recv)(to, bytes(take), UINT8, peer, comm, stream) };
                started = started.and_then(|()| f.check("ncclRecv", answer));
            }
        }
        // SAFETY: ends the group that was started above.
        let ended = f.check("ncclGroupEnd", unsafe { (f.group_end)() });
        started.and(ended)
    }

    /// Waits until what was started is done.
    fn finish(&self, comm: Comm, control: &Control) -> Result<()> {
        if !self.device.is_cuda() {
            return Ok(());
        }
        let mark = Mark::set(self.device)?;
        while !mark.is_passed()? {
            let mut error = 0;
            // SAFETY: a live communicator, and room for the answer.
            let answer = unsafe { (self.functions.comm_get_async_error)(comm, &mut error) };
            self.functions.check("ncclCommGetAsyncError", answer)?;
            self.functions.check("another rank may have failed", error)?;
            control.check()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Communicator for Nccl {
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
        control.check()?;
        let Some((home, kind)) = send.get(own).map(|own| (own.device(), own.kind())) else {
            return Err(Error::Internal("NCCL: a rank without a part of its own".into()));
        };
        // What the host has (a few numbers) goes by the device, too.
        let (mut given, mut receive) = (Vec::new(), Vec::new());
        for (tensor, shape) in send.iter().zip(shapes) {
            given.push(tensor.f_to_device(self.device)?.f_contiguous()?);
            receive.push(Tensor::f_empty(shape.as_slice(), (kind, self.device))?);
        }
        let state = self.state.lock();
        if let Some(error) = &state.failure {
            return Err(error.clone());
        }
        self.start(state.comm, among.start, &given, &receive)?;
        self.finish(state.comm, control)?;
        drop(state);
        for tensor in &mut receive {
            *tensor = tensor.f_to_device(home)?;
        }
        if let (Some(place), Some(kept)) = (receive.get_mut(own), send.into_iter().nth(own)) {
            *place = kept;
        }
        Ok(receive)
    }

    fn abort(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return;
        }
        state.failure = Some(error.clone());
        let comm = std::mem::replace(&mut state.comm, std::ptr::null_mut());
        // SAFETY: a live communicator, which nobody uses afterwards.
        let _ = unsafe { (self.functions.comm_abort)(comm) };
    }

    fn failure(&self) -> Option<Error> {
        self.state.lock().failure.clone()
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if !state.comm.is_null() {
            // SAFETY: a live communicator, of which this is the last use.
            let _ = unsafe { (self.functions.comm_destroy)(state.comm) };
        }
    }
}
