//! The T5 tokenizer, from `spiece.model` (as published) or `tokenizer.json`.

use crate::runtime::Control;
use crate::{Error, Result};
use std::path::Path;

pub struct T5Tokenizer {}

impl T5Tokenizer {
    /// `folder` is the pipeline's `tokenizer/` folder.
    pub fn load(_folder: &Path) -> Result<T5Tokenizer> {
        Err(Error::Internal("tokenizer".into()))
    }

    /// Exactly `max_length` ids: truncated (and said so through the log), ended by `</s>`,
    /// padded.
    pub fn encode(&self, _text: &str, _max_length: usize, _control: &Control) -> Result<Vec<i64>> {
        Err(Error::Internal("tokenizer".into()))
    }
}
