//! Stands between the model and a technique and writes down what happens; a run without a
//! technique is one that computes everything.

use super::cost::{AttentionShare, ShareSource};
use super::stats::SharedStats;
use super::trace::{LayerState, StepTrace, Unconditional};
use super::{Attention, Branches, LayerCache, RunCache, Step};
use crate::Result;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

pub(super) struct Recorder {
    technique: Option<(Box<dyn RunCache>, LayerState)>,
    guided: bool,
    layers: usize,
    stats: SharedStats,
    clock: Clock,
    /// The technique itself asked for what is being computed.
    wanted: bool,
}

impl Recorder {
    pub fn new(
        technique: Option<(Box<dyn RunCache>, LayerState)>,
        guided: bool,
        layers: usize,
        device: Device,
        stats: SharedStats,
    ) -> Result<Recorder> {
        let clock = Clock::new(device)?;
        Ok(Recorder { technique, guided, layers, stats, clock, wanted: false })
    }

    fn note(&self, layer: usize, state: LayerState) {
        self.stats.edit(|stats| {
            if let Some(slot) =
                stats.trace.steps.last_mut().and_then(|step| step.layers.get_mut(layer))
            {
                *slot = Some(state);
            }
        });
    }
}

impl LayerCache for Recorder {
    fn attention(&mut self, layer: usize) -> Result<Attention> {
        let answer = match &mut self.technique {
            Some((technique, _)) => technique.attention(layer)?,
            None => Attention::Compute { keep: false },
        };
        let keep = match answer {
            Attention::Compute { keep } => keep,
            reuse => {
                let state = self.technique.as_ref().map_or(LayerState::Reused, |(_, s)| *s);
                self.note(layer, state);
                self.clock.reused();
                return Ok(reuse);
            }
        };
        self.note(layer, LayerState::Computed);
        self.wanted = keep;
        let timed = self.clock.attention_starts()?;
        Ok(Attention::Compute { keep: keep || timed })
    }

    fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        self.clock.attention_ends()?;
        match &mut self.technique {
            Some((technique, _)) if self.wanted => technique.computed(layer, output),
            _ => Ok(()),
        }
    }
}

impl RunCache for Recorder {
    fn begin_step(&mut self, step: Step) -> Result<Branches> {
        let branches = match &mut self.technique {
            Some((technique, _)) => technique.begin_step(step)?,
            None => Branches::All,
        };
        self.stats.edit(|stats| {
            stats.trace.steps.push(StepTrace {
                timestep: step.timestep,
                unconditional: Unconditional::of(self.guided, branches),
                layers: vec![None; self.layers],
            });
        });
        self.clock.step_starts(step.index, branches)?;
        Ok(branches)
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if let Some(share) = self.clock.step_ends()? {
            self.stats.edit(|stats| stats.attention_share = Some(share));
        }
        match &mut self.technique {
            Some((technique, _)) => technique.end_step(output),
            None => Ok(output),
        }
    }
}

/// Measures attention's share of the steps in which everything is computed. The first step
/// pays for warming up, so it counts only until there is another.
struct Clock {
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

/// How many steps are timed where timing means waiting for the device.
const TIMED_STEPS_ON_DEVICE: usize = 2;

impl Clock {
    fn new(device: Device) -> Result<Clock> {
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

    fn step_starts(&mut self, index: usize, branches: Branches) -> Result<()> {
        let timed =
            branches == Branches::All && (self.probe.is_none() || index < TIMED_STEPS_ON_DEVICE);
        self.step = if timed {
            Some(FullStep { start: self.now()?, attention: Duration::ZERO, attention_start: None })
        } else {
            None
        };
        Ok(())
    }

    /// A layer did not compute, so this is no full step.
    fn reused(&mut self) {
        self.step = None;
    }

    /// Answers whether the end must be told too.
    fn attention_starts(&mut self) -> Result<bool> {
        if self.step.is_none() {
            return Ok(false);
        }
        let now = self.now()?;
        if let Some(step) = &mut self.step {
            step.attention_start = Some(now);
        }
        Ok(true)
    }

    fn attention_ends(&mut self) -> Result<()> {
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

    fn step_ends(&mut self) -> Result<Option<AttentionShare>> {
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
