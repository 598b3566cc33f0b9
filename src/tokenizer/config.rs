//! `tokenizer_config.json` and the older files beside it, `special_tokens_map.json` and
//! `added_tokens.json`, as transformers merges them (5.23 tokenization_utils_base.py,
//! `_from_pretrained`). All three may be missing.

use crate::checkpoint::fields::{exists, quoted, shown, Fields};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::AddedToken;

/// The largest number of `<extra_id_…>` tokens; T5 has 100.
const MAX_EXTRA_IDS: i64 = 1 << 11;
/// The special tokens that have a name, in transformers' order, and T5Tokenizer's defaults.
const NAMED: [(&str, Option<&str>); 7] = [
    ("bos_token", None),
    ("eos_token", Some("</s>")),
    ("unk_token", Some("<unk>")),
    ("sep_token", None),
    ("pad_token", Some("<pad>")),
    ("cls_token", None),
    ("mask_token", None),
];

pub(super) struct Config {
    pub eos_token: AddedToken,
    pub pad_token: AddedToken,
    /// All named tokens that are set, in order.
    named: Vec<AddedToken>,
    /// Further special tokens, if the config lists any.
    pub extra_special_tokens: Option<Vec<AddedToken>>,
    /// Tokens by id that the files beside the vocabulary list.
    pub added_tokens: Option<BTreeMap<u32, AddedToken>>,
    /// Whether those are the config's own `added_tokens_decoder`, which replaces all others.
    pub added_tokens_decoder: bool,
    /// How many `<extra_id_…>` there are; default 100.
    extra_ids: usize,
    /// Whether special tokens in a text are read as plain text; default false.
    pub split_special_tokens: bool,
}

/// A token as the files describe it; missing flags are false, but what is not special is
/// looked for in the replaced text.
#[derive(Deserialize)]
pub(super) struct TokenJson {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl From<TokenJson> for AddedToken {
    fn from(json: TokenJson) -> AddedToken {
        AddedToken::from(json.content, json.special)
            .single_word(json.single_word)
            .lstrip(json.lstrip)
            .rstrip(json.rstrip)
            .normalized(json.normalized.unwrap_or(!json.special))
    }
}

/// A special token that is given by its content alone.
pub(super) fn special(content: &str) -> AddedToken {
    AddedToken::from(content, true)
}

/// A token given as a string or as an object.
fn token(fields: &Fields, field: &str, value: Value, is_special: bool) -> Result<AddedToken> {
    let found = shown(&value);
    let token = match value {
        Value::String(content) => Some(special(&content)),
        Value::Object(_) => serde_json::from_value::<TokenJson>(value).ok().map(|json| {
            let special = json.special || is_special;
            TokenJson { special, ..json }.into()
        }),
        _ => None,
    };
    token.ok_or_else(|| fields.invalid(field, "a token", &found))
}

fn tokens(fields: &Fields, field: &str, value: Value) -> Result<Vec<AddedToken>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            items.into_iter().map(|item| token(fields, field, item, false)).collect()
        }
        other => Err(fields.invalid(field, "a list of tokens", &shown(&other))),
    }
}

fn read_optional(file: &Path) -> Result<Fields> {
    if exists(file)? {
        Fields::read(file)
    } else {
        Fields::parse(file, "{}")
    }
}

impl Config {
    pub fn read(folder: &Path) -> Result<Config> {
        let config = read_optional(&folder.join("tokenizer_config.json"))?;
        let special_map = read_optional(&folder.join("special_tokens_map.json"))?;
        let added = read_optional(&folder.join("added_tokens.json"))?;
        Config::merge(config, special_map, added)
    }

    /// The config of a folder without any of the files.
    #[cfg(test)]
    pub fn empty() -> Config {
        let none = || Fields::parse(Path::new("none"), "{}").expect("an object");
        Config::merge(none(), none(), none()).expect("defaults")
    }

    fn merge(mut fields: Fields, special_map: Fields, added: Fields) -> Result<Config> {
        let f = &mut fields;
        let extra_ids = f.integer("extra_ids", 100, 0..=MAX_EXTRA_IDS)? as usize;
        let split_special_tokens = f.boolean("split_special_tokens", false)?;
        for field in ["padding_side", "truncation_side"] {
            f.choice(field, "right", &["right"])?;
        }
        let mut model_specific = Vec::new();
        let older = f.take("additional_special_tokens");
        let extra = match (f.take("extra_special_tokens"), older) {
            // An empty list gives way to the older field.
            (Some(Value::Array(items)), Some(older)) if items.is_empty() => Some(older),
            (None | Some(Value::Null), Some(older)) => Some(older),
            (extra, _) => extra,
        };
        let mut extra_special_tokens = match extra {
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    model_specific.push(token(f, &name, value, true)?);
                }
                None
            }
            Some(list) => Some(tokens(f, "extra_special_tokens", list)?),
            None => None,
        };

        let decoder = f.take("added_tokens_decoder");
        let added_tokens_decoder = decoder.is_some();
        let mut named: BTreeMap<String, Value> = BTreeMap::new();
        for name in f.names().filter(|name| name.ends_with("_token")).collect::<Vec<_>>() {
            named.extend(f.take(&name).map(|value| (name, value)));
        }
        let added_tokens = match decoder {
            Some(listed) => Some(listed_tokens(f, listed)?),
            None => {
                merge_special_map(special_map, &mut named, &mut extra_special_tokens)?;
                let extra = extra_special_tokens.as_deref().unwrap_or_default();
                older_tokens(added, &named, extra)?
            }
        };

        let mut values = Vec::new();
        let (mut eos_token, mut pad_token) = (special("</s>"), special("<pad>"));
        for (name, default) in NAMED {
            let value = match (named.remove(name), default) {
                (Some(Value::Null), None) | (None, None) => continue,
                (Some(value), _) => token(f, name, value, true)?,
                (None, Some(default)) => special(default),
            };
            match name {
                "eos_token" => eos_token = value.clone(),
                "pad_token" => pad_token = value.clone(),
                _ => {}
            }
            values.push(value);
        }
        // Flags such as add_bos_token have names of the same form.
        for (name, value) in named.into_iter().filter(|(_, v)| v.is_string() || v.is_object()) {
            values.push(token(f, &name, value, true)?);
        }
        values.append(&mut model_specific);
        Ok(Config {
            eos_token,
            pad_token,
            named: values,
            extra_special_tokens,
            added_tokens,
            added_tokens_decoder,
            extra_ids,
            split_special_tokens,
        })
    }

    pub fn named_tokens(&self) -> impl Iterator<Item = &AddedToken> {
        self.named.iter()
    }

    /// `<extra_id_0>`, `<extra_id_1>`, …
    pub fn extra_tokens(&self) -> impl Iterator<Item = String> {
        (0..self.extra_ids).map(|i| format!("<extra_id_{i}>"))
    }

    /// Where `special` tokens of the vocabulary hold such tokens, they must hold all.
    pub fn check_extra_ids(&self, file: &Path, special: &[AddedToken]) -> Result<()> {
        let found = special.iter().filter(|token| token.content.contains("<extra_id_")).count();
        if found > 0 && self.extra_ids > 0 && found != self.extra_ids {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: <extra_id_…>: expected extra_ids {} of them, found {found}",
                file.display(),
                self.extra_ids
            )));
        }
        Ok(())
    }
}

/// `added_tokens_decoder`: tokens by id.
fn listed_tokens(fields: &Fields, value: Value) -> Result<BTreeMap<u32, AddedToken>> {
    const FIELD: &str = "added_tokens_decoder";
    let map = match value {
        Value::Object(map) => map,
        other => return Err(fields.invalid(FIELD, "tokens by id", &shown(&other))),
    };
    let mut listed = BTreeMap::new();
    for (id, value) in map {
        let id: u32 = id.parse().map_err(|_| fields.invalid(FIELD, "an id", &quoted(&id)))?;
        listed.insert(id, token(fields, FIELD, value, false)?);
    }
    Ok(listed)
}

/// `special_tokens_map.json` overrides what the config says.
fn merge_special_map(
    mut map: Fields,
    named: &mut BTreeMap<String, Value>,
    extra: &mut Option<Vec<AddedToken>>,
) -> Result<()> {
    if let Some(value @ Value::Array(_)) = map.take("extra_special_tokens") {
        let more = tokens(&map, "extra_special_tokens", value)?;
        extra.get_or_insert_with(Vec::new).extend(more);
    }
    for name in map.names().filter(|name| name.ends_with("_token")).collect::<Vec<_>>() {
        named.extend(map.take(&name).map(|value| (name, value)));
    }
    Ok(())
}

/// `added_tokens.json`: ids by token. Those that are special otherwise are special here.
fn older_tokens(
    mut added: Fields,
    named: &BTreeMap<String, Value>,
    extra: &[AddedToken],
) -> Result<Option<BTreeMap<u32, AddedToken>>> {
    fn content_of(value: &Value) -> Option<&str> {
        value.as_str().or(value.get("content").and_then(Value::as_str))
    }
    let mut listed = BTreeMap::new();
    for content in added.names().collect::<Vec<_>>() {
        let id = added.integer(&content, 0, 0..=i64::from(u32::MAX))?;
        let special = named.values().any(|value| content_of(value) == Some(&content))
            || extra.iter().any(|token| token.content == content);
        listed.insert(id as u32, AddedToken::from(content, special).normalized(!special));
    }
    Ok(Some(listed).filter(|listed| !listed.is_empty()))
}
