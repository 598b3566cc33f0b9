//! Low-rank adapters of the transformer (diffusers 0.42.1 loaders/peft.py; peft 0.21.2
//! tuners/lora/layer.py). Adapting makes another transformer over the same weights, so that runs
//! with and without adapters, or with others, go on side by side.

use super::Transformer;
use crate::checkpoint::config::TransformerConfig;
use crate::models::layers::{Blocks, Change, LinearChange};
use crate::Result;
use tch::Tensor;

/// A module that an adapter may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearModule {
    /// In the checkpoint, such as `transformer_blocks.0.attn1.to_q`.
    pub name: String,
    /// Of its `weight`: `(outputs, inputs)`, or that of a convolution.
    pub shape: Vec<i64>,
}

/// The linear layers, and the convolution over patches, of the model that `config` describes.
pub fn linear_modules(config: &TransformerConfig) -> Vec<LinearModule> {
    let width = config.num_attention_heads * config.attention_head_dim;
    let (time, patch) = (config.time_embed_dim, config.patch_size);
    let features = |channels: i64| channels * patch * patch * config.patch_size_t.unwrap_or(1);
    let patches = match config.patch_size_t {
        None => vec![width, config.in_channels, patch, patch],
        Some(_) => vec![width, features(config.in_channels)],
    };
    let mut modules = Vec::new();
    let mut add = |name: String, shape: Vec<i64>| modules.push(LinearModule { name, shape });
    add("patch_embed.proj".into(), patches);
    add("patch_embed.text_proj".into(), vec![width, config.text_embed_dim]);
    add("time_embedding.linear_1".into(), vec![time, width]);
    add("time_embedding.linear_2".into(), vec![time, time]);
    if let Some(offset) = config.ofs_embed_dim {
        add("ofs_embedding.linear_1".into(), vec![time, offset]);
        add("ofs_embedding.linear_2".into(), vec![time, time]);
    }
    for layer in 0..config.num_layers {
        let mut add = |name: &str, outputs, inputs| {
            add(format!("transformer_blocks.{layer}.{name}"), vec![outputs, inputs]);
        };
        add("norm1.linear", 6 * width, time);
        add("attn1.to_q", width, width);
        add("attn1.to_k", width, width);
        add("attn1.to_v", width, width);
        add("attn1.to_out.0", width, width);
        add("norm2.linear", 6 * width, time);
        add("ff.net.0.proj", 4 * width, width);
        add("ff.net.2", width, 4 * width);
    }
    add("norm_out.linear".into(), vec![2 * width, time]);
    add("proj_out".into(), vec![features(config.out_channels), width]);
    modules
}

impl Transformer {
    /// The model with adapters. Beside its weights ([`Change::Adapted`]) nothing is copied; added to
    /// them ([`Change::Fused`]) the layers that change are, or, in a model that streams its blocks,
    /// will be whenever they come by. The others are shared.
    pub fn changed(&self, change: &Change) -> Result<Transformer> {
        self.with_linears(&|linear| change.apply(linear), self.blocks.changed(change)?)
    }

    /// The same model with other blocks, and other linear layers around them.
    fn with_linears(
        &self,
        change: LinearChange,
        blocks: Blocks<super::Block>,
    ) -> Result<Transformer> {
        Ok(Transformer {
            config: self.config.clone(),
            placement: self.placement,
            patch_embed: self.patch_embed.with_linears(change)?,
            learned_positions: self.learned_positions.as_ref().map(Tensor::shallow_clone),
            time_embedding: self.time_embedding.with_linears(change)?,
            blocks,
            norm_final: self.norm_final.shallow_clone(),
            norm_out: self.norm_out.shallow_clone(),
            norm_out_linear: change(&self.norm_out_linear)?,
            proj_out: change(&self.proj_out)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::WeightStore;
    use crate::models::layers::Block;
    use crate::runtime::{Control, Placement};
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn the_modules_are_those_that_the_network_has() {
        for family in ["2b", "5b", "1.5-5b", "5b-i2v", "1.5-5b-i2v"] {
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
            let folder = tests.join("pipelines").join(family).join("transformer");
            let config =
                TransformerConfig::read(&folder.join("config.json"), &mut Vec::new()).unwrap();
            let (stem, control) = ("diffusion_pytorch_model", Control::default());
            let store = WeightStore::open(&folder, stem, None, Placement::CPU, &control).unwrap();
            let network = Transformer::load(&config, &store.root()).unwrap();
            let found = RefCell::new(BTreeMap::new());
            let visit = |linear: &crate::models::layers::Linear| {
                for name in linear.modules() {
                    found.borrow_mut().insert(name.clone(), linear.module_size()?);
                }
                Ok(linear.shallow_clone())
            };
            for block in network.blocks.resident() {
                block.with_linears(&visit).unwrap();
            }
            let blocks = network.blocks.changed(&Change::Adapted(Vec::new())).unwrap();
            network.with_linears(&visit, blocks).unwrap();
            let expected: BTreeMap<String, (i64, i64)> = linear_modules(&config)
                .into_iter()
                .map(|LinearModule { name, shape }| (name, (shape[1..].iter().product(), shape[0])))
                .collect();
            assert_eq!(found.into_inner(), expected, "{family}");
        }
    }
}
