//! Compiles the C++ shim, links against the libtorch that torch-sys was built with and finds
//! it again at run time.

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    let libtorch = Libtorch::find()?;
    compile_shim(&libtorch);
    link_openmp(&libtorch)?;
    // Static archives (libtorch wrappers, codecs, bzip2) must not leak symbols into the host.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.lib.display());
    // spare.cpp stands before malloc in all that is linked into the library, OpenH264 above all.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--wrap=malloc");
    println!("cargo:rustc-link-arg-tests=-Wl,--wrap=malloc");
    // Its threads and its stand-ins in libtorch's table of functions outlive a host's dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
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

/// What this library needs of libtorch and tch does not bind; the kernels.
const SHIM: &str = "src/runtime/shim";
const KERNELS: &str = "src/backend/kernels";
/// Mistakes that sanitizers must find: tests/sanitize/planted.cpp.
const PLANTED: &str = "tests/sanitize";

/// Names the sanitizers to build the C++ with, as `-fsanitize` takes them. Their runtimes are the
/// program's to bring: `make sanitize`.
const SANITIZE: &str = "CVX_SANITIZE";

fn sanitizers() -> Option<String> {
    std::env::var(SANITIZE).ok().filter(|kinds| !kinds.is_empty())
}

fn compile_shim(libtorch: &Libtorch) {
    println!("cargo:rerun-if-changed={SHIM}");
    println!("cargo:rerun-if-changed={KERNELS}");
    println!("cargo:rerun-if-env-changed={SANITIZE}");
    if sanitizers().is_some() {
        println!("cargo:rerun-if-changed={PLANTED}");
        // Nothing refers to it, so the linker must be told to keep it.
        compiler(libtorch, PLANTED, &["planted.cpp"])
            .define("CVX_PLANTED_WHERE", "\"library\"")
            .link_lib_modifier("+whole-archive")
            .compile("cvx_planted");
    }
    compiler(
        libtorch,
        SHIM,
        &[
            "generator.cpp",
            "device.cpp",
            "event.cpp",
            "dlpack.cpp",
            "warnings.cpp",
            "callback.cpp",
            "cpu.cpp",
            "stand_in.cpp",
            "spare.cpp",
            "starts.cpp",
            "mapped.cpp",
        ],
    )
    .opt_level(2)
    .compile("cvx_shim");
    compiler(libtorch, KERNELS, &["conv.cpp", "linear.cpp"]).opt_level(2).compile("cvx_operators");
    // Which instruction set a kernel that is compiled for one is called with, is found out when it is.
    let x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let mut attention = compiler(libtorch, KERNELS, &["attention.cpp"]);
    if x86 {
        attention.define("CVX_X86_KERNELS", None);
    }
    // Before what it calls, as linkers want it.
    attention.opt_level(2).compile("cvx_attention");
    if x86 {
        let avx2 = ["-mavx2", "-mfma"];
        let avx512 = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq"];
        vectors("attention_avx2.cpp", &avx2);
        vectors("attention_avx512.cpp", &[&avx2[..], &avx512].concat());
    }
    // Loops over numbers: vectorised, and shared among libtorch's OpenMP threads.
    compiler(libtorch, KERNELS, &["video.cpp", "int8.cpp"])
        .opt_level(3)
        .flag("-fopenmp")
        .flag("-fno-math-errno")
        .flag("-fno-trapping-math")
        .compile("cvx_kernels");
}

/// A file that is all in vectors of one instruction set, and includes no header but our own.
fn vectors(file: &str, set: &[&str]) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).opt_level(3).warnings(true).extra_warnings(true);
    for flag in ["-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"].iter().chain(set) {
        build.flag(flag);
    }
    build.file(Path::new(KERNELS).join(file)).compile(file.trim_end_matches(".cpp"));
}

fn compiler(libtorch: &Libtorch, folder: &str, files: &[&str]) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .flag("-fvisibility=hidden")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        // -isystem: the warnings of libtorch's own headers are not ours to mend.
        .flag("-isystem")
        .flag(&libtorch.include)
        .include(SHIM)
        .warnings(true)
        .extra_warnings(true)
        .files(files.iter().map(|file| Path::new(folder).join(file)));
    if let Some(kinds) = sanitizers() {
        build
            .flag(format!("-fsanitize={kinds}"))
            .flag("-fno-sanitize-recover=all")
            .flag("-fno-omit-frame-pointer")
            .flag("-g");
    }
    build
}

/// Links the very OpenMP library that libtorch brings, under whatever name: a second one in
/// the process would have threads of its own.
fn link_openmp(libtorch: &Libtorch) -> anyhow::Result<()> {
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    let own = std::fs::read_dir(&libtorch.lib)?
        .flatten()
        .filter_map(name)
        .find(|name| name.starts_with("libgomp") && name.contains(".so"));
    match own {
        Some(file) => {
            println!("cargo:rustc-link-arg={}", libtorch.lib.join(file).display());
        }
        None => println!("cargo:rustc-link-arg=-lgomp"),
    }
    Ok(())
}
