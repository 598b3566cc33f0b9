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

    /// The table of docs/scaling.md: `cargo test --lib cost -- --nocapture`.
    #[test]
    fn more_cards_are_faster_and_reused_attention_costs_no_exchange() {
        // Half of the peak in bfloat16 of a card of 2022 with 312 and one with 989 Tflop/s.
        let links = [
            ("NVLink, 300 GB/s", Link { bytes_per_second: 300e9, seconds_per_message: 5e-6 }),
            ("PCIe 4, 25 GB/s", Link { bytes_per_second: 25e9, seconds_per_message: 1e-5 }),
            ("100 Gbit/s, 12 GB/s", Link { bytes_per_second: 12e9, seconds_per_message: 3e-5 }),
        ];
        let work = Work::COGVIDEOX_5B;
        let one = Layout { guidance: 1, sequence: 1 };
        for (name, link) in links {
            for (layout, cards) in [
                (Layout { guidance: 2, sequence: 1 }, 2),
                (Layout { guidance: 1, sequence: 2 }, 2),
                (Layout { guidance: 2, sequence: 2 }, 4),
                (Layout { guidance: 1, sequence: 4 }, 4),
                (Layout { guidance: 2, sequence: 4 }, 8),
                (Layout { guidance: 1, sequence: 8 }, 8),
            ] {
                let speed_up = |computed| {
                    work.seconds(one, computed, 156e12, link)
                        / work.seconds(layout, computed, 156e12, link)
                };
                let (dense, reused) = (speed_up(work.layers), speed_up(work.layers / 2));
                println!(
                    "| {name} | {cards} | {} × {} | {:.2} GB, {} | {dense:.2} | {reused:.2} |",
                    layout.guidance,
                    layout.sequence,
                    work.step(layout, work.layers).bytes as f64 / 1e9,
                    work.step(layout, work.layers).messages,
                );
                assert!(dense > 1.0 && dense <= f64::from(cards) + 1e-9);
                let sent = |computed| work.step(layout, computed).bytes;
                assert_eq!(sent(0), work.output(layout).bytes);
            }
        }
        // Guidance alone exchanges nothing but the output.
        let halves = Layout { guidance: 2, sequence: 1 };
        assert_eq!(work.attention(halves), Traffic::default());
    }
}
