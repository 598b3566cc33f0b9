//! Tensors for other libraries, as DLPack has them.

use super::call;
use crate::{Error, Result};
use std::any::Any;
use std::ffi::c_void;
use std::ptr::NonNull;
use tch::Tensor;

/// `DLManagedTensor` of dlpack.h. Only its address is known here.
#[repr(C)]
pub struct DLManagedTensor {
    _opaque: [u8; 0],
}

mod ffi {
    use super::{c_void, DLManagedTensor};
    use std::ffi::c_char;
    use torch_sys::C_tensor;

    extern "C" {
        pub fn cvx_shim_dlpack(
            tensor: *const C_tensor,
            out: *mut *mut DLManagedTensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_dlpack_bytes(
            data: *const u8,
            shape: *const i64,
            rank: usize,
            owner: *mut c_void,
            release: unsafe extern "C" fn(*mut c_void),
            out: *mut *mut DLManagedTensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_dlpack_free(tensor: *mut DLManagedTensor);
    }
}

/// A tensor on its way to another library, freed if it never gets there.
pub struct Exported(NonNull<DLManagedTensor>);

impl Exported {
    /// `tensor`'s memory, shared: what either changes, the other sees.
    pub fn tensor(tensor: &Tensor) -> Result<Exported> {
        let mut out = std::ptr::null_mut();
        // SAFETY: `tensor` is alive during the call, and the out-parameters are valid for
        // writing. What is exported holds a reference of its own.
        call(|message| unsafe { ffi::cvx_shim_dlpack(tensor.as_ptr(), &mut out, message) })?;
        Exported::new(out)
    }

    /// Bytes in host memory, shared; `owner` keeps them alive and is dropped with the last use
    /// of the tensor, on whatever thread that is.
    pub fn bytes<O>(owner: O, bytes: fn(&O) -> &[u8], shape: [usize; 4]) -> Result<Exported>
    where
        O: Send + Sync + 'static,
    {
        let owner = Box::new(owner);
        // Behind a box of its own, so that moving the owner below does not move it.
        let (data, length) = {
            let bytes = bytes(&owner);
            (bytes.as_ptr(), bytes.len())
        };
        let count = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if count != Some(length) {
            return Err(Error::Internal(format!("{length} bytes for frames of {shape:?}")));
        }
        // None of the sides is larger than their product, which is the size of memory.
        let shape = shape.map(|side| side as i64);
        let owner: Box<Box<dyn Any + Send + Sync>> = Box::new(owner);
        let owner = Box::into_raw(owner).cast::<c_void>();
        let mut out = std::ptr::null_mut();
        // SAFETY: `data` is as long as `shape` says and lives until `release` is called with
        // `owner`, which happens once, also when the call fails.
        call(|message| unsafe {
            let (shape, rank) = (shape.as_ptr(), shape.len());
            ffi::cvx_shim_dlpack_bytes(data, shape, rank, owner, release, &mut out, message)
        })?;
        Exported::new(out)
    }

    fn new(tensor: *mut DLManagedTensor) -> Result<Exported> {
        NonNull::new(tensor)
            .map(Exported)
            .ok_or_else(|| Error::Internal("DLPack made no tensor".into()))
    }

    /// Hands it out: whoever gets it calls its deleter.
    pub fn into_raw(self) -> *mut DLManagedTensor {
        let tensor = self.0.as_ptr();
        #[expect(clippy::mem_forget, reason = "the deleter frees it")]
        std::mem::forget(self);
        tensor
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        // SAFETY: the tensor was exported here and handed to nobody.
        unsafe { ffi::cvx_shim_dlpack_free(self.0.as_ptr()) };
    }
}

unsafe extern "C" fn release(owner: *mut c_void) {
    // SAFETY: the pointer that `Exported::bytes` made, once.
    let owner = unsafe { Box::from_raw(owner.cast::<Box<dyn Any + Send + Sync>>()) };
    // Memory that is given back does not panic; and a panic must not reach C++.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(owner)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    struct Owner(Vec<u8>, Arc<AtomicU32>);

    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_owner_of_bytes_is_dropped_once_with_the_tensor_or_with_the_failure() {
        let dropped = Arc::new(AtomicU32::new(0));
        let export = |shape| {
            Exported::bytes(Owner(vec![1; 24], Arc::clone(&dropped)), |owner| &owner.0, shape)
        };
        let times = || dropped.load(Ordering::SeqCst);
        let exported = export([2, 2, 2, 3]).unwrap();
        assert_eq!(times(), 0);
        drop(exported);
        assert_eq!(times(), 1);
        assert!(export([2, 2, 2, 4]).is_err());
        assert_eq!(times(), 2);
        assert!(export([usize::MAX, 2, 2, 4]).is_err());
        assert_eq!(times(), 3);
    }

    #[test]
    fn what_is_exported_outlives_the_tensor() {
        let tensor = Tensor::from_slice(&[1.0f32, 2.0]);
        let exported = Exported::tensor(&tensor).unwrap();
        drop(tensor);
        drop(exported);
    }
}
