//! Tensors in pages of their own (`mapped.cpp`).

use super::call;
use crate::{Error, Result};
use std::ffi::c_char;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

/// From so many bytes on: glibc's malloc maps what is as large by itself, until something larger is freed.
const LARGE: i64 = 1 << 20;

extern "C" {
    fn cvx_shim_mapped_bytes(
        bytes: i64,
        passing: i32,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_mapped_keep(keep: i32);
}

/// Until it is dropped, the pages of the largest [`passing_room`] are kept when it is freed, for the next.
pub struct KeptPages(());

impl KeptPages {
    pub fn keep() -> KeptPages {
        // SAFETY: without preconditions.
        unsafe { cvx_shim_mapped_keep(1) };
        KeptPages(())
    }
}

impl Drop for KeptPages {
    fn drop(&mut self) {
        // SAFETY: once for each time that they were to be kept.
        unsafe { cvx_shim_mapped_keep(0) };
    }
}

/// Room for `shape` on the CPU. What is large goes back to the system as it is freed: malloc would keep
/// it, in pieces between what was stored meanwhile, a fifth of a large model's weights.
pub fn room(shape: &[i64], kind: Kind) -> Result<Tensor> {
    made(shape, kind, false)
}

/// The same for numbers that are soon stored otherwise: what is kept of one serves the next
/// ([`KeptPages`]), so that it is neither mapped nor cleared anew.
pub fn passing_room(shape: &[i64], kind: Kind) -> Result<Tensor> {
    made(shape, kind, true)
}

fn made(shape: &[i64], kind: Kind, passing: bool) -> Result<Tensor> {
    let size = kind.elt_size_in_bytes() as i64;
    let bytes = shape.iter().try_fold(size, |product, &side| product.checked_mul(side));
    let Some(bytes) = bytes.filter(|&bytes| bytes >= LARGE) else {
        return Ok(Tensor::f_empty(shape, (kind, Device::Cpu))?);
    };
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { cvx_shim_mapped_bytes(bytes, passing.into(), &mut out, message) })?;
    if out.is_null() {
        return Err(Error::Internal("mapped bytes: no tensor".into()));
    }
    // SAFETY: a heap-allocated at::Tensor that nobody else holds.
    let bytes = unsafe { Tensor::from_ptr(out) };
    Ok(bytes.f_view_dtype(kind)?.f_view(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_rooms_are_as_asked_for_and_what_cannot_be_had_is_told() {
        for (shape, kind) in [
            (vec![3, 5], Kind::Float),
            (vec![1024, 3, 700], Kind::Half),
            (vec![1 << 21], Kind::Uint8),
            (vec![512, 1024], Kind::Double),
        ] {
            let mut made = room(&shape, kind).unwrap();
            assert!(made.size() == shape && made.kind() == kind && made.is_contiguous());
            // malloc puts a word before what it gives.
            let large = made.numel() * kind.elt_size_in_bytes() >= LARGE as usize;
            assert!(!large || (made.data_ptr() as usize).is_multiple_of(4096), "{shape:?}");
            let _ = made.fill_(1);
            let copy = made.shallow_clone();
            drop(made);
            assert_eq!(copy.sum(Kind::Double).double_value(&[]), copy.numel() as f64);
        }
        let short = room(&[1 << 50], Kind::Float);
        assert!(matches!(short, Err(Error::OutOfMemory(_))), "{short:?}");
    }

    #[test]
    fn pages_of_what_passes_serve_the_next_that_is_not_larger() {
        let (large, small) = (room_of(5), room_of(4));
        // Other tests read weights, too, and may come between.
        let served = || {
            let _keep = KeptPages::keep();
            let first = large().unwrap();
            let place = first.data_ptr();
            let beside = small().unwrap();
            assert!(beside.data_ptr() != place);
            drop(first);
            let next = small().unwrap();
            next.data_ptr() == place && next.size() == small().unwrap().size()
        };
        assert!((0..100).any(|_| served()));
        let _keep = KeptPages::keep();
        let stays = room(&[1 << 20], Kind::Float).unwrap();
        let place = stays.data_ptr();
        drop(stays);
        assert_eq!(small().unwrap().numel(), 4 << 18);
        assert!(!place.is_null());
    }

    fn room_of(mebibytes: i64) -> impl Fn() -> Result<Tensor> {
        move || passing_room(&[mebibytes << 18], Kind::Float)
    }
}
