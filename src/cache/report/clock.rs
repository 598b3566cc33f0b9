//! Measures attention's share of the steps in which everything is computed.

use super::cost::{AttentionShare, ShareSource};
use crate::Result;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// How many steps are timed where timing means waiting for the device.
const TIMED_STEPS_ON_DEVICE: usize = 2;

/// The first step pays for warming up, so it counts only until there is another.
pub(super) struct Clock {
    /// A value on the device to wait for, where work is queued rather than done.
    probe: Option<Tensor>,
    step: Option<FullStep>,
    first: bool,
    attention: Duration,
    total: Duration,
}

struct FullStep {
    start: Instant,
    attention: Duration,
    attention_start: Option<Instant>,
}

impl Clock {
    pub fn new(device: Device) -> Result<Clock> {
        let probe = match device {
            Device::Cpu => None,
            device => Some(Tensor::f_zeros([1], (Kind::Float, device))?),
        };
        let zero = Duration::ZERO;
        Ok(Clock { probe, step: None, first: true, attention: zero, total: zero })
    }

    /// Waits until everything queued so far is done.
    fn now(&self) -> Result<Instant> {
        if let Some(probe) = &self.probe {
            probe.f_double_value(&[0])?;
        }
        Ok(Instant::now())
    }

    /// `whole`: all halves of the guidance batch run.
    pub fn step_starts(&mut self, index: usize, whole: bool) -> Result<()> {
        let timed = whole && (self.probe.is_none() || index < TIMED_STEPS_ON_DEVICE);
        self.step = if timed {
            Some(FullStep { start: self.now()?, attention: Duration::ZERO, attention_start: None })
        } else {
            None
        };
        Ok(())
    }

    /// Something was not computed, so this is no full step.
    pub fn not_computed(&mut self) {
        self.step = None;
    }

    pub fn attention_starts(&mut self) -> Result<()> {
        if self.step.is_none() {
            return Ok(());
        }
        let now = self.now()?;
        if let Some(step) = &mut self.step {
            step.attention_start = Some(now);
        }
        Ok(())
    }

    pub fn attention_ends(&mut self) -> Result<()> {
        if self.step.is_none() {
            return Ok(());
        }
        let now = self.now()?;
        if let Some(step) = &mut self.step {
            if let Some(start) = step.attention_start.take() {
                step.attention += now.saturating_duration_since(start);
            }
        }
        Ok(())
    }

    /// The share as it is known after this step, if this was a full one.
    pub fn step_ends(&mut self) -> Result<Option<AttentionShare>> {
        let Some(step) = self.step.take() else { return Ok(None) };
        let total = self.now()?.saturating_duration_since(step.start);
        if self.first {
            self.first = false;
            return Ok(share(step.attention, total));
        }
        self.attention += step.attention;
        self.total += total;
        Ok(share(self.attention, self.total))
    }
}

fn share(attention: Duration, total: Duration) -> Option<AttentionShare> {
    let share = attention.as_secs_f64() / total.as_secs_f64();
    (share > 0.0 && share < 1.0).then_some(AttentionShare { share, source: ShareSource::Measured })
}
