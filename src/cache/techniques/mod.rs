//! Every technique there is.

mod faster_cache;
mod pyramid_attention_broadcast;

use super::technique::Registered;
use faster_cache::FasterCache;
use pyramid_attention_broadcast::PyramidAttentionBroadcast;

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
];
