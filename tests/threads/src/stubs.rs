//! What the sources use of the rest of the library, as little as does.

/// Of the library's error type, what these modules make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    InvalidArgument(String),
    DeviceUnavailable(String),
    OutOfMemory(String),
    Busy(String),
    Cancelled(String),
    Internal(String),
}

impl Error {
    pub fn context(self, _context: impl std::fmt::Display) -> Error {
        self
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Of tch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(usize),
}

pub mod pace {
    #[derive(Default)]
    pub struct Pace;

    impl Pace {
        pub fn begin_layer(
            &self,
            _device: crate::Device,
            check: impl Fn() -> crate::Result<()>,
        ) -> crate::Result<()> {
            check()
        }
    }
}

/// OpenMP is not there.
pub mod waiting {
    pub fn look() {}
}

pub mod pipeline {
    use super::{Error, Result};
    use crate::pipeline::turns::{Taken, Turns};
    use crate::runtime::process::Work;
    use crate::runtime::{Control, Progress, Stage};
    use crate::video::Video;
    use std::time::Duration;

    #[derive(Clone, Default)]
    pub struct Adapters;

    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub enum Output {
        #[default]
        Frames,
        Latents,
    }

    /// A run of so many pieces.
    #[derive(Default)]
    pub struct GenerateOptions {
        pub num_inference_steps: usize,
        pub timesteps: Option<Vec<i64>>,
        pub output: Output,
    }

    #[derive(Default)]
    pub struct Pipeline {
        turns: Turns,
    }

    pub struct Turn<'a> {
        _taken: Taken<'a>,
        _work: Work,
    }

    impl Pipeline {
        pub fn adapters(&self) -> Adapters {
            Adapters
        }

        pub fn begin(&self) -> Result<Turn<'_>> {
            let work = Work::begin()?;
            let taken = self.turns.take();
            let taken = taken.ok_or_else(|| Error::Busy("generating already".into()))?;
            Ok(Turn { _taken: taken, _work: work })
        }

        pub fn wait_idle(&self, most: Duration) {
            self.turns.wait_idle(most);
        }
    }

    impl Turn<'_> {
        pub fn generate(
            &self,
            options: &GenerateOptions,
            _adapters: &Adapters,
            control: &Control,
        ) -> Result<Video> {
            let total = options.num_inference_steps as u64;
            for done in 1..=total {
                let stage = Stage::Denoise;
                control.report(Progress { stage, done, total, timestep: None })?;
            }
            control.check()?;
            Ok(Video(total))
        }
    }
}

#[cfg(loom)]
pub mod reserve {
    pub fn check() -> crate::Result<()> {
        Ok(())
    }
}

/// A process that does not end, with loom's threads.
#[cfg(loom)]
pub mod process {
    use crate::Result;
    pub use loom::thread::ThreadId;

    pub struct Work;

    impl Work {
        pub fn begin() -> Result<Work> {
            Ok(Work)
        }
    }

    pub fn is_ending() -> bool {
        false
    }

    pub fn check_ending() -> Result<()> {
        Ok(())
    }

    pub fn check() -> Result<()> {
        Ok(())
    }

    pub fn piece() -> Result<()> {
        Ok(())
    }

    pub fn this_thread() -> ThreadId {
        loom::thread::current().id()
    }

    pub fn spawn(
        _name: &str,
        _stack: usize,
        _wake: impl Fn() + Send + 'static,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<ThreadId> {
        Ok(loom::thread::spawn(body).thread().id())
    }
}

#[cfg(not(loom))]
pub mod shim {
    pub fn cuda_set_device(_index: i32) -> crate::Result<()> {
        Ok(())
    }

    pub fn silence_onednn() {}

    pub mod event {
        pub struct DeviceEvent;
    }

    pub mod spare {
        pub fn while_starting<T>(start: impl FnOnce() -> T) -> T {
            start()
        }
    }
}
