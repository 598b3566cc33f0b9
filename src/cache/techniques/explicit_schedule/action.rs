//! What a schedule says of one step.

use crate::cache::report::LayerState;

/// One entry of `steps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The model runs.
    Compute,
    /// The conditional half runs; the unconditional one is that and the predicted difference.
    Conditional,
    /// Nothing runs: the model's output is predicted.
    Predict,
    /// The model runs, each of its blocks as told.
    Blocks(Vec<Block>),
}

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Compute,
    /// Its attention gives what it gave last.
    ReuseAttention,
    /// It adds what it added last.
    Skip,
}

impl Block {
    pub fn state(self) -> LayerState {
        match self {
            Block::Compute => LayerState::Computed,
            Block::ReuseAttention => LayerState::Reused,
            Block::Skip => LayerState::Skipped,
        }
    }
}

impl Action {
    /// From its word, or the blocks' signs in statistics: `#` computed, `=` attention reused, `-`
    /// skipped.
    pub fn parse(text: &str) -> Result<Action, String> {
        match text {
            "compute" => return Ok(Action::Compute),
            "conditional" => return Ok(Action::Conditional),
            "predict" => return Ok(Action::Predict),
            _ => {}
        }
        let blocks: Option<Vec<Block>> = text
            .chars()
            .map(|sign| {
                let all = [Block::Compute, Block::ReuseAttention, Block::Skip];
                all.into_iter().find(|block| block.state().symbol() == sign)
            })
            .collect();
        match blocks {
            Some(blocks) if !blocks.is_empty() => Ok(Action::Blocks(blocks)),
            _ => Err(format!(
                "expected \"compute\", \"conditional\", \"predict\" or a sign for each block \
                 (# computed, = attention reused, - skipped), found {:?}",
                text.chars().take(80).collect::<String>()
            )),
        }
    }

    pub fn block(&self, block: usize) -> Block {
        match self {
            Action::Blocks(blocks) => blocks.get(block).copied().unwrap_or(Block::Compute),
            _ => Block::Compute,
        }
    }

    /// Everything of the model runs.
    pub fn computes_all(&self) -> bool {
        match self {
            Action::Compute => true,
            Action::Conditional | Action::Predict => false,
            Action::Blocks(blocks) => blocks.iter().all(|block| *block == Block::Compute),
        }
    }

    /// Both halves run, whole or in part.
    pub fn runs_all_halves(&self) -> bool {
        matches!(self, Action::Compute | Action::Blocks(_))
    }
}
