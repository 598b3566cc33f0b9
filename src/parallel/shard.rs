//! A rank's part of the tokens of a run.

use super::team::{Half, Team};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Which text and video tokens a rank has, of those that ranks share; and what it asks the others
/// around attention and at the end of a call of the model.
///
/// Every rank has some of the text and some of the video: their numbers differ by at most one.
pub struct Shard {
    team: Arc<Team>,
    text: Vec<Range<i64>>,
    video: Vec<Range<i64>>,
}

/// `count` things in `parts` parts that differ by at most one; the larger ones first.
fn split(count: i64, parts: usize) -> Vec<Range<i64>> {
    let parts = parts as i64;
    let start = |part: i64| count / parts * part + (count % parts).min(part);
    (0..parts).map(|part| start(part)..start(part + 1)).collect()
}

fn length(range: &Range<i64>) -> i64 {
    range.end - range.start
}

impl Shard {
    /// Of `text` and `video` tokens. `None` for a rank alone, which has them all.
    ///
    /// Errors: [`Error::InvalidArgument`] for fewer video tokens than ranks to share them.
    pub fn new(team: &Arc<Team>, text: i64, video: i64) -> Result<Option<Shard>> {
        if team.is_alone() {
            return Ok(None);
        }
        let ranks = team.layout().sequence;
        if video < ranks as i64 {
            return Err(Error::InvalidArgument(format!(
                "parallel degrees: expected at most as many devices for the sequence as it has \
                 video tokens, {video}, found {ranks}"
            )));
        }
        let (text, video) = (split(text, ranks), split(video, ranks));
        Ok(Some(Shard { team: Arc::clone(team), text, video }))
    }

    /// The text and the video tokens of the largest shard: what budgets are made for, the same on
    /// all ranks.
    pub fn largest(ranks: usize, text: i64, video: i64) -> [i64; 2] {
        let ranks = ranks as i64;
        [text, video].map(|count| (count + ranks - 1) / ranks)
    }

    /// This rank's part of `text` tokens, if `ranks` share them.
    pub fn own_text(team: &Team, text: i64) -> i64 {
        let parts = split(text, team.layout().sequence);
        parts.get(team.sequence_rank()).map_or(0, length)
    }

    fn own(&self, of: &[Range<i64>]) -> Range<i64> {
        of.get(self.team.sequence_rank()).cloned().unwrap_or(0..0)
    }

    pub fn text(&self) -> Range<i64> {
        self.own(&self.text)
    }

    pub fn video(&self) -> Range<i64> {
        self.own(&self.video)
    }

    /// Text and video tokens of each rank that shares the sequence.
    fn tokens(&self) -> Vec<i64> {
        self.text
            .iter()
            .zip(&self.video)
            .map(|(text, video)| length(text) + length(video))
            .collect()
    }

    /// Queries, keys and values of this rank's tokens, each `(batch, heads, own tokens, head_dim)`,
    /// to those of all tokens for this rank's heads, `(3, batch, heads / ranks, all tokens,
    /// head_dim)`. Tokens come in the order of the ranks.
    pub fn to_heads(&self, parts: [&Tensor; 3]) -> Result<Tensor> {
        let ranks = self.team.layout().sequence;
        let [query, ..] = parts;
        let (batch, heads, _, head_dim) = query.size4()?;
        let some = heads / ranks as i64;
        if some * ranks as i64 != heads {
            return Err(Error::Internal(format!("{heads} heads for {ranks} ranks")));
        }
        if ranks == 1 {
            return Ok(Tensor::f_stack(&parts, 0)?);
        }
        let send = (0..ranks as i64)
            .map(|to| {
                let of = |part: &Tensor| part.f_narrow(1, to * some, some);
                let [query, key, value] = parts;
                Ok(Tensor::f_stack(&[of(query)?, of(key)?, of(value)?], 0)?)
            })
            .collect::<Result<_>>()?;
        let shapes: Vec<_> =
            self.tokens().iter().map(|&tokens| vec![3, batch, some, tokens, head_dim]).collect();
        let received = self.team.all_to_all(&self.team.sequence_group(), send, &shapes)?;
        Ok(Tensor::f_cat(&received, 3)?)
    }

    /// Attended values of all tokens for this rank's heads, `(batch, all tokens, heads / ranks ×
    /// head_dim)`, to those of this rank's tokens for all heads, `(batch, own tokens, heads ×
    /// head_dim)`.
    pub fn to_tokens(&self, attended: Tensor) -> Result<Tensor> {
        if self.team.layout().sequence == 1 {
            return Ok(attended);
        }
        let (batch, _, width) = attended.size3()?;
        let mut start = 0;
        let mut send = Vec::new();
        for tokens in self.tokens() {
            send.push(attended.f_narrow(1, start, tokens)?.f_contiguous()?);
            start += tokens;
        }
        let own = length(&self.text()) + length(&self.video());
        let shapes: Vec<_> = send.iter().map(|_| vec![batch, own, width]).collect();
        let received = self.team.all_to_all(&self.team.sequence_group(), send, &shapes)?;
        Ok(Tensor::f_cat(&received, 2)?)
    }

    /// What all ranks made of their video tokens, put together: `(rows that run, all video tokens,
    /// features)`, the unconditional half first. `own` is this rank's `(rows, own video tokens,
    /// features)`, or nothing if it does not run; `rows` are those of each rank, and `options` their
    /// dtype and device.
    pub fn gather(
        &self,
        own: Option<Tensor>,
        [rows, features]: [i64; 2],
        options: (Kind, Device),
    ) -> Result<Tensor> {
        let (layout, running) = (self.team.layout(), self.team.running());
        let own = match own {
            Some(own) => own.f_contiguous()?,
            None => Tensor::f_empty([0, 0, features], options)?,
        };
        let all = 0..self.team.size();
        let shape = |rank: usize| match (running.contains(&rank), rank % layout.sequence) {
            (true, of) => {
                let video = self.video.get(of).map_or(0, length);
                vec![rows, video, features]
            }
            (false, _) => vec![0, 0, features],
        };
        let shapes: Vec<_> = all.clone().map(shape).collect();
        let gathered = self.team.all_gather(&all, own, &shapes)?;
        let of_half = |first: usize| -> Result<Tensor> {
            let parts: Vec<_> = gathered.iter().skip(first).take(layout.sequence).collect();
            Ok(Tensor::f_cat(&parts, 1)?)
        };
        if running.len() == layout.sequence {
            return of_half(0);
        }
        // The conditional half is that of the first ranks.
        Ok(Tensor::f_cat(&[of_half(layout.sequence)?, of_half(0)?], 0)?)
    }

    /// Of which half this rank has tokens.
    pub fn half(&self) -> Half {
        self.team.half()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_by_one_and_are_all() {
        for (count, parts) in [(226, 4), (17550, 4), (3, 4), (7, 3), (5, 1)] {
            let all = split(count, parts);
            assert_eq!(all.len(), parts);
            assert_eq!(all.iter().map(length).sum::<i64>(), count);
            assert!(all.windows(2).all(|w| w[0].end == w[1].start));
            let (most, least) = (all.iter().map(length).max(), all.iter().map(length).min());
            assert!(most.unwrap() - least.unwrap() <= 1);
            assert_eq!(most, Some(Shard::largest(parts, count, 0)[0]));
        }
    }
}
