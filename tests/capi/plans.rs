//! Plans: what a run takes in each way of keeping the weights, and loads that follow them.

use crate::support::*;
use cogvideox::capi::*;
use serde_json::Value;
use std::ptr::{null, null_mut};

struct Plan(*mut cvx_plan);

impl Plan {
    fn of(family: &str, budget: u64) -> Plan {
        let mut plan = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe {
            cvx_plan_new(folder(family).as_ptr(), null(), null(), null(), budget, &mut plan)
        });
        Plan(plan)
    }

    fn json(&self) -> Value {
        // SAFETY: as a host calls it.
        serde_json::from_str(&text(unsafe { cvx_plan_json(self.0) })).unwrap()
    }

    fn peaks(&self) -> Vec<u64> {
        let json = self.json();
        let choices = json["choices"].as_array().unwrap();
        choices.iter().map(|choice| choice["peak_bytes"].as_u64().unwrap()).collect()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_plan_free(self.0) }
    }
}

fn load(options: *mut cvx_load_options) -> Pipeline {
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_pipeline_load(folder("5b").as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
    }
    Pipeline(pipeline)
}

#[test]
fn a_plan_has_every_way_and_the_fastest_that_fits() {
    for family in ["2b", "5b", "1.5-5b", "5b-i2v"] {
        let plan = Plan::of(family, 0);
        let json = plan.json();
        assert_eq!(json["budget_bytes"], Value::Null);
        let choices = json["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 12);
        assert_eq!(json["best"], 0, "resident is the fastest");
        assert_eq!(choices[0]["mode"], "resident");
        assert_eq!(choices[0]["relative_time"], 1.0);
        for choice in choices {
            assert_eq!(choice["fits"], true);
            let phase = |name: &str| choice[name].as_u64().unwrap();
            let phases = ["encode_bytes", "denoise_bytes", "decode_bytes"].map(phase);
            assert_eq!(phases.into_iter().max(), choice["peak_bytes"].as_u64());
            assert!(choice["relative_time"].as_f64().unwrap() >= 1.0 || choice["tiles"] == true);
        }
        // SAFETY: as a host calls it.
        let table = text(unsafe { cvx_plan_text(plan.0) });
        assert_eq!(table.lines().count(), 13, "{table}");
        assert_eq!(table.matches("the fastest").count(), 1, "{table}");

        // With a budget of just what a way takes, that way fits.
        let peaks = plan.peaks();
        for &peak in &peaks {
            let json = Plan::of(family, peak).json();
            let fitting: Vec<bool> = json["choices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|choice| choice["fits"].as_bool().unwrap())
                .collect();
            let expected: Vec<bool> = peaks.iter().map(|&other| other <= peak).collect();
            assert_eq!(fitting, expected, "{family}");
        }
        let least = peaks.iter().min().unwrap();
        let nothing = Plan::of(family, least - 1);
        assert_eq!(nothing.json()["best"], Value::Null);
        // SAFETY: as a host calls it.
        unsafe {
            let options = cvx_load_options_new();
            let words = ["memory budget", &least.to_string()];
            fails(CVX_ERROR_OUT_OF_MEMORY, &words, cvx_plan_apply(nothing.0, options));
            cvx_load_options_free(options);
        }
    }
}

#[test]
fn the_weights_of_a_plan_are_those_that_a_load_reads() {
    for family in ["2b", "5b", "1.5-5b"] {
        let json = Plan::of(family, 0).json();
        let sum: u64 = ["text_encoder", "transformer"]
            .iter()
            .map(|name| json["weights"][name].as_u64().unwrap())
            .sum();
        // SAFETY: as a host calls it.
        let loaded = unsafe { cvx_pipeline_weight_bytes(Pipeline::load(family).0) };
        // A device's allocator rounds each tensor up to 512 bytes, and the VAE is apart.
        assert!(sum > loaded / 3 && sum < 2 * loaded, "{family}: {sum} and {loaded}");
    }
}

#[test]
fn plans_need_configs_alone_and_name_what_is_wrong() {
    let from = folder("5b");
    let from = std::path::Path::new(from.to_str().unwrap());
    let copy = tempfile::tempdir().unwrap();
    for name in [
        "model_index.json",
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
    ] {
        let to = copy.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), to).unwrap();
    }
    let root = c(copy.path().to_str().unwrap());
    let mut plan = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_device(options, c"cuda:3".as_ptr()));
        ok(cvx_plan_new(root.as_ptr(), options, null(), null(), 1 << 40, &mut plan));
        let json = Plan(plan).json();
        assert_eq!((&json["device"], &json["dtype"]), (&"cuda".into(), &"bf16".into()));
        assert_eq!(json["best"], 0);
        cvx_load_options_free(options);

        let run = Options::small(1);
        ok(cvx_generate_options_set_size(run.0, 40, 32));
        plan = untouched();
        let error = cvx_plan_new(root.as_ptr(), null(), run.0, null(), 0, &mut plan);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["width", "40"], error);
        assert_eq!(plan, untouched());
        let error = cvx_plan_new(c"nowhere".as_ptr(), null(), null(), null(), 0, &mut plan);
        fails(CVX_ERROR_NOT_FOUND, &["nowhere"], error);
    }
}

#[test]
fn what_is_kept_beside_and_what_is_asked_for_count() {
    let denoise = |change: &dyn Fn(*mut cvx_generate_options), cache: *const cvx_cache_config| {
        let run = Options::small(8);
        change(run.0);
        let mut plan = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_plan_new(folder("5b").as_ptr(), null(), run.0, cache, 0, &mut plan) });
        Plan(plan).json()["working"].clone()
    };
    let plain = denoise(&|_| (), null());
    let of = |working: &Value, phase: &str| working[phase].as_u64().unwrap();
    // SAFETY: as a host calls it.
    unsafe {
        let cache = cvx_pab_config_new();
        let cached = denoise(&|_| (), cache);
        cvx_cache_config_free(cache);
        assert!(of(&cached, "denoise") > of(&plain, "denoise"));
        let larger = denoise(&|o| ok(cvx_generate_options_set_size(o, 64, 64)), null());
        for phase in ["denoise", "decode"] {
            assert!(of(&larger, phase) > of(&plain, phase), "{phase}");
        }
        let latents =
            denoise(&|o| ok(cvx_generate_options_set_output(o, CVX_OUTPUT_LATENTS)), null());
        assert_eq!(of(&latents, "decode"), 0);
    }
}

#[test]
fn loads_follow_a_budget_or_a_plan() {
    let whole = Pipeline::load("5b");
    let options = Options::small(2);
    let expected = latents(&generate(&whole, &options));
    let peaks = Plan::of("5b", 0).peaks();
    let (most, least) = (peaks.iter().max().unwrap(), peaks.iter().min().unwrap());
    // SAFETY: as a host calls it.
    unsafe {
        let all = cvx_pipeline_weight_bytes(whole.0);
        for (budget, loaded) in [(*most, all), (*least, 0)] {
            let load_options = cvx_load_options_new();
            ok(cvx_load_options_set_memory_budget(load_options, budget));
            let budgeted = load(load_options);
            let plan = Plan::of("5b", budget);
            let load_options = cvx_load_options_new();
            ok(cvx_plan_apply(plan.0, load_options));
            let planned = load(load_options);
            for pipeline in [&budgeted, &planned] {
                assert_eq!(cvx_pipeline_weight_bytes(pipeline.0), loaded);
                assert_eq!(latents(&generate(pipeline, &options)), expected);
                assert_eq!(cvx_pipeline_weight_bytes(pipeline.0), loaded);
            }
        }
        let load_options = cvx_load_options_new();
        ok(cvx_load_options_set_memory_budget(load_options, 1000));
        let mut pipeline = untouched();
        let error = cvx_pipeline_load(folder("5b").as_ptr(), load_options, &mut pipeline);
        fails(CVX_ERROR_OUT_OF_MEMORY, &["1000 bytes", &least.to_string()], error);
        assert_eq!(pipeline, untouched());
        cvx_load_options_free(load_options);
    }
}

#[test]
fn components_that_leave_change_nothing_but_memory() {
    for family in ["2b", "5b-i2v"] {
        let path = folder(family);
        let mut lean = null_mut();
        // SAFETY: as a host calls it.
        unsafe {
            let options = cvx_load_options_new();
            ok(cvx_load_options_set_offload(options, 1));
            // It leaves no component more to release.
            ok(cvx_load_options_set_text_encoder_on_demand(options, 0));
            ok(cvx_pipeline_load(path.as_ptr(), options, &mut lean));
            cvx_load_options_free(options);
        }
        let (lean, whole) = (Pipeline(lean), Pipeline::load(family));
        let options = Options::small(2);
        let pixels = vec![7u8; 3 * 32 * 32];
        // SAFETY: as a host calls it.
        unsafe {
            if family == "5b-i2v" {
                // Its positions are learned: it makes one size.
                let (width, height) =
                    (cvx_pipeline_default_width(whole.0), cvx_pipeline_default_height(whole.0));
                ok(cvx_generate_options_set_size(options.0, width, height));
                ok(cvx_generate_options_set_num_frames(options.0, 0));
                ok(cvx_generate_options_set_max_sequence_length(options.0, 0));
                let data = pixels.as_ptr().cast();
                ok(cvx_generate_options_set_image(options.0, data, 32, 32, 0, CVX_PIXELS_RGB8));
            }
            let expected = latents(&generate(&whole, &options));
            for _ in 0..2 {
                assert_eq!(latents(&generate(&lean, &options)), expected);
                assert_eq!(cvx_pipeline_weight_bytes(lean.0), 0);
            }
            let options = cvx_load_options_new();
            let error = cvx_load_options_set_offload(options, 2);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["offload", "0 or 1", "found 2"], error);
            cvx_load_options_free(options);
        }
    }
}
