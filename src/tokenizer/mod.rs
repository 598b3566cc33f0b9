//! The T5 tokenizer, from `spiece.model` (as published) or `tokenizer.json`.
//!
//! Either file is reduced to the same three things, a vocabulary with scores, a table of
//! character replacements and a list of added tokens ([`vocabulary::Vocabulary`]), from which
//! one tokenizer is built the way transformers builds it (5.23
//! models/t5/tokenization_t5.py:74): its T5Tokenizer takes these from a `tokenizer.json` too
//! and ignores what else the file says. So both files give the same ids.
//!
//! | file | what it does |
//! | --- | --- |
//! | `spiece` | `spiece.model`, a protocol buffer of sentencepiece |
//! | `json` | `tokenizer.json` |
//! | `config` | `tokenizer_config.json` and the older files beside it |
//! | `charsmap` | the table of character replacements, checked before it is used |
//! | `vocabulary` | what a tokenizer is built from, its limits, building it |

mod charsmap;
mod config;
mod json;
mod spiece;
#[cfg(test)]
mod tests;
mod vocabulary;

use crate::checkpoint::fields::exists;
use crate::runtime::{memory, Control, LogLevel};
use crate::{Error, Result};
use std::path::Path;
use tokenizers::Tokenizer;

/// The longest text that is tokenized, and so the longest prompt. 226 tokens, which a model sees,
/// are about 1,000 bytes.
pub const MAX_TEXT_BYTES: usize = 256 << 10;
/// The longest sequence that a text may be cut or padded to.
const MAX_LENGTH: usize = 1 << 16;
/// How much of a removed text the log repeats.
const MAX_LOGGED_CHARS: usize = 1000;

/// What a tokenizer takes while it is made, in sizes of its file: at most.
const PARSED: usize = 16;

/// The tokenizer of a pipeline. Immutable, usable from many threads at once.
pub struct T5Tokenizer {
    tokenizer: Tokenizer,
    eos_id: i64,
    pad_id: i64,
    vocab_size: i64,
}

impl T5Tokenizer {
    /// `folder` is the pipeline's `tokenizer/` folder.
    ///
    /// If both `tokenizer.json` and `spiece.model` are there, `tokenizer.json` is read, as in
    /// transformers (5.23 tokenization_utils_tokenizers.py:114): it holds what was added to
    /// the vocabulary after sentencepiece made it.
    ///
    /// Errors: [`Error::NotFound`] if neither is there, [`Error::InvalidCheckpoint`] naming
    /// file and field for a damaged one, [`Error::UnsupportedModel`] for a file of another
    /// kind of tokenizer.
    pub fn load(folder: &Path) -> Result<T5Tokenizer> {
        let json = folder.join("tokenizer.json");
        let spiece = folder.join("spiece.model");
        // Parsing it and building the tokenizer takes many small pieces, which can't fail.
        let prove = |file: &Path| {
            let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
            memory::prove(
                usize::try_from(bytes).unwrap_or(0).saturating_mul(PARSED),
                "the tokenizer",
            )
        };
        let vocabulary = if exists(&json)? {
            prove(&json)?;
            json::read(&json, config::Config::read(folder)?)?
        } else if exists(&spiece)? {
            prove(&spiece)?;
            spiece::read(&spiece, config::Config::read(folder)?)?
        } else {
            return Err(Error::NotFound(format!(
                "{}: expected tokenizer.json or spiece.model, found neither",
                folder.display()
            )));
        };
        vocabulary.build()
    }

    /// Exactly `max_length` ids: those of `text` without special tokens around it, cut to
    /// `max_length - 1`, then `</s>`, then padding. What a cut removes is told through
    /// `control`'s log as a warning.
    ///
    /// Errors: [`Error::InvalidArgument`] for a `max_length` outside of 1 to 65,536 or a text
    /// longer than 256 KiB.
    pub fn encode(&self, text: &str, max_length: usize, control: &Control) -> Result<Vec<i64>> {
        if !(1..=MAX_LENGTH).contains(&max_length) {
            return Err(Error::InvalidArgument(format!(
                "max_length: expected 1 to {MAX_LENGTH} tokens, found {max_length}"
            )));
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::InvalidArgument(format!(
                "text: expected at most {MAX_TEXT_BYTES} bytes, found {}",
                text.len()
            )));
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|e| Error::Internal(format!("tokenizer: {e}")))?;
        let all = encoding.get_ids();
        let room = max_length - 1;
        if let Some(removed) = all.get(room..).filter(|removed| !removed.is_empty()) {
            self.tell_removed(all.len(), removed, max_length, control);
        }
        let mut ids: Vec<i64> = all.iter().take(room).map(|&id| i64::from(id)).collect();
        ids.push(self.eos_id);
        ids.resize(max_length, self.pad_id);
        Ok(ids)
    }

    fn tell_removed(&self, all: usize, removed: &[u32], max_length: usize, control: &Control) {
        let text = self.tokenizer.decode(removed, false).unwrap_or_default();
        let shown: String = text.chars().take(MAX_LOGGED_CHARS).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        control.log(
            LogLevel::Warning,
            format!(
                "the text has {all} tokens, of which max_length {max_length} leaves {}; \
                 removed {}: {shown:?}{more}",
                all - removed.len(),
                removed.len()
            ),
        );
    }

    /// One more than the largest id that [`T5Tokenizer::encode`] can answer; the text
    /// encoder's embedding table must have at least as many rows.
    pub fn vocab_size(&self) -> i64 {
        self.vocab_size
    }
}
