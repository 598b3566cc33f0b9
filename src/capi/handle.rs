//! What a handle points to: an object with a word before it that says what it is and that it is
//! alive. A handle that was freed, or is of another type, or a pointer to something else, is
//! told apart in most cases, and refused instead of followed.

use super::error::{Failure, Result};

/// A type that hosts hold by pointer.
pub(super) trait Handle {
    /// Its name in the header.
    const NAME: &'static str;
    /// What is written before a live one; no two types have the same.
    const WORD: u64;
}

/// What is written before an object that was freed.
pub(super) const DEAD: u64 = u64::from_le_bytes(*b"\xf1cvxXXX\x9c");

#[repr(C)]
struct Live<T> {
    word: u64,
    object: T,
}

/// A new handle, which the host owns.
pub(super) fn new<T: Handle>(object: T) -> *mut T {
    Box::into_raw(Box::new(Live { word: T::WORD, object })).cast()
}

/// The object of a handle; `None` for NULL and for what is no live handle of this type.
///
/// # Safety
/// `handle` is NULL, a handle of this type that nobody changes during `'a`, or, as far as such
/// mistakes can be told, a pointer to readable memory.
pub(super) unsafe fn peek<'a, T: Handle>(handle: *const T) -> Option<&'a T> {
    let live = handle.cast::<Live<T>>();
    if live.is_null() || !live.is_aligned() {
        return None;
    }
    // SAFETY: not NULL, aligned; readable by the caller. Volatile: what a freed handle points to
    // may be anything.
    if unsafe { (&raw const (*live).word).read_volatile() } != T::WORD {
        return None;
    }
    // SAFETY: the word says that it is alive; the rest is the caller's.
    Some(unsafe { &(*live).object })
}

/// A handle that is only read.
///
/// # Safety
/// As for [`peek`].
pub(super) unsafe fn borrow<'a, T: Handle>(handle: *const T, parameter: &str) -> Result<&'a T> {
    // SAFETY: the caller's.
    unsafe { peek(handle) }.ok_or_else(|| refused::<T>(handle, parameter))
}

/// A handle that is only read, or NULL.
///
/// # Safety
/// As for [`peek`].
pub(super) unsafe fn optional<'a, T: Handle>(
    handle: *const T,
    parameter: &str,
) -> Result<Option<&'a T>> {
    if handle.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's.
    unsafe { borrow(handle, parameter) }.map(Some)
}

/// A handle that is changed.
///
/// # Safety
/// As for [`peek`], and nobody else uses it during `'a`.
pub(super) unsafe fn borrow_mut<'a, T: Handle>(
    handle: *mut T,
    parameter: &str,
) -> Result<&'a mut T> {
    // SAFETY: the caller's.
    unsafe { borrow(handle.cast_const(), parameter)? };
    // SAFETY: it is alive, and nobody else uses it.
    Ok(unsafe { &mut (*handle.cast::<Live<T>>()).object })
}

/// Drops what a handle points to. Does nothing for NULL, and for a handle that was freed before
/// as far as that can be told.
///
/// # Safety
/// As for [`borrow_mut`]; the handle is not used again.
pub(super) unsafe fn free<T: Handle>(handle: *mut T) {
    // SAFETY: the caller's.
    drop(unsafe { take(handle) });
}

/// Takes the object out of a handle that the library lent to the host, and ends the handle.
///
/// # Safety
/// As for [`borrow_mut`]; the handle is not used again.
pub(super) unsafe fn take<T: Handle>(handle: *mut T) -> Option<T> {
    // SAFETY: the caller's.
    unsafe { peek(handle.cast_const()) }?;
    let live = handle.cast::<Live<T>>();
    // SAFETY: alive, so made by `new`; nobody else uses it. Volatile, as the write is for a
    // mistaken reader of freed memory.
    let object = unsafe {
        (&raw mut (*live).word).write_volatile(DEAD);
        Box::from_raw(live)
    };
    Some(object.object)
}

fn refused<T: Handle>(handle: *const T, parameter: &str) -> Failure {
    if handle.is_null() {
        return Failure::null(parameter);
    }
    Failure::invalid(format!(
        "{parameter} must be a live {}, found one that was freed, or something else",
        T::NAME
    ))
}
