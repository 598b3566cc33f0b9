//! The ranks that a pipeline's runs are shared among.

use super::components::Components;
use super::state::Signature;
use crate::cache::{CacheConfig, Exchanged, SharedStats};
use crate::parallel::degrees::Shape;
use crate::parallel::{ranks, Among, Communicator, Degrees, Layout, Team};
use crate::runtime::threads::Threads;
use crate::runtime::{warnings, Control};
use crate::{Error, Result};
use std::sync::Arc;
use tch::Device;

/// With whom a pipeline's runs are shared.
pub(super) struct Parallel {
    degrees: Degrees,
    peers: Peers,
}

enum Peers {
    Nobody,
    /// The other devices of this process, in the order of their ranks from 1 on.
    Devices(Vec<Arc<Components>>),
    /// Other processes.
    Processes(Arc<dyn Communicator>),
}

/// One rank of one run.
pub(super) struct RankRun {
    pub components: Arc<Components>,
    pub team: Arc<Team>,
    /// Only rank 0's tells the host of anything.
    pub control: Control,
    /// The frames are put together here, where they are wanted.
    pub delivers: bool,
}

impl Parallel {
    pub fn alone() -> Parallel {
        Parallel { degrees: Degrees::default(), peers: Peers::Nobody }
    }

    pub fn devices(degrees: Degrees, others: Vec<Arc<Components>>) -> Parallel {
        Parallel { degrees, peers: Peers::Devices(others) }
    }

    pub fn processes(degrees: Degrees, communicator: Arc<dyn Communicator>) -> Parallel {
        Parallel { degrees, peers: Peers::Processes(communicator) }
    }

    fn size(&self) -> usize {
        match &self.peers {
            Peers::Nobody => 1,
            Peers::Devices(others) => 1 + others.len(),
            Peers::Processes(communicator) => communicator.size(),
        }
    }

    /// The components of each device of this process once; `first` are rank 0's.
    pub fn on_each_device<'a>(&'a self, first: &'a Arc<Components>) -> Vec<&'a Arc<Components>> {
        let mut each = vec![first];
        if let Peers::Devices(others) = &self.peers {
            for other in others {
                if !each.iter().any(|of| Arc::ptr_eq(of, other)) {
                    each.push(other);
                }
            }
        }
        each
    }

    pub fn is_alone(&self) -> bool {
        self.size() <= 1
    }

    pub fn layout(&self, heads: i64, run: Shape) -> Layout {
        self.degrees.layout(self.size(), heads, run)
    }

    /// Does `work` on every rank, and returns what rank 0's, or this process's, returns. `first` are
    /// the components of rank 0, or of this process.
    pub fn run<T>(
        &self,
        first: &Arc<Components>,
        layout: Layout,
        control: &Control,
        work: impl Fn(RankRun) -> Result<T> + Sync,
    ) -> Result<T> {
        match &self.peers {
            Peers::Nobody => work(RankRun {
                components: Arc::clone(first),
                team: Team::alone(),
                control: control.clone(),
                delivers: true,
            }),
            Peers::Devices(others) => {
                let all: Vec<_> = std::iter::once(first).chain(others).collect();
                run_devices(&all, layout, control, work)
            }
            Peers::Processes(communicator) => ranks::part(communicator.as_ref(), || {
                work(RankRun {
                    components: Arc::clone(first),
                    team: Team::new(Arc::clone(communicator), layout, control),
                    control: control.clone(),
                    delivers: communicator.rank() == 0,
                })
            }),
        }
    }
}

fn run_devices<T>(
    all: &[&Arc<Components>],
    layout: Layout,
    control: &Control,
    work: impl Fn(RankRun) -> Result<T> + Sync,
) -> Result<T> {
    let device = |components: &Components| components.placements.transformer.device;
    let names: Vec<String> = all.iter().map(|of| of.placements.transformer.device_name()).collect();
    // Ranks on the CPU share its threads.
    let on_cpu = all.iter().filter(|of| device(of) == Device::Cpu).count().max(1);
    let threads = (tch::get_num_threads() / on_cpu as i32).max(1);
    ranks::run(&names, |rank| {
        let number = rank.communicator.rank();
        let components = all
            .get(number)
            .ok_or_else(|| Error::Internal(format!("rank {number} of {}", all.len())))?;
        let control = match number {
            0 => Control { ranks_failed: Some(rank.failed), ..control.clone() },
            _ => Control { ranks_failed: Some(rank.failed), ..Control::default() },
        };
        let run = RankRun {
            components: Arc::clone(components),
            team: Team::new(rank.communicator, layout, &control),
            control: control.clone(),
            delivers: number == 0,
        };
        let share = if device(components) == Device::Cpu { threads } else { 0 };
        if number > 0 {
            return warnings::to_log(&control, || components.work_with(share, || work(run)));
        }
        // The pipeline's turn has begun the work.
        let _share = Threads::limit(share)?;
        work(run)
    })
}

/// Whether all ranks begin the same run. Errors: [`Error::InvalidArgument`] on every rank if not.
pub(super) fn agree(
    team: &Team,
    signature: &Signature,
    config: Option<&CacheConfig>,
) -> Result<()> {
    if team.is_alone() {
        return Ok(());
    }
    let cache = config.map(|config| (config.technique_name(), config.settings()));
    let layout = team.layout();
    // A number that float64 holds exactly.
    let own = signature.number(&format!("{cache:?} {layout:?}")) & ((1 << 52) - 1);
    let all = team.each(Among::All, [own as f64])?;
    match all.iter().position(|[number]| *number != own as f64) {
        None => Ok(()),
        Some(other) => Err(Error::InvalidArgument(format!(
            "ranks {} and {other} were asked for different runs: expected the same model, options, \
             adapters and cache on all {} ranks",
            team.rank(),
            team.size()
        ))),
    }
}

/// Adds up on rank 0 what the ranks have to tell of a run that ended well; else writes down this
/// rank's own.
pub(super) fn merge(team: &Team, stats: &SharedStats, ended_well: bool) -> Result<()> {
    if team.is_alone() {
        return Ok(());
    }
    let traffic = team.traffic();
    let own = [traffic.bytes as f64, traffic.messages as f64, stats.snapshot().bytes_peak as f64];
    let all = if ended_well { team.each(Among::All, own)? } else { vec![own] };
    let sum = |of: fn(&[f64; 3]) -> f64| all.iter().map(of).sum::<f64>() as u64;
    stats.edit(|stats| {
        stats.exchanged = Exchanged {
            ranks: team.size(),
            guidance_degree: team.layout().guidance,
            sequence_degree: team.layout().sequence,
            bytes: sum(|[bytes, ..]| *bytes),
            messages: sum(|[_, messages, _]| *messages),
        };
        stats.bytes_peak = all.iter().fold(0.0, |most: f64, [.., peak]| most.max(*peak)) as u64;
    });
    Ok(())
}
