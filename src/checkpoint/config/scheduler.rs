//! `scheduler/scheduler_config.json`.

use crate::checkpoint::fields::Fields;
use crate::Result;
use std::path::Path;

/// Which of the two schedulers steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerClass {
    Ddim,
    Dpm,
}

impl SchedulerClass {
    /// The class name in diffusers.
    pub fn name(self) -> &'static str {
        match self {
            SchedulerClass::Ddim => "CogVideoXDDIMScheduler",
            SchedulerClass::Dpm => "CogVideoXDPMScheduler",
        }
    }

    pub(crate) const ALL: [SchedulerClass; 2] = [SchedulerClass::Ddim, SchedulerClass::Dpm];
}

named! {
    /// How the betas grow over the training timesteps.
    BetaSchedule {
        ScaledLinear = "scaled_linear",
        Linear = "linear",
        SquaredcosCapV2 = "squaredcos_cap_v2",
    }
}

named! {
    /// What the model's output stands for.
    PredictionType {
        /// The noise ε.
        Epsilon = "epsilon",
        /// The clean sample x₀.
        Sample = "sample",
        /// v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans & Ho, arXiv 2202.00512).
        VPrediction = "v_prediction",
    }
}

named! {
    /// Which of the training timesteps a run visits (Lin et al., arXiv 2305.08891, table 2).
    TimestepSpacing {
        Leading = "leading",
        Linspace = "linspace",
        Trailing = "trailing",
    }
}

/// What is changed of a folder's scheduler, as
/// `CogVideoXDPMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")` does
/// (diffusers 0.42.1 configuration_utils.py:198). `None` keeps what was there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SchedulerOverrides {
    pub class: Option<SchedulerClass>,
    pub timestep_spacing: Option<TimestepSpacing>,
    /// In [1e-6, 1e6].
    pub snr_shift_scale: Option<f64>,
    pub rescale_betas_zero_snr: Option<bool>,
}

/// `scheduler/scheduler_config.json` of class CogVideoXDDIMScheduler or CogVideoXDPMScheduler
/// (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:192 and
/// schedulers/scheduling_dpm_cogvideox.py:191: the same fields and defaults).
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    pub class: SchedulerClass,
    /// Default 1000.
    pub num_train_timesteps: i64,
    /// Default 0.00085.
    pub beta_start: f64,
    /// Default 0.012.
    pub beta_end: f64,
    /// Default "scaled_linear".
    pub beta_schedule: BetaSchedule,
    /// One β per training timestep instead of a schedule; default none.
    pub trained_betas: Option<Vec<f64>>,
    /// Read by neither class; default true.
    pub clip_sample: bool,
    /// Read by neither class; default 1.
    pub clip_sample_range: f64,
    /// Whether α before the last step is 1 rather than that of timestep 0; default true.
    pub set_alpha_to_one: bool,
    /// Added to "leading" timesteps; default 0.
    pub steps_offset: i64,
    /// Default "epsilon".
    pub prediction_type: PredictionType,
    /// Default "leading".
    pub timestep_spacing: TimestepSpacing,
    /// Rescales to a signal-to-noise ratio of zero at the last timestep; default false.
    pub rescale_betas_zero_snr: bool,
    /// Divides the signal-to-noise ratio; default 3.
    pub snr_shift_scale: f64,
}

impl SchedulerConfig {
    /// `class` is the one that `model_index.json` names: it wins over the file's own, as in
    /// diffusers. What is passed over goes into `warnings`.
    pub fn read(
        file: &Path,
        class: SchedulerClass,
        warnings: &mut Vec<String>,
    ) -> Result<SchedulerConfig> {
        SchedulerConfig::from_fields(Fields::read(file)?, class, warnings)
    }

    /// Parses the text of a config; `file` is what messages call it.
    pub fn parse(
        file: &Path,
        json: &str,
        class: SchedulerClass,
        warnings: &mut Vec<String>,
    ) -> Result<SchedulerConfig> {
        SchedulerConfig::from_fields(Fields::parse(file, json)?, class, warnings)
    }

    /// The config with `overrides` in place of its own values.
    pub fn with(&self, overrides: &SchedulerOverrides) -> SchedulerConfig {
        let mut config = self.clone();
        config.class = overrides.class.unwrap_or(config.class);
        config.timestep_spacing = overrides.timestep_spacing.unwrap_or(config.timestep_spacing);
        config.snr_shift_scale = overrides.snr_shift_scale.unwrap_or(config.snr_shift_scale);
        config.rescale_betas_zero_snr =
            overrides.rescale_betas_zero_snr.unwrap_or(config.rescale_betas_zero_snr);
        config
    }

    fn from_fields(
        mut fields: Fields,
        class: SchedulerClass,
        warnings: &mut Vec<String>,
    ) -> Result<SchedulerConfig> {
        // As many timesteps as anybody trains with, and then some: the tables have this length.
        const MAX_TIMESTEPS: i64 = 100_000;
        let beta = 0.0..=1.0;
        let f = &mut fields;
        f.class_is_overruled(class.name(), warnings)?;
        let config = SchedulerConfig {
            class,
            num_train_timesteps: f.integer("num_train_timesteps", 1000, 1..=MAX_TIMESTEPS)?,
            beta_start: f.float("beta_start", 0.00085, beta.clone())?,
            beta_end: f.float("beta_end", 0.012, beta.clone())?,
            beta_schedule: f.one_of(
                "beta_schedule",
                BetaSchedule::ScaledLinear,
                BetaSchedule::ALL,
            )?,
            trained_betas: f.floats("trained_betas", MAX_TIMESTEPS as usize, beta)?,
            clip_sample: f.boolean("clip_sample", true)?,
            clip_sample_range: f.float("clip_sample_range", 1.0, 0.0..=1e6)?,
            set_alpha_to_one: f.boolean("set_alpha_to_one", true)?,
            steps_offset: f.integer("steps_offset", 0, 0..=MAX_TIMESTEPS)?,
            prediction_type: f.one_of(
                "prediction_type",
                PredictionType::Epsilon,
                PredictionType::ALL,
            )?,
            timestep_spacing: f.one_of(
                "timestep_spacing",
                TimestepSpacing::Leading,
                TimestepSpacing::ALL,
            )?,
            rescale_betas_zero_snr: f.boolean("rescale_betas_zero_snr", false)?,
            snr_shift_scale: f.float("snr_shift_scale", 3.0, 1e-6..=1e6)?,
        };
        // Read by neither class. Dynamic thresholding is a field of the schedulers these two
        // were derived from, and may be left in a converted folder.
        f.ignore(&["sample_max_value", "dynamic_thresholding_ratio"]);
        if f.boolean("thresholding", false)? {
            return Err(f.unsupported("thresholding", "false", "true"));
        }
        let betas = config.trained_betas.as_ref().map(|betas| betas.len() as i64);
        if let Some(found) = betas.filter(|&length| length != config.num_train_timesteps) {
            return Err(f.invalid(
                "trained_betas",
                format!("num_train_timesteps {} values", config.num_train_timesteps),
                &found.to_string(),
            ));
        }
        fields.ignore_rest(warnings);
        Ok(config)
    }
}
