//! Drives a cache as the transformer and the denoising loop do, with tensors made on the spot.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use cogvideox::cache::{
    start, BlockAction, CacheConfig, LayerCallback, Module, Run, RunInfo, SharedStats, Sizes,
    StepAction, StepCallback, Value,
};
use cogvideox::guidance::{Branches, GuidanceBatch};
use cogvideox::parallel::{Half, Team};
use cogvideox::runtime::Control;
use cogvideox::Result;
use serde_json::Value as Json;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

pub fn golden_text(name: &str) -> String {
    std::fs::read_to_string(golden(name)).expect("a golden file")
}

/// `noise` of tests/goldens/maker/cache_hooks.py.
pub fn noise(shape: &[i64], seed: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (1..=count)
        .map(|position| {
            let x = (position as f64 * 12.9898 + seed as f64 * 78.233).sin() * 43758.5453;
            (2.0 * (x - x.floor()) - 1.0) as f32
        })
        .collect();
    Tensor::from_slice(&values).view(shape)
}

/// The timesteps of CogVideoX' schedulers with "trailing" spacing over 1000.
pub fn trailing(steps: usize) -> Vec<i64> {
    (0..steps)
        .map(|i| {
            let x = 1000.0 - i as f64 * 1000.0 / steps as f64;
            x.round_ties_even() as i64 - 1
        })
        .collect()
}

pub fn layer_names(layers: usize) -> Vec<String> {
    (0..layers).map(|i| format!("transformer_blocks.{i}.attn1")).collect()
}

/// A small run; change what a test is about.
pub struct Shape(RunInfo, Sizes);

pub fn shape(layers: usize, timesteps: Vec<i64>, guided: bool) -> Shape {
    let run = RunInfo {
        layers: layer_names(layers),
        timesteps,
        num_train_timesteps: 1000,
        batch: GuidanceBatch { videos: 1, guided },
        half: Half::Both,
        branches: Vec::new(),
        sizes: None,
        family: None,
        time_embedding_changes: None,
    };
    let sizes = Sizes {
        text_tokens: 2,
        own_text_tokens: 2,
        tokens: 5,
        hidden_size: 4,
        dtype: Kind::Float,
        device: Device::Cpu,
        output: vec![1, 2, 3, 5, 6],
    };
    Shape(run, sizes)
}

impl Shape {
    pub fn videos(mut self, videos: i64) -> Shape {
        self.0.batch.videos = videos;
        self.1.output[0] = videos;
        self
    }

    pub fn tokens(mut self, tokens: i64, width: i64) -> Shape {
        (self.1.tokens, self.1.hidden_size) = (tokens, width);
        self
    }

    pub fn output(mut self, output: &[i64]) -> Shape {
        self.1.output = output.to_vec();
        self
    }

    pub fn done(self) -> RunInfo {
        RunInfo { sizes: Some(self.1), ..self.0 }
    }
}

type MakeAttention = Box<dyn Fn(usize, usize) -> Tensor>;
type MakeOutput = Box<dyn Fn(usize) -> Tensor>;
type OnLayer = Box<dyn FnMut(usize, usize)>;
type AfterStep = Box<dyn FnMut(usize)>;

/// A run with a model that returns what it is told to. Its blocks add nothing to the tokens.
pub struct Drive {
    shape: RunInfo,
    sizes: Sizes,
    run: Option<Run>,
    pub stats: SharedStats,
    /// For a step and a layer, the whole batch's output.
    pub make_attention: MakeAttention,
    /// For a step, the whole batch's output of the model.
    pub make_output: MakeOutput,
    /// Called before each layer with step and layer.
    pub on_layer: OnLayer,
    /// Called after each step, when the model holds nothing.
    pub after_step: AfterStep,
    /// Whether `used` and `outputs` are filled.
    pub record: bool,
    /// The attention outputs that layers went on with.
    pub used: Vec<Tensor>,
    /// What the steps went on with.
    pub outputs: Vec<Tensor>,
    control: Control,
}

impl Drive {
    pub fn new(config: Option<&CacheConfig>, shape: &RunInfo, control: &Control) -> Result<Drive> {
        let run = start(config, shape, &Team::alone(), control)?;
        let sizes = shape.sizes.clone().expect("a run with sizes");
        let batch = shape.batch.rows(Branches::All);
        let size = [batch, sizes.tokens, sizes.hidden_size];
        let output: Vec<i64> = [&[batch], &sizes.output[1..]].concat();
        let kind = sizes.dtype;
        Ok(Drive {
            shape: shape.clone(),
            sizes,
            stats: run.stats.clone(),
            run: Some(run),
            make_attention: Box::new(move |step, layer| {
                noise(&size, (step * 100 + layer) as i64).to_kind(kind)
            }),
            make_output: Box::new(move |step| {
                noise(&output, (step * 100 + 99) as i64).to_kind(kind)
            }),
            on_layer: Box::new(|_, _| {}),
            after_step: Box::new(|_| {}),
            record: true,
            used: Vec::new(),
            outputs: Vec::new(),
            control: control.clone(),
        })
    }

    /// All steps; afterwards the run is over, as it is when it fails.
    pub fn run(&mut self) -> Result<()> {
        let mut run = self.run.take().expect("one run per drive");
        for step in self.shape.clone().steps() {
            let branches = match run.cache.begin_step(&step)? {
                StepAction::Run(branches) => branches,
                StepAction::Predicted(output) => {
                    self.ends(step.index, output);
                    continue;
                }
            };
            let part = |whole: Tensor| match branches {
                Branches::All => whole,
                Branches::ConditionalOnly => {
                    let half = whole.size()[0] / 2;
                    whole.narrow(0, half, half)
                }
            };
            let rows = self.shape.batch.rows(branches);
            let size = [rows, self.sizes.tokens, self.sizes.hidden_size];
            let x = Tensor::zeros(size, (self.sizes.dtype, self.sizes.device));
            let mut layer = 0;
            while layer < self.shape.layers.len() {
                if let BlockAction::Skip { to, .. } = run.cache.block(layer, &x)? {
                    layer = to;
                    continue;
                }
                (self.on_layer)(step.index, layer);
                self.control.check()?;
                let attention = Module::Attention;
                let used = match run.cache.module(layer, attention)? {
                    Some(substitute) => substitute.value,
                    None => {
                        let output = part((self.make_attention)(step.index, layer));
                        run.cache.module_computed(layer, attention, &output)?;
                        output
                    }
                };
                if self.record {
                    self.used.push(used.copy());
                }
                drop(used);
                let feed_forward = Module::FeedForward;
                if run.cache.module(layer, feed_forward)?.is_none() {
                    run.cache.module_computed(layer, feed_forward, &x)?;
                }
                run.cache.block_computed(layer, &x)?;
                layer += 1;
            }
            drop(x);
            let output = run.cache.end_step(part((self.make_output)(step.index)))?;
            self.ends(step.index, output);
        }
        Ok(())
    }

    fn ends(&mut self, step: usize, output: Tensor) {
        if self.record {
            self.outputs.push(output.copy());
        }
        drop(output);
        (self.after_step)(step);
    }
}

/// A golden's config: the technique and the fields that differ from diffusers' defaults.
pub fn config_of(cache: &Json) -> CacheConfig {
    let technique = match cache["technique"].as_str() {
        Some("pyramid_attention_broadcast") => "pab",
        Some(other) => other,
        None => panic!("no technique in {cache}"),
    };
    let mut config = CacheConfig::new(technique, None).expect("a technique");
    for (field, json) in cache.as_object().expect("an object") {
        if field == "technique" {
            continue;
        }
        config.set(field, value_of(field, json)).expect(field);
    }
    config
}

fn value_of(field: &str, json: &Json) -> Value {
    let number = |json: &Json| json.as_f64().expect("a number");
    if field.ends_with("_callback") {
        let (base, slope) = (number(&json["base"]), number(&json["per_timestep"]));
        let answer = move |timestep: f64| base + slope * timestep;
        return if field == "attention_weight_callback" {
            Value::LayerCallback(Some(LayerCallback::new(move |i| answer(i.step.timestep))))
        } else {
            Value::StepCallback(Some(StepCallback::new(move |i| answer(i.timestep))))
        };
    }
    match json {
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(name) => Value::Name(name.clone()),
        Json::Number(n) if field.ends_with("skip_range") => {
            Value::SkipRange(n.as_i64().expect("an integer"))
        }
        Json::Number(_) => Value::Number(number(json)),
        Json::Array(items) if field.ends_with("_identifiers") => Value::Identifiers(
            items.iter().map(|item| item.as_str().expect("a string").to_string()).collect(),
        ),
        Json::Array(items) => Value::TimestepRange(
            items[0].as_i64().expect("an integer"),
            items[1].as_i64().expect("an integer"),
        ),
        other => panic!("{field}: {other}"),
    }
}
