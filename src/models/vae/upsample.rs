//! `CogVideoXUpsample3D` (diffusers 0.42.1 models/upsampling.py:357): twice the height and
//! width by nearest neighbours, where asked twice the frames, then a 3×3 convolution per frame.
//!
//! Of the nine pixels under such a kernel only four differ, so that each of the four pixels
//! made of one has a 2×2 convolution of its own over the small image: 16 products per pixel
//! of it instead of 36, and the large image is written once. Doubled frames are equal and stay
//! so up to the next convolution through time: they are held once.

use super::builder::Builder;
use super::features::Features;
use super::stream::Stream;
use crate::backend::{fold_taps, video, Backend, Conv, Same};
use crate::checkpoint::Weights;
use crate::runtime::pieces;
use crate::Result;
use tch::{Kind, Tensor};

pub(super) struct Upsample {
    /// For pixels (2h + p, 2w + q) at 2p + q.
    phases: [Conv; 4],
    compress_time: bool,
    backend: Backend,
}

impl Upsample {
    /// `size`: frames, height and width of typical inputs.
    pub fn load(
        weights: &Weights,
        channels: i64,
        compress_time: bool,
        size: [i64; 3],
        builder: &Builder,
    ) -> Result<Upsample> {
        let weights = weights.at("conv");
        let shape = [channels, channels, 3, 3];
        let weight = weights.passing("weight", &shape, Some(Kind::Float))?;
        let bias = weights.tensor("bias", &[channels])?;
        // Pixel 2i of the large image sees i - 1, i and i again; pixel 2i + 1 sees i twice and
        // i + 1.
        let phase = |rows: Same, columns: Same| {
            let folded = fold_taps(&fold_taps(&weight, 2, rows)?, 3, columns)?;
            let folded = folded.f_to_kind(bias.f_kind()?)?;
            Conv::new(&folded, bias.shallow_clone(), &[1, 1], size, builder.backend.clone())
        };
        let phases = [
            phase(Same::Last, Same::Last)?,
            phase(Same::Last, Same::First)?,
            phase(Same::First, Same::Last)?,
            phase(Same::First, Same::First)?,
        ];
        Ok(Upsample { phases, compress_time, backend: builder.backend.clone() })
    }

    /// With `compress_time` the result is held once and marked as doubled.
    pub fn forward(&self, x: Features, stream: &mut Stream) -> Result<Features> {
        stream.control.begin_layer(x.data.device())?;
        let [frames, height, width, channels] = x.size()?;
        let large = stream.workspace.next_stage([frames, 2 * height, 2 * width, channels])?;
        // All four phases at once.
        let image = large.numel() as i64 / frames.max(1);
        let step = stream.workspace.fit(stream.workspace.limits.slab, image).max(1);
        let mut out = Features::into(large, self.compress_time, &self.backend)?;
        let single = out.single_frames()?;
        let mut start = 0;
        while start < frames {
            let end = if start < single { single } else { frames };
            let count = step.min(end - start);
            let part = x.part(start, count)?;
            let [a, b, c, d] = &self.phases;
            let conv = |conv: &Conv| conv.apply(&part, stream.control);
            let phases = [conv(a)?, conv(b)?, conv(c)?, conv(d)?];
            stream.control.check()?;
            let target = out.part(start, count)?;
            // An output row pair per row; one frame only where a frame is large.
            let cost = count * width * channels * 4 * 2 * pieces::ELEMENT;
            let (device, control) = (target.device(), stream.control);
            out.count(start, count, |mut sums| {
                if count > 1 || pieces::rows_of_a_piece(device, height, cost).is_none() {
                    return video::pixel_shuffle(&phases, &mut target.shallow_clone(), sums);
                }
                pieces::each(device, height, cost, control, |first, rows| {
                    let [a, b, c, d] = &phases;
                    let part = |phase: &Tensor| phase.f_narrow(1, first, rows + 1);
                    let parts = [part(a)?, part(b)?, part(c)?, part(d)?];
                    let mut target = target.f_narrow(1, 2 * first, 2 * rows)?;
                    video::pixel_shuffle(&parts, &mut target, sums.as_deref_mut())
                })
            })?;
            start += count;
        }
        Ok(out)
    }
}
