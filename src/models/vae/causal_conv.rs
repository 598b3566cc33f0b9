//! `CogVideoXCausalConv3d` with 3×3×3 kernels (diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:67).
//!
//! A frame sees itself and the two before it. At the start of a video its first frame stands
//! for those that are missing; a later group of frames gets them from the one before.

use super::builder::Builder;
use super::features::Features;
use super::stream::{Stream, Workspace};
use crate::backend::{fold_taps, Conv, Same};
use crate::checkpoint::Weights;
use crate::runtime::dim;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// cuDNN counts elements in 32 bits. diffusers splits its convolutions at half of that
/// (`CogVideoXSafeConv3d`, autoencoder_kl_cogvideox.py:36); so do we, on every device.
const MAX_INPUT_ELEMENTS: i64 = 1 << 30;

/// Writes frames of a convolution's input, from the frame given on, to the tensor given:
/// frames × height × width × in channels, dense.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut Tensor, i64) -> Result<()>;

pub(super) struct CausalConv3d {
    kernel: Kernel,
    in_channels: i64,
    /// Which of the stream's caches is this layer's.
    cache: usize,
}

enum Kernel {
    /// One output frame per input frame; it sees two more.
    Each(Conv),
    /// For doubled frames …aabb…: of the three frames under the kernel two are the same, so
    /// that two taps do. One kernel for the first of a pair, which sees a and a before its b,
    /// one for the second, which sees a, b and b. That is two thirds of the work.
    Pairs { first: Conv, second: Conv },
    /// For videos of one frame, which is all that the three taps see: their sum, over an image. That
    /// is a third of the work, and of the weights.
    Still(Conv),
}

impl CausalConv3d {
    /// `size`: frames, height and width of typical inputs.
    pub fn load(
        weights: &Weights,
        [in_channels, out_channels]: [i64; 2],
        size: [i64; 3],
        builder: &mut Builder,
    ) -> Result<CausalConv3d> {
        let weights = weights.at("conv");
        let shape = [out_channels, in_channels, 3, 3, 3];
        let bias = weights.tensor("bias", &[out_channels])?;
        let kernel = if builder.still {
            let weight = weights.passing("weight", &shape, Some(Kind::Float))?;
            let sum = weight.f_sum_dim_intlist([2i64].as_slice(), false, Kind::Float)?;
            let sum = sum.f_to_kind(bias.f_kind()?)?;
            Kernel::Still(Conv::new(&sum, bias, &[1, 1], size, builder.backend.clone())?)
        } else {
            let weight = weights.passing("weight", &shape, None)?;
            Kernel::Each(Self::conv(&weight, bias, size, builder)?)
        };
        Ok(CausalConv3d { kernel, in_channels, cache: builder.next_cache() })
    }

    /// As [`CausalConv3d::load`], for inputs with doubled frames.
    pub fn load_for_doubled(
        weights: &Weights,
        [in_channels, out_channels]: [i64; 2],
        size: [i64; 3],
        builder: &mut Builder,
    ) -> Result<CausalConv3d> {
        let weights = weights.at("conv");
        let shape = [out_channels, in_channels, 3, 3, 3];
        let weight = weights.passing("weight", &shape, Some(Kind::Float))?;
        let bias = weights.tensor("bias", &[out_channels])?;
        let fold = |same: Same| {
            let folded = fold_taps(&weight, 2, same)?.f_to_kind(bias.f_kind()?)?;
            Self::conv(&folded, bias.shallow_clone(), size, builder)
        };
        let kernel = Kernel::Pairs { first: fold(Same::First)?, second: fold(Same::Last)? };
        Ok(CausalConv3d { kernel, in_channels, cache: builder.next_cache() })
    }

    fn conv(weight: &Tensor, bias: Tensor, size: [i64; 3], builder: &Builder) -> Result<Conv> {
        let [frames, height, width] = size;
        let history = dim(weight, 2)? - 1;
        Conv::new(
            weight,
            bias,
            &[0, 1, 1],
            [frames + history, height, width],
            builder.backend.clone(),
        )
    }

    /// Frames before its own that a frame sees.
    fn history(&self) -> i64 {
        match self.kernel {
            Kernel::Each(_) => 2,
            Kernel::Pairs { .. } => 1,
            Kernel::Still(_) => 0,
        }
    }

    /// Writes the convolution of `frames` frames that `fill` gives to `out`.
    pub fn write(
        &self,
        stream: &mut Stream,
        frames: i64,
        out: Features,
        fill: Fill,
    ) -> Result<Features> {
        let mut out = out;
        let control = stream.control;
        let size = out.size()?;
        // As many as are not doubled in the output.
        let single = 2 * frames - size[0];
        self.over_slabs(
            stream,
            frames,
            size,
            fill,
            &mut |window, start, count| match &self.kernel {
                Kernel::Each(conv) | Kernel::Still(conv) => {
                    conv.apply_by_frames(window, control, &mut |part, frame| {
                        out.put(part, start + frame, control)
                    })
                }
                Kernel::Pairs { first, second } => {
                    let pairs = |start: i64| 2 * start - single;
                    let second = second.apply(window, control)?;
                    let singles = (single - start).clamp(0, count);
                    if singles > 0 {
                        out.put(&second.f_narrow(0, 0, singles)?, start, control)?;
                    }
                    if singles == count {
                        return Ok(());
                    }
                    let window = window.f_narrow(0, singles, count - singles + 1)?;
                    let first = first.apply(&window, control)?;
                    for i in singles..count {
                        let at = pairs(start + i);
                        out.put(&first.f_narrow(0, i - singles, 1)?, at, control)?;
                        out.put(&second.f_narrow(0, i, 1)?, at + 1, control)?;
                    }
                    Ok(())
                }
            },
        )?;
        Ok(out)
    }

    /// Adds the convolution of what `fill` gives to what `out` holds.
    pub fn add(&self, stream: &mut Stream, out: Features, fill: Fill) -> Result<Features> {
        let mut out = out;
        let control = stream.control;
        let size = out.size()?;
        let (Kernel::Each(conv) | Kernel::Still(conv)) = &self.kernel else {
            return Err(Error::Internal("VAE: doubled frames can't be added to".into()));
        };
        self.over_slabs(stream, size[0], size, fill, &mut |window, start, count| {
            conv.add_to(&out.part(start, count)?, window, control)?;
            out.written(start, count, control)
        })?;
        Ok(out)
    }

    /// Calls `emit(window, start, count)` for slabs of `frames` input frames in turn. The
    /// window is the input of these frames and of those before. `size` is that of the output.
    fn over_slabs(
        &self,
        stream: &mut Stream,
        frames: i64,
        size: [i64; 4],
        fill: Fill,
        emit: &mut dyn FnMut(&Tensor, i64, i64) -> Result<()>,
    ) -> Result<()> {
        let [_, height, width, out_channels] = size;
        let history = self.history();
        let slabs = self.slabs(stream.workspace, frames, height * width, out_channels);
        let room = [slabs.capacity + history, height, width, self.in_channels];
        let padded = stream.workspace.padded(room)?;
        let frame = |i: i64| padded.f_narrow(0, i, 1);
        let cache = stream.caches.get_mut(self.cache).map(Option::take).unwrap_or_default();
        let at_start = cache.is_none();
        if let Some(cache) = cache {
            padded.f_narrow(0, 0, history)?.f_copy_(&cache)?;
        }
        // Frames in the padded input, beside those before it.
        let mut filled = 0;
        let mut start = 0;
        while start < frames {
            let count = slabs.step.min(frames - start);
            if filled + count > slabs.capacity {
                for i in 0..history {
                    frame(i)?.f_copy_(&frame(filled + i)?)?;
                }
                filled = 0;
            }
            fill(&mut padded.f_narrow(0, filled + history, count)?, start)?;
            if at_start && start == 0 && history > 0 {
                padded.f_narrow(0, 0, history)?.f_copy_(&frame(history)?)?;
            }
            emit(&padded.f_narrow(0, filled, count + history)?, start, count)?;
            filled += count;
            start += count;
        }
        if let (false, Some(cache)) = (stream.last, stream.caches.get_mut(self.cache)) {
            let kept = padded.f_narrow(0, filled, history)?;
            let mut own = kept.f_empty_like()?;
            own.f_copy_(&kept)?;
            *cache = Some(own);
        }
        Ok(())
    }

    /// How to work through `frames` frames of `pixels` pixels.
    fn slabs(&self, memory: &Workspace, frames: i64, pixels: i64, out_channels: i64) -> Slabs {
        let history = self.history();
        let input = pixels.saturating_mul(self.in_channels).max(1);
        let output = pixels.saturating_mul(out_channels).max(1);
        let step = memory.fit(memory.limits.slab, output);
        let room = memory.fit(memory.limits.padded, input);
        let step = step.min(MAX_INPUT_ELEMENTS / input - history).clamp(1, frames.max(1));
        // Slabs of even size: a last one of a single frame would be slow.
        let slabs = (frames + step - 1) / step;
        let step = (frames + slabs - 1) / slabs.max(1);
        // At least twice what is moved to the front.
        Slabs { step, capacity: room.max(2 * history).max(step).min(frames.max(1)) }
    }
}

/// A padded input has room for `capacity` frames beside those before it; `step` of them go
/// through the convolution at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slabs {
    step: i64,
    capacity: i64,
}
