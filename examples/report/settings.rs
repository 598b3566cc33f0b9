//! The cache settings that are compared.

use crate::handles::CacheConfig;
use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Technique {
    Pab,
    FasterCache,
}

impl Technique {
    pub const ALL: [Technique; 2] = [Technique::Pab, Technique::FasterCache];

    /// What the library calls it.
    pub fn id(self) -> &'static str {
        match self {
            Technique::Pab => "pab",
            Technique::FasterCache => "faster_cache",
        }
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Technique::Pab => "PAB",
            Technique::FasterCache => "FasterCache",
        }
    }

    pub fn presets(self) -> &'static [&'static str] {
        match self {
            Technique::Pab => &["diffusers", "diffusers-docs", "videosys"],
            Technique::FasterCache => &["diffusers", "diffusers-docs", "official", "aggressive"],
        }
    }

    /// From narrow to wide.
    pub fn windows(self) -> [Window; 3] {
        let window = |name, attention, unconditional| Window { name, attention, unconditional };
        match self {
            Technique::Pab => [
                window("narrow", (100, 600), None),
                window("default", (100, 800), None),
                window("every step", (-1, 1000), None),
            ],
            Technique::FasterCache => [
                window("narrow", (-1, 481), Some((-1, 441))),
                window("default", (-1, 681), Some((-1, 641))),
                window("every step", (-1, 1000), Some((-1, 1000))),
            ],
        }
    }
}

/// Timesteps strictly between two numbers, in which a technique works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub name: &'static str,
    /// In which attention is reused.
    pub attention: (i32, i32),
    /// FasterCache: in which the unconditional half is skipped.
    pub unconditional: Option<(i32, i32)>,
}

pub const SKIP_RANGES: std::ops::RangeInclusive<i32> = 2..=6;

/// One setting; what it does not say is the technique's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// What the others are compared with.
    Uncached,
    /// The same once more: how far measured times stray, and that nothing else does.
    Again,
    /// A cache whose skip ranges are 1: everything is computed, and kept for nothing.
    ComputesAll(Technique),
    Preset(Technique, &'static str),
    /// Attention is computed on every n-th step of a window.
    SkipRange(Technique, i32, Window),
    /// FasterCache's unconditional half is computed on every n-th step of its default window.
    UnconditionalSkipRange(i32),
}

impl Setting {
    /// All that are compared, the uncached run first.
    pub fn all() -> Vec<Setting> {
        let mut all = vec![Setting::Uncached, Setting::Again];
        all.extend(Technique::ALL.map(Setting::ComputesAll));
        for technique in Technique::ALL {
            all.extend(technique.presets().iter().map(|name| Setting::Preset(technique, name)));
        }
        for technique in Technique::ALL {
            for window in technique.windows() {
                all.extend(SKIP_RANGES.map(|n| Setting::SkipRange(technique, n, window)));
            }
        }
        all.extend(SKIP_RANGES.map(Setting::UnconditionalSkipRange));
        all
    }

    pub fn technique(&self) -> Option<Technique> {
        match self {
            Setting::Uncached | Setting::Again => None,
            Setting::ComputesAll(technique)
            | Setting::Preset(technique, _)
            | Setting::SkipRange(technique, ..) => Some(*technique),
            Setting::UnconditionalSkipRange(_) => Some(Technique::FasterCache),
        }
    }

    /// A name for programs.
    pub fn id(&self) -> String {
        let technique = self.technique().map_or("uncached", Technique::id);
        match self {
            Setting::Uncached => technique.to_string(),
            Setting::Again => format!("{technique}/again"),
            Setting::ComputesAll(_) => format!("{technique}/computes-all"),
            Setting::Preset(_, name) => format!("{technique}/preset/{name}"),
            Setting::SkipRange(_, n, window) => {
                format!("{technique}/skip-range/{n}/{}", window.name.replace(' ', "-"))
            }
            Setting::UnconditionalSkipRange(n) => format!("{technique}/unconditional/{n}"),
        }
    }

    /// A name for people, without the technique's.
    pub fn label(&self) -> String {
        match self {
            Setting::Uncached => "uncached".to_string(),
            Setting::Again => "uncached, once more".to_string(),
            Setting::ComputesAll(_) => "skip ranges 1".to_string(),
            Setting::Preset(_, name) => name.to_string(),
            Setting::SkipRange(_, n, window) => format!("{n}, {}", window.name),
            Setting::UnconditionalSkipRange(n) => n.to_string(),
        }
    }

    /// `None` for no cache.
    pub fn config(&self) -> Result<Option<CacheConfig>> {
        let Some(technique) = self.technique() else {
            return Ok(None);
        };
        let preset = match self {
            Setting::Preset(_, name) => name,
            _ => "diffusers",
        };
        let mut config = CacheConfig::new(technique.id(), preset)?;
        match *self {
            Setting::ComputesAll(technique) => {
                config.set_attention_skip_range(1)?;
                if technique == Technique::FasterCache {
                    config.set_unconditional_skip_range(1)?;
                }
            }
            Setting::SkipRange(_, n, window) => {
                config.set_attention_skip_range(n)?;
                config.set_attention_window(window.attention)?;
                if let Some(unconditional) = window.unconditional {
                    config.set_unconditional_window(unconditional)?;
                }
            }
            Setting::UnconditionalSkipRange(n) => config.set_unconditional_skip_range(n)?,
            _ => {}
        }
        Ok(Some(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_preset_is_compared() {
        let known = cogvideox::cache::CacheConfig::techniques();
        assert_eq!(Technique::ALL.map(Technique::id).to_vec(), known);
        for technique in Technique::ALL {
            let presets = cogvideox::cache::CacheConfig::presets(technique.id()).unwrap();
            assert_eq!(technique.presets(), presets);
        }
    }

    #[test]
    fn settings_have_names_of_their_own_and_make_configs() {
        let all = Setting::all();
        let ids: HashSet<String> = all.iter().map(Setting::id).collect();
        assert_eq!(ids.len(), all.len());
        for setting in all {
            assert_eq!(setting.config().unwrap().is_some(), setting.technique().is_some());
        }
    }
}
