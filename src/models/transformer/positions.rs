//! Sine-cosine positions of the video tokens (diffusers 0.42.1 models/embeddings.py:81).

use crate::Result;
use tch::{Device, Kind, Tensor};

/// How many patches a video has along each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub frames: i64,
    pub height: i64,
    pub width: i64,
}

impl Grid {
    pub fn tokens(&self) -> i64 {
        self.frames * self.height * self.width
    }
}

/// `get_3d_sincos_pos_embed`: `(grid.tokens(), width)` float64 on the CPU. A quarter of the
/// channels tells the frame, three eighths the column, three eighths the row: the reference
/// stacks the grids with the column first and so do the checkpoints.
///
/// `width` must be a multiple of 16.
pub(super) fn sincos(
    grid: Grid,
    width: i64,
    spatial_interpolation_scale: f64,
    temporal_interpolation_scale: f64,
) -> Result<Tensor> {
    let (frames, rows, columns) = (grid.frames, grid.height, grid.width);
    let frame = axis(frames, width / 4, temporal_interpolation_scale)?;
    let column = axis(columns, width / 8 * 3, spatial_interpolation_scale)?;
    let row = axis(rows, width / 8 * 3, spatial_interpolation_scale)?;
    let whole = [frames, rows, columns, -1];
    let parts = [
        frame.f_view([frames, 1, 1, -1])?.f_expand(whole, false)?,
        column.f_view([1, 1, columns, -1])?.f_expand(whole, false)?,
        row.f_view([1, rows, 1, -1])?.f_expand(whole, false)?,
    ];
    Ok(Tensor::f_cat(&parts, -1)?.f_flatten(0, 2)?)
}

/// `get_1d_sincos_pos_embed_from_grid` for `0..count` over `scale`: `(count, channels)`
/// float64, sines first. Positions are divided in float32, as the reference does.
fn axis(count: i64, channels: i64, scale: f64) -> Result<Tensor> {
    let positions = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?.f_div_scalar(scale)?;
    let half = channels / 2;
    let exponent =
        Tensor::f_arange(half, (Kind::Double, Device::Cpu))?.f_div_scalar(channels as f64 / 2.0)?;
    let frequencies = Tensor::f_pow_scalar(10000.0, &exponent)?.f_reciprocal()?;
    let angles = positions.f_to_kind(Kind::Double)?.f_outer(&frequencies)?;
    Ok(Tensor::f_cat(&[angles.f_sin()?, angles.f_cos()?], 1)?)
}
