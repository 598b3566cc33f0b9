//! What sharing a run costs and saves, by arithmetic: bytes and messages, which are exact, and
//! multiplications.

use super::degrees::Layout;
use super::team::Traffic;

/// A run as far as its cost depends on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    pub layers: u64,
    pub heads: u64,
    pub head_dim: u64,
    /// Values of a patch of the output.
    pub features: u64,
    pub text_tokens: u64,
    pub video_tokens: u64,
    /// Sequences that go through the model in a step: 2 a video with guidance.
    pub rows: u64,
    /// Bytes of a value.
    pub element: u64,
}

/// What connects the ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Of each rank, to all others together.
    pub bytes_per_second: f64,
    pub seconds_per_message: f64,
}

impl Work {
    /// CogVideoX-5b at its own size: 49 frames of 720 × 480, guided, in bfloat16.
    pub const COGVIDEOX_5B: Work = Work {
        layers: 42,
        heads: 48,
        head_dim: 64,
        features: 64,
        text_tokens: 226,
        video_tokens: 17550,
        rows: 2,
        element: 2,
    };

    fn width(&self) -> u64 {
        self.heads * self.head_dim
    }

    fn tokens(&self) -> u64 {
        self.text_tokens + self.video_tokens
    }

    /// What ranks of `layout` send for one attention that is computed, all together: queries, keys
    /// and values go to heads, what is attended comes back.
    pub fn attention(&self, layout: Layout) -> Traffic {
        let (guidance, ranks) = (layout.guidance as u64, layout.sequence as u64);
        let all = 4 * self.rows * self.tokens() * self.width() * self.element;
        Traffic { bytes: all / ranks * (ranks - 1), messages: 2 * guidance * ranks * (ranks - 1) }
    }

    /// What they send for the output of one step.
    pub fn output(&self, layout: Layout) -> Traffic {
        let others = layout.ranks() as u64 - 1;
        let all = self.rows * self.video_tokens * self.features * self.element;
        Traffic { bytes: all * others, messages: layout.ranks() as u64 * others }
    }

    /// What they send in a step that computes `computed` of its layers' attentions.
    pub fn step(&self, layout: Layout, computed: u64) -> Traffic {
        let (attention, output) = (self.attention(layout), self.output(layout));
        Traffic {
            bytes: computed * attention.bytes + output.bytes,
            messages: computed * attention.messages + output.messages,
        }
    }

    /// Multiplications and additions of a step that computes `computed` of its layers' attentions, on
    /// all ranks together.
    pub fn operations(&self, computed: u64) -> f64 {
        let (tokens, width) = (self.tokens() as f64, self.width() as f64);
        let feed_forward = 16.0 * tokens * width * width;
        let attention = 8.0 * tokens * width * width + 4.0 * tokens * tokens * width;
        let (layers, computed) = (self.layers as f64, computed as f64);
        self.rows as f64 * (layers * feed_forward + computed * attention)
    }

    /// The seconds of such a step on devices that do so many operations a second, if nothing of what
    /// is sent is hidden behind what is computed.
    pub fn seconds(&self, layout: Layout, computed: u64, per_second: f64, link: Link) -> f64 {
        let ranks = layout.ranks() as f64;
        let sent = self.step(layout, computed);
        self.operations(computed) / (ranks * per_second)
            + sent.bytes as f64 / ranks / link.bytes_per_second
            + sent.messages as f64 / ranks * link.seconds_per_message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The links of docs/scaling.md.
    const LINKS: [(&str, Link); 3] = [
        ("NVLink, 300 GB/s", Link { bytes_per_second: 300e9, seconds_per_message: 5e-6 }),
        ("PCIe 4, 25 GB/s", Link { bytes_per_second: 25e9, seconds_per_message: 1e-5 }),
        ("100 Gbit/s, 12 GB/s", Link { bytes_per_second: 12e9, seconds_per_message: 3e-5 }),
    ];

    /// The document's table is what this file says: half of an A100's peak in bfloat16.
    #[test]
    fn the_table_of_the_document_is_this_arithmetic() {
        let work = Work::COGVIDEOX_5B;
        let mut rows = Vec::new();
        for (name, link) in LINKS {
            for (row, (guidance, sequence)) in
                [(2, 1), (1, 2), (2, 2), (1, 4), (2, 4), (1, 8)].into_iter().enumerate()
            {
                let layout = Layout { guidance, sequence };
                let speed_up = |computed| {
                    work.seconds(Layout::ALONE, computed, 156e12, link)
                        / work.seconds(layout, computed, 156e12, link)
                };
                let sent = work.step(layout, work.layers);
                let amount = match sent.bytes {
                    small if small < 1_000_000_000 => format!("{:.1} MB", small as f64 / 1e6),
                    large => format!("{:.2} GB", large as f64 / 1e9),
                };
                let name = if row == 0 { format!("{name} ") } else { String::new() };
                rows.push(format!(
                    "| {name}| {} | {guidance} × {sequence} | {amount}, {} | {:.2} | {:.2} |",
                    layout.ranks(),
                    sent.messages,
                    speed_up(work.layers),
                    speed_up(work.layers / 2),
                ));
            }
        }
        let document = include_str!("../../docs/scaling.md");
        for row in &rows {
            assert!(document.contains(row), "not in docs/scaling.md: {row}");
        }
        let said = format!("{:.0} tera-operations a step", work.operations(work.layers) / 1e12);
        assert!(document.contains(&said), "not in docs/scaling.md: {said}");
    }

    /// Rank by rank and part by part, as `Shard` and `Team` cut and send them, also where tokens do
    /// not divide.
    #[test]
    fn the_formulas_are_what_ranks_send_one_by_one() {
        for (text_tokens, video_tokens) in [(226, 17550), (7, 13), (3, 4)] {
            let work = Work { text_tokens, video_tokens, ..Work::COGVIDEOX_5B };
            for (guidance, sequence) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 4)] {
                let layout = Layout { guidance, sequence };
                let rows = work.rows / guidance as u64;
                // The first ones have one more, where they do not divide.
                let part = |tokens: u64, rank: u64| {
                    let ranks = sequence as u64;
                    tokens / ranks + u64::from(rank < tokens % ranks)
                };
                let (mut attention, mut output) = (Traffic::default(), Traffic::default());
                let add = |sum: &mut Traffic, values: u64| {
                    sum.bytes += values * work.element;
                    sum.messages += 1;
                };
                for _half in 0..guidance {
                    for from in 0..sequence as u64 {
                        let own = |rank| part(text_tokens, rank) + part(video_tokens, rank);
                        for to in (0..sequence as u64).filter(|to| *to != from) {
                            let some = work.heads / sequence as u64 * work.head_dim;
                            // Queries, keys and values of the own tokens for the other's heads.
                            add(&mut attention, 3 * rows * own(from) * some);
                            // What was attended of the other's tokens with the own heads.
                            add(&mut attention, rows * own(to) * some);
                        }
                        for _other in 1..layout.ranks() {
                            let values = rows * part(video_tokens, from) * work.features;
                            add(&mut output, values);
                        }
                    }
                }
                let what = format!("{layout:?}, {text_tokens} and {video_tokens} tokens");
                assert_eq!(work.attention(layout), attention, "{what}");
                assert_eq!(work.output(layout), output, "{what}");
            }
        }
    }

    /// By the matrices of a block (transformer_block's `to_q`, `to_k`, `to_v`, `to_out`, the two of
    /// the feed-forward layer), by hand: 12 × 3072² of them at 17776 tokens a row.
    #[test]
    fn operations_are_those_of_the_matrices() {
        let work = Work::COGVIDEOX_5B;
        let matrices = 2.0 * 12.0 * 3072.0 * 3072.0 * 17776.0;
        // Scores and sums of values, for each of 48 heads of 64.
        let scores = 2.0 * 2.0 * 48.0 * 64.0 * 17776.0 * 17776.0;
        let expected = 2.0 * 42.0 * (matrices + scores);
        assert!((work.operations(42) / expected - 1.0).abs() < 1e-12);
        let without = 2.0 * 42.0 * 2.0 * 8.0 * 3072.0 * 3072.0 * 17776.0;
        assert!((work.operations(0) / without - 1.0).abs() < 1e-12);
    }
}
