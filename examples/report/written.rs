//! Settings of techniques that are told by one number, and schedules that were tuned: each a config
//! written as JSON.

use crate::settings::Technique;

/// A config, and what is changed in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub technique: Technique,
    /// What the setting is called, unlike the others of the technique.
    pub name: &'static str,
    /// One JSON object.
    pub config: &'static str,
    /// A field, and its value as JSON; "" for none.
    pub changed: (&'static str, &'static str),
    /// The only number of steps that it is for.
    pub steps: Option<i32>,
}

const fn one(
    technique: Technique,
    name: &'static str,
    config: &'static str,
    changed: (&'static str, &'static str),
) -> Written {
    Written { technique, name, config, changed, steps: None }
}

/// The same for a technique that has nothing to skip in much shorter runs, which it refuses.
const fn at_50(
    technique: Technique,
    name: &'static str,
    config: &'static str,
    changed: (&'static str, &'static str),
) -> Written {
    Written { technique, name, config, changed, steps: Some(50) }
}

/// The ratios of the embedded model: means over the prompts that `examples/c/tune.c` tunes with, by
/// the preset "calibrate".
const MAG_CACHE: &str = include_str!("../demo-model/schedules/mag_cache.json");
const FIRST_BLOCK: &str = r#"{"technique": "first_block_cache"}"#;
/// Derivatives in float32: in the default of 16 bits their rounding is all that is seen.
const TAYLOR: &str = r#"{"technique": "taylor_seer", "taylor_factors_dtype": "f32"}"#;
const TAYLOR_MODULES: &str = r#"{"technique": "taylor_seer", "taylor_factors_dtype": "f32",
    "preset": "attention-and-feed-forward"}"#;
const TEA_CACHE: &str = r#"{"technique": "tea_cache"}"#;
const CFG_CACHE: &str = r#"{"technique": "cfg_cache", "preset": "diffusers-docs"}"#;
const WITH_PAB: &str = r#"{"technique": "pab"}"#;
const WITH_BLOCKS: &str = r#"{"technique": "first_block_cache", "threshold": 0.1}"#;
const WITH_STEPS: &str = r#"{"technique": "taylor_seer", "cache_interval": 3,
    "taylor_factors_dtype": "f32"}"#;

/// What `make tune` writes.
const fn tuned(name: &'static str, config: &'static str) -> Written {
    Written { technique: Technique::Tuned, name, config, changed: ("", ""), steps: Some(50) }
}

/// All of them, the milder before the stronger.
pub static WRITTEN: [Written; 32] = [
    one(Technique::TaylorSeer, "lite, interval 2", TAYLOR, ("cache_interval", "2")),
    one(Technique::TaylorSeer, "lite, interval 3", TAYLOR, ("cache_interval", "3")),
    one(Technique::TaylorSeer, "lite, interval 4", TAYLOR, ("cache_interval", "4")),
    one(Technique::TaylorSeer, "lite, interval 5", TAYLOR, ("cache_interval", "5")),
    one(Technique::TaylorSeer, "modules, interval 2", TAYLOR_MODULES, ("cache_interval", "2")),
    one(Technique::TaylorSeer, "modules, interval 3", TAYLOR_MODULES, ("cache_interval", "3")),
    one(Technique::TaylorSeer, "modules, interval 5", TAYLOR_MODULES, ("cache_interval", "5")),
    at_50(Technique::MagCache, "threshold 0.06", MAG_CACHE, ("threshold", "0.06")),
    at_50(Technique::MagCache, "threshold 0.16", MAG_CACHE, ("threshold", "0.16")),
    at_50(Technique::MagCache, "threshold 0.3", MAG_CACHE, ("threshold", "0.3")),
    at_50(Technique::MagCache, "threshold 0.5", MAG_CACHE, ("threshold", "0.5")),
    at_50(Technique::MagCache, "threshold 0.8", MAG_CACHE, ("threshold", "0.8")),
    at_50(Technique::TeaCache, "threshold 0.1", TEA_CACHE, ("rel_l1_thresh", "0.1")),
    at_50(Technique::TeaCache, "threshold 0.2", TEA_CACHE, ("rel_l1_thresh", "0.2")),
    at_50(Technique::TeaCache, "threshold 0.3", TEA_CACHE, ("rel_l1_thresh", "0.3")),
    at_50(Technique::TeaCache, "threshold 0.5", TEA_CACHE, ("rel_l1_thresh", "0.5")),
    one(Technique::FirstBlockCache, "threshold 0.05", FIRST_BLOCK, ("threshold", "0.05")),
    one(Technique::FirstBlockCache, "threshold 0.1", FIRST_BLOCK, ("threshold", "0.1")),
    one(Technique::FirstBlockCache, "threshold 0.15", FIRST_BLOCK, ("threshold", "0.15")),
    one(Technique::FirstBlockCache, "threshold 0.2", FIRST_BLOCK, ("threshold", "0.2")),
    one(Technique::FirstBlockCache, "threshold 0.3", FIRST_BLOCK, ("threshold", "0.3")),
    one(Technique::CfgCache, "alone", CFG_CACHE, ("", "")),
    one(Technique::CfgCache, "with PAB", CFG_CACHE, ("with", WITH_PAB)),
    one(Technique::CfgCache, "with FirstBlockCache 0.1", CFG_CACHE, ("with", WITH_BLOCKS)),
    one(Technique::CfgCache, "with TaylorSeer lite 3", CFG_CACHE, ("with", WITH_STEPS)),
    tuned("60 dB", include_str!("../demo-model/schedules/psnr-60.json")),
    tuned("54 dB", include_str!("../demo-model/schedules/psnr-54.json")),
    tuned("46 dB", include_str!("../demo-model/schedules/psnr-46.json")),
    tuned("41 dB", include_str!("../demo-model/schedules/psnr-41.json")),
    tuned("38 dB", include_str!("../demo-model/schedules/psnr-38.json")),
    tuned("36 dB", include_str!("../demo-model/schedules/psnr-36.json")),
    tuned("32 dB", include_str!("../demo-model/schedules/psnr-32.json")),
];
