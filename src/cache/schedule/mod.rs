//! What can be told ahead, as data, from host numbers alone: reuse of attention outputs, and whole
//! steps that skip their blocks.
//!
//! A technique says in one pure function what a step does ([`AttentionSchedule::plan`], or a list of
//! steps, [`WholeSteps`]). Called for all steps ahead it is a preview; called step by step it is the run. Both go through the
//! same code, so a preview can't differ from its run, and nothing here reads a tensor, so no
//! device is waited for.

mod attention;
mod lifetimes;
mod selection;
mod step_plan;
mod whole_steps;
mod window;

pub(super) use attention::{AttentionPlan, AttentionSchedule};
pub(super) use lifetimes::{last_reads, HistoryRule, ReadableSteps, Reads, Remembered};
pub(super) use selection::{check_identifiers, select, AttentionGroup};
pub(super) use step_plan::StepPlan;
pub(super) use whole_steps::WholeSteps;
pub(super) use window::Window;
