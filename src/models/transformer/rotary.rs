//! Rotary positions of the video tokens (diffusers 0.42.1 models/embeddings.py:635 and :952,
//! pipelines/cogvideo/pipeline_cogvideox.py:69 and :441).

use super::positions::Grid;
use crate::checkpoint::config::TransformerConfig;
use crate::runtime::device::upload;
use crate::{Error, Result};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// `exp(i · angle)` of every video token and channel pair, `(video tokens, head_dim / 2)`
/// complex64: rotating a pair of channels is one complex product.
pub(super) struct Rotary {
    table: Tensor,
}

impl Rotary {
    /// The table for a video of `grid` patches.
    ///
    /// Without `patch_size_t` the rows and columns are stretched to the training resolution,
    /// cropped to its aspect ratio; with it they are taken as they are, and a video larger
    /// than `sample_height` × `sample_width` has no positions.
    pub fn new(config: &TransformerConfig, grid: Grid, device: Device) -> Result<Rotary> {
        let base_height = config.sample_height / config.patch_size;
        let base_width = config.sample_width / config.patch_size;
        let (rows, columns) = if config.patch_size_t.is_none() {
            let crop = resize_crop_region(grid.height, grid.width, base_height, base_width);
            (
                stretched(crop.top, crop.bottom, grid.height)?,
                stretched(crop.left, crop.right, grid.width)?,
            )
        } else {
            for (name, found, largest) in
                [("height", grid.height, base_height), ("width", grid.width, base_width)]
            {
                if found > largest {
                    return Err(Error::InvalidArgument(format!(
                        "latent {name}: expected at most {}, the transformer's sample_{name}, \
                         found {}",
                        largest * config.patch_size,
                        found * config.patch_size
                    )));
                }
            }
            (whole_numbers(grid.height)?, whole_numbers(grid.width)?)
        };
        let frames = whole_numbers(grid.frames)?;

        let (head, whole) = (config.attention_head_dim, [grid.frames, grid.height, grid.width, -1]);
        let angles = [
            angles(&frames, head / 4)?.f_view([grid.frames, 1, 1, -1])?.f_expand(whole, false)?,
            angles(&rows, head / 8 * 3)?.f_view([1, grid.height, 1, -1])?.f_expand(whole, false)?,
            angles(&columns, head / 8 * 3)?
                .f_view([1, 1, grid.width, -1])?
                .f_expand(whole, false)?,
        ];
        let angles = Tensor::f_cat(&angles, -1)?.f_flatten(0, 2)?;
        let table = Tensor::f_complex(&angles.f_cos()?, &angles.f_sin()?)?;
        Ok(Rotary { table: upload(&table, device)? })
    }

    /// Those of some of the video tokens.
    pub fn of(&self, tokens: &Range<i64>) -> Result<Rotary> {
        Ok(Rotary { table: self.table.f_narrow(0, tokens.start, tokens.end - tokens.start)? })
    }

    pub fn shallow_clone(&self) -> Rotary {
        Rotary { table: self.table.shallow_clone() }
    }

    /// See [`Rotary`].
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// Rotates `x` `(batch, heads, video tokens, head_dim)` in place, in float32.
    pub fn apply(&self, x: &mut Tensor) -> Result<()> {
        let pairs = |x: &Tensor| x.f_unflatten(-1, [-1, 2])?.f_view_as_complex();
        if x.kind() == Kind::Float {
            let _ = pairs(x)?.f_mul_(&self.table)?;
        } else {
            let wide = x.f_to_kind(Kind::Float)?;
            let _ = pairs(&wide)?.f_mul_(&self.table)?;
            x.f_copy_(&wide)?;
        }
        Ok(())
    }
}

/// `get_1d_rotary_pos_embed`'s angles, `(positions, channels / 2)` float32.
fn angles(positions: &Tensor, channels: i64) -> Result<Tensor> {
    let exponent = Tensor::f_arange_start_step(0, channels, 2, (Kind::Float, Device::Cpu))?
        .f_div_scalar(channels as f64)?;
    Ok(positions.f_outer(&Tensor::f_pow_scalar(10000.0, &exponent)?.f_reciprocal()?)?)
}

/// `count` positions that cut `start..stop` into equal steps (the "linspace" grid).
fn stretched(start: i64, stop: i64, count: i64) -> Result<Tensor> {
    let last = stop as f64 * (count - 1) as f64 / count as f64;
    Ok(Tensor::f_linspace(start as f64, last, count, (Kind::Float, Device::Cpu))?)
}

fn whole_numbers(count: i64) -> Result<Tensor> {
    Ok(Tensor::f_arange(count, (Kind::Float, Device::Cpu))?)
}

#[derive(Debug, PartialEq, Eq)]
struct Crop {
    top: i64,
    left: i64,
    bottom: i64,
    right: i64,
}

/// `get_resize_crop_region_for_grid`: where a `height` × `width` grid lies once it is scaled
/// to fit into the base grid and centred there. Halves round to even, as Python rounds.
fn resize_crop_region(height: i64, width: i64, base_height: i64, base_width: i64) -> Crop {
    let (h, w) = (height as f64, width as f64);
    let (th, tw) = (base_height as f64, base_width as f64);
    let (resized_height, resized_width) = if h / w > th / tw {
        (base_height, (th / h * w).round_ties_even() as i64)
    } else {
        ((tw / w * h).round_ties_even() as i64, base_width)
    };
    let top = ((base_height - resized_height) as f64 / 2.0).round_ties_even() as i64;
    let left = ((base_width - resized_width) as f64 / 2.0).round_ties_even() as i64;
    Crop { top, left, bottom: top + resized_height, right: left + resized_width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crop_regions_are_the_reference_s() {
        // get_resize_crop_region_for_grid((h, w), tgt_width, tgt_height)
        let crop = |h, w, th, tw| {
            let c = resize_crop_region(h, w, th, tw);
            ((c.top, c.left), (c.bottom, c.right))
        };
        assert_eq!(crop(30, 45, 30, 45), ((0, 0), (30, 45)));
        assert_eq!(crop(45, 30, 30, 45), ((0, 12), (30, 32)));
        assert_eq!(crop(16, 16, 30, 45), ((0, 8), (30, 38)));
        assert_eq!(crop(7, 40, 30, 45), ((11, 0), (19, 45)));
    }
}
