//! Weights that are read block by block: the videos of resident ones, and what becomes of a run
//! whose files change.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::thread;

const MODES: [&CStr; 2] = [c"file", c"host"];
const FAMILIES: [&str; 3] = ["2b", "5b", "1.5-5b"];

fn load(folder: &CStr, mode: &CStr) -> Pipeline {
    load_with(folder, mode, |_| ())
}

fn load_with(folder: &CStr, mode: &CStr, more: impl FnOnce(*mut cvx_load_options)) -> Pipeline {
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        for component in [c"text_encoder", c"transformer"] {
            let error =
                cvx_load_options_set_weight_streaming(options, component.as_ptr(), mode.as_ptr());
            ok(error);
        }
        more(options);
        ok(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
    }
    Pipeline(pipeline)
}

fn weight_bytes(pipeline: &Pipeline) -> u64 {
    // SAFETY: as a host calls it.
    unsafe { cvx_pipeline_weight_bytes(pipeline.0) }
}

fn made(pipeline: &Pipeline, steps: i32) -> Vec<f32> {
    latents(&generate(pipeline, &Options::latents(steps))).0
}

/// Reuse of modules, of halves of the batch, of ranges of blocks and of whole steps, with settings
/// with which a run of six steps skips something.
const CACHES: [&str; 5] = [
    "",
    r#"{"technique": "pab", "spatial_attention_block_skip_range": 2,
        "spatial_attention_timestep_skip_range": [-1, 1001]}"#,
    r#"{"technique": "faster_cache", "spatial_attention_block_skip_range": 2,
        "spatial_attention_timestep_skip_range": [-1, 1001],
        "unconditional_batch_skip_range": 2,
        "unconditional_batch_timestep_skip_range": [-1, 1001]}"#,
    r#"{"technique": "first_block_cache", "threshold": 100.0}"#,
    r#"{"technique": "mag_cache", "mag_ratios": [1.0]}"#,
];

fn enable(pipeline: &Pipeline, json: &str) {
    let mut config = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_cache_config_from_json(c(json).as_ptr(), &mut config));
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
    }
}

/// The latents of a run with each of the caches.
fn cached(pipeline: &Pipeline) -> Vec<Vec<f32>> {
    let run = |cache: &&str| {
        if !cache.is_empty() {
            enable(pipeline, cache);
        }
        made(pipeline, 6)
    };
    CACHES.iter().map(run).collect()
}

/// A folder of its own with the files of a family, which a test may change.
fn copy_of(family: &str) -> (tempfile::TempDir, PathBuf) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (from, to) = {
                let entry = entry.unwrap();
                (entry.path(), to.join(entry.file_name()))
            };
            if from.is_dir() {
                copy(&from, &to);
            } else {
                fs::copy(&from, &to).unwrap();
            }
        }
    }
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("pipeline");
    let from = folder(family);
    copy(Path::new(std::ffi::OsStr::from_bytes(from.as_bytes())), &root);
    (parent, root)
}

fn path(path: &Path) -> std::ffi::CString {
    c(path.to_str().unwrap())
}

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
const TEXT_ENCODER: &str = "text_encoder/model.safetensors";

/// Rewrites float32 weights as the first half of each number, which is a bfloat16.
fn to_bfloat16(file: &Path) {
    let bytes = fs::read(file).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = whole
        .iter()
        .map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), Dtype::F32);
            let data = tensor.data().chunks(4).flat_map(|b| [b[2], b[3]]).collect();
            (name.to_string(), tensor.shape().to_vec(), data)
        })
        .collect();
    let views: HashMap<&str, TensorView> = halves
        .iter()
        .map(|(name, shape, data)| {
            (name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), data).unwrap())
        })
        .collect();
    fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn videos_are_those_of_resident_weights_to_the_last_bit() {
    for family in FAMILIES {
        let (_kept, root) = copy_of(family);
        to_bfloat16(&root.join(TRANSFORMER));
        to_bfloat16(&root.join(TEXT_ENCODER));
        let halves = path(&root);
        for from in [folder(family), halves] {
            let expected = cached(&load(&from, c"resident"));
            for others in expected.get(1..).unwrap() {
                assert_ne!(others, &expected[0], "{family}: nothing was skipped");
            }
            for mode in MODES {
                let found = cached(&load(&from, mode));
                for ((cache, found), expected) in CACHES.iter().zip(&found).zip(&expected) {
                    assert_eq!(found, expected, "{family} from {mode:?}, {cache}");
                }
            }
        }
    }
}

#[test]
fn less_stays_in_memory_and_the_load_still_counts_to_the_end() {
    let whole = Pipeline::load("5b-sharded");
    for mode in MODES {
        let mut last = (0, 0);
        let mut rises = true;
        let mut follow = |info: &cvx_progress_info| {
            rises &= info.done >= last.0 && info.stage == CVX_STAGE_LOAD;
            last = (info.done, info.total);
            0
        };
        let mut closure = Closure(&mut follow);
        let data = closure.pointer();
        let streamed = load_with(&folder("5b-sharded"), mode, |options| {
            // SAFETY: as a host calls it; the closure outlives the load.
            ok(unsafe {
                cvx_load_options_set_progress_callback(options, Some(call_progress), data, None)
            });
        });
        assert!(rises && last.0 == last.1 && last.1 > 0, "{mode:?}: {last:?}");
        if mode == c"file" {
            assert!(weight_bytes(&streamed) < weight_bytes(&whole) / 2, "{mode:?}");
        } else {
            assert!(weight_bytes(&streamed) < weight_bytes(&whole) * 11 / 10, "{mode:?}");
        }
    }
    // In the files' dtype, half of float32.
    let (_kept, root) = copy_of("5b");
    to_bfloat16(&root.join(TRANSFORMER));
    to_bfloat16(&root.join(TEXT_ENCODER));
    let bytes = |mode| weight_bytes(&load(&path(&root), mode));
    assert!(bytes(c"host") < bytes(c"resident") * 3 / 4);
}

#[test]
fn adapters_are_those_of_resident_weights() {
    for family in ["2b", "1.5-5b"] {
        let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/lora");
        let adapter = c(&format!("{goldens}/{family}/every.safetensors"));
        let runs = |mode: &CStr| {
            let pipeline = load(&folder(family), mode);
            let plain = made(&pipeline, 2);
            // SAFETY: as a host calls it.
            unsafe {
                ok(cvx_pipeline_load_lora(pipeline.0, adapter.as_ptr(), null()));
                let adapted = made(&pipeline, 2);
                ok(cvx_pipeline_fuse_lora(pipeline.0, 0.5));
                let fused = made(&pipeline, 2);
                ok(cvx_pipeline_unload_lora(pipeline.0));
                let kept = made(&pipeline, 2);
                assert!(plain != adapted && adapted != fused && fused == kept);
                [plain, adapted, fused]
            }
        };
        let expected = runs(c"resident");
        for mode in MODES {
            assert!(runs(mode) == expected, "{family} from {mode:?}");
        }
    }
}

#[test]
fn clones_and_jobs_read_for_themselves() {
    let expected = made(&Pipeline::load("5b"), 3);
    for mode in MODES {
        let pipeline = load(&folder("5b"), mode);
        let clones: Vec<Pipeline> = (0..3)
            .map(|_| {
                let mut clone = null_mut();
                // SAFETY: as a host calls it.
                ok(unsafe { cvx_pipeline_clone(pipeline.0, &mut clone) });
                Pipeline(clone)
            })
            .collect();
        let threads: Vec<_> = clones
            .into_iter()
            .map(|clone| {
                let clone = Sent::new(Box::into_raw(Box::new(clone)));
                thread::spawn(move || {
                    // SAFETY: made above, freed here.
                    let clone = unsafe { Box::from_raw(clone.get()) };
                    (0..3).map(|_| made(&clone, 3)).collect::<Vec<_>>()
                })
            })
            .collect();
        let jobs: Vec<Job> = (0..2).map(|_| submit(&pipeline, &Options::latents(3))).collect();
        for found in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            assert!(found == expected, "{mode:?}");
        }
        // The weights go with the jobs, not with the handle.
        drop(pipeline);
        for job in &jobs {
            assert!(latents(&job.video()).0 == expected, "{mode:?}");
        }
    }
}

#[test]
fn a_file_that_is_removed_or_replaced_is_still_the_one_that_was_loaded() {
    let (_kept, root) = copy_of("2b");
    let pipeline = load(&path(&root), c"file");
    let expected = made(&pipeline, 2);
    fs::remove_file(root.join(TEXT_ENCODER)).unwrap();
    let other = root.join("other");
    fs::write(&other, b"no weights").unwrap();
    fs::rename(&other, root.join(TRANSFORMER)).unwrap();
    let options = Options::latents(2);
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_prompt(options.0, c"another prompt".as_ptr()));
        assert_ne!(latents(&generate(&pipeline, &options)).0, expected);
        ok(cvx_generate_options_set_prompt(options.0, c"a red ball".as_ptr()));
    }
    assert_eq!(latents(&generate(&pipeline, &options)).0, expected);
}

#[test]
fn a_file_that_is_written_to_ends_runs_with_its_name_and_nothing_else() {
    for (file, cut) in
        [(TRANSFORMER, true), (TRANSFORMER, false), (TEXT_ENCODER, true), (TEXT_ENCODER, false)]
    {
        let (_kept, root) = copy_of("5b");
        let pipeline = load(&path(&root), c"file");
        let kept = load(&path(&root), c"host");
        let expected = made(&pipeline, 2);
        let whole = fs::read(root.join(file)).unwrap();
        let mut open = fs::OpenOptions::new().write(true).open(root.join(file)).unwrap();
        if cut {
            open.set_len(whole.len() as u64 / 2).unwrap();
        } else {
            // Clocks of files may be coarse.
            thread::sleep(std::time::Duration::from_millis(20));
            open.write_all(&whole[..64]).unwrap();
        }
        drop(open);
        let options = Options::latents(2);
        // SAFETY: as a host calls it.
        unsafe {
            // One that is not kept.
            ok(cvx_generate_options_set_prompt(options.0, c"another prompt".as_ptr()));
        }
        for _ in 0..2 {
            let mut video = untouched();
            // SAFETY: as a host calls it.
            let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
            let found = if cut { "as when it was opened" } else { "written to" };
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            fails(CVX_ERROR_INVALID_CHECKPOINT, &[name, found], error);
            assert_eq!(video, untouched());
        }
        // What was read before is not asked for again.
        assert_eq!(made(&kept, 2), expected);
        if file == TEXT_ENCODER {
            assert_eq!(made(&pipeline, 2), expected, "the prompt's embeddings are kept");
        }
        // The VAE is resident.
        let frames = Options::small(2);
        // SAFETY: as a host calls it.
        unsafe {
            let shape = [1i64, 3, 4, 4, 4];
            let numbers = vec![0.5f32; 192];
            let mut video = null_mut();
            ok(cvx_pipeline_decode_latents(
                pipeline.0,
                numbers.as_ptr(),
                shape.as_ptr(),
                5,
                frames.0,
                &mut video,
            ));
            cvx_video_free(video);
        }
    }
}

#[test]
fn a_file_that_shrinks_while_a_run_reads_it_ends_the_run() {
    let (_kept, root) = copy_of("5b");
    let pipeline = load(&path(&root), c"file");
    let options = Options::latents(50);
    let file = root.join(TRANSFORMER);
    on_progress(&options, move |info| {
        if info.stage == CVX_STAGE_DENOISE && info.done == 3 {
            let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
            open.set_len(4096).unwrap();
        }
        0
    });
    let mut video = untouched();
    // SAFETY: as a host calls it.
    let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
    let words = ["diffusion_pytorch_model.safetensors", "found 4096"];
    fails(CVX_ERROR_INVALID_CHECKPOINT, &words, error);
}

#[test]
fn a_run_is_cancelled_as_any_other() {
    for mode in MODES {
        let pipeline = load(&folder("5b"), mode);
        let expected = made(&pipeline, 2);
        for stage in [CVX_STAGE_ENCODE, CVX_STAGE_DENOISE] {
            let options = Options::latents(50);
            // SAFETY: as a host calls it.
            ok(unsafe {
                cvx_generate_options_set_prompt(options.0, c"a prompt that is new".as_ptr())
            });
            on_progress(&options, move |info| i32::from(info.stage == stage));
            let mut video = untouched();
            // SAFETY: as a host calls it.
            let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
            fails(CVX_ERROR_CANCELLED, &["progress callback"], error);
        }
        assert_eq!(made(&pipeline, 2), expected);
    }
}

#[test]
fn a_text_encoder_that_streams_may_also_be_on_demand() {
    let whole = Pipeline::load("5b");
    let lean = load_with(&folder("5b"), c"file", |options| {
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_load_options_set_text_encoder_on_demand(options, 1) });
    });
    assert_eq!(weight_bytes(&lean), 0);
    assert_eq!(made(&lean, 2), made(&whole, 2));
}

#[test]
fn other_components_and_modes_are_refused() {
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        let set = |component: &CStr, mode: &CStr| {
            cvx_load_options_set_weight_streaming(options, component.as_ptr(), mode.as_ptr())
        };
        let refused = |words: &[&str], error| fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
        refused(&["text_encoder", "transformer", "vae"], set(c"vae", c"file"));
        refused(&["resident", "file", "host", "mmap"], set(c"transformer", c"mmap"));
        ok(set(c"transformer", c"file"));
        ok(set(c"transformer", c"resident"));
        cvx_load_options_free(options);
    }
}
