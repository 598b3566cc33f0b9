//! oneDNN, and when to do without it.
//!
//! oneDNN makes machine code for each shape while it runs. Three things follow:
//!
//! * Where it can't have the memory for that it fails in ways that last for the rest of the process
//!   (what it could not make stays in its caches, which libtorch does not let be emptied), computes
//!   with other kernels, or jumps to where there is no code. So memory is shown to be there before
//!   each call.
//! * It writes to small objects that it could not have. So some of the heap is held during each
//!   call, for allocations that fail then (`Spare`).
//! * A host may forbid memory that was written to to be executed (`PR_SET_MDWE`, SELinux, seccomp).
//!   Then it can't be used at all.
//! * Once it has failed it is not asked again in this process.
//!
//! What is computed without it is right to the same tolerances, in other last bits, and slower.

use super::MatmulPrecision;
use crate::runtime::failures;
use crate::runtime::shim::spare::Spare;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::LazyLock;
use tch::{Kind, Tensor};

/// Address space that is to be had before a call. Its code takes 256 or 512 KiB a kernel; what the
/// first run of a pipeline makes is 22 MiB in all, by some thirty calls.
const HEADROOM: usize = 16 << 20;

/// It has failed in this process, in whose caches the failure stays.
static FAILED: AtomicBool = AtomicBool::new(false);
/// Calls under way, which share what is shown to be there.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Whether oneDNN computes what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Usable,
    /// This process may not execute what it has written.
    Forbidden,
    Failed,
}

/// What it is in now.
pub fn state() -> State {
    if FAILED.load(Ordering::Relaxed) {
        return State::Failed;
    }
    match probe(PAGE) {
        Probe::Forbidden => State::Forbidden,
        Probe::There | Probe::Short => State::Usable,
    }
}

/// Whether its float32 products are faster than MKL's, which libtorch takes: on x86 processors of
/// other makers than Intel. There MKL keeps to AVX2, and on what it reaches oneDNN has 1.15 to 1.2
/// times as much with AVX2 and 2.3 times with AVX-512 (AMD EPYC of family 26, matrices of 512 to 3072
/// columns). On Intel's they are equal. It follows from the processor alone, so that the bytes do.
pub fn is_faster_than_mkl() -> bool {
    static FASTER: LazyLock<bool> =
        LazyLock::new(|| vendor().is_some_and(|name| name != *b"GenuineIntel"));
    *FASTER
}

/// The processor's maker as it tells it; none elsewhere than on x86.
#[cfg(target_arch = "x86_64")]
fn vendor() -> Option<[u8; 12]> {
    let answer = std::arch::x86_64::__cpuid(0);
    let mut name = [0; 12];
    let words = [answer.ebx, answer.edx, answer.ecx];
    for (part, word) in name.chunks_exact_mut(4).zip(words) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    Some(name)
}

#[cfg(not(target_arch = "x86_64"))]
fn vendor() -> Option<[u8; 12]> {
    None
}

struct Call;

impl Drop for Call {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What `function` computes with oneDNN, which may need `bytes` beside its code; `None` where it has
/// to be computed without.
///
/// Errors: [`Error::OutOfMemory`] where memory is short, before oneDNN is called.
pub fn call<T>(bytes: usize, function: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    if FAILED.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let _call = Call;
    let needed = HEADROOM.saturating_mul(calls).saturating_add(bytes);
    let short = || {
        Error::OutOfMemory(format!(
            "the host's memory is out: {needed} bytes of address space for oneDNN are not to be had"
        ))
    };
    match probe(needed) {
        Probe::There => {}
        Probe::Forbidden => return Ok(None),
        Probe::Short => return Err(short()),
    }
    let _spare = Spare::hold().ok_or_else(short)?;
    let result = function();
    if let Err(Error::OutOfMemory(message)) = &result {
        if failures::is_onednns(message) {
            FAILED.store(true, Ordering::Relaxed);
        }
    }
    result.map(Some)
}

/// What is in oneDNN's layout as torch keeps it, in memory of its own. Also where oneDNN has failed:
/// see [`practise`].
pub fn unpacked(packed: &Tensor) -> Result<Tensor> {
    let _spare = Spare::hold().ok_or_else(|| {
        Error::OutOfMemory("the host's memory is out: no room to unpack a weight".into())
    })?;
    Ok(packed.f_to_dense(None::<Kind>, false)?)
}

/// Unpacks a matrix or a kernel of `shape`, kept in such numbers, once in a process, while there is memory:
/// when oneDNN has failed, that is what the way without it begins with, and it is code of oneDNN's, too.
pub fn practise(
    shape: &[i64],
    numbers: MatmulPrecision,
    unpack: impl FnOnce() -> Result<Tensor>,
) -> Result<()> {
    static DONE: Mutex<BTreeSet<(MatmulPrecision, Vec<i64>)>> = Mutex::new(BTreeSet::new());
    let what = (numbers, shape.to_vec());
    if DONE.lock().contains(&what) {
        return Ok(());
    }
    drop(unpack()?);
    DONE.lock().insert(what);
    Ok(())
}

/// Bytes of tensors that a call reads and makes.
pub fn bytes(tensors: &[&Tensor]) -> usize {
    let sum: usize = tensors.iter().map(|tensor| tensor.numel()).sum();
    sum.saturating_mul(size_of::<f32>())
}

const PAGE: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Probe {
    There,
    Short,
    Forbidden,
}

/// Whether `bytes` can be mapped, and executed once they were written.
fn probe(bytes: usize) -> Probe {
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping that nobody else has, of which nothing is touched before it is gone.
    unsafe {
        let map = libc::mmap(std::ptr::null_mut(), bytes, writable, flags, -1, 0);
        if map == libc::MAP_FAILED {
            return Probe::Short;
        }
        let executable = libc::mprotect(map, PAGE, libc::PROT_READ | libc::PROT_EXEC) == 0;
        let error = std::io::Error::last_os_error();
        libc::munmap(map, bytes);
        if !executable {
            let short = error.raw_os_error() == Some(libc::ENOMEM);
            return if short { Probe::Short } else { Probe::Forbidden };
        }
    }
    Probe::There
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_told_before_anything_is_called() {
        assert_eq!(state(), State::Usable);
        assert_eq!(call(0, || Ok(7)), Ok(Some(7)));
        let short = call(1 << 60, || -> Result<()> { panic!("called") });
        assert!(matches!(short, Err(Error::OutOfMemory(_))), "{short:?}");
        // Calls of other tests end; one that was counted and not made would not.
        let ended = || CALLS.load(Ordering::Relaxed) == 0;
        assert!((0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            ended()
        }));
        // Another failure than of memory.
        let other = call(0, || -> Result<()> { Err(Error::Internal("no".into())) });
        assert!(other.is_err() && state() == State::Usable);
    }
}
