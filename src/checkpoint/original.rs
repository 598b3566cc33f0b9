//! The names of the original model (SAT's; github.com/zai-org/CogVideo), and what diffusers' conversion
//! (scripts/convert_cogvideox_to_diffusers.py) makes of them.

/// What the original's files have before each name, and tools for whole models too.
pub(super) const PREFIX: &str = "model.diffusion_model.";

/// Which rows of a tensor are a module's: of so many equal parts those with these numbers, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub parts: i64,
    pub taken: &'static [i64],
}

impl Rows {
    pub const ALL: Rows = Rows { parts: 1, taken: &[0] };
}

/// A layer of the original model, and what it has become: modules, and which of its rows are theirs.
/// `{}` is the number of a block.
type Layer = (&'static str, &'static [(&'static str, Rows)]);

/// Linear layers.
const LINEAR: &[Layer] = &[
    (
        "transformer.layers.{}.attention.query_key_value",
        &[
            ("transformer_blocks.{}.attn1.to_q", Rows { parts: 3, taken: &[0] }),
            ("transformer_blocks.{}.attn1.to_k", Rows { parts: 3, taken: &[1] }),
            ("transformer_blocks.{}.attn1.to_v", Rows { parts: 3, taken: &[2] }),
        ],
    ),
    (
        "transformer.layers.{}.attention.dense",
        &[("transformer_blocks.{}.attn1.to_out.0", Rows::ALL)],
    ),
    (
        "transformer.layers.{}.mlp.dense_h_to_4h",
        &[("transformer_blocks.{}.ff.net.0.proj", Rows::ALL)],
    ),
    ("transformer.layers.{}.mlp.dense_4h_to_h", &[("transformer_blocks.{}.ff.net.2", Rows::ALL)]),
    (
        // Shift, scale and gate of video before attention, then before the feed-forward network, and
        // those six of the text; diffusers has a module for each place.
        "mixins.adaln_layer.adaLN_modulations.{}.1",
        &[
            ("transformer_blocks.{}.norm1.linear", Rows { parts: 12, taken: &[0, 1, 2, 6, 7, 8] }),
            (
                "transformer_blocks.{}.norm2.linear",
                Rows { parts: 12, taken: &[3, 4, 5, 9, 10, 11] },
            ),
        ],
    ),
    ("time_embed.0", &[("time_embedding.linear_1", Rows::ALL)]),
    ("time_embed.2", &[("time_embedding.linear_2", Rows::ALL)]),
    ("ofs_embed.0", &[("ofs_embedding.linear_1", Rows::ALL)]),
    ("ofs_embed.2", &[("ofs_embedding.linear_2", Rows::ALL)]),
    ("mixins.patch_embed.proj", &[("patch_embed.proj", Rows::ALL)]),
    ("mixins.patch_embed.text_proj", &[("patch_embed.text_proj", Rows::ALL)]),
    ("mixins.final_layer.adaLN_modulation.1", &[("norm_out.linear", Rows::ALL)]),
    ("mixins.final_layer.linear", &[("proj_out", Rows::ALL)]),
];

const NORMS: &[Layer] = &[
    ("transformer.layers.{}.input_layernorm", &[("transformer_blocks.{}.norm1.norm", Rows::ALL)]),
    (
        "transformer.layers.{}.post_attention_layernorm",
        &[("transformer_blocks.{}.norm2.norm", Rows::ALL)],
    ),
    (
        "mixins.adaln_layer.query_layernorm_list.{}",
        &[("transformer_blocks.{}.attn1.norm_q", Rows::ALL)],
    ),
    (
        "mixins.adaln_layer.key_layernorm_list.{}",
        &[("transformer_blocks.{}.attn1.norm_k", Rows::ALL)],
    ),
    ("transformer.final_layernorm", &[("norm_final", Rows::ALL)]),
    ("mixins.final_layer.norm_final", &[("norm_out.norm", Rows::ALL)]),
];

/// Positions that are learned: 5b's for images. Others have a table there that is computed anew.
pub(super) const POSITIONS: &str = "patch_embed.pos_embedding";

/// What the conversion leaves out: tables that are computed anew, and layers of the framework that the
/// model does not use.
const LEFT_OUT: &[&str] = &["freqs_sin", "freqs_cos", "position_embeddings", "embed_tokens"];

/// Whether a name is one of the original model; without [`PREFIX`].
pub(super) fn is_original(name: &str) -> bool {
    let begins = ["transformer.layers.", "transformer.final_layernorm.", "mixins.", "time_embed."];
    begins.iter().any(|begin| name.starts_with(begin)) || name.starts_with("ofs_embed.")
}

/// The modules that a linear layer of the original model has become.
pub(super) fn modules_of(layer: &str) -> Option<Vec<(String, Rows)>> {
    found(LINEAR, layer)
}

/// The tensors that a tensor of the original model has become, and which rows of it each has; none of
/// what is left out. `None` for a name that is not the original's.
pub(super) fn tensors_of(name: &str) -> Option<Vec<(String, Rows)>> {
    if LEFT_OUT.iter().any(|part| name.contains(part)) {
        return Some(Vec::new());
    }
    if name == "mixins.pos_embed.pos_embedding" {
        return Some(vec![(POSITIONS.into(), Rows::ALL)]);
    }
    let (layer, ending) = name.rsplit_once('.')?;
    let modules = modules_of(layer).or_else(|| found(NORMS, layer))?;
    let tensor = |(module, rows)| (format!("{module}.{ending}"), rows);
    ["weight", "bias"].contains(&ending).then(|| modules.into_iter().map(tensor).collect())
}

fn found(table: &[Layer], layer: &str) -> Option<Vec<(String, Rows)>> {
    table.iter().find_map(|(pattern, modules)| {
        let number = match pattern.split_once("{}") {
            None => (layer == *pattern).then_some("")?,
            Some((before, after)) => layer.strip_prefix(before)?.strip_suffix(after)?,
        };
        let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
        (is_number && number.is_empty() != pattern.contains("{}")).then(|| {
            modules.iter().map(|(module, rows)| (module.replace("{}", number), *rows)).collect()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Option<Vec<String>> {
        Some(tensors_of(name)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn each_original_tensor_has_its_names_here() {
        for (name, expected) in [
            (
                "transformer.layers.7.attention.dense.bias",
                "transformer_blocks.7.attn1.to_out.0.bias",
            ),
            ("transformer.layers.7.input_layernorm.bias", "transformer_blocks.7.norm1.norm.bias"),
            (
                "transformer.layers.12.post_attention_layernorm.weight",
                "transformer_blocks.12.norm2.norm.weight",
            ),
            (
                "mixins.adaln_layer.query_layernorm_list.3.weight",
                "transformer_blocks.3.attn1.norm_q.weight",
            ),
            (
                "mixins.adaln_layer.key_layernorm_list.3.bias",
                "transformer_blocks.3.attn1.norm_k.bias",
            ),
            ("transformer.final_layernorm.weight", "norm_final.weight"),
            ("mixins.final_layer.norm_final.bias", "norm_out.norm.bias"),
            ("mixins.final_layer.linear.weight", "proj_out.weight"),
            ("mixins.pos_embed.pos_embedding", POSITIONS),
            ("ofs_embed.2.weight", "ofs_embedding.linear_2.weight"),
        ] {
            assert_eq!(names(name), Some(vec![expected.to_string()]), "{name}");
            assert!(is_original(name), "{name}");
        }
        let parts = tensors_of("transformer.layers.0.attention.query_key_value.weight").unwrap();
        assert_eq!(parts[2].0, "transformer_blocks.0.attn1.to_v.weight");
        assert_eq!(parts[2].1, Rows { parts: 3, taken: &[2] });
        assert_eq!(names("mixins.pos_embed.freqs_sin"), Some(Vec::new()));
        for name in [
            "transformer_blocks.0.attn1.to_q.weight",
            "transformer.layers.x.input_layernorm.bias",
            "transformer.layers.0.input_layernorm",
            "transformer.layers.0.mlp.gate.weight",
            "proj_out.weight",
        ] {
            assert_eq!(names(name), None, "{name}");
        }
        assert!(!is_original("transformer_blocks.0.attn1.to_q.weight"));
    }
}
