//! How many threads the work of one thread is shared among.
//!
//! libtorch's `set_num_threads` is for the whole process, which is the host's. OpenMP and MKL have a
//! setting for the calling thread beside it, which is what work is begun with.

use super::waiting::Watching;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::marker::PhantomData;
use std::sync::OnceLock;

extern "C" {
    fn cvx_shim_init_num_threads();
}

type Get = unsafe extern "C" fn() -> c_int;
type Set = unsafe extern "C" fn(c_int);
type SetAndGet = unsafe extern "C" fn(c_int) -> c_int;
type Parallel =
    unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, threads: c_uint, flags: c_uint);

#[derive(Clone, Copy)]
pub(super) struct Functions {
    /// `omp_get_max_threads` and `omp_set_num_threads`: of the calling thread.
    get: Get,
    set: Set,
    /// `MKL_Set_Num_Threads_Local` (in small letters it is Fortran's, which takes a pointer): returns
    /// what there was; 0 is none. Where libtorch has MKL.
    mkl: Option<SetAndGet>,
    /// `GOMP_parallel`, where the OpenMP is libgomp, and `omp_get_num_procs`.
    pub(super) parallel: Option<Parallel>,
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

thread_local! {
    /// How many threads work of this thread was shared among last, itself included: OpenMP keeps
    /// them until it is shared among fewer, lets those beyond go, and starts others when it is shared
    /// among more again.
    static STARTED: Cell<c_int> = const { Cell::new(1) };
}

/// How many of `wanted` threads, this one included, there can be. libgomp ends the process where
/// it can't start a thread: so as many are started beforehand as it will start, all at once.
pub(super) fn startable(wanted: c_int) -> c_int {
    extern "C" fn wait(gate: *mut c_void) -> *mut c_void {
        // SAFETY: the gate outlives the thread, which is joined below.
        drop(unsafe { &*gate.cast::<Mutex<()>>() }.lock());
        std::ptr::null_mut()
    }
    let started = STARTED.get();
    if wanted <= started {
        // Work of one thread alone leaves the others where they are.
        if wanted > 1 {
            STARTED.set(wanted);
        }
        return wanted;
    }
    let mut threads = Vec::new();
    if threads.try_reserve_exact((wanted - started) as usize).is_err() {
        return started;
    }
    let gate = Mutex::new(());
    let closed = gate.lock();
    for _ in started..wanted {
        let mut thread = 0;
        let gate = std::ptr::from_ref(&gate).cast_mut().cast();
        // SAFETY: the place is valid for writing, and the gate lives until the thread is joined.
        // With the attributes that libgomp gives its threads, whose stacks are the default's.
        if unsafe { libc::pthread_create(&mut thread, std::ptr::null(), wait, gate) } != 0 {
            break;
        }
        threads.push(thread);
    }
    drop(closed);
    let count = started + threads.len() as c_int;
    for thread in threads {
        // SAFETY: started above, joined once.
        unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    }
    STARTED.set(count);
    count
}

/// Until it is dropped, what this thread computes is shared among another number of threads.
pub struct Threads {
    before: Option<(Functions, c_int, c_int)>,
    _watching: Option<Watching>,
    // The setting is this thread's.
    _not_send: PhantomData<*const ()>,
}

impl Threads {
    /// `count` threads; 0 leaves it as it is, or takes fewer where there are no more to be had. A
    /// libtorch without OpenMP leaves it as it is, too.
    ///
    /// Errors: [`Error::OutOfMemory`] where `count` threads can't be started.
    pub fn limit(count: i32) -> Result<Threads> {
        // libtorch gives a thread the process's number once, at its first question.
        tch::get_num_threads();
        // The same is kept apart for the kernels that are compiled into this library.
        // SAFETY: without preconditions.
        unsafe { cvx_shim_init_num_threads() };
        let Some(functions) = functions() else {
            return Ok(Threads { before: None, _watching: None, _not_send: PhantomData });
        };
        // SAFETY: a plain number.
        let wanted = if count > 0 { count } else { unsafe { (functions.get)() } };
        let found = startable(wanted);
        if count > 0 && found < count {
            return Err(Error::OutOfMemory(format!(
                "num_threads: expected {count} threads, but the system lets only {found} be \
                 started"
            )));
        }
        let change = count > 0 || found < wanted;
        let before = change.then(|| {
            // SAFETY: plain numbers, and settings of this thread alone.
            unsafe {
                let threads = (functions.get)();
                (functions.set)(found);
                (functions, threads, functions.mkl.map_or(0, |set| set(found)))
            }
        });
        let _watching = Watching::over(found);
        Ok(Threads { before, _watching, _not_send: PhantomData })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some((functions, threads, mkl)) = self.before.take() else { return };
        // SAFETY: as in `limit`.
        unsafe {
            (functions.set)(threads);
            functions.mkl.map(|set| set(mkl));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_this_threads_and_is_put_back() {
        std::thread::spawn(|| {
            let before = tch::get_num_threads();
            let other = || std::thread::spawn(tch::get_num_threads).join().unwrap();
            let others = other();
            {
                let _three = Threads::limit(3).unwrap();
                assert_eq!(tch::get_num_threads(), 3);
                assert_eq!(other(), others);
                {
                    let _as_it_is = Threads::limit(0).unwrap();
                    assert_eq!(tch::get_num_threads(), 3);
                    let _one = Threads::limit(1).unwrap();
                    assert_eq!(tch::get_num_threads(), 1);
                }
                assert_eq!(tch::get_num_threads(), 3);
            }
            assert_eq!(tch::get_num_threads(), before);
            assert_eq!(other(), others);
        })
        .join()
        .unwrap();
    }
}
