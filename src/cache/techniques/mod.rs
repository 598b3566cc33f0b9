//! Every technique there is, and configs made from the list.

mod cfg_cache;
#[cfg(test)]
mod every_third_block;
mod explicit_schedule;
mod faster_cache;
mod first_block_cache;
mod mag_cache;
mod pyramid_attention_broadcast;
mod taylor_seer;
mod tea_cache;

use super::config::CacheConfig;
use super::fields::{Value, Written};
use super::storage_options::StorageOptions;
use super::technique::Registered;
use crate::{Error, Result};
use cfg_cache::CfgCache;
use explicit_schedule::ExplicitSchedule;
use faster_cache::FasterCache;
use first_block_cache::FirstBlockCache;
use mag_cache::MagCache;
use pyramid_attention_broadcast::PyramidAttentionBroadcast;
use serde_json::{Map, Value as Json};
use taylor_seer::TaylorSeer;
use tea_cache::TeaCache;

/// The list that configs are made from. An entry is all that the rest of the library needs.
const TECHNIQUES: &[Registered] = &[
    Registered {
        id: "pab",
        preset: |name| Some(Box::new(PyramidAttentionBroadcast::preset(name)?)),
        presets: PyramidAttentionBroadcast::PRESETS,
    },
    Registered {
        id: "faster_cache",
        preset: |name| Some(Box::new(FasterCache::preset(name)?)),
        presets: FasterCache::PRESETS,
    },
    Registered {
        id: "taylor_seer",
        preset: |name| Some(Box::new(TaylorSeer::preset(name)?)),
        presets: TaylorSeer::PRESETS,
    },
    Registered {
        id: "mag_cache",
        preset: |name| Some(Box::new(MagCache::preset(name)?)),
        presets: MagCache::PRESETS,
    },
    Registered {
        id: "tea_cache",
        preset: |name| Some(Box::new(TeaCache::preset(name)?)),
        presets: TeaCache::PRESETS,
    },
    Registered {
        id: "first_block_cache",
        preset: |name| Some(Box::new(FirstBlockCache::preset(name)?)),
        presets: FirstBlockCache::PRESETS,
    },
    Registered {
        id: "cfg_cache",
        preset: |name| Some(Box::new(CfgCache::preset(name)?)),
        presets: CfgCache::PRESETS,
    },
    Registered {
        id: "schedule",
        preset: |name| Some(Box::new(ExplicitSchedule::preset(name)?)),
        presets: ExplicitSchedule::PRESETS,
    },
    #[cfg(test)]
    Registered {
        id: "every_third_block",
        preset: |name| Some(Box::new(every_third_block::EveryThirdBlock::preset(name)?)),
        presets: every_third_block::EveryThirdBlock::PRESETS,
    },
];

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

    /// The techniques there are.
    pub fn techniques() -> Vec<&'static str> {
        TECHNIQUES.iter().map(|registered| registered.id).collect()
    }

    /// The presets of a technique, the default first.
    pub fn presets(technique: &str) -> Result<&'static [&'static str]> {
        Ok(find(technique)?.presets)
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
    fn from_object(object: &Map<String, Json>) -> Result<CacheConfig> {
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
        for (key, value) in object {
            match key.as_str() {
                "technique" | "preset" => {}
                field => config.set(field, Value::Json(value.clone()))?,
            }
        }
        Ok(config)
    }
}

fn find(technique: &str) -> Result<&'static Registered> {
    TECHNIQUES.iter().find(|registered| registered.id == technique).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "cache technique: expected one of {:?}, found {technique:?}",
            CacheConfig::techniques()
        ))
    })
}

/// A config within a config, or none.
impl Written for Option<CacheConfig> {
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = match json {
            Json::Null => None,
            Json::Object(object) => Some(CacheConfig::from_object(object)?),
            other => {
                return Err(Error::InvalidArgument(format!(
                    "expected a cache config as a JSON object, or null, found {other}"
                )))
            }
        };
        Ok(())
    }

    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, CacheConfig::described)
    }
}
