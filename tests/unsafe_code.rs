//! Where `unsafe` is, and how much of it. A new use is either in one of these places, and the number
//! is put up by whoever has read it, or it is in the wrong place.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

// All tests are linked with what the library has in malloc's place (build.rs).
use cogvideox as _;
use std::collections::BTreeMap;
use std::path::Path;

/// Files of src, and how often the keyword stands in them, tests of units left out. In src/capi it
/// is in each function that takes a pointer: there the header says what is asked of the caller.
const PLACES: &[(&str, usize)] = &[
    ("backend/cpu/attention.rs", 2),
    ("backend/cpu/int8.rs", 3),
    ("backend/cpu/linear.rs", 4),
    ("backend/cpu/video.rs", 9),
    ("backend/cuda/loaded.rs", 2),
    ("backend/cuda/products.rs", 4),
    ("backend/cuda/tokens.rs", 3),
    ("backend/cuda/video.rs", 3),
    ("backend/onednn.rs", 1),
    ("checkpoint/streaming.rs", 1),
    ("checkpoint/weight_file.rs", 1),
    ("models/layers/low_rank.rs", 1),
    ("models/t5.rs", 1),
    ("models/tiny_decoder.rs", 1),
    ("models/transformer/mod.rs", 1),
    ("models/vae/encode.rs", 1),
    ("parallel/nccl.rs", 24),
    ("runtime/device_threads.rs", 5),
    ("runtime/memory.rs", 3),
    ("runtime/openmp.rs", 10),
    ("runtime/process.rs", 1),
    ("runtime/reserve.rs", 14),
    ("runtime/shared.rs", 4),
    ("runtime/shim/callback.rs", 12),
    ("runtime/shim/copies.rs", 11),
    ("runtime/shim/dlpack.rs", 6),
    ("runtime/shim/driver.rs", 24),
    ("runtime/shim/event.rs", 9),
    ("runtime/shim/host_objects.rs", 14),
    ("runtime/shim/loader.rs", 6),
    ("runtime/shim/mod.rs", 32),
    ("runtime/shim/mapped.rs", 4),
    ("runtime/shim/modules.rs", 29),
    ("runtime/shim/spare.rs", 8),
    ("runtime/shim/starts.rs", 5),
    ("runtime/threads.rs", 4),
    ("video/h264.rs", 1),
];

fn visit(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found(&path);
        }
    }
}

/// How often the keyword stands in the code before the tests of the unit.
fn count(source: &str) -> usize {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split(|c: char| !is_part(c))).filter(|word| *word == "unsafe").count()
}

#[test]
fn unsafe_code_is_where_it_may_be_and_is_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut boundary) = (BTreeMap::new(), BTreeMap::new());
    visit(&root, &mut |path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let count = count(&std::fs::read_to_string(path).unwrap());
        if count > 0 && !name.contains("/tests/") && !name.ends_with("tests.rs") {
            if let Some(file) = name.strip_prefix("capi/") {
                boundary.insert(file.to_string(), count);
            } else {
                found.insert(name.into(), count);
            }
        }
    });
    let expected: BTreeMap<String, usize> =
        PLACES.iter().map(|&(place, count)| (place.into(), count)).collect();
    let at_boundary: usize = boundary.values().sum();
    println!("src/capi: {at_boundary} in {} files; elsewhere:", boundary.len());
    for (place, count) in &found {
        println!("    (\"{place}\", {count}),");
    }
    assert_eq!(found, expected, "found on the left, expected on the right");
}

#[test]
fn what_is_counted_is_the_keyword() {
    assert_eq!(count("unsafe { x() } // unsafe\nlet unsafe_code = 1;\nunsafe fn f() {}"), 2);
    assert_eq!(count("a\n#[cfg(test)]\nmod tests { unsafe {} }"), 0);
}
