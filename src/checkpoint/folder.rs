//! The pipeline folder: `model_index.json` and the folders of the components.

use super::config::{SchedulerClass, SchedulerConfig, T5Config, TransformerConfig, VaeConfig};
use super::fields::{exists, is_folder, shown, Fields};
use super::files::{has_variant, WeightFiles};
use super::original;
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

const INDEX: &str = "model_index.json";
/// A tiny decoder for previews, called as its kind is (madebyollin's taecvx). It lies beside the index,
/// which does not name it: diffusers reads only what the index names, and warns of or refuses what its
/// class does not know, so that the same folder loads there too.
const PREVIEW_DECODER: &str = "taecvx.safetensors";

/// What a pipeline makes videos from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// A prompt, and a video if there is one: the networks are those of video to video.
    TextToVideo,
    /// A prompt and an image, which is the first frame.
    ImageToVideo,
    /// A prompt and a video, which is made anew.
    VideoToVideo,
    /// A prompt and a video that the result follows (alibaba-pai's CogVideoX-Fun "Control").
    Control,
    /// A prompt and parts of a video (alibaba-pai's CogVideoX-Fun "InP"), or a prompt alone.
    Inpainting,
}

impl Task {
    const ALL: [Task; 5] = [
        Task::TextToVideo,
        Task::ImageToVideo,
        Task::VideoToVideo,
        Task::Control,
        Task::Inpainting,
    ];

    /// What the task is called.
    pub fn name(self) -> &'static str {
        match self {
            Task::TextToVideo => "text to video",
            Task::ImageToVideo => "image to video",
            Task::VideoToVideo => "video to video",
            Task::Control => "control",
            Task::Inpainting => "inpainting",
        }
    }

    /// The pipeline class that the index names.
    fn class(self) -> &'static str {
        match self {
            Task::TextToVideo => "CogVideoXPipeline",
            Task::ImageToVideo => "CogVideoXImageToVideoPipeline",
            Task::VideoToVideo => "CogVideoXVideoToVideoPipeline",
            Task::Control => "CogVideoXFunControlPipeline",
            // The authors' own; diffusers has none, and their folders name that of text to video.
            Task::Inpainting => "CogVideoXFunInpaintPipeline",
        }
    }
}

/// A pipeline folder whose index and configs have been read and checked.
#[derive(Debug, Clone)]
pub struct PipelineFolder {
    pub root: PathBuf,
    pub task: Task,
    pub transformer: TransformerConfig,
    pub vae: VaeConfig,
    pub text_encoder: T5Config,
    pub scheduler: SchedulerConfig,
    /// Files that have the weights of components in place of the folder's.
    pub weights: WeightPaths,
    /// What was passed over while the configs were read, for the log.
    pub warnings: Vec<String>,
}

/// A component that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    TextEncoder,
    Transformer,
    Vae,
}

impl Component {
    pub const ALL: [Component; 3] =
        [Component::TextEncoder, Component::Transformer, Component::Vae];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Component::TextEncoder => "text_encoder",
            Component::Transformer => "transformer",
            Component::Vae => "vae",
        }
    }

    /// What its weight files are called: transformers and diffusers differ.
    pub fn stem(self) -> &'static str {
        match self {
            Component::TextEncoder => "model",
            Component::Transformer | Component::Vae => "diffusion_pytorch_model",
        }
    }
}

/// Files that have the weights of components; `None`: those of the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightPaths {
    text_encoder: Option<PathBuf>,
    transformer: Option<PathBuf>,
    vae: Option<PathBuf>,
}

impl WeightPaths {
    /// That of the component of this name. Errors: [`Error::InvalidArgument`] for another.
    pub fn of_mut(&mut self, component: &str) -> Result<&mut Option<PathBuf>> {
        match Component::ALL.into_iter().find(|known| known.name() == component) {
            Some(Component::TextEncoder) => Ok(&mut self.text_encoder),
            Some(Component::Transformer) => Ok(&mut self.transformer),
            Some(Component::Vae) => Ok(&mut self.vae),
            None => Err(Error::InvalidArgument(format!(
                "component must be one of {:?}, found {component:?}",
                Component::ALL.map(Component::name)
            ))),
        }
    }

    pub fn of(&self, component: Component) -> Option<&Path> {
        match component {
            Component::TextEncoder => self.text_encoder.as_deref(),
            Component::Transformer => self.transformer.as_deref(),
            Component::Vae => self.vae.as_deref(),
        }
    }
}

impl PipelineFolder {
    /// Reads and checks the index and the configs; no weights yet.
    ///
    /// Errors: [`Error::NotFound`] naming the path that is missing,
    /// [`Error::UnsupportedModel`] for another pipeline or component class or a config that
    /// can't be honoured, [`Error::InvalidCheckpoint`] for files that are damaged or
    /// contradict one another.
    pub fn open(root: &Path) -> Result<PipelineFolder> {
        if !is_folder(root)? {
            return Err(Error::NotFound(format!(
                "{}: expected a pipeline folder, found {}",
                root.display(),
                if exists(root)? { "a file" } else { "nothing" }
            )));
        }
        let index = root.join(INDEX);
        let mut fields = Fields::read(&index)?;
        let task = task(&mut fields)?;
        component(&mut fields, "transformer", "diffusers", &[TransformerConfig::CLASS])?;
        component(&mut fields, "vae", "diffusers", &[VaeConfig::CLASS])?;
        component(&mut fields, "text_encoder", "transformers", &[T5Config::CLASS])?;
        component(&mut fields, "tokenizer", "transformers", &["T5Tokenizer", "T5TokenizerFast"])?;
        let schedulers = SchedulerClass::ALL.map(SchedulerClass::name);
        let scheduler = component(&mut fields, "scheduler", "diffusers", &schedulers)?;
        let class = if scheduler == 0 { SchedulerClass::Ddim } else { SchedulerClass::Dpm };
        reject_other_components(fields)?;

        for folder in ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"] {
            let path = root.join(folder);
            if !is_folder(&path)? {
                return Err(Error::NotFound(format!(
                    "{}: expected the folder of a component that {INDEX} names, found none",
                    path.display()
                )));
            }
        }
        let mut warnings = Vec::new();
        let w = &mut warnings;
        let scheduler = root.join("scheduler/scheduler_config.json");
        let mut folder = PipelineFolder {
            transformer: TransformerConfig::read(&root.join("transformer/config.json"), w)?,
            vae: VaeConfig::read(&root.join("vae/config.json"), w)?,
            text_encoder: T5Config::read(&root.join("text_encoder/config.json"))?,
            scheduler: SchedulerConfig::read(&scheduler, class, w)?,
            root: root.to_path_buf(),
            task,
            weights: WeightPaths::default(),
            warnings,
        };
        folder.task = folder.task_by_inputs();
        folder.check()?;
        Ok(folder)
    }

    /// The file of the folder's own tiny decoder for previews, if it has one. Errors: [`Error::Io`].
    pub fn preview_decoder(&self) -> Result<Option<PathBuf>> {
        let path = self.root.join(PREVIEW_DECODER);
        Ok(exists(&path)?.then_some(path))
    }

    /// What the configs of different components must agree about.
    fn check(&self) -> Result<()> {
        let transformer = &self.transformer;
        self.check_task()?;
        let latents = self.vae.latent_channels;
        let (inputs, like) = match self.task {
            Task::TextToVideo | Task::VideoToVideo => (latents, "vae latent_channels"),
            Task::ImageToVideo | Task::Control => (2 * latents, "twice vae latent_channels"),
            Task::Inpainting => (2 * latents + 1, "1 + twice vae latent_channels"),
        };
        let agree = [
            ("in_channels", transformer.in_channels, like, inputs),
            ("out_channels", transformer.out_channels, "vae latent_channels", latents),
            (
                "text_embed_dim",
                transformer.text_embed_dim,
                "text_encoder d_model",
                self.text_encoder.d_model,
            ),
        ];
        match agree.iter().find(|(_, found, _, expected)| found != expected) {
            Some((field, found, other, expected)) => Err(Error::InvalidCheckpoint(format!(
                "{}: {field}: expected {expected} like {other}, found {found}",
                self.root.join("transformer/config.json").display()
            ))),
            None => Ok(()),
        }
    }

    /// The task, by what the transformer is given: the index of CogVideoX-Fun's folders names the class
    /// of text to video for control and inpainting too.
    fn task_by_inputs(&self) -> Task {
        let (transformer, latents) = (&self.transformer, self.vae.latent_channels);
        let images = transformer.ofs_embed_dim.is_some() || transformer.positions.learned();
        if self.task != Task::TextToVideo || images || transformer.out_channels != latents {
            return self.task;
        }
        match transformer.in_channels - 2 * latents {
            0 => Task::Control,
            1 => Task::Inpainting,
            _ => self.task,
        }
    }

    /// A transformer that takes further inputs beside the noise belongs to another task, though
    /// the index names the class of text to video.
    fn check_task(&self) -> Result<()> {
        if self.task != Task::TextToVideo {
            return Ok(());
        }
        let transformer = &self.transformer;
        let unsupported = |field: &str, expected: String, found: i64, task: &str| {
            Err(Error::UnsupportedModel(format!(
                "{}: {field}: expected {expected}, found {found}, which is that of a transformer \
                 for {task}, and is not supported in a {}",
                self.root.join("transformer/config.json").display(),
                self.task.class()
            )))
        };
        if let Some(found) = transformer.ofs_embed_dim {
            return unsupported("ofs_embed_dim", "null".into(), found, "image to video");
        }
        let (found, latents) = (transformer.in_channels, self.vae.latent_channels);
        if transformer.out_channels != latents {
            return Ok(());
        }
        match found - 2 * latents {
            0 | 1 => {
                let expected = format!("{latents} like vae latent_channels");
                unsupported("in_channels", expected, found, "image to video")
            }
            _ => Ok(()),
        }
    }

    /// Maps and checks the weight files of `component`, without reading weights.
    ///
    /// With a `variant`, a component that has no file of it is read from its plain files, as
    /// diffusers does (pipelines/pipeline_loading_utils.py:984); [`Error::NotFound`] if none
    /// of the components has it.
    pub fn weight_files(&self, component: Component, variant: Option<&str>) -> Result<WeightFiles> {
        if let Some(path) = self.weights.of(component) {
            let files = WeightFiles::open_file(path, component)?;
            // The original's files have a table of positions where they are computed, too.
            let table = !self.transformer.positions.learned();
            return Ok(match component == Component::Transformer && table {
                true => files.without(original::POSITIONS),
                false => files,
            });
        }
        let folder = self.root.join(component.name());
        let Some(wanted) = variant else {
            return WeightFiles::open(&folder, component.stem(), None);
        };
        if has_variant(&folder, component.stem(), wanted)? {
            return WeightFiles::open(&folder, component.stem(), variant);
        }
        for other in Component::ALL {
            if has_variant(&self.root.join(other.name()), other.stem(), wanted)? {
                return WeightFiles::open(&folder, component.stem(), None);
            }
        }
        Err(Error::NotFound(format!(
            "{}: expected weight files of variant {wanted:?} in at least one component, found none",
            self.root.display()
        )))
    }

    /// The folder of the tokenizer.
    pub fn tokenizer(&self) -> PathBuf {
        self.root.join("tokenizer")
    }
}

/// What the index's pipeline class is for.
fn task(fields: &mut Fields) -> Result<Task> {
    let Some(found) = fields.take("_class_name") else {
        return Err(fields.invalid("_class_name", "a pipeline class", "none"));
    };
    if let Some(task) = Task::ALL.into_iter().find(|task| found.as_str() == Some(task.class())) {
        return Ok(task);
    }
    let classes = Task::ALL.map(|task| format!("{:?}", task.class())).join(" or ");
    Err(fields.unsupported("_class_name", classes, &shown(&found)))
}

/// Checks that the index names one of `classes` for `name`, and returns which.
fn component(fields: &mut Fields, name: &str, library: &str, classes: &[&str]) -> Result<usize> {
    let quoted: Vec<String> = classes.iter().map(|c| format!("[{library:?}, {c:?}]")).collect();
    let expected = quoted.join(" or ");
    let Some(value) = fields.take(name) else {
        return Err(fields.invalid(name, expected, "none"));
    };
    if let Some([Value::String(found_library), Value::String(found)]) =
        value.as_array().map(Vec::as_slice)
    {
        if let Some(place) = classes.iter().position(|c| c == found) {
            if found_library == library {
                return Ok(place);
            }
        }
    }
    Err(fields.unsupported(name, expected, &shown(&value)))
}

/// A further component would belong to a pipeline that does something else with it.
fn reject_other_components(fields: Fields) -> Result<()> {
    let absent = |value: &Value| match value {
        Value::Null => true,
        Value::Array(pair) => pair.iter().all(Value::is_null),
        _ => false,
    };
    let mut fields = fields;
    let names: Vec<String> = fields.names().filter(|n| !n.starts_with('_')).collect();
    for name in names {
        match fields.take(&name) {
            Some(value) if !absent(&value) => {
                return Err(fields.unsupported(&name, "no such component", &shown(&value)));
            }
            _ => {}
        }
    }
    Ok(())
}
