//! What files call tensors, and what they are called here: as in the folders of diffusers.

use crate::checkpoint::folder::Component;
use crate::checkpoint::original;

/// Layers of a block of T5's encoder: llama.cpp's names (gguf-py constants.py, `MODEL_TENSOR`) and
/// those of transformers.
const T5_LAYERS: [(&str, &str); 10] = [
    ("attn_q", "layer.0.SelfAttention.q"),
    ("attn_k", "layer.0.SelfAttention.k"),
    ("attn_v", "layer.0.SelfAttention.v"),
    ("attn_o", "layer.0.SelfAttention.o"),
    ("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"),
    ("attn_norm", "layer.0.layer_norm"),
    ("ffn_norm", "layer.1.layer_norm"),
    ("ffn_gate", "layer.1.DenseReluDense.wi_0"),
    ("ffn_up", "layer.1.DenseReluDense.wi_1"),
    ("ffn_down", "layer.1.DenseReluDense.wo"),
];

/// The name here of tensor `name` of a file for `component`; `None` for what belongs to something
/// else that the file has too, such as T5's decoder.
pub fn checkpoint_name(component: Component, name: &str) -> Option<String> {
    match component {
        Component::TextEncoder => t5_name(name),
        // Tools for whole models put the network below this.
        Component::Transformer | Component::Vae => {
            Some(name.strip_prefix(original::PREFIX).unwrap_or(name).to_string())
        }
    }
}

fn t5_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("shared.weight".into()),
        "enc.output_norm.weight" => return Some("encoder.final_layer_norm.weight".into()),
        _ if name.starts_with("dec.") || name == "output.weight" => return None,
        _ => {}
    }
    let block = name.strip_prefix("enc.blk.").and_then(|rest| rest.split_once('.'));
    let known = block.and_then(|(number, rest)| {
        let layer = rest.strip_suffix(".weight")?;
        let (_, ours) = T5_LAYERS.iter().find(|(theirs, _)| *theirs == layer)?;
        Some(format!("encoder.block.{number}.{ours}.weight"))
    });
    // Others are as transformers has them, or are told as surplus.
    Some(known.unwrap_or_else(|| name.to_string()))
}
