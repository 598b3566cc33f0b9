//! The floating-point modes of the calling thread: rounding, traps, whether tiny numbers are
//! flushed to zero. A host may have set any; libtorch's kernels are made for the defaults, and
//! dividing by zero on the way to a mask would raise SIGFPE. So every function computes with the
//! defaults, callbacks are called with the host's own modes, and the caller finds its modes as
//! they were.

use std::cell::Cell;

thread_local! {
    /// The host's modes while a function of the library runs; `None` where they are the defaults.
    static HOST: Cell<Option<Modes>> = const { Cell::new(None) };
}

/// The defaults on this thread, until dropped.
pub(super) struct Defaults {
    /// Of the function that this one is called in, through a callback.
    outer: Option<Modes>,
}

impl Defaults {
    pub fn enter() -> Defaults {
        Defaults { outer: HOST.replace(Modes::leave_host()) }
    }
}

impl Drop for Defaults {
    fn drop(&mut self) {
        if let Some(host) = HOST.replace(self.outer) {
            host.set();
        }
    }
}

/// Runs code of the host with the host's modes, which it may change.
pub(super) fn with_hosts_modes<T>(call: impl FnOnce() -> T) -> T {
    if let Some(host) = HOST.get() {
        host.set();
    }
    let result = call();
    HOST.set(Modes::leave_host());
    result
}

impl Modes {
    /// Sets the defaults; returns what was set before, unless it was the defaults.
    fn leave_host() -> Option<Modes> {
        let found = Modes::read();
        if found.are_defaults() {
            return None;
        }
        Modes::DEFAULTS.set();
        Some(found)
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    mxcsr: u32,
    x87: u16,
}

#[cfg(target_arch = "x86_64")]
impl Modes {
    /// What a thread begins with (System V ABI, AMD64 supplement, 3.2.1).
    const DEFAULTS: Modes = Modes { mxcsr: 0x1f80, x87: 0x037f };
    /// Bits of MXCSR that tell what has happened, rather than what is to happen.
    const FLAGS: u32 = 0x3f;

    fn are_defaults(self) -> bool {
        self.mxcsr & !Self::FLAGS == Self::DEFAULTS.mxcsr && self.x87 == Self::DEFAULTS.x87
    }

    fn read() -> Modes {
        let mut modes = Modes { mxcsr: 0, x87: 0 };
        // SAFETY: both instructions write one field and change nothing else.
        unsafe {
            std::arch::asm!(
                "stmxcsr [{mxcsr}]",
                "fnstcw [{x87}]",
                mxcsr = in(reg) &raw mut modes.mxcsr,
                x87 = in(reg) &raw mut modes.x87,
                options(nostack, preserves_flags),
            );
        }
        modes
    }

    fn set(self) {
        // SAFETY: the values were read by `read` or are the defaults; no Rust code that is
        // affected runs between here and the setting back. x87's pending exceptions go first:
        // with traps they would be raised.
        unsafe {
            std::arch::asm!(
                "fnclex",
                "fldcw [{x87}]",
                "ldmxcsr [{mxcsr}]",
                mxcsr = in(reg) &raw const self.mxcsr,
                x87 = in(reg) &raw const self.x87,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes(u64);

#[cfg(target_arch = "aarch64")]
impl Modes {
    /// What a thread begins with.
    const DEFAULTS: Modes = Modes(0);

    fn are_defaults(self) -> bool {
        self == Self::DEFAULTS
    }

    fn read() -> Modes {
        let modes;
        // SAFETY: reads the control register of this thread.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) modes, options(nomem, nostack)) };
        Modes(modes)
    }

    fn set(self) {
        // SAFETY: the value was read by `read` or is the default.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) self.0, options(nomem, nostack)) };
    }
}

/// Elsewhere the modes are left alone.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl Modes {
    const DEFAULTS: Modes = Modes;

    fn are_defaults(self) -> bool {
        true
    }

    fn read() -> Modes {
        Modes
    }

    fn set(self) {}
}
