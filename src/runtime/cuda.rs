//! CUDA, loaded at run time: one build of this library serves hosts with and without it.
//!
//! libtorch's CUDA backend is a library of its own, libtorch_cuda.so, that registers itself
//! when it is loaded. libtorch asks the registry once, at the first CUDA query of the process,
//! and remembers the answer; so the library is loaded before that query, once, and only when
//! a host asks for a CUDA device (or leaves the choice to us).

use super::shim::{self, loader, CudaDevices, WarningScope};
use super::versions::{self, Fit};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What [`device_count`] returns, once it was asked.
static COUNT: OnceLock<Result<usize>> = OnceLock::new();
/// Held by the thread that finds it out.
static LOADING: Mutex<()> = Mutex::new(());
/// What [`device_count`] found besides.
static WARNINGS: OnceLock<Vec<String>> = OnceLock::new();

/// What a host should know of the CUDA that was loaded: libraries that do not belong together, or
/// are slow. Nothing where none was.
pub fn warnings() -> &'static [String] {
    WARNINGS.get().map_or(&[], Vec::as_slice)
}

/// How many CUDA devices can be used, if this process has loaded the backend; loads nothing.
pub fn known_device_count() -> Option<usize> {
    COUNT.get().and_then(|count| count.as_ref().ok().copied())
}

/// Loads the CUDA backend if this process has not tried yet, and returns how many CUDA devices
/// can be used, at least 1. May be called from many threads; the first does the work.
///
/// Errors: [`Error::DeviceUnavailable`], different for a library that is not there, one that
/// can't be loaded (its own dependencies, for one), one of another release than libtorch, a libtorch
/// that was asked too early, and a machine without a driver or GPU. That answer is final for the
/// process. [`Error::OutOfMemory`] where there is no room for the library now: the next call tries again.
pub fn device_count() -> Result<usize> {
    kept(&COUNT, &LOADING, || {
        let mut notes = Backend::of_libtorch().load(shim::torch_version())?;
        // What libtorch finds wrong with the driver it only says in a warning.
        let mut warnings = WarningScope::begin()?;
        let devices = shim::cuda_devices()?;
        let count = usable(devices, &warnings.take()?)?;
        // What libtorch does not tell is not warned of.
        if let (Ok(found), Ok(config)) = (shim::cuda_versions(), shim::torch_config()) {
            notes.extend(versions::warnings(found, &config));
        }
        let _ = WARNINGS.set(notes);
        Ok(count)
    })
}

/// What `place` keeps; else what `find` returns, kept unless memory was short. One thread at a time finds.
fn kept(
    place: &OnceLock<Result<usize>>,
    one: &Mutex<()>,
    find: impl FnOnce() -> Result<usize>,
) -> Result<usize> {
    if let Some(count) = place.get() {
        return count.clone();
    }
    let _one = one.lock();
    if let Some(count) = place.get() {
        return count.clone();
    }
    match find() {
        Err(Error::OutOfMemory(reason)) => Err(Error::OutOfMemory(reason)),
        found => place.get_or_init(|| found).clone(),
    }
}

/// Whether the dynamic linker says that it had no memory: the system's text for ENOMEM at its end, or what
/// it says of a file that could not be mapped.
fn lacks_memory(reason: &str) -> bool {
    let enomem = std::io::Error::from_raw_os_error(libc::ENOMEM).to_string();
    let enomem = enomem.split(" (os error").next().unwrap_or_default();
    (!enomem.is_empty() && reason.ends_with(enomem))
        || reason.contains("failed to map segment from shared object")
}

fn usable(devices: CudaDevices, warnings: &[String]) -> Result<usize> {
    match devices {
        CudaDevices { has_backend: false, .. } => Err(Error::DeviceUnavailable(
            "CUDA was asked about in this process before its library was loaded, and libtorch \
             keeps that answer: load the CUDA pipeline before anything else asks for CUDA"
                .into(),
        )),
        CudaDevices { count: 0, .. } => Err(Error::DeviceUnavailable(match warnings.first() {
            Some(reason) => format!("no CUDA device can be used: {reason}"),
            None => {
                "no CUDA device can be used: this machine has no NVIDIA driver or no GPU".into()
            }
        })),
        CudaDevices { count, .. } => Ok(count),
    }
}

/// The library that holds the CUDA backend, and where it may lie.
struct Backend {
    name: &'static str,
    /// Searched in this order, before the dynamic linker's own places.
    folders: Vec<PathBuf>,
}

impl Backend {
    /// A CUDA backend only fits the libtorch it was built with, so the folder that libtorch
    /// itself was loaded from comes first. LD_LIBRARY_PATH comes next, as for the linker itself:
    /// what a library there belongs to must be known before it is loaded.
    fn of_libtorch() -> Backend {
        Backend {
            name: "libtorch_cuda.so",
            folders: loader::libtorch_folder().into_iter().chain(loader::search_path()).collect(),
        }
    }

    /// Loads it into a process that has libtorch `own`. Returns what a host should know of it.
    fn load(&self, own: &str) -> Result<Vec<String>> {
        let found = self.folders.iter().map(|f| f.join(self.name)).find(|path| path.exists());
        let library = found.clone().unwrap_or_else(|| PathBuf::from(self.name));
        let warnings = match versions::fit(&library, own) {
            Fit::Fits => Vec::new(),
            Fit::OtherPatch(told) => vec![told],
            Fit::OtherRelease(told) => {
                return Err(Error::DeviceUnavailable(format!(
                    "{told}: they do not work together, take the CUDA library of that release"
                )))
            }
        };
        loader::load_for_good(&library).map_err(|reason| {
            if lacks_memory(&reason) {
                return Error::OutOfMemory(format!(
                    "CUDA library {} can't be loaded: {reason}",
                    library.display()
                ));
            }
            // The linker says "NAME: cannot open shared object file" of the one it can't find,
            // which may be one that ours needs.
            let itself_missing = found.is_none() && reason.starts_with(self.name);
            Error::DeviceUnavailable(if itself_missing {
                let folders: Vec<_> =
                    self.folders.iter().map(|f| f.display().to_string()).collect();
                format!(
                    "CUDA library {} not found: looked in {} and the dynamic linker's path; \
                     PyTorch 2.11 for CUDA has it in torch/lib",
                    self.name,
                    folders.join(", ")
                )
            } else {
                format!("CUDA library {} can't be loaded: {reason}", library.display())
            })
        })?;
        Ok(warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// No library of this name is anywhere, so that no test loads a real backend.
    const NAME: &str = "libtorch_cuda_of_a_test.so";

    fn load_from(folder: &Path) -> String {
        let backend = Backend { name: NAME, folders: vec![folder.into()] };
        match backend.load("2.11.0") {
            Err(Error::DeviceUnavailable(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_kept_unless_memory_was_short() {
        let (place, one) = (OnceLock::new(), Mutex::new(()));
        let short = || Err(Error::OutOfMemory("none".into()));
        assert!(matches!(kept(&place, &one, short), Err(Error::OutOfMemory(_))));
        assert_eq!(kept(&place, &one, || Ok(2)).unwrap(), 2);
        assert_eq!(kept(&place, &one, || Ok(3)).unwrap(), 2);
        let (place, none) = (OnceLock::new(), || Err(Error::DeviceUnavailable("no GPU".into())));
        assert!(kept(&place, &one, none).is_err());
        assert!(kept(&place, &one, || Ok(1)).is_err());
    }

    #[test]
    fn the_linkers_texts_of_a_shortage_are_known() {
        for short in [
            "libx.so: failed to map segment from shared object",
            "libx.so: cannot map zero-fill pages: Cannot allocate memory",
        ] {
            assert!(lacks_memory(short), "{short}");
        }
        assert!(!lacks_memory(
            "libx.so: cannot open shared object file: No such file or directory"
        ));
        assert!(!lacks_memory("libx.so: cannot allocate memory in static TLS block"));
    }

    #[test]
    fn libtorch_says_where_it_was_loaded_from() {
        let folder = loader::libtorch_folder().unwrap();
        assert!(folder.join("libtorch_cpu.so").exists(), "{}", folder.display());
    }

    #[test]
    fn a_missing_library_says_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let message = load_from(folder.path());
        assert!(message.contains("not found: looked in"), "{message}");
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
    }

    #[test]
    fn a_damaged_library_is_told_from_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "no shared object at all\n".repeat(10)).unwrap();
        let message = load_from(folder.path());
        assert!(message.contains("can't be loaded"), "{message}");
        assert!(message.contains("invalid ELF header"), "{message}");
    }

    #[test]
    fn a_missing_dependency_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("empty.c");
        std::fs::write(&source, "int cvx_test;\n").unwrap();
        let library = |name: &str, needs: &[&str]| {
            let path = folder.path().join(name);
            let status = Command::new("cc")
                .args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"])
                .args([&path, &source])
                .arg(format!("-L{}", folder.path().display()))
                .args(needs)
                .arg(format!("-Wl,-soname,{name}"))
                .status();
            assert!(status.unwrap().success());
            path
        };
        let dependency = library("libcvx_test_dependency.so", &[]);
        library(NAME, &["-lcvx_test_dependency"]);
        std::fs::remove_file(dependency).unwrap();
        let message = load_from(folder.path());
        assert!(message.contains("can't be loaded"), "{message}");
        assert!(message.contains("libcvx_test_dependency.so"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn what_libtorch_answers_becomes_an_error_of_its_own() {
        let devices = |has_backend, count| CudaDevices { has_backend, count };
        let message = |found: Result<usize>| match found {
            Err(Error::DeviceUnavailable(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(usable(devices(true, 2), &[]), Ok(2));
        assert!(message(usable(devices(false, 0), &[])).contains("before its library"));
        assert!(message(usable(devices(true, 0), &[])).contains("no GPU"));
        let reason = ["Found no NVIDIA driver".to_string()];
        assert!(message(usable(devices(true, 0), &reason)).contains("Found no NVIDIA driver"));
    }
}
