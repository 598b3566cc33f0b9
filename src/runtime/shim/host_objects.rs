//! What a host hands over that is CUDA's: addresses and streams. They may be of a context of its
//! own, which libtorch knows nothing of, so NVIDIA's driver is asked, which knows all.

use super::driver::{symbol, Status, OK};
use super::loader;
use crate::{Error, Result};
use std::ffi::{c_int, c_uint, c_void};
use std::path::Path;

const DRIVER: &str = "libcuda.so.1";

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryPlace {
    /// Host memory that the driver knows.
    Host,
    /// The CUDA device of that index.
    Device(usize),
    /// Wherever it is used.
    Managed,
}

// CUpointer_attribute and CUmemorytype of cuda.h.
const MEMORY_TYPE: c_int = 2;
const IS_MANAGED: c_int = 8;
const DEVICE_ORDINAL: c_int = 9;
const RANGE_START: c_int = 11;
const RANGE_SIZE: c_int = 12;
const TYPE_HOST: c_uint = 1;
/// CU_EVENT_DISABLE_TIMING.
const WITHOUT_TIME: c_uint = 2;
/// cudaStreamLegacy, another name of the default stream, and cudaStreamPerThread.
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

/// [`Error::InvalidArgument`] for what is a stream of the calling thread's own: the library works on
/// threads of its own.
pub fn check_stream(stream: usize) -> Result<usize> {
    match stream {
        PER_THREAD => Err(Error::InvalidArgument(
            "stream: expected a stream that is the same on every thread, found \
             cudaStreamPerThread"
                .into(),
        )),
        LEGACY => Ok(0),
        other => Ok(other),
    }
}

type Attribute = unsafe extern "C" fn(*mut c_void, c_int, usize) -> Status;

fn function<T: Copy>(load: bool, name: &std::ffi::CStr) -> Option<T> {
    let path = Path::new(DRIVER);
    let library = match loader::opened(path) {
        Some(library) => library,
        None if load => loader::open(path).ok()?,
        None => return None,
    };
    // SAFETY: the callers name functions of cuda.h with their types.
    let found = unsafe { symbol(&library, name) };
    // What was loaded for good stays: only a count goes down, and what `load` loads must stay, too.
    #[expect(clippy::mem_forget, reason = "the driver is never unloaded")]
    std::mem::forget(library);
    found
}

/// See [`crate::runtime::device::memory_place`].
pub fn memory_place(address: usize, load: bool) -> Option<(MemoryPlace, Option<usize>)> {
    let attribute: Attribute = function(load, c"cuPointerGetAttribute")?;
    // A driver that nobody has initialised says so.
    let number = |which| {
        let mut value: c_uint = 0;
        // SAFETY: any address may be asked about; these attributes are as large as `value` at most.
        let status = unsafe { attribute((&raw mut value).cast(), which, address) };
        (status == OK).then_some(value)
    };
    let size = |which| {
        let mut value: usize = 0;
        // SAFETY: as above.
        let status = unsafe { attribute((&raw mut value).cast(), which, address) };
        (status == OK).then_some(value)
    };
    let kind = number(MEMORY_TYPE)?;
    let room = match (size(RANGE_START), size(RANGE_SIZE)) {
        (Some(start), Some(size)) => start.checked_add(size)?.checked_sub(address),
        _ => None,
    };
    // Bytes of a bool.
    if number(IS_MANAGED).is_some_and(|managed| managed & 0xff != 0) {
        return Some((MemoryPlace::Managed, room));
    }
    if kind == TYPE_HOST {
        return Some((MemoryPlace::Host, room));
    }
    let ordinal = usize::try_from(number(DEVICE_ORDINAL)?).ok()?;
    Some((MemoryPlace::Device(ordinal), room))
}

/// Functions of cuda.h.
struct Streams {
    context: unsafe extern "C" fn(usize, *mut *mut c_void) -> Status,
    push: unsafe extern "C" fn(*mut c_void) -> Status,
    pop: unsafe extern "C" fn(*mut *mut c_void) -> Status,
    create: unsafe extern "C" fn(*mut *mut c_void, c_uint) -> Status,
    destroy: unsafe extern "C" fn(*mut c_void) -> Status,
    record: unsafe extern "C" fn(*mut c_void, usize) -> Status,
    wait: unsafe extern "C" fn(usize, *mut c_void, c_uint) -> Status,
}

impl Streams {
    fn load() -> Option<Streams> {
        Some(Streams {
            context: function(true, c"cuStreamGetCtx")?,
            push: function(true, c"cuCtxPushCurrent_v2")?,
            pop: function(true, c"cuCtxPopCurrent_v2")?,
            create: function(true, c"cuEventCreate")?,
            destroy: function(true, c"cuEventDestroy_v2")?,
            record: function(true, c"cuEventRecord")?,
            wait: function(true, c"cuStreamWaitEvent")?,
        })
    }
}

fn driver() -> Result<Streams> {
    Streams::load().ok_or_else(|| {
        Error::DeviceUnavailable(format!("{DRIVER} has no functions to order streams with"))
    })
}

/// What the driver says of an object of the host's, and which of its functions says it.
fn check(expected: &str, function: &str, status: Status) -> Result<()> {
    match status {
        OK => Ok(()),
        _ => Err(Error::InvalidArgument(format!(
            "{expected}, found one with which the driver fails: {function} returns {status}"
        ))),
    }
}

/// What `stream` is given from now on waits, on the device, for what `event` was recorded behind last:
/// for nothing if it never was. They may be of different contexts.
pub fn wait_for_event(event: usize, stream: usize) -> Result<()> {
    let driver = driver()?;
    // SAFETY: the event is the host's, alive as the header says, the stream libtorch's.
    let status = unsafe { (driver.wait)(stream, std::ptr::with_exposed_provenance_mut(event), 0) };
    check("wait event: expected an event of this process", "cuStreamWaitEvent", status)
}

/// Records `event` behind what `stream` has got until now. They must be of one context.
pub fn record_event(event: usize, stream: usize) -> Result<()> {
    let driver = driver()?;
    const EXPECTED: &str = "record event: expected an event of the device's primary context";
    let (mut context, mut popped) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the event is the host's, alive as the header says, the stream libtorch's; the context that
    // is pushed is popped.
    unsafe {
        check(EXPECTED, "cuStreamGetCtx", (driver.context)(stream, &mut context))?;
        check(EXPECTED, "cuCtxPushCurrent", (driver.push)(context))?;
        let status = (driver.record)(std::ptr::with_exposed_provenance_mut(event), stream);
        let back = check(EXPECTED, "cuCtxPopCurrent", (driver.pop)(&mut popped));
        check(EXPECTED, "cuEventRecord", status).and(back)
    }
}

/// What `behind` is given from now on waits, on the device, for what `first` has got until now.
/// Streams may be of different contexts; 0 is the default stream of this thread's context.
pub fn order(first: usize, behind: usize) -> Result<()> {
    if first == behind {
        return Ok(());
    }
    let driver = driver()?;
    let check = |function: &str, status: Status| {
        check("stream: expected one of a CUDA device of this process", function, status)
    };
    let (mut context, mut event, mut popped) =
        (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: streams are the host's, alive as the header says, or libtorch's; the event is made,
    // recorded and destroyed here, in the context of the stream that it is recorded on. What has
    // waited for an event needs it no more.
    unsafe {
        check("cuStreamGetCtx", (driver.context)(first, &mut context))?;
        check("cuCtxPushCurrent", (driver.push)(context))?;
        let recorded = check("cuEventCreate", (driver.create)(&mut event, WITHOUT_TIME))
            .and_then(|()| check("cuEventRecord", (driver.record)(event, first)));
        let back = check("cuCtxPopCurrent", (driver.pop)(&mut popped));
        let waits = recorded
            .and(back)
            .and_then(|()| check("cuStreamWaitEvent", (driver.wait)(behind, event, 0)));
        if !event.is_null() {
            (driver.destroy)(event);
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_thread_are_refused_and_the_default_has_one_name() {
        assert_eq!(check_stream(0), Ok(0));
        assert_eq!(check_stream(1), Ok(0));
        assert_eq!(check_stream(64), Ok(64));
        let Err(Error::InvalidArgument(message)) = check_stream(2) else { panic!() };
        assert!(message.contains("cudaStreamPerThread"), "{message}");
    }

    #[test]
    fn a_stream_behind_itself_waits_for_nothing() {
        assert_eq!(order(7, 7), Ok(()));
    }

    /// True of any machine.
    #[test]
    fn memory_of_the_host_is_on_no_device() {
        let value = 0u8;
        let found = memory_place((&raw const value).addr(), false);
        assert!(!matches!(found, Some((MemoryPlace::Device(_), _))), "{found:?}");
    }
}
