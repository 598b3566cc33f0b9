//! Whole runs against those of the reference, cached and not.

use super::cache::CacheConfig;
use super::cases::Case;
use super::compare::{Report, RGB8};
use super::folders::with_scheduler;
use super::goldens::{manifest, pipeline_folder, Array, Goldens};
use super::handles::{Output, Pipeline, Result};

const LATENTS: f64 = 1e-4;

/// Every `stride`-th row and column of frames `(videos, frames, height, width, 3)`.
fn thinned(frames: &Array<u8>, stride: usize) -> Array<u8> {
    let [videos, count, height, width, channels] =
        [0, 1, 2, 3, 4].map(|i| frames.shape[i] as usize);
    let mut data = Vec::new();
    for row in (0..videos * count * height).filter(|row| row % height % stride == 0) {
        for x in (0..width).step_by(stride) {
            let at = (row * width + x) * channels;
            data.extend_from_slice(&frames.data[at..at + channels]);
        }
    }
    let mut shape = frames.shape.clone();
    shape[2] = height.div_ceil(stride) as i64;
    shape[3] = width.div_ceil(stride) as i64;
    Array { shape, data }
}

fn cache_of(case: &Case) -> Result<CacheConfig> {
    match case.cache["technique"].as_str().unwrap() {
        "pyramid_attention_broadcast" | "faster_cache" => CacheConfig::of(case),
        _ => CacheConfig::by_name(&case.cache),
    }
}

/// Latents and frames.
type Reports = [Report; 2];

fn check_run(reports: &mut Reports, pipeline: &Pipeline, case: &Case, goldens: &Goldens) {
    let [of_latents, of_frames] = reports;
    let what = format!("{}, {}", case.family, case.name);
    let output = if case.frames { Output::Frames } else { Output::Latents };
    let run = || {
        if case.cache.is_empty() {
            pipeline.disable_cache()?;
        } else {
            pipeline.enable_cache(&cache_of(case)?)?;
            // Caching must show in the latents, or a case shows nothing.
            assert!(case.moved > 100.0 * LATENTS, "{what}: moved by {} only", case.moved);
        }
        pipeline.generate(&case.options(goldens, output))
    };
    let video = match run() {
        Ok(video) => video,
        Err(error) => return of_latents.fail(&what, error),
    };
    let latents = video.latents().unwrap();
    let expected = goldens.f64(&format!("{}.latents", case.tensors));
    of_latents.absolute(&format!("{what}, latents"), &latents, expected, LATENTS);
    if case.frames {
        let frames = thinned(&video.frames_rgb8().unwrap(), case.frames_stride);
        let expected = goldens.u8(&format!("{}.frames", case.tensors));
        of_frames.absolute(&format!("{what}, frames"), &frames, expected, RGB8);
    }
}

/// The cases of `<family>/<name>.json`, of which at least `cached` are cached.
pub fn runs_of(family: &str, name: &str, cached: usize) {
    let cases: Vec<Case> = manifest(format!("{family}/{name}.json"));
    let goldens = Goldens::open(format!("{family}/{name}.safetensors"));
    let mut reports = Reports::default();
    let mut schedulers: Vec<_> = cases.iter().map(|case| case.scheduler.as_deref()).collect();
    schedulers.sort_unstable();
    schedulers.dedup();
    for scheduler in schedulers {
        let folder = scheduler.map(|scheduler| with_scheduler(family, scheduler));
        let own = pipeline_folder(family);
        let folder = folder.as_ref().map_or(own.as_path(), |folder| folder.path());
        let pipeline = Pipeline::load(folder).unwrap();
        for case in cases.iter().filter(|case| case.scheduler.as_deref() == scheduler) {
            check_run(&mut reports, &pipeline, case, &goldens);
        }
    }
    assert!(cases.iter().filter(|case| !case.cache.is_empty()).count() >= cached);
    let [of_latents, of_frames] = reports;
    of_latents.finish(&format!("{name} of {family}, latents"));
    if cases.iter().any(|case| case.frames) {
        of_frames.finish(&format!("{name} of {family}, frames"));
    }
}
