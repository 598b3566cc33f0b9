//! What this process has in memory, as the system tells it.

/// A field of /proc/self/status in bytes.
pub fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse::<u64>().unwrap()
        * 1024
}

/// What the process has now; from here on its peak (VmHWM) is counted anew.
pub fn settled() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { libc::malloc_trim(0) };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS")
}
