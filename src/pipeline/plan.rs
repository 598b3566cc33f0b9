//! What a run will take in each way of keeping the weights, told from the folder's configs alone, so
//! that a host can choose before it loads.
//!
//! A run has three phases: the prompt is encoded, latents are denoised, frames are decoded. Each way
//! of keeping weights ([`Mode`]) says which of them are on the device in which phase. Their sizes are
//! those of the tensors that the networks' own loading code asks for; the VAE's, and what phases take
//! beside weights, are counted by formulas that follow the code. On CUDA both are what libtorch's
//! allocator counts, within 10% (`tests/device/simulated/test_plan.py`). On the CPU, whose allocator
//! does not count, a phase takes between 0.5 and 1.5 times that (`tests/memory_estimate.rs`).

use super::components::encoded;
use super::load::{LoadOptions, Residency, StreamingModes};
use super::memory::{self, Phases};
use super::quantization::Quantizations;
use super::request::Request;
use super::{generate, save, GenerateOptions};
use crate::backend::Quantization;
use crate::cache::CacheConfig;
use crate::checkpoint::streaming::{imagined, WeightSizes};
use crate::checkpoint::{PipelineFolder, Streaming};
use crate::models::t5::T5Encoder;
use crate::models::transformer::Transformer;
use crate::models::vae::{Tiling, VaeDecoder};
use crate::runtime::device::DType;
use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use serde_json::{json, Value};
use std::fmt::Write as _;
use std::path::Path;
use tch::Device;

/// A way of keeping weights. The fastest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// What a host calls it.
    pub name: &'static str,
    pub residency: Residency,
    pub streaming: StreamingModes,
}

const fn mode(
    name: &'static str,
    residency: Residency,
    text_encoder: Streaming,
    transformer: Streaming,
) -> Mode {
    Mode { name, residency, streaming: StreamingModes { text_encoder, transformer } }
}

/// All ways that a plan weighs.
pub const MODES: [Mode; 6] = {
    use Streaming::{File, Resident};
    [
        mode("resident", Residency::All, Resident, Resident),
        mode("stream text encoder", Residency::All, File, Resident),
        mode("offload", Residency::OneAtATime, Resident, Resident),
        mode("offload, stream text encoder", Residency::OneAtATime, File, Resident),
        mode("stream", Residency::All, File, File),
        mode("offload, stream", Residency::OneAtATime, File, File),
    ]
};

/// How fast the device is taken to be, for comparing modes; no promise of seconds.
struct Speed {
    /// Multiplications with an addition each, a second.
    work: f64,
    /// Bytes of weights a second from files in the page cache to where they compute.
    read: f64,
}

impl Speed {
    fn of(device: Device) -> Speed {
        match device {
            Device::Cpu => Speed { work: 1e11, read: 2e9 },
            _ => Speed { work: 1e14, read: 6e9 },
        }
    }
}

/// One way, with tiles or without.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub mode: Mode,
    /// Whether frames are decoded in tiles of the default size.
    pub tiles: bool,
    /// The most at any time in each phase: encode, denoise, decode. Weights included.
    pub phases: [u64; 3],
    pub fits: bool,
    /// How long a run takes, of what it takes with resident weights and without tiles.
    pub relative_time: f64,
}

impl Choice {
    pub fn peak(&self) -> u64 {
        self.phases.into_iter().max().unwrap_or(0)
    }
}

/// What all ways of keeping weights take for one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub placement: Placement,
    /// What there may be; `None`: no bound.
    pub budget: Option<u64>,
    /// Of text encoder, transformer and VAE.
    pub weights: [u64; 3],
    /// What phases take beside weights, whole and in tiles: encode, denoise, decode, decode in tiles.
    pub working: [u64; 4],
    pub choices: Vec<Choice>,
}

impl Plan {
    /// Plans a run with `options` of the pipeline in `folder`, cached with `cache`.
    ///
    /// Its device and dtype are those of `load`; "auto" is what it would be, but a dtype that only
    /// weight files would tell, where there are none, is bf16. Errors: those of opening the folder's
    /// configs and of a run's options.
    pub fn new(
        root: &Path,
        load: &LoadOptions,
        options: &GenerateOptions,
        cache: Option<&CacheConfig>,
        budget: Option<u64>,
    ) -> Result<Plan> {
        let mut folder = PipelineFolder::open(root)?;
        folder.scheduler = folder.scheduler.with(&load.scheduler);
        folder.weights = load.weights.clone();
        let files = folder.weight_files(
            crate::checkpoint::folder::Component::Transformer,
            load.variant.as_deref(),
        );
        let file = files.map_or(DType::BF16, |files| files.dtype());
        let placement = Placement::imagine(&load.device, &load.dtype, file)?;
        let quantizations = load.quantizations.over(save::stored(&folder))?;
        Plan::of(&folder, placement, quantizations, options, cache, budget)
    }

    /// As [`Plan::new`], of a folder that is open, computed at `placement` with matrices stored as
    /// `quantizations` says.
    pub(super) fn of(
        folder: &PipelineFolder,
        placement: Placement,
        quantizations: Quantizations,
        options: &GenerateOptions,
        cache: Option<&CacheConfig>,
        budget: Option<u64>,
    ) -> Result<Plan> {
        let request = Request::resolve(folder, options, &Control::default())?;
        let info = generate::imagined_run(folder, placement, &request)?;
        let phases = |options: &GenerateOptions| -> Result<Phases> {
            let request = Request::resolve(folder, options, &Control::default())?;
            Ok(memory::phases(folder, placement, quantizations, &request, cache, &info))
        };
        let whole = phases(options)?;
        let mut in_tiles = options.clone();
        in_tiles.decode.tiling.get_or_insert_with(Tiling::default);
        let tiled = phases(&in_tiles)?;

        let text = imagined(placement, quantizations.text_encoder, |weights| {
            T5Encoder::load(&folder.text_encoder, weights).map(drop)
        })?;
        let transformer = imagined(placement, quantizations.transformer, |weights| {
            Transformer::load(&folder.transformer, weights).map(drop)
        })?;
        // Matrices that the load quantizes are kept in host memory where they stream.
        let stored = save::stored(folder);
        let made = |wanted: Option<Quantization>, stored: Option<Quantization>| {
            placement.device == Device::Cpu && wanted.is_some() && stored.is_none()
        };
        let made = [
            made(quantizations.text_encoder, stored.text_encoder),
            made(quantizations.transformer, stored.transformer),
        ];
        let element = placement.dtype.kind().elt_size_in_bytes() as i64;
        let encodes = encoded(folder.task);
        let vae = VaeDecoder::weight_bytes(&folder.vae, element, encodes);
        let weights = [text.bytes(), transformer.bytes(), vae];
        let working = [whole.encode, whole.denoise, whole.decode, tiled.decode];
        let speed = Speed::of(placement.device);
        let steps = generate::steps_of(folder, &request)? as f64;
        let step = whole.step_work / speed.work;
        let base = step * steps + whole.decode_work / speed.work;

        let mut choices = Vec::new();
        for mode in MODES {
            for tiles in [false, true] {
                let decode = if tiles { tiled.decode } else { whole.decode };
                let work = if tiles { tiled.decode_work } else { whole.decode_work };
                let working = [whole.encode, whole.denoise, decode];
                let phases = held(&mode, &text, &transformer, vae, made, working);
                let read = |bytes: u64| bytes as f64 / speed.read;
                let mut seconds = step * steps + work / speed.work;
                if mode.residency == Residency::OneAtATime {
                    let kept = |sizes: &WeightSizes, streaming| match streaming {
                        Streaming::Resident => sizes.bytes(),
                        _ => sizes.around,
                    };
                    let loads = kept(&text, mode.streaming.text_encoder)
                        + kept(&transformer, mode.streaming.transformer)
                        + vae;
                    seconds += read(loads);
                }
                if mode.streaming.text_encoder != Streaming::Resident {
                    // A prompt's few tokens take less than reading what they are multiplied with.
                    seconds += 2.0 * read(text.blocks.iter().sum());
                }
                if mode.streaming.transformer != Streaming::Resident {
                    let behind = read(transformer.blocks.iter().sum()) - step;
                    let first = transformer.blocks.first().copied().unwrap_or(0);
                    seconds += steps * (behind.max(0.0) + read(first));
                }
                let peak = phases.into_iter().max().unwrap_or(0);
                choices.push(Choice {
                    mode,
                    tiles,
                    phases,
                    fits: budget.is_none_or(|budget| peak <= budget),
                    relative_time: seconds / base.max(f64::MIN_POSITIVE),
                });
            }
        }
        Ok(Plan { placement, budget, weights, working, choices })
    }

    /// The fastest choice that fits.
    pub fn best(&self) -> Option<&Choice> {
        let fitting = self.choices.iter().filter(|choice| choice.fits);
        fitting.min_by(|a, b| a.relative_time.total_cmp(&b.relative_time))
    }

    /// [`Plan::best`], or [`Error::OutOfMemory`] with the least that would do.
    pub fn choose(&self) -> Result<&Choice> {
        self.best().ok_or_else(|| {
            let least = self.choices.iter().min_by_key(|choice| choice.peak());
            let least = least.map_or_else(String::new, |choice| {
                let tiles = if choice.tiles { " in tiles" } else { "" };
                format!("; the least is {} bytes, with \"{}\"{tiles}", choice.peak(), choice.mode.name)
            });
            Error::OutOfMemory(format!(
                "memory budget of {} bytes: no way of keeping the weights fits{least}; a smaller size \
                 or fewer frames need less",
                self.budget.unwrap_or(0)
            ))
        })
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let choice = |choice: &Choice| {
            let [encode, denoise, decode] = choice.phases;
            json!({
                "mode": choice.mode.name,
                "offload": choice.mode.residency == Residency::OneAtATime,
                "text_encoder": choice.mode.streaming.text_encoder.name(),
                "transformer": choice.mode.streaming.transformer.name(),
                "tiles": choice.tiles,
                "encode_bytes": encode,
                "denoise_bytes": denoise,
                "decode_bytes": decode,
                "peak_bytes": choice.peak(),
                "fits": choice.fits,
                "relative_time": choice.relative_time,
            })
        };
        let best = self.best().and_then(|best| self.choices.iter().position(|c| c == best));
        let [text_encoder, transformer, vae] = self.weights;
        let [encode, denoise, decode, decode_in_tiles] = self.working;
        json!({
            "device": if self.placement.device == Device::Cpu { "cpu" } else { "cuda" },
            "dtype": self.placement.dtype.name(),
            "budget_bytes": self.budget,
            "weights": {"text_encoder": text_encoder, "transformer": transformer, "vae": vae},
            "working": {"encode": encode, "denoise": denoise, "decode": decode,
                        "decode_in_tiles": decode_in_tiles},
            "choices": self.choices.iter().map(choice).collect::<Vec<_>>(),
            "best": best,
        })
    }

    /// All of it, for people: a line for each choice.
    pub fn text(&self) -> String {
        let gb = |bytes: u64| format!("{:.2}", bytes as f64 / 1e9);
        let mut text = String::from(
            "weights                        tiles  encode  denoise  decode    peak  time  fits\n",
        );
        let best = self.best();
        for choice in &self.choices {
            let [encode, denoise, decode] = choice.phases.map(gb);
            let fits = match (choice.fits, Some(choice) == best) {
                (true, true) => "yes, the fastest",
                (true, false) => "yes",
                _ => "no",
            };
            let _ = writeln!(
                text,
                "{:<30} {:<5} {encode:>7} {denoise:>8} {decode:>7} {:>7} {:>5.2}  {fits}",
                choice.mode.name,
                if choice.tiles { "yes" } else { "no" },
                gb(choice.peak()),
                choice.relative_time,
            );
        }
        text
    }
}

/// What is on the device at the most in each phase of any run but the first, which takes no more.
/// `made`: whether the blocks of text encoder and transformer are there even where they stream.
fn held(
    mode: &Mode,
    text: &WeightSizes,
    transformer: &WeightSizes,
    vae: u64,
    made: [bool; 2],
    working: [u64; 3],
) -> [u64; 3] {
    let [made_text, made_transformer] = made;
    let kept = |sizes: &WeightSizes, streaming: Streaming, made: bool| match streaming {
        Streaming::File | Streaming::Host if !made => sizes.around,
        _ => sizes.bytes(),
    };
    let slots = |sizes: &WeightSizes, streaming: Streaming| match streaming {
        Streaming::Resident => 0,
        Streaming::File | Streaming::Host => sizes.two_blocks(),
    };
    let own = [
        kept(text, mode.streaming.text_encoder, made_text),
        kept(transformer, mode.streaming.transformer, made_transformer),
        vae,
    ];
    let moving = [
        slots(text, mode.streaming.text_encoder),
        slots(transformer, mode.streaming.transformer),
        0,
    ];
    let all: u64 = own.iter().sum();
    let mut phases = [0; 3];
    for (phase, ((own, moving), working)) in
        phases.iter_mut().zip(own.into_iter().zip(moving).zip(working))
    {
        let weights = match mode.residency {
            Residency::OneAtATime => own,
            Residency::All | Residency::TextEncoderOnDemand => all,
        };
        *phase = weights.saturating_add(moving).saturating_add(working);
    }
    phases
}
