//! sentencepiece's `precompiled_charsmap`: which characters a text's are replaced by.
//!
//! The format is the byte length of a trie, the trie, and a text in which replacements lie one
//! after another, each ended by a NUL (sentencepiece src/normalizer.cc). The trie is an array
//! of 32-bit units: bits 0-7 and 31 are the label that leads to a unit, bit 8 says that a
//! value hangs on it, bits 9-31 are the distance to its children
//! (Yata's double array, darts-clone include/darts.h). The library that walks it indexes
//! without looking, so everything that it can reach is looked at here first.

use crate::{Error, Result};
use std::path::Path;
use tokenizers::normalizers::Precompiled;

/// The longest replacement. Unicode's longest compatibility decomposition has 18 characters.
const MAX_REPLACEMENT_BYTES: usize = 256;

pub(super) struct Charsmap(Precompiled);

impl Charsmap {
    /// Checks and takes over `bytes`; `None` if they are empty, which stands for no
    /// replacements. `file` is what errors name.
    pub fn new(file: &Path, bytes: &[u8]) -> Result<Option<Charsmap>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let invalid = |found: &str| {
            Error::InvalidCheckpoint(format!(
                "{}: precompiled_charsmap: expected a trie and its replacements, found {found}",
                file.display()
            ))
        };
        check(bytes).map_err(invalid)?;
        match Precompiled::from(bytes) {
            Ok(map) => Ok(Some(Charsmap(map))),
            Err(e) => Err(invalid(&e.to_string())),
        }
    }

    pub fn replace(&self, text: &str) -> String {
        self.0.normalize_string(text)
    }

    pub fn into_normalizer(self) -> Precompiled {
        self.0
    }
}

/// What is wrong with `bytes`, if anything.
fn check(bytes: &[u8]) -> std::result::Result<(), &'static str> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("fewer than 4 bytes")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > rest.len() || !length.is_multiple_of(4) || length == 0 {
        return Err("a trie length that does not fit");
    }
    let (trie, replacements) = rest.split_at(length);
    let replacements = std::str::from_utf8(replacements).map_err(|_| "no UTF-8 text")?;
    let units: Vec<usize> = trie
        .chunks_exact(4)
        .filter_map(|unit| unit.first_chunk::<4>())
        .map(|unit| u32::from_le_bytes(*unit) as usize)
        .collect();
    walk(&units, replacements)
}

/// Walks every unit that some text can lead to.
fn walk(units: &[usize], replacements: &str) -> std::result::Result<(), &'static str> {
    const OUTSIDE: &str = "a step out of the trie";
    let distance = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; units.len()];
    let root = distance(*units.first().ok_or(OUTSIDE)?);
    let mut todo = vec![root];
    while let Some(base) = todo.pop() {
        // Whatever byte comes next, the unit at `base ^ byte` is looked up.
        if (base | 0xff) >= units.len() {
            return Err(OUTSIDE);
        }
        for byte in 1..=0xffusize {
            let unit = *units.get(base ^ byte).ok_or(OUTSIDE)?;
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let child = base ^ byte ^ distance(unit);
            let state = seen.get_mut(child).ok_or(OUTSIDE)?;
            if unit & (1 << 8) != 0 {
                let value = units.get(child).ok_or(OUTSIDE)? & ((1 << 31) - 1);
                let text = replacements.get(value..).ok_or("a value outside of the text")?;
                let end = text.bytes().take(MAX_REPLACEMENT_BYTES + 1).position(|b| b == 0);
                if end.unwrap_or(text.len()) > MAX_REPLACEMENT_BYTES {
                    return Err("a replacement of more than 256 bytes");
                }
            }
            if !*state {
                *state = true;
                todo.push(child);
            }
        }
    }
    Ok(())
}

/// The bytes that `text` encodes in base64, in which `tokenizer.json` holds a charsmap.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        // Four digits are three bytes, three are two, two are one; one is none.
        let [_, first, second, third] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => bytes.extend([first, second, third]),
            3 => bytes.extend([first, second]),
            2 => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}
