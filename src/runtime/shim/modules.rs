//! Code of this library's own on CUDA devices, loaded and launched through NVIDIA's driver: libtorch has
//! no interface for it. All in the device's primary context, which is the one that libtorch uses.

use super::driver::{symbol, Status, OK};
use super::loader;
use crate::runtime::failures;
use crate::{Error, Result};
use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::path::Path;
use std::ptr::null_mut;

/// CUDA_ERROR_INVALID_PTX, CUDA_ERROR_UNSUPPORTED_PTX_VERSION and CUDA_ERROR_NO_BINARY_FOR_GPU: the
/// driver is too old for the code, or the card is.
const TOO_OLD: [Status; 3] = [218, 222, 209];

/// Functions of cuda.h.
struct Driver {
    device: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    retain: unsafe extern "C" fn(*mut *mut c_void, c_int) -> Status,
    release: unsafe extern "C" fn(c_int) -> Status,
    push: unsafe extern "C" fn(*mut c_void) -> Status,
    pop: unsafe extern "C" fn(*mut *mut c_void) -> Status,
    load: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status,
    unload: unsafe extern "C" fn(*mut c_void) -> Status,
    function: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> Status,
    launch: unsafe extern "C" fn(
        *mut c_void,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        *mut c_void,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> Status,
    error: unsafe extern "C" fn(Status, *mut *const c_char) -> Status,
}

impl Driver {
    /// The driver, initialised. It is never unloaded.
    fn load() -> Option<Driver> {
        let library = loader::open(Path::new("libcuda.so.1")).ok()?;
        // SAFETY: of these names the driver has functions of these types (cuda.h).
        let (init, driver): (unsafe extern "C" fn(c_uint) -> Status, Driver) = unsafe {
            let driver = Driver {
                device: symbol(&library, c"cuDeviceGet")?,
                retain: symbol(&library, c"cuDevicePrimaryCtxRetain")?,
                release: symbol(&library, c"cuDevicePrimaryCtxRelease_v2")?,
                push: symbol(&library, c"cuCtxPushCurrent_v2")?,
                pop: symbol(&library, c"cuCtxPopCurrent_v2")?,
                load: symbol(&library, c"cuModuleLoadData")?,
                unload: symbol(&library, c"cuModuleUnload")?,
                function: symbol(&library, c"cuModuleGetFunction")?,
                launch: symbol(&library, c"cuLaunchKernel")?,
                error: symbol(&library, c"cuGetErrorString")?,
            };
            (symbol(&library, c"cuInit")?, driver)
        };
        #[expect(clippy::mem_forget, reason = "it is loaded for good")]
        std::mem::forget(library);
        // SAFETY: any thread may initialise the driver, any number of times.
        (unsafe { init(0) } == OK).then_some(driver)
    }

    fn check(&self, what: &str, status: Status) -> Result<()> {
        if status == OK {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: the out-parameter is valid for writing; texts are the driver's, for ever.
        let known = unsafe { (self.error)(status, &mut text) } == OK && !text.is_null();
        let text = match known {
            // SAFETY: as above, NUL-terminated.
            true => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
            false => format!("error {status}"),
        };
        // In the words by which what is lost and what is out of memory is known.
        Err(match failures::of_libtorch(&format!("CUDA error: {text} ({what})")) {
            Error::Internal(_) if TOO_OLD.contains(&status) => Error::DeviceUnavailable(format!(
                "the driver can't take the kernels: {what}: {text}"
            )),
            Error::Internal(_) => Error::Internal(format!("CUDA's driver: {what}: {text}")),
            other => other,
        })
    }
}

/// Kernels that a device has loaded.
pub struct Module {
    driver: Driver,
    device: c_int,
    context: *mut c_void,
    module: *mut c_void,
}

// SAFETY: the driver's functions may be called on any thread; the handles are only passed to them.
unsafe impl Send for Module {}
// SAFETY: as above; nothing is written through `&self`.
unsafe impl Sync for Module {}

/// A kernel of a [`Module`], which it does not outlive.
#[derive(Clone, Copy)]
pub struct Function(*mut c_void);

// SAFETY: as for `Module`.
unsafe impl Send for Function {}
// SAFETY: as for `Module`.
unsafe impl Sync for Function {}

impl Module {
    /// Compiles `ptx` for CUDA device `index` and loads it there.
    ///
    /// Errors: [`Error::DeviceUnavailable`] where the driver is missing or does not take such code.
    pub fn load(index: i32, ptx: &CStr) -> Result<Module> {
        let driver = Driver::load().ok_or_else(|| {
            Error::DeviceUnavailable("libcuda.so.1 has no functions to load kernels with".into())
        })?;
        let (mut device, mut context) = (0, null_mut());
        // SAFETY: the out-parameters are valid for writing.
        driver.check("cuDeviceGet", unsafe { (driver.device)(&mut device, index) })?;
        // SAFETY: as above, and the device is the driver's.
        let retained = unsafe { (driver.retain)(&mut context, device) };
        driver.check("cuDevicePrimaryCtxRetain", retained)?;
        let mut module = Module { driver, device, context, module: null_mut() };
        let loaded = module.within(|driver, module| {
            // SAFETY: the code is NUL-terminated text, the out-parameter is valid for writing.
            unsafe { (driver.load)(module, ptx.as_ptr().cast()) }
        });
        loaded.and_then(|status| module.driver.check("cuModuleLoadData", status))?;
        Ok(module)
    }

    /// Calls the driver with the device's context, leaving the thread's own as it is.
    fn within(&mut self, work: impl FnOnce(&Driver, &mut *mut c_void) -> Status) -> Result<Status> {
        let Module { driver, context, module, .. } = self;
        with_context(driver, *context, || work(driver, module))
    }

    /// The kernel of this name.
    pub fn function(&self, name: &CStr) -> Result<Function> {
        let mut function = null_mut();
        let status = with_context(&self.driver, self.context, || {
            // SAFETY: the module is loaded, the name NUL-terminated, the out-parameter valid for
            // writing.
            unsafe { (self.driver.function)(&mut function, self.module, name.as_ptr()) }
        })?;
        self.driver.check(&format!("cuModuleGetFunction {}", name.to_string_lossy()), status)?;
        Ok(Function(function))
    }

    /// Has `function` run on the stream of this handle, 0 for the default one, by `blocks` × `layers`
    /// blocks of `threads` threads. Does not wait.
    ///
    /// # Safety
    /// The function is of this module, the arguments are those that it takes, and what they refer to
    /// is on the device and large enough for what it does with it.
    pub unsafe fn launch(
        &self,
        function: Function,
        (blocks, layers, threads): (u32, u32, u32),
        stream: usize,
        arguments: &mut Arguments,
    ) -> Result<()> {
        let mut addresses = arguments.addresses();
        let stream: *mut c_void = std::ptr::with_exposed_provenance_mut(stream);
        let status = with_context(&self.driver, self.context, || {
            // SAFETY: the caller's; the addresses are those of cells that are alive during the call,
            // in which the driver copies the arguments.
            unsafe {
                (self.driver.launch)(
                    function.0,
                    blocks,
                    layers,
                    1,
                    threads,
                    1,
                    1,
                    0,
                    stream,
                    addresses.as_mut_ptr(),
                    null_mut(),
                )
            }
        })?;
        self.driver.check("cuLaunchKernel", status)
    }
}

fn with_context(
    driver: &Driver,
    context: *mut c_void,
    work: impl FnOnce() -> Status,
) -> Result<Status> {
    // SAFETY: the context is retained as long as the module is there.
    driver.check("cuCtxPushCurrent", unsafe { (driver.push)(context) })?;
    let status = work();
    let mut popped = null_mut();
    // SAFETY: it was pushed above; the out-parameter is valid for writing.
    driver.check("cuCtxPopCurrent", unsafe { (driver.pop)(&mut popped) })?;
    Ok(status)
}

impl Drop for Module {
    /// What runs of the module on the device ends first: the driver sees to that. A device that is
    /// lost has nothing to give back.
    fn drop(&mut self) {
        if !self.module.is_null() {
            // SAFETY: the module was loaded in this context and is unloaded once.
            let _ = self.within(|driver, module| unsafe { (driver.unload)(*module) });
        }
        // SAFETY: retained once, released once.
        unsafe { (self.driver.release)(self.device) };
    }
}

/// What a kernel is given, each in cells of eight bytes of its own.
#[derive(Default)]
pub struct Arguments {
    cells: Vec<u64>,
    starts: Vec<usize>,
}

impl Arguments {
    fn push(mut self, cells: &[u64]) -> Arguments {
        self.starts.push(self.cells.len());
        self.cells.extend_from_slice(cells);
        self
    }

    /// One address, or a struct of some.
    pub fn addresses_of<const N: usize>(self, data: [*mut c_void; N]) -> Arguments {
        self.push(&data.map(|data| data.expose_provenance() as u64))
    }

    pub fn i32(self, value: i32) -> Arguments {
        self.u32(u32::from_ne_bytes(value.to_ne_bytes()))
    }

    pub fn u32(self, value: u32) -> Arguments {
        self.i32s(&[value])
    }

    pub fn f32(self, value: f32) -> Arguments {
        self.u32(value.to_bits())
    }

    pub fn i64(self, value: i64) -> Arguments {
        self.push(&[u64::from_ne_bytes(value.to_ne_bytes())])
    }

    /// A struct of 32-bit numbers.
    pub fn i32s(self, values: &[u32]) -> Arguments {
        let cell = |pair: &[u32]| {
            let mut bytes = [0; 8];
            for (to, value) in bytes.chunks_mut(4).zip(pair) {
                to.copy_from_slice(&value.to_ne_bytes());
            }
            u64::from_ne_bytes(bytes)
        };
        let cells: Vec<u64> = values.chunks(2).map(cell).collect();
        self.push(&cells)
    }

    fn addresses(&mut self) -> Vec<*mut c_void> {
        let first = self.cells.as_mut_ptr();
        self.starts.iter().map(|&start| first.wrapping_add(start).cast()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_as_c_has_them() {
        let address: *mut c_void = std::ptr::with_exposed_provenance_mut(0x1234_5678_9abc);
        let mut arguments = Arguments::default()
            .addresses_of([address, null_mut()])
            .i32(-5)
            .f32(1.5)
            .i64(-(1 << 40))
            .i32s(&[1, 2, 3]);
        let found = arguments.addresses();
        // SAFETY: the types that were pushed, at addresses of cells that are alive.
        unsafe {
            assert_eq!(*found[0].cast::<[usize; 2]>(), [0x1234_5678_9abc, 0]);
            assert_eq!(*found[1].cast::<i32>(), -5);
            assert_eq!(*found[2].cast::<f32>(), 1.5);
            assert_eq!(*found[3].cast::<i64>(), -(1 << 40));
            assert_eq!(*found[4].cast::<[u32; 3]>(), [1, 2, 3]);
        }
    }
}
