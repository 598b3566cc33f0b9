//! Compiles the C++ shim, links against the libtorch that torch-sys was built with and finds
//! it again at run time.

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    let libtorch = Libtorch::find()?;
    compile_shim(&libtorch);
    // Static archives (libtorch wrappers, codecs, bzip2) must not leak symbols into the host.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.lib.display());
    Ok(())
}

struct Libtorch {
    lib: PathBuf,
    include: PathBuf,
}

impl Libtorch {
    /// The libtorch of torch-sys, which says where its libraries are.
    fn find() -> anyhow::Result<Libtorch> {
        println!("cargo:rerun-if-env-changed=LIBTORCH");
        println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
        let lib = match (std::env::var_os("DEP_TCH_LIBTORCH_LIB"), std::env::var_os("LIBTORCH")) {
            (Some(lib), _) => PathBuf::from(lib),
            (None, Some(root)) => Path::new(&root).join("lib"),
            (None, None) => anyhow::bail!("LIBTORCH is not set: run `make libtorch` first"),
        };
        let root = match std::env::var_os("LIBTORCH_INCLUDE") {
            Some(root) => PathBuf::from(root),
            None => lib.join(".."),
        };
        let include = root.join("include");
        anyhow::ensure!(
            include.join("ATen/ATen.h").exists(),
            "{} has no ATen/ATen.h: LIBTORCH must be a libtorch 2.11 folder with its headers",
            include.display()
        );
        Ok(Libtorch { lib, include })
    }
}

fn compile_shim(libtorch: &Libtorch) {
    const FOLDER: &str = "src/runtime/shim";
    println!("cargo:rerun-if-changed={FOLDER}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .flag("-fvisibility=hidden")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        // -isystem: the warnings of libtorch's own headers are not ours to mend.
        .flag("-isystem")
        .flag(&libtorch.include)
        .warnings(true)
        .extra_warnings(true)
        .opt_level(2)
        .files(["generator.cpp", "device.cpp", "warnings.cpp"].map(|f| Path::new(FOLDER).join(f)))
        .compile("cvx_shim");
}
