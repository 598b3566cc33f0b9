//! When something is allowed to happen.

use crate::cache::run_info::Step;
use serde_json::{json, Value as Json};

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Window {
    /// While `low < timestep < high`, both strict as in diffusers.
    Timesteps { low: i64, high: i64 },
    /// From the `from`th to the `to`th of every `of` steps, counted from 1 and both included:
    /// how schedules that count steps are carried over to other numbers of steps.
    Steps { from: u32, to: u32, of: u32 },
}

impl Window {
    pub fn contains(self, step: &Step) -> bool {
        match self {
            Window::Timesteps { low, high } => {
                (low as f64) < step.timestep && step.timestep < high as f64
            }
            Window::Steps { from, to, of } => {
                let count = (step.index as u128 + 1) * u128::from(of);
                let total = step.total as u128;
                count >= u128::from(from) * total && count <= u128::from(to) * total
            }
        }
    }

    /// `[low, high]`, or "steps 18 to 40 of 50".
    pub fn to_json(self) -> Json {
        match self {
            Window::Timesteps { low, high } => json!([low, high]),
            Window::Steps { from, to, of } => json!(format!("steps {from} to {to} of {of}")),
        }
    }

    /// What [`Window::to_json`] writes.
    pub fn from_json(json: &Json) -> Option<Window> {
        if let Some(words) = json.as_str() {
            let words: Vec<&str> = words.split(' ').collect();
            let ["steps", from, "to", to, "of", of] = words[..] else { return None };
            let (from, to, of) = (from.parse().ok()?, to.parse().ok()?, of.parse().ok()?);
            return (of > 0).then_some(Window::Steps { from, to, of });
        }
        let [low, high] = json.as_array()?.as_slice() else { return None };
        Some(Window::Timesteps { low: low.as_i64()?, high: high.as_i64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guidance::Branches;

    fn step(index: usize, total: usize, timestep: f64) -> Step {
        Step { index, total, timestep, branches: Branches::All }
    }

    #[test]
    fn step_windows_scale_with_the_number_of_steps() {
        let window = Window::Steps { from: 18, to: 40, of: 50 };
        let inside = |total: usize| {
            (0..total)
                .filter(|&index| window.contains(&step(index, total, 0.0)))
                .collect::<Vec<_>>()
        };
        assert_eq!(inside(50), (17..40).collect::<Vec<_>>());
        assert_eq!(inside(25), (8..20).collect::<Vec<_>>());
        assert_eq!(inside(1), Vec::<usize>::new());
    }

    #[test]
    fn timestep_windows_are_strict_on_both_sides() {
        let window = Window::Timesteps { low: 100, high: 800 };
        let inside = |timestep: f64| window.contains(&step(0, 1, timestep));
        assert!(!inside(100.0) && inside(101.0) && inside(799.0) && !inside(800.0));
    }
}
