//! What is done while something fails, each one call of the C interface, and what came of it.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::CString;
use std::path::PathBuf;
use std::ptr::{null, null_mut};

/// What a call came to: the numbers of its result, or the code of its error.
pub type Outcome = Result<Vec<f32>, (i32, String)>;

pub const NAMES: [&str; 11] = [
    "load", "generate", "cached", "frames", "pixels", "mp4", "gif", "png", "preview", "job",
    "regrow",
];

/// Those that `tests/faults.rs` proves itself on: see `planted`.
pub const PLANTED: [&str; 5] = ["dies", "differs", "misnames", "poisons", "hangs"];

/// Where it is done: "cpu", or what CVX_TEST_DEVICE says.
pub fn device() -> String {
    std::env::var("CVX_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

/// Loads 2b there, between `arm` and `disarm` of `armed`.
fn load(armed: &Armed, threads: i32) -> Result<Pipeline, (i32, String)> {
    let (folder, device) = (folder("2b"), CString::new(device()).unwrap());
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it; the options are freed once.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_device(options, device.as_ptr()));
        ok(cvx_load_options_set_num_threads(options, threads));
        let loaded = armed(&mut || cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
        loaded.map(|()| Pipeline(pipeline))
    }
}

/// Makes a call while something fails.
type Armed<'a> = dyn Fn(&mut dyn FnMut() -> *mut cvx_error) -> Result<(), (i32, String)> + 'a;

pub struct Scenario {
    name: String,
    /// None for those that need none before they begin.
    pipeline: Option<Pipeline>,
    /// As `pipeline`, with two of its four threads.
    fewer: Option<Pipeline>,
    video: Option<Video>,
    folder: tempfile::TempDir,
    poisoned: bool,
    round: usize,
}

fn error(error: *mut cvx_error) -> Result<(), (i32, String)> {
    match code(error) {
        (CVX_OK, _) => Ok(()),
        other => Err(other),
    }
}

impl Scenario {
    pub fn new(name: &str) -> Scenario {
        let loads = !PLANTED.contains(&name) && !matches!(name, "load" | "preview");
        let with_threads = |count| load(&|call| error(call()), count).unwrap();
        let fewer = (name == "regrow").then(|| with_threads(2));
        let pipeline = loads.then(|| match name {
            "regrow" => with_threads(4),
            // As many as libtorch takes.
            _ => with_threads(0),
        });
        if let ("cached", Some(pipeline)) = (name, &pipeline) {
            // SAFETY: as a host calls it.
            unsafe {
                let config = cvx_pab_config_new();
                ok(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
                ok(cvx_cache_config_set_spatial_attention_timestep_skip_range(config, -1, 1001));
                ok(cvx_pipeline_enable_cache(pipeline.0, config));
                cvx_cache_config_free(config);
            }
        }
        let video = matches!(name, "mp4" | "gif" | "png" | "pixels")
            .then(|| generate(pipeline.as_ref().unwrap(), &Options::small(1)));
        Scenario {
            name: name.into(),
            pipeline,
            fewer,
            video,
            folder: tempfile::tempdir().unwrap(),
            poisoned: false,
            round: 0,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The call between `arm` and `disarm`.
    pub fn run(&mut self, arm: impl Fn(), disarm: impl Fn()) -> Outcome {
        // Embeddings of the last prompt are kept: another one each time.
        self.round += 1;
        let prompt = [c"a red ball", c"a blue ball"][self.round % 2];
        let options = |steps: i32, output: i32| {
            let options = Options::small(steps);
            // SAFETY: as a host calls it.
            unsafe {
                ok(cvx_generate_options_set_output(options.0, output));
                ok(cvx_generate_options_set_prompt(options.0, prompt.as_ptr()));
            }
            options
        };
        let armed = |call: &mut dyn FnMut() -> *mut cvx_error| {
            arm();
            let failure = call();
            disarm();
            error(failure)
        };
        let pipeline = self.pipeline.as_ref();
        let run = |options: Options| {
            let mut video = null_mut();
            // SAFETY: as a host calls it.
            armed(&mut || unsafe {
                cvx_pipeline_generate(pipeline.unwrap().0, options.0, &mut video)
            })?;
            Ok(Video(video))
        };
        match self.name.as_str() {
            "load" => {
                let video = generate(&load(&armed, 0)?, &Options::latents(1));
                Ok(latents(&video).0)
            }
            "generate" | "cached" => {
                let video = run(options(3, CVX_OUTPUT_LATENTS))?;
                Ok(latents(&video).0)
            }
            "frames" => {
                let video = run(options(1, CVX_OUTPUT_FRAMES))?;
                Ok(pixels(&video))
            }
            "regrow" => {
                // OpenMP lets threads go, and is to start them anew.
                let fewer = self.fewer.as_ref().unwrap();
                drop(generate(pipeline.unwrap(), &options(1, CVX_OUTPUT_LATENTS)));
                drop(generate(fewer, &options(1, CVX_OUTPUT_LATENTS)));
                let video = run(options(1, CVX_OUTPUT_LATENTS))?;
                Ok(latents(&video).0)
            }
            "pixels" => {
                let video = generate(pipeline.unwrap(), &Options::small(1));
                let (mut data, mut stride) = (null(), 0);
                // SAFETY: as a host calls it.
                armed(&mut || unsafe {
                    cvx_video_frames_rgb8(video.0, 0, &mut data, &mut stride)
                })?;
                Ok(pixels(&video))
            }
            "mp4" | "gif" | "png" => self.save(&armed),
            "preview" => {
                let mut stats = null_mut();
                // SAFETY: as a host calls it.
                unsafe {
                    let config = cvx_pab_config_new();
                    let failed =
                        armed(&mut || cvx_cache_config_preview(config, 4, 20, 1, &mut stats));
                    cvx_cache_config_free(config);
                    failed?;
                    let layers = cvx_cache_stats_num_layers(stats);
                    cvx_cache_stats_free(stats);
                    Ok(vec![layers as f32])
                }
            }
            "job" => {
                let options = options(1, CVX_OUTPUT_LATENTS);
                let mut job = null_mut();
                // SAFETY: as a host calls it. A clone, so that a worker is to be started.
                unsafe {
                    let mut clone = null_mut();
                    ok(cvx_pipeline_clone(pipeline.unwrap().0, &mut clone));
                    let clone = Pipeline(clone);
                    let failed = armed(&mut || {
                        let failed = cvx_pipeline_submit(
                            clone.0,
                            options.0,
                            None,
                            null_mut(),
                            None,
                            &mut job,
                        );
                        if failed.is_null() {
                            return cvx_job_wait(job, 60.0, null_mut());
                        }
                        failed
                    });
                    let mut video = null_mut();
                    let taken = failed.and_then(|()| error(cvx_job_take_video(job, &mut video)));
                    cvx_job_free(job);
                    taken?;
                    Ok(latents(&Video(video)).0)
                }
            }
            planted => {
                // SAFETY: asks for memory and gives it back.
                let failed = unsafe {
                    arm();
                    let got = libc::malloc(100);
                    let failed = std::hint::black_box(got).is_null();
                    libc::free(got);
                    disarm();
                    failed
                };
                match planted {
                    _ if !failed => Ok(vec![f32::from(u8::from(self.poisoned))]),
                    "dies" => std::process::abort(),
                    "differs" => Ok(vec![7.0]),
                    "misnames" => Err((CVX_ERROR_INTERNAL, "libtorch: no memory".into())),
                    "poisons" => {
                        self.poisoned = true;
                        Err((CVX_ERROR_OUT_OF_MEMORY, "no memory".into()))
                    }
                    "hangs" => loop {
                        std::thread::sleep(std::time::Duration::from_secs(1));
                    },
                    _ => panic!("no scenario {planted}"),
                }
            }
        }
    }

    fn save(&self, armed: &Armed) -> Outcome {
        let video = self.video.as_ref().unwrap();
        let file = match self.name.as_str() {
            "png" => "frame-%03d.png".to_string(),
            ending => format!("video.{ending}"),
        };
        let path = self.folder.path().join(file);
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: as a host calls it.
        let saved = armed(&mut || unsafe { cvx_video_save(video.0, 0, path.as_ptr(), 8.0) });
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        found.sort();
        let mut contents = Vec::new();
        for path in found {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            if !["mp4", "gif", "png"].iter().any(|e| name.ends_with(e)) || name.starts_with('.') {
                return Err((-1, format!("{name} was left behind")));
            }
            contents.extend(std::fs::read(&path).unwrap().into_iter().map(f32::from));
            std::fs::remove_file(&path).unwrap();
        }
        saved?;
        Ok(contents)
    }
}

fn pixels(video: &Video) -> Vec<f32> {
    let (mut data, mut stride) = (null(), 0);
    // SAFETY: as a host calls it; frames live as long as the video.
    unsafe {
        ok(cvx_video_frames_rgb8(video.0, 0, &mut data, &mut stride));
        let rows = cvx_video_num_frames(video.0) * cvx_video_height(video.0);
        let bytes = std::slice::from_raw_parts(data, rows as usize * stride);
        bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect()
    }
}
