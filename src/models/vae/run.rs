//! One call of a network: videos and tiles, one after another, group by group of frames.

use super::batches::Batch;
use super::stream::{Stream, Workspace};
use super::tiling::{blend, Axis};
use crate::runtime::{dim, Control, Progress, Stage};
use crate::{Error, Result};
use tch::Tensor;

/// The encoder or the decoder.
pub(super) trait Network {
    /// Causal convolutions, each of which a stream has a cache for.
    fn caches(&self) -> usize;

    /// What the network makes of one group of frames. Both are frames × height × width × channels,
    /// dense; the result has memory of its own.
    fn forward(&self, group: Tensor, stream: &mut Stream) -> Result<Tensor>;
}

/// Takes what became of a group: frames × height × width × channels, dense.
pub(super) type Deliver<'a> = &'a mut dyn FnMut(&Batch, Tensor) -> Result<()>;

pub(super) struct Run<'a> {
    network: &'a dyn Network,
    groups: &'a [Batch],
    workspace: Workspace,
    control: &'a Control,
    stage: Stage,
    /// Groups of tiles.
    done: u64,
    total: u64,
}

impl<'a> Run<'a> {
    /// Of `videos` videos in these groups, in pieces as `grid` says; progress is reported under
    /// `stage`.
    pub fn new(
        network: &'a dyn Network,
        groups: &'a [Batch],
        [videos, tiles]: [u64; 2],
        workspace: Workspace,
        (control, stage): (&'a Control, Stage),
    ) -> Run<'a> {
        let total = [videos, groups.len() as u64, tiles];
        let total = total.into_iter().fold(1u64, u64::saturating_mul);
        Run { network, groups, workspace, control, stage, done: 0, total }
    }

    /// Sends `x` (frames × height × width × channels, dense) through in one piece.
    pub fn whole(&mut self, x: &Tensor, deliver: Deliver) -> Result<()> {
        let mut stream = Stream {
            caches: (0..self.network.caches()).map(|_| None).collect(),
            last: false,
            workspace: &mut self.workspace,
            control: self.control,
        };
        for (i, group) in self.groups.iter().enumerate() {
            self.control.check()?;
            stream.last = i + 1 == self.groups.len();
            let frames = x.f_narrow(0, group.start, group.frames)?;
            deliver(group, self.network.forward(frames, &mut stream)?)?;
            self.done += 1;
            self.control.report(Progress {
                stage: self.stage,
                done: self.done,
                total: self.total,
                timestep: None,
            })?;
        }
        Ok(())
    }

    /// As [`Run::whole`], in tiles that are blended. Each tile goes through all of its frames before the next, so that
    /// only one tile's caches are kept; finished frames are small beside them.
    pub fn tiled(&mut self, x: &Tensor, grid: &[Axis; 2], deliver: Deliver) -> Result<()> {
        let [rows, columns] = grid;
        let mut video = Vec::new();
        let mut above: Vec<Tensor> = Vec::new();
        for &(top, height) in &rows.tiles {
            let mut row: Vec<Tensor> = Vec::new();
            let mut kept = Vec::new();
            for (j, &(left, width)) in columns.tiles.iter().enumerate() {
                let x = x.f_narrow(1, top, height)?.f_narrow(2, left, width)?.f_contiguous()?;
                let tile = self.tile(&x)?;
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
        for group in self.groups {
            deliver(group, video.f_narrow(0, group.out_start, group.out_frames)?)?;
        }
        Ok(())
    }

    /// All frames of one tile.
    fn tile(&mut self, x: &Tensor) -> Result<Tensor> {
        let mut parts = Vec::new();
        self.whole(x, &mut |_, frames| {
            parts.push(frames);
            Ok(())
        })?;
        match parts.len() {
            0 => Err(Error::Internal("VAE: a tile without frames".into())),
            _ => Ok(Tensor::f_cat(&parts, 0)?),
        }
    }
}
