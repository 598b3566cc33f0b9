//! Which weight files a component has, and which tensor is in which of them.

use super::fields::{exists, quoted, Fields};
use super::folder::Component;
use super::gguf::{self, BlockFormat};
use super::original::{self, Rows};
use super::save::SCALE;
use super::weight_file::WeightFile;
use crate::backend::Quantization;
use crate::runtime::DType;
use crate::{Error, Result};
use safetensors::Dtype;
use serde_json::Value;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// The largest index that is read; that of T5 xxl has 20 kilobytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The largest number of shards; each takes a file descriptor while it is read.
const MAX_SHARDS: usize = 512;

/// What safetensors files for ComfyUI that have the blocks of GGUF files call a matrix's, in place of
/// its `weight` (MinusZoneAI/ComfyUI-CogVideoX-MZ, mz_gguf_loader.py).
const BLOCKS: &str = ".Q4_0_qweight";

/// The shape of the numbers in blocks, whose last dimension counts bytes.
fn of_blocks(mut shape: Vec<i64>, format: BlockFormat) -> Option<Vec<i64>> {
    let (elements, bytes) = format.block();
    let last = shape.last_mut().filter(|last| **last % bytes as i64 == 0)?;
    *last = *last / bytes as i64 * elements as i64;
    Some(shape)
}

/// In what a tensor's elements lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Numbers(DType),
    /// Of a quantized matrix, as `save` writes it: int8, float8 e4m3, or bytes of two.
    Codes(Kind),
    /// In the blocks of a GGUF file, which become numbers as they are read.
    Blocks(BlockFormat),
}

impl Stored {
    pub fn kind(self) -> Kind {
        match self {
            Stored::Numbers(dtype) => dtype.kind(),
            Stored::Codes(kind) => kind,
            // What they become.
            Stored::Blocks(_) => Kind::Float,
        }
    }

    /// Elements that only come together, and their bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Stored::Blocks(format) => format.block(),
            other => (1, other.kind().elt_size_in_bytes()),
        }
    }

    pub fn is_codes(self) -> bool {
        matches!(self, Stored::Codes(_))
    }
}

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub file: usize,
    pub dtype: Stored,
    pub shape: Vec<i64>,
    /// In the file.
    pub start: usize,
    pub bytes: usize,
    /// Of a tensor in two pieces: how many bytes the first has, and where the second begins.
    pub second: Option<(usize, usize)>,
}

impl Place {
    /// How many numbers there are.
    pub fn elements(&self) -> usize {
        let (elements, bytes) = self.dtype.block();
        self.bytes / bytes * elements
    }

    /// Of a tensor the `count` slices from `start` on along dimension 0.
    pub fn rows(&self, start: i64, count: i64) -> Result<Place> {
        let out = || Error::Internal(format!("rows {start} to {start}+{count} of {self:?}"));
        let (&rows, rest) = self.shape.split_first().ok_or_else(out)?;
        if start < 0 || count < 0 || start.checked_add(count).is_none_or(|end| end > rows) {
            return Err(out());
        }
        // The whole is in the file: none of its parts overflows.
        let row = self.bytes / (rows.max(1) as usize);
        let (skipped, bytes) = (start as usize * row, count as usize * row);
        let (at, here) = self.at(skipped);
        let second = self.second.filter(|_| here < bytes).map(|(_, second)| (here, second));
        Ok(Place { shape: [&[count], rest].concat(), start: at, bytes, second, ..*self })
    }

    /// Where byte `done` of the tensor lies, and how many bytes lie there from it on.
    pub fn at(&self, done: usize) -> (usize, usize) {
        match self.second {
            Some((first, second)) if done >= first => {
                (second + (done - first), self.bytes.saturating_sub(done))
            }
            Some((first, _)) => (self.start + done, first - done),
            None => (self.start.saturating_add(done), self.bytes.saturating_sub(done)),
        }
    }

    /// Of a tensor the rows that `rows` take; `None` where it has no such parts, or they lie in more
    /// than two pieces.
    fn part(&self, rows: Rows) -> Option<Place> {
        let (&all, rest) = self.shape.split_first()?;
        let whole = all % rows.parts == 0 && self.second.is_none();
        let height = Some(all / rows.parts).filter(|_| whole)?;
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for &taken in rows.taken {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == taken => *count += 1,
                _ => runs.push((taken, 1)),
            }
        }
        let piece = |&(first, count): &(i64, i64)| self.rows(first * height, count * height).ok();
        let pieces: Vec<Place> = runs.iter().map(piece).collect::<Option<_>>()?;
        let count = rows.taken.len() as i64 * height;
        let shape = [&[count], rest].concat();
        match &pieces[..] {
            [one] => Some(Place { shape, ..one.clone() }),
            [one, other] => Some(Place {
                shape,
                bytes: one.bytes + other.bytes,
                second: Some((one.bytes, other.start)),
                ..one.clone()
            }),
            _ => None,
        }
    }
}

/// The open weight files of one component, their headers read and checked.
#[derive(Debug)]
pub struct WeightFiles {
    pub(super) files: Vec<WeightFile>,
    pub(super) places: BTreeMap<String, Place>,
    /// What messages about the component as a whole name: the single file or the index.
    pub(super) name: PathBuf,
}

impl WeightFiles {
    /// Opens `<folder>/<stem>[.<variant>].safetensors` or the shards that
    /// `<stem>.safetensors.index[.<variant>].json` names.
    ///
    /// Where both are there, the reference that saves files called `stem` decides:
    /// transformers prefers the single file (5.23 modeling_utils.py:592), diffusers the index
    /// (0.42.1 models/modeling_utils.py:1286).
    pub fn open(folder: &Path, stem: &str, variant: Option<&str>) -> Result<WeightFiles> {
        match locate(folder, stem, variant)? {
            Some((path, false)) => WeightFiles::open_single(path),
            Some((path, true)) => WeightFiles::open_sharded(folder, path),
            None => Err(missing(folder, stem, variant)),
        }
    }

    /// No files at all.
    pub(super) fn none() -> WeightFiles {
        WeightFiles { files: Vec::new(), places: BTreeMap::new(), name: PathBuf::new() }
    }

    /// The one file at `path`, which has the weights of `component`: safetensors, or GGUF with the
    /// names that its tools give them.
    pub fn open_file(path: &Path, component: Component) -> Result<WeightFiles> {
        if !gguf::is_gguf(path)? {
            return WeightFiles::open_single(path.to_path_buf())?.named_as_here(component);
        }
        let mut places = BTreeMap::new();
        for tensor in gguf::tensors(path)? {
            let Some(name) = gguf::checkpoint_name(component, &tensor.name) else { continue };
            let dtype = match tensor.format {
                BlockFormat::F32 => Stored::Numbers(DType::F32),
                BlockFormat::F16 => Stored::Numbers(DType::F16),
                BlockFormat::Bf16 => Stored::Numbers(DType::BF16),
                blocks => Stored::Blocks(blocks),
            };
            let gguf::GgufTensor { shape, start, bytes, .. } = tensor;
            let place = Place { file: 0, dtype, shape, start, bytes, second: None };
            if places.insert(name, place).is_some() {
                return Err(Error::InvalidCheckpoint(format!(
                    "{}: expected each tensor once, found {} again",
                    path.display(),
                    quoted(&tensor.name)
                )));
            }
        }
        let name = path.to_path_buf();
        let files = WeightFiles { files: vec![WeightFile::plain(path)?], places, name };
        files.named_as_here(component)
    }

    /// The same, where a transformer's tensors have the original model's names with diffusers' names.
    fn named_as_here(self, component: Component) -> Result<WeightFiles> {
        if component != Component::Transformer {
            return Ok(self);
        }
        let mut places = BTreeMap::new();
        for (name, place) in &self.places {
            let plain = name.strip_prefix(original::PREFIX).unwrap_or(name);
            let parts = match original::tensors_of(plain).filter(|_| original::is_original(plain)) {
                Some(parts) => parts,
                None => vec![(plain.to_string(), Rows::ALL)],
            };
            for (name_here, rows) in parts {
                let part = if rows == Rows::ALL { Some(place.clone()) } else { place.part(rows) };
                let part = part.ok_or_else(|| {
                    Error::InvalidCheckpoint(format!(
                        "{}: tensor {}: expected a multiple of {} rows, found shape {:?}",
                        self.name.display(),
                        quoted(name),
                        rows.parts,
                        place.shape
                    ))
                })?;
                if places.insert(name_here, part).is_some() {
                    return Err(Error::InvalidCheckpoint(format!(
                        "{}: expected each tensor once, found {} under diffusers' name too",
                        self.name.display(),
                        quoted(name)
                    )));
                }
            }
        }
        Ok(WeightFiles { places, ..self })
    }

    /// The same without tensor `name`, which a model of this config does not have.
    pub(super) fn without(mut self, name: &str) -> WeightFiles {
        self.places.remove(name);
        self
    }

    /// Reads as many numbers of the tensor at `place` as `target` holds, from number `first` on.
    /// `target` is one-dimensional and dense. Both ends are those of blocks.
    ///
    /// Errors: [`Error::InvalidCheckpoint`] if a file has become shorter than it was.
    pub(super) fn read(&self, place: &Place, first: usize, target: &Tensor) -> Result<()> {
        let no_file = || Error::Internal(format!("no file of {place:?}"));
        let file = self.files.get(place.file).ok_or_else(no_file)?;
        let (of_block, size) = place.dtype.block();
        let mut done = 0;
        while done < target.numel() {
            let (start, here) = place.at((first + done) / of_block * size);
            let count = (here / size * of_block).min(target.numel() - done);
            if count == 0 {
                return Err(Error::Internal(format!("{} numbers of {place:?}", target.numel())));
            }
            let mut part = target.f_narrow(0, done as i64, count as i64)?;
            file.read_into(start, count, place.dtype, &mut part)?;
            done += count;
        }
        Ok(())
    }

    /// The one file at `path`.
    pub(super) fn open_single(path: PathBuf) -> Result<WeightFiles> {
        let mut weights =
            WeightFiles { files: Vec::new(), places: BTreeMap::new(), name: path.clone() };
        weights.add(&path)?;
        Ok(weights)
    }

    fn open_sharded(folder: &Path, index: PathBuf) -> Result<WeightFiles> {
        let shards = read_index(&index)?;
        let mut weights =
            WeightFiles { files: Vec::new(), places: BTreeMap::new(), name: index.clone() };
        for (shard, listed) in &shards {
            let path = folder.join(shard);
            if !exists(&path)? {
                return Err(Error::NotFound(format!(
                    "{}: expected the shard that {} names, found none",
                    path.display(),
                    index.display()
                )));
            }
            let found = weights.add(&path)?;
            let differ = |expected: &str, name: &String, found: &str| {
                Error::InvalidCheckpoint(format!(
                    "{}: tensor {}: expected {expected}, found {found}",
                    path.display(),
                    quoted(name)
                ))
            };
            if let Some(name) = listed.difference(&found).next() {
                return Err(differ("it here, as the index says", name, "none"));
            }
            if let Some(name) = found.difference(listed).next() {
                return Err(differ("only what the index lists here", name, "it unlisted"));
            }
        }
        Ok(weights)
    }

    /// Opens one file and returns the names of its tensors.
    fn add(&mut self, path: &Path) -> Result<BTreeSet<String>> {
        let file = WeightFile::open(path)?;
        let mut names = BTreeSet::new();
        let tensors = file.metadata.tensors();
        let scaled = |name: &String| tensors.contains_key(&format!("{name}{SCALE}"));
        for (name, info) in tensors.clone() {
            let here = |expected: &str, found: String| {
                format!(
                    "{}: tensor {}: expected {expected}, found {found}",
                    path.display(),
                    quoted(&name)
                )
            };
            let dtype = match info.dtype {
                Dtype::F32 => Stored::Numbers(DType::F32),
                Dtype::F16 => Stored::Numbers(DType::F16),
                Dtype::BF16 => Stored::Numbers(DType::BF16),
                Dtype::I8 if scaled(&name) => Stored::Codes(Kind::Int8),
                Dtype::U8 if scaled(&name) => Stored::Codes(Kind::Uint8),
                Dtype::F8_E4M3 if scaled(&name) => Stored::Codes(Kind::Float8e4m3fn),
                Dtype::U8 if name.ends_with(BLOCKS) => Stored::Blocks(BlockFormat::Q4_0),
                other => {
                    let found = format!("{other:?}");
                    return Err(Error::UnsupportedModel(here("F32, F16 or BF16", found)));
                }
            };
            // The header's own checks have shown that the product of the dimensions times the
            // element's size is the length of the tensor's part of the file.
            let shape: Option<Vec<i64>> =
                info.shape.iter().map(|&d| i64::try_from(d).ok()).collect();
            let (start, end) = info.data_offsets;
            let (shape, name_here) = match (dtype, name.strip_suffix(BLOCKS)) {
                (Stored::Blocks(format), Some(module)) => {
                    (shape.and_then(|shape| of_blocks(shape, format)), format!("{module}.weight"))
                }
                _ => (shape, name.clone()),
            };
            let place = match (shape, start.checked_add(file.data_start), end.checked_sub(start)) {
                (Some(shape), Some(start), Some(bytes)) if shape.len() <= 8 => {
                    Place { file: self.files.len(), dtype, shape, start, bytes, second: None }
                }
                _ => {
                    let found = format!("{:?}", info.shape.get(..8).unwrap_or(&info.shape));
                    let blocks = matches!(dtype, Stored::Blocks(_));
                    let expected = if blocks { "rows of whole blocks" } else { "a smaller shape" };
                    return Err(Error::InvalidCheckpoint(here(expected, found)));
                }
            };
            match self.places.entry(name_here) {
                Entry::Vacant(entry) => {
                    entry.insert(place);
                }
                Entry::Occupied(entry) => {
                    let first = self.files.get(entry.get().file).map(WeightFile::path);
                    let found = format!("it in {} too", first.unwrap_or(path).display());
                    return Err(Error::InvalidCheckpoint(here("it in one shard", found)));
                }
            }
            names.insert(name);
        }
        self.files.push(file);
        Ok(names)
    }

    /// The matrix that tensor `name` of `kind`, codes or their scales, is to be made of; `None` if it
    /// is in the files itself.
    pub(super) fn made_of(&self, name: &str, kind: Kind) -> Option<(&String, &Place)> {
        match self.places.get_key_value(name) {
            Some((name, place)) => {
                let codes = Quantization::of_codes(kind).is_some() && !place.dtype.is_codes();
                codes.then_some((name, place))
            }
            None => self.places.get_key_value(name.strip_suffix(SCALE)?),
        }
    }

    /// Bytes of all tensors in the files.
    pub fn bytes(&self) -> u64 {
        self.places.values().map(|place| place.bytes as u64).sum()
    }

    /// The dtype that most bytes of the files are in, which the dtype "auto" goes by.
    pub fn dtype(&self) -> DType {
        let in_dtype = |dtype: DType| -> u64 {
            // What is in blocks was in half precision before, as like as not.
            let of_dtype = |(name, place): &(&String, &Place)| match place.dtype {
                Stored::Numbers(found) => found == dtype && !name.ends_with(SCALE),
                Stored::Blocks(_) => dtype == DType::BF16,
                Stored::Codes(_) => false,
            };
            self.places.iter().filter(of_dtype).map(|(_, place)| place.bytes as u64).sum()
        };
        // Of equal shares the later one wins, so that an empty file counts as float32.
        let all = [DType::BF16, DType::F16, DType::F32];
        all.into_iter().max_by_key(|&dtype| in_dtype(dtype)).unwrap_or(DType::F32)
    }

    /// The single file or the index.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The file that holds `place`.
    pub(super) fn path_of(&self, place: &Place) -> &Path {
        self.files.get(place.file).map_or(&self.name, WeightFile::path)
    }
}

/// Whether `folder` has weight files of `variant`.
pub(super) fn has_variant(folder: &Path, stem: &str, variant: &str) -> Result<bool> {
    Ok(locate(folder, stem, Some(variant))?.is_some())
}

/// The single file, or the index and `true`.
fn locate(folder: &Path, stem: &str, variant: Option<&str>) -> Result<Option<(PathBuf, bool)>> {
    let (single, indices) = match variant {
        None => (format!("{stem}.safetensors"), vec![format!("{stem}.safetensors.index.json")]),
        Some(variant) => {
            check_variant(variant)?;
            let indices = vec![
                format!("{stem}.safetensors.index.{variant}.json"),
                // Written by older releases, still read by diffusers
                // (0.42.1 models/model_loading_utils.py:613).
                format!("{stem}.safetensors.{variant}.index.json"),
            ];
            (format!("{stem}.{variant}.safetensors"), indices)
        }
    };
    let single = Some((folder.join(single), false));
    let mut candidates: Vec<_> = indices.iter().map(|name| (folder.join(name), true)).collect();
    if stem == "model" {
        candidates.splice(0..0, single);
    } else {
        candidates.extend(single);
    }
    for (path, sharded) in candidates {
        if exists(&path)? {
            return Ok(Some((path, sharded)));
        }
    }
    Ok(None)
}

/// A variant becomes part of a file name, so it must not lead out of the folder.
fn check_variant(variant: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if variant.is_empty() || variant.len() > 64 || !variant.chars().all(plain) {
        return Err(Error::InvalidArgument(format!(
            "variant: expected 1 to 64 letters, digits, dots, hyphens or underscores, found {}",
            quoted(variant)
        )));
    }
    Ok(())
}

fn missing(folder: &Path, stem: &str, variant: Option<&str>) -> Error {
    let wanted = match variant {
        Some(variant) => format!("{stem}.{variant}.safetensors"),
        None => format!("{stem}.safetensors"),
    };
    let path = folder.join(&wanted);
    let pickle = if stem == "model" { "pytorch_model" } else { stem };
    let pickles = [format!("{pickle}.bin"), format!("{pickle}.bin.index.json")];
    match pickles.iter().find(|name| folder.join(name).exists()) {
        Some(name) => Error::UnsupportedModel(format!(
            "{}: expected this file or an index of shards, found only {name}, which is a pickle \
             and not read; save the pipeline with safe_serialization=True",
            path.display()
        )),
        None => Error::NotFound(format!(
            "{}: expected this file or an index of shards, found neither",
            path.display()
        )),
    }
}

/// The shards that an index names, and the tensors that it lists in each.
fn read_index(index: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = super::fields::read_text(index, MAX_INDEX_BYTES)?;
    let mut fields = Fields::parse(index, &text)?;
    let map = match fields.take("weight_map") {
        Some(Value::Object(map)) if !map.is_empty() => map,
        _ => return Err(fields.invalid("weight_map", "tensors and their shards", "none")),
    };
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in map {
        let name = shard.as_str().unwrap_or_default();
        // Shards lie beside their index: anything else could reach files outside the folder.
        if !name.ends_with(".safetensors") || name.contains(['/', '\\', '\0']) {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: weight_map: tensor {}: expected the plain name of a safetensors file, found {}",
                index.display(),
                quoted(&tensor),
                super::fields::shown(&shard)
            )));
        }
        shards.entry(name.to_string()).or_default().insert(tensor);
        if shards.len() > MAX_SHARDS {
            let expected = format!("at most {MAX_SHARDS} shards");
            return Err(fields.unsupported("weight_map", expected, "more"));
        }
    }
    Ok(shards)
}
