//! OpenMP, as far as the library asks it itself: how many threads the calling thread's work is shared among,
//! and whether there can be so many. It is libtorch's, and found in the process.

use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void, CStr};
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
