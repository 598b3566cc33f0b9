//! Mutated files and texts through the C functions: whatever is in them, no more than an error comes
//! of it. Mutations come from the seed `CVX_SEED` (by default 1), so that what was found can be made
//! again. `CVX_FUZZ_SECONDS` is for how long (by default 20), shared among the kinds of input;
//! `make fuzz` takes ten minutes.
//!
//! An input is written to a file before it is tried. It is there when the process has died of it,
//! and the message of a panic names it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "capi/support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod support;

use cogvideox::capi::*;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::{Duration, Instant};
use support::*;

/// No input here takes a fraction of it.
const LONGEST: Duration = Duration::from_secs(60);

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Pieces that parsers stumble over.
const PIECES: &[&[u8]] = &[
    b"-1",
    b"0",
    b"1e999",
    b"-0",
    b"NaN",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"2147483648",
    b"0.1",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"{",
    b"[[[[[[[[",
    b"]",
    b"}",
    b",",
    b":",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\0",
    b"../",
    b"/dev/zero",
    b"F64",
    b"F8_E4M3",
    b"BF16",
    b"I64",
    b"[0,0]",
    b"1000000000",
];

/// Changes `input`, the first `head` bytes of it more often than the rest.
fn mutate(input: &[u8], head: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let reach = if random.below(4) > 0 { head.min(bytes.len()) } else { bytes.len() };
        let at = random.below(reach);
        let length = 1 + random.below(16);
        let end = (at + length).min(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => drop(bytes.splice(at..at, random.of(PIECES).iter().copied())),
            3 => drop(bytes.splice(at..end, random.of(PIECES).iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(reach);
                drop(bytes.splice(to..to, part));
            }
            6 => bytes.truncate(random.below(bytes.len() + 1)),
            // A number of the text becomes another.
            7 => {
                let digit = |byte: &u8| byte.is_ascii_digit();
                if let Some(first) = bytes[at..].iter().position(digit).map(|first| at + first) {
                    let rest = bytes[first..].iter().position(|byte| !digit(byte));
                    let last = rest.map_or(bytes.len(), |rest| first + rest);
                    drop(bytes.splice(first..last, random.of(&PIECES[..10]).iter().copied()));
                }
            }
            // A length of the file's binary parts.
            _ => {
                let number = *random.of(&[0, 1, 7, 8, 255, 1 << 16, 1 << 31, 1 << 40, u64::MAX]);
                for (to, from) in bytes.iter_mut().skip(at / 8 * 8).zip(number.to_le_bytes()) {
                    *to = from;
                }
            }
        }
    }
    bytes
}

/// Of a safetensors or a GGUF file, the bytes before its numbers; of others all.
fn head(path: &Path, bytes: &[u8]) -> usize {
    match bytes.first_chunk::<8>() {
        Some(length) if path.extension().is_some_and(|name| name == "safetensors") => {
            u64::from_le_bytes(*length) as usize + 8
        }
        // Its fields and its tensors' names and places.
        _ if path.extension().is_some_and(|name| name == "gguf") => bytes.len().min(6000),
        _ => bytes.len(),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The code of an error, which is read and freed; not INTERNAL, which is our own mistake.
fn outcome(error: *mut cvx_error) -> i32 {
    let (code, message) = code(error);
    assert_ne!(code, CVX_ERROR_INTERNAL, "{message}");
    code
}

type Run = Box<dyn FnMut(&Path, &[u8]) -> bool>;

/// One kind of input.
struct Target {
    name: &'static str,
    seeds: Vec<(PathBuf, Vec<u8>)>,
    /// Tries the input, which is the bytes and lies at the path; `true` where it was taken.
    run: Run,
}

/// A pipeline folder of which one file is the input.
fn folder_target(name: &'static str, is: fn(&Path) -> bool) -> Target {
    let pipeline = root().join("pipelines/2b");
    let all = files(&pipeline);
    let seeds: Vec<_> = all.into_iter().filter(|(path, _)| is(path)).collect();
    assert!(!seeds.is_empty(), "{name}");
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("pipeline");
    for name in files(&pipeline).keys() {
        let link = made.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(pipeline.join(name), link).unwrap();
    }
    let mut before: Option<PathBuf> = None;
    let run = move |path: &Path, bytes: &[u8]| {
        // Lives as long as the closure.
        let _ = &folder;
        if let Some(before) = before.replace(path.to_path_buf()) {
            fs::remove_file(made.join(&before)).unwrap();
            std::os::unix::fs::symlink(pipeline.join(&before), made.join(&before)).unwrap();
        }
        fs::remove_file(made.join(path)).unwrap();
        fs::write(made.join(path), bytes).unwrap();
        let mut loaded = null_mut();
        let place = c(made.to_str().unwrap());
        // SAFETY: as a host calls it.
        let code = outcome(unsafe { cvx_pipeline_load(place.as_ptr(), null(), &mut loaded) });
        if code != CVX_OK {
            return false;
        }
        let pipeline = Pipeline(loaded);
        let options = Options::small(1);
        let mut video = null_mut();
        // SAFETY: as a host calls it.
        outcome(unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) });
        drop(Video(video));
        true
    };
    Target { name, seeds, run: Box::new(run) }
}

/// A GGUF file with a pipeline's transformer or text encoder.
fn gguf_target() -> Target {
    let all = files(&root().join("goldens/gguf"));
    let seeds = all.into_iter().filter(|(path, _)| path != Path::new("blocks.gguf")).collect();
    let scratch = tempfile::tempdir().unwrap();
    let run = move |path: &Path, bytes: &[u8]| {
        let file = scratch.path().join("fuzzed.gguf");
        fs::write(&file, bytes).unwrap();
        // All but one are transformers, under the names of one format or another.
        let encoder = path.file_stem().is_some_and(|stem| stem == "text_encoder");
        let component = if encoder { c"text_encoder" } else { c"transformer" };
        let file = c(file.to_str().unwrap());
        let mut loaded = null_mut();
        // SAFETY: as a host calls it.
        let code = unsafe {
            let options = cvx_load_options_new();
            let (component, file) = (component.as_ptr(), file.as_ptr());
            ok(cvx_load_options_set_component_weights(options, component, file));
            let code = outcome(cvx_pipeline_load(folder("5b").as_ptr(), options, &mut loaded));
            cvx_load_options_free(options);
            code
        };
        if code != CVX_OK {
            return false;
        }
        drop(generate(&Pipeline(loaded), &Options::latents(1)));
        true
    };
    Target { name: "gguf", seeds, run: Box::new(run) }
}

fn text_target(name: &'static str, run: fn(&CString) -> bool) -> Target {
    let corpus = root().join("fuzz/corpus").join(name);
    let seeds: Vec<_> = files(&corpus).into_iter().collect();
    let run = move |_: &Path, bytes: &[u8]| {
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        run(&CString::new(text).unwrap())
    };
    Target { name, seeds, run: Box::new(run) }
}

fn targets() -> Vec<Target> {
    let pipeline = Pipeline::load("2b");
    let scratch = tempfile::tempdir().unwrap();
    let lora = move |_: &Path, bytes: &[u8]| {
        let path = scratch.path().join("lora.safetensors");
        fs::write(&path, bytes).unwrap();
        let path = c(path.to_str().unwrap());
        // SAFETY: as a host calls it.
        unsafe {
            let error = cvx_pipeline_load_lora(pipeline.0, path.as_ptr(), c"fuzzed".as_ptr());
            let taken = outcome(error) == CVX_OK;
            if taken {
                drop(generate(&pipeline, &Options::latents(1)));
                ok(cvx_pipeline_unload_lora(pipeline.0));
            }
            taken
        }
    };
    vec![
        folder_target("weights", |path| path.extension().is_some_and(|name| name == "safetensors")),
        folder_target("configs", |path| path.extension().is_some_and(|name| name == "json")),
        gguf_target(),
        folder_target("tokenizer", |path| path.extension().is_some_and(|name| name == "model")),
        Target {
            name: "lora",
            seeds: files(&root().join("goldens/lora/2b")).into_iter().collect(),
            run: Box::new(lora),
        },
        text_target("cache_config", |text| {
            let mut config = null_mut();
            // SAFETY: as a host calls it.
            unsafe {
                let taken =
                    outcome(cvx_cache_config_from_json(text.as_ptr(), &mut config)) == CVX_OK;
                let mut json = null();
                if taken {
                    ok(cvx_cache_config_to_json(config, &mut json));
                }
                cvx_cache_config_free(config);
                taken
            }
        }),
        text_target("calibration", |text| {
            let mut calibration = null_mut();
            // SAFETY: as a host calls it.
            unsafe {
                let error = cvx_calibration_from_json(text.as_ptr(), &mut calibration);
                let taken = outcome(error) == CVX_OK;
                cvx_calibration_free(calibration);
                taken
            }
        }),
    ]
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
fn no_input_does_more_than_return_an_error() {
    tch::set_num_threads(1);
    let seed = number("CVX_SEED", 1);
    let targets = targets();
    let each = Duration::from_secs(number("CVX_FUZZ_SECONDS", 20)) / targets.len() as u32;
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-last-input");
    // Ends the process where an input takes too long.
    let (alive, watch) = channel::<()>();
    std::thread::spawn(move || loop {
        match watch.recv_timeout(LONGEST) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                println!("an input takes more than {LONGEST:?}: see fuzz-last-input");
                std::process::abort();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    });
    for mut target in targets {
        let mut random = Random(seed);
        let (begin, mut tried, mut taken) = (Instant::now(), 0, 0);
        let mut attempt = |path: &Path, bytes: &[u8]| {
            alive.send(()).unwrap();
            fs::write(&last, bytes).unwrap();
            let run = std::panic::AssertUnwindSafe(|| (target.run)(path, bytes));
            match std::panic::catch_unwind(run) {
                Ok(accepted) => taken += u64::from(accepted),
                Err(_) => {
                    panic!("{}: {}: the input is {}", target.name, path.display(), last.display())
                }
            }
            tried += 1;
        };
        for (path, bytes) in &target.seeds {
            attempt(path, bytes);
        }
        while begin.elapsed() < each {
            let (path, bytes) = random.of(&target.seeds);
            attempt(path, &mutate(bytes, head(path, bytes), &mut random));
        }
        println!("{}: {tried} inputs, {taken} of them taken, seed {seed}", target.name);
        // A target that takes nothing tests only its first check.
        assert!(tried > target.seeds.len() as u64 && taken > 0, "{}", target.name);
    }
}
