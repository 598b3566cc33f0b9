//! Every technique there is.

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

use super::technique::Registered;
use cfg_cache::CfgCache;
use explicit_schedule::ExplicitSchedule;
use faster_cache::FasterCache;
use first_block_cache::FirstBlockCache;
use mag_cache::MagCache;
use pyramid_attention_broadcast::PyramidAttentionBroadcast;
use taylor_seer::TaylorSeer;
use tea_cache::TeaCache;

/// The list that configs are made from. An entry is all that the rest of the library needs.
pub(super) const TECHNIQUES: &[Registered] = &[
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
