//! Quantized weights: what they take, how near their runs are, and that everything else goes on with
//! them as without. What single matrices are off by is tested where they are made.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use cogvideox::checkpoint::config::{T5Config, TransformerConfig};
use cogvideox::models::transformer::linear_modules;
use common::cache::CacheConfig;
use common::goldens::{golden, pipeline_folder, Array, FAMILIES};
use common::handles::{c_path, c_string, check, Options, Output, Pipeline, Result};
use std::ffi::CStr;
use std::path::Path;
use std::ptr::null_mut;

const KINDS: [&str; 3] = ["int8", "fp8", "int4"];

/// How far latents may be from those of whole weights: root mean square over that of the latents.
/// Set where the random networks of the tests are, whose runs amplify what changes.
const NEAR: [(&str, f64); 3] = [("int8", 0.03), ("fp8", 0.15), ("int4", 0.4)];

fn load(family: &str, quantizations: &[(&str, &str)]) -> Pipeline {
    Pipeline::load_quantized(&pipeline_folder(family), quantizations, |_| Ok(())).unwrap()
}

fn both(kind: &str) -> [(&str, &str); 2] {
    [("text_encoder", kind), ("transformer", kind)]
}

fn options() -> Options {
    let mut options = Options::short(3);
    options.num_frames(5);
    options
}

fn latents(pipeline: &Pipeline) -> Array<f32> {
    pipeline.generate(&options()).unwrap().latents().unwrap()
}

/// Root mean square of the difference over that of `expected`.
fn away(found: &Array<f32>, expected: &Array<f32>) -> f64 {
    assert_eq!(found.shape, expected.shape);
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = found.data.iter().zip(&expected.data);
    let off = pairs.map(|(a, b)| f64::from(a - b)).fold(0.0, square);
    let all = expected.data.iter().map(|&x| f64::from(x)).fold(0.0, square);
    (off / all).sqrt()
}

fn cache(json: &str) -> CacheConfig {
    CacheConfig::from_json(json).unwrap()
}

fn weight_bytes(pipeline: &Pipeline) -> u64 {
    // SAFETY: the pipeline is live.
    unsafe { cvx_pipeline_weight_bytes(pipeline.0) }
}

/// Rows and columns of each matrix that is quantized.
fn matrices(family: &str, component: &str) -> Vec<(u64, u64)> {
    let config = pipeline_folder(family).join(component).join("config.json");
    if component == "transformer" {
        let config = TransformerConfig::read(&config, &mut Vec::new()).unwrap();
        let modules = linear_modules(&config);
        let blocks = modules.iter().filter(|m| m.name.starts_with("transformer_blocks."));
        return blocks.map(|m| (m.shape[0] as u64, m.shape[1] as u64)).collect();
    }
    let config = T5Config::read(&config).unwrap();
    let (model, ff) = (config.d_model as u64, config.d_ff as u64);
    let inner = (config.num_heads * config.d_kv) as u64;
    let (attention, dense) = ([(inner, model); 3], [(ff, model); 2]);
    let block = [&attention[..], &[(model, inner)], &dense[..], &[(model, ff)]];
    block.concat().repeat(config.num_layers as usize)
}

fn quantized_bytes(kind: &str, (rows, columns): (u64, u64)) -> u64 {
    match kind {
        "int4" => rows * columns.div_ceil(32) * (16 + 2),
        _ => rows * columns + 4 * rows,
    }
}

#[test]
fn weights_take_what_their_bits_take() {
    for family in FAMILIES {
        let whole = weight_bytes(&load(family, &[]));
        for kind in KINDS {
            for component in ["text_encoder", "transformer"] {
                let found = weight_bytes(&load(family, &[(component, kind)]));
                let saved: u64 = matrices(family, component)
                    .iter()
                    .map(|&size| 4 * size.0 * size.1 - quantized_bytes(kind, size))
                    .sum();
                assert_eq!(found, whole - saved, "{family}, {component} in {kind}");
            }
        }
    }
}

#[test]
fn runs_are_near_those_of_whole_weights_and_the_same_each_time() {
    for family in FAMILIES {
        let whole = latents(&load(family, &[]));
        for (kind, near) in NEAR {
            for quantizations in [&both(kind)[..], &both(kind)[..1], &both(kind)[1..]] {
                let pipeline = load(family, quantizations);
                let found = latents(&pipeline);
                let off = away(&found, &whole);
                assert!(off > 0.0 && off < near, "{family}, {quantizations:?}: {off}");
                assert_eq!(latents(&pipeline), found, "{family}, {kind}: the same seed");
            }
        }
    }
}

#[test]
fn clones_caches_and_encoders_on_demand_work_as_with_whole_weights() {
    for kind in KINDS {
        let pipeline = load("5b", &both(kind));
        let plain = latents(&pipeline);
        let clone = pipeline.another().unwrap();
        drop(pipeline);
        assert_eq!(latents(&clone), plain);
        clone
            .enable_cache(&cache(r#"{"technique":"pab","spatial_attention_block_skip_range":2}"#))
            .unwrap();
        assert_eq!(latents(&clone).shape, plain.shape);
        clone.enable_cache(&cache(r#"{"technique":"faster_cache"}"#)).unwrap();
        assert_eq!(latents(&clone).shape, plain.shape);

        let on_demand = Pipeline::load_quantized(&pipeline_folder("5b"), &both(kind), |options| {
            // SAFETY: the options are live.
            check(unsafe { cvx_load_options_set_text_encoder_on_demand(options, 1) })
        });
        assert_eq!(latents(&on_demand.unwrap()), plain, "{kind}");
    }
}

#[test]
fn adapters_go_on_top_and_fused_are_quantized_anew() {
    for kind in KINDS {
        let whole = load("2b", &[]);
        let pipeline = load("2b", &[("transformer", kind)]);
        let plain = latents(&pipeline);
        for pipeline in [&whole, &pipeline] {
            let file = golden("lora/2b/every.safetensors");
            pipeline.load_lora(&file, None).unwrap();
        }
        let (near, adapted) = (NEAR.iter().find(|near| near.0 == kind).unwrap().1, latents(&whole));
        let on_top = latents(&pipeline);
        assert!(away(&on_top, &adapted) < 2.0 * near, "{kind}: {}", away(&on_top, &adapted));
        assert!(away(&on_top, &plain) > 0.01, "{kind}: the adapter does nothing");
        pipeline.fuse_lora(1.0).unwrap();
        let fused = latents(&pipeline);
        assert!(fused != on_top, "{kind}: quantized anew");
        assert!(away(&fused, &adapted) < 2.0 * near, "{kind}: {}", away(&fused, &adapted));
        pipeline.unfuse_lora().unwrap();
        pipeline.unload_lora().unwrap();
        assert_eq!(latents(&pipeline), plain, "{kind}: unfusing gives back the same codes");
    }
}

#[test]
fn an_estimate_counts_the_matrices_that_are_made_dense() {
    let estimate = |quantizations: &[(&str, &str)]| {
        let (pipeline, mut bytes) = (load("2b", quantizations), 0);
        let options = options();
        // SAFETY: the handles are live, and so is the place for the call.
        check(unsafe { cvx_pipeline_estimate_memory(pipeline.0, options.0, &mut bytes) }).unwrap();
        bytes
    };
    let whole = estimate(&[]);
    let width: u64 = 2 * 24;
    for kind in KINDS {
        let more = estimate(&[("transformer", kind)]) - whole;
        assert!(more > 0 && more <= 2 * 4 * width * width * 4, "{kind}: {more}");
    }
}

#[test]
fn other_components_and_kinds_are_refused_and_the_options_go_on() {
    let mut words = Vec::new();
    let refused = Pipeline::load_quantized(&pipeline_folder("2b"), &[], |options| {
        let mut set = |component: &str, kind: &str| {
            let (component, kind) = (c_string(component), c_string(kind));
            // SAFETY: options and strings are live.
            let error = unsafe {
                cvx_load_options_set_component_quantization(
                    options,
                    component.as_ptr(),
                    kind.as_ptr(),
                )
            };
            words.push(check(error).unwrap_err());
        };
        set("vae", "int8");
        set("unet", "int8");
        set("transformer", "nf4");
        set("transformer", "");
        Ok(())
    });
    let plain = latents(&load("2b", &[]));
    assert_eq!(latents(&refused.unwrap()), plain, "a refused kind changes nothing");
    assert!(words.iter().all(|failure| failure.code == CVX_ERROR_INVALID_ARGUMENT), "{words:?}");
    for (failure, word) in words.iter().zip(["\"vae\"", "\"unet\"", "\"nf4\"", "\"\""]) {
        assert!(failure.message.contains(word), "{failure}");
    }
    assert!(words[0].message.contains("transformer") && words[2].message.contains("int4"));

    // NULL takes a kind back.
    let whole = Pipeline::load_quantized(&pipeline_folder("2b"), &both("int4"), |options| {
        for component in [c"text_encoder", c"transformer"] {
            let component = component.as_ptr();
            // SAFETY: the options are live.
            let error = unsafe {
                cvx_load_options_set_component_quantization(options, component, std::ptr::null())
            };
            check(error)?;
        }
        Ok(())
    });
    assert_eq!(latents(&whole.unwrap()), plain);
}

#[test]
fn products_of_float8_numbers_are_refused_on_the_cpu() {
    if common::handles::test_device() != "cpu" {
        return;
    }
    let failure =
        Pipeline::load_quantized(&pipeline_folder("2b"), &both("fp8_compute"), |_| Ok(()));
    let failure = failure.map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
    for word in ["fp8_compute", "8.9", "found cpu"] {
        assert!(failure.message.contains(word), "{failure}");
    }
}

#[test]
fn jobs_and_frames_come_of_quantized_weights() {
    let pipeline = load("1.5-5b", &both("int8"));
    let mut options = options();
    options.output(Output::Frames);
    let mut job = null_mut();
    // SAFETY: the handles are live, and so are the places for the calls; each is freed once.
    unsafe {
        let error = cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job);
        check(error).unwrap();
        check(cvx_job_wait(job, f64::INFINITY, null_mut())).unwrap();
        let mut video = null_mut();
        check(cvx_job_take_video(job, &mut video)).unwrap();
        assert_eq!(cvx_video_width(video), 48);
        cvx_video_free(video);
        cvx_job_free(job);
    }
}

fn save(pipeline: &Pipeline, folder: &Path) -> Result<()> {
    let folder = c_path(folder);
    // SAFETY: the pipeline and the string are live.
    check(unsafe { cvx_pipeline_save(pipeline.0, folder.as_ptr()) })
}

#[test]
fn folders_that_killed_processes_left_are_removed_after_a_day() {
    let place = tempfile::tempdir().unwrap();
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    for (name, old) in [
        (".cvx-saving-abc123", true),
        (".cvx-saving-def456", false),
        (".cvx-saving-of-others", true),
        ("ours", true),
    ] {
        let folder = place.path().join(name);
        std::fs::create_dir_all(folder.join("pipeline")).unwrap();
        std::fs::write(folder.join("pipeline/weights"), "x").unwrap();
        if old {
            std::fs::File::open(&folder).unwrap().set_modified(yesterday).unwrap();
        }
    }
    save(&load("2b", &[]), &place.path().join("saved")).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".cvx-saving-def456", ".cvx-saving-of-others", "ours", "saved"]);
}

#[test]
fn a_link_that_leads_to_nothing_is_in_the_way_of_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let failure = save(&load("2b", &[]), &link).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure:?}");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_saved_folder_loads_as_what_it_was_saved_from() {
    let place = tempfile::tempdir().unwrap();
    for family in ["2b", "5b-sharded", "1.5-5b"] {
        let whole = latents(&load(family, &[]));
        for kind in [None, Some("int8"), Some("fp8"), Some("int4")] {
            let quantizations = kind.map_or(Vec::new(), |kind| both(kind).to_vec());
            let pipeline = load(family, &quantizations);
            let folder = place.path().join(format!("{family}-{}", kind.unwrap_or("whole")));
            save(&pipeline, &folder).unwrap();
            let expected = latents(&pipeline);
            assert_eq!(expected == whole, kind.is_none());

            let saved = Pipeline::load(&folder).unwrap();
            assert_eq!(latents(&saved), expected, "{family}, {kind:?}");
            assert_eq!(weight_bytes(&saved), weight_bytes(&pipeline));
            // Saying what it is, once more, is allowed; and what is saved can be saved.
            let again = Pipeline::load_quantized(&folder, &quantizations, |_| Ok(())).unwrap();
            let copy = place.path().join(format!("{family}-{}-again", kind.unwrap_or("whole")));
            save(&again, &copy).unwrap();
            assert_eq!(latents(&Pipeline::load(&copy).unwrap()), expected);
            for component in ["transformer", "text_encoder", "vae"] {
                for name in
                    ["config.json", "model.safetensors", "diffusion_pytorch_model.safetensors"]
                {
                    let read =
                        |folder: &Path| std::fs::read(folder.join(component).join(name)).ok();
                    assert_eq!(read(&copy), read(&folder), "{component}/{name}");
                }
            }
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count() % 2, 0, "left over");
        }
    }
}

#[test]
fn a_saved_folder_is_smaller_and_streams() {
    let place = tempfile::tempdir().unwrap();
    let size = |folder: &Path| {
        let file = folder.join("transformer/diffusion_pytorch_model.safetensors");
        std::fs::metadata(file).unwrap().len()
    };
    for (kind, most) in [("int8", 0.6), ("fp8", 0.6), ("int4", 0.5)] {
        let folder = place.path().join(kind);
        let pipeline = load("5b", &both(kind));
        save(&pipeline, &folder).unwrap();
        let ratio = size(&folder) as f64 / size(&pipeline_folder("5b")) as f64;
        assert!(ratio < most, "{kind}: {ratio}");
        let expected = latents(&pipeline);
        for mode in [c"file", c"host"] {
            assert_eq!(latents(&streamed(&folder, &[], mode)), expected, "{kind}, {mode:?}");
        }
    }
}

fn streamed(folder: &Path, quantizations: &[(&str, &str)], mode: &CStr) -> Pipeline {
    Pipeline::load_quantized(folder, quantizations, |options| {
        for component in [c"transformer", c"text_encoder"] {
            let (component, mode) = (component.as_ptr(), mode.as_ptr());
            // SAFETY: the options and the strings are live.
            check(unsafe { cvx_load_options_set_weight_streaming(options, component, mode) })?;
        }
        Ok(())
    })
    .unwrap()
}

#[test]
fn what_is_quantized_while_it_is_loaded_streams_from_host_memory() {
    for family in ["2b", "5b-sharded", "1.5-5b"] {
        let folder = pipeline_folder(family);
        for kind in KINDS {
            let resident = load(family, &both(kind));
            let expected = latents(&resident);
            for mode in [c"file", c"host"] {
                let pipeline = streamed(&folder, &both(kind), mode);
                assert_eq!(latents(&pipeline), expected, "{family}, {kind}, {mode:?}");
                assert_eq!(latents(&pipeline), expected, "{family}, {kind}, {mode:?}: again");
                // Nothing of the dense matrices is kept: slabs, and tensors in them, begin at round
                // places, which is all that they take more.
                let (found, codes) = (weight_bytes(&pipeline), weight_bytes(&resident));
                assert!(found < codes + codes / 10, "{family}, {kind}: {found}, {codes}");
            }
        }
    }
    // With adapters on top, and fused.
    for kind in KINDS {
        let resident = load("2b", &both(kind));
        let pipeline = streamed(&pipeline_folder("2b"), &both(kind), c"host");
        for pipeline in [&resident, &pipeline] {
            pipeline.load_lora(&golden("lora/2b/every.safetensors"), None).unwrap();
        }
        assert_eq!(latents(&pipeline), latents(&resident), "{kind}");
        for pipeline in [&resident, &pipeline] {
            pipeline.fuse_lora(1.0).unwrap();
        }
        assert_eq!(latents(&pipeline), latents(&resident), "{kind}, fused");
    }
}

#[test]
fn what_cannot_be_saved_is_refused_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let pipeline = load("2b", &both("int8"));
    let fails = |pipeline: &Pipeline, folder: &Path, code: i32, word: &str| {
        let failure = save(pipeline, folder).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
    };
    let there = place.path().join("there");
    std::fs::write(&there, "").unwrap();
    fails(&pipeline, &there, CVX_ERROR_INVALID_ARGUMENT, "there");
    fails(&pipeline, &place.path().join("no/such"), CVX_ERROR_NOT_FOUND, "no");
    fails(&pipeline, Path::new(""), CVX_ERROR_INVALID_ARGUMENT, "");
    pipeline.load_lora(&golden("lora/2b/every.safetensors"), None).unwrap();
    pipeline.fuse_lora(1.0).unwrap();
    fails(&pipeline, &place.path().join("fused"), CVX_ERROR_INVALID_ARGUMENT, "fused");
    pipeline.unfuse_lora().unwrap();
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "left over");
    save(&pipeline, &place.path().join("good")).unwrap();

    // Another kind than the files have, a method of others, codes without their config's word.
    let good = place.path().join("good");
    let other = Pipeline::load_quantized(&good, &[("transformer", "int4")], |_| Ok(()));
    let failure = other.map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("int8") && failure.message.contains("int4"), "{failure}");
    let config = good.join("transformer/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    for (from, to, code) in [
        ("libcogvideox", "bitsandbytes", CVX_ERROR_UNSUPPORTED_MODEL),
        ("\"version\": 1", "\"version\": 2", CVX_ERROR_UNSUPPORTED_MODEL),
        ("\"int8\"", "\"int3\"", CVX_ERROR_UNSUPPORTED_MODEL),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&config, text.replace(from, to)).unwrap();
        let failure = Pipeline::load(&good).map(drop).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains("quantization_config"), "{failure}");
    }
}

/// The demo model with the products of its blocks in `precision`: what the other tests run has no
/// matrix that is large enough.
fn load_for_products(precision: &str, streaming: bool) -> Result<Pipeline> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/pipeline");
    let precision = c_string(precision);
    Pipeline::load_quantized(&folder, &[], |options| {
        let (component, mode) = (c"transformer".as_ptr(), c"file".as_ptr());
        // SAFETY: the options and texts are live.
        unsafe {
            if streaming {
                check(cvx_load_options_set_weight_streaming(options, component, mode))?;
            }
            check(cvx_load_options_set_cpu_matmul_precision(options, precision.as_ptr()))
        }
    })
}

/// Latents of products in `precision`, which take `instructions`, are off by at most `far`, measured
/// where the model knows neither prompt nor size: 0.042 in bfloat16, 0.155 in int8. Weights take at most
/// `weight` percent of those in float32.
fn products_are_near(precision: &str, instructions: &str, far: f64, weight: u64) {
    let whole = load_for_products("float32", false).unwrap();
    let expected = latents(&whole);
    let fewer = match load_for_products(precision, false) {
        Ok(fewer) => fewer,
        Err(error) => {
            assert_eq!(error.code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(error.message.contains(instructions), "{}", error.message);
            return;
        }
    };
    let found = latents(&fewer);
    let near = away(&found, &expected);
    if std::env::var_os("CVX_TEST_DEVICE").is_some_and(|device| device != "cpu") {
        assert_eq!(near, 0.0);
        return;
    }
    assert!(near > far / 500.0 && near < far, "{near}");
    let (less, all) = (weight_bytes(&fewer), weight_bytes(&whole));
    assert!(less < all * weight / 100, "{less} of {all}");
    let video = fewer.generate(&options()).unwrap();
    // SAFETY: the video is live, and the text with it.
    let told = unsafe { std::ffi::CStr::from_ptr(cvx_video_kernels(video.0)) }.to_str().unwrap();
    assert!(told.ends_with(&format!(", products by oneDNN in {precision}")), "{told}");
    // The same again, from a clone, and where blocks stream.
    assert_eq!(latents(&fewer.another().unwrap()).data, found.data);
    assert_eq!(latents(&load_for_products(precision, true).unwrap()).data, found.data);
    // What is saved is what was read, not what products are made with.
    let place = tempfile::tempdir().unwrap();
    let saved = place.path().join("saved");
    save(&fewer, &saved).unwrap();
    let again = Pipeline::load_quantized(&saved, &[], |_| Ok(())).unwrap();
    assert_eq!(latents(&again).data, expected.data);
}

#[test]
fn products_in_bfloat16_are_near_and_what_a_processor_lacks_is_told() {
    products_are_near("bfloat16", "AVX512_BF16", 0.05, 80);
}

#[test]
fn products_in_int8_are_near_and_what_a_processor_lacks_is_told() {
    products_are_near("int8", "AVX512_VNNI", 0.25, 65);
}

/// There oneDNN's sums of bytes are cut to 16 bits.
#[test]
fn products_in_int8_are_refused_where_onednn_is_held_to_less() {
    if std::env::var_os("CVX_TEST_DEVICE").is_some_and(|device| device != "cpu") {
        return;
    }
    // oneDNN asks for it once in a process.
    let held = "ONEDNN_MAX_CPU_ISA";
    if std::env::var_os(held).is_some() {
        let error = load_for_products("int8", false).err().unwrap();
        assert_eq!(error.code, CVX_ERROR_INVALID_ARGUMENT);
        assert!(error.message.contains("AVX512_VNNI"), "{}", error.message);
        return;
    }
    let this = "products_in_int8_are_refused_where_onednn_is_held_to_less";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", this]).env(held, "AVX512_CORE").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn products_in_other_numbers_are_refused() {
    let error = load_for_products("float16", false).err().unwrap();
    assert_eq!(error.code, CVX_ERROR_INVALID_ARGUMENT);
    for known in ["float16", "float32", "bfloat16", "int8"] {
        assert!(error.message.contains(known), "{}", error.message);
    }
}
