//! Which timesteps a run visits, and where each step leads.

use super::Steps;
use crate::checkpoint::config::{SchedulerConfig, TimestepSpacing};
use crate::{Error, Result};

/// The steps of a run.
pub(super) struct Timesteps {
    /// Strictly descending, in `[0, num_train_timesteps)`; never empty.
    pub timesteps: Vec<i64>,
    /// Where each step leads; `None` is the clean sample.
    pub previous: Vec<Option<i64>>,
}

impl Timesteps {
    /// `skipped` of the first steps are left out: a run that starts from a video that was made noisy
    /// (`get_timesteps`, diffusers 0.42.1 pipelines/cogvideo/pipeline_cogvideox_video2video.py:419).
    pub fn new(config: &SchedulerConfig, steps: &Steps, skipped: usize) -> Result<Timesteps> {
        let Timesteps { mut timesteps, mut previous } = match steps {
            Steps::Count(count) => spaced(config, *count)?,
            Steps::Custom(list) => custom(list, config.num_train_timesteps)?,
        };
        if skipped >= timesteps.len() {
            return Err(Error::Internal(format!("{skipped} of {} steps skipped", timesteps.len())));
        }
        timesteps.drain(..skipped);
        previous.drain(..skipped);
        Ok(Timesteps { timesteps, previous })
    }
}

/// Ports `set_timesteps` (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:270) and the
/// choice of `prev_timestep` in `step` (scheduling_ddim_cogvideox.py:385). The spacings are
/// those of table 2 of Lin et al., arXiv 2305.08891.
fn spaced(config: &SchedulerConfig, count: usize) -> Result<Timesteps> {
    let train = config.num_train_timesteps;
    let n = match i64::try_from(count) {
        Ok(n) if (1..=train).contains(&n) => n,
        _ => {
            return Err(Error::InvalidArgument(format!(
                "num_inference_steps must be in [1, {train}] (the scheduler's \
                 num_train_timesteps), found {count}"
            )))
        }
    };
    let stride = train / n;
    let timesteps: Vec<i64> = match config.timestep_spacing {
        TimestepSpacing::Linspace => linspace(train, n),
        TimestepSpacing::Leading => {
            let leading = |i: i64| (i * stride).checked_add(config.steps_offset);
            let steps: Option<Vec<i64>> = (0..n).rev().map(leading).collect();
            steps.filter(|s| in_range(s, train)).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "num_inference_steps {count}: with the scheduler config's steps_offset \
                     {} the timesteps leave [0, {train})",
                    config.steps_offset
                ))
            })?
        }
        TimestepSpacing::Trailing => trailing(train, n),
    };
    let previous = timesteps.iter().map(|t| Some(t - stride).filter(|&p| p >= 0)).collect();
    Ok(Timesteps { timesteps, previous })
}

/// `np.linspace(0, train - 1, n).round()`, descending.
fn linspace(train: i64, n: i64) -> Vec<i64> {
    let last = (train - 1) as f64;
    let step = last / (n - 1).max(1) as f64;
    let value = |i| if i > 0 && i == n - 1 { last } else { i as f64 * step };
    (0..n).rev().map(|i| value(i).round_ties_even() as i64).collect()
}

/// `np.round(np.arange(train, 0, -train / n)) - 1`, with numpy's own arithmetic: it spaces by
/// the difference of the first two values.
///
/// Rounding gives `np.arange` one value too many for some counts (61 of 1000, for one), and
/// diffusers then ends its run with timestep −1, where the model was never trained and ᾱ is
/// that of the noisiest timestep. That step is left out here.
fn trailing(train: i64, n: i64) -> Vec<i64> {
    let start = train as f64;
    let second = start - start / n as f64;
    let delta = second - start;
    let value = |i: i64| if i == 1 { second } else { start + i as f64 * delta };
    (0..n).map(|i| value(i).round_ties_even() as i64 - 1).collect()
}

fn in_range(timesteps: &[i64], train: i64) -> bool {
    timesteps.iter().all(|t| (0..train).contains(t))
}

fn custom(list: &[i64], train: i64) -> Result<Timesteps> {
    let invalid = |message: String| Err(Error::InvalidArgument(format!("timesteps: {message}")));
    if list.is_empty() {
        return invalid("the list is empty, expected at least one timestep".into());
    }
    if let Some((i, t)) = list.iter().enumerate().find(|(_, t)| !(0..train).contains(*t)) {
        return invalid(format!("entry {i} must be in [0, {train}), found {t}"));
    }
    for (i, (a, b)) in list.iter().zip(list.iter().skip(1)).enumerate() {
        if b >= a {
            return invalid(format!(
                "entries must descend strictly, found {a} then {b} at entry {}",
                i + 1
            ));
        }
    }
    let previous = list.iter().skip(1).copied().map(Some).chain([None]).collect();
    Ok(Timesteps { timesteps: list.to_vec(), previous })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedulers::goldens;

    fn config(spacing: &str) -> SchedulerConfig {
        let mut config = goldens::config("ddim-published-2b");
        let named = |(_, name): &&(TimestepSpacing, &str)| *name == spacing;
        config.timestep_spacing = TimestepSpacing::ALL.iter().find(named).unwrap().0;
        config
    }

    fn count(config: &SchedulerConfig, count: usize) -> Result<Vec<i64>> {
        Timesteps::new(config, &Steps::Count(count), 0).map(|t| t.timesteps)
    }

    #[test]
    fn every_count_gives_a_descending_run_of_that_many() {
        for spacing in ["linspace", "leading", "trailing"] {
            let config = config(spacing);
            for n in 1..=1000 {
                let steps = count(&config, n).unwrap();
                assert_eq!(steps.len(), n, "{spacing}");
                assert!(in_range(&steps, 1000), "{spacing} {n}: {steps:?}");
                assert!(steps.windows(2).all(|w| w[0] > w[1]), "{spacing} {n}: {steps:?}");
            }
        }
    }

    /// A fingerprint of all 1000 counts, computed in Python from diffusers' timesteps: for each
    /// count and position, `h = (h * 31 + timestep) mod 2^64`, without the surplus −1.
    #[test]
    fn every_count_is_diffusers() {
        for (spacing, expected) in FINGERPRINTS {
            let config = config(spacing);
            let mut hash = 0u64;
            for n in 1..=1000 {
                for t in count(&config, n).unwrap() {
                    hash = hash.wrapping_mul(31).wrapping_add(t as u64);
                }
            }
            assert_eq!(hash, *expected, "{spacing}");
        }
    }

    const FINGERPRINTS: &[(&str, u64)] = &[
        ("linspace", 18335598951220682165),
        ("leading", 18060538170449083261),
        ("trailing", 15666598794695653972),
    ];

    #[test]
    fn counts_outside_the_training_range_are_named() {
        for n in [0, 1001, usize::MAX] {
            let Err(Error::InvalidArgument(message)) = count(&config("trailing"), n) else {
                panic!("{n} accepted")
            };
            assert!(message.contains("num_inference_steps"), "{message}");
            assert!(message.contains("[1, 1000]") && message.contains(&n.to_string()), "{message}");
        }
    }

    #[test]
    fn an_offset_may_not_leave_the_training_range() {
        let mut config = config("leading");
        config.steps_offset = 1;
        assert_eq!(count(&config, 2).unwrap(), [501, 1]);
        let Err(Error::InvalidArgument(message)) = count(&config, 1000) else { panic!() };
        assert!(message.contains("steps_offset 1"), "{message}");
        config.steps_offset = i64::MAX;
        assert!(matches!(count(&config, 3), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn custom_timesteps_lead_to_the_next_and_then_to_the_clean_sample() {
        let list = Steps::Custom(vec![999, 700, 20]);
        let steps = Timesteps::new(&config("trailing"), &list, 0).unwrap();
        assert_eq!(steps.timesteps, [999, 700, 20]);
        assert_eq!(steps.previous, [Some(700), Some(20), None]);
    }

    #[test]
    fn skipped_steps_are_the_first_and_the_others_lead_where_they_did() {
        let config = config("trailing");
        for steps in [Steps::Count(20), Steps::Custom(vec![999, 700, 20])] {
            let all = Timesteps::new(&config, &steps, 0).unwrap();
            for skipped in 0..all.timesteps.len() {
                let left = Timesteps::new(&config, &steps, skipped).unwrap();
                assert_eq!(left.timesteps, all.timesteps[skipped..]);
                assert_eq!(left.previous, all.previous[skipped..]);
            }
            let none = Timesteps::new(&config, &steps, all.timesteps.len());
            assert!(matches!(none, Err(Error::Internal(_))));
        }
    }

    #[test]
    fn bad_custom_timesteps_are_named() {
        for (list, expected) in [
            (vec![], "empty"),
            (vec![1000, 5], "entry 0 must be in [0, 1000), found 1000"),
            (vec![10, -1], "entry 1 must be in [0, 1000), found -1"),
            (vec![10, 10], "found 10 then 10 at entry 1"),
            (vec![10, 5, 7], "found 5 then 7 at entry 2"),
        ] {
            let found = Timesteps::new(&config("trailing"), &Steps::Custom(list.clone()), 0);
            let Err(Error::InvalidArgument(message)) = found else { panic!("{list:?}") };
            assert!(message.contains(expected), "{message}");
        }
    }
}
