//! What a schedule of attention reuse says of one step.

use crate::guidance::Branches;

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache) struct StepPlan {
    pub branches: Branches,
    /// For each group of attention modules: its layers take kept output.
    pub reuse: Vec<bool>,
}
