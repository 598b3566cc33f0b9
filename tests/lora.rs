//! LoRA adapters: the latents of diffusers with the same adapters, and what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::cache::CacheConfig;
use common::cases::Case;
use common::compare::{difference, Report};
use common::goldens::{golden, manifest, pipeline_folder, Array, Goldens, FAMILIES};
use common::handles::{c_path, check, Failure, Options, Output, Pipeline, Result, Video};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::{c_void, CStr};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

/// The largest difference of latents in float32, from -50 to 50.
const LATENTS: f64 = 1e-4;

fn adapter(family: &str, file: &str) -> PathBuf {
    golden(format!("lora/{family}/{file}.safetensors"))
}

/// Does what a case says is done before its run.
fn prepare(pipeline: &Pipeline, case: &Case) -> Result<()> {
    for step in &case.prepare {
        let number = |at: usize| step[at].as_f64().unwrap();
        match step[0].as_str().unwrap() {
            "load" => {
                let file = adapter(&case.family, step[1].as_str().unwrap());
                pipeline.load_lora(&file, step[2].as_str())?;
            }
            "set" => {
                let strings = |v: &'_ Value| -> Vec<String> {
                    v.as_array().unwrap().iter().map(|s| s.as_str().unwrap().into()).collect()
                };
                let names = strings(&step[1]);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let weights: Option<Vec<f64>> =
                    step[2].as_array().map(|w| w.iter().map(|w| w.as_f64().unwrap()).collect());
                pipeline.set_adapters(&names, weights.as_deref())?;
            }
            "enable" => pipeline.enable_lora(step[1].as_bool().unwrap())?,
            "fuse" => pipeline.fuse_lora(number(1))?,
            "unfuse" => pipeline.unfuse_lora()?,
            "unload" => pipeline.unload_lora()?,
            other => panic!("step {other:?}"),
        }
    }
    Ok(())
}

fn cases(family: &str) -> (Vec<Case>, Goldens) {
    let cases: Vec<Case> = manifest("lora/runs.json");
    let own: Vec<Case> = cases.into_iter().filter(|case| case.family == family).collect();
    assert!(own.len() > 20, "{family}: {} cases", own.len());
    (own, Goldens::open(format!("lora/{family}/runs.safetensors")))
}

fn runs_of(family: &str) {
    let (cases, goldens) = cases(family);
    let origin = Pipeline::load(&pipeline_folder(family)).unwrap();
    let mut report = Report::default();
    for case in &cases {
        let what = format!("{family}, {}", case.name);
        let pipeline = origin.another().unwrap();
        if let Err(error) = prepare(&pipeline, case) {
            report.fail(&what, error);
            continue;
        }
        if !case.cache.is_empty() {
            pipeline.enable_cache(&CacheConfig::of(case).unwrap()).unwrap();
        }
        match pipeline.generate(&case.options(&goldens, Output::Latents)) {
            Ok(video) => {
                let expected = goldens.f64(&format!("{}.latents", case.tensors));
                report.absolute(&what, &video.latents().unwrap(), expected, LATENTS);
            }
            Err(error) => report.fail(&what, error),
        }
    }
    report.finish(&format!("adapters of {family}"));
}

#[test]
fn runs_of_2b_with_adapters_are_those_of_diffusers() {
    runs_of("2b");
}

#[test]
fn runs_of_5b_with_adapters_are_those_of_diffusers() {
    runs_of("5b");
}

#[test]
fn runs_of_1_5_5b_with_adapters_are_those_of_diffusers() {
    runs_of("1.5-5b");
}

/// Adapters for the original model's layers, of which some have become several modules.
#[test]
fn adapters_in_the_original_layout_do_what_the_converted_model_does() {
    let mut report = Report::default();
    for family in FAMILIES {
        let goldens = Goldens::open(format!("lora/{family}/original-runs.safetensors"));
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        report.absolute(family, &latents(&pipeline), goldens.f64("plain"), LATENTS);
        for kind in ["packed", "sat"] {
            pipeline.load_lora(&adapter(family, &format!("original-{kind}")), None).unwrap();
            let what = format!("{family}, {kind}");
            report.absolute(&what, &latents(&pipeline), goldens.f64(kind), LATENTS);
            pipeline.fuse_lora(1.0).unwrap();
            let what = format!("{family}, {kind}, fused");
            report.absolute(&what, &latents(&pipeline), goldens.f64(kind), LATENTS);
            pipeline.unfuse_lora().unwrap();
            pipeline.unload_lora().unwrap();
        }
    }
    report.finish("adapters in the original layout");
}

#[test]
fn what_is_wrong_in_the_original_layout_is_named() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let name = |layer: usize, part: &str| {
        format!("model.diffusion_model.transformer.layers.{layer}.attention.query_key_value.{part}")
    };
    let (down, up) = (name(0, "lora_A.weight"), name(0, "lora_B.weight"));
    let packed = || Made::from("original-packed");
    // The rows of one of the three modules.
    let third = packed().with(&up, Entry::of(&[48, 2], 0.1));
    refused(&pipeline, &third, INVALID, &[&up, "[144, 2]", "found shape [48, 2]"]);
    let other = packed().with(&down, Entry::of(&[2, 64], 0.1));
    refused(&pipeline, &other, INVALID, &[&down, "[rank, 48]", "[2, 64]"]);
    refused(&pipeline, &packed().without(&down), INVALID, &["attn1.to_", "a lora_A", "none"]);
    let twice = packed().with(&name(0, "matrix_A.1"), Entry::of(&[2, 48], 0.1));
    refused(&pipeline, &twice, INVALID, &["matrix_A.1", "one for its module"]);
    let fourth = packed().with(&name(0, "matrix_A.3"), Entry::of(&[2, 48], 0.1));
    refused(&pipeline, &fourth, INVALID, &["matrix_A.3"]);
    let deep = packed().renamed("layers.1.", "layers.41.");
    refused(&pipeline, &deep, INVALID, &["2 transformer blocks", "one for 42", "layers.41."]);
    let bias = packed().with(&name(0, "lora_B.bias"), Entry::of(&[48], 0.1));
    refused(&pipeline, &bias, INVALID, &["lora_B.bias", "[144]", "[48]"]);
    let strange = "model.diffusion_model.transformer.layers.0.input_layernorm.lora_A.weight";
    refused(&pipeline, &packed().with(strange, Entry::of(&[2, 48], 0.1)), INVALID, &[strange]);
}

/// The latents of the goldens' run without adapters.
fn latents(pipeline: &Pipeline) -> Array<f32> {
    latents_scaled(pipeline, 1.0)
}

fn latents_scaled(pipeline: &Pipeline, scale: f64) -> Array<f32> {
    video(pipeline, scale).unwrap().latents().unwrap()
}

fn video(pipeline: &Pipeline, scale: f64) -> Result<Video> {
    pipeline.generate(&options(scale))
}

fn options(scale: f64) -> Options {
    let mut options = Options::new();
    options
        .prompt("A panda plays a guitar in the bamboo forest, close shot.")
        .size(48, 32)
        .num_frames(5)
        .num_inference_steps(3)
        .max_sequence_length(16)
        .seed(11)
        .lora_scale(scale)
        .output(Output::Latents);
    options
}

#[test]
fn without_an_effect_the_bytes_are_those_without_adapters() {
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let plain = latents(&pipeline);
        assert_eq!(latents_scaled(&pipeline, 0.3), plain, "a scale without adapters");
        pipeline.load_lora(&adapter(family, "every"), None).unwrap();
        let adapted = latents(&pipeline);
        assert!(difference(&adapted, &plain).unwrap().absolute > 0.1);
        assert_eq!(latents(&pipeline), adapted, "the same seed, the same bytes");
        assert_eq!(latents_scaled(&pipeline, 0.0), plain);
        pipeline.set_adapters(&["default_0"], Some(&[0.0])).unwrap();
        assert_eq!(latents(&pipeline), plain);
        pipeline.set_adapters(&["default_0"], None).unwrap();
        pipeline.enable_lora(false).unwrap();
        assert_eq!(latents(&pipeline), plain);
        pipeline.enable_lora(true).unwrap();
        assert_eq!(latents(&pipeline), adapted);

        pipeline.fuse_lora(1.0).unwrap();
        let fused = latents(&pipeline);
        assert!(difference(&fused, &adapted).unwrap().absolute < LATENTS);
        assert_eq!(latents_scaled(&pipeline, 0.0), fused, "fused adapters have no scale");
        pipeline.unfuse_lora().unwrap();
        assert_eq!(latents(&pipeline), adapted);
        pipeline.unload_lora().unwrap();
        assert_eq!(latents(&pipeline), plain, "unfusing restores the weights to the byte");
    }
}

#[test]
fn clones_take_over_what_is_loaded_and_go_their_own_ways() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let plain = latents(&pipeline);
    let early = pipeline.another().unwrap();
    pipeline.load_lora(&adapter("5b", "every"), Some("a")).unwrap();
    let adapted = latents(&pipeline);
    let late = pipeline.another().unwrap();
    assert_eq!((early.adapters().len(), late.adapters()), (0, vec![("a".into(), 1.0)]));
    assert_eq!(latents(&early), plain);
    assert_eq!(latents(&late), adapted);

    pipeline.fuse_lora(1.0).unwrap();
    assert_eq!(latents(&early), plain, "clones share weights, not what is fused");
    assert_eq!(latents(&late), adapted);
    let of_fused = pipeline.another().unwrap();
    pipeline.unfuse_lora().unwrap();
    pipeline.unload_lora().unwrap();
    assert_eq!(latents(&pipeline), plain);
    assert_eq!(latents(&late), adapted);
    assert!(difference(&latents(&of_fused), &adapted).unwrap().absolute < LATENTS);
    of_fused.unfuse_lora().unwrap();
    assert_eq!(latents(&of_fused), adapted);

    early.load_lora(&adapter("5b", "attention"), Some("a")).unwrap();
    assert!(difference(&latents(&early), &adapted).unwrap().absolute > 0.1);
    drop(pipeline);
    assert_eq!(latents(&late), adapted);
}

/// `cvx_job`.
struct Job(*mut cvx_job);

impl Drop for Job {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_job_free(self.0) }
    }
}

impl Job {
    fn submit(pipeline: &Pipeline) -> Job {
        let (options, mut job) = (options(1.0), null_mut());
        // SAFETY: the handles are live, and so is the place for the call.
        check(unsafe {
            cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job)
        })
        .unwrap();
        Job(job)
    }

    fn latents(&self) -> Array<f32> {
        let mut video = null_mut();
        // SAFETY: the job is live, and so is the place for the calls.
        unsafe {
            check(cvx_job_wait(self.0, f64::INFINITY, null_mut())).unwrap();
            check(cvx_job_take_video(self.0, &mut video)).unwrap();
        }
        Video(video).latents().unwrap()
    }
}

#[test]
fn jobs_keep_the_adapters_they_were_submitted_with() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let plain = latents(&pipeline);
    pipeline.load_lora(&adapter("2b", "every"), Some("a")).unwrap();
    let a = latents(&pipeline);
    pipeline.load_lora(&adapter("2b", "attention"), Some("b")).unwrap();
    let b = latents(&pipeline);

    // All of this while the first jobs run or wait.
    let first = Job::submit(&pipeline);
    pipeline.set_adapters(&["a"], None).unwrap();
    let second = Job::submit(&pipeline);
    pipeline.fuse_lora(1.0).unwrap();
    let third = Job::submit(&pipeline);
    pipeline.unfuse_lora().unwrap();
    pipeline.unload_lora().unwrap();
    let fourth = Job::submit(&pipeline);
    assert_eq!(first.latents(), b);
    assert_eq!(second.latents(), a);
    assert!(difference(&third.latents(), &a).unwrap().absolute < LATENTS);
    assert_eq!(fourth.latents(), plain);
}

unsafe extern "C" fn change_adapters(_: *const cvx_progress_info, pipeline: *mut c_void) -> i32 {
    // The run holds the handle, which stays live; it is not dropped here.
    let pipeline = ManuallyDrop::new(Pipeline(pipeline.cast()));
    pipeline.unload_lora().unwrap();
    pipeline.load_lora(&adapter("2b", "attention"), Some("of the callback")).unwrap();
    pipeline.fuse_lora(1.0).unwrap();
    pipeline.unfuse_lora().unwrap();
    0
}

#[test]
fn a_callback_changes_later_runs_only() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    pipeline.load_lora(&adapter("2b", "attention"), None).unwrap();
    let attention = latents(&pipeline);
    pipeline.unload_lora().unwrap();
    pipeline.load_lora(&adapter("2b", "every"), None).unwrap();
    let every = latents(&pipeline);
    let options = options(1.0);
    // SAFETY: the options and the pipeline are live while the run is.
    check(unsafe {
        cvx_generate_options_set_progress_callback(
            options.0,
            Some(change_adapters),
            pipeline.0.cast(),
            None,
        )
    })
    .unwrap();
    let video = pipeline.generate(&options).unwrap();
    assert_eq!(video.latents().unwrap(), every);
    assert_eq!(pipeline.adapters(), [("of the callback".to_string(), 1.0)]);
    assert_eq!(latents(&pipeline), attention);
}

#[test]
fn the_transformer_is_not_read_for_loading_an_adapter() {
    let mut handle = null_mut();
    let folder = c_path(&pipeline_folder("5b"));
    // SAFETY: strings and places live for the calls; the options are freed once.
    let lazy = unsafe {
        let load = cvx_load_options_new();
        check(cvx_load_options_set_device(load, c"cpu".as_ptr())).unwrap();
        check(cvx_load_options_set_text_encoder_on_demand(load, 1)).unwrap();
        let loaded = check(cvx_pipeline_load(folder.as_ptr(), load, &mut handle));
        cvx_load_options_free(load);
        loaded.unwrap();
        Pipeline(handle)
    };
    lazy.load_lora(&adapter("5b", "every"), None).unwrap();
    // SAFETY: the pipeline is live.
    let bytes = || unsafe { cvx_pipeline_weight_bytes(lazy.0) };
    assert_eq!(bytes(), 0);
    let (early, adapted) = (lazy.another().unwrap(), latents(&lazy));
    assert!(bytes() > 0);
    lazy.unload_lora().unwrap();
    assert!(difference(&latents(&lazy), &adapted).unwrap().absolute > 0.1);
    early.fuse_lora(1.0).unwrap();
    assert!(difference(&latents(&early), &adapted).unwrap().absolute < LATENTS);
}

#[test]
fn names_and_weights_are_told() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let file = adapter("2b", "older");
    let told = |pipeline: &Pipeline| pipeline.adapters();
    pipeline.load_lora(&file, None).unwrap();
    pipeline.load_lora(&file, Some("default_2")).unwrap();
    pipeline.load_lora(&file, None).unwrap();
    let names: Vec<String> = told(&pipeline).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["default_0", "default_2", "default_3"]);
    pipeline.set_adapters(&["default_3", "default_0"], Some(&[-0.5, 2.0])).unwrap();
    let expected = [("default_0", 2.0), ("default_2", 0.0), ("default_3", -0.5)];
    assert_eq!(told(&pipeline), expected.map(|(name, weight)| (name.to_string(), weight)));
    // As diffusers, which leaves the scale with the adapters.
    pipeline.fuse_lora(0.5).unwrap();
    pipeline.unfuse_lora().unwrap();
    let expected = [("default_0", 1.0), ("default_2", 0.0), ("default_3", -0.25)];
    assert_eq!(told(&pipeline), expected.map(|(name, weight)| (name.to_string(), weight)));

    // SAFETY: the pipeline is live, and its texts are until it is freed.
    unsafe {
        let name = cvx_pipeline_adapter_name(pipeline.0, 0);
        assert_eq!(name, cvx_pipeline_adapter_name(pipeline.0, 0));
        pipeline.unload_lora().unwrap();
        assert_eq!(CStr::from_ptr(name), c"default_0");
        assert_eq!(cvx_pipeline_num_adapters(pipeline.0), 0);
        for index in [-1, 0, i32::MAX] {
            assert!(cvx_pipeline_adapter_name(pipeline.0, index).is_null());
            assert_eq!(cvx_pipeline_adapter_weight(pipeline.0, index), 0.0);
        }
        assert_eq!(cvx_pipeline_num_adapters(null()), 0);
        assert!(cvx_pipeline_adapter_name(null(), 0).is_null());
        assert_eq!(cvx_pipeline_adapter_weight(null(), 0), 0.0);
    }
    pipeline.load_lora(&file, None).unwrap();
    assert_eq!(told(&pipeline), [("default_0".to_string(), 1.0)]);
}

#[test]
fn adapters_work_in_half_precision_and_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pytorch_lora_weights.safetensors");
    std::fs::copy(adapter("5b", "every"), file).unwrap();
    for dtype in ["f16", "bf16"] {
        let pipeline = Pipeline::load_in(&pipeline_folder("5b"), dtype).unwrap();
        let plain = latents(&pipeline);
        pipeline.load_lora(folder.path(), None).unwrap();
        let adapted = latents(&pipeline);
        assert!(difference(&adapted, &plain).unwrap().absolute > 0.1, "{dtype}");
        pipeline.fuse_lora(1.0).unwrap();
        let fused = difference(&latents(&pipeline), &adapted).unwrap().absolute;
        assert!(fused < 0.5, "{dtype}: {fused}");
        pipeline.unfuse_lora().unwrap();
        pipeline.unload_lora().unwrap();
        assert_eq!(latents(&pipeline), plain, "{dtype}");
    }
}

/// One tensor of a file that is made here.
#[derive(Clone)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Entry {
    fn of(shape: &[usize], value: f32) -> Entry {
        let count = shape.iter().product();
        let data = std::iter::repeat_n(value.to_le_bytes(), count).flatten().collect();
        Entry { dtype: Dtype::F32, shape: shape.to_vec(), data }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.data).unwrap()
    }
}

/// Adapters that differ from those of the goldens.
struct Made {
    entries: HashMap<String, Entry>,
    metadata: Option<String>,
}

const TO_Q: &str = "transformer.transformer_blocks.0.attn1.to_q";

impl Made {
    /// The tensors of a file of 2b.
    fn from(file: &str) -> Made {
        let bytes = std::fs::read(adapter("2b", file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let entry = |view: &TensorView| Entry {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        };
        let entries = tensors.tensors().iter().map(|(name, v)| (name.clone(), entry(v))).collect();
        Made { entries, metadata: None }
    }

    fn with(mut self, name: &str, entry: Entry) -> Made {
        self.entries.insert(name.into(), entry);
        self
    }

    fn without(mut self, name: &str) -> Made {
        assert!(self.entries.remove(name).is_some(), "{name}");
        self
    }

    fn told(mut self, metadata: &str) -> Made {
        self.metadata = Some(metadata.into());
        self
    }

    fn renamed(mut self, from: &str, to: &str) -> Made {
        let rename = |(name, entry): (String, Entry)| (name.replace(from, to), entry);
        self.entries = self.entries.into_iter().map(rename).collect();
        self
    }

    fn write(&self, path: &Path) {
        let views: Vec<(&String, TensorView)> =
            self.entries.iter().map(|(name, entry)| (name, entry.view())).collect();
        let metadata = self
            .metadata
            .as_ref()
            .map(|text| HashMap::from([("lora_adapter_metadata".to_string(), text.clone())]));
        safetensors::serialize_to_file(views, metadata, path).unwrap();
    }
}

const INVALID: i32 = CVX_ERROR_INVALID_CHECKPOINT;

/// That loading `made` fails so, with one line that has all `parts`, and that nothing changed.
#[track_caller]
fn refused(pipeline: &Pipeline, made: &Made, code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.safetensors");
    made.write(&file);
    let before = pipeline.adapters();
    let failure = pipeline.load_lora(&file, None).expect_err("an adapter that is refused");
    assert_failure(&failure, code, parts);
    assert!(failure.message.contains("made.safetensors"), "{failure}");
    assert_eq!(pipeline.adapters(), before);
}

#[track_caller]
fn assert_failure(failure: &Failure, code: i32, parts: &[&str]) {
    assert_eq!(failure.code, code, "{failure}");
    assert!(!failure.message.contains('\n'), "{failure}");
    for part in parts {
        assert!(failure.message.contains(part), "{part:?} is not in: {failure}");
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    const UNSUPPORTED: i32 = CVX_ERROR_UNSUPPORTED_MODEL;
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    pipeline.load_lora(&adapter("2b", "attention"), Some("kept")).unwrap();
    let kept = latents(&pipeline);
    let (a, b) = (format!("{TO_Q}.lora_A.weight"), format!("{TO_Q}.lora_B.weight"));
    let every = || Made::from("every");
    let nothing = || Made { entries: HashMap::new(), metadata: None };

    let whole = Entry::of(&[3, 64], 0.1);
    refused(&pipeline, &every().with(&a, whole), INVALID, &[&a, "[rank, 48]", "[3, 64]", "to_q"]);
    let up = Entry::of(&[64, 3], 0.1);
    refused(&pipeline, &every().with(&b, up), INVALID, &[&b, "[48, 3]", "[64, 3]"]);
    let up = Entry::of(&[48, 5], 0.1);
    refused(&pipeline, &every().with(&b, up), INVALID, &[&b, "3 columns", "[48, 5]"]);
    let rank = Entry::of(&[0, 48], 0.1);
    refused(&pipeline, &every().with(&a, rank), INVALID, &[&a, "[0, 48]"]);
    refused(
        &pipeline,
        &every().without(&b),
        INVALID,
        &["transformer_blocks.0.attn1.to_q", "a lora_B", "none"],
    );
    refused(
        &pipeline,
        &every().without(&a),
        INVALID,
        &["transformer_blocks.0.attn1.to_q", "a lora_A", "none"],
    );
    for value in [f32::NAN, f32::INFINITY] {
        let entry = Entry::of(&[3, 48], value);
        refused(&pipeline, &every().with(&a, entry), INVALID, &[&a, "finite", "NaN or infinity"]);
    }
    let other = every().renamed("transformer_blocks.1.", "transformer_blocks.41.");
    refused(
        &pipeline,
        &other,
        INVALID,
        &["2 transformer blocks", "one for 42", "transformer_blocks.41."],
    );
    let other = every().renamed("transformer.", "transformer.double_");
    refused(&pipeline, &other, INVALID, &["no key", "keys)"]);
    let surplus = Entry::of(&[3, 48], 0.1);
    let strange = "transformer.transformer_blocks.0.attn2.to_q.lora_A.weight";
    refused(&pipeline, &every().with(strange, surplus.clone()), INVALID, &[strange, "(1 keys)"]);
    refused(&pipeline, &every().with("step", surplus), INVALID, &["\"step\""]);
    refused(&pipeline, &nothing(), INVALID, &["no tensors"]);
    let alpha = nothing().with(&format!("{TO_Q}.alpha"), Entry::of(&[], 2.0));
    refused(&pipeline, &alpha, INVALID, &["lora_A and lora_B", "alpha"]);

    for (from, to, layout) in [
        ("transformer.", "lora_unet_", "kohya"),
        ("transformer.", "text_encoder.", "text encoder"),
        ("transformer.", "", "without the prefix"),
        ("transformer.", "diffusion_model.", "diffusion_model."),
        (".lora_A.weight", ".matrix_A.0", "SAT layout (matrix_A) without the prefix"),
        (".lora_A.weight", ".lokr_w1", "LoKr"),
        (".lora_A.weight", ".lora_magnitude_vector", "DoRA"),
    ] {
        refused(&pipeline, &every().renamed(from, to), UNSUPPORTED, &[layout, "found"]);
    }
    let metadata = |text: &str| every().told(text);
    refused(&pipeline, &metadata("7"), INVALID, &["lora_adapter_metadata", "object"]);
    let eight = metadata(r#"{"transformer.r": 8}"#);
    refused(&pipeline, &eight, INVALID, &["rank 8", "found 3"]);
    let dora = metadata(r#"{"transformer.r": 3, "transformer.use_dora": true}"#);
    refused(&pipeline, &dora, UNSUPPORTED, &["use_dora", "true"]);
    let both =
        metadata(r#"{"transformer.r": 3}"#).with(&format!("{TO_Q}.alpha"), Entry::of(&[], 2.0));
    refused(&pipeline, &both, INVALID, &["both", "alpha"]);

    assert_eq!(latents(&pipeline), kept);
}

#[test]
fn alphas_scale_and_dora_scales_are_passed_over() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.safetensors");
    let load = |made: &Made, name: &str| {
        made.write(&file);
        pipeline.load_lora(&file, Some(name)).unwrap();
        latents(&pipeline)
    };
    let modules = || {
        let made = Made::from("every");
        let names: Vec<String> = made.entries.keys().cloned().collect();
        names.into_iter().filter_map(|n| n.strip_suffix(".lora_A.weight").map(str::to_string))
    };
    let plain = load(&Made::from("every"), "plain");
    let mut made = Made::from("every");
    for module in modules() {
        made = made.with(&format!("{module}.alpha"), Entry::of(&[], 1.5));
    }
    let halved = load(&made, "halved");
    let dora = Made::from("every").with(&format!("{TO_Q}.dora_scale"), Entry::of(&[48, 1], 9.0));
    assert_eq!(load(&dora, "dora"), plain);
    pipeline.set_adapters(&["plain"], Some(&[0.5])).unwrap();
    assert_eq!(latents(&pipeline), halved);
    assert_ne!(halved, plain);
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    const INVALID: i32 = CVX_ERROR_INVALID_ARGUMENT;
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let (every, attention) = (adapter("2b", "every"), adapter("2b", "attention"));
    let fails = |result: Result<()>, code: i32, parts: &[&str]| {
        assert_failure(&result.expect_err("an error"), code, parts);
    };
    let none = pipeline.set_adapters(&["a"], None);
    fails(none, INVALID, &["names[0]", "\"a\"", "loaded are none"]);
    fails(pipeline.fuse_lora(1.0), INVALID, &["fuse_lora", "none"]);
    // As in diffusers, these find nothing to do.
    pipeline.unfuse_lora().unwrap();
    pipeline.unload_lora().unwrap();
    pipeline.enable_lora(false).unwrap();
    fails(pipeline.load_lora(Path::new("/no/such"), None), CVX_ERROR_NOT_FOUND, &["/no/such"]);
    let empty = tempfile::tempdir().unwrap();
    fails(pipeline.load_lora(empty.path(), None), CVX_ERROR_NOT_FOUND, &["pytorch_lora_weights"]);

    pipeline.load_lora(&every, Some("a")).unwrap();
    pipeline.load_lora(&attention, Some("b")).unwrap();
    pipeline.set_adapters(&["a", "b"], Some(&[0.5, 0.5])).unwrap();
    let before = (pipeline.adapters(), latents(&pipeline));
    let unchanged = || assert_eq!((pipeline.adapters(), latents(&pipeline)), before);
    fails(pipeline.load_lora(&every, Some("a")), INVALID, &["adapter_name", "\"a\"", "\"b\""]);
    fails(pipeline.load_lora(&every, Some("")), INVALID, &["adapter_name", "0"]);
    fails(pipeline.load_lora(&every, Some(&"n".repeat(257))), INVALID, &["256", "257"]);
    let unknown = pipeline.set_adapters(&["b", "c"], None);
    fails(unknown, INVALID, &["names[1]", "\"c\"", "\"a\", \"b\""]);
    fails(pipeline.set_adapters(&["a", "a"], None), INVALID, &["names[1]", "once"]);
    fails(pipeline.set_adapters(&[], None), INVALID, &["at least one"]);
    for weight in [f64::NAN, f64::INFINITY, 1e7] {
        let result = pipeline.set_adapters(&["a", "b"], Some(&[1.0, weight]));
        fails(result, INVALID, &["weights[1]"]);
        fails(pipeline.fuse_lora(weight), INVALID, &["lora_scale"]);
        // SAFETY: the options are live.
        let result = check(unsafe { cvx_generate_options_set_lora_scale(options(1.0).0, weight) });
        fails(result, INVALID, &["lora_scale"]);
    }
    unchanged();
    pipeline.enable_lora(false).unwrap();
    fails(pipeline.fuse_lora(1.0), INVALID, &["disabled"]);
    pipeline.enable_lora(true).unwrap();
    unchanged();

    pipeline.fuse_lora(1.0).unwrap();
    let fused = latents(&pipeline);
    fails(pipeline.fuse_lora(1.0), INVALID, &["fused", "unfuse"]);
    fails(pipeline.set_adapters(&["a"], None), INVALID, &["fused"]);
    fails(pipeline.load_lora(&every, Some("c")), INVALID, &["fused"]);
    assert_eq!(latents(&pipeline), fused);
    pipeline.unfuse_lora().unwrap();
    unchanged();

    // SAFETY: the pipeline is live.
    let flag = check(unsafe { cvx_pipeline_enable_lora(pipeline.0, 2) });
    fails(flag, INVALID, &["enabled", "2"]);
    unchanged();
}
