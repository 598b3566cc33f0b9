//! How many ranks the halves of the guidance are shared among, and how many the sequence.

use crate::{Error, Result};

/// What a host asks for; `None` leaves the choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Degrees {
    /// 1: each rank computes both halves; 2: one each.
    pub guidance: Option<usize>,
    /// How many ranks have a part of the tokens each.
    pub sequence: Option<usize>,
}

/// How the ranks of a run are laid out. The first `sequence` ranks have the conditional half, or both;
/// with a guidance degree of 2 the next as many have the unconditional one. Ranks beyond those only
/// keep up with the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub guidance: usize,
    pub sequence: usize,
}

/// What a run is, as far as the layout depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Two halves go through the model.
    pub guided: bool,
    /// Some steps run the conditional half alone: with the halves on ranks of their own, half of
    /// the ranks would wait then.
    pub halves_apart: bool,
}

impl Layout {
    pub const ALONE: Layout = Layout { guidance: 1, sequence: 1 };

    /// How many ranks have work.
    pub fn ranks(self) -> usize {
        self.guidance * self.sequence
    }
}

impl Degrees {
    /// Whether `ranks` ranks can share a model with `heads` attention heads like that.
    ///
    /// Errors: [`Error::InvalidArgument`], which names the degrees that the model allows.
    pub fn check(self, ranks: usize, heads: i64) -> Result<()> {
        let fits = |layout: &Layout| {
            self.guidance.is_none_or(|guidance| guidance == layout.guidance)
                && self.sequence.is_none_or(|sequence| sequence == layout.sequence)
        };
        if possible(ranks, heads).iter().any(fits) {
            return Ok(());
        }
        let asked = |degree: Option<usize>| degree.map_or("any".into(), |d| d.to_string());
        let layouts: Vec<String> = possible(ranks, heads)
            .iter()
            .map(|Layout { guidance, sequence }| format!("{guidance} × {sequence}"))
            .collect();
        let sequence: Vec<String> = (1..=heads)
            .filter(|degree| heads % degree == 0)
            .map(|degree| degree.to_string())
            .collect();
        Err(Error::InvalidArgument(format!(
            "parallel degrees: expected guidance × sequence to be the {ranks} devices or processes, \
             guidance 1 or 2, and sequence a divisor of the model's {heads} attention heads ({}); \
             found {} × {}; {}",
            sequence.join(", "),
            asked(self.guidance),
            asked(self.sequence),
            match layouts.as_slice() {
                [] => format!("nothing fits {ranks}"),
                some => format!("{ranks} can be {}", some.join(" or ")),
            }
        )))
    }

    /// The layout of a run on `ranks` ranks, which [`Degrees::check`] has nothing against.
    ///
    /// Left to choose, the halves go to ranks of their own, which costs one exchange a step where
    /// sharing the sequence costs two a layer; but not where some steps run only one half.
    pub fn layout(self, ranks: usize, heads: i64, run: Shape) -> Layout {
        let mut fitting: Vec<Layout> = possible(ranks, heads)
            .into_iter()
            .filter(|layout| run.guided || layout.guidance == 1)
            .filter(|layout| self.guidance.is_none_or(|g| g == layout.guidance))
            .filter(|layout| self.sequence.is_none_or(|s| s == layout.sequence))
            .collect();
        let preferred = if run.halves_apart { 1 } else { 2 };
        fitting.sort_by_key(|layout| layout.guidance.abs_diff(preferred));
        // A run without guidance has no second half for the ranks that were meant for it.
        let most = self.sequence.unwrap_or(ranks).min(ranks);
        let without = || {
            let sequence = (1..=most).rev().find(|&degree| divides(degree, heads)).unwrap_or(1);
            Layout { guidance: 1, sequence }
        };
        fitting.first().copied().unwrap_or_else(without)
    }
}

fn divides(degree: usize, heads: i64) -> bool {
    i64::try_from(degree).is_ok_and(|degree| degree > 0 && heads % degree == 0)
}

/// The layouts that give all of `ranks` ranks something to do.
fn possible(ranks: usize, heads: i64) -> Vec<Layout> {
    [1, 2]
        .into_iter()
        .filter(|guidance| ranks.is_multiple_of(*guidance))
        .map(|guidance| Layout { guidance, sequence: ranks / guidance })
        .filter(|layout| divides(layout.sequence, heads))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDED: Shape = Shape { guided: true, halves_apart: false };

    fn layout(degrees: Degrees, ranks: usize, heads: i64, run: Shape) -> (usize, usize) {
        let Layout { guidance, sequence } = degrees.layout(ranks, heads, run);
        (guidance, sequence)
    }

    #[test]
    fn halves_go_apart_unless_one_would_wait_and_heads_divide() {
        let any = Degrees::default();
        assert_eq!(layout(any, 2, 30, GUIDED), (2, 1));
        assert_eq!(layout(any, 4, 48, GUIDED), (2, 2));
        assert_eq!(layout(any, 3, 30, GUIDED), (1, 3));
        let apart = Shape { halves_apart: true, ..GUIDED };
        assert_eq!(layout(any, 2, 30, apart), (1, 2));
        // 30 heads are not shared among 4.
        assert_eq!(layout(any, 4, 30, apart), (2, 2));
        let unguided = Shape { guided: false, ..GUIDED };
        assert_eq!(layout(any, 2, 30, unguided), (1, 2));
        assert_eq!(layout(any, 4, 30, unguided), (1, 3));
        let both = Degrees { guidance: Some(2), sequence: Some(2) };
        assert_eq!(layout(both, 4, 48, GUIDED), (2, 2));
        assert_eq!(layout(both, 4, 48, unguided), (1, 2));
    }

    #[test]
    fn an_error_names_the_degrees_that_the_model_allows() {
        let error =
            |degrees: Degrees, ranks| degrees.check(ranks, 30).expect_err("refused").to_string();
        let message = error(Degrees { guidance: Some(1), sequence: Some(4) }, 4);
        for part in ["(1, 2, 3, 5, 6, 10, 15, 30)", "found 1 × 4", "4 can be 2 × 2"] {
            assert!(message.contains(part), "{message}");
        }
        let message = error(Degrees::default(), 7);
        assert!(message.contains("found any × any; nothing fits 7"), "{message}");
        assert!(Degrees::default().check(4, 30).is_ok());
        assert!(Degrees { guidance: Some(2), sequence: None }.check(3, 30).is_err());
    }
}
