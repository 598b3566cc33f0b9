//! NVIDIA's driver, asked for its devices: libcuda.so.1 for what they are, libnvidia-ml.so.1 for
//! how much of their memory is free. Neither makes a context on a device, which would take some
//! hundred megabytes of it; libtorch can tell no more than how many there are.

use super::loader;
use libloading::os::unix::Library;
use std::ffi::{c_char, c_int, c_uint, c_void, CStr, CString};
use std::path::Path;

/// What the driver says of a device. In the order of CUDA's indices, which are libtorch's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverDevice {
    pub name: String,
    /// "GPU-" or, for a part of a GPU, "MIG-" and 32 hexadecimal digits in groups.
    pub uuid: String,
    pub memory_total: u64,
    /// `None` where NVML is missing or does not know the device.
    pub memory_free: Option<u64>,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// What Windows calls it, and a bit for its node; `None` on other systems.
    pub luid: Option<(u64, u32)>,
}

/// 0 for success, of both libraries.
pub(super) type Status = c_int;

pub(super) const OK: Status = 0;
/// CUdevice_attribute of cuda.h.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;
const LONGEST_NAME: usize = 256;

/// The devices of the driver, in which CUDA_VISIBLE_DEVICES is heeded; none where there is no
/// driver or it has no device.
pub fn devices() -> Vec<DriverDevice> {
    let Some(driver) = Driver::load() else { return Vec::new() };
    let memory = Nvml::load();
    (0..driver.count()).filter_map(|ordinal| driver.device(ordinal, memory.as_ref())).collect()
}

/// Functions of cuda.h, whose names there have suffixes of versions.
struct Driver {
    count: unsafe extern "C" fn(*mut c_int) -> Status,
    get: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Status,
    uuid: unsafe extern "C" fn(*mut [u8; 16], c_int) -> Status,
    total_memory: unsafe extern "C" fn(*mut usize, c_int) -> Status,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
    luid: Option<unsafe extern "C" fn(*mut [u8; 8], *mut c_uint, c_int) -> Status>,
}

impl Driver {
    /// The driver, initialised. It is never unloaded.
    fn load() -> Option<Driver> {
        let library = loader::open(Path::new("libcuda.so.1")).ok()?;
        // SAFETY: of these names the driver has functions of these types (cuda.h).
        let (init, driver): (unsafe extern "C" fn(c_uint) -> Status, Driver) = unsafe {
            let driver = Driver {
                count: symbol(&library, c"cuDeviceGetCount")?,
                get: symbol(&library, c"cuDeviceGet")?,
                name: symbol(&library, c"cuDeviceGetName")?,
                // Before CUDA 11.4 there was the first version alone.
                uuid: symbol(&library, c"cuDeviceGetUuid_v2")
                    .or_else(|| symbol(&library, c"cuDeviceGetUuid"))?,
                total_memory: symbol(&library, c"cuDeviceTotalMem_v2")?,
                attribute: symbol(&library, c"cuDeviceGetAttribute")?,
                luid: symbol(&library, c"cuDeviceGetLuid"),
            };
            (symbol(&library, c"cuInit")?, driver)
        };
        #[expect(clippy::mem_forget, reason = "it is loaded for good")]
        std::mem::forget(library);
        // SAFETY: any thread may initialise the driver, any number of times.
        (unsafe { init(0) } == OK).then_some(driver)
    }

    fn count(&self) -> c_int {
        let mut count = 0;
        // SAFETY: the driver is initialised and the out-parameter valid for writing.
        match unsafe { (self.count)(&mut count) } {
            OK => count,
            _ => 0,
        }
    }

    fn device(&self, ordinal: c_int, memory: Option<&Nvml>) -> Option<DriverDevice> {
        let mut device = 0;
        let mut name = [0u8; LONGEST_NAME];
        let (mut uuid, mut total, mut major, mut minor) = ([0u8; 16], 0, 0, 0);
        // SAFETY: the driver is initialised, the out-parameters are valid for writing, and of the
        // name no more is written than it has room for.
        let known = unsafe {
            (self.get)(&mut device, ordinal) == OK
                && (self.name)(name.as_mut_ptr().cast(), LONGEST_NAME as c_int, device) == OK
                && (self.total_memory)(&mut total, device) == OK
                && (self.attribute)(&mut major, CAPABILITY_MAJOR, device) == OK
                && (self.attribute)(&mut minor, CAPABILITY_MINOR, device) == OK
        };
        // SAFETY: as above. Where there is none, it stays all zero.
        let has_uuid = unsafe { (self.uuid)(&mut uuid, device) } == OK;
        let (mut luid, mut node) = ([0u8; 8], 0);
        // SAFETY: as above. It fails where the system has no LUIDs.
        let has_luid =
            self.luid.is_some_and(|ask| unsafe { ask(&mut luid, &mut node, device) } == OK);
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        let found = has_uuid.then(|| identify(&uuid, memory));
        let (uuid, memory_free) = found.unwrap_or_default();
        known.then(|| DriverDevice {
            name: name.to_string_lossy().into_owned(),
            uuid,
            memory_total: total as u64,
            memory_free,
            capability: (major, minor),
            luid: has_luid.then(|| (u64::from_ne_bytes(luid), node)),
        })
    }
}

/// The UUID as NVIDIA's tools write it, and the free memory of what has it.
fn identify(uuid: &[u8; 16], memory: Option<&Nvml>) -> (String, Option<u64>) {
    for kind in ["GPU", "MIG"] {
        let text = uuid_text(kind, uuid);
        if let Some(free) = memory.and_then(|memory| memory.free(&text)) {
            return (text, Some(free));
        }
    }
    (uuid_text("GPU", uuid), None)
}

fn uuid_text(kind: &str, uuid: &[u8; 16]) -> String {
    let mut text = kind.to_string();
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// nvmlMemory_t of nvml.h, in bytes.
#[repr(C)]
#[derive(Default)]
struct NvmlMemory {
    total: u64,
    free: u64,
    used: u64,
}

/// Functions of nvml.h.
struct Nvml {
    by_uuid: unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> Status,
    memory: unsafe extern "C" fn(*mut c_void, *mut NvmlMemory) -> Status,
    shutdown: unsafe extern "C" fn() -> Status,
}

impl Nvml {
    /// NVML, initialised until this is dropped; it counts how often. It is never unloaded.
    fn load() -> Option<Nvml> {
        let library = loader::open(Path::new("libnvidia-ml.so.1")).ok()?;
        // SAFETY: of these names NVML has functions of these types (nvml.h).
        let (init, nvml): (unsafe extern "C" fn() -> Status, Nvml) = unsafe {
            let nvml = Nvml {
                by_uuid: symbol(&library, c"nvmlDeviceGetHandleByUUID")?,
                memory: symbol(&library, c"nvmlDeviceGetMemoryInfo")?,
                shutdown: symbol(&library, c"nvmlShutdown")?,
            };
            (symbol(&library, c"nvmlInit_v2")?, nvml)
        };
        #[expect(clippy::mem_forget, reason = "it is loaded for good")]
        std::mem::forget(library);
        // SAFETY: any thread may initialise it; `shutdown` is called for each success alone.
        match unsafe { init() } {
            OK => Some(nvml),
            _ => {
                #[expect(clippy::mem_forget, reason = "there is nothing to shut down")]
                std::mem::forget(nvml);
                None
            }
        }
    }

    fn free(&self, uuid: &str) -> Option<u64> {
        let uuid = CString::new(uuid).ok()?;
        let (mut device, mut memory) = (std::ptr::null_mut(), NvmlMemory::default());
        // SAFETY: NVML is initialised, the text lives during the call, and the out-parameters are
        // valid for writing.
        let known = unsafe {
            (self.by_uuid)(uuid.as_ptr(), &mut device) == OK
                && (self.memory)(device, &mut memory) == OK
        };
        known.then_some(memory.free)
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // SAFETY: it was initialised once for this value.
        unsafe { (self.shutdown)() };
    }
}

/// A function of a library that stays loaded.
///
/// # Safety
/// What the library has of this name is a `T`.
pub(super) unsafe fn symbol<T: Copy>(library: &Library, name: &CStr) -> Option<T> {
    // SAFETY: the caller's.
    unsafe { library.get::<T>(name.to_bytes_with_nul()) }.ok().map(|symbol| *symbol)
}

#[cfg(test)]
mod tests {
    use super::uuid_text;

    #[test]
    fn a_uuid_is_written_as_nvidias_tools_do() {
        let bytes = std::array::from_fn(|i| i as u8 * 17);
        assert_eq!(uuid_text("GPU", &bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
