//! What this process has in memory, as the system tells it.

/// A field of /proc/self/status in bytes.
pub fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse::<u64>().unwrap()
        * 1024
}

/// What the process has now; from here on its peak (VmHWM) is counted anew.
///
/// glibc raises the size from which it takes memory from the system each time such memory is freed,
/// up to 32 MiB. Smaller tensors then stay in its arenas after they are freed, 50 to 350 MB of them in
/// a load of 1 GB, another figure each time. With the size fixed, what is counted is what is used.
pub fn settled() -> u64 {
    // SAFETY: neither has preconditions; the size is of this process, which is a test.
    unsafe {
        assert_eq!(libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20), 1);
        libc::malloc_trim(0);
    }
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS")
}
