//! Many threads that load, clone, run, queue, cancel, cache and free at once, in an order that a seed
//! gives: `CVX_SEED`, default 1. Whatever the others do, a run that ends well is, bit for bit, the
//! run that was made before by one thread alone. `CVX_SOAK_SECONDS` is for how long, default 5;
//! `make soak` takes twenty minutes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "capi/job_support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod job_support;
#[path = "capi/support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod support;

use cogvideox::capi::*;
use job_support::*;
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::*;

const THREADS: u64 = 4;
const FAMILIES: [&str; 2] = ["2b", "1.5-5b"];
const SEEDS: u64 = 3;
const STEPS: i32 = 3;

/// What a run's latents depend on.
type Key = (usize, u64, bool);

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn options(seed: u64) -> Options {
    let options = Options::latents(STEPS);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_seed(options.0, seed) });
    options
}

fn cache(pipeline: &Pipeline, on: bool) {
    // SAFETY: as a host calls it.
    unsafe {
        if !on {
            return ok(cvx_pipeline_disable_cache(pipeline.0));
        }
        let config = cvx_pab_config_new();
        ok(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
        ok(cvx_cache_config_set_spatial_attention_timestep_skip_range(config, -1, 1001));
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
    }
}

fn clone(pipeline: &Pipeline) -> Pipeline {
    let mut made = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_clone(pipeline.0, &mut made) });
    Pipeline(made)
}

struct Counts {
    runs: AtomicU64,
    cancelled: AtomicU64,
    clones: AtomicU64,
    loads: AtomicU64,
}

/// What a thread does until it is time.
fn storm(
    mut random: Random,
    shared: &[Sent<*mut cvx_pipeline>],
    expected: &BTreeMap<Key, Vec<f32>>,
    until: Instant,
    counts: &Counts,
) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let fresh = |random: &mut Random| {
        let family = random.below(FAMILIES.len() as u64) as usize;
        if random.below(10) == 0 {
            count(&counts.loads);
            return (family, Pipeline::load(FAMILIES[family]));
        }
        count(&counts.clones);
        // Never freed here, and cloned by many threads at once, which the header allows.
        let of = std::mem::ManuallyDrop::new(Pipeline(shared[family].get()));
        (family, clone(&of))
    };
    let mut own = fresh(&mut random);
    let mut cached = false;
    while Instant::now() < until {
        let (family, pipeline) = (own.0, &own.1);
        let seed = random.below(SEEDS);
        let check = |video: &Video, cached: bool| {
            let key = (family, seed, cached);
            assert_eq!(latents(video).0, expected[&key], "{key:?}");
            count(&counts.runs);
        };
        match random.below(7) {
            0 => {
                own = fresh(&mut random);
                cached = false;
            }
            1 => {
                cached = !cached;
                cache(pipeline, cached);
            }
            2 | 3 => check(&generate(pipeline, &options(seed)), cached),
            4 => {
                let job = submit(pipeline, &options(seed));
                check(&job.video(), cached);
            }
            5 => {
                // Cancelled at some time, also before it begins and after it has ended.
                let job = submit(pipeline, &options(seed));
                std::thread::sleep(Duration::from_micros(random.below(20_000)));
                job.cancel();
                match job.wait(LONG) {
                    CVX_JOB_CANCELLED => drop(count(&counts.cancelled)),
                    CVX_JOB_SUCCEEDED => check(&job.video(), cached),
                    state => panic!("a cancelled job is {state}"),
                }
            }
            _ => {
                let options = options(seed);
                let token = Sent::new(cvx_cancel_token_new());
                // SAFETY: as a host calls it.
                ok(unsafe { cvx_generate_options_set_cancel_token(options.0, token.get()) });
                let after = Duration::from_micros(random.below(20_000));
                let other = std::thread::spawn(move || {
                    std::thread::sleep(after);
                    // SAFETY: live until the thread is joined.
                    unsafe { cvx_cancel_token_cancel(token.get()) };
                });
                let mut video = null_mut();
                // SAFETY: as a host calls it.
                let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
                let video = Video(video);
                other.join().unwrap();
                // SAFETY: made above, freed once.
                unsafe { cvx_cancel_token_free(token.get()) };
                match code(error) {
                    (CVX_OK, _) => check(&video, cached),
                    (CVX_ERROR_CANCELLED, _) => drop(count(&counts.cancelled)),
                    (code, message) => panic!("{code}: {message}"),
                }
            }
        }
    }
}

#[test]
fn a_storm_of_threads_gives_what_one_thread_gives() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect(name))
    };
    let (seed, seconds) = (number("CVX_SEED", 1), number("CVX_SOAK_SECONDS", 5));
    tch::set_num_threads(1);
    let pipelines: Vec<Pipeline> = FAMILIES.iter().map(|family| Pipeline::load(family)).collect();
    let mut expected = BTreeMap::new();
    for (family, pipeline) in pipelines.iter().enumerate() {
        for seed in 0..SEEDS {
            for cached in [false, true] {
                cache(pipeline, cached);
                let run = latents(&generate(pipeline, &options(seed))).0;
                expected.insert((family, seed, cached), run);
            }
        }
        cache(pipeline, false);
        assert_ne!(expected[&(family, 0, false)], expected[&(family, 0, true)], "it caches");
        assert_ne!(expected[&(family, 0, false)], expected[&(family, 1, false)], "the seed counts");
    }
    let shared: Vec<_> = pipelines.iter().map(|pipeline| Sent::new(pipeline.0)).collect();
    let zero = || AtomicU64::new(0);
    let counts = Counts { runs: zero(), cancelled: zero(), clones: zero(), loads: zero() };
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (shared, expected, counts) = (shared.clone(), &expected, &counts);
            let random = Random(seed.wrapping_mul(1000).wrapping_add(thread));
            scope.spawn(move || storm(random, &shared, expected, until, counts));
        }
    });
    let [runs, cancelled, clones, loads] =
        [counts.runs, counts.cancelled, counts.clones, counts.loads].map(AtomicU64::into_inner);
    println!(
        "{seconds} s, seed {seed}: {runs} runs equal, {cancelled} cancelled, {clones} clones, \
         {loads} loads"
    );
    assert!(runs > 0 && clones > 0);
}
