//! One call of a network: videos and tiles, one after another, group by group of frames.

use super::batches::Batch;
use super::stream::{Stream, Workspace};
use super::tiling::{blend, Axis};
use crate::parallel::Team;
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
            let (stage, done, total) = (self.stage, self.done, self.total);
            self.control.report(Progress { stage, done, total, timestep: None })?;
        }
        Ok(())
    }

    /// As [`Run::whole`], in tiles that are blended. Each tile goes through all of its frames before the next, so that
    /// only one tile's caches are kept; finished frames are small beside them.
    ///
    /// The ranks of `team` make every so manieth tile each, and rank 0 puts them together.
    pub fn tiled(
        &mut self,
        x: &Tensor,
        grid: &[Axis; 2],
        team: &Team,
        deliver: Deliver,
    ) -> Result<()> {
        let [rows, columns] = grid;
        let places: Vec<_> = rows
            .tiles
            .iter()
            .flat_map(|row| columns.tiles.iter().map(move |column| (*row, *column)))
            .collect();
        let mut blended = Blended::new(grid);
        for round in places.chunks(team.size()) {
            for tile in self.round(x, round, team)? {
                blended.add(tile)?;
            }
        }
        if team.rank() > 0 {
            return Ok(());
        }
        let video = blended.finish()?;
        for group in self.groups {
            deliver(group, video.f_narrow(0, group.out_start, group.out_frames)?)?;
        }
        Ok(())
    }

    /// The tiles at `places`, one for each rank that has one, on rank 0; nothing on the others.
    fn round(&mut self, x: &Tensor, places: &[Place], team: &Team) -> Result<Vec<Tensor>> {
        let own = match places.get(team.rank()) {
            Some(&((top, height), (left, width))) => {
                let x = x.f_narrow(1, top, height)?.f_narrow(2, left, width)?.f_contiguous()?;
                Some(self.tile(&x)?)
            }
            None => None,
        };
        if team.is_alone() {
            return Ok(own.into_iter().collect());
        }
        // What one pixel that goes in becomes, and how many channels: as this rank's tile shows, or
        // the only rank that others send to has one.
        let own = match own {
            Some(own) => own,
            None => Tensor::f_empty([0], (x.f_kind()?, x.device()))?,
        };
        let size = own.size();
        let shape = |rank: usize| match (places.get(rank), places.get(team.rank()), &size[..]) {
            (
                Some(&((_, height), (_, width))),
                Some(&((_, own_height), (_, own_width))),
                &[frames, tall, wide, channels],
            ) if team.rank() == 0 => {
                vec![frames, tall / own_height * height, wide / own_width * width, channels]
            }
            _ => vec![0],
        };
        let shapes: Vec<_> = (0..team.size()).map(shape).collect();
        let tiles = team.to_first(own, &shapes)?;
        // Progress of the tiles that others made.
        if team.rank() == 0 && places.len() > 1 {
            self.done += (places.len() as u64 - 1) * self.groups.len() as u64;
            let (stage, done, total) = (self.stage, self.done, self.total);
            self.control.report(Progress { stage, done, total, timestep: None })?;
        }
        Ok(tiles.into_iter().take(places.len()).collect())
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

/// Where a tile starts and how long it is, from top to bottom and from left to right.
type Place = ((i64, i64), (i64, i64));

/// Tiles that are put together, row by row.
struct Blended<'a> {
    grid: &'a [Axis; 2],
    /// Finished rows.
    video: Vec<Tensor>,
    above: Vec<Tensor>,
    /// The row under way, and what is kept of it.
    row: Vec<Tensor>,
    kept: Vec<Tensor>,
}

impl<'a> Blended<'a> {
    fn new(grid: &'a [Axis; 2]) -> Blended<'a> {
        let none = Vec::new;
        Blended { grid, video: none(), above: none(), row: none(), kept: none() }
    }

    /// The next tile, from left to right in each row; it is written to.
    fn add(&mut self, tile: Tensor) -> Result<()> {
        let [rows, columns] = self.grid;
        if let Some(above) = self.above.get(self.row.len()) {
            blend(above, &tile, 1, rows.blend)?;
        }
        if let Some(before) = self.row.last() {
            blend(before, &tile, 2, columns.blend)?;
        }
        let (tall, wide) = (dim(&tile, 1)?, dim(&tile, 2)?);
        let part = tile.f_narrow(1, 0, rows.keep.min(tall))?;
        self.kept.push(part.f_narrow(2, 0, columns.keep.min(wide))?);
        self.row.push(tile);
        if self.row.len() == columns.tiles.len() {
            self.video.push(Tensor::f_cat(&self.kept, 2)?);
            self.kept.clear();
            self.above = std::mem::take(&mut self.row);
        }
        Ok(())
    }

    fn finish(self) -> Result<Tensor> {
        drop(self.above);
        Ok(Tensor::f_cat(&self.video, 1)?)
    }
}
