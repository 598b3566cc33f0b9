//! Devices: which there are, and giving back what is kept of their memory.

use super::convert::{text, write_struct, Out};
use super::error::{cvx_error, one_line, Failure};
use super::handle::{borrow, free, peek};
use super::panic::{fallible, infallible};
use crate::runtime::devices::{self, DeviceInfo};
use std::ffi::{c_char, CString};

/// The devices of the machine as they were when the list was made. Made by cvx_device_list_new,
/// freed by cvx_device_list_free.
///
/// Threads: everything but freeing it may be done from many threads at once. Since 0.1.
pub struct cvx_device_list {
    devices: Vec<Entry>,
}

struct Entry {
    info: DeviceInfo,
    device: CString,
    name: CString,
    uuid: CString,
    unusable_reason: CString,
}

/// A device, as cvx_device_list_get tells it. Later versions may add fields at the end: read a
/// field only if struct_size reaches beyond it.
///
/// The texts belong to the list and live until it is freed. Since 0.1.
#[repr(C)]
pub struct cvx_device_info {
    /// Set it to the struct's size before cvx_device_list_get, which writes no more than that and
    /// leaves here how many bytes it wrote.
    pub struct_size: u32,
    /// 1 if pipelines can be loaded on it, else 0.
    pub usable: i32,
    /// What cvx_load_options_set_device takes: "cpu", "cuda:0", …
    pub device: *const c_char,
    /// What its maker calls it, for people. "" where that is not known.
    pub name: *const c_char,
    /// As NVIDIA's tools write it, such as "GPU-" and 32 digits in groups: what tells which of
    /// Vulkan's or of another process's devices it is. "" for the CPU and where it is not known.
    pub uuid: *const c_char,
    /// Why it cannot be used, in one line; "" if it can be.
    pub unusable_reason: *const c_char,
    /// Bytes of its memory, for the CPU of the machine. 0 where that is not known.
    pub memory_total: u64,
    /// Bytes of it that nobody used when the list was made, in this process or another; for the
    /// CPU, what the system could hand out without swapping. What libtorch keeps to use again is
    /// not among it (see cvx_device_trim). 0 where that is not known.
    pub memory_free: u64,
    /// CUDA's compute capability, such as 9 and 0; 0 and 0 for the CPU.
    pub compute_capability_major: i32,
    pub compute_capability_minor: i32,
    /// 1 if the next two are known, which is on Windows; else 0.
    pub has_luid: i32,
    /// The LUID's node, as a mask with one bit: deviceNodeMask of Vulkan, the node of D3D12. 0 where
    /// that is not known.
    pub luid_node_mask: u32,
    /// Windows' name of the adapter, to find it among those of D3D12 (AdapterLuid) and Vulkan
    /// (deviceLUID): their 8 bytes, read as one number. 0 where that is not known.
    pub luid: u64,
}

impl cvx_device_info {
    fn of(entry: &Entry) -> cvx_device_info {
        cvx_device_info {
            struct_size: size_of::<cvx_device_info>() as u32,
            usable: i32::from(entry.info.unusable.is_none()),
            device: entry.device.as_ptr(),
            name: entry.name.as_ptr(),
            uuid: entry.uuid.as_ptr(),
            unusable_reason: entry.unusable_reason.as_ptr(),
            memory_total: entry.info.memory_total,
            memory_free: entry.info.memory_free,
            compute_capability_major: entry.info.capability.0,
            compute_capability_minor: entry.info.capability.1,
            has_luid: i32::from(entry.info.luid.is_some()),
            luid_node_mask: entry.info.luid.map_or(0, |(_, node)| node),
            luid: entry.info.luid.map_or(0, |(luid, _)| luid),
        }
    }
}

/// Lists the devices: "cpu" first, which is always there, then the GPUs that NVIDIA's driver
/// knows, in the order of their indices, also those that cannot be used. If there is one, this
/// loads the CUDA library, which takes some seconds the first time, and no memory of a GPU. On
/// success *out_devices is a new list, owned by the caller, freed with cvx_device_list_free.
///
/// CUDA keeps to what it found first: a GPU that is added, or a driver that is installed, while
/// the process runs is not seen. As after a load, a process that was forked off cannot work.
///
/// Errors: NULL_ARGUMENT; DEVICE_UNAVAILABLE in a process that was forked from one that has
/// worked. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_device_list_new(
    out_devices: *mut *mut cvx_device_list,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let out = unsafe { Out::new(out_devices, "out_devices")? };
        let entry = |info: DeviceInfo| Entry {
            device: one_line(&info.device),
            name: one_line(&info.name),
            uuid: one_line(&info.uuid),
            unusable_reason: one_line(info.unusable.as_deref().unwrap_or("")),
            info,
        };
        let devices = devices::list()?.into_iter().map(entry).collect();
        out.hand_over(cvx_device_list { devices });
        Ok(())
    })
}

/// How many devices the list has: at least 1, the CPU. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_device_list_count(devices: *const cvx_device_list) -> i32 {
    infallible(0, || {
        // SAFETY: by the contract of the header.
        let devices = unsafe { peek(devices) };
        devices.map_or(0, |list| i32::try_from(list.devices.len()).unwrap_or(i32::MAX))
    })
}

/// Writes what is known of a device to *out_info, as far as its struct_size reaches, which must
/// be set before. index counts from 0.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for an index that the list does not have, and for a
/// struct_size that does not reach beyond itself. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_device_list_get(
    devices: *const cvx_device_list,
    index: i32,
    out_info: *mut cvx_device_info,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let list = unsafe { borrow(devices, "devices")? };
        let entry = usize::try_from(index).ok().and_then(|index| list.devices.get(index));
        let entry = entry.ok_or_else(|| {
            let last = list.devices.len().saturating_sub(1);
            Failure::invalid(format!("index must lie in [0, {last}], found {index}"))
        })?;
        // SAFETY: by the contract of the header; the struct begins with its size.
        unsafe { write_struct(&cvx_device_info::of(entry), out_info, "out_info") }
    })
}

/// Frees a list and the texts that it handed out. NULL is allowed and does nothing.
///
/// Threads: any, once. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_device_list_free(devices: *mut cvx_device_list) {
    infallible((), || {
        // SAFETY: NULL or a list that was handed out here, not freed yet.
        unsafe { free(devices) }
    })
}

/// Gives memory back that is kept to be used again and that nothing uses: for "cuda" and "cuda:N",
/// what libtorch's allocator keeps, on all CUDA devices of the process, also of other users of
/// libtorch in it; for "cpu", what the C library's malloc keeps (glibc's malloc_trim; nothing with
/// another one). Weights, caches and videos stay. The next run takes a little longer, as it must
/// ask for memory anew; a device is waited for. Freeing the last pipeline over its weights does
/// this for its device. Where CUDA was never loaded there is nothing to do, and it is not loaded.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8; INVALID_ARGUMENT for any other text; DEVICE_UNAVAILABLE
/// for an index that does not exist. Threads: any, also while a pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_device_trim(device: *const c_char) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let device = unsafe { text(device, "device")? };
        Ok(devices::trim(device)?)
    })
}
