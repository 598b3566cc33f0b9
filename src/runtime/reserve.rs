//! What happens when an allocation of Rust's own fails.
//!
//! A failed allocation of a `Vec`, a `Box` or a `String` ends the process: Rust has no other way
//! out of it. So the allocator has a reserve, static memory that is used only then. The thread that
//! took from it is told so at its next [`check`], and its work ends with [`Error::OutOfMemory`]
//! while there still is something to make the error of. What has a size that comes from a file or
//! from an option is asked for with `try_reserve` instead, and is too large for the reserve.

use crate::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Rust's own allocator, and behind it the reserve.
struct Allocator;

/// The whole of the reserve. Memory that is never touched is address space and nothing else.
/// (Miri interprets every access: less is enough to prove the same.)
const BYTES: usize = if cfg!(miri) { 128 << 10 } else { 4 << 20 };
/// What the reserve is divided into; allocations are aligned to it.
const UNIT: usize = 256;
/// The largest allocation that it serves.
const LARGEST: usize = BYTES / 4;
const UNITS: usize = BYTES / UNIT;
const WORD: usize = u64::BITS as usize;

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; BYTES]>);

// SAFETY: nobody but the owner of an allocation touches its bytes, and `USED` sees to it that each
// byte has one owner.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; BYTES]));
/// One bit for each unit that is in use. A lock that does not allocate.
static USED: Mutex<[u64; UNITS / WORD]> = Mutex::new([0; UNITS / WORD]);

thread_local! {
    // Without a destructor, so that reading it allocates nothing.
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Work begins on this thread: what was short before does not matter to it.
pub fn begin() {
    let _ = SHORT.try_with(|short| short.set(false));
}

/// [`Error::OutOfMemory`] if this thread had to take from the reserve since [`begin`].
pub fn check() -> Result<()> {
    if SHORT.try_with(Cell::get).unwrap_or(false) {
        return Err(Error::OutOfMemory(
            "the host's memory is out: an allocation had to come from the library's reserve".into(),
        ));
    }
    Ok(())
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
}

/// The first of `count` units in a row that are free.
fn find(used: &[u64], count: usize) -> Option<usize> {
    let mut run = 0;
    for (index, word) in used.iter().enumerate() {
        if *word == u64::MAX {
            run = 0;
            continue;
        }
        for bit in 0..WORD {
            run = if word >> bit & 1 == 0 { run + 1 } else { 0 };
            if run == count {
                return Some(index * WORD + bit + 1 - count);
            }
        }
    }
    None
}

fn mark(used: &mut [u64], first: usize, count: usize, in_use: bool) {
    for unit in first..first + count {
        if let Some(word) = used.get_mut(unit / WORD) {
            let bit = 1u64 << (unit % WORD);
            *word = if in_use { *word | bit } else { *word & !bit };
        }
    }
}

/// Memory of the reserve; null where it does not suffice.
fn take(layout: Layout) -> *mut u8 {
    if layout.size() > LARGEST || layout.align() > UNIT {
        return std::ptr::null_mut();
    }
    let _ = SHORT.try_with(|short| short.set(true));
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let count = units(layout.size());
    let Some(first) = find(&*used, count) else { return std::ptr::null_mut() };
    mark(&mut *used, first, count, true);
    // SAFETY: the units lie inside the memory.
    unsafe { MEMORY.0.get().cast::<u8>().add(first * UNIT) }
}

/// The unit that `pointer` is of, if it is the reserve's.
fn unit_of(pointer: *mut u8) -> Option<usize> {
    let offset = pointer.addr().wrapping_sub(MEMORY.0.get().addr());
    (offset < BYTES).then_some(offset / UNIT)
}

fn give_back(first: usize, layout: Layout) {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    mark(&mut *used, first, units(layout.size()), false);
}

// SAFETY: memory is the system's, or of the reserve, where it is marked as in use until it is
// given back; nothing here unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            return memory;
        }
        let memory = take(layout);
        if !memory.is_null() {
            return memory;
        }
        // Other threads may have given something back.
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            return memory;
        }
        // SAFETY: as above; what was returned has room for the layout.
        unsafe {
            let memory = self.alloc(layout);
            if !memory.is_null() {
                memory.write_bytes(0, layout.size());
            }
            memory
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match unit_of(memory) {
            Some(first) => give_back(first, layout),
            // SAFETY: it came from the system with this layout.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if unit_of(memory).is_none() {
            // SAFETY: it came from the system with this layout.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller sees to it that `size` makes a layout; both places have room for the
        // smaller of the sizes, and do not overlap.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests of this module share the reserve.
    static ALONE: Mutex<()> = Mutex::new(());

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn free_units() -> usize {
        USED.lock().unwrap().iter().map(|word| word.count_zeros() as usize).sum()
    }

    #[test]
    fn the_reserve_gives_each_byte_once_and_takes_it_back() {
        let _alone = ALONE.lock();
        let before = free_units();
        let sizes = [1, 255, 256, 257, 5000, 20_000, LARGEST];
        let taken: Vec<_> = sizes.iter().map(|&size| (take(layout(size)), size)).collect();
        for (index, &(memory, size)) in taken.iter().enumerate() {
            assert!(!memory.is_null() && unit_of(memory).is_some());
            // SAFETY: it has room for `size` bytes.
            unsafe { memory.write_bytes(index as u8, size) };
        }
        for (index, &(memory, size)) in taken.iter().enumerate() {
            // SAFETY: written above.
            let bytes = unsafe { std::slice::from_raw_parts(memory, size) };
            assert!(bytes.iter().all(|byte| *byte == index as u8));
        }
        for (memory, size) in taken {
            // SAFETY: taken above, given back once.
            unsafe { Allocator.dealloc(memory, layout(size)) };
        }
        assert_eq!(free_units(), before);
    }

    #[test]
    fn what_is_too_large_or_too_much_is_refused() {
        let _alone = ALONE.lock();
        assert!(take(layout(LARGEST + 1)).is_null());
        let whole: Vec<_> = std::iter::repeat_with(|| take(layout(LARGEST)))
            .take_while(|memory| !memory.is_null())
            .collect();
        assert_eq!(whole.len(), BYTES / LARGEST);
        assert!(take(layout(LARGEST)).is_null());
        for memory in whole {
            // SAFETY: taken above, given back once.
            unsafe { Allocator.dealloc(memory, layout(LARGEST)) };
        }
    }

    #[test]
    fn whoever_took_from_it_is_told_until_other_work_begins() {
        let _alone = ALONE.lock();
        begin();
        assert_eq!(check(), Ok(()));
        let memory = take(layout(10));
        assert!(matches!(check(), Err(Error::OutOfMemory(_))));
        std::thread::spawn(|| assert_eq!(check(), Ok(()))).join().unwrap();
        begin();
        assert_eq!(check(), Ok(()));
        // SAFETY: taken above; both layouts have the alignment that it was taken with.
        unsafe {
            memory.write_bytes(7, 10);
            let moved = Allocator.realloc(memory, layout(10), 1000);
            // Back to the system, which has memory.
            assert_eq!(unit_of(moved), None);
            assert_eq!(std::slice::from_raw_parts(moved, 10), [7; 10]);
            Allocator.dealloc(moved, layout(1000));
        }
    }
}
