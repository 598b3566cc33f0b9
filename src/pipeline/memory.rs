//! What a run will need, told before anything is computed: one that can't fit is refused with the
//! numbers, instead of ending the process by the system's hand or after minutes of work.
//!
//! An estimate counts the largest tensors that are alive at once in each stage, by the code that
//! makes them. On the CPU what a run takes was measured to lie between 0.5 and 1.5 times that
//! (`tests/memory_estimate.rs`, which needs runs of some size: allocators round up). On a CUDA device it
//! is within 5% of what the allocator counts of runs of the published models
//! (`tests/device/simulated/test_published.py`).

use super::dense_memory;
use super::frames::Extent;
use super::quantization::Quantizations;
use super::request::Request;
use super::{GenerateOptions, Output};
use crate::cache::{CacheConfig, CacheLocation, RunInfo};
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use crate::models::vae::{DecodeOptions, VaeDecoder, VaeEncoder};
use crate::runtime::memory::{self, product};
use crate::runtime::{device, devices, Placement};
use crate::{Error, Result};
use tch::Device;

/// What the phases of a run take beside the weights, in bytes, and how much they compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phases {
    pub encode: u64,
    pub denoise: u64,
    /// 0 where nothing is decoded.
    pub decode: u64,
    /// Multiplications of one step, uncached, and of decoding.
    pub step_work: f64,
    pub decode_work: f64,
}

/// What the phases of a checked run take: on CUDA as its allocator counts, on the CPU about.
pub(super) fn phases(
    folder: &PipelineFolder,
    placement: Placement,
    quantizations: Quantizations,
    request: &Request,
    cache: Option<&CacheConfig>,
    info: &RunInfo,
) -> Phases {
    let element = placement.dtype.kind().elt_size_in_bytes() as i64;
    let kept = kept(folder, placement, request, cache, info);
    let latents = product(&request.size.latent_dims(request.options.videos()));
    let size = request.size;
    let sides = [size.latent_frames - size.padding_frames, size.latent_height, size.latent_width];
    let (decoder, decode_work) =
        VaeDecoder::device_bytes(&folder.vae, &request.options.decode, sides, element);
    let decode_work = decode_work * request.options.videos() as f64;
    let step_work = step_work(folder, request);
    // Texts are encoded one by one; an image or a video is encoded after them.
    let mut encode_one = encode(folder, request, element) / if request.guided { 2 } else { 1 };
    let embeddings = embeddings(folder, request, element);
    let (denoise, decode) = if placement.device == Device::Cpu {
        let held = embeddings.saturating_add(latents.saturating_mul(4 * 3));
        let (texts, blocks) = dense_matrices(folder, quantizations, element);
        encode_one = encode_one.saturating_add(texts);
        let denoise = denoise(folder, request, element).saturating_add(kept).saturating_add(held);
        (denoise.saturating_add(blocks), decode(folder, request, element).saturating_add(held))
    } else {
        let latents = latents.saturating_mul(element as u64);
        let held = latents.saturating_add(embeddings);
        let dense = dense_memory::text_encoder(folder, quantizations, request, element);
        encode_one = encode_one.max(dense.saturating_add(positions(folder, request, element)));
        let denoise = device_denoise(folder, quantizations, request, element);
        let denoise = denoise.saturating_add(held);
        // Frames are copied to the host group by group.
        (denoise.saturating_add(kept), decoder.saturating_add(held))
    };
    let decode = if request.options.output == Output::Latents { 0 } else { decode };
    let encode_one = encode_one.max(inputs(folder, request, element));
    Phases { encode: encode_one, denoise, decode, step_work, decode_work }
}

/// Multiplications of one call of the transformer: products with its matrices, and attention.
fn step_work(folder: &PipelineFolder, request: &Request) -> f64 {
    let config = &folder.transformer;
    let batch = (texts(request) * request.options.videos()) as f64;
    let tokens = (request.size.video_tokens(config) + request.sequence_length as i64).max(0) as f64;
    let width = (config.num_attention_heads * config.attention_head_dim) as f64;
    let layer = 12.0 * width * width * tokens + 2.0 * tokens * tokens * width;
    batch * layer * config.num_layers as f64
}

/// The transformer on a CUDA device: the tokens, queries, keys and values as they are projected,
/// queries and keys normed; then either the result, or, in half precision, what rotates the keys
/// in float32. Or a matrix that is quantized, made dense beside what is there by then.
fn device_denoise(
    folder: &PipelineFolder,
    quantizations: Quantizations,
    request: &Request,
    element: i64,
) -> u64 {
    let config = &folder.transformer;
    let batch = texts(request).saturating_mul(request.options.videos());
    let video = request.size.video_tokens(config);
    let text = request.sequence_length as i64;
    let width = config.num_attention_heads.saturating_mul(config.attention_head_dim);
    let layer = product(&[batch, video + text, width, element]);
    let rotary = config.positions.rotary();
    let rotated = if rotary && element < 4 { product(&[batch, video, width, 4]) } else { 0 };
    let positions = if rotary {
        product(&[video, config.attention_head_dim, 4])
    } else {
        product(&[video, width, element])
    };
    let rows = batch.saturating_mul(video.saturating_add(text));
    let dense = dense_memory::transformer(folder, quantizations, [rows, width], element);
    layer
        .saturating_mul(6)
        .saturating_add(layer.max(rotated))
        .max(dense)
        .saturating_add(positions)
        .saturating_add(product(&[batch, text, width, element]))
}

/// What a checked run takes at its peak, beside the weights and beside what is in memory already.
pub(super) fn estimate(
    folder: &PipelineFolder,
    placement: Placement,
    quantizations: Quantizations,
    request: &Request,
    cache: Option<&CacheConfig>,
    info: &RunInfo,
) -> u64 {
    let element = placement.dtype.kind().elt_size_in_bytes() as i64;
    if placement.device != Device::Cpu {
        let Phases { encode, denoise, decode, .. } =
            phases(folder, placement, quantizations, request, cache, info);
        return encode.max(denoise).max(decode);
    }
    let kept = kept(folder, placement, request, cache, info);
    let latents = product(&request.size.latent_dims(request.options.videos()));
    let held = embeddings(folder, request, element).saturating_add(latents.saturating_mul(4 * 3));
    let (texts, blocks) = dense_matrices(folder, quantizations, element);
    let encode = encode(folder, request, element).saturating_add(texts);
    let denoise = denoise(folder, request, element).saturating_add(kept);
    let denoise = denoise.saturating_add(held).saturating_add(blocks);
    let decode = match request.options.output {
        Output::Latents => 0,
        Output::Frames => decode(folder, request, element).saturating_add(held),
    };
    let inputs = inputs(folder, request, element).saturating_add(held);
    encode.max(inputs).max(denoise).max(decode)
}

/// What matrices take that are made dense for a product, in the text encoder and in the transformer:
/// both of a feed-forward layer, which are the largest.
fn dense_matrices(
    folder: &PipelineFolder,
    quantizations: Quantizations,
    element: i64,
) -> (u64, u64) {
    let (t5, config) = (&folder.text_encoder, &folder.transformer);
    let width = config.num_attention_heads.saturating_mul(config.attention_head_dim);
    (
        quantizations.text_encoder.map_or(0, |_| product(&[3, t5.d_ff, t5.d_model, element])),
        quantizations.transformer.map_or(0, |_| product(&[2, width, 4, width, element])),
    )
}

fn texts(request: &Request) -> i64 {
    if request.guided {
        2
    } else {
        1
    }
}

fn embeddings(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let length = request.sequence_length as i64;
    let rows = texts(request).saturating_mul(request.options.videos());
    product(&[rows, length, folder.text_encoder.d_model, element])
}

/// The text encoder, a text at a time: a layer, and what positions add to its scores.
fn encode(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let config = &folder.text_encoder;
    let length = request.sequence_length as i64;
    let tokens = product(&[texts(request), length, element]);
    let inner = config.num_heads.saturating_mul(config.d_kv);
    let attention = 3i64.saturating_mul(config.d_model).saturating_add(5i64.saturating_mul(inner));
    let feed_forward =
        3i64.saturating_mul(config.d_model).saturating_add(4i64.saturating_mul(config.d_ff));
    let layer = tokens.saturating_mul(u64::try_from(attention.max(feed_forward)).unwrap_or(0));
    layer.saturating_add(positions(folder, request, element))
}

/// What positions add to the scores of a text: gathered by positions, then laid out by heads; buckets are
/// made of some int64 tables.
fn positions(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let length = request.sequence_length as i64;
    let positions = product(&[folder.text_encoder.num_heads, length, length, 2 * element]);
    positions.saturating_add(product(&[length, length, 8, 3]))
}

/// What a cache keeps where the model computes; 0 for one whose settings do not fit the run, which the run
/// itself tells.
fn kept(
    folder: &PipelineFolder,
    placement: Placement,
    request: &Request,
    cache: Option<&CacheConfig>,
    info: &RunInfo,
) -> u64 {
    let preview = cache.and_then(|config| Some((config, config.preview(info, None).ok()?)));
    let Some((config, preview)) = preview else { return 0 };
    let kept = preview.bytes_peak.unwrap_or(0);
    let spilled = config.storage.cache_location == CacheLocation::Host;
    if placement.device == Device::Cpu || !spilled {
        return kept;
    }
    // Of what is in host memory, what has just left or is about to be read is on the device too.
    let element = placement.dtype.kind().elt_size_in_bytes() as i64;
    kept.min(tokens(folder, request, element).saturating_mul(2))
}

/// The tokens of a call of the transformer.
fn tokens(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let config = &folder.transformer;
    let rows = texts(request).saturating_mul(request.options.videos());
    let tokens = request.size.video_tokens(config).saturating_add(request.sequence_length as i64);
    let width = config.num_attention_heads.saturating_mul(config.attention_head_dim);
    product(&[rows, tokens, width, element])
}

/// Pictures through the VAE's encoder: all frames at the size of the run, in float32 and, where that is
/// not the same, as the encoder takes them; and the encoder.
fn inputs(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let options = request.options;
    let frames = match folder.task {
        _ if !options.encodes() => return 0,
        Task::ImageToVideo => 1,
        _ => request.frames,
    };
    let [height, width] = request.size.pixels(folder);
    let number = if element < 4 { 4 + element } else { 4 };
    let pictures = product(&[frames, height, width, 3, number]);
    let tiling = options.decode.tiling.as_ref();
    let encoder =
        VaeEncoder::estimated_bytes(&folder.vae, tiling, [frames, height, width], element);
    pictures.saturating_add(encoder)
}

/// The transformer: the tokens themselves, and of the attention's parts (queries, keys and values
/// as they are projected, queries and keys normed, the result) as many as are alive at once. The
/// feed-forward layer takes less.
fn denoise(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    const WIDTHS: i64 = 7;
    let config = &folder.transformer;
    let batch = texts(request).saturating_mul(request.options.videos());
    let tokens = request.size.video_tokens(config).saturating_add(request.sequence_length as i64);
    let width = config.num_attention_heads.saturating_mul(config.attention_head_dim);
    let layer = product(&[batch, tokens, width, element, WIDTHS]);
    // Positions, in float32 or as complex numbers.
    let positions = product(&[tokens, config.attention_head_dim, 4, 3]);
    layer.saturating_add(positions)
}

/// The decoder and the frames that it makes.
fn decode(folder: &PipelineFolder, request: &Request, element: i64) -> u64 {
    let frames = match request.extent(folder) {
        Ok(Extent { videos, frames, height, width }) => [videos, frames, height, width]
            .iter()
            .fold(3 * 4, |all: u64, &side| all.saturating_mul(side as u64)),
        Err(_) => u64::MAX,
    };
    let size = request.size;
    let latent_frames = size.latent_frames - size.padding_frames;
    let sides = [latent_frames, size.latent_height, size.latent_width];
    let decoder = VaeDecoder::estimated_bytes(&folder.vae, &request.options.decode, sides, element);
    frames.saturating_add(decoder)
}

/// What decoding latents of `[frames, height, width]` takes beside the weights and the video.
pub(super) fn decoder_bytes(
    folder: &PipelineFolder,
    placement: Placement,
    options: &DecodeOptions,
    sides: [i64; 3],
) -> u64 {
    let element = placement.dtype.kind().elt_size_in_bytes() as i64;
    match placement.device {
        Device::Cpu => VaeDecoder::estimated_bytes(&folder.vae, options, sides, element),
        _ => VaeDecoder::device_bytes(&folder.vae, options, sides, element).0,
    }
}

/// What can still be had of a device; `None` where that is not known.
pub(super) fn free(device: Device) -> Result<Option<u64>> {
    match device {
        Device::Cpu => Ok(memory::available().map(|found| found.bytes)),
        other => device_room(other),
    }
}

/// [`Error::OutOfMemory`] where `needed` bytes are more than there are on the pipeline's device.
pub(super) fn check(placement: Placement, options: &GenerateOptions, needed: u64) -> Result<()> {
    if !options.memory_check {
        return Ok(());
    }
    let found = match placement.device {
        Device::Cpu => memory::available().map(|found| (found.bytes, found.of.to_string())),
        other => device_room(other)?.map(|bytes| (bytes, device::device_name(other))),
    };
    match found {
        Some((available, of)) if needed > available => Err(Error::OutOfMemory(format!(
            "the run was not begun: it needs about {needed} bytes of memory beside what is in use, \
             and {of} has {available} left; a smaller size, fewer frames or videos, tiling, or \
             guidance_scale 1 need less (memory_check 0 begins it all the same)"
        ))),
        _ => Ok(()),
    }
}

/// What a device has beside what libtorch has handed out there; what others use is not known.
fn device_room(device: Device) -> Result<Option<u64>> {
    let Some(in_use) = device::memory(device)? else { return Ok(None) };
    let name = device::device_name(device);
    let total = devices::list()?.into_iter().find(|info| info.device == name);
    let total = total.map(|info| info.memory_total).filter(|total| *total > 0);
    Ok(total.map(|total| total.saturating_sub(in_use.allocated)))
}
