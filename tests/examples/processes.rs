//! One run in several processes: with sockets (processes/sockets.c), and with Open MPI
//! (examples/c/mpi_generate.c).

use crate::support::*;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
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

#[test]
fn a_process_that_is_interrupted_in_the_middle_ends_the_others() {
    for (ranks, who) in [(2, 1), (4, 0)] {
        let output = ends(ranks, "CANCEL", &format!("{who}:6"));
        let said = text(&output.stderr);
        assert_eq!(said.matches("rank ended: ").count(), ranks - 1, "{said}");
        assert_eq!(said.matches("rank ended: 0").count(), 0, "{said}");
        assert_ne!(output.status.code(), Some(0), "{said}");
        // Those that could still be told say what ended the one that failed.
        assert!(said.matches("cancelled by its token").count() >= 2, "{said}");
    }
}

/// Rank 0 alone has the callback, which can't write.
const NOWHERE: [&str; 2] = ["--preview", "no/such/folder"];

#[test]
fn a_callback_that_fails_in_the_middle_ends_the_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    for (name, ranks, mut command) in [
        ("sockets", 2, sockets(2)),
        ("sockets", 4, sockets(4)),
        ("MPI", 2, mpi(2)),
        ("MPI", 4, mpi(4)),
    ] {
        let started = Instant::now();
        command.args(SMALL).args(NOWHERE).args(["--output"]).arg(&path).arg("a red ball");
        let output = command.env("OMP_NUM_THREADS", "1").output().unwrap();
        let said = text(&output.stderr);
        assert!(started.elapsed() < Duration::from_secs(60), "{name} {ranks}: {said}");
        assert_ne!(output.status.code(), Some(0), "{name} {ranks}: {said}");
        // In the middle: a step is done, and not all of them.
        assert!(said.contains("stopped by the step callback"), "{name} {ranks}: {said}");
        assert!(!said.contains("denoise 100%"), "{name} {ranks}: {said}");
        assert!(!path.exists());
        if name == "sockets" {
            assert_eq!(said.matches("rank ended: ").count(), ranks - 1, "{said}");
            assert_eq!(said.matches("rank ended: 0").count(), 0, "{said}");
        }
    }
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

#[test]
fn mpi_ends_all_processes_when_one_is_killed_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    let mut command = mpi(2);
    command.args(SMALL).args(["--steps", "400", "--output"]).arg(&path).arg("a red ball");
    let command = command.env("OMP_NUM_THREADS", "1").stderr(Stdio::piped());
    let mut launcher = command.spawn().unwrap();
    let mut lines = BufReader::new(launcher.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("denoise 25%")), "it has begun");
    let children = format!("/proc/{0}/task/{0}/children", launcher.id());
    let children = std::fs::read_to_string(children).unwrap();
    let children: Vec<&str> = children.split_whitespace().collect();
    assert_eq!(children.len(), 2, "{children:?}");
    let started = Instant::now();
    let pid = children[1].parse().unwrap();
    // SAFETY: a process of this test's own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    // What they still say ends when the last of them does.
    let said: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_ne!(launcher.wait().unwrap().code(), Some(0), "{said:?}");
    // A process that has ended has no command line, though nobody may have asked how it did.
    let command_line = format!("/proc/{}/cmdline", children[0]);
    while std::fs::read(&command_line).is_ok_and(|line| !line.is_empty()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{said:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < Duration::from_secs(60) && !path.exists());
}

/// Processor time of the processes that have ended and were waited for.
fn processor_seconds() -> f64 {
    // SAFETY: numbers, all of which may be zero.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for them.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) }, 0);
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The numbers for processes of docs/scaling.md: a run of the demo model in one process and in two,
/// one thread each, in turn; less the same run of one step, which is what loading takes, and less.
#[test]
#[ignore = "a measurement"]
fn what_processes_gain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    let timed = |mut command: Command, steps: &str| {
        let (started, before) = (Instant::now(), processor_seconds());
        command.args(["--steps", steps, "--size", "256x256", "--quiet", "--output"]).arg(&path);
        let output = command.arg("a red ball").env("OMP_NUM_THREADS", "1").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (started.elapsed().as_secs_f64(), processor_seconds() - before)
    };
    for _ in 0..3 {
        for name in ["one", "two, sockets", "two, Open MPI"] {
            let command = || match name {
                "one" => call("generate", &[]),
                "two, sockets" => sockets(2),
                _ => mpi(2),
            };
            let (few, many) = (timed(command(), "1"), timed(command(), "9"));
            println!("| {name} | {:.2} s | {:.2} s of processor |", many.0 - few.0, many.1 - few.1);
        }
    }
}
