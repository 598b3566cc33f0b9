//! Large pages for large memory.

use tch::{Device, Tensor};

/// From which size on allocators map memory by itself, and give it back to the system when it is freed
/// (the most that glibc's threshold grows to).
const OWN_MAPPING: usize = 32 << 20;
/// On x86-64.
const LARGE: usize = 2 << 20;

/// Asks the system for large pages under `tensor`, which nobody has written to yet, if it is on the CPU
/// and has a mapping of its own. Small pages cost a fault for every four kilobytes, which for
/// the VAE is a tenth of a decode. Where the system has none, nothing changes.
pub fn prefer_large_pages(tensor: &Tensor) {
    let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if tensor.device() != Device::Cpu || bytes < OWN_MAPPING {
        return;
    }
    let start = tensor.data_ptr() as usize;
    let (first, end) = (start.next_multiple_of(LARGE), (start + bytes) / LARGE * LARGE);
    #[cfg(target_os = "linux")]
    if first < end {
        // SAFETY: these pages lie in the memory of the tensor, which is alive; the advice changes
        // nothing of what is in them, and that it may fail does not matter.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (first, end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn memory_stays_what_it_is() {
        for elements in [1, 1 << 20, (9 << 20) + 5] {
            let mut tensor = Tensor::f_empty([elements], (Kind::Float, Device::Cpu)).unwrap();
            prefer_large_pages(&tensor);
            let _ = tensor.fill_(3.0);
            prefer_large_pages(&tensor);
            assert_eq!(tensor.mean(Kind::Double).double_value(&[]), 3.0);
        }
    }
}
