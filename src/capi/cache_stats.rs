//! `cvx_cache_stats`: what a run did, or what one will do.

use super::error::one_line;
use super::handle::{free, peek};
use super::panic::infallible;
use crate::cache::{
    AttentionShare, CacheStats, Estimate, Exchanged, LayerState, Preview, ShareSource, Trace,
    Unconditional, Units,
};
use std::collections::HashSet;
use std::ffi::{c_char, CStr, CString};
use std::sync::OnceLock;

/// The run ended before it reached the layer, or there is no such step or layer.
pub const CVX_LAYER_NOT_REACHED: i32 = 0;
/// The attention module was computed.
pub const CVX_LAYER_COMPUTED: i32 = 1;
/// A kept output was used as it was.
pub const CVX_LAYER_REUSED: i32 = 2;
/// An output was extrapolated from kept ones.
pub const CVX_LAYER_APPROXIMATED: i32 = 3;
/// The block did not run: what it added in an earlier step was added again.
pub const CVX_LAYER_SKIPPED: i32 = 4;
/// Neither attention nor the feed-forward layer was computed: what they, or the whole model, would
/// have given was extrapolated from kept outputs.
pub const CVX_LAYER_PREDICTED: i32 = 5;
/// Attention was computed, the output of the feed-forward layer extrapolated from kept ones.
pub const CVX_LAYER_FEED_FORWARD_PREDICTED: i32 = 6;

/// Guidance is off: there is no unconditional half. Also for a step that there is none of.
pub const CVX_UNCONDITIONAL_ABSENT: i32 = 0;
/// The unconditional half ran.
pub const CVX_UNCONDITIONAL_RAN: i32 = 1;
/// The unconditional half was rebuilt from the conditional one.
pub const CVX_UNCONDITIONAL_REBUILT: i32 = 2;
/// Neither half ran: the output of the step was predicted.
pub const CVX_UNCONDITIONAL_PREDICTED: i32 = 3;

/// The statistics of a run, or of one that is previewed. A snapshot: it does not change and
/// outlives its pipeline. Made by cvx_pipeline_cache_stats, cvx_pipeline_preview_cache or
/// cvx_cache_config_preview, freed by cvx_cache_stats_free. Every function that reads it
/// returns 0, NULL or "" for NULL, and may be called from any thread.
///
/// Since 0.1.
pub struct cvx_cache_stats {
    source: Source,
    technique: CString,
    layer_names: Vec<CString>,
    over_budget: Vec<bool>,
    bytes_now: u64,
    bytes_peak: u64,
    host_bytes_now: u64,
    host_bytes_peak: u64,
    units: Units,
    exchanged: Exchanged,
    share: Option<AttentionShare>,
    predicted_speed_up: Option<f64>,
    estimate: Option<Estimate>,
    // Made when they are first asked for: of a long run they are most of the work.
    text: OnceLock<CString>,
    json: OnceLock<CString>,
}

/// What the statistics were taken from.
enum Source {
    Run(Box<CacheStats>),
    Preview(Box<Preview>),
}

impl cvx_cache_stats {
    fn trace(&self) -> &Trace {
        match &self.source {
            Source::Run(stats) => &stats.trace,
            Source::Preview(preview) => &preview.trace,
        }
    }

    fn text(&self) -> &CStr {
        self.text.get_or_init(|| match &self.source {
            Source::Run(stats) => lines(stats.to_string()),
            Source::Preview(preview) => lines(preview.to_string()),
        })
    }

    fn json(&self) -> &CStr {
        self.json.get_or_init(|| match &self.source {
            Source::Run(stats) => lines(stats.to_json()),
            Source::Preview(preview) => lines(preview.to_json()),
        })
    }
}

impl From<CacheStats> for cvx_cache_stats {
    fn from(stats: CacheStats) -> Self {
        cvx_cache_stats {
            technique: one_line(stats.technique.unwrap_or("")),
            layer_names: names(&stats.trace),
            over_budget: marks(&stats.trace, &stats.layers_over_budget),
            bytes_now: stats.bytes_now,
            bytes_peak: stats.bytes_peak,
            host_bytes_now: stats.host_bytes_now,
            host_bytes_peak: stats.host_bytes_peak,
            units: stats.units,
            exchanged: stats.exchanged,
            share: stats.attention_share,
            predicted_speed_up: stats.predicted_speed_up,
            estimate: None,
            text: OnceLock::new(),
            json: OnceLock::new(),
            source: Source::Run(Box::new(stats)),
        }
    }
}

impl From<Preview> for cvx_cache_stats {
    fn from(preview: Preview) -> Self {
        cvx_cache_stats {
            technique: one_line(preview.technique),
            layer_names: names(&preview.trace),
            over_budget: marks(&preview.trace, &preview.layers_over_budget),
            bytes_now: 0,
            bytes_peak: preview.bytes_peak.unwrap_or(0),
            host_bytes_now: 0,
            host_bytes_peak: 0,
            units: preview.units,
            exchanged: Exchanged::default(),
            share: preview.attention_share,
            predicted_speed_up: preview.predicted_speed_up,
            estimate: preview.estimate,
            text: OnceLock::new(),
            json: OnceLock::new(),
            source: Source::Preview(Box::new(preview)),
        }
    }
}

fn names(trace: &Trace) -> Vec<CString> {
    trace.layers.iter().map(|name| one_line(name)).collect()
}

fn marks(trace: &Trace, over_budget: &[String]) -> Vec<bool> {
    let over_budget: HashSet<&String> = over_budget.iter().collect();
    trace.layers.iter().map(|name| over_budget.contains(name)).collect()
}

/// Several lines as a C string.
fn lines(text: String) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let bytes = error.into_vec().into_iter().filter(|byte| *byte != 0).collect::<Vec<u8>>();
        // No NUL is left, so this cannot fail; an empty text is the answer if it does.
        CString::new(bytes).unwrap_or_default()
    })
}

fn index(value: i32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn count(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Reads what is behind a handle; `otherwise` is the answer for NULL.
///
/// # Safety
/// `stats` is NULL or live; what is answered must not outlive it.
unsafe fn read<T: Copy>(
    stats: *const cvx_cache_stats,
    otherwise: T,
    answer: impl FnOnce(&cvx_cache_stats) -> T,
) -> T {
    infallible(otherwise, || {
        // SAFETY: the caller's.
        unsafe { peek(stats) }.map_or(otherwise, answer)
    })
}

/// Frees statistics and every text that they own. NULL is allowed and does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_free(stats: *mut cvx_cache_stats) {
    infallible((), || {
        // SAFETY: NULL or statistics that were handed out, not freed yet.
        unsafe { free(stats) }
    })
}

/// A table for people: a column for each step, a row for each group of layers that did the
/// same, whether the unconditional half ran, and below it counts, bytes and the predicted
/// speed-up. Several lines of ASCII, the last one ended too; "" for NULL.
///
/// The text belongs to the statistics. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_text(stats: *const cvx_cache_stats) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, c"".as_ptr(), |stats| stats.text().as_ptr()) }
}

/// The same for programs, as one JSON object: technique, settings, measured (what a calibration run
/// measured, by the fields that can be set to it; null for others), trace (for each step its
/// timestep, the unconditional half, and a string with a character for each layer: '#'
/// computed, '=' reused, '~' approximated, '-' skipped, '+' feed-forward
/// predicted, '^' predicted, '.' not reached), bytes, units, attention share,
/// predicted speed-up. "" for NULL.
///
/// The text belongs to the statistics. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_json(stats: *const cvx_cache_stats) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, c"".as_ptr(), |stats| stats.json().as_ptr()) }
}

/// The technique's name, "Pyramid Attention Broadcast" or "FasterCache"; "" where no cache was
/// enabled.
///
/// The text belongs to the statistics. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_technique(stats: *const cvx_cache_stats) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, c"".as_ptr(), |stats| stats.technique.as_ptr()) }
}

/// How many steps the run has, also if it ended before the last.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_total_steps(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.trace().total_steps)) }
}

/// How many steps have begun: fewer than cvx_cache_stats_total_steps for a run that is under
/// way or ended early.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_num_steps(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.trace().steps.len())) }
}

/// How many attention layers there are.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_num_layers(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.layer_names.len())) }
}

/// The name of a layer, from 0, such as "transformer_blocks.0.attn1"; NULL if there is none.
///
/// The text belongs to the statistics. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_layer_name(
    stats: *const cvx_cache_stats,
    layer: i32,
) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, std::ptr::null(), |stats| {
            stats.layer_names.get(index(layer)).map_or(std::ptr::null(), |name| name.as_ptr())
        })
    }
}

/// The pipeline's timestep of a step, from 0; -1 for a step that has not begun.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_timestep(stats: *const cvx_cache_stats, step: i32) -> i64 {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, -1, |stats| stats.trace().steps.get(index(step)).map_or(-1, |s| s.timestep))
    }
}

/// What a layer was in a step, both from 0: one of CVX_LAYER_*.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_layer_state(
    stats: *const cvx_cache_stats,
    step: i32,
    layer: i32,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, CVX_LAYER_NOT_REACHED, |stats| {
            let step = stats.trace().steps.get(index(step));
            match step.and_then(|step| step.layers.get(index(layer)).copied().flatten()) {
                None => CVX_LAYER_NOT_REACHED,
                Some(LayerState::Computed) => CVX_LAYER_COMPUTED,
                Some(LayerState::Reused) => CVX_LAYER_REUSED,
                Some(LayerState::Approximated) => CVX_LAYER_APPROXIMATED,
                Some(LayerState::Skipped) => CVX_LAYER_SKIPPED,
                Some(LayerState::Predicted) => CVX_LAYER_PREDICTED,
                Some(LayerState::FeedForwardPredicted) => CVX_LAYER_FEED_FORWARD_PREDICTED,
            }
        })
    }
}

/// How often a layer, from 0, was in a state, one of CVX_LAYER_COMPUTED, _REUSED and
/// _APPROXIMATED; with -1, how often all layers together were.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_layer_count(
    stats: *const cvx_cache_stats,
    layer: i32,
    state: i32,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, 0, |stats| {
            let layers = match layer {
                -1 => 0..stats.layer_names.len(),
                layer => index(layer)..index(layer).saturating_add(1),
            };
            let of = |layer| {
                let counts = stats.trace().counts(layer);
                match state {
                    CVX_LAYER_COMPUTED => counts.computed,
                    CVX_LAYER_REUSED => counts.reused,
                    CVX_LAYER_APPROXIMATED => counts.approximated,
                    CVX_LAYER_SKIPPED => counts.skipped,
                    CVX_LAYER_PREDICTED => counts.predicted,
                    CVX_LAYER_FEED_FORWARD_PREDICTED => counts.feed_forward_predicted,
                    _ => 0,
                }
            };
            count(layers.map(of).sum())
        })
    }
}

/// What became of the unconditional half of the guidance batch in a step, from 0: one of
/// CVX_UNCONDITIONAL_*.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_unconditional(
    stats: *const cvx_cache_stats,
    step: i32,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, CVX_UNCONDITIONAL_ABSENT, |stats| {
            match stats.trace().steps.get(index(step)).map(|step| step.unconditional) {
                None | Some(Unconditional::Absent) => CVX_UNCONDITIONAL_ABSENT,
                Some(Unconditional::Ran) => CVX_UNCONDITIONAL_RAN,
                Some(Unconditional::Rebuilt) => CVX_UNCONDITIONAL_REBUILT,
                Some(Unconditional::Predicted) => CVX_UNCONDITIONAL_PREDICTED,
            }
        })
    }
}

/// 1 for a layer, from 0, that was to be cached and computed on every step instead, because
/// max_cache_bytes had no room for it; else 0.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_layer_over_budget(
    stats: *const cvx_cache_stats,
    layer: i32,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe {
        read(stats, 0, |stats| {
            i32::from(stats.over_budget.get(index(layer)).copied().unwrap_or(false))
        })
    }
}

/// Bytes of tensors kept when the statistics were taken; 0 once the run is over.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_bytes_now(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.bytes_now) }
}

/// The most bytes of tensors kept at any time of the run; of a preview, the most that will be,
/// and 0 where the sizes are not known.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_bytes_peak(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.bytes_peak) }
}

/// Of cvx_cache_stats_bytes_now the bytes that cvx_cache_config_set_cache_location has put into host
/// memory; the others are on the device.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_host_bytes_now(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.host_bytes_now) }
}

/// The most of those at any time of the run; 0 of a preview, which tells all bytes together
/// (cvx_cache_stats_bytes_peak).
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_host_bytes_peak(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.host_bytes_peak) }
}

/// How many devices or processes computed the run together; 1 for a run on one, and a preview; 0 for
/// NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_num_ranks(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.exchanged.ranks)) }
}

/// Among how many of them the halves of the guidance were shared: 2, or 1 for each computed both; 0
/// for NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_guidance_degree(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.exchanged.guidance_degree)) }
}

/// Among how many of them a sequence was shared; 0 for NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_sequence_degree(stats: *const cvx_cache_stats) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| count(stats.exchanged.sequence_degree)) }
}

/// The bytes that they sent to each other in denoising, all together; of a run that goes on or
/// failed, 0 or those of the first one. Attention that is reused exchanges nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_bytes_exchanged(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.exchanged.bytes) }
}

/// In how many messages from one to another those bytes were sent.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_messages_exchanged(stats: *const cvx_cache_stats) -> u64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0, |stats| stats.exchanged.messages) }
}

/// The units that were computed of attention, averaged over the layers. A unit is one half of
/// the guidance batch in one step: 50 steps with guidance have 100, see
/// cvx_cache_stats_total_units.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_attention_units(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.units.attention) }
}

/// The units that were computed of everything but attention.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_rest_units(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.units.rest) }
}

/// The units that a run without a cache would have computed in the same steps.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_total_units(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.units.total) }
}

/// Attention's part of the time of a step in which everything is computed, between 0 and 1;
/// 0 where it is not known. out_is_measured_or_null is given 1 if it was timed in such steps of
/// the run, 0 if it was estimated by counting multiplications.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_attention_share(
    stats: *const cvx_cache_stats,
    out_is_measured_or_null: *mut i32,
) -> f64 {
    // SAFETY: by the contract of the header.
    let share = unsafe { read(stats, None, |stats| stats.share) };
    // SAFETY: by the contract of the header.
    if let Some(out) = unsafe { super::convert::Out::optional(out_is_measured_or_null) } {
        out.write(i32::from(share.is_some_and(|s| s.source == ShareSource::Measured)));
    }
    share.map_or(0.0, |share| share.share)
}

/// How many times as fast as without a cache the steps are, by the cost model
/// total / (share * attention + (1 - share) * rest) of the units above and the attention share;
/// 0 where the share is not known.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_predicted_speed_up(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.predicted_speed_up.unwrap_or(0.0)) }
}

/// How many seconds the run is expected to take from the prompt to the frames, where
/// cvx_pipeline_estimate_cache made these statistics; else 0.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_estimated_seconds(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.estimate.map_or(0.0, |estimate| estimate.seconds)) }
}

/// The PSNR in decibels against the uncached video that is expected of the run's, where
/// cvx_pipeline_estimate_cache made these statistics: infinite where nothing is left out, 0 where
/// what the run computes decides, and in all other statistics.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_stats_estimated_psnr(stats: *const cvx_cache_stats) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { read(stats, 0.0, |stats| stats.estimate.and_then(|e| e.psnr).unwrap_or(0.0)) }
}
