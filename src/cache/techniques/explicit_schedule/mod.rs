//! A schedule that is told step by step and block by block: what a tuner writes, a host ships
//! beside its model, or a person draws.
//!
//! Predicted outputs lie on the polynomial of degree `order` through the last outputs that were
//! computed. With guidance, the conditional half and the difference between the halves are
//! predicted apart, each from the steps that computed it: so a step can run the conditional half
//! alone and have the other by the difference, which changes slowly (FasterCache's observation,
//! arXiv 2410.19355 section 3.3).

mod action;
mod run;

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::RunCache;
use crate::cache::report::{Forecast, Foresight, LayerState, StepTrace, Unconditional};
use crate::cache::run_info::RunInfo;
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::bytes_of;
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::Branches;
use crate::{Error, Result};
use action::{Action, Block};
use run::{Kept, ScheduledRun};

/// Polynomials of a higher degree only make rounding louder.
const MOST_ORDER: u32 = 4;

/// The settings.
#[derive(Debug, Clone)]
pub(super) struct ExplicitSchedule {
    /// One entry a step: "compute", "conditional", "predict", or a sign for each block as in
    /// statistics.
    steps: Vec<String>,
    /// The degree of the polynomial that predicts.
    order: u32,
    /// The peak signal-to-noise ratio, in decibels, against the uncached video that whoever made
    /// the schedule expects; 0: not known. Told, not used.
    expected_psnr: f64,
}

impl ExplicitSchedule {
    pub const PRESETS: &'static [&'static str] = &["empty"];

    /// `empty`: no steps yet, and order 1. `steps` must be set.
    pub fn preset(name: &str) -> Option<Self> {
        (name == "empty").then(|| ExplicitSchedule {
            steps: Vec::new(),
            order: 1,
            expected_psnr: 0.0,
        })
    }

    fn actions(&self) -> Result<Vec<Action>> {
        self.steps
            .iter()
            .enumerate()
            .map(|(step, text)| {
                Action::parse(text)
                    .map_err(|problem| Error::InvalidArgument(format!("steps[{step}]: {problem}")))
            })
            .collect()
    }

    /// The actions of a run, and what is kept for them. Errors: [`Error::InvalidArgument`] for a
    /// run of another number of steps, and for a half to be left out of a run that has one only.
    fn plan(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Plan> {
        let mut actions = self.actions()?;
        if actions.len() != run.timesteps.len() {
            return Err(Error::InvalidArgument(format!(
                "steps: expected one for each of the run's {} steps, found {}",
                run.timesteps.len(),
                actions.len()
            )));
        }
        if let (false, Some(step)) =
            (run.batch.guided, actions.iter().position(|a| *a == Action::Conditional))
        {
            return Err(Error::InvalidArgument(format!(
                "steps[{step}]: expected no \"conditional\" step in a run without guidance"
            )));
        }
        let mut kept = Kept::new(&actions, run.layers.len(), self.order as usize);
        let mut plan = Plan { bytes: None, over_budget: Vec::new(), actions: Vec::new(), kept };
        if let Some(sizes) = &run.sizes {
            let rows = run.token_rows(Branches::All);
            let store = storage.store(run);
            let tokens = bytes_of(&[rows, sizes.tokens, sizes.hidden_size], store)?;
            let output = bytes_of(
                &[&[run.batch.videos], sizes.output.get(1..).unwrap_or(&[])].concat(),
                store,
            )?;
            let bytes = plan.kept.bytes(&actions, tokens, output, run.batch.guided);
            plan.bytes = Some(bytes);
            if bytes > storage.budget() {
                actions = vec![Action::Compute; actions.len()];
                kept = Kept::new(&actions, run.layers.len(), self.order as usize);
                plan.kept = kept;
                plan.bytes = Some(0);
                plan.over_budget = (0..run.layers.len()).collect();
            }
        }
        plan.actions = actions;
        Ok(plan)
    }
}

struct Plan {
    actions: Vec<Action>,
    kept: Kept,
    bytes: Option<u64>,
    over_budget: Vec<usize>,
}

fn check(steps: &[String]) -> std::result::Result<(), String> {
    for (step, text) in steps.iter().enumerate() {
        Action::parse(text).map_err(|problem| format!("entry {step}: {problem}"))?;
    }
    Ok(())
}

impl Technique for ExplicitSchedule {
    fn name(&self) -> &'static str {
        "Schedule"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field { name: "steps", slot: Slot::Strings(&mut self.steps, check) },
            Field { name: "order", slot: Slot::Count(&mut self.order, 0, MOST_ORDER) },
            Field {
                name: "expected_psnr",
                slot: Slot::Number(&mut self.expected_psnr, 0.0, 1000.0),
            },
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        let actions = self.actions()?;
        match actions.first() {
            None => {
                return Err(Error::InvalidArgument(
                    "steps: expected an entry for each step, found none".into(),
                ))
            }
            Some(first) if !first.computes_all() => {
                return Err(Error::InvalidArgument(format!(
                    "steps[0]: expected \"compute\", since nothing was computed before it, found \
                     {:?}",
                    self.steps.first().map_or("", String::as_str)
                )))
            }
            Some(_) => {}
        }
        for (step, action) in actions.iter().enumerate() {
            if let Action::Blocks(blocks) = action {
                if blocks.len() != layers.len() {
                    return Err(Error::InvalidArgument(format!(
                        "steps[{step}]: expected a sign for each of the {} blocks, found {}",
                        layers.len(),
                        blocks.len()
                    )));
                }
            }
        }
        if actions.iter().all(Action::computes_all) {
            return Err(Error::InvalidArgument(
                "steps: expected a step that saves something, found none: the schedule would do \
                 nothing"
                    .into(),
            ));
        }
        Ok(())
    }

    fn prediction_order(&self) -> usize {
        self.order as usize
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let plan = self.plan(run, storage)?;
        let guided = run.batch.guided;
        let steps = run.timesteps.iter().zip(&plan.actions).map(|(&timestep, action)| {
            let state = |block| match action {
                Action::Predict => LayerState::Predicted,
                action => action.block(block).state(),
            };
            StepTrace {
                timestep,
                unconditional: match action {
                    Action::Predict => Unconditional::predicted(guided),
                    Action::Conditional => Unconditional::of(guided, Branches::ConditionalOnly),
                    _ => Unconditional::of(guided, Branches::All),
                },
                layers: (0..run.layers.len()).map(|block| Some(state(block))).collect(),
            }
        });
        Ok(Forecast {
            foresight: Foresight::Exact,
            steps: steps.collect(),
            bytes: plan.bytes,
            over_budget: plan.over_budget,
        })
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let plan = self.plan(context.run, &context.storage)?;
        Ok(Box::new(ScheduledRun::new(plan.actions, plan.kept, context)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::config::CacheConfig;
    use crate::cache::fields::Value;
    use serde_json::json;

    fn config(steps: &[&str]) -> Result<CacheConfig> {
        let mut config = CacheConfig::new("schedule", None)?;
        config.set("steps", Value::Json(json!(steps)))?;
        Ok(config)
    }

    fn refused(steps: &[&str]) -> String {
        let run = RunInfo::of_published_models(3, steps.len(), true);
        let result = config(steps).and_then(|config| config.preview(&run, None));
        result.expect_err("refused").to_string()
    }

    #[test]
    fn what_a_schedule_says_is_what_its_preview_shows() -> Result<()> {
        let config = config(&["compute", "conditional", "predict", "#=-", "compute"])?;
        let run = RunInfo::of_published_models(3, 5, true);
        let preview = config.preview(&run, None)?;
        let rows: Vec<String> = preview
            .trace
            .steps
            .iter()
            .map(|step| step.layers.iter().flatten().map(|state| state.symbol()).collect())
            .collect();
        assert_eq!(rows, ["###", "###", "^^^", "#=-", "###"]);
        let halves: String =
            preview.trace.steps.iter().map(|step| step.unconditional.symbol()).collect();
        assert_eq!(halves, "#~^##");
        assert_eq!(preview.foresight, Foresight::Exact);
        // Of 10 units: 2 + 1 + 0 + 2 · 1/3 + 2 of attention, 2 + 1 + 0 + 2 · 2/3 + 2 of the rest.
        assert!((preview.units.attention - (5.0 + 2.0 / 3.0)).abs() < 1e-12);
        assert!((preview.units.rest - (5.0 + 4.0 / 3.0)).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn schedules_that_make_no_sense_are_named() {
        assert!(refused(&[]).contains("found none"));
        assert!(refused(&["predict", "compute"]).contains("steps[0]"));
        assert!(refused(&["compute", "compute"]).contains("do nothing"));
        assert!(refused(&["compute", "#-"]).contains("each of the 3 blocks, found 2"));
        assert!(refused(&["compute", "rest"]).contains("\"rest\""));
        let unguided = RunInfo::of_published_models(3, 2, false);
        let message = config(&["compute", "conditional"])
            .and_then(|config| config.preview(&unguided, None))
            .expect_err("no half to leave out")
            .to_string();
        assert!(message.contains("without guidance"), "{message}");
        let other = RunInfo::of_published_models(3, 9, true);
        let message = config(&["compute", "predict"])
            .and_then(|config| config.preview(&other, None))
            .expect_err("another number of steps")
            .to_string();
        assert!(message.contains("9 steps, found 2"), "{message}");
    }
}
