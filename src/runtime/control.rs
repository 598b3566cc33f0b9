//! Cancellation, progress and log messages of one piece of work.

use super::pace::Pace;
use super::{process, reserve, waiting};
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tch::Device;

/// A sticky request to stop: once cancelled it stays cancelled, also when it comes before the
/// work it is given to starts. Cancelling is one atomic store, safe from any thread and from
/// a signal handler.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a pipeline is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading weights; counted in bytes.
    Load,
    /// Running the text encoder; counted in its layers.
    Encode,
    /// Running the transformer; counted in denoising steps.
    Denoise,
    /// Running the VAE decoder; counted in chunks of latent frames (and tiles, where tiled).
    Decode,
    /// Tuning a cache schedule; counted in runs, of which there may be fewer than foretold.
    Tune,
    /// Running the VAE encoder over the image of a run; counted in tiles, where tiled.
    EncodeImage,
}

/// One report of progress: `done` of `total` units of `stage` are finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
    /// The training timestep of the step that has just finished; `None` outside denoising.
    pub timestep: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

/// Why a callback ends the work.
#[derive(Debug)]
pub enum Stop {
    /// The host asks for it.
    Asked,
    /// The callback failed.
    Failed(Error),
}

pub type ProgressFn = Arc<dyn Fn(&Progress) -> ControlFlow<Stop> + Send + Sync>;
pub type LogFn = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// How the host follows and stops one piece of work (a load or a generation).
/// The default follows nothing and never stops.
#[derive(Clone, Default)]
pub struct Control {
    pub cancel: Option<CancelToken>,
    /// A second token that stops the work as well: that of the job it is done for.
    pub job_cancel: Option<CancelToken>,
    /// Cancelled when another rank of the same run fails, whose error is the run's then.
    pub ranks_failed: Option<CancelToken>,
    pub progress: Option<ProgressFn>,
    pub log: Option<LogFn>,
    /// Keeps the host from running far ahead of the device.
    pub pace: Arc<Pace>,
}

impl Control {
    /// [`Error::Cancelled`] once a token is cancelled or the process ends, [`Error::OutOfMemory`] once
    /// an allocation had to come from the [`reserve`]. Asked before every layer of the
    /// transformer and the text encoder and every layer of the VAE, and between the pieces of
    /// what takes long ([`super::pieces`]).
    pub fn check(&self) -> Result<()> {
        process::piece()?;
        reserve::check()?;
        let cancelled =
            |token: &Option<CancelToken>| token.as_ref().is_some_and(CancelToken::is_cancelled);
        if cancelled(&self.cancel) {
            return Err(Error::Cancelled("cancelled by its token".into()));
        }
        if cancelled(&self.job_cancel) {
            return Err(Error::Cancelled("the job was cancelled while it ran".into()));
        }
        if cancelled(&self.ranks_failed) {
            return Err(Error::Cancelled("another rank of the run failed".into()));
        }
        Ok(())
    }

    /// To be called before each layer is launched on `device`: [`Control::check`], and on CUDA a
    /// wait until the device has at most two layers left to do, so that cancelling and progress
    /// are not far from what the device does.
    pub fn begin_layer(&self, device: Device) -> Result<()> {
        self.check()?;
        if matches!(device, Device::Cpu) {
            waiting::look();
        }
        self.pace.begin_layer(device, || self.check())
    }

    /// Reports progress; an answer of `Break` ends the work with [`Error::Cancelled`].
    pub fn report(&self, progress: Progress) -> Result<()> {
        self.check()?;
        if let Some(report) = &self.progress {
            let place = || format!("{:?} {} of {}", progress.stage, progress.done, progress.total);
            match report(&progress) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Stop::Asked) => {
                    let message = format!("stopped by the progress callback at {}", place());
                    return Err(Error::Cancelled(message));
                }
                ControlFlow::Break(Stop::Failed(error)) => {
                    return Err(error.context(format_args!("progress callback at {}", place())));
                }
            }
        }
        self.check()
    }

    pub fn log(&self, level: LogLevel, message: impl AsRef<str>) {
        if process::is_ending() {
            return;
        }
        if let Some(log) = &self.log {
            log(level, message.as_ref());
        }
    }
}
