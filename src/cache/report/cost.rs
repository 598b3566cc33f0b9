//! How much faster a schedule is, told from counts.
//!
//! Time is split in two: the attention modules with their projections, and everything else.
//! `share` is attention's part of a step in which everything is computed. A schedule that
//! computes `a` of the attention units and `r` of the rest then takes
//! `share * a + (1 - share) * r` of the uncached time. On CogVideoX-5b (49 frames, 480×720,
//! A100) share is 0.74, and this predicts the measured times within 0.5 %.

use crate::cache::run_info::Sizes;
use serde::Serialize;

/// Computed units of a schedule. A unit is one half of the guidance batch in one step; for
/// attention, averaged over the layers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Units {
    pub attention: f64,
    /// Everything that is not attention: embeddings, feed-forward, modulation.
    pub rest: f64,
    /// What is computed without a cache.
    pub total: f64,
}

impl Units {
    /// Uncached time over cached time; 1 where there is nothing to compute.
    pub fn speed_up(&self, share: f64) -> f64 {
        let cost = share * self.attention + (1.0 - share) * self.rest;
        if cost > 0.0 {
            self.total / cost
        } else {
            1.0
        }
    }
}

/// Attention's part of a full step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AttentionShare {
    /// Between 0 and 1.
    pub share: f64,
    pub source: ShareSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareSource {
    /// Timed in full steps of this run.
    Measured,
    /// Counted in multiplications.
    Estimated,
}

impl AttentionShare {
    /// The estimate for tensors of these sizes.
    pub fn estimate_of(sizes: &Sizes) -> Option<AttentionShare> {
        Some(AttentionShare::estimate(sizes.tokens, sizes.hidden_size))
    }

    /// By counting multiplications per token of a layer: 4 projections of `width²` and two
    /// products with every other token, against a feed-forward network of `8 width²`.
    pub fn estimate(tokens: i64, width: i64) -> AttentionShare {
        let (tokens, width) = (tokens.max(1) as f64, width.max(1) as f64);
        let attention = 4.0 * width + 2.0 * tokens;
        let share = attention / (attention + 8.0 * width);
        AttentionShare { share, source: ShareSource::Estimated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_predicts_what_was_measured_on_cogvideox_5b() {
        let dense = 245.9;
        let seconds = |attention: f64, rest: f64| {
            dense / Units { attention, rest, total: 100.0 }.speed_up(0.74)
        };
        assert!((seconds(61.0, 74.0) / 159.0 - 1.0).abs() < 0.005, "FasterCache, 159.0 s");
        assert!((seconds(66.0, 100.0) / 184.0 - 1.0).abs() < 0.005, "PAB, 184.0 s");
    }

    #[test]
    fn the_estimate_grows_with_the_number_of_tokens() {
        let share = AttentionShare::estimate(17_776, 3_072).share;
        assert!((share - 0.66).abs() < 0.01, "{share}");
        assert!(AttentionShare::estimate(994, 512).share < share);
    }
}
