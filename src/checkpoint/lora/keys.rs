//! What the keys of a LoRA file name.

use crate::checkpoint::fields::quoted;
pub(super) use crate::checkpoint::original::Rows;
use crate::checkpoint::original::{modules_of, PREFIX as ORIGINAL};
use crate::{Error, Result};
use std::path::Path;

/// Which tensor of its module a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `lora_A.weight`, `lora.down.weight`.
    Down,
    /// `lora_B.weight`, `lora.up.weight`.
    Up,
    /// `lora_B.bias`.
    UpBias,
    /// `alpha`.
    Alpha,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The module's name in the transformer's checkpoint.
    pub module: String,
    pub part: Part,
    /// Of a `lora_B` and its bias. Layers that were one in the original model share their adapter: what it
    /// adds to the rows of one of them comes from the same rows of its `lora_B`.
    pub rows: Rows,
}

/// The component that CogVideoX' adapters are for: what every key starts with.
const PREFIX: &str = "transformer.";

/// diffusers' older names of the factors, of which it puts the first that is found into peft's
/// form (0.42.1 utils/state_dict_utils.py:45).
const OLDER: &[(&str, &str)] = &[
    (".to_out_lora.up", ".to_out.0.lora_B"),
    (".to_out_lora.down", ".to_out.0.lora_A"),
    (".to_q_lora.down", ".to_q.lora_A"),
    (".to_q_lora.up", ".to_q.lora_B"),
    (".to_k_lora.down", ".to_k.lora_A"),
    (".to_k_lora.up", ".to_k.lora_B"),
    (".to_v_lora.down", ".to_v.lora_A"),
    (".to_v_lora.up", ".to_v.lora_B"),
    (".lora.up", ".lora_B"),
    (".lora.down", ".lora_A"),
];

const PARTS: &[(&str, Part)] = &[
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_B.bias", Part::UpBias),
    (".lora.alpha", Part::Alpha),
    (".alpha", Part::Alpha),
];

/// Whether a key is of a layout.
type Recognise = fn(&str) -> bool;

/// Layouts that diffusers does not convert for CogVideoX: what tells them, and their names.
const LAYOUTS: &[(Recognise, &str)] = &[
    (
        |key| {
            (key.contains(".matrix_A.") || key.contains(".matrix_B.")) && !key.starts_with(ORIGINAL)
        },
        "the SAT layout (matrix_A) without the prefix model.diffusion_model.",
    ),
    (|key| key.starts_with("lora_"), "the kohya layout (lora_unet_…, lora_transformer_…)"),
    (|key| key.starts_with("text_encoder"), "weights for a text encoder"),
    (|key| key.starts_with("diffusion_model."), "the layout with the prefix diffusion_model."),
    (
        |key| key.starts_with("base_model.model."),
        "the layout of peft's own models (base_model.model.)",
    ),
    (|key| key.contains(".lokr_") || key.contains(".hada_"), "a LoKr or LoHa adapter"),
    (|key| key.contains("lora_magnitude_vector"), "a DoRA adapter (lora_magnitude_vector)"),
    (
        |key| key.contains("lora") && !key.starts_with(PREFIX) && !key.starts_with(ORIGINAL),
        "keys without the prefix transformer.",
    ),
];

/// What `name` names, which in the original layout may be several modules; nothing for what is passed
/// over (DoRA's `dora_scale`).
///
/// Errors: [`Error::UnsupportedModel`] for another layout, which is named;
/// [`Error::InvalidCheckpoint`] for a key that is none of an adapter.
pub(super) fn parse(path: &Path, name: &str) -> Result<Vec<Key>> {
    if let Some((_, layout)) = LAYOUTS.iter().find(|(is, _)| is(name)) {
        return Err(Error::UnsupportedModel(format!(
            "{}: expected keys as diffusers saves them for CogVideoX \
             (\"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight\"), found {layout}: {}",
            path.display(),
            quoted(name)
        )));
    }
    if name.contains("dora_scale") {
        return Ok(Vec::new());
    }
    let stranger = || {
        Error::InvalidCheckpoint(format!(
            "{}: expected only keys of an adapter (\"transformer.….lora_A.weight\", lora_B), found {}",
            path.display(),
            quoted(name)
        ))
    };
    if let Some(key) = name.strip_prefix(ORIGINAL) {
        return original(key).ok_or_else(stranger);
    }
    let key = name.strip_prefix(PREFIX).ok_or_else(stranger)?.replace(".processor.", ".");
    let older = OLDER.iter().find(|(pattern, _)| key.contains(pattern));
    let key = older.map_or(key.clone(), |(pattern, newer)| key.replace(pattern, newer));
    let (module, part) = split(&key).ok_or_else(stranger)?;
    Ok(vec![Key { module: module.to_string(), part, rows: Rows::ALL }])
}

/// The module that a key names, and which tensor of it.
fn split(key: &str) -> Option<(&str, Part)> {
    PARTS.iter().find_map(|(ending, part)| Some((key.strip_suffix(ending)?, *part)))
}

/// What a key of the original model names, after its prefix.
fn original(key: &str) -> Option<Vec<Key>> {
    let newer = key.replace(".lora.up", ".lora_B").replace(".lora.down", ".lora_A");
    if let Some((layer, part)) = split(&newer) {
        // lora_A is what comes in, which is the same for all.
        let parted = matches!(part, Part::Up | Part::UpBias);
        let key =
            |(module, rows)| Key { module, part, rows: if parted { rows } else { Rows::ALL } };
        return Some(modules_of(layer)?.into_iter().map(key).collect());
    }
    // SAT's own adapters have factors for each part of a layer.
    for (infix, part) in [(".matrix_A.", Part::Down), (".matrix_B.", Part::Up)] {
        if let Some((layer, number)) = key.split_once(infix) {
            let at = "012".find(number).filter(|_| number.len() == 1)?;
            let (module, rows) = modules_of(layer)?.into_iter().nth(at)?;
            // Of others it is not known how SAT would part them.
            let parted = rows.taken.len() == 1;
            return parted.then(|| vec![Key { module, part, rows: Rows::ALL }]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Result<Vec<Key>> {
        parse(Path::new("a.safetensors"), name)
    }

    #[test]
    fn diffusers_layouts_name_one_module() {
        for (name, module, part) in [
            ("transformer.proj_out.lora_A.weight", "proj_out", Part::Down),
            ("transformer.b.0.attn1.to_q.lora_B.weight", "b.0.attn1.to_q", Part::Up),
            ("transformer.b.0.attn1.to_q.lora_B.bias", "b.0.attn1.to_q", Part::UpBias),
            ("transformer.b.0.attn1.to_q.alpha", "b.0.attn1.to_q", Part::Alpha),
            ("transformer.b.0.attn1.to_q.lora.alpha", "b.0.attn1.to_q", Part::Alpha),
            ("transformer.b.0.attn1.to_out.0.lora.down.weight", "b.0.attn1.to_out.0", Part::Down),
            (
                "transformer.b.0.attn1.processor.to_out_lora.up.weight",
                "b.0.attn1.to_out.0",
                Part::Up,
            ),
            ("transformer.b.0.attn1.processor.to_k_lora.down.weight", "b.0.attn1.to_k", Part::Down),
        ] {
            let expected = Key { module: module.into(), part, rows: Rows::ALL };
            assert_eq!(parsed(name).unwrap(), [expected], "{name}");
        }
        assert_eq!(parsed("transformer.proj_out.dora_scale").unwrap(), []);
    }

    #[test]
    fn the_original_layers_name_what_they_became() {
        let attention = "model.diffusion_model.transformer.layers.12.attention";
        let keys = parsed(&format!("{attention}.query_key_value.lora_B.weight")).unwrap();
        let found: Vec<_> = keys.iter().map(|key| (key.module.as_str(), key.rows.taken)).collect();
        let expected: [(&str, &[i64]); 3] = [
            ("transformer_blocks.12.attn1.to_q", &[0]),
            ("transformer_blocks.12.attn1.to_k", &[1]),
            ("transformer_blocks.12.attn1.to_v", &[2]),
        ];
        assert_eq!(found, expected);
        assert!(keys.iter().all(|key| key.part == Part::Up && key.rows.parts == 3));
        for (name, module, part) in [
            ("query_key_value.matrix_A.1", "attn1.to_k", Part::Down),
            ("query_key_value.matrix_B.2", "attn1.to_v", Part::Up),
            ("dense.matrix_B.0", "attn1.to_out.0", Part::Up),
            ("dense.lora.down.weight", "attn1.to_out.0", Part::Down),
            ("dense.alpha", "attn1.to_out.0", Part::Alpha),
        ] {
            let module = format!("transformer_blocks.12.{module}");
            let expected = Key { module, part, rows: Rows::ALL };
            assert_eq!(parsed(&format!("{attention}.{name}")).unwrap(), [expected], "{name}");
        }
        for name in [
            "transformer.layers.0.attention.query_key_value.matrix_A.3",
            "transformer.layers.0.attention.query_key_value.matrix_A.01",
            "transformer.layers.0.attention.dense.matrix_A.1",
            "transformer.layers.x.attention.dense.matrix_A.0",
            "transformer.layers..attention.dense.matrix_A.0",
            "mixins.adaln_layer.adaLN_modulations.0.1.matrix_A.0",
            "transformer.layers.0.input_layernorm.lora_A.weight",
            "time_embed.0.weight",
        ] {
            let name = format!("model.diffusion_model.{name}");
            assert!(matches!(parsed(&name), Err(Error::InvalidCheckpoint(_))), "{name}");
        }
    }

    #[test]
    fn other_layouts_are_named() {
        for (name, layout) in [
            ("lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight", "kohya"),
            ("transformer.layers.0.attention.query_key_value.matrix_A.0", "SAT"),
            ("diffusion_model.blocks.0.lora_A.weight", "diffusion_model."),
            ("base_model.model.proj_out.lora_A.weight", "peft's own"),
            ("text_encoder.block.0.q.lora_A.weight", "text encoder"),
            ("transformer.proj_out.lokr_w1", "LoKr"),
            ("transformer.proj_out.lora_magnitude_vector", "DoRA"),
            ("proj_out.lora_A.weight", "without the prefix"),
        ] {
            match parsed(name) {
                Err(Error::UnsupportedModel(message)) => {
                    assert!(message.contains(layout) && message.contains(name), "{message}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        for name in ["transformer.proj_out.weight", "transformer.proj_out.lora_A.x.weight", "unet"]
        {
            assert!(matches!(parsed(name), Err(Error::InvalidCheckpoint(_))), "{name}");
        }
    }
}
