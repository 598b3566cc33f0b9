//! OpenMP, as far as the library asks it itself: how many threads the calling thread's work is shared among,
//! and whether there can be so many. It is libtorch's, and found in the process.

use super::shim::spare::{self, Spare};
use super::shim::starts::Starts;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::ptr::NonNull;
use std::sync::OnceLock;

type Get = unsafe extern "C" fn() -> c_int;
type Set = unsafe extern "C" fn(c_int);
type SetAndGet = unsafe extern "C" fn(c_int) -> c_int;
type Parallel =
    unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, threads: c_uint, flags: c_uint);

#[derive(Clone, Copy)]
pub(super) struct Functions {
    /// `omp_get_max_threads` and `omp_set_num_threads`: of the calling thread.
    pub(super) get: Get,
    pub(super) set: Set,
    /// `MKL_Set_Num_Threads_Local` (in small letters it is Fortran's, which takes a pointer): returns
    /// what there was; 0 is none. Where libtorch has MKL.
    pub(super) mkl: Option<SetAndGet>,
    /// `GOMP_parallel`, where the OpenMP is libgomp, and `omp_get_num_procs`.
    parallel: Option<Parallel>,
    processors: Option<Get>,
}

impl Functions {
    /// As many as libgomp knows of; `None` for another OpenMP, whose threads wait otherwise.
    pub(super) fn processors(&self) -> Option<c_int> {
        self.parallel?;
        // SAFETY: without preconditions.
        self.processors.map(|processors| unsafe { processors() })
    }
}

pub(super) fn functions() -> Option<Functions> {
    static FOUND: OnceLock<Option<Functions>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // The calling library's own dependencies are looked through, too.
        let find = |name: &CStr| {
            // SAFETY: a name that ends with NUL.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let (get, set) = (find(c"omp_get_max_threads")?, find(c"omp_set_num_threads")?);
        let mkl = find(c"MKL_Set_Num_Threads_Local");
        // LLVM's and Intel's OpenMP have libgomp's function beside their own.
        let libgomp = find(c"kmp_set_blocktime").is_none();
        let parallel = find(c"GOMP_parallel").filter(|_| libgomp);
        let processors = find(c"omp_get_num_procs");
        // SAFETY: the functions have these types in OpenMP's and MKL's headers.
        unsafe {
            Some(Functions {
                get: std::mem::transmute::<*mut libc::c_void, Get>(get),
                set: std::mem::transmute::<*mut libc::c_void, Set>(set),
                mkl: mkl.map(|mkl| std::mem::transmute::<*mut libc::c_void, SetAndGet>(mkl)),
                parallel: parallel
                    .map(|start| std::mem::transmute::<*mut libc::c_void, Parallel>(start)),
                processors: processors
                    .map(|count| std::mem::transmute::<*mut libc::c_void, Get>(count)),
            })
        }
    })
}

/// An address in libgomp; `None` for another OpenMP.
fn libgomp() -> Option<NonNull<c_void>> {
    NonNull::new(functions()?.parallel? as *mut c_void)
}

/// Memory for what OpenMP keeps of the calling thread: libgomp ends the process where there is none.
///
/// Errors: [`Error::OutOfMemory`].
pub(super) fn hold() -> Result<Spare> {
    if let Some(inside) = libgomp() {
        spare::install_in_libgomp(inside);
    }
    let spare = Spare::hold();
    spare.ok_or_else(|| Error::OutOfMemory("the host's memory is out: no room for threads".into()))
}

thread_local! {
    /// How many threads work of this thread was shared among last, itself included: OpenMP keeps
    /// them until it is shared among fewer, lets those beyond go, and starts others when it is shared
    /// among more again.
    static STARTED: Cell<c_int> = const { Cell::new(1) };
}

/// Threads that this thread's work is shared among.
pub(super) struct Started {
    /// This one included.
    pub(super) count: c_int,
    /// Kept while work is shared: OpenMP may start more, in the place of those it has let go.
    _announced: Option<Starts>,
}

/// As many of `wanted` threads as there can be. libgomp ends the process where it can't start a thread: so
/// they are started beforehand, all at once, and wait while libgomp starts its own, which are then
/// kept. Those it is refused, it gets of those that wait, and memory it is refused of what is held.
///
/// Errors: [`Error::OutOfMemory`] where so much can't be held.
pub(super) fn start(wanted: c_int) -> Result<Started> {
    let started = STARTED.get();
    let missing = (wanted - started).max(0);
    let announced = Starts::begin(libgomp(), missing);
    let count = wanted.min(started + announced.as_ref().map_or(0, Starts::waiting));
    if count > started {
        let _spare = hold()?;
        team(count, 0);
    }
    if let Some(announced) = &announced {
        announced.release();
    }
    // Work of one thread alone leaves the others where they are.
    if count > 1 {
        STARTED.set(count);
    }
    Ok(Started { count, _announced: announced })
}

/// The system's numbers of the threads of the calling thread's team, `most` of a larger one. Starts those
/// that are not there yet.
pub(super) fn team(count: c_int, most: usize) -> Vec<libc::pid_t> {
    extern "C" fn note(numbers: *mut c_void) {
        // SAFETY: the vector below, which outlives the call.
        let numbers = unsafe { &*numbers.cast::<Mutex<Vec<libc::pid_t>>>() };
        // SAFETY: without preconditions.
        let number = unsafe { libc::gettid() };
        let mut numbers = numbers.lock();
        if numbers.len() < numbers.capacity() {
            numbers.push(number);
        }
    }
    let mut numbers = Vec::new();
    let Some(parallel) = functions().and_then(|functions| functions.parallel) else {
        return numbers;
    };
    if numbers.try_reserve_exact(most.min(count as usize)).is_err() {
        return numbers;
    }
    let numbers = Mutex::new(numbers);
    // SAFETY: `note` takes a pointer to what `numbers` is, which nothing else uses meanwhile.
    unsafe { parallel(note, std::ptr::from_ref(&numbers).cast_mut().cast(), count as c_uint, 0) };
    numbers.into_inner()
}
