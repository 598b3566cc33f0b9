//! The transformer against one call of diffusers' per golden
//! (`tests/goldens/make.py components`), and how it deals with a cache.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::cache::{BlockAction, ComputeAll, ForwardCache, LayerState, Module, Substitute};
use cogvideox::checkpoint::config::TransformerConfig;
use cogvideox::checkpoint::WeightStore;
use cogvideox::guidance::GuidanceBatch;
use cogvideox::models::transformer::Transformer;
use cogvideox::runtime::{CancelToken, Control, DType, Placement};
use cogvideox::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

const FAMILIES: [&str; 3] = ["2b", "5b", "1.5-5b"];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn load(folder: &Path) -> Result<Transformer> {
    load_as(folder, DType::F32)
}

fn load_as(folder: &Path, dtype: DType) -> Result<Transformer> {
    let placement = Placement { dtype, ..Placement::CPU };
    let config = TransformerConfig::read(&folder.join("config.json"), &mut Vec::new())?;
    let control = Control::default();
    let store = WeightStore::open(folder, "diffusion_pytorch_model", None, placement, &control)?;
    let transformer = Transformer::load(&config, &store.root())?;
    store.finish(&[])?;
    Ok(transformer)
}

fn load_family(family: &str) -> Transformer {
    load(&tests().join("pipelines").join(family).join("transformer")).unwrap()
}

/// The largest difference, over the largest value expected.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let difference = (found - expected).abs().max().double_value(&[]);
    difference / expected.abs().max().double_value(&[])
}

/// One golden call.
struct Call {
    name: String,
    timestep: i64,
    latents: Tensor,
    prompt: Tensor,
    output: Tensor,
}

fn calls(family: &str) -> Vec<Call> {
    let calls = read_calls(&tests().join("goldens").join(family), "components");
    assert!(calls.len() >= 5, "{family}: {} calls", calls.len());
    calls
}

fn read_calls(folder: &Path, stem: &str) -> Vec<Call> {
    let file = folder.join(stem);
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(file.with_extension("safetensors")).unwrap().into_iter().collect();
    let cases = std::fs::read_to_string(file.with_extension("json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
    cases["transformer"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let key = case["tensors"].as_str().unwrap();
            let tensor = |part: &str| tensors[&format!("{key}.{part}")].shallow_clone();
            Call {
                name: case["name"].as_str().unwrap().to_string(),
                timestep: case["timestep"].as_i64().unwrap(),
                latents: tensor("latents"),
                prompt: tensor("prompt"),
                output: tensor("output"),
            }
        })
        .collect()
}

fn run(transformer: &Transformer, call: &Call, cache: &mut dyn ForwardCache) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let (_, frames, _, height, width) = call.latents.size5()?;
    let conditioning = transformer.condition(&call.prompt, frames, height, width)?;
    let control = Control::default();
    transformer.forward(&call.latents, &conditioning, call.timestep, cache, &control)
}

#[test]
fn every_family_gives_what_diffusers_gives() {
    for family in FAMILIES {
        let transformer = load_family(family);
        for call in calls(family) {
            let output = run(&transformer, &call, &mut ComputeAll).unwrap();
            let error = relative_error(&output, &call.output);
            println!("{family}, {}: {error:.2e}", call.name);
            assert!(error < 1e-5, "{family}, {}: {error}", call.name);
        }
    }
}

#[test]
fn configs_that_no_family_has_give_what_diffusers_gives() {
    let root = tests().join("goldens/transformer_configs");
    let mut compared = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let transformer = load(&folder).unwrap();
        for call in read_calls(&folder, "calls") {
            let error =
                relative_error(&run(&transformer, &call, &mut ComputeAll).unwrap(), &call.output);
            println!("{}: {error:.2e}", call.name);
            assert!(error < 1e-5, "{}: {error}", call.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn half_precision_stays_near_float32() {
    // diffusers itself, in these dtypes on the calls of 2b and 5b: up to 1.5e-3 and 9e-3.
    for (dtype, bound) in [(DType::F16, 3e-3), (DType::BF16, 2e-2)] {
        for family in FAMILIES {
            let folder = tests().join("pipelines").join(family).join("transformer");
            let transformer = load_as(&folder, dtype).unwrap();
            let call =
                calls(family).into_iter().find(|call| call.name == "guidance batch").unwrap();
            let output = run(&transformer, &call, &mut ComputeAll).unwrap();
            assert_eq!(output.kind(), dtype.kind());
            let error = relative_error(&output.to_kind(Kind::Float), &call.output);
            assert!(error < bound, "{family} {dtype:?}: {error}");
        }
    }
}

#[test]
fn learned_positions_are_of_one_size() {
    let transformer = load(&tests().join("goldens/transformer_configs/learned-positions")).unwrap();
    let prompt = |length| Tensor::zeros([1, length, 8], (Kind::Float, tch::Device::Cpu));
    for (length, height, width, part) in [
        (5, 4, 8, "latent height: expected 6, since the model's positions are learned, found 4"),
        (5, 6, 6, "latent width: expected 8, since the model's positions are learned, found 6"),
        (4, 6, 8, "length: expected 5, since the model's positions are learned, found 4"),
    ] {
        let result = transformer.condition(&prompt(length), 3, height, width);
        let Err(Error::InvalidArgument(message)) = result else { panic!("accepted {part}") };
        assert!(message.contains(part), "{message}");
    }
}

type Place = (usize, Module);

/// Keeps what every module computed, and hands it back when `reuse` says so.
#[derive(Default)]
struct Keeper {
    reuse: Vec<Place>,
    kept: HashMap<usize, Tensor>,
    kept_feed_forward: HashMap<usize, Tensor>,
    asked: Vec<Place>,
    told: Vec<Place>,
}

impl Keeper {
    fn of(&mut self, module: Module) -> &mut HashMap<usize, Tensor> {
        match module {
            Module::Attention => &mut self.kept,
            Module::FeedForward => &mut self.kept_feed_forward,
        }
    }
}

impl ForwardCache for Keeper {
    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        self.asked.push((block, module));
        let reuse = self.reuse.contains(&(block, module));
        let value = self.of(module).get(&block).filter(|_| reuse).map(Tensor::shallow_clone);
        Ok(value.map(|value| Substitute { value, state: LayerState::Reused }))
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        self.told.push((block, module));
        self.of(module).insert(block, output.shallow_clone());
        Ok(())
    }
}

/// Every module of these blocks, in the order in which they are asked about.
fn places(blocks: &[usize]) -> Vec<Place> {
    let of = |block: &usize| [(*block, Module::Attention), (*block, Module::FeedForward)];
    blocks.iter().flat_map(of).collect()
}

#[test]
fn reusing_what_was_computed_from_the_same_input_changes_nothing() {
    for family in FAMILIES {
        let transformer = load_family(family);
        let layers: Vec<usize> = (0..transformer.config.num_layers as usize).collect();
        let all = places(&layers);
        for call in calls(family) {
            let mut keeper = Keeper::default();
            let computed = run(&transformer, &call, &mut keeper).unwrap();
            assert_eq!(keeper.asked, all, "asked once per module, in order");
            assert_eq!(keeper.told, all, "told of everything that was computed");
            let before: Vec<Tensor> =
                layers.iter().map(|layer| keeper.kept[layer].copy()).collect();

            keeper = Keeper { reuse: all.clone(), asked: vec![], told: vec![], ..keeper };
            let reused = run(&transformer, &call, &mut keeper).unwrap();
            assert_eq!(keeper.asked, all);
            assert_eq!(keeper.told, vec![], "a reused output is not told of");
            let error = relative_error(&reused, &computed);
            assert!(error < 1e-6, "{family}, {}: {error}", call.name);
            for (layer, before) in layers.iter().zip(&before) {
                assert_eq!(&keeper.kept[layer], before, "layer {layer} was written to");
            }
        }
    }
}

#[test]
fn a_reused_output_is_what_the_layer_adds() {
    let call = calls("5b").into_iter().find(|call| call.name == "guidance batch").unwrap();
    let transformer = load_family("5b");
    let mut keeper = Keeper::default();
    let _ = run(&transformer, &call, &mut keeper).unwrap();

    // Layer 1 is handed zeros, which is what it gives with an output projection of zeros.
    let zeros = keeper.kept[&1].zeros_like();
    let (reuse, kept) = (vec![(1, Module::Attention)], HashMap::from([(1, zeros)]));
    keeper = Keeper { reuse, kept, ..Keeper::default() };
    let reused = run(&transformer, &call, &mut keeper).unwrap();
    let all = places(&[0, 1, 2]);
    assert_eq!(keeper.asked, all);
    let told: Vec<Place> = all.into_iter().filter(|p| *p != (1, Module::Attention)).collect();
    assert_eq!(keeper.told, told, "the modules that computed");

    let source = tests().join("pipelines/5b/transformer");
    let folder = tempfile::tempdir().unwrap();
    let file = "diffusion_pytorch_model.safetensors";
    std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut tensors = Tensor::read_safetensors(source.join(file)).unwrap();
    for (name, tensor) in &mut tensors {
        if name.starts_with("transformer_blocks.1.attn1.to_out.0.") {
            *tensor = tensor.zeros_like();
        }
    }
    Tensor::write_safetensors(&tensors, folder.path().join(file)).unwrap();
    let silenced = run(&load(folder.path()).unwrap(), &call, &mut ComputeAll).unwrap();
    assert!(relative_error(&reused, &silenced) < 1e-6);
    assert!(relative_error(&reused, &call.output) > 1e-3);
}

/// Keeps what the blocks of a range add to the tokens; or skips the range.
struct Range {
    blocks: std::ops::Range<usize>,
    before: Option<Tensor>,
    residual: Option<Tensor>,
    skips: bool,
    asked: Vec<usize>,
}

impl ForwardCache for Range {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        self.asked.push(block);
        if block != self.blocks.start {
            return Ok(BlockAction::Compute);
        }
        if let Some(value) = self.residual.as_ref().filter(|_| self.skips) {
            let residual = Substitute { value: value.shallow_clone(), state: LayerState::Skipped };
            return Ok(BlockAction::Skip { to: self.blocks.end, residual });
        }
        self.before = Some(x.copy());
        Ok(BlockAction::Compute)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        if block + 1 == self.blocks.end {
            self.residual = self.before.take().map(|before| x - before);
        }
        Ok(())
    }
}

#[test]
fn skipped_blocks_add_what_they_are_said_to() {
    for family in FAMILIES {
        let transformer = load_family(family);
        let call = calls(family).remove(0);
        let layers = transformer.config.num_layers as usize;
        for blocks in [0..1, 1..layers, 0..layers] {
            let mut range = Range {
                blocks: blocks.clone(),
                before: None,
                residual: None,
                skips: false,
                asked: vec![],
            };
            let computed = run(&transformer, &call, &mut range).unwrap();
            assert_eq!(range.asked, (0..layers).collect::<Vec<_>>());
            range.skips = true;
            range.asked.clear();
            let skipped = run(&transformer, &call, &mut range).unwrap();
            let reached: Vec<usize> =
                (0..layers).filter(|b| *b <= blocks.start || *b >= blocks.end).collect();
            assert_eq!(range.asked, reached, "{family} {blocks:?}");
            let error = relative_error(&skipped, &computed);
            assert!(error < 2e-5, "{family} {blocks:?}: {error}");

            // After the last block the video's tokens are enough; before it they are not.
            let whole = range.residual.take().unwrap();
            let text = call.prompt.size()[1];
            range.residual = Some(whole.narrow(1, text, whole.size()[1] - text));
            let video_alone = run(&transformer, &call, &mut range);
            if blocks.end == layers {
                assert_eq!(video_alone.unwrap(), skipped, "{family} {blocks:?}");
            } else {
                let error = video_alone.unwrap_err();
                assert!(matches!(&error, Error::Internal(m) if m.contains("residual")), "{error}");
            }
        }
    }
}

#[test]
fn an_output_of_another_batch_is_refused() {
    let transformer = load_family("5b");
    let call = calls("5b").into_iter().find(|call| call.name == "guidance batch").unwrap();
    let mut keeper = Keeper::default();
    let _ = run(&transformer, &call, &mut keeper).unwrap();
    for kept in keeper.kept.values_mut() {
        *kept = kept.narrow(0, 0, 1);
    }
    keeper.reuse = places(&[0, 1, 2]);
    let error = run(&transformer, &call, &mut keeper).unwrap_err();
    assert!(matches!(&error, Error::Internal(m) if m.contains("transformer_blocks.0.attn1")));
}

#[test]
fn the_conditional_half_and_shared_latents_match_the_whole_batch() {
    for family in FAMILIES {
        let _no_grad = tch::no_grad_guard();
        let transformer = load_family(family);
        let call = calls(family).into_iter().find(|call| call.name == "guidance batch").unwrap();
        let (_, frames, _, height, width) = call.latents.size5().unwrap();
        let control = Control::default();
        // Two videos, guided: rows 0 and 2 go with latents 0, rows 1 and 3 with latents 1.
        let prompt = Tensor::cat(&[&call.prompt, &call.prompt.flip([0])], 0);
        let all = transformer.condition(&prompt, frames, height, width).unwrap();
        let call_of = |conditioning: &_, latents: &Tensor| {
            transformer.forward(latents, conditioning, 519, &mut ComputeAll, &control).unwrap()
        };
        let shared = call_of(&all, &call.latents);
        let repeated = call_of(&all, &call.latents.repeat([2, 1, 1, 1, 1]));
        assert!(relative_error(&shared, &repeated) < 1e-6, "{family}");

        let batch = GuidanceBatch { videos: 2, guided: true };
        let half = call_of(&all.conditional(batch).unwrap(), &call.latents);
        assert!(relative_error(&half, &shared.narrow(0, 2, 2)) < 1e-5, "{family}");
    }
}

#[test]
fn cancelling_stops_before_the_next_layer() {
    struct CancelAt(usize, CancelToken);
    impl ForwardCache for CancelAt {
        fn block(&mut self, block: usize, _x: &Tensor) -> Result<BlockAction> {
            assert!(block <= self.0, "block {block} ran after cancelling");
            if block == self.0 {
                self.1.cancel();
            }
            Ok(BlockAction::Compute)
        }
    }
    let transformer = load_family("5b");
    let call = calls("5b").remove(0);
    let (_, frames, _, height, width) = call.latents.size5().unwrap();
    let conditioning = transformer.condition(&call.prompt, frames, height, width).unwrap();
    let token = CancelToken::default();
    let control = Control { cancel: Some(token.clone()), ..Control::default() };
    let mut cache = CancelAt(1, token);
    let error =
        transformer.forward(&call.latents, &conditioning, 0, &mut cache, &control).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error:?}");
}

#[test]
fn wrong_input_is_an_error_that_names_it() {
    fn message(result: Result<impl Sized>) -> String {
        match result {
            Err(Error::InvalidArgument(message)) => message,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("accepted"),
        }
    }
    let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, tch::Device::Cpu));
    let transformer = load_family("1.5-5b");
    let prompt = zeros(&[2, 16, 32]);
    let condition = |prompt: &Tensor, f, h, w| transformer.condition(prompt, f, h, w);
    for (found, part) in [
        (message(condition(&zeros(&[2, 16, 31]), 2, 8, 8)), "[2, 16, 31]"),
        (message(condition(&zeros(&[16, 32]), 2, 8, 8)), "[16, 32]"),
        (message(condition(&prompt, 3, 8, 8)), "latent frames: expected a positive multiple"),
        (message(condition(&prompt, 2, 7, 8)), "latent height: expected a positive multiple"),
        (message(condition(&prompt, 2, 8, 0)), "latent width: expected a positive multiple"),
        (message(condition(&prompt, 1 << 40, 1 << 40, 8)), "expected at most 2147483648 patches"),
        (message(condition(&prompt, 2, 22, 8)), "latent height: expected at most 20"),
        (message(condition(&prompt, 2, 20, 28)), "latent width: expected at most 26"),
    ] {
        assert!(found.contains(part), "{found}");
    }
    let conditioning = condition(&prompt, 2, 8, 8).unwrap();
    for size in [[1, 2, 4, 8, 6], [3, 2, 4, 8, 8], [0, 2, 4, 8, 8], [1, 2, 3, 8, 8]] {
        let control = Control::default();
        let latents = zeros(&size);
        let result = transformer.forward(&latents, &conditioning, 0, &mut ComputeAll, &control);
        let found = message(result);
        assert!(found.starts_with("latents: expected shape (n, 2, 4, 8, 8)"), "{found}");
    }
}
