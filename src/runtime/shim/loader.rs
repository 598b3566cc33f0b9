//! Loading shared libraries at run time.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The folder that libtorch_cpu.so was loaded from.
pub fn libtorch_folder() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about, and `info` is valid for writing.
    let found = unsafe { libc::dladdr(super::libtorch_address(), info.as_mut_ptr()) };
    // SAFETY: all-zero bytes, which it was made of, are a valid `Dl_info`.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: on success `dli_fname` is a NUL-terminated string of the dynamic linker, which
    // keeps it as long as libtorch_cpu.so is loaded, and that is never unloaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Path::new(OsStr::from_bytes(name.to_bytes())).parent().map(Path::to_path_buf)
}

/// The folders of LD_LIBRARY_PATH, in their order.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

/// Loads `library` for good, with what it needs, out of sight of the host: cuBLAS, cuDNN and NCCL
/// come with CUDA's, and a host may have others of its own. A name without a slash is looked for where the dynamic linker looks.
/// Returns the linker's message, one line.
pub fn load_for_good(library: &Path) -> Result<(), String> {
    open(library).map(std::mem::forget) // for good
}

/// As [`load_for_good`], unless what is returned is dropped.
pub(super) fn open(library: &Path) -> Result<Library, String> {
    // SAFETY: the callers ask for libraries of libtorch and of NVIDIA's driver, whose initialisers
    // touch nothing of ours.
    match unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) } {
        Ok(library) => Ok(library),
        Err(libloading::Error::DlOpen { source, .. }) => Err(one_line(&source.to_string())),
        Err(other) => Err(one_line(&other.to_string())),
    }
}

/// A library that the process has loaded already; `None` for another one.
pub(super) fn opened(library: &Path) -> Option<Library> {
    // SAFETY: nothing is loaded, so no initialiser runs.
    unsafe { Library::open(Some(library), RTLD_NOW | libc::RTLD_NOLOAD) }.ok()
}

/// Gives back to the system what `malloc` keeps of freed memory, where it is glibc's.
pub fn trim_malloc() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
