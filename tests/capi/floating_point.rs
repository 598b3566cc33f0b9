//! The host's floating-point modes: rounding, traps, flushing to zero.
#![cfg(target_arch = "x86_64")]

use crate::support::*;
use cogvideox::capi::*;

fn mxcsr() -> u32 {
    let mut modes = 0u32;
    // SAFETY: writes the control register of this thread to `modes`.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut modes) };
    modes
}

/// Sets the modes of this thread until dropped.
struct Modes(u32);

impl Modes {
    fn set(modes: u32) -> Modes {
        let before = mxcsr();
        // SAFETY: tests of this module alone compute with it, and nothing that depends on it.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const modes) };
        Modes(before)
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        // SAFETY: sets back what was read.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const self.0) };
    }
}

const DEFAULT: u32 = 0x1f80;
/// Traps on everything but inexact and denormal numbers.
const TRAPS: u32 = 0x1f80 & !(0x80 | 0x200 | 0x400 | 0x800);
const UPWARDS: u32 = 0x1f80 | 0x4000;
const FLUSH: u32 = 0x1f80 | 0x8000 | 0x40;

#[test]
fn are_as_they_were_and_bear_on_nothing() {
    let run = |modes: u32| {
        let mut seen = Vec::new();
        let mut on_progress = |_: &cvx_progress_info| {
            seen.push(mxcsr() & !0x3f);
            0
        };
        let mut closure = Closure(&mut on_progress);
        let data = closure.pointer();
        let options = Options::small(2);
        // SAFETY: as a host calls it; the closure outlives the run.
        ok(unsafe {
            cvx_generate_options_set_progress_callback(options.0, Some(call_progress), data, None)
        });
        let set = Modes::set(modes);
        let pipeline = Pipeline::load("5b");
        let video = generate(&pipeline, &options);
        let after = mxcsr() & !0x3f;
        drop(set);
        assert_eq!(after, modes & !0x3f);
        drop(options);
        // Callbacks compute as the host does.
        assert!(!seen.is_empty() && seen.iter().all(|&found| found == modes & !0x3f), "{seen:x?}");
        latents(&video).0
    };
    let expected = run(DEFAULT);
    for modes in [TRAPS, UPWARDS, FLUSH] {
        assert!(run(modes) == expected, "other latents with MXCSR {modes:x}");
    }
}
