//! Measures attention's share of the steps in which everything is computed.

use super::cost::{AttentionShare, ShareSource};
use crate::runtime::device::Mark;
use crate::Result;
use std::collections::VecDeque;
use std::time::Duration;
use tch::Device;

/// How many steps are timed on a device: each takes two marks a layer there.
const TIMED_STEPS_ON_DEVICE: usize = 2;

/// Sets marks around attention and the whole step, and reads them when the device has come by: the
/// host never waits for them.
///
/// The first step pays for warming up, so it counts only until there is another.
pub(super) struct Clock {
    device: Device,
    step: Option<FullStep>,
    /// Steps whose marks the device has not passed yet, oldest first.
    under_way: VecDeque<FullStep>,
    first: bool,
    attention: Duration,
    total: Duration,
}

struct FullStep {
    start: Mark,
    /// Where each attention module starts and ends.
    attention: Vec<(Mark, Mark)>,
    attention_start: Option<Mark>,
    end: Option<Mark>,
}

impl Clock {
    pub fn new(device: Device) -> Clock {
        let zero = Duration::ZERO;
        Clock {
            device,
            step: None,
            under_way: VecDeque::new(),
            first: true,
            attention: zero,
            total: zero,
        }
    }

    /// `whole`: all halves of the guidance batch run.
    pub fn step_starts(&mut self, index: usize, whole: bool) -> Result<()> {
        let timed = whole && (self.device == Device::Cpu || index < TIMED_STEPS_ON_DEVICE);
        self.step = None;
        if timed {
            let start = Mark::timed(self.device)?;
            let attention = Vec::new();
            self.step = Some(FullStep { start, attention, attention_start: None, end: None });
        }
        Ok(())
    }

    /// Something was not computed, so this is no full step.
    pub fn not_computed(&mut self) {
        self.step = None;
    }

    pub fn attention_starts(&mut self) -> Result<()> {
        if let Some(step) = &mut self.step {
            step.attention_start = Some(Mark::timed(self.device)?);
        }
        Ok(())
    }

    pub fn attention_ends(&mut self) -> Result<()> {
        if let Some(step) = &mut self.step {
            if let Some(start) = step.attention_start.take() {
                step.attention.push((start, Mark::timed(self.device)?));
            }
        }
        Ok(())
    }

    /// The share, where it is known better than before.
    pub fn step_ends(&mut self) -> Result<Option<AttentionShare>> {
        if let Some(mut step) = self.step.take() {
            step.end = Some(Mark::timed(self.device)?);
            self.under_way.push_back(step);
        }
        let mut found = None;
        while let Some((attention, total)) = self.passed()? {
            if self.first {
                self.first = false;
                found = share(attention, total);
                continue;
            }
            self.attention += attention;
            self.total += total;
            found = share(self.attention, self.total);
        }
        Ok(found)
    }

    /// Times of attention and of all of the oldest step, once the device is done with it.
    fn passed(&mut self) -> Result<Option<(Duration, Duration)>> {
        let Some(step) = self.under_way.front() else { return Ok(None) };
        let Some(end) = &step.end else { return Ok(None) };
        if !end.is_passed()? {
            return Ok(None);
        }
        let mut attention = Duration::ZERO;
        for (start, end) in &step.attention {
            attention += end.since(start)?;
        }
        let total = end.since(&step.start)?;
        self.under_way.pop_front();
        Ok(Some((attention, total)))
    }
}

fn share(attention: Duration, total: Duration) -> Option<AttentionShare> {
    let share = attention.as_secs_f64() / total.as_secs_f64();
    (share > 0.0 && share < 1.0).then_some(AttentionShare { share, source: ShareSource::Measured })
}
