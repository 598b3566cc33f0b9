//! `scheduler/scheduler_config.json`.

use crate::checkpoint::fields::Fields;
use crate::Result;
use std::path::Path;

/// Which of the two schedulers a folder names.
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
    /// "scaled_linear" (default), "linear" or "squaredcos_cap_v2".
    pub beta_schedule: String,
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
    /// "epsilon" (default), "sample" or "v_prediction".
    pub prediction_type: String,
    /// "leading" (default), "linspace" or "trailing".
    pub timestep_spacing: String,
    /// Rescales to a signal-to-noise ratio of zero at the last timestep; default false.
    pub rescale_betas_zero_snr: bool,
    /// Divides the signal-to-noise ratio; default 3.
    pub snr_shift_scale: f64,
}

impl SchedulerConfig {
    /// `class` is the one that `model_index.json` names.
    pub fn read(file: &Path, class: SchedulerClass) -> Result<SchedulerConfig> {
        SchedulerConfig::from_fields(Fields::read(file)?, class)
    }

    /// Parses the text of a config; `file` is what errors call it.
    pub fn parse(file: &Path, json: &str, class: SchedulerClass) -> Result<SchedulerConfig> {
        SchedulerConfig::from_fields(Fields::parse(file, json)?, class)
    }

    fn from_fields(mut fields: Fields, class: SchedulerClass) -> Result<SchedulerConfig> {
        // As many timesteps as anybody trains with, and then some: the tables have this length.
        const MAX_TIMESTEPS: i64 = 100_000;
        let beta = 0.0..=1.0;
        let f = &mut fields;
        f.class(class.name())?;
        let config = SchedulerConfig {
            class,
            num_train_timesteps: f.integer("num_train_timesteps", 1000, 1..=MAX_TIMESTEPS)?,
            beta_start: f.float("beta_start", 0.00085, beta.clone())?,
            beta_end: f.float("beta_end", 0.012, beta.clone())?,
            beta_schedule: f.choice(
                "beta_schedule",
                "scaled_linear",
                &["scaled_linear", "linear", "squaredcos_cap_v2"],
            )?,
            trained_betas: f.floats("trained_betas", MAX_TIMESTEPS as usize, beta)?,
            clip_sample: f.boolean("clip_sample", true)?,
            clip_sample_range: f.float("clip_sample_range", 1.0, 0.0..=1e6)?,
            set_alpha_to_one: f.boolean("set_alpha_to_one", true)?,
            steps_offset: f.integer("steps_offset", 0, 0..=MAX_TIMESTEPS)?,
            prediction_type: f.choice(
                "prediction_type",
                "epsilon",
                &["epsilon", "sample", "v_prediction"],
            )?,
            timestep_spacing: f.choice(
                "timestep_spacing",
                "leading",
                &["leading", "linspace", "trailing"],
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
        fields.reject_rest()?;
        Ok(config)
    }
}
