//! `cvx_communicator`: the host's own way from one process to another.

use super::convert::{slice, slice_mut, text, within, Out};
use super::error::{cvx_error, one_line, Failure};
use super::handle::{borrow, borrow_mut, free, optional, peek};
use super::load_options::cvx_load_options;
use super::panic::{fallible, infallible};
use super::user_data::{cvx_free_callback, Callback};
use crate::parallel::host::{Host, HostExchange};
use crate::parallel::nccl::{self, Nccl, UniqueId, UNIQUE_ID_BYTES};
use crate::parallel::Communicator;
use crate::pipeline::{Processes, MAX_RANKS};
use crate::runtime::device::check_name;
use crate::runtime::{DType, Placement};
use crate::Error;
use std::ffi::{c_char, c_void, OsStr};
use std::mem::replace;
use std::sync::{Arc, OnceLock};

/// What a process gives to others and takes from them. Later versions may add fields at the end:
/// read a field only if struct_size reaches beyond it.
///
/// The arrays have num_ranks entries, the i-th for rank first_rank + i. All of them are host memory,
/// and live during the call only.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_exchange_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// The first of the ranks that exchange. Those from it on, and no others, make the same call.
    pub first_rank: i32,
    /// How many ranks exchange, this one included.
    pub num_ranks: i32,
    /// What each is given.
    pub send: *const *const c_void,
    /// Its bytes; 0 for nothing, which the other side knows, and for this rank itself.
    pub send_bytes: *const u64,
    /// Where what each gives is written.
    pub receive: *const *mut c_void,
    /// Its bytes, which are those that the other side sends.
    pub receive_bytes: *const u64,
}

/// Exchanges what info tells with other processes, and returns once what is to be received is
/// there and what is to be sent may change: 0 if so, and anything else for a failure, which ends the
/// run with CVX_ERROR_CALLBACK_FAILED, or with what cvx_communicator_abort was told.
///
/// All ranks call the same functions in the same order. Called on the thread that called the
/// function which runs, or on the pipeline's worker thread for a job. It must not throw or longjmp.
///
/// Since 0.1.
pub type cvx_exchange_callback =
    Option<unsafe extern "C" fn(info: *const cvx_exchange_info, user_data: *mut c_void) -> i32>;

/// Why a rank can't go on. Later versions may add fields at the end: read a field only if
/// struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_abort_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// One of CVX_ERROR_*.
    pub code: i32,
    /// One line of UTF-8, alive during the call only.
    pub message: *const c_char,
}

/// Told that this rank's run has failed: the host sees to it that the exchanges that other ranks wait
/// in fail, too, and hands them the code and the message where it can (cvx_communicator_abort). It
/// must not throw or longjmp.
///
/// Since 0.1.
pub type cvx_abort_callback =
    Option<unsafe extern "C" fn(info: *const cvx_abort_info, user_data: *mut c_void)>;

type ExchangeCallback =
    Callback<unsafe extern "C" fn(info: *const cvx_exchange_info, user_data: *mut c_void) -> i32>;
type AbortCallback =
    Callback<unsafe extern "C" fn(info: *const cvx_abort_info, user_data: *mut c_void)>;

/// This process's end of what connects the processes that share the runs of a pipeline. Made by
/// cvx_communicator_new, freed by cvx_communicator_free; pipelines keep what they use.
///
/// Since 0.1.
pub struct cvx_communicator {
    rank: usize,
    size: usize,
    way: Way,
}

/// How it reaches the others.
enum Way {
    Host {
        functions: Functions,
        /// Once it is in use, from when on its functions are these.
        used: OnceLock<Arc<Host<Functions>>>,
    },
    Nccl(Arc<Nccl>),
}

/// The host's functions.
#[derive(Clone)]
struct Functions {
    rank: usize,
    all_to_all: Arc<ExchangeCallback>,
    all_gather: Option<Arc<ExchangeCallback>>,
    broadcast: Option<Arc<ExchangeCallback>>,
    barrier: Option<Arc<ExchangeCallback>>,
    abort: Option<Arc<AbortCallback>>,
}

impl Functions {
    fn call(
        name: &str,
        callback: &ExchangeCallback,
        first: usize,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> crate::Result<()> {
        let ranks = send.len().max(receive.len());
        let given: Vec<*const c_void> = send.iter().map(|part| part.as_ptr().cast()).collect();
        let given_bytes: Vec<u64> = send.iter().map(|part| part.len() as u64).collect();
        let taken: Vec<*mut c_void> =
            receive.iter_mut().map(|room| room.as_mut_ptr().cast()).collect();
        let taken_bytes: Vec<u64> = receive.iter().map(|room| room.len() as u64).collect();
        let info = cvx_exchange_info {
            struct_size: std::mem::size_of::<cvx_exchange_info>() as u32,
            first_rank: first as i32,
            num_ranks: ranks as i32,
            send: given.as_ptr(),
            send_bytes: given_bytes.as_ptr(),
            receive: taken.as_ptr(),
            receive_bytes: taken_bytes.as_ptr(),
        };
        // SAFETY: the host's function, called as the header says; the arrays outlive it.
        match unsafe { callback.call(&info) }? {
            0 => Ok(()),
            answer => Err(Error::CallbackFailed(format!(
                "communicator: {name} among ranks {first} to {}: expected 0, the callback answered \
                 {answer}: another process may have failed",
                first + ranks - 1
            ))),
        }
    }
}

impl HostExchange for Functions {
    fn all_to_all(
        &self,
        first: usize,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> crate::Result<()> {
        Functions::call("all_to_all", &self.all_to_all, first, send, receive)
    }

    fn all_gather(
        &self,
        first: usize,
        send: &[u8],
        receive: &mut [&mut [u8]],
    ) -> Option<crate::Result<()>> {
        let callback = self.all_gather.as_ref()?;
        let parts = vec![send; receive.len()];
        Some(Functions::call("all_gather", callback, first, &parts, receive))
    }

    fn broadcast(&self, first: usize, count: usize, data: &mut [u8]) -> Option<crate::Result<()>> {
        let callback = self.broadcast.as_ref()?;
        let given = if self.rank == first { data.to_vec() } else { Vec::new() };
        let mut none: Vec<[u8; 0]> = vec![[]; count];
        let mut send: Vec<&[u8]> = vec![&[]; count];
        let mut receive: Vec<&mut [u8]> = none.iter_mut().map(|none| none.as_mut_slice()).collect();
        if self.rank == first {
            send = vec![&given; count];
        } else if let Some(room) = receive.first_mut() {
            *room = data;
        }
        Some(Functions::call("broadcast", callback, first, &send, &mut receive))
    }

    fn barrier(&self, count: usize) -> Option<crate::Result<()>> {
        let callback = self.barrier.as_ref()?;
        let mut none: Vec<[u8; 0]> = vec![[]; count];
        let send: Vec<&[u8]> = vec![&[]; count];
        let mut receive: Vec<&mut [u8]> = none.iter_mut().map(|none| none.as_mut_slice()).collect();
        Some(Functions::call("barrier", callback, 0, &send, &mut receive))
    }

    fn abort(&self, error: &Error) {
        let Some(callback) = &self.abort else { return };
        let message = one_line(&error.to_string());
        let info = cvx_abort_info {
            struct_size: std::mem::size_of::<cvx_abort_info>() as u32,
            code: Failure::from(error.clone()).code(),
            message: message.as_ptr(),
        };
        // SAFETY: the host's function, called as the header says; `message` outlives it. There is
        // nobody to tell of an exception.
        let _ = unsafe { callback.call(&info) };
    }
}

/// This process's end: it is rank, from 0, of num_ranks processes, from 2 to 1024. all_to_all gives
/// each rank its part and takes one from each; with it alone the library can do everything. Every
/// process loads the same folder with a communicator of its own, sets the same options and calls the
/// same functions; rank 0 has the frames, and the others' videos have latents alone. What is
/// exchanged goes through host memory.
///
/// Takes over user_data in any case, see cvx_free_callback; pipelines keep it until they are freed.
///
/// Errors: INVALID_ARGUMENT, NULL_ARGUMENT for no function. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_new(
    rank: i32,
    num_ranks: i32,
    all_to_all: cvx_exchange_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
    out_communicator: *mut *mut cvx_communicator,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(all_to_all, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let out = unsafe { Out::new(out_communicator, "out_communicator")? };
        let size = within("num_ranks", num_ranks, 2..=MAX_RANKS as i32)?;
        let rank = within("rank", rank, 0..=size - 1)? as usize;
        let all_to_all = callback.ok_or_else(|| Failure::null("all_to_all"))?;
        let functions = Functions {
            rank,
            all_to_all,
            all_gather: None,
            broadcast: None,
            barrier: None,
            abort: None,
        };
        let way = Way::Host { functions, used: OnceLock::new() };
        out.hand_over(cvx_communicator { rank, size: size as usize, way });
        Ok(())
    })
}

/// Frees a communicator. Pipelines that were loaded with it are not affected. NULL is allowed and
/// does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_free(communicator: *mut cvx_communicator) {
    infallible((), || {
        // SAFETY: NULL or a communicator that was handed out, not freed yet.
        unsafe { free(communicator) }
    })
}

/// How each of the ranks gives the same part to all: every entry of send is that part, and receive has
/// room for every rank's, this one's included. NULL (default): made of all_to_all.
///
/// Takes over user_data in any case, see cvx_free_callback.
///
/// Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_set_all_gather(
    communicator: *mut cvx_communicator,
    all_gather: cvx_exchange_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(all_gather, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let functions = unsafe { borrow_mut(communicator, "communicator")? }.functions()?;
        // Its free function may set again: the new one is in its place by now.
        drop(replace(&mut functions.all_gather, callback));
        Ok(())
    })
}

/// How the first of the ranks gives a part to all: every entry of its send is that part, and receive[0]
/// is where the others take it. NULL (default): made of all_to_all.
///
/// Takes over user_data in any case, see cvx_free_callback.
///
/// Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_set_broadcast(
    communicator: *mut cvx_communicator,
    broadcast: cvx_exchange_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(broadcast, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let functions = unsafe { borrow_mut(communicator, "communicator")? }.functions()?;
        // Its free function may set again: the new one is in its place by now.
        drop(replace(&mut functions.broadcast, callback));
        Ok(())
    })
}

/// How all ranks wait for each other; nothing is sent. NULL (default): made of all_to_all.
///
/// Takes over user_data in any case, see cvx_free_callback.
///
/// Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_set_barrier(
    communicator: *mut cvx_communicator,
    barrier: cvx_exchange_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(barrier, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let functions = unsafe { borrow_mut(communicator, "communicator")? }.functions()?;
        // Its free function may set again: the new one is in its place by now.
        drop(replace(&mut functions.barrier, callback));
        Ok(())
    })
}

/// Told when this rank's run fails, before the call that ran returns. NULL (default): nobody is told, and
/// other ranks wait as long as the host's functions do.
///
/// Takes over user_data in any case, see cvx_free_callback.
///
/// Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_set_abort(
    communicator: *mut cvx_communicator,
    abort: cvx_abort_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(abort, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let functions = unsafe { borrow_mut(communicator, "communicator")? }.functions()?;
        // Its free function may set again: the new one is in its place by now.
        drop(replace(&mut functions.abort, callback));
        Ok(())
    })
}

/// Ends the run of this rank, which is under way or begins next, with an error that the host has from
/// another rank; code is one of CVX_ERROR_*. Exchanges that the run waits in have to fail or
/// return by the host's own means. The first error counts. May be called from any thread.
///
/// Errors: INVALID_ARGUMENT for an unknown code. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_abort(
    communicator: *const cvx_communicator,
    code: i32,
    message: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (communicator, message) =
            unsafe { (borrow(communicator, "communicator")?, text(message, "message")?) };
        let error = Failure::core_error(code, message)?;
        match communicator.host() {
            Ok(host) => host.fail(error),
            Err(nccl) => nccl.abort(&error),
        }
        Ok(())
    })
}

/// After a failure every run fails with the same error, since ranks may have stopped at different
/// exchanges: tells that the host has put that right on all ranks, and runs may begin again.
///
/// Errors: INVALID_ARGUMENT for one of NCCL, which can't go on. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_reset(
    communicator: *const cvx_communicator,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        match unsafe { borrow(communicator, "communicator")? }.host() {
            Ok(host) => host.reset(),
            Err(_) => return Err(Failure::invalid(
                "communicator: expected one of the host's own functions, found NCCL, which can't \
                     go on after a failure: make another one",
            )),
        }
        Ok(())
    })
}

/// The rank of this process; -1 for NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_rank(communicator: *const cvx_communicator) -> i32 {
    infallible(-1, || {
        // SAFETY: by the contract of the header.
        unsafe { peek(communicator) }.map_or(-1, |communicator| communicator.rank as i32)
    })
}

/// How many ranks there are; 0 for NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_num_ranks(communicator: *const cvx_communicator) -> i32 {
    infallible(0, || {
        // SAFETY: by the contract of the header.
        unsafe { peek(communicator) }.map_or(0, |communicator| communicator.size as i32)
    })
}

/// Runs of pipelines that are loaded with these options are shared with the other processes that the
/// communicator reaches, instead of with other devices: every process loads the same folder, on a
/// device of its own, and makes the same runs with the same options in the same order, one at a
/// time. Rank 0 encodes prompts, is asked by caches' callbacks and step callbacks, and gets the
/// frames; progress and logs are each process's own. NULL (default) takes it away again. The options
/// keep what they need of it.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_communicator(
    options: *mut cvx_load_options,
    communicator_or_null: *const cvx_communicator,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, communicator) = unsafe {
            (borrow_mut(options, "options")?, optional(communicator_or_null, "communicator")?)
        };
        let processes = communicator.map(|communicator| {
            let end: Arc<dyn Communicator> = match communicator.host() {
                Ok(host) => host,
                Err(nccl) => nccl,
            };
            Processes(end)
        });
        drop(replace(&mut options.options.communicator, processes));
        Ok(())
    })
}

/// Bytes of NCCL's unique id.
pub const CVX_NCCL_UNIQUE_ID_BYTES: i32 = 128;
const _: () = assert!(CVX_NCCL_UNIQUE_ID_BYTES as usize == UNIQUE_ID_BYTES);

/// NCCL's unique id for a group of processes: one of them makes it, and the host carries it to the
/// others (in a file, through MPI, as an argument), which are to make their communicators with it. The
/// library opens libnccl.so.2, which it does not link. out_id is CVX_NCCL_UNIQUE_ID_BYTES bytes.
///
/// Errors: DEVICE_UNAVAILABLE where there is no NCCL, INVALID_ARGUMENT for another size. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_nccl_unique_id(out_id: *mut u8, size: usize) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let out = unsafe { slice_mut(out_id, size, "out_id")? };
        check_id_size(size)?;
        out.copy_from_slice(&nccl::unique_id(OsStr::new(nccl::LIBRARY))?.0);
        Ok(())
    })
}

/// This process's end of what NCCL connects, from device to device: it is rank, from 0, of num_ranks
/// processes, from 2 to 1024, and computes on device, "cuda" or "cuda:N", which is to be that of the
/// pipelines loaded with it. Returns once all ranks with the same unique id have called it. After a
/// failed run it is of no more use, and a new id makes another.
///
/// Errors: DEVICE_UNAVAILABLE where there is no NCCL or no such device, INVALID_ARGUMENT, INTERNAL for
/// what NCCL says. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_communicator_new_nccl(
    rank: i32,
    num_ranks: i32,
    unique_id: *const u8,
    unique_id_size: usize,
    device: *const c_char,
    out_communicator: *mut *mut cvx_communicator,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (id, name, out) = unsafe {
            (
                slice(unique_id, unique_id_size, "unique_id")?,
                text(device, "device")?,
                Out::new(out_communicator, "out_communicator")?,
            )
        };
        check_id_size(unique_id_size)?;
        let size = within("num_ranks", num_ranks, 2..=MAX_RANKS as i32)?;
        let rank = within("rank", rank, 0..=size - 1)? as usize;
        let size = size as usize;
        check_name(name)?;
        if !name.starts_with("cuda") {
            return Err(Failure::invalid(format!(
                "device: expected \"cuda\" or \"cuda:N\", which NCCL connects, found {name:?}"
            )));
        }
        let device = Placement::resolve(name, "auto", DType::F32)?.device;
        let mut bytes = [0; UNIQUE_ID_BYTES];
        bytes.copy_from_slice(id);
        let library = OsStr::new(nccl::LIBRARY);
        let nccl = Nccl::new(library, UniqueId(bytes), rank, size, device)?;
        out.hand_over(cvx_communicator { rank, size, way: Way::Nccl(nccl) });
        Ok(())
    })
}

fn check_id_size(size: usize) -> super::error::Result<()> {
    within("size of the unique id", size, UNIQUE_ID_BYTES..=UNIQUE_ID_BYTES).map(drop)
}

impl cvx_communicator {
    fn functions(&mut self) -> super::error::Result<&mut Functions> {
        match &mut self.way {
            Way::Host { functions, used } if used.get().is_none() => Ok(functions),
            Way::Host { .. } => Err(Failure::invalid(
                "communicator: expected its functions to be set before it is given to load options",
            )),
            Way::Nccl(_) => Err(Failure::invalid(
                "communicator: expected one of the host's own functions, found one of NCCL",
            )),
        }
    }

    /// The host's way, or NCCL's.
    fn host(&self) -> Result<Arc<Host<Functions>>, Arc<Nccl>> {
        match &self.way {
            Way::Host { functions, used } => {
                let make = || Arc::new(Host::new(self.rank, self.size, functions.clone()));
                Ok(Arc::clone(used.get_or_init(make)))
            }
            Way::Nccl(nccl) => Err(Arc::clone(nccl)),
        }
    }
}
