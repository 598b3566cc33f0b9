//! One run in several processes: with sockets (processes/sockets.c), and with Open MPI
//! (examples/c/mpi_generate.c).

use crate::support::*;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SMALL: [&str; 8] =
    ["--model", "tests/pipelines/2b", "--steps", "3", "--size", "48x32", "--frames", "9"];

/// The pixels of a .png file.
fn pixels(path: &Path) -> Vec<u8> {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

/// The frames that `command` writes; without cache, or with one.
fn frames(mut command: Command, cache: &[&str]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    command.args(SMALL).args(cache).args(["--quiet", "--output"]).arg(&path).arg("a red ball");
    let output = command.env("OMP_NUM_THREADS", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 9);
    files.iter().map(|file| pixels(file)).collect()
}

/// Eight bits hide what float32 rounds, but for a value between two levels.
fn same(what: &str, found: &[Vec<u8>], expected: &[Vec<u8>]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        let most = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(most <= Some(1), "{what}: off by {most:?} levels");
    }
}

const PAB: [&str; 2] = ["--cache", "pab:videosys"];

fn sockets(ranks: usize) -> Command {
    let mut command = call_of("tests/examples/processes/sockets.c", "cc", &[]);
    command.env("RANKS", ranks.to_string());
    command
}

#[test]
fn processes_that_sockets_connect_give_the_video_of_one() {
    for cache in [&[][..], &PAB] {
        let expected = frames(call("generate", &[]), cache);
        for ranks in [2, 4] {
            same(&format!("{ranks} {cache:?}"), &frames(sockets(ranks), cache), &expected);
        }
    }
}

fn ends(ranks: usize, variable: &str, value: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    let started = Instant::now();
    let output = sockets(ranks)
        .env(variable, value)
        .env("OMP_NUM_THREADS", "1")
        .args(SMALL)
        .args(["--quiet", "--output"])
        .arg(&path)
        .arg("a red ball")
        .output()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(60));
    output
}

#[test]
fn a_process_that_dies_ends_the_others() {
    for at in [0, 2, 5] {
        let output = ends(2, "DIE", &format!("1:{at}"));
        assert_eq!(output.status.code(), Some(1), "{at}: {}", text(&output.stderr));
        let said = text(&output.stderr);
        assert!(said.contains("another process may have failed"), "{at}: {said}");
        assert!(said.contains("rank ended: 3"), "{at}: {said}");
    }
    // The first one dies, with four.
    assert_eq!(ends(4, "DIE", "0:3").status.code(), Some(3));
}

#[test]
fn a_process_that_fails_ends_the_others_with_its_own_error() {
    let output = ends(4, "FAIL", "2:4");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // All end, and those that could still be told say what ended the one that failed.
    assert_eq!(said.matches("communicator: all_to_all").count(), 4, "{said}");
    assert!(said.matches("the callback answered 7").count() >= 2, "{said}");
}

/// Open MPI, from Debian: .ci/toolchains sees to it.
fn mpi(ranks: usize) -> Command {
    let built = call_of("examples/c/mpi_generate.c", "mpicc", &["-Wno-error"]);
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n"])
        .arg(ranks.to_string())
        .arg(built.get_program())
        .current_dir(root());
    for (name, value) in built.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

#[test]
fn processes_that_mpi_connects_give_the_video_of_one() {
    for cache in [&[][..], &PAB] {
        let expected = frames(call("generate", &[]), cache);
        for ranks in [2, 4] {
            same(&format!("{ranks} {cache:?}"), &frames(mpi(ranks), cache), &expected);
        }
    }
}

#[test]
fn mpi_ends_all_processes_when_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    let started = Instant::now();
    // Three ranks can't share two heads, whichever way.
    let output = mpi(3).args(SMALL).arg("--output").arg(&path).arg("a red ball").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("nothing fits 3"), "{}", text(&output.stderr));
    assert!(started.elapsed() < Duration::from_secs(60));
}
