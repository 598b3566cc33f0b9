//! What the decoder takes of a CUDA device, counted by going through its layers without computing:
//! each buffer that grows, each tensor that is held, in the order of `decoder`, `resnet`,
//! `causal_conv` and `upsample`. The simulated device's allocator counts the same to a few parts in
//! a thousand (`tests/device/simulated/test_plan.py`); cuDNN's workspaces are not in it.

use super::batches::Batches;
use super::stream::Limits;
use super::{doublings, tiling, Content, DecodeOptions};
use crate::checkpoint::config::VaeConfig;
use crate::runtime::device::rounded;
use tch::Device;

const FLOAT: i64 = 4;

/// Sizes saturate: what is too large to count is too large to fit.
fn times(sides: &[i64]) -> i64 {
    sides.iter().fold(1, |all: i64, &side| all.saturating_mul(side))
}

#[derive(Default)]
struct Ledger {
    now: i64,
    peak: i64,
    /// The workspace: two stages, hidden, padded.
    buffers: [i64; 4],
    turn: usize,
    /// Multiplications.
    work: f64,
}

const HIDDEN: usize = 2;
const PADDED: usize = 3;

impl Ledger {
    fn hold(&mut self, bytes: i64) -> i64 {
        let bytes = rounded(bytes);
        self.now = self.now.saturating_add(bytes);
        self.peak = self.peak.max(self.now);
        bytes
    }

    fn free(&mut self, bytes: i64) {
        self.now = self.now.saturating_sub(bytes);
    }

    fn touch(&mut self, bytes: i64) {
        let held = self.hold(bytes);
        self.free(held);
    }

    fn grow(&mut self, buffer: usize, bytes: i64) {
        let Some(size) = self.buffers.get_mut(buffer) else { return };
        if *size < rounded(bytes) {
            let before = std::mem::take(size);
            self.free(before);
            let after = self.hold(bytes);
            if let Some(size) = self.buffers.get_mut(buffer) {
                *size = after;
            }
        }
    }

    fn next_stage(&mut self, bytes: i64) {
        self.turn = 1 - self.turn;
        self.grow(self.turn, bytes);
    }
}

/// A group of frames on its way.
struct Walk<'a> {
    ledger: &'a mut Ledger,
    element: i64,
    limits: Limits,
    /// Latent frames, height and width of the group.
    latents: [i64; 3],
    last: bool,
    /// What each convolution keeps.
    caches: &'a mut Vec<i64>,
    cache: usize,
}

/// What goes through a layer: frames that are held, whether each stands for two, and a frame's pixels.
#[derive(Clone, Copy)]
struct Flow {
    held: i64,
    doubled: bool,
    pixels: i64,
}

impl Flow {
    fn frames(self) -> i64 {
        if self.doubled {
            2 * self.held - self.held % 2
        } else {
            self.held
        }
    }
}

impl Walk<'_> {
    fn bytes(&self, frames: i64, pixels: i64, channels: i64) -> i64 {
        times(&[frames, pixels, channels, self.element])
    }

    /// `CausalConv3d::over_slabs`; frames that stand for two are computed twice, from two frames
    /// each.
    fn conv(&mut self, flow: Flow, [inputs, outputs]: [i64; 2]) {
        let Flow { held, doubled, pixels } = flow;
        let history = if doubled { 1 } else { 2 };
        let fit = |bytes: i64, one: i64| bytes / one.max(1);
        let step = fit(self.limits.slab, self.bytes(1, pixels, outputs)).clamp(1, held.max(1));
        let slabs = (held + step - 1) / step;
        let step = (held + slabs - 1) / slabs.max(1);
        let room = fit(self.limits.padded, self.bytes(1, pixels, inputs));
        let capacity = room.max(2 * history).max(step).min(held.max(1));
        self.ledger.grow(PADDED, self.bytes(capacity + history, pixels, inputs));
        let result = self.bytes(step, pixels, outputs);
        self.ledger.touch(if doubled { 2 * rounded(result) } else { result });
        let taps = if doubled { 18 } else { 27 };
        self.ledger.work += [flow.frames(), pixels, inputs, outputs, taps]
            .iter()
            .fold(1.0, |all, &side| all * side as f64);
        if self.caches.len() <= self.cache {
            self.caches.resize(self.cache + 1, 0);
        }
        let kept = self.bytes(history, pixels, inputs);
        if let Some(cache) = self.caches.get_mut(self.cache) {
            self.ledger.free(std::mem::take(cache));
            if !self.last {
                *cache = self.ledger.hold(kept);
            }
        }
        self.cache += 1;
    }

    /// The scales and shifts of a spatial norm.
    fn table(&mut self, channels: i64) -> i64 {
        let [frames, height, width] = self.latents;
        self.ledger.hold(times(&[frames, height, width, 2 * channels, FLOAT]))
    }

    fn resnet(&mut self, flow: Flow, [inputs, outputs]: [i64; 2]) -> Flow {
        let after = Flow { held: flow.frames(), doubled: false, ..flow };
        let size = self.bytes(after.held, flow.pixels, outputs);
        let first = self.table(inputs);
        self.ledger.grow(HIDDEN, size);
        self.conv(flow, [inputs, outputs]);
        let second = self.table(outputs);
        self.ledger.free(first);
        if inputs != outputs || flow.doubled {
            self.ledger.next_stage(size);
        }
        self.conv(after, [outputs, outputs]);
        self.ledger.free(second);
        after
    }

    fn upsample(&mut self, flow: Flow, [height, width]: [i64; 2], channels: i64) {
        let image = self.bytes(1, 4 * flow.pixels, channels);
        self.ledger.next_stage(image.saturating_mul(flow.held));
        let step = (self.limits.slab / image.max(1)).clamp(1, flow.held.max(1));
        let phase = self.bytes(step, times(&[height + 1, width + 1]), channels);
        self.ledger.touch(4 * rounded(phase));
        self.ledger.work += times(&[flow.held, 4 * flow.pixels, channels, channels]) as f64 * 4.0;
    }
}

/// What decoding takes at its peak beside the weights and the finished video, in bytes, and how many
/// multiplications it makes; from latents of `[frames, height, width]`, with elements of `element`
/// bytes.
pub(super) fn decoder(
    config: &VaeConfig,
    options: &DecodeOptions,
    [frames, height, width]: [i64; 3],
    element: i64,
) -> (u64, f64) {
    let grid = match &options.tiling {
        Some(tiling) => tiling::grid(config, tiling, height, width).ok().flatten(),
        None => None,
    };
    let ratio = config.spatial_compression_ratio();
    let all = times(&[frames, height, width, config.latent_channels, element]);
    let made = Batches::new(frames, doublings(config)).map_or(i64::MAX, |all| all.frames());
    let mut ledger = Ledger::default();
    // As they come, and with channels innermost.
    let _ = (ledger.hold(all), ledger.hold(all));
    let Some([rows, columns]) = &grid else {
        whole(&mut ledger, config, [frames, height, width], element, true);
        return (u64::try_from(ledger.peak).unwrap_or(u64::MAX), ledger.work);
    };
    let finished = |height: i64, width: i64| {
        times(&[made, height.saturating_mul(ratio), width.saturating_mul(ratio), 3, element])
    };
    // The rows that are joined, the one above and the one in work, as if all tiles were as large as
    // the largest: a fifth too much where the last ones are small.
    let longest = |axis: &tiling::Axis| axis.tiles.iter().map(|tile| tile.1).max().unwrap_or(0);
    let tile = [longest(rows), longest(columns)];
    let (down, across) = (rows.tiles.len() as i64, columns.tiles.len() as i64);
    let one = finished(tile[0], tile[1]);
    let joined = finished(height, width) / down.max(1) * (down - 1);
    let above = if down > 1 { one.saturating_mul(across) } else { 0 };
    let before = joined.saturating_add(above).saturating_add(one.saturating_mul(across - 1));
    let before = ledger.hold(before);
    whole(&mut ledger, config, [frames, tile[0], tile[1]], element, false);
    // Its groups are joined.
    ledger.touch(one);
    ledger.free(before.saturating_add(one));
    // All rows, joined.
    ledger.touch(finished(height, width).saturating_mul(2));
    let tiles = (rows.tiles.len() * columns.tiles.len()) as f64;
    (u64::try_from(ledger.peak).unwrap_or(u64::MAX), ledger.work * tiles)
}

/// One video, or tile, from its first group to its last.
fn whole(
    ledger: &mut Ledger,
    config: &VaeConfig,
    [frames, height, width]: [i64; 3],
    element: i64,
    delivered: bool,
) {
    let mut caches = Vec::new();
    let groups: Vec<_> = Batches::new(frames, doublings(config))
        .filter(|groups| groups.count() < 1 << 20)
        .map(|groups| groups.iter().collect())
        .unwrap_or_default();
    let levels: Vec<i64> = config.block_out_channels.iter().rev().copied().collect();
    let (Some(&widest), Some(&narrowest)) = (levels.first(), levels.last()) else { return };
    for (index, group) in groups.iter().enumerate() {
        let last = index + 1 == groups.len();
        let latents = [group.frames, height, width];
        let z = times(&[group.frames, height, width, config.latent_channels, FLOAT]);
        let rows = if element == FLOAT { 0 } else { ledger.hold(z) };
        let limits = Limits::of(Device::Cuda(0));
        let mut walk =
            Walk { ledger, element, limits, latents, last, caches: &mut caches, cache: 0 };
        let mut size = [height, width];
        let mut flow = Flow { held: group.frames, doubled: false, pixels: times(&size) };
        walk.ledger.next_stage(walk.bytes(flow.held, flow.pixels, widest));
        walk.conv(flow, [config.latent_channels, widest]);
        for _ in 0..2 {
            flow = walk.resnet(flow, [widest, widest]);
        }
        let mut before = widest;
        for (level, &channels) in levels.iter().enumerate() {
            for resnet in 0..=config.layers_per_block {
                let inputs = if resnet == 0 { before } else { channels };
                flow = walk.resnet(flow, [inputs, channels]);
            }
            if level + 1 < levels.len() {
                walk.upsample(flow, size, channels);
                size = size.map(|side| 2 * side);
                flow.pixels = times(&size);
                flow.doubled = level < doublings(config);
            }
            before = channels;
        }
        let table = walk.table(narrowest);
        let own = walk.bytes(flow.held, flow.pixels, config.out_channels);
        let own = walk.ledger.hold(own);
        walk.conv(flow, [narrowest, config.out_channels]);
        ledger.free(table);
        if delivered {
            let float = times(&[flow.held, flow.pixels, config.out_channels, FLOAT]);
            ledger.touch(if element == FLOAT { float } else { 2 * rounded(float) });
            ledger.free(own);
        }
        ledger.free(rows);
    }
}

/// What the weights take on a CUDA device, as the decoder keeps them: convolutions of doubled frames
/// and of upsampled images are folded into several smaller ones. With the encoder, if something is
/// encoded; for images its convolutions keep one of three frames.
pub(super) fn weights(config: &VaeConfig, element: i64, encodes: Option<Content>) -> u64 {
    let mut bytes = 0i64;
    let mut add = |count: i64, element: i64| {
        bytes = bytes.saturating_add(rounded(count.saturating_mul(element)));
    };
    let latent = config.latent_channels;
    let levels: Vec<i64> = config.block_out_channels.iter().rev().copied().collect();
    let widest = levels.first().copied().unwrap_or(0);
    let narrowest = levels.last().copied().unwrap_or(0);
    // Of a convolution over doubled frames there are two; they share the bias.
    fn conv(add: &mut dyn FnMut(i64, i64), [i, o]: [i64; 2], element: i64, taps: &[i64]) {
        taps.iter().for_each(|&taps| add(times(&[i, o, taps]), element));
        add(o, element);
    }
    const WHOLE: &[i64] = &[27];
    const DOUBLED: &[i64] = &[18, 18];
    const STILL: &[i64] = &[9];
    let norm = |add: &mut dyn FnMut(i64, i64), channels: i64, spatial: bool| {
        for _ in 0..2 {
            add(channels, FLOAT);
            if spatial {
                add(channels * latent, FLOAT);
                add(channels, FLOAT);
            }
        }
    };
    let resnet = |add: &mut dyn FnMut(i64, i64), io: [i64; 2], taps: [&[i64]; 2], spatial: bool| {
        let [i, o] = io;
        norm(add, i, spatial);
        norm(add, o, spatial);
        let [first, second] = taps;
        conv(add, io, element, first);
        conv(add, [o, o], element, second);
        if i != o {
            add(times(&[i, o]), element);
            add(o, element);
        }
    };
    conv(&mut add, [latent, widest], element, WHOLE);
    for _ in 0..2 {
        resnet(&mut add, [widest, widest], [WHOLE; 2], true);
    }
    let mut before = widest;
    let mut doubled = false;
    for (level, &channels) in levels.iter().enumerate() {
        for index in 0..=config.layers_per_block {
            let inputs = if index == 0 { before } else { channels };
            let first = if doubled { DOUBLED } else { WHOLE };
            resnet(&mut add, [inputs, channels], [first, WHOLE], true);
            doubled = false;
        }
        if level + 1 < levels.len() {
            for _ in 0..4 {
                add(times(&[channels, channels, 4]), element);
            }
            add(channels, element);
            doubled = level < doublings(config);
        }
        before = channels;
    }
    norm(&mut add, narrowest, true);
    conv(&mut add, [narrowest, config.out_channels], element, WHOLE);
    if let Some(content) = encodes {
        let taps = if content == Content::Images { STILL } else { WHOLE };
        let mut before = narrowest;
        conv(&mut add, [config.out_channels, narrowest], element, taps);
        for (level, &channels) in config.block_out_channels.iter().enumerate() {
            for index in 0..config.layers_per_block {
                let inputs = if index == 0 { before } else { channels };
                resnet(&mut add, [inputs, channels], [taps; 2], false);
            }
            if level + 1 < levels.len() {
                add(times(&[channels, channels, 9]), element);
                add(channels, element);
            }
            before = channels;
        }
        for _ in 0..2 {
            resnet(&mut add, [widest, widest], [taps; 2], false);
        }
        norm(&mut add, widest, false);
        conv(&mut add, [widest, 2 * latent], element, taps);
    }
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
