//! LoRA files as diffusers saves and loads them for CogVideoX (0.42.1 loaders/lora_pipeline.py:2353,
//! loaders/peft.py:79).
//!
//! The original model's names are taken too, which diffusers leaves to a script of the authors.
//!
//! Where diffusers leaves out in silence, or with a warning, what it can't place, here is an error:
//! an adapter of which half is missing does not do what its name says.
//!
//! | file | what it does |
//! | --- | --- |
//! | `keys` | what a key names: the layouts that are read, and those that are told apart |
//! | `metadata` | `lora_adapter_metadata`, the configuration that peft trained with |

mod keys;
mod metadata;

use super::fields::{exists, is_folder, quoted};
use super::progress::LoadProgress;
use super::{WeightFiles, WeightStore};
use crate::models::layers::{Adapter, LowRankFactors};
use crate::models::transformer::LinearModule;
use crate::runtime::{Control, LogLevel, Placement};
use crate::{Error, Result};
use keys::{Key, Part, Rows};
use metadata::Metadata;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// What diffusers calls the file in a folder (loaders/lora_base.py:64).
const FILE_NAME: &str = "pytorch_lora_weights.safetensors";
/// What it calls the pickle that it saved before.
const PICKLE_NAME: &str = "pytorch_lora_weights.bin";
/// The entry of the header's metadata (loaders/lora_base.py:65).
const METADATA_KEY: &str = "lora_adapter_metadata";

/// Reads the adapter in `path`, a file or a folder that holds `pytorch_lora_weights.safetensors`,
/// for a model with `modules`. The factors are in the placement's dtype and on its device, as
/// diffusers casts them to those of the layer.
///
/// Errors: [`Error::NotFound`]; [`Error::UnsupportedModel`] for a layout or a kind of adapter that
/// diffusers does not load into CogVideoX either, naming it; [`Error::InvalidCheckpoint`] for all
/// else, naming the file, the tensor, what was expected and what was found.
pub fn read(
    path: &Path,
    modules: &[LinearModule],
    placement: Placement,
    control: &Control,
) -> Result<Adapter> {
    let path = locate(path)?;
    let files = WeightFiles::open_single(path.clone())?;
    let raw = files.files.first().and_then(|file| file.metadata.metadata().as_ref());
    let metadata = match raw.and_then(|entries| entries.get(METADATA_KEY)) {
        Some(text) if !text.is_empty() => Metadata::parse(&path, text)?,
        _ => None,
    };
    let layers = layers(&path, &files, modules, control)?;
    let factors = {
        let store = WeightStore::new(files, placement, control, &LoadProgress::default());
        let reader = Reader { path: &path, store: &store, metadata: metadata.as_ref() };
        let read =
            |(name, layer): (String, Layer)| Ok((name.clone(), reader.factors(&name, layer)?));
        layers.into_iter().map(read).collect::<Result<_>>()?
    };
    Ok(Adapter { factors })
}

/// The file that `path` means.
fn locate(path: &Path) -> Result<PathBuf> {
    if !is_folder(path)? {
        return match exists(path)? {
            true => Ok(path.to_path_buf()),
            false => Err(Error::NotFound(format!(
                "{}: expected a LoRA file or a folder with {FILE_NAME}, found nothing",
                path.display()
            ))),
        };
    }
    let file = path.join(FILE_NAME);
    if exists(&file)? {
        return Ok(file);
    }
    match exists(&path.join(PICKLE_NAME))? {
        true => Err(Error::UnsupportedModel(format!(
            "{}: expected this file, found only {PICKLE_NAME}, which is a pickle and not read; \
             save the adapter with safe_serialization=True",
            file.display()
        ))),
        false => Err(Error::NotFound(format!(
            "{}: expected this file in the folder, found none; a file by another name can be \
             given itself",
            file.display()
        ))),
    }
}

/// A tensor in the file: its name, its shape, and which rows are the module's.
type Source = (String, Vec<i64>, Rows);

/// The tensors of one module.
#[derive(Default)]
struct Layer {
    down: Option<Source>,
    up: Option<Source>,
    bias: Option<Source>,
    alpha: Option<Source>,
}

/// The file's tensors by module, checked against the model's.
fn layers(
    path: &Path,
    files: &WeightFiles,
    modules: &[LinearModule],
    control: &Control,
) -> Result<BTreeMap<String, Layer>> {
    let shown = path.display();
    if files.places.is_empty() {
        return Err(Error::InvalidCheckpoint(format!(
            "{shown}: expected the weights of an adapter, found no tensors"
        )));
    }
    let known: BTreeMap<&str, &LinearModule> =
        modules.iter().map(|module| (module.name.as_str(), module)).collect();
    let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
    let (mut strange, mut dora) = (Vec::new(), 0usize);
    for (name, place) in &files.places {
        let keys = keys::parse(path, name)?;
        dora += usize::from(keys.is_empty());
        for Key { module, part, rows } in keys {
            if !known.contains_key(module.as_str()) {
                strange.push((name, module));
                continue;
            }
            let layer = layers.entry(module).or_default();
            let slot = match part {
                Part::Down => &mut layer.down,
                Part::Up => &mut layer.up,
                Part::UpBias => &mut layer.bias,
                Part::Alpha => &mut layer.alpha,
            };
            if let Some((first, ..)) = slot {
                return Err(Error::InvalidCheckpoint(format!(
                    "{shown}: tensor {}: expected one for its module, found {} too",
                    quoted(name),
                    quoted(first)
                )));
            }
            *slot = Some((name.clone(), place.shape.clone(), rows));
        }
    }
    if !strange.is_empty() {
        return Err(strangers(path, &strange, layers.is_empty(), modules));
    }
    if layers.is_empty() {
        return Err(Error::InvalidCheckpoint(format!(
            "{shown}: expected lora_A and lora_B of the transformer's modules, found none"
        )));
    }
    if dora > 0 {
        // As lora_state_dict does (loaders/lora_pipeline.py:2407).
        control.log(
            LogLevel::Warning,
            format!(
                "{shown}: {dora} tensors of DoRA (dora_scale) are passed over, as in diffusers"
            ),
        );
    }
    for (name, layer) in &layers {
        if let Some(module) = known.get(name.as_str()) {
            check(path, module, layer)?;
        }
    }
    Ok(layers)
}

/// The error for keys of modules that the model does not have.
fn strangers(
    path: &Path,
    strange: &[(&String, String)],
    none_matches: bool,
    modules: &[LinearModule],
) -> Error {
    let names: Vec<String> = strange.iter().take(3).map(|(name, _)| quoted(name)).collect();
    let more = if strange.len() > names.len() { ", …" } else { "" };
    let layer_of = |name: &str| -> Option<i64> {
        name.strip_prefix("transformer_blocks.")?.split('.').next()?.parse().ok()
    };
    let last = |names: &mut dyn Iterator<Item = &str>| names.filter_map(layer_of).max();
    let own = last(&mut modules.iter().map(|module| module.name.as_str())).map_or(0, |n| n + 1);
    let of_others = last(&mut strange.iter().map(|(_, module)| module.as_str()));
    let expected = match of_others {
        Some(found) if found >= own => {
            let found = found.saturating_add(1);
            format!(
                "an adapter for {own} transformer blocks, as this model has, found one for {found}"
            )
        }
        _ if none_matches => {
            "an adapter for this model's linear layers, found no key of them".to_string()
        }
        _ => "only keys of this model's linear layers, found others".to_string(),
    };
    let count = strange.len();
    Error::InvalidCheckpoint(format!(
        "{}: expected {expected}: {}{more} ({count} keys)",
        path.display(),
        names.join(", ")
    ))
}

/// The factors must be there, fit each other, and fit the module.
fn check(path: &Path, module: &LinearModule, layer: &Layer) -> Result<()> {
    let missing = |found: &str, part: &str| {
        Error::InvalidCheckpoint(format!(
            "{}: module {}: expected {part} beside {}, found none",
            path.display(),
            quoted(&module.name),
            quoted(found)
        ))
    };
    let ((down, down_shape, _), (up, up_shape, rows)) = match (&layer.down, &layer.up) {
        (Some(down), Some(up)) => (down, up),
        (Some((down, ..)), None) => return Err(missing(down, "a lora_B")),
        (None, Some((up, ..))) => return Err(missing(up, "a lora_A")),
        (None, None) => {
            let other = layer.bias.as_ref().or(layer.alpha.as_ref());
            let other = other.map_or("", |(name, ..)| name.as_str());
            return Err(missing(other, "lora_A and lora_B"));
        }
    };
    let wrong = |name: &str, expected: String, found: &[i64]| {
        Error::InvalidCheckpoint(format!(
            "{}: tensor {}: expected {expected}, found shape {found:?}",
            path.display(),
            quoted(name)
        ))
    };
    let (Some((&outputs, inputs)), Some(&rank)) = (module.shape.split_first(), down_shape.first())
    else {
        let expected = "(rank, inputs)".to_string();
        return Err(wrong(down, expected, down_shape));
    };
    let expected_down = [&[rank], inputs].concat();
    if *down_shape != expected_down || rank < 1 {
        let inputs: Vec<String> = inputs.iter().map(i64::to_string).collect();
        let expected = format!(
            "shape [rank, {}] for this model's {} {:?}",
            inputs.join(", "),
            module.name,
            module.shape
        );
        return Err(wrong(down, expected, down_shape));
    }
    if up_shape.get(1).is_some_and(|&of_up| of_up != rank) {
        let expected = format!("{rank} columns, the rank that lora_A has rows");
        return Err(wrong(up, expected, up_shape));
    }
    // The rows of a layer that has become several modules are those of all.
    let rows_of = |rows: &Rows| outputs * rows.parts / rows.taken.len().max(1) as i64;
    let mut expected_up = vec![1; module.shape.len()];
    expected_up.splice(..2, [rows_of(rows), rank]);
    if *up_shape != expected_up {
        let (name, shape) = (&module.name, &module.shape);
        let expected = format!("shape {expected_up:?} for this model's {name} {shape:?}");
        return Err(wrong(up, expected, up_shape));
    }
    if let Some((bias, shape, rows)) = &layer.bias {
        if *shape != [rows_of(rows)] {
            return Err(wrong(bias, format!("shape [{}]", rows_of(rows)), shape));
        }
    }
    if let Some((alpha, shape, _)) = &layer.alpha {
        if shape.iter().product::<i64>() != 1 {
            return Err(wrong(alpha, "one number".into(), shape));
        }
    }
    Ok(())
}

/// Reads what was checked.
struct Reader<'a> {
    path: &'a Path,
    store: &'a WeightStore,
    metadata: Option<&'a Metadata>,
}

impl Reader<'_> {
    fn factors(&self, module: &str, layer: Layer) -> Result<LowRankFactors> {
        let down = self.matrix(layer.down)?;
        let up = self.matrix(layer.up)?;
        let bias = match layer.bias {
            Some((name, shape, rows)) => Some(self.rows(self.tensor(&name, &shape)?, rows)?),
            None => None,
        };
        let rank = crate::runtime::dim(&down, 0)?;
        let alpha = match layer.alpha {
            Some((name, shape, _)) => {
                let value = self.store.root().tensor_as(&name, &shape, Kind::Float)?;
                let value = value.f_flatten(0, -1)?.f_double_value(&[0])?;
                Some((name, value))
            }
            None => None,
        };
        let scale = match (alpha, self.metadata) {
            (Some((name, _)), Some(_)) => {
                return Err(Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected alphas in the tensors or in {METADATA_KEY}, found both",
                self.path.display(),
                quoted(&name)
            )))
            }
            (Some((name, value)), None) if !value.is_finite() => {
                return Err(Error::InvalidCheckpoint(format!(
                    "{}: tensor {}: expected a finite number, found {value}",
                    self.path.display(),
                    quoted(&name)
                )))
            }
            (Some((_, value)), None) => value / rank as f64,
            (None, Some(metadata)) => metadata.scale(module, rank)?,
            // diffusers takes alpha as the rank then (utils/peft_utils.py:159).
            (None, None) => 1.0,
        };
        Ok(LowRankFactors { down, up, bias, scale })
    }

    /// A factor of a linear layer or of a convolution, which is one of a linear layer over patches.
    fn matrix(&self, tensor: Option<Source>) -> Result<Tensor> {
        let (name, shape, rows) =
            tensor.ok_or_else(|| Error::Internal("a factor that was checked is gone".into()))?;
        self.rows(self.tensor(&name, &shape)?.f_flatten(1, -1)?, rows)
    }

    /// The module's rows of a tensor.
    fn rows(&self, tensor: Tensor, rows: Rows) -> Result<Tensor> {
        if rows == Rows::ALL {
            return Ok(tensor);
        }
        let each = crate::runtime::dim(&tensor, 0)? / rows.parts;
        let parts = rows.taken.iter().map(|part| tensor.f_narrow(0, part * each, each));
        Ok(Tensor::f_cat(&parts.collect::<std::result::Result<Vec<_>, _>>()?, 0)?)
    }

    /// A tensor, whose numbers must be finite.
    fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let tensor = self.store.root().tensor(name, shape)?;
        let finite = tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
        if !finite {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected finite numbers, found NaN or infinity",
                self.path.display(),
                quoted(name)
            )));
        }
        Ok(tensor)
    }
}
