//! Which releases of libtorch's libraries, and of what comes with them, belong together.
//!
//! A CUDA backend is built for one release of libtorch: its classes have the virtual functions of
//! that release, in its order. No symbol says which that is, so it is read from the file that
//! every PyTorch and every libtorch has beside the folder of its libraries.

use std::fs::read_to_string;
use std::path::Path;

/// The cuDNN before which convolutions in bfloat16 are slow on Hopper and Blackwell: 9.15.1.
const FAST_CUDNN: i64 = 91_501;

/// How a CUDA library fits the libtorch that this library was built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// As far as is known.
    Fits,
    /// Another patch release; how that is to be told.
    OtherPatch(String),
    /// Another release, so that it must not be used; why.
    OtherRelease(String),
}

/// How the CUDA library at `path` fits libtorch `own`, such as "2.11.0".
pub fn fit(path: &Path, own: &str) -> Fit {
    let Some(found) = release_beside(path) else { return Fit::Fits };
    let told = || {
        format!(
            "CUDA library {} is of PyTorch {found}, and this library was built with {own}",
            path.display()
        )
    };
    match (numbers(&found), numbers(own)) {
        (Some(a), Some(b)) if a[..2] != b[..2] => Fit::OtherRelease(told()),
        (Some(a), Some(b)) if a != b => Fit::OtherPatch(told()),
        _ => Fit::Fits,
    }
}

/// The release that the library at `path` belongs to, as the folder above its own says it:
/// `build-version` of a libtorch, `version.py` of a PyTorch (torch/lib lies in torch).
fn release_beside(path: &Path) -> Option<String> {
    let root = path.parent()?.join("..");
    if let Ok(text) = read_to_string(root.join("build-version")) {
        return Some(text.trim().to_string()).filter(|text| !text.is_empty());
    }
    let text = read_to_string(root.join("version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
    let quote = |c| c == '\'' || c == '"';
    line.split(quote).nth(1).map(str::to_string)
}

/// The three numbers of "2.11.0" or "2.11.0+cu130".
fn numbers(release: &str) -> Option<[u32; 3]> {
    let mut parts = release.split(['.', '+']).map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    Some([next()?, next()?, next()?])
}

/// What is found where CUDA runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaVersions {
    /// As cudaRuntimeGetVersion tells it: 13000 for 13.0.
    pub runtime: i64,
    /// As cudnnGetVersion tells it: 91501 for 9.15.1; 0 without cuDNN.
    pub cudnn: i64,
}

/// What a host should know of them. `config` is libtorch's description of itself
/// (`at::show_config`), which names the CUDA that it was built for.
pub fn warnings(found: CudaVersions, config: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let runtime = format!("{}.{}", found.runtime / 1000, found.runtime % 1000 / 10);
    match setting(config, "CUDA_VERSION") {
        Some(expected) if expected != runtime => warnings.push(format!(
            "the CUDA library has CUDA {runtime}, and libtorch was built for {expected}: take both \
             from one PyTorch"
        )),
        _ => {}
    }
    if found.cudnn == 0 {
        warnings.push("the CUDA library has no cuDNN: convolutions are slow".into());
    } else if found.cudnn < FAST_CUDNN {
        warnings.push(format!(
            "cuDNN {}.{}.{} is loaded: convolutions in bfloat16 are slow before 9.15.1",
            found.cudnn / 10_000,
            found.cudnn / 100 % 100,
            found.cudnn % 100
        ));
    }
    warnings
}

/// A setting of "…, CUDA_VERSION=13.0, CUDNN_VERSION=9.19.0, …".
fn setting<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.split([',', ' ', '\n']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, write};

    #[test]
    fn a_library_is_known_by_the_file_above_its_folder() {
        let root = tempfile::tempdir().unwrap();
        create_dir(root.path().join("lib")).unwrap();
        let library = root.path().join("lib/libtorch_cuda.so");
        let beside = |file: &str, text: &str| {
            write(root.path().join(file), text).unwrap();
            fit(&library, "2.11.0")
        };
        assert_eq!(fit(&library, "2.11.0"), Fit::Fits);
        let python = "from typing import Optional\n__version__ = '2.10.1+cu128'\ndebug = False\n";
        let Fit::OtherRelease(told) = beside("version.py", python) else { panic!() };
        assert!(told.contains("2.10.1+cu128") && told.contains("2.11.0"), "{told}");
        assert!(told.contains("lib/libtorch_cuda.so"), "{told}");
        assert_eq!(beside("build-version", "2.11.0\n"), Fit::Fits);
        assert_eq!(beside("build-version", "2.11.0+cu130\n"), Fit::Fits);
        assert!(matches!(beside("build-version", "2.11.2+cu130"), Fit::OtherPatch(_)));
        assert!(matches!(beside("build-version", "3.11.0"), Fit::OtherRelease(_)));
        // Not a release that we can read: nothing is known.
        assert_eq!(beside("build-version", "nightly"), Fit::Fits);
    }

    #[test]
    fn a_cuda_of_another_libtorch_and_an_old_cudnn_are_told() {
        let config = "  - Build settings: BLAS_INFO=mkl, CUDA_VERSION=13.0, CUDNN_VERSION=9.19.0, ";
        let warn = |runtime, cudnn| warnings(CudaVersions { runtime, cudnn }, config);
        assert_eq!(warn(13_000, 91_900), Vec::<String>::new());
        assert_eq!(warn(13_000, 91_501), Vec::<String>::new());
        let [cuda, cudnn] = &*warn(12_060, 91_002) else { panic!() };
        assert!(cuda.contains("CUDA 12.6,") && cuda.contains("for 13.0"), "{cuda}");
        assert!(cudnn.contains("cuDNN 9.10.2"), "{cudnn}");
        assert!(warn(13_000, 0)[0].contains("no cuDNN"));
        let without = CudaVersions { runtime: 12_060, cudnn: 91_900 };
        assert_eq!(warnings(without, "no CUDA in here"), Vec::<String>::new());
    }
}
