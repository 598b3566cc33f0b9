//! What a tokenizer is built from, its limits, and building it.

use super::charsmap::Charsmap;
use super::config::Config;
use super::T5Tokenizer;
use crate::checkpoint::fields::quoted;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tokenizers::decoders::metaspace::Metaspace;
use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer};

/// The largest vocabulary; T5's has 32,100 pieces, that of its multilingual sibling 250,100.
const MAX_PIECES: usize = 1 << 20;
/// The longest piece: the library keeps pieces in a tree that is as deep as the longest one
/// and is freed recursively.
const MAX_PIECE_BYTES: usize = 1 << 10;
/// The largest number of added tokens; T5's has 103.
const MAX_ADDED: usize = 1 << 12;
/// The piece of unknown characters. transformers takes this one whatever the files say.
pub(super) const UNK_ID: usize = 2;

/// The parts of a tokenizer, from either kind of file.
pub(super) struct Vocabulary {
    /// The file that they are from.
    pub file: PathBuf,
    /// Pieces and their log probabilities; the index is the id.
    pub pieces: Vec<(String, f64)>,
    pub charsmap: Option<Charsmap>,
    /// Tokens with an id of their own in a file, in the order of the ids.
    pub added: Vec<AddedToken>,
    /// Further special tokens, where the config does not list any.
    pub further: Vec<AddedToken>,
    pub config: Config,
}

impl Vocabulary {
    fn invalid(&self, what: &str, expected: impl std::fmt::Display, found: &str) -> Error {
        Error::InvalidCheckpoint(format!(
            "{}: {what}: expected {expected}, found {found}",
            self.file.display()
        ))
    }

    fn check(&self) -> Result<()> {
        let count = self.pieces.len();
        if !(UNK_ID + 1..=MAX_PIECES).contains(&count) {
            let expected = format!("{} to {MAX_PIECES} pieces", UNK_ID + 1);
            return Err(self.invalid("vocabulary", expected, &count.to_string()));
        }
        for (piece, score) in &self.pieces {
            if piece.len() > MAX_PIECE_BYTES {
                let expected = format!("pieces of at most {MAX_PIECE_BYTES} bytes");
                return Err(self.invalid("vocabulary", expected, &quoted(piece)));
            }
            if !score.is_finite() {
                let found = format!("{score} for {}", quoted(piece));
                return Err(self.invalid("vocabulary", "finite scores", &found));
            }
        }
        Ok(())
    }

    fn check_added(&self, tokens: &[AddedToken]) -> Result<()> {
        if tokens.len() > MAX_ADDED {
            let expected = format!("at most {MAX_ADDED}");
            return Err(self.invalid("added tokens", expected, &tokens.len().to_string()));
        }
        for token in tokens {
            if token.content.is_empty() || token.content.len() > MAX_PIECE_BYTES {
                let expected = format!("1 to {MAX_PIECE_BYTES} bytes each");
                return Err(self.invalid("added tokens", expected, &quoted(&token.content)));
            }
            // The library looks for such a token in the replaced text; a pattern without
            // characters would be found everywhere.
            let replaced = self.charsmap.as_ref().map(|map| map.replace(&token.content));
            if token.normalized && replaced.is_some_and(|text| text.is_empty()) {
                let expected = "something to be left of each by the normalizer";
                return Err(self.invalid("added tokens", expected, &quoted(&token.content)));
            }
        }
        Ok(())
    }

    /// The tokens to be added, in the order in which transformers adds them, which gives those
    /// that are not in the vocabulary their ids (5.23 tokenization_utils_tokenizers.py:466):
    /// those of the files, the named special ones, the further special ones.
    fn tokens_to_add(&self) -> Vec<AddedToken> {
        let mut tokens = self.added.clone();
        let mut known: BTreeSet<String> = tokens.iter().map(|t| t.content.clone()).collect();
        let further = self.config.extra_special_tokens.as_ref().unwrap_or(&self.further);
        for token in self.config.named_tokens().chain(further.iter()) {
            if known.insert(token.content.clone()) {
                tokens.push(token.clone());
            }
        }
        tokens
    }

    pub fn build(mut self) -> Result<T5Tokenizer> {
        self.check()?;
        let added = self.tokens_to_add();
        self.check_added(&added)?;
        let pieces = std::mem::take(&mut self.pieces);
        let count = pieces.len();
        let model = Unigram::from(pieces, Some(UNK_ID), false)
            .map_err(|e| self.invalid("vocabulary", "a unigram vocabulary", &e.to_string()))?;
        let mut tokenizer = Tokenizer::new(model);
        if let Some(charsmap) = self.charsmap.take() {
            tokenizer.with_normalizer(Some(charsmap.into_normalizer()));
        }
        let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
            WhitespaceSplit.into(),
            metaspace.clone().into(),
        ])));
        tokenizer.with_decoder(Some(metaspace));
        tokenizer.add_tokens(&added);
        tokenizer.set_encode_special_tokens(self.config.split_special_tokens);

        let id = |name: &str, token: &AddedToken| {
            tokenizer.token_to_id(&token.content).map(i64::from).ok_or_else(|| {
                self.invalid(name, "a token of the vocabulary", &quoted(&token.content))
            })
        };
        let last = added.iter().filter_map(|token| tokenizer.token_to_id(&token.content)).max();
        Ok(T5Tokenizer {
            eos_id: id("eos_token", &self.config.eos_token)?,
            pad_id: id("pad_token", &self.config.pad_token)?,
            vocab_size: (count as i64).max(last.map_or(0, |id| i64::from(id) + 1)),
            tokenizer,
        })
    }
}
