//! The same cached runs as diffusers: what is computed in which step and layer, and the
//! latents that come out.

mod common;

use cogvideox::cache::{
    CacheConfig, Course, LayerState, StepCallback, Trace, Unconditional, Value,
};
use cogvideox::checkpoint::config::{SchedulerClass, SchedulerConfig};
use cogvideox::schedulers::{scheduler, Steps};
use common::cases::Case;
use common::compare::Report;
use common::goldens::{golden, manifest, pipeline_folder};
use serde_json::Value as Json;

/// The fields of `case.cache` on a config of this library.
fn config_of(case: &Case) -> CacheConfig {
    let technique = match case.cache["technique"].as_str() {
        Some("pyramid_attention_broadcast") => "pab",
        Some("faster_cache") => "faster_cache",
        other => panic!("technique {other:?}"),
    };
    let mut config = CacheConfig::new(technique, None).unwrap();
    for (field, value) in &case.cache {
        if field == "technique" {
            continue;
        }
        config.set(field, value_of(field, value)).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
    config
}

fn value_of(field: &str, value: &Json) -> Value {
    match value {
        Json::Number(n) if field.ends_with("skip_range") => Value::SkipRange(n.as_i64().unwrap()),
        Json::Number(n) => Value::Number(n.as_f64().unwrap()),
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(name) => Value::Name(name.clone()),
        Json::Array(items) if field.ends_with("identifiers") => {
            Value::Identifiers(items.iter().map(|i| i.as_str().unwrap().to_string()).collect())
        }
        Json::Array(items) => {
            Value::TimestepRange(items[0].as_i64().unwrap(), items[1].as_i64().unwrap())
        }
        Json::Object(callback) => {
            let number = |name: &str| callback[name].as_f64().unwrap();
            let (base, slope) = (number("base"), number("per_timestep"));
            if field == "attention_weight_callback" {
                Value::LayerCallback(Some(cogvideox::cache::LayerCallback::new(move |info| {
                    base + slope * info.step.timestep as f64
                })))
            } else {
                Value::StepCallback(Some(StepCallback::new(move |info| {
                    base + slope * info.timestep as f64
                })))
            }
        }
        Json::Null => panic!("{field} is null"),
    }
}

/// The timesteps of the run, by the scheduler that the case names.
fn timesteps_of(case: &Case) -> Vec<i64> {
    let name = case.scheduler.as_deref().unwrap();
    let class = if name.starts_with("ddim") { SchedulerClass::Ddim } else { SchedulerClass::Dpm };
    let config = SchedulerConfig::read(&golden(format!("schedulers/{name}.json")), class).unwrap();
    let steps = Steps::Count(case.num_inference_steps as usize);
    scheduler(&config, &steps, case.eta).unwrap().timesteps().to_vec()
}

/// A trace as the manifest writes it.
fn written(trace: &Trace) -> (Vec<String>, String) {
    let layer = |state: &Option<LayerState>| match state {
        Some(LayerState::Computed) => '1',
        Some(LayerState::Reused | LayerState::Approximated) => '0',
        None => '?',
    };
    let computed = trace.steps.iter().map(|s| s.layers.iter().map(layer).collect()).collect();
    let unconditional = trace
        .steps
        .iter()
        .map(|step| if step.unconditional == Unconditional::Rebuilt { '0' } else { '1' })
        .collect();
    (computed, unconditional)
}

#[test]
fn previews_say_what_diffusers_computes() {
    let cases: Vec<Case> = manifest("caches.json");
    let mut report = Report::default();
    for case in &cases {
        // Where a callback decides, a preview shows what the pipeline's own timesteps give.
        if case.cache.contains_key("current_timestep_callback") {
            continue;
        }
        let layers = (0..case.computed[0].len() as i64)
            .map(cogvideox::models::transformer::attention_name)
            .collect();
        let course =
            Course { layers, timesteps: timesteps_of(case), guided: case.guidance_scale > 1.0 };
        let what = format!("{}, {}", case.family, case.name);
        match config_of(case).preview(&course, None, None) {
            Ok(preview) => {
                let (computed, unconditional) = written(&preview.trace);
                report.equal(&format!("{what}, layers"), &computed, &case.computed);
                report.equal(
                    &format!("{what}, unconditional"),
                    &unconditional,
                    &case.unconditional,
                );
            }
            Err(error) => report.fail(&what, error),
        }
    }
    let _ = pipeline_folder;
    report.finish("previews");
}
