//! Links against the libtorch that torch-sys was built with and finds it again at run time.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")
        .or_else(|_| std::env::var("LIBTORCH").map(|l| format!("{l}/lib")));
    // Static archives (libtorch wrappers, codecs, bzip2) must not leak symbols into the host.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    if let Ok(lib) = libtorch {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
