//! Lets one call after another fail in a process of its own, and judges what came of it.

use crate::scenarios::{Outcome, Scenario};
use cogvideox::capi::{CVX_ERROR_IO, CVX_ERROR_OUT_OF_MEMORY};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::OnceLock;
use std::time::Duration;

const ORDER: &str = "CVX_TEST_ORDER";

/// How long one call may take before it counts as one that hangs.
fn patience(scenario: &str) -> Duration {
    Duration::from_secs(if scenario == "hangs" { 3 } else { 120 })
}

/// What fails; in the order of tests/faults/inject.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Map,
    Open,
    Read,
    Write,
    Sync,
    Thread,
    /// Memory that the library itself asks for, libtorch and what is below it left out.
    Own,
    /// No call is counted: there is address space for so many pieces of 256 KiB beside what is in
    /// use.
    Room,
    /// The system lets so many threads be started.
    Threads,
    /// What was written may not be executed (PR_SET_MDWE of prctl(2)).
    Code,
    /// Memory of the simulated CUDA device (tests/device/simulated).
    Device,
}

impl Kind {
    pub const ALL: [Kind; 12] = [
        Kind::Memory,
        Kind::Map,
        Kind::Open,
        Kind::Read,
        Kind::Write,
        Kind::Sync,
        Kind::Thread,
        Kind::Own,
        Kind::Room,
        Kind::Threads,
        Kind::Code,
        Kind::Device,
    ];

    /// The error that it is to be told as.
    fn code(self) -> i32 {
        match self {
            Kind::Open | Kind::Read | Kind::Write | Kind::Sync => CVX_ERROR_IO,
            _ => CVX_ERROR_OUT_OF_MEMORY,
        }
    }

    /// How many threads OpenMP is to start.
    fn threads(self, scenario: &str) -> &'static str {
        match self {
            Kind::Threads => "4",
            Kind::Thread => "2",
            Kind::Memory if starts_threads(scenario) => "3",
            _ => "1",
        }
    }

    /// Fewer threads, and other kernels, round otherwise.
    fn tolerance(self, scenario: &str) -> f32 {
        match self {
            Kind::Memory if starts_threads(scenario) => 1.001 / 255.0,
            // Of bytes, one.
            Kind::Threads | Kind::Thread | Kind::Map | Kind::Code => 1.001 / 255.0,
            _ => 0.0,
        }
    }
}

/// Whether OpenMP starts threads while something fails.
fn starts_threads(scenario: &str) -> bool {
    matches!(scenario, "job" | "regrow")
}

/// What is to fail in a scenario.
#[derive(Debug, Clone)]
pub struct Order {
    pub scenario: String,
    pub kind: Kind,
    /// Whether all later calls fail as well, until the scenario's call has returned.
    pub lasting: bool,
    /// Whether it is the first thing that its process does with the library.
    pub cold: bool,
    /// Only calls for at least so many bytes.
    pub size: usize,
    /// The first call that fails, and which ones after it are tried.
    pub first: u64,
    pub step: u64,
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub tried: u64,
    pub succeeded: u64,
    pub told: u64,
    /// What must not be, with the number of the call that failed.
    pub wrong: Vec<String>,
}

/// The library of inject.c, compiled once.
fn injector() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libinject.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/inject.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let status = Command::new(compiler)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&path, &source])
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(status.success());
        (folder, path)
    });
    path
}

/// Tries `order` until there are no more calls to fail, with a new process after each death.
pub fn judge(order: &Order) -> Verdict {
    let mut verdict = Verdict::default();
    let mut next = order.first;
    loop {
        let begun = next;
        match process(order, &mut next, &mut verdict) {
            End::Over => return verdict,
            End::Poisoned => {}
            End::Died(how) => {
                verdict.wrong.push(format!("{next}: {how}"));
                verdict.tried += 1;
            }
        }
        // One that does not even begin will not do so later.
        if next == begun && verdict.tried == 0 || verdict.wrong.len() > 200 {
            return verdict;
        }
        next += order.step;
    }
}

enum End {
    Over,
    Poisoned,
    Died(String),
}

/// One process from call `next` on, which is the last one that failed when it ends.
fn process(order: &Order, next: &mut u64, verdict: &mut Verdict) -> End {
    let Order { scenario, kind, lasting, cold, size, step, .. } = order;
    let (lasting, cold) = (i32::from(*lasting), i32::from(*cold));
    let text = format!("{scenario} {} {lasting} {cold} {size} {next} {step}", *kind as i32);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_child", "--nocapture", "--test-threads", "1"])
        .env(ORDER, text)
        .env("LD_PRELOAD", injector())
        .env("OMP_NUM_THREADS", kind.threads(scenario))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, said) = channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let mut over = false;
    let mut poisoned = false;
    let mut printed = Vec::new();
    loop {
        match said.recv_timeout(patience(scenario)) {
            Ok(line) => {
                // libtest writes the test's name before the first one.
                let line = line.split("@@").last().unwrap_or_default();
                match line.split_once(' ') {
                    Some(("try", number)) => *next = number.parse().unwrap(),
                    Some(("good", what)) => {
                        verdict.tried += 1;
                        match what {
                            "success" => verdict.succeeded += 1,
                            _ => verdict.told += 1,
                        }
                    }
                    Some(("wrong", what)) => {
                        verdict.tried += 1;
                        verdict.wrong.push(format!("{next}: {what}"));
                    }
                    _ if line == "over" => over = true,
                    _ if line == "poisoned" => poisoned = true,
                    _ if line.contains("onednn") || line.contains("Error in") => {
                        printed.push(line.to_string());
                    }
                    _ => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                child.wait().unwrap();
                return End::Died("hangs".into());
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let output = child.wait_with_output().unwrap();
    for line in printed {
        verdict.wrong.push(format!("printed: {line}"));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr: Vec<_> = stderr.lines().take(4).collect();
    if over && output.status.success() {
        return if poisoned { End::Poisoned } else { End::Over };
    }
    End::Died(format!("{} {}", output.status, stderr.join(" | ")))
}

type Arm = unsafe extern "C" fn(i32, i64, i32, usize);
type Disarm = unsafe extern "C" fn() -> i64;

fn preloaded(name: &std::ffi::CStr) -> *mut libc::c_void {
    // SAFETY: a name that ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!found.is_null(), "the library that lets calls fail is not preloaded");
    found
}

/// What the process of [`process`] does; nothing where this is no such process.
pub fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let order: Vec<_> = order.split(' ').collect();
    let [scenario, numbers @ ..] = &order[..] else { panic!("{order:?}") };
    let numbers: Vec<i64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [kind, lasting, cold, size, first, step] = numbers[..] else { panic!("{order:?}") };
    let faults = Faults::new(Kind::ALL[kind as usize], lasting != 0, size as usize);
    if cold == 0 {
        let mut scenario = Scenario::new(scenario);
        let expected = expected(&mut scenario);
        let mut nth = first;
        loop {
            say(&format!("try {nth}"));
            match faults.one(&mut scenario, nth, &expected) {
                Next::Over => return say("over"),
                Next::Poisoned => {
                    say("poisoned");
                    return say("over");
                }
                Next::Another => nth += step,
            }
        }
    }
    // Each in a process of its own, forked from this one, which has not used the library.
    let mut results = Vec::new();
    apart(
        |out| {
            for values in expected(&mut Scenario::new(scenario)) {
                out(&(values.len() as u64).to_le_bytes());
                for value in values {
                    out(&value.to_le_bytes());
                }
            }
        },
        &mut results,
    );
    let mut expected = Vec::new();
    let mut rest = &results[..];
    while let Some((count, after)) = rest.split_first_chunk::<8>() {
        let (values, after) = after.split_at(u64::from_le_bytes(*count) as usize * 4);
        let values = values.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap()));
        expected.push(values.collect());
        rest = after;
    }
    let mut nth = first;
    loop {
        say(&format!("try {nth}"));
        let mut next = Vec::new();
        let status = apart(
            |out| {
                let next = faults.one(&mut Scenario::new(scenario), nth, &expected);
                out(&[u8::from(next == Next::Over)]);
            },
            &mut next,
        );
        match next[..] {
            [1] => return say("over"),
            [0] => {}
            _ if libc::WIFSIGNALED(status) => {
                say(&format!("wrong signal: {}", libc::WTERMSIG(status)));
            }
            _ => say(&format!("wrong exit status: {}", libc::WEXITSTATUS(status))),
        }
        nth += step;
    }
}

/// Runs `work` in a forked child, which hands back bytes. Returns how it ended.
fn apart(work: impl FnOnce(&dyn Fn(&[u8])), bytes: &mut Vec<u8>) -> i32 {
    let mut ends = [0; 2];
    // SAFETY: this process has one thread beside the one that waits for it, and no locks are held.
    let (child, read) = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut write = std::fs::File::from_raw_fd(ends[1]);
            let write = std::cell::RefCell::new(&mut write);
            work(&|bytes| write.borrow_mut().write_all(bytes).unwrap());
            libc::_exit(0);
        }
        libc::close(ends[1]);
        (child, std::fs::File::from_raw_fd(ends[0]))
    };
    let mut read = read;
    read.read_to_end(bytes).unwrap();
    let mut status = 0;
    // SAFETY: waits for the child from above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("@@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the scenario comes to when nothing fails, with each of its prompts.
fn expected(scenario: &mut Scenario) -> Vec<Vec<f32>> {
    (0..2).map(|_| scenario.run(|| (), || ()).unwrap()).collect()
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Ok(values) => format!("Ok, {} numbers from {:?} on", values.len(), values.first()),
        Err(failure) => format!("{failure:?}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Another,
    Poisoned,
    Over,
}

/// A function of the simulated device, which the library has loaded.
fn simulated(name: &std::ffi::CStr) -> *mut libc::c_void {
    // SAFETY: names that end with NUL; the library stays loaded.
    let found = unsafe {
        let library =
            libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        assert!(!library.is_null(), "the simulated device is not loaded");
        libc::dlsym(library, name.as_ptr())
    };
    assert!(!found.is_null(), "{name:?}");
    found
}

/// The nth allocation on the simulated device from now on fails; 0: none.
fn fail_on_device(nth: u64) {
    type Fail = unsafe extern "C" fn(u64);
    // SAFETY: simcuda.h defines it so.
    unsafe {
        std::mem::transmute::<*mut libc::c_void, Fail>(simulated(c"simcuda_fail_allocation"))(nth);
    }
}

/// How many allocations on the simulated device have failed.
fn failed_on_device() -> u64 {
    type Count = unsafe extern "C" fn(*const libc::c_char) -> u64;
    // SAFETY: simcuda.h defines it so.
    unsafe {
        let count = simulated(c"simcuda_counter");
        std::mem::transmute::<*mut libc::c_void, Count>(count)(c"out_of_memory".as_ptr())
    }
}

/// What [`Kind::Room`] counts in.
const PIECE: u64 = 256 << 10;

/// Sets the soft limit; None: as it was, which is the hard one.
fn set_soft_limit(resource: libc::__rlimit_resource_t, limit: Option<u64>) {
    let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is valid for reading and writing.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut found), 0);
        found.rlim_cur = limit.unwrap_or(found.rlim_max);
        assert_eq!(libc::setrlimit(resource, &found), 0);
    }
}

/// The preloaded library.
struct Faults {
    kind: Kind,
    lasting: bool,
    size: usize,
    arm: Arm,
    disarm: Disarm,
    failed: Disarm,
    /// Failed allocations on the device before.
    on_device: std::cell::Cell<u64>,
}

impl Faults {
    fn new(kind: Kind, lasting: bool, size: usize) -> Faults {
        // SAFETY: inject.c defines them so.
        unsafe {
            Faults {
                kind,
                lasting,
                size,
                arm: std::mem::transmute::<*mut libc::c_void, Arm>(preloaded(c"faults_arm")),
                disarm: std::mem::transmute::<*mut libc::c_void, Disarm>(preloaded(
                    c"faults_disarm",
                )),
                failed: std::mem::transmute::<*mut libc::c_void, Disarm>(preloaded(
                    c"faults_failed",
                )),
                on_device: std::cell::Cell::default(),
            }
        }
    }

    fn begin(&self, nth: i64) {
        match self.kind {
            Kind::Room => {
                let used = std::fs::read_to_string("/proc/self/statm").unwrap();
                let pages: u64 = used.split(' ').next().unwrap().parse().unwrap();
                set_soft_limit(libc::RLIMIT_AS, Some(pages * 4096 + nth as u64 * PIECE));
            }
            Kind::Threads => {
                // Nobody may start more than the limit but root.
                // SAFETY: plain numbers; this process is a test's.
                unsafe {
                    let user = 61_000 + libc::getpid() as u32 % 4000;
                    if libc::getuid() == 0 {
                        assert_eq!(libc::setresuid(user, user, user), 0);
                    }
                }
                set_soft_limit(libc::RLIMIT_NPROC, Some(nth as u64));
            }
            Kind::Code => {
                let (set_mdwe, refuse_exec_gain): (i32, libc::c_ulong) = (65, 1);
                let none: libc::c_ulong = 0;
                // SAFETY: plain numbers.
                let refused = unsafe { libc::prctl(set_mdwe, refuse_exec_gain, none, none, none) };
                if refused != 0 {
                    println!("this kernel has no PR_SET_MDWE");
                }
            }
            Kind::Device => {
                self.on_device.set(failed_on_device());
                fail_on_device(nth as u64);
            }
            // SAFETY: as inject.c says.
            kind => unsafe { (self.arm)(kind as i32, nth, self.lasting.into(), self.size) },
        }
    }

    fn end(&self) {
        match self.kind {
            Kind::Room => set_soft_limit(libc::RLIMIT_AS, None),
            Kind::Threads => set_soft_limit(libc::RLIMIT_NPROC, None),
            // For good.
            Kind::Code => {}
            Kind::Device => fail_on_device(0),
            // SAFETY: as above.
            _ => unsafe {
                (self.disarm)();
            },
        }
    }

    /// Whether nothing failed because there are not so many calls, or because there was enough.
    fn over(&self, nth: i64) -> bool {
        match self.kind {
            Kind::Room => nth as u64 * PIECE > 48 << 20,
            Kind::Threads => nth > 7,
            Kind::Code => nth > 1,
            Kind::Device => failed_on_device() == self.on_device.get(),
            // SAFETY: as above.
            _ => unsafe { (self.failed)() == 0 },
        }
    }

    /// Lets call `nth` fail, and tells what came of it.
    fn one(&self, scenario: &mut Scenario, nth: i64, expected: &[Vec<f32>]) -> Next {
        let tolerance = self.kind.tolerance(scenario.name());
        let same = |a: &[f32], b: &[f32]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
        };
        let good = |outcome: &Outcome| {
            outcome.as_ref().is_ok_and(|found| expected.iter().any(|right| same(right, found)))
        };
        let outcome = scenario.run(|| self.begin(nth), || self.end());
        if self.over(nth) {
            // There are not so many calls.
            if !good(&outcome) {
                say(&format!("wrong {} although nothing failed", brief(&outcome)));
            }
            return Next::Over;
        }
        let told = matches!(&outcome, Err((code, _)) if *code == self.kind.code());
        let again = [(); 2].map(|()| scenario.run(|| (), || ()));
        if let Some(later) = again.iter().find(|outcome| !good(outcome)) {
            // What comes after in this process proves nothing.
            say(&format!(
                "wrong a later run: {} after {}{}",
                brief(later),
                brief(&outcome),
                if good(&outcome) { ", which was right" } else { "" }
            ));
            return Next::Poisoned;
        }
        say(&match (told, good(&outcome)) {
            (true, _) => "good error".to_string(),
            (_, true) => "good success".to_string(),
            _ => format!("wrong {}", brief(&outcome)),
        });
        Next::Another
    }
}
