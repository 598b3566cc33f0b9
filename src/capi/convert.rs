//! What comes over the boundary, checked and named: strings, arrays, and the places where
//! results are written. Handles are in `handle.rs`.

use super::error::{Failure, Result};
use super::handle::{self, Handle};
use crate::runtime::number::Short;
use std::ffi::{c_char, CStr};
use std::fmt::{Display, LowerExp};
use std::ops::{Bound, RangeBounds};
use std::ptr::NonNull;

/// A string that must be there.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that lives unchanged during `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char, parameter: &str) -> Result<&'a str> {
    // SAFETY: the caller's.
    unsafe { optional_text(text, parameter) }?.ok_or_else(|| Failure::null(parameter))
}

/// A string that may be NULL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(
    text: *const c_char,
    parameter: &str,
) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; the rest is the caller's.
    let text = unsafe { CStr::from_ptr(text) };
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(Failure::utf8(parameter, error.valid_up_to())),
    }
}

/// An array of `count` elements; NULL is an error unless `count` is 0.
///
/// # Safety
/// `data` is NULL or points to `count` elements that live unchanged during `'a`.
pub(super) unsafe fn slice<'a, T>(
    data: *const T,
    count: usize,
    parameter: &str,
) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check_array(data, count, parameter)?;
    // SAFETY: not NULL, aligned, of a size that fits; the rest is the caller's.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// An array of `count` elements that is written.
///
/// # Safety
/// `data` is NULL or points to `count` initialised or plain-number elements that nobody else
/// uses during `'a`.
pub(super) unsafe fn slice_mut<'a, T>(
    data: *mut T,
    count: usize,
    parameter: &str,
) -> Result<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    check_array(data, count, parameter)?;
    // SAFETY: not NULL, aligned, of a size that fits; the rest is the caller's.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, count) })
}

/// Writes as much of a struct as the host's, which may be shorter or longer, has room for: both begin
/// with `struct_size`, an u32, which says there how long it is, and afterwards how much was written.
///
/// # Safety
/// `T` begins with its `struct_size`; `place` is NULL, or points to a struct of which as many bytes
/// as its `struct_size` says may be written.
pub(super) unsafe fn write_struct<T>(info: &T, place: *mut T, parameter: &str) -> Result<()> {
    if place.is_null() {
        return Err(Failure::null(parameter));
    }
    // SAFETY: the caller's. The host's struct may be shorter than ours, so there is no reference to it.
    let room = unsafe { place.cast::<u32>().read_unaligned() };
    within(&format!("{parameter}->struct_size"), room, size_of::<u32>() as u32 + 1..)?;
    let size = room.min(size_of::<T>() as u32);
    // SAFETY: so many bytes of ours are read and, by the caller, may be written there.
    unsafe {
        std::ptr::copy_nonoverlapping(
            (&raw const *info).cast::<u8>(),
            place.cast::<u8>(),
            size as usize,
        );
        place.cast::<u32>().write_unaligned(size);
    }
    Ok(())
}

fn check_array<T>(data: *const T, count: usize, parameter: &str) -> Result<()> {
    if data.is_null() {
        return Err(Failure::null(parameter));
    }
    if !data.is_aligned() {
        return Err(Failure::invalid(format!(
            "{parameter} must be aligned to {} bytes",
            std::mem::align_of::<T>()
        )));
    }
    match count.checked_mul(std::mem::size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::invalid(format!("{parameter} cannot have {count} elements"))),
    }
}

/// An out-parameter: checked before the work, written after it, so that a failure leaves it
/// untouched.
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `place` is NULL or may be written to as long as the result lives.
    pub unsafe fn new(place: *mut T, parameter: &str) -> Result<Out<T>> {
        NonNull::new(place).map(Out).ok_or_else(|| Failure::null(parameter))
    }

    /// An out-parameter that the caller may leave out.
    ///
    /// # Safety
    /// As for [`Out::new`].
    pub unsafe fn optional(place: *mut T) -> Option<Out<T>> {
        NonNull::new(place).map(Out)
    }

    pub fn write(self, value: T) {
        // SAFETY: `new`'s caller vouched for the place. Plain numbers and pointers are
        // written, so nothing that was there needs to be dropped.
        unsafe { self.0.write(value) }
    }
}

impl<T: Handle> Out<*mut T> {
    /// Writes a new handle that the caller owns.
    pub fn hand_over(self, object: T) {
        self.write(handle::new(object));
    }
}

/// `value` if it lies in `range`; otherwise an error that names the parameter, the range and
/// the value. NaN lies in no range.
pub(super) fn within<T>(parameter: &str, value: T, range: impl RangeBounds<T>) -> Result<T>
where
    T: PartialOrd + Display + LowerExp,
{
    if range.contains(&value) {
        return Ok(value);
    }
    let low = match range.start_bound() {
        Bound::Included(low) => format!("[{}", Short(low)),
        Bound::Excluded(low) => format!("({}", Short(low)),
        Bound::Unbounded => "(-inf".into(),
    };
    let high = match range.end_bound() {
        Bound::Included(high) => format!("{}]", Short(high)),
        Bound::Excluded(high) => format!("{})", Short(high)),
        Bound::Unbounded => "inf)".into(),
    };
    Err(Failure::invalid(format!("{parameter} must lie in {low}, {high}, found {}", Short(value))))
}

/// A flag: 0 or 1, as nothing else is portable between bindings.
pub(super) fn flag(parameter: &str, value: i32) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::invalid(format!("{parameter} must be 0 or 1, found {other}"))),
    }
}
