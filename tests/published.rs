//! Folders laid out as the published ones: each in small, run with what its task takes, and 2b, 5b and
//! 1.5 in their full size, up to a forward pass of one block. Weights are zeros (`common/layouts.rs`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::cache::{BlockAction, ForwardCache, LayerState, Substitute};
use cogvideox::capi::*;
use cogvideox::checkpoint::config::TransformerConfig;
use cogvideox::checkpoint::streaming::Streaming;
use cogvideox::checkpoint::WeightStore;
use cogvideox::models::transformer::Transformer;
use cogvideox::runtime::{Control, Placement};
use common::goldens::{Array, Picture};
use common::handles::{c_path, c_string, check, test_device, Options, Output, Pipeline, Result};
use common::layouts::{Layout, Size, OF_2B, OF_5B, SMALL};
use common::process_memory::{settled, status};
use serde_json::{json, Value};
use std::ffi::{c_void, CStr};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Mutex;
use tch::{Device, Kind, Tensor};

/// Memory is counted for the whole process, and the full sizes take some.
static ALONE: Mutex<()> = Mutex::new(());

const T2V: &str = "CogVideoXPipeline";
const I2V: &str = "CogVideoXImageToVideoPipeline";
/// 2b as it is now: its VAE became float32 after the first revision.
const HALF: [(&str, usize); 3] = [("F16", 2), ("F16", 1), ("F32", 1)];
/// All of it in float16: 2b's first revision.
const ALL_HALF: [(&str, usize); 3] = [("F16", 2), ("F16", 1), ("F16", 1)];
const BRAIN: [(&str, usize); 3] = [("BF16", 2), ("BF16", 2), ("F32", 1)];
/// The text encoder in float32 in four files, the transformer in bfloat16, the VAE in float32.
const THREE: [(&str, usize); 3] = [("F32", 4), ("BF16", 3), ("F32", 1)];

fn layout(name: &'static str, class: &'static str, transformer: Value) -> Layout {
    let vae = json!({});
    Layout { name, class, transformer, vae, snr_shift_scale: 1.0, files: BRAIN, crlf: false }
}

fn of_2b(size: Size) -> Layout {
    let (height, width, frames) = sample(size, [60, 90, 49]);
    let fields = json!({
        "sample_height": height, "sample_width": width, "sample_frames": frames,
        "use_rotary_positional_embeddings": false,
    });
    let vae = json!({"scaling_factor": 1.15258426, "invert_scale_latents": false});
    Layout { vae, snr_shift_scale: 3.0, files: HALF, ..layout("2b", T2V, fields) }
}

/// Sides of the default size: the published ones, or small ones.
fn sample(size: Size, published: [usize; 3]) -> (usize, usize, usize) {
    match size.layers {
        2 => (6, 10, 13),
        _ => (published[0], published[1], published[2]),
    }
}

fn of_5b(size: Size) -> Layout {
    let (height, width, frames) = sample(size, [60, 90, 49]);
    let fields = json!({
        "sample_height": height, "sample_width": width, "sample_frames": frames,
        "use_rotary_positional_embeddings": true,
    });
    layout("5b", T2V, fields)
}

fn of_1_5(size: Size) -> Layout {
    let (height, width, frames) = sample(size, [300, 300, 81]);
    let fields = json!({
        "sample_height": height, "sample_width": width, "sample_frames": frames,
        "use_rotary_positional_embeddings": true, "use_learned_positional_embeddings": false,
        "patch_size_t": 2, "patch_bias": false, "ofs_embed_dim": null,
    });
    let vae = json!({"invert_scale_latents": true});
    Layout { vae, files: THREE, ..layout("1.5-5B", T2V, fields) }
}

/// With further fields of the transformer's config.
fn with(mut layout: Layout, name: &'static str, class: &'static str, more: Value) -> Layout {
    let fields = layout.transformer.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    Layout { name, class, ..layout }
}

/// Every published layout with small networks.
fn all() -> Vec<Layout> {
    let twice = 2 * SMALL.latent;
    let first = json!({
        "scaling_factor": 1.15258426, "mid_block_add_attention": true, "sample_size": 256,
    });
    let mut first = Layout { vae: first, crlf: true, files: ALL_HALF, ..of_2b(SMALL) };
    // That revision's config did not name the kind of positions.
    first.transformer.as_object_mut().unwrap().remove("use_rotary_positional_embeddings");
    // Its VAE is a copy of that revision's.
    let fun_2b = Layout { files: BRAIN, vae: first.vae.clone(), ..of_2b(SMALL) };
    let learned = json!({
        "in_channels": twice, "use_learned_positional_embeddings": true,
    });
    vec![
        of_2b(SMALL),
        Layout { name: "2b, first revision", ..first },
        Layout { crlf: true, ..of_5b(SMALL) },
        with(of_5b(SMALL), "5b-I2V", I2V, learned),
        of_1_5(SMALL),
        with(
            of_1_5(SMALL),
            "1.5-5B-I2V",
            I2V,
            json!({"in_channels": twice, "ofs_embed_dim": SMALL.time}),
        ),
        with(fun_2b, "Fun 2b Control", T2V, json!({"in_channels": twice})),
        with(of_5b(SMALL), "Fun 5b Control", T2V, json!({"in_channels": twice})),
        with(of_5b(SMALL), "Fun 5b InP", T2V, json!({"in_channels": twice + 1})),
        with(
            of_1_5(SMALL),
            "Fun 1.5 InP",
            T2V,
            json!({"in_channels": twice + 1, "add_noise_in_inpaint_model": true}),
        ),
    ]
}

#[test]
fn every_published_layout_runs_in_small() {
    let _alone = ALONE.lock();
    for layout in all() {
        let folder = layout.write(SMALL);
        let pipeline = Pipeline::load(folder.path()).unwrap();
        // SAFETY: the pipeline is live.
        let task = unsafe { cvx_pipeline_task(pipeline.0) };
        let picture = Picture::Bytes(Array { shape: vec![2, 2, 3], data: vec![90; 12] });
        let clip = Picture::Bytes(Array { shape: vec![13, 2, 2, 3], data: vec![90; 13 * 12] });
        let mut options = Options::new();
        options.prompt("a red ball").num_inference_steps(2);
        let expected = match layout.name {
            "5b-I2V" | "1.5-5B-I2V" => {
                options.image(&picture);
                CVX_TASK_IMAGE_TO_VIDEO
            }
            "Fun 2b Control" | "Fun 5b Control" => {
                options.control_video(&clip);
                CVX_TASK_CONTROL
            }
            "Fun 5b InP" | "Fun 1.5 InP" => {
                options.image(&picture);
                CVX_TASK_INPAINTING
            }
            _ => CVX_TASK_TEXT_TO_VIDEO,
        };
        assert_eq!(task, expected, "{}", layout.name);
        let video = pipeline.generate(&options).unwrap();
        // 4 latent frames, of which 16 frames are made.
        assert_eq!(video.frames_rgb8().unwrap().shape, [1, 16, 48, 80, 3], "{}", layout.name);
    }
}

fn weight_bytes(pipeline: &Pipeline) -> u64 {
    // SAFETY: the pipeline is live.
    unsafe { cvx_pipeline_weight_bytes(pipeline.0) }
}

/// Files of three dtypes become float32 without any network in memory twice: beside the weights there
/// are parts of files, and one matrix in the layouts that it is read, multiplied and tried in.
#[test]
fn three_dtypes_in_one_folder_load_without_a_copy_too_many() {
    let _alone = ALONE.lock();
    // Matrices of more than 32 MB, as the published models have: malloc gives those back at once.
    let size = Size {
        heads: 24,
        head_dim: 64,
        layers: 3,
        time: 512,
        text: 2048,
        t5_layers: 2,
        t5_heads: 32,
        t5_ff: 5120,
        ..SMALL
    };
    let folder = of_1_5(size).write(size);
    let (path, mut pipeline) = (c_path(folder.path()), null_mut());
    let before = settled();
    // SAFETY: the text and the place live for the call.
    check(unsafe { cvx_pipeline_load(path.as_ptr(), std::ptr::null(), &mut pipeline) }).unwrap();
    let pipeline = Pipeline(pipeline);
    let (peak, held) = (status("VmHWM") - before, weight_bytes(&pipeline));
    println!("1.5's three dtypes: {held} bytes of weights in memory, loading took {peak}");
    assert!(held > 700 << 20, "{held}");
    assert!(peak < held + (64 << 20), "{peak} for {held}");
}

/// Loads with the blocks of transformer and text encoder left in their files.
fn load_streaming(folder: &Path) -> Result<Pipeline> {
    tch::set_num_threads(1);
    let (folder, device, mut pipeline) = (c_path(folder), c_string(&test_device()), null_mut());
    // SAFETY: strings and places live for the calls; the options are freed once.
    unsafe {
        let options = cvx_load_options_new();
        check(cvx_load_options_set_device(options, device.as_ptr()))?;
        for component in [c"text_encoder", c"transformer"] {
            let set = cvx_load_options_set_weight_streaming;
            check(set(options, component.as_ptr(), c"file".as_ptr()))?;
        }
        let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
        result?;
    }
    Ok(Pipeline(pipeline))
}

/// Lets the first block run, and skips all others.
struct First {
    layers: usize,
    ran: Vec<usize>,
}

impl ForwardCache for First {
    fn block(&mut self, block: usize, x: &Tensor) -> cogvideox::Result<BlockAction> {
        if block == 0 {
            return Ok(BlockAction::Compute);
        }
        let residual = Substitute { value: x.zeros_like(), state: LayerState::Skipped };
        Ok(BlockAction::Skip { to: self.layers, residual })
    }

    fn block_computed(&mut self, block: usize, _: &Tensor) -> cogvideox::Result<()> {
        self.ran.push(block);
        Ok(())
    }
}

/// Loads a folder of full size, whose networks ask for each tensor by name and shape, and runs the first
/// block of its transformer.
fn full_size(layout: &Layout, size: Size, tensors: [usize; 3]) {
    let _alone = ALONE.lock();
    assert_eq!(layout.counts(size), tensors, "{}", layout.name);
    let folder = layout.write(size);
    let before = settled();
    let pipeline = load_streaming(folder.path()).unwrap();
    let (peak, held) = (status("VmHWM") - before, weight_bytes(&pipeline));
    println!("{}: {held} bytes of weights stay in memory, loading took {peak}", layout.name);
    // A convolution on its way to the layout it runs in, and parts of files: no network once more.
    assert!(peak < held + (96 << 20), "{}: {peak} for {held}", layout.name);

    drop(pipeline);

    let _no_grad = tch::no_grad_guard();
    let folder = folder.path().join("transformer");
    let config = TransformerConfig::read(&folder.join("config.json"), &mut Vec::new()).unwrap();
    let (stem, control) = ("diffusion_pytorch_model", Control::default());
    let mut store = WeightStore::open(&folder, stem, None, Placement::CPU, &control).unwrap();
    store.streaming = Streaming::File;
    let transformer = Transformer::load(&config, &store.root()).unwrap();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let prompt = zeros(&[1, size.text_length as i64, size.text as i64]);
    let latents = zeros(&[1, 2, size.latent as i64, 6, 8]) + 1.0;
    let conditioning = transformer.condition(&prompt, 2, 6, 8).unwrap();
    let mut first = First { layers: size.layers, ran: Vec::new() };
    let output = transformer.forward(&latents, &conditioning, 999, &mut first, &control).unwrap();
    assert_eq!(output.size(), latents.size(), "{}", layout.name);
    assert_eq!(output.abs().max().double_value(&[]), 0.0, "{}", layout.name);
    assert_eq!(first.ran, [0], "{}", layout.name);
    println!("{}: {} with the run", layout.name, status("VmHWM") - before);
}

#[test]
fn cogvideox_2b_loads_in_its_full_size() {
    full_size(&of_2b(OF_2B), OF_2B, [219, 736, 436]);
}

#[test]
fn cogvideox_5b_loads_in_its_full_size() {
    full_size(&of_5b(OF_5B), OF_5B, [219, 1024, 436]);
}

#[test]
fn cogvideox_1_5_5b_loads_in_its_full_size() {
    full_size(&of_1_5(OF_5B), OF_5B, [219, 1024, 436]);
}

/// Collects warnings.
unsafe extern "C" fn warn(info: *const cvx_log_info, all: *mut c_void) {
    // SAFETY: `info` is alive, `all` outlives the run.
    let (info, all) = unsafe { (&*info, &mut *all.cast::<Vec<String>>()) };
    if info.level >= CVX_LOG_WARNING {
        // SAFETY: a text of the library's.
        all.push(unsafe { CStr::from_ptr(info.message) }.to_str().unwrap().into());
    }
}

/// 1.5's config says 300 × 300 latents; the model was made for 1360 × 768.
#[test]
fn a_size_far_beyond_what_a_model_was_made_for_is_warned_of() {
    let _alone = ALONE.lock();
    let fields = json!({"sample_height": 300, "sample_width": 300});
    let folder = with(of_1_5(SMALL), "1.5-5B", T2V, fields).write(SMALL);
    let pipeline = Pipeline::load(folder.path()).unwrap();
    for (width, height, warned) in [(1360, 768, false), (1600, 1600, true)] {
        let mut options = Options::new();
        options
            .prompt("a red ball")
            .size(width, height)
            .num_frames(1)
            .num_inference_steps(1)
            .guidance_scale(1.0)
            .output(Output::Latents);
        let mut warnings = Vec::<String>::new();
        let place: *mut c_void = (&raw mut warnings).cast();
        let set = cvx_generate_options_set_log_callback;
        // SAFETY: the warnings outlive the options.
        check(unsafe { set(options.0, Some(warn), place, None) }).unwrap();
        pipeline.generate(&options).unwrap();
        drop(options);
        let found = warnings.iter().any(|text| text.contains("1600 × 1600"));
        assert_eq!(found, warned, "{warnings:?}");
        assert!(!warned || warnings.iter().any(|text| text.contains("1360 × 768")));
    }
}
