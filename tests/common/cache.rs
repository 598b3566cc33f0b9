//! The C functions of the caches with owners for their handles.

use super::cases::Case;
use super::handles::{c_string, check, Options, Pipeline, Result};
use cogvideox::capi::*;
use serde_json::{Map, Value};
use std::ffi::{c_char, c_void, CStr};
use std::ptr::{null, null_mut};

/// `cvx_cache_config`.
pub struct CacheConfig(pub *mut cvx_cache_config);

impl Drop for CacheConfig {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_cache_config_free(self.0) }
    }
}

/// A callback of the manifests: returns `base + per_timestep * timestep`.
struct Linear {
    base: f64,
    per_timestep: f64,
}

impl Linear {
    fn of(value: &Value) -> *mut c_void {
        let number = |name: &str| value[name].as_f64().unwrap();
        let linear = Linear { base: number("base"), per_timestep: number("per_timestep") };
        Box::into_raw(Box::new(linear)).cast()
    }

    fn answer(&self, timestep: f64) -> f64 {
        self.base + self.per_timestep * timestep
    }
}

unsafe extern "C" fn step_answer(info: *const cvx_step_info, linear: *mut c_void) -> f64 {
    // SAFETY: `info` lives for the call, `linear` until it is freed below.
    unsafe { (*linear.cast::<Linear>()).answer((*info).timestep) }
}

unsafe extern "C" fn layer_answer(info: *const cvx_layer_info, linear: *mut c_void) -> f64 {
    // SAFETY: as for `step_answer`.
    unsafe { (*linear.cast::<Linear>()).answer((*info).timestep) }
}

unsafe extern "C" fn free_linear(linear: *mut c_void) {
    // SAFETY: made by `Linear::of`, freed once by the library.
    drop(unsafe { Box::from_raw(linear.cast::<Linear>()) });
}

fn range(value: &Value) -> (i32, i32) {
    let bound = |i: usize| value[i].as_i64().unwrap() as i32;
    (bound(0), bound(1))
}

impl CacheConfig {
    /// The config of a case: diffusers' defaults and the fields that differ, set one by one.
    pub fn of(case: &Case) -> Result<CacheConfig> {
        CacheConfig::with_fields(&case.cache)
    }

    /// The same through fields by name and values as JSON, which every technique has.
    pub fn by_name(fields: &Map<String, Value>) -> Result<CacheConfig> {
        let technique = c_string(fields["technique"].as_str().unwrap());
        let mut config = CacheConfig(null_mut());
        // SAFETY: the string and the place live for the call.
        check(unsafe { cvx_cache_config_new(technique.as_ptr(), null(), &mut config.0) })?;
        for (field, value) in fields.iter().filter(|(field, _)| *field != "technique") {
            // Dtypes have the library's names in fields, torch's in diffusers' configs.
            let value = match value.as_str() {
                Some("float32") => "f32".into(),
                Some("bfloat16") => "bf16".into(),
                _ => value.clone(),
            };
            let (field, value) = (c_string(field), c_string(&value.to_string()));
            // SAFETY: the config is live and used by one thread; strings live for the call.
            check(unsafe { cvx_cache_config_set_field(config.0, field.as_ptr(), value.as_ptr()) })?;
        }
        Ok(config)
    }

    pub fn from_json(json: &str) -> Result<CacheConfig> {
        let (json, mut config) = (c_string(json), CacheConfig(null_mut()));
        // SAFETY: the string and the place live for the call.
        check(unsafe { cvx_cache_config_from_json(json.as_ptr(), &mut config.0) })?;
        Ok(config)
    }

    pub fn json(&self) -> Result<Value> {
        let mut text = null();
        // SAFETY: the config is live, and the text is until the next call for it.
        let text = unsafe {
            check(cvx_cache_config_to_json(self.0, &mut text))?;
            CStr::from_ptr(text)
        };
        Ok(serde_json::from_str(text.to_str().unwrap()).unwrap())
    }

    fn with_fields(fields: &Map<String, Value>) -> Result<CacheConfig> {
        let config = CacheConfig(match fields["technique"].as_str() {
            Some("pyramid_attention_broadcast") => cvx_pab_config_new(),
            Some("faster_cache") => cvx_faster_cache_config_new(),
            other => panic!("technique {other:?}"),
        });
        for (field, value) in fields.iter().filter(|(field, _)| *field != "technique") {
            config.set(field, value)?;
        }
        Ok(config)
    }

    /// Calls the setter that is called as the field.
    fn set(&self, field: &str, value: &Value) -> Result<()> {
        match value {
            Value::Object(_) => self.set_callback(field, value),
            Value::Array(_) if field.ends_with("identifiers") => self.set_identifiers(field, value),
            Value::Array(_) => self.set_range(field, value),
            _ => self.set_plain(field, value),
        }
    }

    fn set_plain(&self, field: &str, value: &Value) -> Result<()> {
        let config = self.0;
        let whole = || value.as_i64().unwrap() as i32;
        let number = || value.as_f64().unwrap();
        // SAFETY: the config is live and used by one thread; strings live for the call.
        check(unsafe {
            match field {
                "spatial_attention_block_skip_range" => {
                    cvx_cache_config_set_spatial_attention_block_skip_range(config, whole())
                }
                "temporal_attention_block_skip_range" => {
                    cvx_cache_config_set_temporal_attention_block_skip_range(config, whole())
                }
                "cross_attention_block_skip_range" => {
                    cvx_cache_config_set_cross_attention_block_skip_range(config, whole())
                }
                "unconditional_batch_skip_range" => {
                    cvx_cache_config_set_unconditional_batch_skip_range(config, whole())
                }
                "alpha_low_frequency" => cvx_cache_config_set_alpha_low_frequency(config, number()),
                "alpha_high_frequency" => {
                    cvx_cache_config_set_alpha_high_frequency(config, number())
                }
                "tensor_format" => {
                    let format = c_string(value.as_str().unwrap());
                    cvx_cache_config_set_tensor_format(config, format.as_ptr())
                }
                "is_guidance_distilled" => {
                    let flag = value.as_bool().unwrap().into();
                    cvx_cache_config_set_is_guidance_distilled(config, flag)
                }
                other => panic!("field {other}"),
            }
        })
    }

    fn set_range(&self, field: &str, value: &Value) -> Result<()> {
        let set = match field {
            "spatial_attention_timestep_skip_range" => {
                cvx_cache_config_set_spatial_attention_timestep_skip_range
            }
            "temporal_attention_timestep_skip_range" => {
                cvx_cache_config_set_temporal_attention_timestep_skip_range
            }
            "unconditional_batch_timestep_skip_range" => {
                cvx_cache_config_set_unconditional_batch_timestep_skip_range
            }
            "low_frequency_weight_update_timestep_range" => {
                cvx_cache_config_set_low_frequency_weight_update_timestep_range
            }
            "high_frequency_weight_update_timestep_range" => {
                cvx_cache_config_set_high_frequency_weight_update_timestep_range
            }
            other => panic!("field {other}"),
        };
        let (low, high) = range(value);
        // SAFETY: the config is live and used by one thread.
        check(unsafe { set(self.0, low, high) })
    }

    fn set_identifiers(&self, field: &str, value: &Value) -> Result<()> {
        let set = match field {
            "spatial_attention_block_identifiers" => {
                cvx_cache_config_set_spatial_attention_block_identifiers
            }
            "temporal_attention_block_identifiers" => {
                cvx_cache_config_set_temporal_attention_block_identifiers
            }
            other => panic!("field {other}"),
        };
        let texts: Vec<_> =
            value.as_array().unwrap().iter().map(|i| c_string(i.as_str().unwrap())).collect();
        let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: the config is live and used by one thread; the strings live for the call.
        check(unsafe { set(self.0, pointers.as_ptr(), pointers.len()) })
    }

    fn set_callback(&self, field: &str, value: &Value) -> Result<()> {
        let (config, linear, free) = (self.0, Linear::of(value), Some(free_linear as _));
        // SAFETY: the config is live and used by one thread; the library frees `linear`.
        check(unsafe {
            match field {
                "attention_weight_callback" => cvx_cache_config_set_attention_weight_callback(
                    config,
                    Some(layer_answer),
                    linear,
                    free,
                ),
                "low_frequency_weight_callback" => {
                    cvx_cache_config_set_low_frequency_weight_callback(
                        config,
                        Some(step_answer),
                        linear,
                        free,
                    )
                }
                "high_frequency_weight_callback" => {
                    cvx_cache_config_set_high_frequency_weight_callback(
                        config,
                        Some(step_answer),
                        linear,
                        free,
                    )
                }
                "current_timestep_callback" => cvx_cache_config_set_current_timestep_callback(
                    config,
                    Some(step_answer),
                    linear,
                    free,
                ),
                other => panic!("field {other}"),
            }
        })
    }
}

/// What was computed, as the manifests write it: by step a string of a character per layer,
/// and a character per step for the unconditional half; `1` for computed.
#[derive(Debug, PartialEq)]
pub struct Counts {
    pub computed: Vec<String>,
    pub unconditional: String,
}

/// `cvx_cache_stats`.
pub struct Stats(pub *mut cvx_cache_stats);

impl Drop for Stats {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_cache_stats_free(self.0) }
    }
}

impl Stats {
    /// By step a string of a character per layer: `1` computed, `0` skipped or predicted, `a`
    /// attention alone reused or approximated, `f` the feed-forward layer alone predicted.
    pub fn layers(&self) -> Vec<String> {
        // SAFETY: the statistics are live.
        let state = |step, layer| match unsafe { cvx_cache_stats_layer_state(self.0, step, layer) }
        {
            CVX_LAYER_COMPUTED => '1',
            CVX_LAYER_SKIPPED | CVX_LAYER_PREDICTED => '0',
            CVX_LAYER_REUSED | CVX_LAYER_APPROXIMATED => 'a',
            CVX_LAYER_FEED_FORWARD_PREDICTED => 'f',
            _ => '?',
        };
        // SAFETY: the statistics are live.
        let (steps, layers) =
            unsafe { (cvx_cache_stats_num_steps(self.0), cvx_cache_stats_num_layers(self.0)) };
        (0..steps).map(|step| (0..layers).map(|layer| state(step, layer)).collect()).collect()
    }

    /// Bytes kept at the end of the run, and at most.
    pub fn bytes(&self) -> (u64, u64) {
        // SAFETY: the statistics are live.
        unsafe { (cvx_cache_stats_bytes_now(self.0), cvx_cache_stats_bytes_peak(self.0)) }
    }

    pub fn json(&self) -> Value {
        // SAFETY: the statistics are live, and their text with them.
        let text = unsafe { CStr::from_ptr(cvx_cache_stats_json(self.0)) };
        serde_json::from_str(text.to_str().unwrap()).unwrap()
    }

    /// The list of numbers that a calibration run measured for `field`.
    pub fn measured(&self, field: &str) -> Vec<f64> {
        let json = self.json();
        let numbers = json["measured"][field].as_array().expect("a list");
        numbers.iter().map(|number| number.as_f64().expect("a number")).collect()
    }
}

impl Pipeline {
    /// The statistics of the last run.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats(null_mut());
        // SAFETY: the pipeline is live, and so is the place for the call.
        check(unsafe { cvx_pipeline_cache_stats(self.0, &mut stats.0) })?;
        Ok(stats)
    }

    /// What a run with `config` and `options` would be.
    pub fn preview(&self, config: &CacheConfig, options: &Options) -> Result<Stats> {
        let mut stats = Stats(null_mut());
        // SAFETY: the handles are live, and so is the place for the call.
        check(unsafe { cvx_pipeline_preview_cache(self.0, config.0, options.0, &mut stats.0) })?;
        Ok(stats)
    }

    pub fn enable_cache(&self, config: &CacheConfig) -> Result<()> {
        // SAFETY: both handles are live.
        check(unsafe { cvx_pipeline_enable_cache(self.0, config.0) })
    }

    pub fn disable_cache(&self) -> Result<()> {
        // SAFETY: the pipeline is live.
        check(unsafe { cvx_pipeline_disable_cache(self.0) })
    }

    /// What the last run computed.
    pub fn counts(&self) -> Result<Counts> {
        let mut stats = null_mut();
        // SAFETY: the pipeline is live; the statistics are until they are freed, once.
        unsafe {
            check(cvx_pipeline_cache_stats(self.0, &mut stats))?;
            let steps = cvx_cache_stats_num_steps(stats);
            let layers = cvx_cache_stats_num_layers(stats);
            let state = |step, layer| match cvx_cache_stats_layer_state(stats, step, layer) {
                CVX_LAYER_COMPUTED => '1',
                CVX_LAYER_REUSED | CVX_LAYER_APPROXIMATED => '0',
                _ => '?',
            };
            let half = |step| match cvx_cache_stats_unconditional(stats, step) {
                CVX_UNCONDITIONAL_REBUILT => '0',
                _ => '1',
            };
            let counts = Counts {
                computed: (0..steps)
                    .map(|step| (0..layers).map(|layer| state(step, layer)).collect())
                    .collect(),
                unconditional: (0..steps).map(half).collect(),
            };
            cvx_cache_stats_free(stats);
            Ok(counts)
        }
    }
}
