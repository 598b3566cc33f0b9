//! Overlapping tiles that are blended (`tiled_decode` and `tiled_encode`, diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:1322 and :1250).

use super::Tiling;
use crate::checkpoint::config::VaeConfig;
use crate::runtime::device::upload;
use crate::runtime::number::Short;
use crate::{runtime, Error, Result};
use tch::{Kind, Tensor};

/// Defaults of `tile_overlap_factor_height` and `…_width` (autoencoder_kl_cogvideox.py:1086).
const OVERLAP_FACTOR_HEIGHT: f64 = 1.0 / 6.0;
const OVERLAP_FACTOR_WIDTH: f64 = 1.0 / 5.0;

/// How one side of a video is cut and put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// Where each tile starts, and its size, in pixels of what goes in.
    pub tiles: Vec<(i64, i64)>,
    /// Pixels of what comes out that a tile is blended over with the one before.
    pub blend: i64,
    /// Pixels of what comes out of each tile that are kept.
    pub keep: i64,
    /// The reference's rounding would have given another size, and was mended.
    pub mended: bool,
}

/// A grid of tiles for decoding latents of this height and width; `None` where all of them fit in
/// one.
pub(super) fn grid(
    config: &VaeConfig,
    tiling: &Tiling,
    height: i64,
    width: i64,
) -> Result<Option<[Axis; 2]>> {
    let sides = sides(config, tiling, height, width)?;
    if sides.iter().all(|side| side.length <= side.latent_tile()) {
        return Ok(None);
    }
    let [rows, columns] = &sides;
    Ok(Some([rows.cut()?, columns.cut()?]))
}

/// A grid of tiles for encoding frames of this height and width; `None` where all of them fit in
/// one.
pub(super) fn sample_grid(
    config: &VaeConfig,
    tiling: &Tiling,
    height: i64,
    width: i64,
) -> Result<Option<[Axis; 2]>> {
    let sides = sides(config, tiling, height, width)?;
    if sides.iter().all(|side| side.length <= side.tile) {
        return Ok(None);
    }
    let [rows, columns] = &sides;
    Ok(Some([rows.cut_samples()?, columns.cut_samples()?]))
}

/// Rows and columns, `height` and `width` long.
fn sides(config: &VaeConfig, tiling: &Tiling, height: i64, width: i64) -> Result<[Side; 2]> {
    let ratio = config.spatial_compression_ratio();
    // As in the reference, zero stands for the default.
    let size = |name: &str, given: Option<i64>, default: i64| match given {
        Some(size) if size < 0 => Err(Error::InvalidArgument(format!(
            "{name}: expected a number of pixels above 0, found {size}"
        ))),
        Some(size) if size > 0 => Ok(size),
        _ => Ok(default),
    };
    let factor = |name: &str, given: Option<f64>, default: f64| match given {
        Some(factor) if !(0.0..1.0).contains(&factor) => Err(Error::InvalidArgument(format!(
            "{name}: expected at least 0 and below 1, found {}",
            Short(factor)
        ))),
        Some(factor) if factor > 0.0 => Ok(factor),
        _ => Ok(default),
    };
    Ok([
        Side {
            names: ["tile_sample_min_height", "tile_overlap_factor_height"],
            length: height,
            tile: size(
                "tile_sample_min_height",
                tiling.tile_sample_min_height,
                config.sample_height / 2,
            )?,
            overlap_factor: factor(
                "tile_overlap_factor_height",
                tiling.tile_overlap_factor_height,
                OVERLAP_FACTOR_HEIGHT,
            )?,
            ratio,
        },
        Side {
            names: ["tile_sample_min_width", "tile_overlap_factor_width"],
            length: width,
            tile: size(
                "tile_sample_min_width",
                tiling.tile_sample_min_width,
                config.sample_width / 2,
            )?,
            overlap_factor: factor(
                "tile_overlap_factor_width",
                tiling.tile_overlap_factor_width,
                OVERLAP_FACTOR_WIDTH,
            )?,
            ratio,
        },
    ])
}

struct Side {
    names: [&'static str; 2],
    /// Pixels of what goes in.
    length: i64,
    /// Pixels of a tile.
    tile: i64,
    overlap_factor: f64,
    ratio: i64,
}

impl Side {
    fn latent_tile(&self) -> i64 {
        self.tile / self.ratio
    }

    fn cut(&self) -> Result<Axis> {
        let latent_tile = self.latent_tile();
        let stride = (latent_tile as f64 * (1.0 - self.overlap_factor)) as i64;
        if stride < 1 {
            return Err(self.too_small());
        }
        let starts = (0..self.length).step_by(usize::try_from(stride).unwrap_or(usize::MAX));
        let tiles: Vec<(i64, i64)> =
            starts.map(|start| (start, latent_tile.min(self.length - start))).collect();
        let blend = (self.tile as f64 * self.overlap_factor) as i64;
        let axis = Axis { tiles, blend, keep: self.tile - blend, mended: false };
        if axis.length(self.ratio) == self.length * self.ratio {
            return Ok(axis);
        }
        // The reference rounds the stride in latent pixels and the blended part in pixels.
        // Where they don't match, its videos come out in another size. The stride decides.
        let keep = stride * self.ratio;
        let blend = latent_tile * self.ratio - keep;
        Ok(Axis { blend, keep, mended: true, ..axis })
    }

    fn cut_samples(&self) -> Result<Axis> {
        let latent_tile = self.latent_tile();
        let blend = (latent_tile as f64 * self.overlap_factor) as i64;
        let keep = latent_tile - blend;
        let stride = (self.tile as f64 * (1.0 - self.overlap_factor)) as i64;
        if keep < 1 || stride < 1 {
            return Err(self.too_small());
        }
        let tiles = |stride: i64, tile: i64| -> Vec<(i64, i64)> {
            let starts = (0..self.length).step_by(usize::try_from(stride).unwrap_or(usize::MAX));
            starts.map(|start| (start, tile.min(self.length - start))).collect()
        };
        let axis = Axis { tiles: tiles(stride, self.tile), blend, keep, mended: false };
        let latents: i64 = axis.tiles.iter().map(|(_, size)| (size / self.ratio).min(keep)).sum();
        let whole = axis.tiles.iter().all(|&(_, size)| size >= self.ratio);
        if whole && latents == self.length / self.ratio {
            return Ok(axis);
        }
        // Where tiles start is rounded in pixels and what is kept of them in latent pixels. Where
        // they don't match, latents come out in another size. What is kept decides.
        let tiles = tiles(keep * self.ratio, latent_tile * self.ratio);
        Ok(Axis { tiles, mended: true, ..axis })
    }

    fn too_small(&self) -> Error {
        let [tile, factor] = self.names;
        Error::InvalidArgument(format!(
            "{tile} and {factor}: expected tiles that start at least {} pixels apart, found tiles \
             of {} with an overlap of {}",
            self.ratio, self.tile, self.overlap_factor
        ))
    }
}

impl Axis {
    /// Pixels of the tiles put together.
    fn length(&self, ratio: i64) -> i64 {
        self.tiles.iter().map(|(_, size)| (size * ratio).min(self.keep)).sum()
    }
}

/// Blends the first pixels of `b` along `dim` with the last of `a`, in place (`blend_v` and
/// `blend_h`, autoencoder_kl_cogvideox.py:1232).
pub(super) fn blend(a: &Tensor, b: &Tensor, dim: i64, extent: i64) -> Result<()> {
    let before = runtime::dim(a, dim)?;
    let extent = extent.min(before).min(runtime::dim(b, dim)?);
    if extent < 1 {
        return Ok(());
    }
    let weights = |of: &dyn Fn(f64) -> f64| -> Result<Tensor> {
        let weights: Vec<f32> = (0..extent).map(|i| of(i as f64 / extent as f64) as f32).collect();
        let mut shape = vec![1; b.dim()];
        if let Some(side) = shape.get_mut(dim as usize) {
            *side = extent;
        }
        let weights = Tensor::f_from_slice(&weights)?.f_view(shape.as_slice())?;
        upload(&weights, b.device())
    };
    let mut head = b.f_narrow(dim, 0, extent)?;
    let tail = a.f_narrow(dim, before - extent, extent)?.f_to_kind(Kind::Float)?;
    let blended = tail
        .f_mul(&weights(&|share| 1.0 - share)?)?
        .f_add(&head.f_to_kind(Kind::Float)?.f_mul(&weights(&|share| share)?)?)?;
    Ok(head.f_copy_(&blended)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(length: i64, tile: i64, overlap_factor: f64) -> Side {
        Side { names: ["tile", "overlap"], length, tile, overlap_factor, ratio: 8 }
    }

    #[test]
    fn published_sizes_are_cut_as_in_diffusers() {
        let rows = side(60, 240, OVERLAP_FACTOR_HEIGHT).cut().unwrap();
        let expected =
            Axis { tiles: vec![(0, 30), (25, 30), (50, 10)], blend: 40, keep: 200, mended: false };
        assert_eq!(rows, expected);
        let columns = side(90, 360, OVERLAP_FACTOR_WIDTH).cut().unwrap();
        assert_eq!(columns.tiles, [(0, 45), (36, 45), (72, 18)]);
        assert_eq!((columns.blend, columns.keep, columns.mended), (72, 288, false));
    }

    #[test]
    fn a_size_that_rounding_would_change_is_mended() {
        // diffusers keeps 27 rows of every tile although they start 24 rows apart: 70 rows.
        let rows = side(8, 32, OVERLAP_FACTOR_HEIGHT).cut().unwrap();
        assert_eq!(rows.tiles, [(0, 4), (3, 4), (6, 2)]);
        assert_eq!((rows.blend, rows.keep, rows.mended), (8, 24, true));
        assert_eq!(rows.length(8), 64);
    }

    #[test]
    fn samples_of_published_sizes_are_cut_as_in_diffusers() {
        let rows = side(480, 240, OVERLAP_FACTOR_HEIGHT).cut_samples().unwrap();
        let tiles = vec![(0, 240), (200, 240), (400, 80)];
        assert_eq!(rows, Axis { tiles, blend: 5, keep: 25, mended: false });
        let columns = side(720, 360, OVERLAP_FACTOR_WIDTH).cut_samples().unwrap();
        let tiles = vec![(0, 360), (288, 360), (576, 144)];
        assert_eq!(columns, Axis { tiles, blend: 9, keep: 36, mended: false });
    }

    #[test]
    fn samples_whose_size_rounding_would_change_are_mended() {
        // diffusers starts a tile every 26 pixels and keeps 4 latents of each: 9 of 8.
        let rows = side(64, 32, OVERLAP_FACTOR_HEIGHT).cut_samples().unwrap();
        assert_eq!((rows.blend, rows.keep, rows.mended), (0, 4, true));
        assert_eq!(rows.tiles, [(0, 32), (32, 32)]);
        let Err(Error::InvalidArgument(_)) = side(64, 7, 0.5).cut_samples() else { panic!() };
    }

    #[test]
    fn tiles_that_do_not_advance_are_an_error() {
        let Err(Error::InvalidArgument(message)) = side(8, 15, 0.5).cut() else { panic!() };
        assert!(message.starts_with("tile and overlap: "), "{message}");
    }
}
