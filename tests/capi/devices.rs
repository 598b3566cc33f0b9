//! Lists of devices, and memory that is given back.

use crate::support::*;
use cogvideox::capi::*;
use std::mem::{offset_of, size_of, MaybeUninit};
use std::ptr::null_mut;

struct List(*mut cvx_device_list);

impl List {
    fn new() -> List {
        let mut list = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_device_list_new(&mut list) });
        List(list)
    }

    fn get(&self, index: i32, info: &mut cvx_device_info) -> *mut cvx_error {
        // SAFETY: a live list, and a struct of the size that it says.
        unsafe { cvx_device_list_get(self.0, index, info) }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_device_list_free(self.0) }
    }
}

fn empty(struct_size: usize) -> cvx_device_info {
    // SAFETY: numbers and pointers, for which zero is allowed.
    let mut info: cvx_device_info = unsafe { MaybeUninit::zeroed().assume_init() };
    info.struct_size = u32::try_from(struct_size).unwrap();
    info
}

#[test]
fn the_cpu_is_listed_first_and_can_be_loaded_on() {
    let list = List::new();
    // SAFETY: a live list.
    assert!(unsafe { cvx_device_list_count(list.0) } >= 1);
    let mut info = empty(size_of::<cvx_device_info>());
    ok(list.get(0, &mut info));
    assert_eq!(info.struct_size as usize, size_of::<cvx_device_info>());
    assert_eq!((text(info.device), text(info.unusable_reason)), ("cpu".into(), String::new()));
    assert_eq!((info.usable, info.compute_capability_major), (1, 0));
    assert_eq!((info.has_luid, info.luid_node_mask, info.luid), (0, 0, 0));
    assert!(info.memory_free > 0 && info.memory_free <= info.memory_total);
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_device(options, info.device));
        cvx_load_options_free(options);
    }
}

#[test]
fn an_older_host_gets_what_its_struct_has_room_for() {
    let list = List::new();
    let room = offset_of!(cvx_device_info, uuid);
    let mut info = empty(room);
    info.memory_total = 7;
    ok(list.get(0, &mut info));
    assert_eq!((info.struct_size as usize, info.usable), (room, 1));
    assert_eq!(text(info.device), "cpu");
    assert!(info.uuid.is_null());
    assert_eq!(info.memory_total, 7);
    // A newer host's is longer than ours.
    let mut info = empty(size_of::<cvx_device_info>() + 64);
    ok(list.get(0, &mut info));
    assert_eq!(info.struct_size as usize, size_of::<cvx_device_info>());
}

#[test]
fn what_is_not_there_is_named() {
    let list = List::new();
    // SAFETY: a live list; NULL is what is tested.
    let count = unsafe { cvx_device_list_count(list.0) };
    let mut info = empty(size_of::<cvx_device_info>());
    for index in [-1, count, i32::MAX] {
        let words = [format!("index must lie in [0, {}]", count - 1), format!("found {index}")];
        fails(CVX_ERROR_INVALID_ARGUMENT, &[&words[0], &words[1]], list.get(index, &mut info));
    }
    assert_eq!(info.usable, 0);
    for size in [0, 4] {
        let mut info = empty(size);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["struct_size"], list.get(0, &mut info));
    }
    // SAFETY: NULL is what is tested.
    unsafe {
        fails(CVX_ERROR_NULL_ARGUMENT, &["out_info"], cvx_device_list_get(list.0, 0, null_mut()));
    }
}

/// Bytes that the process has in memory now.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn trimming_the_cpu_gives_back_what_malloc_keeps() {
    const BLOCK: usize = 64 << 10;
    let mut blocks: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; BLOCK]).collect();
    // What is above the free blocks keeps malloc from giving them back by itself.
    let last = blocks.pop().unwrap();
    drop(blocks);
    let before = resident();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_device_trim(c"cpu".as_ptr()) });
    let after = resident();
    assert!(after + (128 << 20) < before, "{before} bytes in memory, then {after}");
    assert_eq!(last.len(), BLOCK);
}

#[test]
fn trimming_takes_names_of_devices_alone() {
    // SAFETY: as a host calls it; texts that are none are what is tested.
    unsafe {
        // Nothing here runs on CUDA.
        ok(cvx_device_trim(c"cuda".as_ptr()));
        for name in ["", "auto", "gpu", "cuda:-1"] {
            let words = [&format!("{name:?}"), "device must be \"cpu\""];
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, cvx_device_trim(c(name).as_ptr()));
        }
        fails(CVX_ERROR_INVALID_UTF8, &["device"], cvx_device_trim(NOT_UTF8.as_ptr()));
    }
}
