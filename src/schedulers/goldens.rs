//! Both schedulers against what diffusers' classes gave (`tests/goldens/make.py schedulers`).

use super::betas::AlphasCumprod;
use super::ddim::Ddim;
use super::dpm::Dpm;
use super::precision::Precision;
use super::{scheduler, Steps};
use crate::checkpoint::config::{PredictionType, SchedulerClass, SchedulerConfig};
use crate::runtime::rng::Generator;
use crate::Error;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The scheduler config `schedulers/<name>.json`.
pub(super) fn config(name: &str) -> SchedulerConfig {
    let path = folder().join(format!("schedulers/{name}.json"));
    let class = match name.starts_with("ddim") {
        true => SchedulerClass::Ddim,
        false => SchedulerClass::Dpm,
    };
    let mut warnings = Vec::new();
    let config = SchedulerConfig::read(&path, class, &mut warnings).unwrap();
    assert_eq!(warnings, [""; 0], "{name}");
    config
}

struct Goldens {
    cases: Vec<Value>,
    tensors: HashMap<String, Tensor>,
}

impl Goldens {
    fn read() -> Goldens {
        let tensors = Tensor::read_safetensors(folder().join("schedulers.safetensors")).unwrap();
        let cases = json("schedulers.json").as_array().unwrap().clone();
        assert!(cases.len() >= 22);
        Goldens { cases, tensors: tensors.into_iter().collect() }
    }

    fn tensor(&self, case: &Value, key: &str) -> &Tensor {
        &self.tensors[case[key].as_str().unwrap()]
    }
}

fn greatest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    a.f_sub(b).unwrap().f_abs().unwrap().f_max().unwrap().f_double_value(&[]).unwrap()
}

/// ᾱ, from 0 to 1, within a rounding of 1: diffusers' own bits differ between CPUs.
#[test]
fn alphas_cumprod_are_diffusers() {
    let goldens = Goldens::read();
    for case in &goldens.cases {
        let name = case["name"].as_str().unwrap();
        let ours = AlphasCumprod::new(&config(name)).unwrap();
        let expected = goldens.tensor(case, "alphas_cumprod");
        let (kind, rounding) = match ours.precision {
            Precision::Single => (Kind::Float, f64::from(f32::EPSILON)),
            Precision::Double => (Kind::Double, 4.0 * f64::EPSILON),
        };
        assert_eq!(kind, expected.kind(), "{name}");
        let stride = case["alphas_cumprod_stride"].as_u64().unwrap() as usize;
        let ours: Vec<f64> = ours.table().iter().step_by(stride).copied().collect();
        let expected = Vec::<f64>::try_from(expected.f_to_kind(Kind::Double).unwrap()).unwrap();
        assert_eq!(ours.len(), expected.len(), "{name}");
        for (i, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            assert!((ours - expected).abs() <= rounding, "{name} {i}: {ours} {expected}");
        }
    }
}

/// What a run multiplies its tensors by, to the bit: a machine on which these differ makes
/// other videos of the same seed. A fingerprint over all configs and several counts, made by
/// this code on an x86-64 with AVX2.
#[test]
fn tables_are_the_same_on_every_machine() {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for case in &Goldens::read().cases {
        let config = config(case["name"].as_str().unwrap());
        let table = AlphasCumprod::new(&config).unwrap();
        let mut numbers = table.table().to_vec();
        for count in [1, 2, 7, 20, 50] {
            let steps = Steps::Count(count);
            numbers.extend(match config.class {
                SchedulerClass::Ddim => Ddim::new(&config, &steps, 0).unwrap().multipliers(),
                SchedulerClass::Dpm => Dpm::new(&config, &steps, 0).unwrap().multipliers(),
            });
        }
        assert!(numbers.iter().all(|n| n.is_finite()));
        for byte in numbers.iter().flat_map(|n| n.to_bits().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        }
    }
    assert_eq!(hash, 0x9272_faad_ae51_fcc6, "{hash:#x}");
}

#[test]
fn timesteps_are_diffusers() {
    for case in &Goldens::read().cases {
        let name = case["name"].as_str().unwrap();
        let counts = case["timesteps"].as_object().unwrap();
        assert!(counts.len() > 5, "{name}");
        for (count, expected) in counts {
            let steps = Steps::Count(count.parse().unwrap());
            let ours = scheduler(&config(name), &steps, 0, 0.0).unwrap();
            let expected: Vec<i64> =
                expected.as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
            assert_eq!(ours.timesteps(), expected, "{name} {count}");
        }
    }
}

/// Whole runs on random outputs: float32 samples within 16 roundings of the largest.
#[test]
fn trajectories_are_diffusers() {
    let goldens = Goldens::read();
    for case in &goldens.cases {
        let name = case["name"].as_str().unwrap();
        for run in case["trajectories"].as_array().unwrap() {
            let steps = Steps::Count(run["steps"].as_u64().unwrap() as usize);
            let eta = run["eta"].as_f64().unwrap();
            let mut ours = scheduler(&config(name), &steps, 0, eta).unwrap();
            let mut generator = Generator::new(run["seed"].as_u64().unwrap()).unwrap();
            let outputs = goldens.tensor(run, "outputs");
            let expected = goldens.tensor(run, "samples");
            let mut sample = goldens.tensor(run, "sample").shallow_clone();
            for i in 0..ours.timesteps().len() {
                let output = outputs.f_get(i as i64).unwrap();
                sample = ours.step(i, &output, &sample, &mut generator).unwrap();
                assert_eq!(sample.kind(), Kind::Float);
                let expected = expected.f_get(i as i64).unwrap();
                let largest = expected.f_abs().unwrap().f_max().unwrap();
                let most = 16.0 * f64::from(f32::EPSILON) * largest.f_double_value(&[]).unwrap();
                let difference = greatest_difference(&sample, &expected);
                assert!(difference <= most, "{name} {run} step {i}: {difference} > {most}");
            }
        }
    }
}

/// Latents in half precision: the bits that diffusers 0.42.1 gives after 4 steps, with
/// everything drawn from `manual_seed(5)`, where a multiplier meets the latents in float32 as
/// on CUDA. (libtorch's CPU kernel rounds a multiplier to the latents' dtype when it is the
/// left operand; these values are those of the operands in the other order.)
#[test]
fn half_precision_rounds_where_diffusers_does() {
    for (name, kind, expected) in [
        ("ddim-published-5b", Kind::Half, [0xaf76, 0xb1b9]),
        ("ddim-published-5b", Kind::BFloat16, [0xbdf0, 0xbe33]),
        ("dpm-published-5b", Kind::Half, [0xb949, 0x4059]),
        ("dpm-published-5b", Kind::BFloat16, [0xbf2a, 0x400b_i32]),
    ] {
        let mut ours = scheduler(&config(name), &Steps::Count(4), 0, 0.0).unwrap();
        let mut generator = Generator::new(5).unwrap();
        let mut sample = generator.randn(&[2], kind, Device::Cpu).unwrap();
        for i in 0..4 {
            let output = generator.randn(&[2], Kind::Float, Device::Cpu).unwrap();
            let next = ours.step(i, &output, &sample, &mut generator).unwrap();
            assert_eq!(next.kind(), Kind::Float);
            sample = next.f_to_kind(kind).unwrap();
        }
        let bits = Vec::<i16>::try_from(sample.f_view_dtype(Kind::Int16).unwrap()).unwrap();
        assert_eq!(bits, expected.map(|b| b as u16 as i16), "{name} {kind:?}");
    }
}

/// Where the spacing is even, a custom list of the same timesteps is the same run.
#[test]
fn custom_timesteps_of_an_even_spacing_are_the_counted_run() {
    let shape = [1, 2, 3];
    for name in ["ddim-published-5b", "dpm-published-5b"] {
        let config = config(name);
        let mut counted = scheduler(&config, &Steps::Count(20), 0, 0.0).unwrap();
        let list = Steps::Custom(counted.timesteps().to_vec());
        let mut custom = scheduler(&config, &list, 0, 0.0).unwrap();
        let (mut g, mut h) = (Generator::new(1).unwrap(), Generator::new(1).unwrap());
        let mut inputs = Generator::new(2).unwrap();
        let start = inputs.randn(&shape, Kind::Float, Device::Cpu).unwrap();
        let (mut a, mut b) = (start.shallow_clone(), start);
        for i in 0..20 {
            let output = inputs.randn(&shape, Kind::Float, Device::Cpu).unwrap();
            a = counted.step(i, &output, &a, &mut g).unwrap();
            b = custom.step(i, &output, &b, &mut h).unwrap();
            assert!(a.f_equal(&b).unwrap(), "{name} step {i}");
        }
    }
}

/// The last step of any list leads to the clean sample: with `sample` prediction, exactly to
/// the model's output.
#[test]
fn an_uneven_custom_list_ends_at_the_clean_sample() {
    for name in ["ddim-sample", "dpm-sample"] {
        let steps = Steps::Custom(vec![999, 998, 400, 3]);
        let mut ours = scheduler(&config(name), &steps, 0, 0.0).unwrap();
        let mut generator = Generator::new(1).unwrap();
        let mut sample = generator.randn(&[40], Kind::Float, Device::Cpu).unwrap();
        let output = generator.randn(&[40], Kind::Float, Device::Cpu).unwrap();
        for i in 0..4 {
            sample = ours.step(i, &output, &sample, &mut generator).unwrap();
            assert!(sample.f_isfinite().unwrap().f_all().unwrap().f_int64_value(&[]).unwrap() == 1);
        }
        assert!(sample.f_equal(&output).unwrap(), "{name}");
    }
}

#[test]
fn what_makes_no_schedule_is_an_error() {
    let error = |change: &dyn Fn(&mut SchedulerConfig)| {
        let mut config = config("dpm-published-5b");
        change(&mut config);
        scheduler(&config, &Steps::Count(4), 0, 0.0).err().unwrap()
    };
    let unsupported = [(error(&|c| c.prediction_type = PredictionType::Epsilon), "timestep 999")];
    for (found, part) in unsupported {
        assert!(matches!(&found, Error::UnsupportedModel(m) if m.contains(part)), "{found:?}");
    }
    let invalid = [
        (error(&|c| c.num_train_timesteps = 0), "num_train_timesteps"),
        (error(&|c| c.num_train_timesteps = i64::MAX), "num_train_timesteps"),
        (error(&|c| c.trained_betas = Some(vec![0.1; 3])), "trained_betas has 3"),
        (error(&|c| c.beta_end = 40.0), "alphas_cumprod["),
        (error(&|c| c.beta_start = f64::NAN), "alphas_cumprod[0] = NaN"),
        (error(&|c| c.snr_shift_scale = -1.0), "alphas_cumprod["),
    ];
    for (found, part) in invalid {
        assert!(matches!(&found, Error::InvalidCheckpoint(m) if m.contains(part)), "{found:?}");
    }
    for eta in [-0.1, 1.1, f64::NAN] {
        let found = scheduler(&config("ddim-clip"), &Steps::Count(4), 0, eta).err().unwrap();
        assert!(matches!(&found, Error::InvalidArgument(m) if m.contains("eta")), "{found:?}");
    }
}
