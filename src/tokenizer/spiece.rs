//! `spiece.model`: the protocol buffer that sentencepiece writes
//! (sentencepiece src/sentencepiece_model.proto; only the fields that are read).

use super::charsmap::Charsmap;
use super::config::{special, Config};
use super::vocabulary::{Vocabulary, UNK_ID};
use crate::checkpoint::fields::read_bytes;
use crate::{Error, Result};
use prost::Message;
use std::path::Path;
use tokenizers::AddedToken;

/// The largest file that is read. T5's has 0.8 MB, that of its multilingual sibling 4.3 MB.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<SentencePiece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct SentencePiece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(enumeration = "Type", optional, tag = "3")]
    r#type: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Type {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(enumeration = "ModelType", optional, tag = "3")]
    model_type: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ModelType {
    Unigram = 1,
    Bpe = 2,
    Word = 3,
    Char = 4,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Reads `file` as transformers does (5.23 convert_slow_tokenizer.py:163 and :1352): the
/// pieces, then `<extra_id_…>` from the last to the first.
pub(super) fn read(file: &Path, config: Config) -> Result<Vocabulary> {
    parse(file, &read_bytes(file, MAX_BYTES)?, config)
}

pub(super) fn parse(file: &Path, bytes: &[u8], config: Config) -> Result<Vocabulary> {
    let model = ModelProto::decode(bytes).map_err(|e| {
        let found = e.to_string();
        Error::InvalidCheckpoint(format!(
            "{}: expected a sentencepiece model, found {}",
            file.display(),
            found.lines().next().unwrap_or_default()
        ))
    })?;
    let spec = model.trainer_spec.unwrap_or_default();
    if spec.model_type() != ModelType::Unigram {
        return Err(Error::UnsupportedModel(format!(
            "{}: model_type: expected {:?}, found {:?}",
            file.display(),
            ModelType::Unigram,
            spec.model_type()
        )));
    }
    let mut further = Vec::new();
    let mut pieces = Vec::with_capacity(model.pieces.len());
    for piece in model.pieces {
        let content = piece.piece().to_string();
        let kind = piece.r#type();
        if matches!(kind, Type::Control | Type::UserDefined) {
            let is_special = kind == Type::Control;
            further.push(AddedToken::from(&content, is_special).normalized(false));
        }
        pieces.push((content, f64::from(piece.score())));
    }
    if pieces.len() <= UNK_ID {
        return Err(Error::InvalidCheckpoint(format!(
            "{}: pieces: expected at least {}, found {}",
            file.display(),
            UNK_ID + 1,
            pieces.len()
        )));
    }
    config.check_extra_ids(file, &further)?;
    if !further.iter().any(|token| token.content.contains("<extra_id_")) {
        further.extend(config.extra_tokens().map(|content| special(&content)));
    }
    let extra: Vec<String> = config.extra_tokens().collect();
    pieces.extend(extra.into_iter().rev().map(|content| (content, 0.0)));
    let charsmap = model.normalizer_spec.unwrap_or_default().precompiled_charsmap;
    Ok(Vocabulary {
        file: file.to_path_buf(),
        pieces,
        charsmap: Charsmap::new(file, &charsmap.unwrap_or_default())?,
        added: config.added_tokens.clone().unwrap_or_default().into_values().collect(),
        further,
        config,
    })
}
