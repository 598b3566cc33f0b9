//! How much memory decoding takes, by the shapes that the decoder makes.

use super::batches::sample_batches;
use super::stream::Limits;
use super::{doublings, tiling, DecodeOptions, Tiling};
use crate::checkpoint::config::VaeConfig;
use crate::runtime::memory::product;
use tch::Device;

/// See `VaeDecoder::estimated_bytes`.
pub(super) fn bytes(
    config: &VaeConfig,
    options: &DecodeOptions,
    [frames, height, width]: [i64; 3],
    element: i64,
) -> u64 {
    let grid = match &options.tiling {
        Some(tiling) => tiling::grid(config, tiling, height, width).ok().flatten(),
        None => None,
    };
    let ratio = config.spatial_compression_ratio();
    let (mut tile, mut tiles) = ([height, width], 0);
    if let Some([rows, columns]) = &grid {
        let longest = |axis: &tiling::Axis| axis.tiles.iter().map(|tile| tile.1).max().unwrap_or(0);
        tile = [longest(rows), longest(columns)];
        // Finished tiles, and the video that they are put together to.
        let video = product(&[frames << doublings(config).min(30), height * ratio, width * ratio]);
        tiles = video.saturating_mul(2 * 3 * element as u64);
    }
    let room = working(config, frames, tile, element);
    let made = frames.min(3) << doublings(config).min(30);
    let group = product(&[made, tile[0] * ratio, tile[1] * ratio, 3 * 4, 3]);
    room.saturating_add(group).saturating_add(tiles)
}

/// About how many bytes encoding frames of `[frames, height, width]` takes at its peak beside them
/// (`tests/memory_estimate.rs`).
pub(super) fn encoder_bytes(
    config: &VaeConfig,
    tiling: Option<&Tiling>,
    [frames, height, width]: [i64; 3],
    element: i64,
) -> u64 {
    let grid = match tiling {
        Some(tiling) => tiling::sample_grid(config, tiling, height, width).ok().flatten(),
        None => None,
    };
    let mut tile = [height, width];
    if let Some([rows, columns]) = &grid {
        let longest = |axis: &tiling::Axis| axis.tiles.iter().map(|tile| tile.1).max().unwrap_or(0);
        tile = [longest(rows), longest(columns)];
    }
    encoding(config, frames, tile, element)
}

/// The two stages that layers of the encoder take turns in, what lies between a resnet's convolutions,
/// their padded input, their results, and the frames that each keeps for the next group: in the
/// order of `encoder`.
fn encoding(config: &VaeConfig, frames: i64, [height, width]: [i64; 2], element: i64) -> u64 {
    let groups = sample_batches(frames, doublings(config));
    let limits = Limits::of(Device::Cpu);
    let (mut stages, mut turn) = ([0u64; 2], 0);
    let mut next_stage = |bytes: u64| {
        turn = 1 - turn;
        if let Some(stage) = stages.get_mut(turn) {
            *stage = bytes.max(*stage);
        }
    };
    let (mut hidden, mut padded, mut image, mut kept) = (0u64, 0u64, 0u64, 0u64);
    let mut held = groups.iter().map(|group| group.frames).max().unwrap_or(1);
    let (mut height, mut width) = (height, width);
    let mut before = config.block_out_channels.first().copied().unwrap_or(0);
    let levels = config.block_out_channels.len();
    next_stage(product(&[held, height, width, before, element]));
    for (level, &channels) in config.block_out_channels.iter().enumerate() {
        let pixels = height.saturating_mul(width);
        let of = |frames: i64, channels: i64| product(&[frames, pixels, channels, element]);
        if channels != before {
            next_stage(of(held, channels));
        }
        hidden = hidden.max(of(held, channels));
        image = image.max(of(1, channels));
        let input = before.max(channels);
        let fit = limits.padded / pixels.saturating_mul(input * element).max(1);
        padded = padded.max(of(fit.clamp(1, held) + 2, input));
        if groups.len() > 1 {
            // Two convolutions for each resnet; the last level has the middle's, too.
            let resnets = config.layers_per_block + if level + 1 == levels { 2 } else { 0 };
            kept = kept.saturating_add(of(2 * 2 * resnets, channels));
        }
        if level + 1 < levels {
            (height, width) = (height / 2, width / 2);
            if level < doublings(config) {
                held = held / 2 + held % 2;
            }
            next_stage(product(&[held, height, width, channels, element]));
        }
        before = channels;
    }
    let slab = image.max(limits.slab as u64);
    stages
        .iter()
        .fold(0u64, |all, &stage| all.saturating_add(stage))
        .saturating_add(hidden)
        .saturating_add(padded)
        .saturating_add(kept)
        .saturating_add(slab.saturating_mul(2))
}

/// Two stages, what lies between convolutions, their padded input, their results, and the frames
/// that each keeps for the next group.
fn working(config: &VaeConfig, frames: i64, [height, width]: [i64; 2], element: i64) -> u64 {
    // Groups of two latent frames; the first takes the odd one.
    let group = if frames % 2 == 1 { frames.min(3) } else { 2 };
    let several = frames > group;
    let limits = Limits::of(Device::Cpu);
    let levels = config.block_out_channels.len();
    let (mut stage, mut padded, mut image, mut kept) = (0u64, 0u64, 0u64, 0u64);
    let mut held = group;
    let mut before = config.block_out_channels.last().copied().unwrap_or(0);
    for (level, &channels) in config.block_out_channels.iter().rev().enumerate() {
        let pixels = height.saturating_mul(width) << (2 * level).min(40);
        let of = |frames: i64, channels: i64| product(&[frames, pixels, channels, element]);
        stage = stage.max(of(held, channels));
        image = image.max(of(1, channels));
        let input = before.max(channels);
        let fit = limits.padded / pixels.saturating_mul(input * element).max(1);
        padded = padded.max(of(fit.clamp(4, held.max(4)) + 2, input));
        if several {
            // Two convolutions for each resnet; the first level has the middle's, too.
            let resnets = config.layers_per_block + 1 + if level == 0 { 2 } else { 0 };
            kept = kept.saturating_add(of(2 * 2 * resnets, channels));
        }
        if level + 1 < levels {
            // Upsampled, and held once where frames are doubled.
            stage = stage.max(of(held.saturating_mul(4), channels));
            if level < doublings(config) {
                held = 2 * held - held % 2;
            }
        }
        before = channels;
    }
    let slab = image.max(limits.slab as u64);
    stage
        .saturating_mul(3)
        .saturating_add(padded)
        .saturating_add(kept)
        .saturating_add(slab.saturating_mul(2))
}
