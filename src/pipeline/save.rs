//! Saving a pipeline as a folder that loads again: diffusers' layout, with matrices quantized where
//! the pipeline has them so (`checkpoint::save`).
//!
//! Weights come from the folder that the pipeline was loaded from, not from memory, where they may
//! be in another dtype, on a device, or not at all. So a saved folder holds the numbers of the
//! folder itself, and what it quantizes has the codes of the pipeline.

use super::components::Components;
use super::Pipeline;
use crate::checkpoint::fields::{exists, io, is_folder, read_text};
use crate::checkpoint::folder::Component;
use crate::checkpoint::{save, LoadProgress, MatrixNames, PipelineFolder, WeightStore};
use crate::models::t5::T5Encoder;
use crate::models::transformer::Transformer;
use crate::runtime::process::Work;
use crate::runtime::{warnings, Control, Placement};
use crate::{Error, Result};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The largest file beside weights that is copied; tokenizers have some megabytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// What a folder that is being written is called, with a random part behind.
const PREFIX: &str = ".cvx-saving-";
/// One that was begun so long ago is nobody's: its process was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

impl Pipeline {
    /// Writes the pipeline's folder to `target`, where nothing is: configs, tokenizer and weights,
    /// those that are quantized as such. It is there whole, or not at all.
    ///
    /// Errors: [`Error::InvalidArgument`] if there is something, and while the transformer has fused
    /// adapters, which a folder has no place for; [`Error::NotFound`] if the folder above it or a
    /// file of the pipeline's own folder is gone; [`Error::InvalidCheckpoint`]; [`Error::Io`].
    pub fn save(&self, target: &Path, control: &Control) -> Result<()> {
        let _work = Work::begin()?;
        let _no_grad = tch::no_grad_guard();
        if self.adapters().has_fused() {
            return Err(Error::InvalidArgument(
                "save: expected weights as they were loaded, found fused adapters: unfuse them, \
                 or load the pipeline anew, and load the adapters again after saving"
                    .into(),
            ));
        }
        let control = self.with_log(control);
        let write = || write(&self.components, target, &control);
        self.components.at_home(|| warnings::to_log(&control, write))
    }
}

fn write(components: &Components, target: &Path, control: &Control) -> Result<()> {
    if target.as_os_str().is_empty() || taken(target)? {
        return Err(Error::InvalidArgument(format!(
            "folder: expected a path where nothing is, found {target:?}"
        )));
    }
    let above = match target.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => Path::new("/"),
    };
    if !is_folder(above)? {
        return Err(Error::NotFound(format!(
            "{}: expected the folder that {} is to be in, found none",
            above.display(),
            target.display()
        )));
    }
    // Beside the target, so that it can be given its name in one step; removed if that fails.
    tidy(above);
    let scratch = tempfile::Builder::new().prefix(PREFIX).tempdir_in(above);
    let scratch = scratch.map_err(|e| io(above, &e))?;
    let folder = scratch.path().join("pipeline");
    let make = |path: &Path| fs::create_dir(path).map_err(|e| io(path, &e));
    make(&folder)?;
    let root = &components.folder.root;
    copy(&root.join("model_index.json"), &folder.join("model_index.json"))?;
    if let Some(decoder) = components.folder.preview_decoder()? {
        let name = decoder.file_name().unwrap_or_default();
        copy(&decoder, &folder.join(name))?;
    }
    for name in ["tokenizer", "scheduler"] {
        make(&folder.join(name))?;
        for entry in fs::read_dir(root.join(name)).map_err(|e| io(&root.join(name), &e))? {
            let entry = entry.map_err(|e| io(&root.join(name), &e))?;
            if entry.path().is_file() {
                copy(&entry.path(), &folder.join(name).join(entry.file_name()))?;
            }
        }
    }
    for component in Component::ALL {
        control.check()?;
        let (from, to) = (root.join(component.name()), folder.join(component.name()));
        make(&to)?;
        config(components, component, &from.join("config.json"), &to.join("config.json"))?;
        let file = to.join(format!("{}.safetensors", component.stem()));
        let (matrices, files) = matrices(components, component, control)?;
        save::write(&file, &files, components.quantizations.of(component), &matrices, control)?;
    }
    fs::rename(&folder, target).map_err(|e| io(target, &e))
}

/// The names of the matrices that are quantized where their component is, and the files that they
/// are in.
fn matrices(
    components: &Components,
    component: Component,
    control: &Control,
) -> Result<(BTreeSet<String>, std::sync::Arc<crate::checkpoint::WeightFiles>)> {
    let files = components.folder.weight_files(component, components.variant.as_deref())?;
    let control = Control { progress: None, ..control.clone() };
    let store = WeightStore::new(files, Placement::CPU, &control, &LoadProgress::default());
    let names = MatrixNames::default();
    // A network that is loaded without reading anything says which they are.
    let weights = store.root().only_named(&names);
    match component {
        Component::TextEncoder => {
            T5Encoder::load(&components.folder.text_encoder, &weights)?;
        }
        Component::Transformer => {
            Transformer::load(&components.folder.transformer, &weights)?;
        }
        Component::Vae => {}
    }
    Ok((names.take(), store.files()))
}

/// Removes what killed processes left in the folder. Failing to is harmless: it is tidying.
fn tidy(above: &Path) {
    let Some(before) = SystemTime::now().checked_sub(ABANDONED) else { return };
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let ours = random.is_some_and(|random| {
            random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // Not through a symbolic link: this is the entry's own.
        let old = |found: fs::Metadata| {
            found.is_dir() && found.modified().is_ok_and(|modified| modified < before)
        };
        if ours && entry.metadata().is_ok_and(old) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether anything is at `path`, also a symbolic link that leads to nothing.
fn taken(path: &Path) -> Result<bool> {
    Ok(fs::symlink_metadata(path).is_ok() || exists(path)?)
}

/// Copies a component's config, and says in it how the weights are quantized.
fn config(components: &Components, component: Component, from: &Path, to: &Path) -> Result<()> {
    let text = read_text(from, MAX_FILE_BYTES)?;
    let quantization = components.quantizations.of(component);
    let Some(quantization) = quantization else {
        return fs::write(to, text).map_err(|e| io(to, &e));
    };
    // It was parsed before.
    let mut config: Value = serde_json::from_str(&text)
        .map_err(|e| Error::InvalidCheckpoint(format!("{}: {e}", from.display())))?;
    if let Value::Object(fields) = &mut config {
        fields.insert(
            "quantization_config".into(),
            json!({
                "quant_method": crate::checkpoint::QUANTIZATION_METHOD,
                "quantization": quantization.stored().name(),
                "version": 1,
            }),
        );
    }
    fs::write(to, format!("{config:#}\n")).map_err(|e| io(to, &e))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let found = fs::metadata(from).map_err(|e| io(from, &e))?;
    let length = found.len();
    if !found.is_file() {
        return Err(Error::InvalidCheckpoint(format!(
            "{}: expected a regular file, found a folder or a special file",
            from.display()
        )));
    }
    if length > MAX_FILE_BYTES {
        return Err(Error::InvalidCheckpoint(format!(
            "{}: expected at most {MAX_FILE_BYTES} bytes, found {length}",
            from.display()
        )));
    }
    fs::copy(from, to).map(drop).map_err(|e| io(to, &e))
}

/// Configs say how the weights that they are for are quantized; see [`super::load`].
pub(super) fn stored(folder: &PipelineFolder) -> super::Quantizations {
    super::Quantizations {
        text_encoder: folder.text_encoder.quantization,
        transformer: folder.transformer.quantization,
    }
}
