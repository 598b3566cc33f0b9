//! `tokenizer.json`, as transformers' T5Tokenizer reads it (5.23
//! tokenization_utils_tokenizers.py:121): the vocabulary, the table of replacements and the
//! added tokens; truncation and padding that a former use left in the file, and all else that
//! it says, have no bearing.

use super::charsmap::{from_base64, Charsmap};
use super::config::{special, Config, TokenJson};
use super::vocabulary::Vocabulary;
use crate::checkpoint::fields::{quoted, read_text};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The largest file that is read. T5's has 2.4 MB.
const MAX_BYTES: u64 = 32 << 20;

#[derive(Deserialize)]
struct TokenizerJson {
    model: ModelJson,
    normalizer: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    r#type: Option<String>,
    vocab: Value,
}

#[derive(Deserialize)]
struct AddedTokenJson {
    id: u32,
    #[serde(flatten)]
    token: TokenJson,
}

pub(super) fn read(file: &Path, config: Config) -> Result<Vocabulary> {
    parse(file, &read_text(file, MAX_BYTES)?, config)
}

pub(super) fn parse(file: &Path, text: &str, config: Config) -> Result<Vocabulary> {
    let invalid = |found: String| {
        Error::InvalidCheckpoint(format!("{}: expected a tokenizer, found {found}", file.display()))
    };
    let json: TokenizerJson = serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?;
    if json.model.r#type.as_deref().is_some_and(|kind| kind != "Unigram") {
        return Err(Error::UnsupportedModel(format!(
            "{}: model.type: expected \"Unigram\", found {}",
            file.display(),
            quoted(&json.model.r#type.unwrap_or_default())
        )));
    }
    // Read in a second step: the vocabulary of another model is a map, which is better told
    // by the model's type.
    let pieces = Vec::<(String, f64)>::deserialize(json.model.vocab)
        .map_err(|e| invalid(format!("model.vocab: {e}")))?;
    let charsmap = match json.normalizer.as_ref().and_then(precompiled) {
        Some(text) => from_base64(text)
            .ok_or_else(|| invalid("precompiled_charsmap that is not base64".into()))?,
        None => Vec::new(),
    };
    config.check_extra_ids(file, &[])?;
    let in_file = json.added_tokens.into_iter().map(|added| (added.id, added.token.into()));
    // A list in the config replaces that of this file.
    let added = match &config.added_tokens {
        Some(listed) if config.added_tokens_decoder => listed.clone(),
        Some(older) => older.clone().into_iter().chain(in_file).collect(),
        None => in_file.collect::<BTreeMap<_, _>>(),
    };
    Ok(Vocabulary {
        file: file.to_path_buf(),
        pieces,
        charsmap: Charsmap::new(file, &charsmap)?,
        added: added.into_values().collect(),
        further: config.extra_tokens().map(|content| special(&content)).collect(),
        config,
    })
}

/// The table of a `Precompiled` normalizer, alone or the first of a sequence.
fn precompiled(normalizer: &Value) -> Option<&str> {
    let alone = std::slice::from_ref(normalizer);
    let all = normalizer.get("normalizers").and_then(Value::as_array).map_or(alone, Vec::as_slice);
    let is_precompiled = |n: &&Value| n.get("type").and_then(Value::as_str) == Some("Precompiled");
    all.iter().find(is_precompiled)?.get("precompiled_charsmap")?.as_str()
}
