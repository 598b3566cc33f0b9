//! The C examples: compiled as `make examples` does, and called as a user calls them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the library lies that was built with this test: beside the test. Cargo only links it
/// to target/release when it is built by itself.
fn library_folder() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// The program of a source, compiled once, by a compiler and with flags beside those of all.
fn program(source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    static PROGRAMS: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut programs = PROGRAMS.lock().unwrap();
    let programs = programs.get_or_insert_default();
    if let Some(program) = programs.get(source) {
        return program.clone();
    }
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    let program = library_folder().join(format!("example-{name}"));
    let output = Command::new(compiler)
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("examples/c"))
        .args(flags)
        .arg(root().join(source))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(library_folder())
        .args(["-lcogvideox", "-lm", "-Wl,--allow-shlib-undefined"])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}: .ci/toolchains installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    programs.insert(source.into(), program.clone());
    program
}

/// A call of an example, from the root of the checkout.
pub fn call(name: &str, arguments: &[&str]) -> Command {
    let mut command = call_of(&format!("examples/c/{name}.c"), "cc", &[]);
    command.args(arguments);
    command
}

/// A call of the program of a source.
pub fn call_of(source: &str, compiler: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(program(source, compiler, flags));
    command.current_dir(root()).env("LD_LIBRARY_PATH", library_folder());
    command
}

pub fn run(name: &str, arguments: &[&str]) -> Output {
    call(name, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
