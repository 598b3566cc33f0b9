//! NCCL's calls, against a stand-in that checks their order and arguments (tests/nccl/standin.c).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::cache::{CacheConfig, Value};
use cogvideox::parallel::nccl::{self, Nccl, UniqueId};
use cogvideox::parallel::{Communicator, Degrees};
use cogvideox::pipeline::{GenerateOptions, LoadOptions, Output, Pipeline, Processes};
use cogvideox::runtime::control::{CancelToken, Control};
use cogvideox::Error;
use libloading::Library;
use std::ffi::{c_char, c_int, CStr, OsStr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tch::{Device, Tensor};

struct StandIn {
    _folder: tempfile::TempDir,
    path: PathBuf,
    library: Library,
}

impl StandIn {
    fn build() -> StandIn {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnccl.so.2");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nccl/standin.c");
        let built = Command::new("cc")
            .args([
                "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread",
            ])
            .arg(source)
            .arg("-o")
            .arg(&path)
            .output()
            .expect("a C compiler on PATH");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        // SAFETY: our own library, without initialisers.
        let library = unsafe { Library::new(&path) }.unwrap();
        StandIn { _folder: folder, path, library }
    }

    fn number(&self, name: &str) -> c_int {
        // SAFETY: functions without parameters that answer an int.
        unsafe { self.library.get::<unsafe extern "C" fn() -> c_int>(name).unwrap()() }
    }

    fn wrong(&self) -> String {
        // SAFETY: answers a static text.
        unsafe {
            let wrong =
                self.library.get::<unsafe extern "C" fn() -> *const c_char>("standin_wrong");
            CStr::from_ptr(wrong.unwrap()()).to_str().unwrap().to_string()
        }
    }

    fn connect(&self, ranks: usize) -> Vec<Arc<Nccl>> {
        let id = nccl::unique_id(self.path.as_os_str()).unwrap();
        let meet = |rank| {
            let UniqueId(bytes) = id;
            let path = self.path.clone();
            std::thread::spawn(move || {
                let id = UniqueId(bytes);
                Nccl::new(path.as_os_str(), id, rank, ranks, Device::Cpu).unwrap()
            })
        };
        let threads: Vec<_> = (0..ranks).map(meet).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn options() -> GenerateOptions {
    GenerateOptions {
        prompt: "A panda.".into(),
        width: Some(48),
        height: Some(32),
        num_frames: Some(9),
        num_inference_steps: 4,
        guidance_scale: 6.0,
        max_sequence_length: Some(16),
        output: Output::Latents,
        ..GenerateOptions::default()
    }
}

fn load(communicator: Option<Arc<dyn Communicator>>) -> Pipeline {
    tch::set_num_threads(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/5b");
    let load = LoadOptions {
        device: "cpu".into(),
        degrees: Degrees::default(),
        communicator: communicator.map(Processes),
        ..LoadOptions::default()
    };
    Pipeline::load(&folder, &load, &Control::default()).unwrap()
}

fn latents(pipeline: &Pipeline, control: &Control) -> cogvideox::Result<Tensor> {
    Ok(pipeline.generate(&options(), control)?.latents.unwrap())
}

fn pab() -> CacheConfig {
    let mut config = CacheConfig::new("pab", None).unwrap();
    config.set("spatial_attention_timestep_skip_range", Value::TimestepRange(50, 950)).unwrap();
    config
}

#[test]
fn runs_through_nccl_are_those_of_one_and_its_calls_are_in_order() {
    let standin = StandIn::build();
    let alone = load(None);
    let dense = latents(&alone, &Control::default()).unwrap();
    alone.enable_cache(&pab()).unwrap();
    let cached = latents(&alone, &Control::default()).unwrap();
    for ranks in [2, 4] {
        let ends = standin.connect(ranks);
        assert_eq!(standin.number("standin_live"), ranks as c_int);
        std::thread::scope(|scope| {
            for end in ends {
                let (dense, cached) = (dense.shallow_clone(), cached.shallow_clone());
                scope.spawn(move || {
                    let pipeline = load(Some(end));
                    let near = |found: Tensor, expected: &Tensor| {
                        let off = (found - expected).abs().max().double_value(&[]);
                        assert!(off <= 1e-5, "off by {off}");
                    };
                    near(latents(&pipeline, &Control::default()).unwrap(), &dense);
                    pipeline.enable_cache(&pab()).unwrap();
                    near(latents(&pipeline, &Control::default()).unwrap(), &cached);
                });
            }
        });
        assert_eq!(standin.wrong(), "");
        assert!(standin.number("standin_sends") > 20);
        // Each was destroyed, none aborted.
        assert_eq!(standin.number("standin_live"), 0);
        assert_eq!(standin.number("standin_aborts"), 0);
    }
}

#[test]
fn a_rank_that_is_cancelled_aborts_the_communicator() {
    let standin = StandIn::build();
    let ends = standin.connect(2);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for end in ends {
            scope.spawn(move || {
                let first = end.rank() == 0;
                let pipeline = load(Some(end));
                let token = CancelToken::default();
                if first {
                    token.cancel();
                }
                let control = Control { cancel: Some(token), ..Control::default() };
                let error = latents(&pipeline, &control).expect_err("ends");
                match first {
                    true => assert!(matches!(error, Error::Cancelled(_)), "{error}"),
                    false => {
                        let Error::Internal(message) = error else { panic!("{error}") };
                        assert!(message.contains("remote process exited"), "{message}");
                    }
                }
                // It can't go on, and says so at once.
                assert!(latents(&pipeline, &Control::default()).is_err());
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(standin.wrong(), "");
    assert_eq!(standin.number("standin_live"), 0);
    assert_eq!(standin.number("standin_aborts"), 2);
}

#[test]
fn a_machine_without_nccl_says_so() {
    let error = nccl::unique_id(OsStr::new("libnccl-is-not-here.so.2")).err().unwrap();
    let Error::DeviceUnavailable(message) = error else { panic!("{error}") };
    assert!(message.starts_with("NCCL: libnccl-is-not-here.so.2: "), "{message}");
}
