//! What a host configures and enables.

use super::fields::{Field, Value};
use super::report::{AttentionShare, Preview};
use super::run_info::RunInfo;
use super::storage_options::{CacheDType, CacheLocation, StorageOptions};
use super::technique::Technique;
use crate::{Error, Result};
use serde_json::{json, Map, Value as Json};

/// A caching technique with its settings. Cheap to clone; callbacks are shared.
#[derive(Debug)]
pub struct CacheConfig {
    pub(super) id: &'static str,
    pub(super) technique: Box<dyn Technique>,
    pub storage: StorageOptions,
}

impl Clone for CacheConfig {
    fn clone(&self) -> Self {
        CacheConfig { id: self.id, technique: self.technique.boxed(), storage: self.storage }
    }
}

impl CacheConfig {
    /// A config of a technique that is not in the list: what this library itself runs with.
    pub(super) fn of_technique(id: &'static str, technique: Box<dyn Technique>) -> CacheConfig {
        CacheConfig { id, technique, storage: StorageOptions::default() }
    }

    pub fn technique_name(&self) -> &'static str {
        self.technique.name()
    }

    /// Sets a field by its name, also how outputs are kept. Errors: [`Error::InvalidArgument`] for a field
    /// that the technique does not have, or a value that the field can't take; nothing is changed then.
    pub fn set(&mut self, field: &str, value: Value) -> Result<()> {
        if let Value::Json(json) = &value {
            if self.set_storage(field, json)? {
                return Ok(());
            }
        }
        let name = self.technique.name();
        let mut fields = self.technique.fields();
        let Some(position) = fields.iter().position(|f| f.name == field) else {
            return Err(Error::InvalidArgument(format!("{name} has no field {field}")));
        };
        fields.swap_remove(position).set(value)
    }

    /// Sets how outputs are kept, if that is what `field` is.
    fn set_storage(&mut self, field: &str, value: &Json) -> Result<bool> {
        let text = || {
            value.as_str().ok_or_else(|| {
                Error::InvalidArgument(format!("{field}: expected a string, found {value}"))
            })
        };
        match field {
            CACHE_DTYPE => self.storage.cache_dtype = CacheDType::parse(text()?)?,
            CACHE_LOCATION => self.storage.cache_location = CacheLocation::parse(text()?)?,
            MAX_CACHE_BYTES => {
                let bytes = value.as_u64().filter(|bytes| *bytes > 0).ok_or_else(|| {
                    Error::InvalidArgument(format!(
                        "{MAX_CACHE_BYTES}: expected a positive whole number, found {value}"
                    ))
                })?;
                self.storage.max_cache_bytes = Some(bytes);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sets a field to a value written as JSON: `2`, `[100, 800]`, `true`, `"BCFHW"`,
    /// `["^transformer_blocks"]`.
    pub fn set_json(&mut self, field: &str, json: &str) -> Result<()> {
        let value = serde_json::from_str(json).map_err(|error| {
            Error::InvalidArgument(format!("{field}: expected a value as JSON: {error}"))
        })?;
        self.set(field, Value::Json(value))
    }

    /// The technique's fields and their values.
    pub fn settings(&self) -> Json {
        let mut copy = self.technique.boxed();
        let fields = copy.fields();
        Json::Object(fields.iter().map(|f| (f.name.to_string(), f.slot.to_json())).collect())
    }

    /// [`CacheConfig::to_json`] with callbacks that are set as the word "callback".
    pub(super) fn described(&self) -> Json {
        let mut copy = self.technique.boxed();
        let mut object = Map::new();
        object.insert("technique".into(), json!(self.id));
        for Field { name, slot } in copy.fields() {
            let value = slot.to_json();
            if !(slot.is_callback() && value.is_null()) {
                object.insert(name.into(), value);
            }
        }
        if let Some(bytes) = self.storage.max_cache_bytes {
            object.insert(MAX_CACHE_BYTES.into(), json!(bytes));
        }
        if let Some(dtype) = self.storage.cache_dtype {
            object.insert(CACHE_DTYPE.into(), json!(dtype.name()));
        }
        if self.storage.cache_location != CacheLocation::default() {
            object.insert(CACHE_LOCATION.into(), json!(self.storage.cache_location.name()));
        }
        Json::Object(object)
    }

    /// The whole config as a file that [`CacheConfig::from_json`] reads: `technique`, its
    /// fields, and how outputs are kept. Errors: [`Error::InvalidArgument`] if a callback is
    /// set, which a file can't hold.
    pub fn to_json(&self) -> Result<String> {
        let mut copy = self.technique.boxed();
        let set = |field: &Field| field.slot.is_callback() && !field.slot.to_json().is_null();
        if let Some(Field { name, .. }) = copy.fields().into_iter().find(set) {
            return Err(Error::InvalidArgument(format!(
                "{name}: expected no callback in a config that is written as JSON, found one"
            )));
        }
        serde_json::to_string_pretty(&self.described())
            .map_err(|error| Error::Internal(format!("cache config as JSON: {error}")))
    }

    /// A run's [`RunInfo::time_embedding_changes`] are needed.
    pub fn needs_time_embeddings(&self) -> bool {
        self.technique.needs_time_embeddings()
    }

    /// Checks the settings against a model's attention modules: [`Error::InvalidArgument`] for
    /// what that model can't honour and for settings that would do nothing.
    pub fn validate(&self, layers: &[String]) -> Result<()> {
        self.check(layers)
    }

    fn check(&self, layers: &[String]) -> Result<()> {
        if let Some(asked) = self.storage.beyond_dtypes() {
            let taken = self.technique.takes_any_storage();
            taken.map_err(|error| error.context(format_args!("{asked}")))?;
        }
        self.technique.validate(layers)
    }

    /// What a run will be, by the code that runs it. With the run's sizes also the bytes, and the
    /// budget's effect. `share` is attention's part of a full step, from an earlier run's
    /// statistics; without it, it is estimated where the sizes are known.
    pub fn preview(&self, run: &RunInfo, share: Option<AttentionShare>) -> Result<Preview> {
        self.check(&run.layers)?;
        let forecast = self.technique.forecast(run, &self.storage)?;
        Ok(Preview::new(self.technique.name(), self.settings(), forecast, run, share))
    }
}

/// The names that a config's JSON has beside its technique's fields.
const MAX_CACHE_BYTES: &str = "max_cache_bytes";
const CACHE_DTYPE: &str = "cache_dtype";
const CACHE_LOCATION: &str = "cache_location";
