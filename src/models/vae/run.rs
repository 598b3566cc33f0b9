//! One call of the decoder: videos and tiles, one after another, group by group of frames.

use super::batches::{Batch, Batches};
use super::decoder::Decoder;
use super::spatial_norm::Latents;
use super::stream::{Stream, Workspace};
use super::tiling::{blend, Axis};
use crate::runtime::{dim, Control, Progress, Stage};
use crate::{Error, Result};
use tch::Tensor;

/// Takes a group's frames: frames × height × width × 3, dense.
pub(super) type Deliver<'a> = &'a mut dyn FnMut(&Batch, Tensor) -> Result<()>;

pub(super) struct Run<'a> {
    decoder: &'a Decoder,
    groups: Batches,
    workspace: Workspace,
    control: &'a Control,
    /// Groups of tiles.
    done: u64,
    total: u64,
}

impl<'a> Run<'a> {
    pub fn new(
        decoder: &'a Decoder,
        groups: Batches,
        workspace: Workspace,
        control: &'a Control,
        total: u64,
    ) -> Run<'a> {
        Run { decoder, groups, workspace, control, done: 0, total }
    }

    /// Decodes `z` (latent frames × height × width × channels, dense) in one piece.
    pub fn whole(&mut self, z: &Tensor, deliver: Deliver) -> Result<()> {
        let mut stream = Stream {
            caches: (0..self.decoder.caches).map(|_| None).collect(),
            last: false,
            workspace: &mut self.workspace,
            control: self.control,
        };
        for (i, group) in self.groups.iter().enumerate() {
            self.control.check()?;
            stream.last = i as i64 + 1 == self.groups.count();
            let latents = Latents::new(z.f_narrow(0, group.latent_start, group.latent_frames)?)?;
            deliver(&group, self.decoder.forward(&latents, &mut stream)?)?;
            self.done += 1;
            self.control.report(Progress {
                stage: Stage::Decode,
                done: self.done,
                total: self.total,
                timestep: None,
            })?;
        }
        Ok(())
    }

    /// Decodes `z` in tiles. Each tile goes through all of its frames before the next, so that
    /// only one tile's caches are kept; finished frames are small beside them.
    pub fn tiled(&mut self, z: &Tensor, grid: &[Axis; 2], deliver: Deliver) -> Result<()> {
        let [rows, columns] = grid;
        let mut video = Vec::new();
        let mut above: Vec<Tensor> = Vec::new();
        for &(top, height) in &rows.tiles {
            let mut row: Vec<Tensor> = Vec::new();
            let mut kept = Vec::new();
            for (j, &(left, width)) in columns.tiles.iter().enumerate() {
                let z = z.f_narrow(1, top, height)?.f_narrow(2, left, width)?.f_contiguous()?;
                let tile = self.tile(&z)?;
                if let Some(above) = above.get(j) {
                    blend(above, &tile, 1, rows.blend)?;
                }
                if let Some(before) = row.last() {
                    blend(before, &tile, 2, columns.blend)?;
                }
                let (tall, wide) = (dim(&tile, 1)?, dim(&tile, 2)?);
                let part = tile.f_narrow(1, 0, rows.keep.min(tall))?;
                kept.push(part.f_narrow(2, 0, columns.keep.min(wide))?);
                row.push(tile);
            }
            video.push(Tensor::f_cat(&kept, 2)?);
            above = row;
        }
        drop(above);
        let video = Tensor::f_cat(&video, 1)?;
        for group in self.groups.iter() {
            deliver(&group, video.f_narrow(0, group.start, group.frames)?)?;
        }
        Ok(())
    }

    /// All frames of one tile.
    fn tile(&mut self, z: &Tensor) -> Result<Tensor> {
        let mut parts = Vec::new();
        self.whole(z, &mut |_, frames| {
            parts.push(frames);
            Ok(())
        })?;
        match parts.len() {
            0 => Err(Error::Internal("VAE decoder: a tile without frames".into())),
            _ => Ok(Tensor::f_cat(&parts, 0)?),
        }
    }
}
