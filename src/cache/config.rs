//! What a host configures and enables.

use super::fields::{Field, Value};
use super::report::{AttentionShare, Preview, ShareSource};
use super::run_info::RunInfo;
use super::technique::{Registered, Technique};
use super::techniques::TECHNIQUES;
use super::tuning::Calibration;
use crate::runtime::DType;
use crate::{Error, Result};
use serde_json::{json, Map, Value as Json};
use tch::Kind;

/// How outputs are kept, whatever the technique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// The most bytes that a run may keep; layers that don't fit compute. Default: no limit.
    pub max_cache_bytes: Option<u64>,
    /// The dtype of kept outputs. Default: what the model computes in. float16 halves float32's
    /// bytes; its values end at 65504, where bfloat16 keeps float32's range.
    pub cache_dtype: Option<DType>,
}

impl StorageOptions {
    /// The dtype of kept outputs in a run; float32 where the model's is not known.
    pub(super) fn kind(&self, run: &RunInfo) -> Kind {
        match (self.cache_dtype, &run.sizes) {
            (Some(dtype), _) => dtype.kind(),
            (None, Some(sizes)) => sizes.dtype,
            (None, None) => Kind::Float,
        }
    }

    /// The most bytes that a run may keep.
    pub(super) fn budget(&self) -> u64 {
        self.max_cache_bytes.unwrap_or(u64::MAX)
    }
}

/// A caching technique with its settings. Cheap to clone; callbacks are shared.
#[derive(Debug)]
pub struct CacheConfig {
    id: &'static str,
    pub(super) technique: Box<dyn Technique>,
    pub storage: StorageOptions,
}

impl Clone for CacheConfig {
    fn clone(&self) -> Self {
        CacheConfig { id: self.id, technique: self.technique.boxed(), storage: self.storage }
    }
}

impl CacheConfig {
    /// `technique`: one of [`CacheConfig::techniques`], with the settings of one of its presets
    /// ([`CacheConfig::presets`]); no preset means the first, the defaults of diffusers 0.42.1
    /// where diffusers has the technique.
    pub fn new(technique: &str, preset: Option<&str>) -> Result<CacheConfig> {
        let registered = find(technique)?;
        let preset = preset.or(registered.presets.first().copied()).unwrap_or("");
        let made = (registered.preset)(preset).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "preset: expected one of {:?} for {technique}, found {preset:?}",
                registered.presets
            ))
        })?;
        Ok(CacheConfig { id: registered.id, technique: made, storage: StorageOptions::default() })
    }

    /// A config of a technique that is not in the list: what this library itself runs with.
    pub(super) fn of_technique(id: &'static str, technique: Box<dyn Technique>) -> CacheConfig {
        CacheConfig { id, technique, storage: StorageOptions::default() }
    }

    /// The techniques there are.
    pub fn techniques() -> Vec<&'static str> {
        TECHNIQUES.iter().map(|registered| registered.id).collect()
    }

    /// The presets of a technique, the default first.
    pub fn presets(technique: &str) -> Result<&'static [&'static str]> {
        Ok(find(technique)?.presets)
    }

    pub fn technique_name(&self) -> &'static str {
        self.technique.name()
    }

    /// Sets a field by its name. Errors: [`Error::InvalidArgument`] for a field that the
    /// technique does not have, or a value that the field can't take; nothing is changed then.
    pub fn set(&mut self, field: &str, value: Value) -> Result<()> {
        let name = self.technique.name();
        let mut fields = self.technique.fields();
        let Some(position) = fields.iter().position(|f| f.name == field) else {
            return Err(Error::InvalidArgument(format!("{name} has no field {field}")));
        };
        fields.swap_remove(position).set(value)
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
        self.describe_storage(&mut object);
        Json::Object(object)
    }

    fn describe_storage(&self, object: &mut Map<String, Json>) {
        if let Some(bytes) = self.storage.max_cache_bytes {
            object.insert(MAX_CACHE_BYTES.into(), json!(bytes));
        }
        if let Some(dtype) = self.storage.cache_dtype {
            object.insert(CACHE_DTYPE.into(), json!(dtype.name()));
        }
    }

    /// The whole config as a file that [`CacheConfig::from_json`] reads: `technique`, its
    /// fields, and how outputs are kept. Errors: [`Error::InvalidArgument`] if a callback is
    /// set, which a file can't hold.
    pub fn to_json(&self) -> Result<String> {
        let mut copy = self.technique.boxed();
        let mut object = Map::new();
        object.insert("technique".into(), json!(self.id));
        for Field { name, slot } in copy.fields() {
            let value = slot.to_json();
            if !slot.is_callback() {
                object.insert(name.into(), value);
            } else if !value.is_null() {
                return Err(Error::InvalidArgument(format!(
                    "{name}: expected no callback in a config that is written as JSON, found one"
                )));
            }
        }
        self.describe_storage(&mut object);
        serde_json::to_string_pretty(&object)
            .map_err(|error| Error::Internal(format!("cache config as JSON: {error}")))
    }

    /// A config from JSON: one object with `technique`, optionally `preset`, and any of the
    /// technique's fields; fields that are left out have the preset's values. Errors:
    /// [`Error::InvalidArgument`] that names what is wrong.
    pub fn from_json(text: &str) -> Result<CacheConfig> {
        let object = serde_json::from_str(text).map_err(|error| {
            Error::InvalidArgument(format!("cache config: expected a JSON object: {error}"))
        })?;
        CacheConfig::from_object(&object)
    }

    /// [`CacheConfig::from_json`] of what has been parsed.
    pub(super) fn from_object(object: &Map<String, Json>) -> Result<CacheConfig> {
        let name = |key: &str| match object.get(key) {
            None => Ok(None),
            Some(Json::String(name)) => Ok(Some(name.as_str())),
            Some(other) => Err(Error::InvalidArgument(format!(
                "cache config: {key}: expected a string, found {other}"
            ))),
        };
        let technique = name("technique")?.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "cache config: technique: expected one of {:?}, found none",
                CacheConfig::techniques()
            ))
        })?;
        let mut config = CacheConfig::new(technique, name("preset")?)?;
        if let Some(dtype) = name(CACHE_DTYPE)? {
            config.storage.cache_dtype = DType::parse(dtype)?;
        }
        for (key, value) in object {
            match key.as_str() {
                "technique" | "preset" | CACHE_DTYPE => {}
                MAX_CACHE_BYTES => {
                    let bytes = value.as_u64().filter(|bytes| *bytes > 0).ok_or_else(|| {
                        Error::InvalidArgument(format!(
                            "{MAX_CACHE_BYTES}: expected a positive whole number, found {value}"
                        ))
                    })?;
                    config.storage.max_cache_bytes = Some(bytes);
                }
                field => config.set(field, Value::Json(value.clone()))?,
            }
        }
        Ok(config)
    }

    /// A run's [`RunInfo::time_embedding_changes`] are needed.
    pub fn needs_time_embeddings(&self) -> bool {
        self.technique.needs_time_embeddings()
    }

    /// Checks the settings against a model's attention modules: [`Error::InvalidArgument`] for
    /// what that model can't honour and for settings that would do nothing.
    pub fn validate(&self, layers: &[String]) -> Result<()> {
        self.technique.validate(layers)
    }

    /// What a run will be, by the code that runs it. With the run's sizes also the bytes, and the
    /// budget's effect. `share` is attention's part of a full step, from an earlier run's
    /// statistics; without it, it is estimated where the sizes are known.
    pub fn preview(&self, run: &RunInfo, share: Option<AttentionShare>) -> Result<Preview> {
        self.technique.validate(&run.layers)?;
        let forecast = self.technique.forecast(run, &self.storage)?;
        Ok(Preview::new(self.technique.name(), self.settings(), forecast, run, share))
    }
}

impl CacheConfig {
    /// [`CacheConfig::preview`] with what `calibration` says of such a run: seconds, and the PSNR
    /// that is expected. Errors: [`Error::InvalidArgument`] also for a calibration of another
    /// model, another number of steps, or of runs with guidance for one without.
    pub fn estimate(&self, run: &RunInfo, calibration: &Calibration) -> Result<Preview> {
        calibration.check(run.timesteps.len(), run.layers.len(), run.batch.guided)?;
        let share = calibration.attention_share;
        let share = Some(AttentionShare { share, source: ShareSource::Measured });
        let mut preview = self.preview(run, share)?;
        let order = self.technique.prediction_order();
        preview.estimate = Some(calibration.estimate(&preview, order));
        Ok(preview)
    }
}

const MAX_CACHE_BYTES: &str = "max_cache_bytes";
const CACHE_DTYPE: &str = "cache_dtype";

fn find(technique: &str) -> Result<&'static Registered> {
    TECHNIQUES.iter().find(|registered| registered.id == technique).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "cache technique: expected one of {:?}, found {technique:?}",
            CacheConfig::techniques()
        ))
    })
}
