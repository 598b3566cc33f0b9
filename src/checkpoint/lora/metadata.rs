//! `lora_adapter_metadata`: peft's `LoraConfig` of the adapter, which diffusers saves into the
//! file's header and loads in place of what it would infer (0.42.1 loaders/lora_base.py:1061,
//! utils/peft_utils.py:397).

use crate::checkpoint::fields::{quoted, shown};
use crate::{Error, Result};
use fancy_regex::Regex;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Of the keys of a component.
const PREFIX: &str = "transformer.";
/// peft's default rank and alpha (peft 0.21.2 tuners/lora/config.py:180).
const DEFAULT: f64 = 8.0;

/// Fields that do not bear on what is computed once the factors are there, or that say what the
/// keys of the file say.
const NEUTRAL: &[&str] = &[
    "target_modules",
    "exclude_modules",
    "lora_dropout",
    "bias",
    "fan_in_fan_out",
    "lora_bias",
    "init_lora_weights",
    "layers_to_transform",
    "layers_pattern",
    "megatron_config",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "runtime_config",
    "qalora_group_size",
    "ensure_weight_tying",
    "task_type",
    "peft_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
];

/// What `init_lora_weights` may be: others change the weights that the adapter is added to.
const INITIALISATIONS: &[&str] = &["gaussian", "eva", "orthogonal"];

/// What bears on the arithmetic.
#[derive(Debug)]
pub(super) struct Metadata {
    path: PathBuf,
    rank: f64,
    alpha: f64,
    rank_pattern: Vec<(Regex, f64)>,
    alpha_pattern: Vec<(Regex, f64)>,
    /// Scaled by alpha / √rank (rsLoRA, arXiv 2312.03732).
    rank_stabilised: bool,
}

impl Metadata {
    /// Parses the entry of the header of `path`; `None` if it has nothing for the transformer.
    pub fn parse(path: &Path, text: &str) -> Result<Option<Metadata>> {
        let bad = |expected: &str, found: String| {
            Error::InvalidCheckpoint(format!(
                "{}: lora_adapter_metadata: expected {expected}, found {found}",
                path.display()
            ))
        };
        let all: Map<String, Value> = match serde_json::from_str(text) {
            Ok(Value::Object(all)) => all,
            Ok(other) => return Err(bad("a JSON object", shown(&other))),
            Err(error) => return Err(bad("a JSON object", error.to_string())),
        };
        let own = |(key, value): (String, Value)| Some((key.strip_prefix(PREFIX)?.into(), value));
        let mut fields: Map<String, Value> = all.into_iter().filter_map(own).collect();
        if fields.is_empty() {
            return Ok(None);
        }
        let mut metadata = Metadata {
            path: path.to_path_buf(),
            rank: DEFAULT,
            alpha: DEFAULT,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            rank_stabilised: false,
        };
        for (name, slot) in [("r", &mut metadata.rank), ("lora_alpha", &mut metadata.alpha)] {
            if let Some(value) = fields.remove(name) {
                *slot = number(&value)
                    .ok_or_else(|| bad(&format!("a finite number as {name}"), shown(&value)))?;
            }
        }
        let patterns = [
            ("rank_pattern", &mut metadata.rank_pattern),
            ("alpha_pattern", &mut metadata.alpha_pattern),
        ];
        for (name, slot) in patterns {
            match fields.remove(name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(map)) => {
                    for (key, value) in map {
                        let expected = format!("{name} with regular expressions and numbers");
                        let found = || format!("{}: {}", quoted(&key), shown(&value));
                        // peft 0.21.2 utils/other.py:1524.
                        let regex = Regex::new(&format!("^(?:.*\\.)?(?:{key})$"));
                        match (regex, number(&value)) {
                            (Ok(regex), Some(value)) => slot.push((regex, value)),
                            _ => return Err(bad(&expected, found())),
                        }
                    }
                }
                Some(other) => return Err(bad(&format!("an object as {name}"), shown(&other))),
            }
        }
        match fields.remove("use_rslora") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(is)) => metadata.rank_stabilised = is,
            Some(other) => return Err(bad("true or false as use_rslora", shown(&other))),
        }
        let changes_weights = match fields.get("init_lora_weights") {
            Some(Value::String(how)) => !INITIALISATIONS.contains(&how.as_str()),
            _ => false,
        };
        for (name, value) in &fields {
            let neutral = NEUTRAL.contains(&name.as_str());
            let unset = matches!(value, Value::Null | Value::Bool(false))
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty);
            if name == "init_lora_weights" && changes_weights || !neutral && !unset {
                return Err(Error::UnsupportedModel(format!(
                    "{}: lora_adapter_metadata: {}: expected a plain LoRA adapter, found {}",
                    path.display(),
                    quoted(name),
                    shown(value)
                )));
            }
        }
        Ok(Some(metadata))
    }

    /// What `B A x` of `module` is multiplied by, whose factors are of `rank`.
    pub fn scale(&self, module: &str, rank: i64) -> Result<f64> {
        let told = self.of(&self.rank_pattern, module, self.rank)?;
        if told != rank as f64 {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: module {}: expected rank {told} by lora_adapter_metadata, found {rank}",
                self.path.display(),
                quoted(module)
            )));
        }
        let alpha = self.of(&self.alpha_pattern, module, self.alpha)?;
        Ok(alpha / if self.rank_stabilised { told.sqrt() } else { told })
    }

    /// The value of the first pattern that matches `module`.
    fn of(&self, patterns: &[(Regex, f64)], module: &str, otherwise: f64) -> Result<f64> {
        for (pattern, value) in patterns {
            let matches = pattern.is_match(module).map_err(|error| {
                Error::InvalidCheckpoint(format!(
                    "{}: lora_adapter_metadata: {:?} can't be matched against {module:?}: {error}",
                    self.path.display(),
                    pattern.as_str()
                ))
            })?;
            if matches {
                return Ok(*value);
            }
        }
        Ok(otherwise)
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}
