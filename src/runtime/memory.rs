//! How much memory this process may still take: of the machine, of the control group that it runs
//! in (a container's limit), and of its address space.

use crate::{Error, Result};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// A bound on what can still be had, and what sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    pub bytes: u64,
    pub of: &'static str,
}

/// The tightest bound that is known; `None` where none is.
pub fn available() -> Option<Available> {
    let bounds = [
        (machine(), "the machine"),
        (group(), "the process's control group"),
        (address_space(), "the process's address space"),
    ];
    let known = bounds.into_iter().filter_map(|(bytes, of)| Some(Available { bytes: bytes?, of }));
    known.min_by_key(|bound| bound.bytes)
}

/// Shows that `bytes` can be had, where what follows would end the process without them.
///
/// Errors: [`Error::OutOfMemory`], which says what they are for.
pub fn prove(bytes: usize, what: &str) -> Result<()> {
    // SAFETY: memory that nobody touches, given back at once.
    let there = unsafe {
        let memory = std::hint::black_box(libc::malloc(bytes));
        let there = !memory.is_null();
        libc::free(memory);
        there
    };
    if there {
        return Ok(());
    }
    Err(Error::OutOfMemory(format!(
        "the host's memory is out: {bytes} bytes for {what} are not to be had"
    )))
}

/// What of this process lies in the machine's memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    pub now: u64,
    pub peak: u64,
}

/// `VmRSS` and `VmHWM` of proc(5); 0 where they are not told.
pub fn of_process() -> Resident {
    let text = read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        kilobytes.unwrap_or(0u64).saturating_mul(1024)
    };
    let now = field("VmRSS:");
    // The kernel brings the peak up to date now and then.
    Resident { now, peak: field("VmHWM:").max(now) }
}

/// What programs can have without swapping (`MemAvailable` of proc(5)).
fn machine() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left below the tightest limit of the process's control group and those above it.
fn group() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::")).map(|path| Files {
        root: "/sys/fs/cgroup",
        path,
        limit: "memory.max",
        used: "memory.current",
        pages: "inactive_file ",
    });
    let controller =
        groups.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| Files {
            root: "/sys/fs/cgroup/memory",
            path,
            limit: "memory.limit_in_bytes",
            used: "memory.usage_in_bytes",
            pages: "total_inactive_file ",
        });
    [unified, controller].into_iter().flatten().filter_map(|files| files.left()).min()
}

/// Where a version of control groups tells what is used.
struct Files<'a> {
    root: &'a str,
    path: &'a str,
    limit: &'a str,
    used: &'a str,
    /// In memory.stat: pages of files, which make room when it is needed.
    pages: &'a str,
}

impl Files<'_> {
    fn left(&self) -> Option<u64> {
        let root = Path::new(self.root);
        let mut folder: PathBuf = root.join(self.path.trim_start_matches('/'));
        let mut least = None;
        while folder.starts_with(root) {
            let number =
                |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            // No limit is the word "max", or a number beyond any memory.
            let limit = number(self.limit).filter(|limit| *limit < 1 << 60);
            if let (Some(limit), Some(used)) = (limit, number(self.used)) {
                let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
                let pages = stat.lines().find_map(|line| line.strip_prefix(self.pages));
                let pages = pages.and_then(|pages| pages.trim().parse().ok()).unwrap_or(0);
                let left = limit.saturating_sub(used.saturating_sub(pages));
                least = Some(least.map_or(left, |least: u64| least.min(left)));
            }
            if !folder.pop() {
                break;
            }
        }
        least
    }
}

/// What is left of RLIMIT_AS.
fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is valid for writing.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    if !known || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    let pages = read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').next()?.parse().ok()?;
    // SAFETY: without preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(limit.rlim_cur.saturating_sub(pages.saturating_mul(page)))
}

/// The bytes that sides, the last of them an element's, have together; as many as can be counted where
/// they are more.
pub fn product(sides: &[i64]) -> u64 {
    sides.iter().fold(1, |all, &side| all.saturating_mul(u64::try_from(side).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_bounded_by_the_tightest_limit_above_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "70\n");
        write("a/memory.max", "1000\n");
        write("a/memory.current", "700\n");
        write("a/memory.stat", "file 300\ninactive_file 200\n");
        let files = |path| {
            Files {
                root: root.path().to_str().unwrap(),
                path,
                limit: "memory.max",
                used: "memory.current",
                pages: "inactive_file ",
            }
            .left()
        };
        assert_eq!(files("/a/b"), Some(500));
        assert_eq!(files("/"), None);
    }

    #[test]
    fn what_is_not_to_be_had_is_told() {
        assert_eq!(prove(1 << 20, "a test"), Ok(()));
        let error = prove(usize::MAX / 4, "a test").unwrap_err();
        assert!(error.to_string().contains("a test"), "{error}");
    }

    #[test]
    fn this_process_has_some_of_it() {
        let resident = of_process();
        assert!(resident.now > 1 << 20 && resident.peak >= resident.now, "{resident:?}");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available().unwrap().bytes > 1 << 20);
    }
}
