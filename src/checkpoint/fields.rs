//! Typed reading of one JSON object, with errors that name file, field, expected and found.
//!
//! serde's derive would report a wrong type by line and column and drop unknown fields
//! silently; here the name of the field is what a host needs to read, and a field that nobody
//! asked for is told of.

use super::QUANTIZATION_METHOD;
use crate::backend::Quantization;
use crate::runtime::files::open_regular;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The largest config or `model_index.json` that is read. Published ones have a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Values longer than this are cut in messages.
const MAX_SHOWN: usize = 120;

/// The fields of one JSON object that have not been asked for yet.
#[derive(Debug)]
pub(crate) struct Fields {
    file: PathBuf,
    rest: Map<String, Value>,
}

/// Reads a regular file of at most `limit` bytes as text.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|e| {
        Error::InvalidCheckpoint(format!("{}: expected UTF-8 text, found {e}", path.display()))
    })
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, length) = open_file(path)?;
    if length > limit {
        return Err(Error::InvalidCheckpoint(format!(
            "{}: expected at most {limit} bytes, found {length}",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    reserve(&mut bytes, length, path)?;
    // `take` because the file may grow between the check and the read.
    file.take(limit).read_to_end(&mut bytes).map_err(|e| io(path, &e))?;
    Ok(bytes)
}

/// Opens a regular file that is not empty and tells its length; see [`open_regular`].
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    open_regular(path).map_err(|e| io(path, &e))?.map_err(|found| {
        Error::InvalidCheckpoint(format!(
            "{}: expected a regular file that is not empty, found {found}",
            path.display()
        ))
    })
}

/// Whether there is anything at `path`. An error where that can't be told, as without
/// permission: it would be wrong to say that nothing is there.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some())
}

/// Whether `path` is a folder, as [`exists`].
pub(crate) fn is_folder(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some_and(|found| found.is_dir()))
}

fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        // A file is where a folder of the path should be.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(io(path, &e)),
    }
}

/// Room for `more` bytes that a file says it has.
pub(crate) fn reserve(bytes: &mut Vec<u8>, more: u64, path: &Path) -> Result<()> {
    let room = usize::try_from(more).map(|more| bytes.try_reserve_exact(more));
    match room {
        Ok(Ok(())) => Ok(()),
        _ => Err(Error::OutOfMemory(format!("{}: no memory for {more} bytes", path.display()))),
    }
}

pub(crate) fn io(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::NotFound(format!("{}: expected a file, found none", path.display()))
        }
        ErrorKind::OutOfMemory => Error::OutOfMemory(format!("{}: {error}", path.display())),
        _ => Error::Io(format!("{}: {error}", path.display())),
    }
}

/// A value as it is shown in a message: one line, of bounded length.
pub(crate) fn shown(value: &Value) -> String {
    cut(value.to_string())
}

/// A name from a file as it is shown in a message: quoted, escaped, of bounded length.
pub(crate) fn quoted(name: &str) -> String {
    cut(format!("{name:?}"))
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_SHOWN {
        let end = (0..=MAX_SHOWN).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Fields {
    /// Reads the JSON object in `path`.
    pub fn read(path: &Path) -> Result<Fields> {
        Fields::parse(path, &read_text(path, MAX_CONFIG_BYTES)?)
    }

    /// Parses `json`; `file` is what messages call it.
    pub fn parse(file: &Path, json: &str) -> Result<Fields> {
        match serde_json::from_str(json) {
            Ok(Value::Object(rest)) => Ok(Fields { file: file.to_path_buf(), rest }),
            Ok(other) => Err(Error::InvalidCheckpoint(format!(
                "{}: expected a JSON object, found {}",
                file.display(),
                shown(&other)
            ))),
            Err(e) => Err(Error::InvalidCheckpoint(format!(
                "{}: expected a JSON object, found {e}",
                file.display()
            ))),
        }
    }

    /// The file or folder cannot be used as it is: it contradicts itself or is damaged.
    pub fn invalid(&self, field: &str, expected: impl std::fmt::Display, found: &str) -> Error {
        Error::InvalidCheckpoint(self.message(field, expected, found))
    }

    /// The file is sound, but asks for something that is not implemented.
    pub fn unsupported(&self, field: &str, expected: impl std::fmt::Display, found: &str) -> Error {
        Error::UnsupportedModel(self.message(field, expected, found))
    }

    fn message(&self, field: &str, expected: impl std::fmt::Display, found: &str) -> String {
        format!("{}: {field}: expected {expected}, found {found}", self.file.display())
    }

    /// Takes a field as it is; `None` if it is not there.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.rest.remove(field)
    }

    /// Takes a field that may be `null`; missing and `null` are both `None`.
    fn take_optional(&mut self, field: &str) -> Option<Value> {
        self.take(field).filter(|value| !value.is_null())
    }

    fn to_integer(&self, field: &str, value: &Value, range: RangeInclusive<i64>) -> Result<i64> {
        let (low, high) = (*range.start(), *range.end());
        let expected = format!("an integer in [{low}, {high}]");
        // Python writes a ratio that was computed as 4.0; it means 4.
        let whole = |f: f64| (f.fract() == 0.0 && f.abs() < 9e15).then_some(f as i64);
        let number = match value {
            // Too large for i64 is out of every range.
            Value::Number(n) => match n.as_i64().or_else(|| n.as_f64().and_then(whole)) {
                Some(number) => number,
                None => return Err(self.invalid(field, expected, &shown(value))),
            },
            _ => return Err(self.invalid(field, expected, &shown(value))),
        };
        if number < low {
            return Err(self.invalid(field, expected, &shown(value)));
        }
        if number > high {
            return Err(self.unsupported(field, expected, &shown(value)));
        }
        Ok(number)
    }

    fn to_float(&self, field: &str, value: &Value, range: RangeInclusive<f64>) -> Result<f64> {
        let number = value.as_f64().filter(|f| range.contains(f));
        number.ok_or_else(|| {
            let expected = format!("a number in [{}, {}]", range.start(), range.end());
            self.invalid(field, expected, &shown(value))
        })
    }

    pub fn integer(
        &mut self,
        field: &str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Result<i64> {
        match self.take(field) {
            Some(value) => self.to_integer(field, &value, range),
            None => Ok(default),
        }
    }

    pub fn optional_integer(
        &mut self,
        field: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>> {
        match self.take_optional(field) {
            Some(value) => self.to_integer(field, &value, range).map(Some),
            None => Ok(None),
        }
    }

    pub fn float(&mut self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64> {
        match self.take(field) {
            Some(value) => self.to_float(field, &value, range),
            None => Ok(default),
        }
    }

    pub fn optional_float(
        &mut self,
        field: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>> {
        match self.take_optional(field) {
            Some(value) => self.to_float(field, &value, range).map(Some),
            None => Ok(None),
        }
    }

    pub fn boolean(&mut self, field: &str, default: bool) -> Result<bool> {
        match self.take(field) {
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(self.invalid(field, "true or false", &shown(&other))),
            None => Ok(default),
        }
    }

    /// A string out of the `supported` ones.
    pub fn choice(&mut self, field: &str, default: &str, supported: &[&str]) -> Result<String> {
        let value = match self.take(field) {
            Some(Value::String(value)) => value,
            Some(other) => return Err(self.invalid(field, "a string", &shown(&other))),
            None => default.to_string(),
        };
        if supported.contains(&value.as_str()) {
            return Ok(value);
        }
        let names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        Err(self.unsupported(field, names.join(" or "), &quoted(&value)))
    }

    /// One of the `choices`, by its name.
    pub fn one_of<T: Copy>(&mut self, field: &str, default: T, choices: &[(T, &str)]) -> Result<T> {
        if !self.rest.contains_key(field) {
            return Ok(default);
        }
        let names: Vec<&str> = choices.iter().map(|(_, name)| *name).collect();
        let found = self.choice(field, "", &names)?;
        let chosen = choices.iter().find(|(_, name)| *name == found);
        Ok(chosen.map_or(default, |(choice, _)| *choice))
    }

    /// A list of 1 to `longest` items; `default` if the field is missing.
    fn list<T>(
        &mut self,
        field: &str,
        default: Vec<T>,
        longest: usize,
        item: impl Fn(&Fields, &Value) -> Result<T>,
    ) -> Result<Vec<T>> {
        let Some(value) = self.take(field) else { return Ok(default) };
        let items = match &value {
            Value::Array(items) if !items.is_empty() => items,
            _ => return Err(self.invalid(field, "a list that is not empty", &shown(&value))),
        };
        if items.len() > longest {
            let expected = format!("at most {longest} items");
            return Err(self.unsupported(field, expected, &items.len().to_string()));
        }
        items.iter().map(|value| item(self, value)).collect()
    }

    pub fn integers(
        &mut self,
        field: &str,
        default: &[i64],
        longest: usize,
        range: RangeInclusive<i64>,
    ) -> Result<Vec<i64>> {
        self.list(field, default.to_vec(), longest, |fields, value| {
            fields.to_integer(field, value, range.clone())
        })
    }

    pub fn floats(
        &mut self,
        field: &str,
        longest: usize,
        range: RangeInclusive<f64>,
    ) -> Result<Option<Vec<f64>>> {
        if !matches!(self.rest.get(field), Some(value) if !value.is_null()) {
            self.take(field);
            return Ok(None);
        }
        let item = |fields: &Fields, value: &Value| fields.to_float(field, value, range.clone());
        self.list(field, Vec::new(), longest, item).map(Some)
    }

    /// A list of `count` times the one name that is `supported`.
    pub fn repeated(&mut self, field: &str, supported: &str, count: usize) -> Result<()> {
        let expected = format!("{count} times {supported:?}");
        match self.take(field) {
            None => Ok(()),
            Some(Value::Array(items)) if items.len() == count => {
                match items.iter().find(|item| item.as_str() != Some(supported)) {
                    Some(other) => Err(self.unsupported(field, expected, &shown(other))),
                    None => Ok(()),
                }
            }
            Some(Value::Array(items)) => {
                Err(self.invalid(field, expected, &format!("{} items", items.len())))
            }
            Some(other) => Err(self.invalid(field, expected, &shown(&other))),
        }
    }

    /// Drops fields that do not bear on what is computed.
    pub fn ignore(&mut self, fields: &[&str]) {
        for field in fields {
            self.take(field);
        }
    }

    /// The class in `_class_name`, where there is one, must be `expected`.
    pub fn class(&mut self, expected: &str) -> Result<()> {
        match self.take("_class_name") {
            None => Ok(()),
            Some(Value::String(name)) if name == expected => Ok(()),
            Some(other) => Err(self.invalid(
                "_class_name",
                format!("{expected:?}, which model_index.json names"),
                &shown(&other),
            )),
        }
    }

    /// The class in `_class_name` need not be `expected`, which `model_index.json` names and which
    /// wins; a warning tells of it.
    pub fn class_is_overruled(&mut self, expected: &str, warnings: &mut Vec<String>) -> Result<()> {
        match self.take("_class_name") {
            None => Ok(()),
            Some(Value::String(name)) if name == expected => Ok(()),
            Some(Value::String(name)) => {
                warnings.push(format!(
                    "{}: _class_name is {}; model_index.json names {expected:?}, which is used",
                    self.file.display(),
                    quoted(&name)
                ));
                Ok(())
            }
            Some(other) => Err(self.invalid("_class_name", "a string", &shown(&other))),
        }
    }

    /// How the component's weights are quantised in its files, if they are as this library saves them;
    /// an error for any other way (bitsandbytes and the like).
    pub fn quantization(&mut self) -> Result<Option<Quantization>> {
        let own = self.rest.get("quantization_config").and_then(Value::as_object);
        let own = own.filter(|o| o.get("quant_method") == Some(&QUANTIZATION_METHOD.into()));
        let Some(own) = own else { return self.reject_quantised().map(|()| None) };
        let name = own.get("quantization").and_then(Value::as_str).unwrap_or_default();
        let kind = Quantization::parse(name).ok();
        let known = own.get("version") == Some(&1.into());
        match kind.filter(|_| known) {
            Some(kind) => {
                self.rest.remove("quantization_config");
                Ok(Some(kind))
            }
            None => {
                let names = Quantization::ALL.map(Quantization::name);
                let expected = format!("version 1 and a quantization of {names:?}");
                let found = shown(&Value::Object(own.clone()));
                Err(self.unsupported("quantization_config", expected, &found))
            }
        }
    }

    /// An error if the component's weights are quantised.
    pub fn reject_quantised(&mut self) -> Result<()> {
        match self.take("quantization_config") {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(Error::UnsupportedModel(format!(
                "{}: \"quantization_config\": quantised weights of this kind are not supported: \
                 expected none, or those that this library saves, found {}",
                self.file.display(),
                shown(&other)
            ))),
        }
    }

    /// Every field that is left is unknown here and to diffusers 0.42.1, which passes over it:
    /// a warning each, unless it is `null` or bookkeeping, whose names start with `_`.
    pub fn ignore_rest(self, warnings: &mut Vec<String>) {
        let unknown = self.rest.iter().filter(|(name, v)| !name.starts_with('_') && !v.is_null());
        warnings.extend(unknown.map(|(name, value)| {
            format!(
                "{}: {} is no field of this component, and is passed over (found {})",
                self.file.display(),
                quoted(name),
                shown(value)
            )
        }));
    }

    /// The names of the fields that are left.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.rest.keys().cloned()
    }
}
