//! The statistics of a run: while it goes on, and after it, however it ended.

use super::cost::{AttentionShare, ShareSource, Units};
use super::forecast::{Foresight, Preview};
use super::trace::Trace;
use crate::cache::run_info::RunInfo;
use crate::cache::store::MemoryCounts;
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The statistics of one run.
#[derive(Debug, Clone, Serialize)]
pub struct CacheStats {
    /// `None` where nothing was cached.
    pub technique: Option<&'static str>,
    /// The technique's fields.
    pub settings: serde_json::Value,
    /// What a calibration run has measured, by the names of the fields that can be set to it.
    pub measured: serde_json::Value,
    pub trace: Trace,
    /// Bytes of kept tensors now; 0 once the run is over.
    pub bytes_now: u64,
    /// The most at any time of the run. Where ranks share a run, of the rank that kept most.
    pub bytes_peak: u64,
    /// Of those bytes the ones in host memory that `cache_location` has put there.
    pub host_bytes_now: u64,
    pub host_bytes_peak: u64,
    /// Layers that were selected and computed all the same, because `max_cache_bytes` had no
    /// room for them.
    pub layers_over_budget: Vec<String>,
    pub exchanged: Exchanged,
    pub units: Units,
    pub attention_share: Option<AttentionShare>,
    /// Uncached time over this run's, by the cost model.
    pub predicted_speed_up: Option<f64>,
}

/// What the ranks of a run had to do with each other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Exchanged {
    /// Ranks that computed the run together; 1 for a run on one device.
    pub ranks: usize,
    /// How many of them shared the halves of the guidance, and how many the sequence.
    pub guidance_degree: usize,
    pub sequence_degree: usize,
    /// What they sent to each other in denoising, all of them together; of a run that failed, what
    /// rank 0 sent. What was handed over on one device counts too.
    pub bytes: u64,
    pub messages: u64,
}

impl Default for Exchanged {
    fn default() -> Self {
        Exchanged { ranks: 1, guidance_degree: 1, sequence_degree: 1, bytes: 0, messages: 0 }
    }
}

impl CacheStats {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn predict(&mut self) {
        self.units = self.trace.units();
        self.predicted_speed_up = self.attention_share.map(|s| self.units.speed_up(s.share));
    }
}

/// The statistics of a run that may still be going on; clones see the same run.
#[derive(Debug, Clone)]
pub struct SharedStats {
    stats: Arc<Mutex<CacheStats>>,
    memory: MemoryCounts,
}

impl SharedStats {
    /// `cached` is the technique's name, its settings and the layers over budget.
    pub(in crate::cache) fn new(
        cached: Option<(&'static str, serde_json::Value, Vec<String>)>,
        run: &RunInfo,
        memory: MemoryCounts,
    ) -> SharedStats {
        let (technique, settings, layers_over_budget) = match cached {
            Some((name, settings, over_budget)) => (Some(name), settings, over_budget),
            None => Default::default(),
        };
        let stats = CacheStats {
            technique,
            settings,
            measured: serde_json::Value::Null,
            trace: Trace {
                layers: run.layers.clone(),
                total_steps: run.timesteps.len(),
                steps: Vec::with_capacity(run.timesteps.len()),
            },
            bytes_now: 0,
            bytes_peak: 0,
            host_bytes_now: 0,
            host_bytes_peak: 0,
            layers_over_budget,
            exchanged: Exchanged::default(),
            units: Units::default(),
            attention_share: run.sizes.as_ref().and_then(AttentionShare::estimate_of),
            predicted_speed_up: None,
        };
        SharedStats { stats: Arc::new(Mutex::new(stats)), memory }
    }

    pub(crate) fn edit(&self, change: impl FnOnce(&mut CacheStats)) {
        change(&mut self.stats.lock());
    }

    /// Bytes that are kept now, and the most that were.
    pub fn bytes(&self) -> (u64, u64) {
        (self.memory.now(), self.stats.lock().bytes_peak.max(self.memory.peak()))
    }

    /// The statistics as they are now.
    pub fn snapshot(&self) -> CacheStats {
        let mut stats = self.stats.lock().clone();
        stats.bytes_now = self.memory.now();
        stats.bytes_peak = stats.bytes_peak.max(self.memory.peak());
        let [now, peak] = self.memory.on_host();
        stats.host_bytes_now = now;
        stats.host_bytes_peak = stats.host_bytes_peak.max(peak);
        stats.predict();
        stats
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = (self.trace.steps.len(), self.trace.total_steps);
        write!(f, "{}: ", self.technique.unwrap_or("No cache"))?;
        if done == total {
            write!(f, "{total} steps")?;
        } else {
            write!(f, "{done} of {total} steps")?;
        }
        writeln!(f, ", {} layers", self.trace.layers.len())?;
        write!(f, "{}", self.trace)?;
        summary(f, &self.units, self.attention_share, self.predicted_speed_up)?;
        write!(f, "kept: {} now, {} at peak", Bytes(self.bytes_now), Bytes(self.bytes_peak))?;
        match self.host_bytes_peak {
            0 => writeln!(f)?,
            host => writeln!(f, ", in host memory {} of it", Bytes(host))?,
        }
        let exchanged = &self.exchanged;
        if exchanged.ranks > 1 {
            writeln!(
                f,
                "ranks: {}, guidance {} x sequence {}; exchanged: {} in {} messages",
                exchanged.ranks,
                exchanged.guidance_degree,
                exchanged.sequence_degree,
                Bytes(exchanged.bytes),
                exchanged.messages
            )?;
        }
        left_out(f, &self.layers_over_budget)
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, layers) = (self.trace.total_steps, self.trace.layers.len());
        writeln!(f, "{}: {steps} steps, {layers} layers", self.technique)?;
        write!(f, "{}", self.trace)?;
        summary(f, &self.units, self.attention_share, self.predicted_speed_up)?;
        if let Some(estimate) = &self.estimate {
            write!(
                f,
                "estimated: {:.2} s, denoising {:.2} s of it",
                estimate.seconds, estimate.denoise_seconds
            )?;
            match estimate.psnr {
                Some(psnr) if psnr.is_finite() => writeln!(f, ", PSNR {psnr:.1} dB")?,
                Some(_) => writeln!(f, ", equal to the uncached video")?,
                None => writeln!(f)?,
            }
        }
        if let Some(bytes) = self.bytes_peak {
            writeln!(f, "kept: {} at peak", Bytes(bytes))?;
        }
        match self.foresight {
            Foresight::Exact => {}
            Foresight::HostDecides => {
                writeln!(f, "current_timestep_callback will decide; shown is the pipeline's own")?;
            }
            Foresight::DataDecides => {
                writeln!(
                    f,
                    "what the run computes will decide; shown is a run that saves nothing"
                )?;
            }
        }
        left_out(f, &self.layers_over_budget)
    }
}

fn summary(
    f: &mut fmt::Formatter<'_>,
    units: &Units,
    share: Option<AttentionShare>,
    speed_up: Option<f64>,
) -> fmt::Result {
    writeln!(
        f,
        "computed: attention {} of {}, the rest {} of {}",
        round(units.attention),
        units.total,
        round(units.rest),
        units.total
    )?;
    if let (Some(share), Some(speed_up)) = (share, speed_up) {
        let source = match share.source {
            ShareSource::Measured => "measured",
            ShareSource::Estimated => "estimated",
        };
        writeln!(
            f,
            "predicted speed-up: {speed_up:.2} (attention {:.0} % of a step, {source})",
            100.0 * share.share
        )?;
    }
    Ok(())
}

fn left_out(f: &mut fmt::Formatter<'_>, layers: &[String]) -> fmt::Result {
    match layers {
        [] => Ok(()),
        [only] => writeln!(f, "over budget: {only}"),
        [first, .., last] => {
            writeln!(f, "over budget: {} layers, {first} to {last}", layers.len())
        }
    }
}

fn round(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0);
        write!(f, "{value:.digits$} {}", UNITS.get(unit).copied().unwrap_or(""))
    }
}
