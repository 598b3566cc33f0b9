//! The same seed on machines with other vectors. libtorch picks its kernels by what the CPU can
//! do, and `ATEN_CPU_CAPABILITY` has it pick those of a lesser one; so one machine stands for
//! three kinds: as it is, with AVX2, and with neither.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::compare::{difference, RELATIVE, RGB8};
use common::folders::with_scheduler;
use common::goldens::Array;
use common::handles::{Options, Output, Pipeline};
use std::path::Path;
use std::process::Command;

/// What a kind of machine makes of one seed.
struct Made {
    latents: Array<f32>,
    frames: Array<u8>,
}

/// Every family with both schedulers.
const RUNS: [(&str, &str); 6] = [
    ("2b", "ddim-published-2b"),
    ("2b", "dpm-published-2b"),
    ("5b", "ddim-published-5b"),
    ("5b", "dpm-published-5b"),
    ("1.5-5b", "ddim-published-5b"),
    ("1.5-5b", "dpm-published-5b"),
];

fn generate(family: &str, scheduler: &str) -> Made {
    let folder = with_scheduler(family, scheduler);
    let pipeline = Pipeline::load(folder.path()).unwrap();
    let mut options = Options::new();
    options.prompt("a red robot sleeps").size(64, 48).num_frames(9).num_inference_steps(12).seed(7);
    let latents = pipeline.generate(options.output(Output::Latents)).unwrap().latents().unwrap();
    let video = pipeline.generate(options.output(Output::Frames)).unwrap();
    Made { latents, frames: video.frames_rgb8().unwrap() }
}

/// Where a child leaves run number `run`.
fn files(folder: &Path, run: usize) -> [std::path::PathBuf; 2] {
    ["latents", "frames"].map(|what| folder.join(format!("{run}.{what}")))
}

/// Runs in a child of [`made_with`]; by itself it has nowhere to write.
#[test]
fn generate_in_child() {
    let Some(folder) = std::env::var_os("CVX_TEST_CHILD") else { return };
    for (run, (family, scheduler)) in RUNS.into_iter().enumerate() {
        let made = generate(family, scheduler);
        let [latents, frames] = files(Path::new(&folder), run);
        let bytes: Vec<u8> = made.latents.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(latents, bytes).unwrap();
        std::fs::write(frames, &made.frames.data).unwrap();
    }
}

/// What another process makes with `capability`; `None` is the machine's own.
fn made_with(capability: Option<&str>) -> Vec<Made> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "generate_in_child", "--test-threads=1"]);
    command.env("CVX_TEST_CHILD", folder.path()).env_remove("ATEN_CPU_CAPABILITY");
    if let Some(capability) = capability {
        command.env("ATEN_CPU_CAPABILITY", capability);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let read = |run| {
        let [latents, frames] = files(folder.path(), run).map(|path| std::fs::read(path).unwrap());
        let latents: Vec<f32> =
            latents.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let flat = |length: usize| vec![length as i64];
        Made {
            latents: Array { shape: flat(latents.len()), data: latents },
            frames: Array { shape: flat(frames.len()), data: frames },
        }
    };
    (0..RUNS.len()).map(read).collect()
}

/// The same bytes on the same kind of machine; elsewhere latents within 1e-5 of the largest and
/// frames within one level. README.md says so.
#[test]
fn a_seed_gives_the_same_video_on_every_kind_of_cpu() {
    assert!(std::is_x86_feature_detected!("avx2"), "this machine can't stand for one with AVX2");
    let own = made_with(None);
    let again = made_with(None);
    for ((own, again), run) in own.iter().zip(&again).zip(RUNS) {
        assert_eq!(own.latents, again.latents, "{run:?}");
        assert_eq!(own.frames, again.frames, "{run:?}");
        assert!(own.frames.data.iter().any(|level| *level != own.frames.data[0]), "{run:?}");
    }
    for capability in ["avx2", "default"] {
        for ((own, other), run) in own.iter().zip(made_with(Some(capability))).zip(RUNS) {
            let latents = difference(&other.latents, &own.latents).unwrap();
            let frames = difference(&other.frames, &own.frames).unwrap();
            let moved = own.frames.data.iter().zip(&other.frames.data).filter(|(a, b)| a != b);
            let (moved, of) = (moved.count(), own.frames.data.len());
            println!(
                "{capability}, {run:?}: latents off by {:.1e}, frames by {} in {moved} of {of}",
                latents.relative, frames.absolute
            );
            assert!(latents.relative <= RELATIVE, "{capability} {run:?}: {latents:?}");
            assert!(frames.absolute <= RGB8, "{capability} {run:?}: {frames:?}");
        }
    }
}
