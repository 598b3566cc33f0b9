//! The cache settings that are compared.

use crate::handles::CacheConfig;
use crate::written::{Written, WRITTEN};
use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Technique {
    Pab,
    FasterCache,
    TaylorSeer,
    MagCache,
    TeaCache,
    FirstBlockCache,
    CfgCache,
    /// Explicit schedules that the tuner made.
    Tuned,
}

impl Technique {
    /// In the library's order.
    pub const ALL: [Technique; 8] = [
        Technique::Pab,
        Technique::FasterCache,
        Technique::TaylorSeer,
        Technique::MagCache,
        Technique::TeaCache,
        Technique::FirstBlockCache,
        Technique::CfgCache,
        Technique::Tuned,
    ];

    /// Those that reuse attention in windows.
    pub const OF_ATTENTION: [Technique; 2] = [Technique::Pab, Technique::FasterCache];

    /// What the library calls it.
    pub fn id(self) -> &'static str {
        match self {
            Technique::Pab => "pab",
            Technique::FasterCache => "faster_cache",
            Technique::TaylorSeer => "taylor_seer",
            Technique::MagCache => "mag_cache",
            Technique::TeaCache => "tea_cache",
            Technique::FirstBlockCache => "first_block_cache",
            Technique::CfgCache => "cfg_cache",
            Technique::Tuned => "schedule",
        }
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Technique::Pab => "PAB",
            Technique::FasterCache => "FasterCache",
            Technique::TaylorSeer => "TaylorSeer",
            Technique::MagCache => "MagCache",
            Technique::TeaCache => "TeaCache",
            Technique::FirstBlockCache => "FirstBlockCache",
            Technique::CfgCache => "CFG-Cache",
            Technique::Tuned => "Tuned",
        }
    }

    /// Those of [`Technique::OF_ATTENTION`].
    pub fn presets(self) -> &'static [&'static str] {
        match self {
            Technique::Pab => &["diffusers", "diffusers-docs", "videosys"],
            Technique::FasterCache => &["diffusers", "diffusers-docs", "official", "aggressive"],
            _ => &[],
        }
    }

    /// From narrow to wide; none for techniques that do not reuse attention in windows.
    pub fn windows(self) -> Vec<Window> {
        let window = |name, attention, unconditional| Window { name, attention, unconditional };
        match self {
            Technique::Pab => vec![
                window("narrow", (100, 600), None),
                window("default", (100, 800), None),
                window("every step", (-1, 1000), None),
            ],
            Technique::FasterCache => vec![
                window("narrow", (-1, 481), Some((-1, 441))),
                window("default", (-1, 681), Some((-1, 641))),
                window("every step", (-1, 1000), Some((-1, 1000))),
            ],
            _ => Vec::new(),
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

pub const SKIP_RANGES: [i32; 3] = [2, 3, 5];

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
    Written(&'static Written),
}

impl Setting {
    /// All that are compared in runs of this many steps, the uncached run first.
    pub fn all(steps: i32) -> Vec<Setting> {
        let mut all = vec![Setting::Uncached, Setting::Again];
        all.extend(Technique::OF_ATTENTION.map(Setting::ComputesAll));
        for technique in Technique::OF_ATTENTION {
            all.extend(technique.presets().iter().map(|name| Setting::Preset(technique, name)));
        }
        for technique in Technique::OF_ATTENTION {
            for window in technique.windows() {
                all.extend(SKIP_RANGES.map(|n| Setting::SkipRange(technique, n, window)));
            }
        }
        all.extend(SKIP_RANGES.map(Setting::UnconditionalSkipRange));
        let fits = |written: &&Written| written.steps.is_none_or(|only| only == steps);
        all.extend(WRITTEN.iter().filter(fits).map(Setting::Written));
        all
    }

    pub fn technique(&self) -> Option<Technique> {
        match self {
            Setting::Uncached | Setting::Again => None,
            Setting::ComputesAll(technique)
            | Setting::Preset(technique, _)
            | Setting::SkipRange(technique, ..) => Some(*technique),
            Setting::UnconditionalSkipRange(_) => Some(Technique::FasterCache),
            Setting::Written(written) => Some(written.technique),
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
            Setting::Written(written) => {
                format!("{technique}/{}", written.name.replace(", ", "/").replace(' ', "-"))
            }
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
            Setting::Written(written) => written.name.to_string(),
        }
    }

    /// `None` for no cache.
    pub fn config(&self) -> Result<Option<CacheConfig>> {
        let Some(technique) = self.technique() else {
            return Ok(None);
        };
        if let Setting::Written(written) = self {
            let mut config = CacheConfig::from_json(written.config)?;
            let (field, value) = written.changed;
            if !field.is_empty() {
                config.set_field(field, value)?;
            }
            return Ok(Some(config));
        }
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
        for technique in Technique::OF_ATTENTION {
            let presets = cogvideox::cache::CacheConfig::presets(technique.id()).unwrap();
            assert_eq!(technique.presets(), presets);
        }
        for technique in &Technique::ALL[2..] {
            assert!(WRITTEN.iter().any(|one| one.technique == *technique), "{technique:?}");
        }
    }

    #[test]
    fn settings_have_names_of_their_own_and_make_configs() {
        let all = Setting::all(50);
        let ids: HashSet<String> = all.iter().map(Setting::id).collect();
        assert_eq!(ids.len(), all.len());
        for setting in all {
            assert_eq!(setting.config().unwrap().is_some(), setting.technique().is_some());
        }
    }
}
