//! What this build of the library can do, by names that hosts ask for: a host that may meet an older
//! library, or one that was built otherwise, asks instead of comparing releases.

use crate::backend::quantized::Quantization;
use crate::cache::CacheConfig;
use crate::runtime::shim;
use std::sync::OnceLock;

/// What there is no table of. A name that is here once stays, with its meaning.
const FIXED: &[&str] = &[
    "device.cpu",
    "device.cuda",
    "dlpack",
    "dtype.bf16",
    "dtype.f16",
    "dtype.f32",
    "jobs",
    "load.gguf",
    "load.safetensors",
    "lora",
    "offload.model",
    "parallel.devices",
    "parallel.processes",
    "picture.jpeg",
    "picture.png",
    "preview_decoder",
    "resume",
    "save.gif",
    "save.mp4",
    "save.png",
    "scheduler.ddim",
    "scheduler.dpm",
    "streaming.file",
    "streaming.host",
    "task.control",
    "task.image_to_video",
    "task.inpainting",
    "task.text_to_video",
    "task.video_to_video",
];

/// Every name, sorted.
pub fn all() -> &'static [String] {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut names: Vec<String> = FIXED.iter().map(|name| name.to_string()).collect();
        names.extend(CacheConfig::techniques().iter().map(|id| format!("cache.{id}")));
        let kinds = Quantization::ALL.iter().map(|kind| kind.name());
        names.extend(kinds.map(|name| format!("quantization.{name}")));
        // "DEFAULT" is the oldest set of this architecture.
        let kernels = shim::cpu_capability().unwrap_or_default().to_lowercase();
        if !kernels.is_empty() {
            names.push(format!("cpu.{kernels}"));
        }
        names.sort();
        names
    })
}

/// Whether the library can do what `name` says; `false` for a name that it does not know.
pub fn has(name: &str) -> bool {
    all().binary_search_by(|known| known.as_str().cmp(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_sorted_and_others_are_not() {
        assert!(all().windows(2).all(|pair| pair[0] < pair[1]), "{:?}", all());
        assert!(all().iter().all(|name| has(name)));
        assert!(has("cache.pab") && has("quantization.int8") && has("save.mp4"));
        assert!(all().iter().any(|name| name.starts_with("cpu.")));
        for other in ["", "save", "save.", "save.webm", "SAVE.MP4", "save.mp4 "] {
            assert!(!has(other), "{other}");
        }
    }
}
