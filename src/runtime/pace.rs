//! How far the host runs ahead of a device.
//!
//! CUDA takes work faster than it does it: left alone, the host queues a whole step and more, and
//! a cancelled run would go on until the queue is empty. So the host waits, before it launches a
//! layer, until the device has at most two left to do: enough that the device never waits for
//! the host.

use super::device::Mark;
use crate::Result;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tch::Device;

/// Layers that may be launched and not yet done.
const AHEAD: usize = 2;

/// How long to sleep between two looks: short beside a layer of a published model, of which the
/// smallest take some milliseconds.
const PAUSE: Duration = Duration::from_micros(100);

/// The layers of one piece of work that are under way. Used by the thread that launches.
#[derive(Default)]
pub struct Pace(Mutex<VecDeque<Mark>>);

impl Pace {
    /// Marks the end of what was launched so far, and waits until at most [`AHEAD`] marks lie
    /// before the device. `check` is asked while it waits; its error ends the waiting. Does
    /// nothing on the CPU.
    pub fn begin_layer(&self, device: Device, check: impl Fn() -> Result<()>) -> Result<()> {
        let Device::Cuda(_) = device else { return Ok(()) };
        let mark = Mark::set(device)?;
        let mut marks = self.0.lock();
        marks.push_back(mark);
        while marks.len() > AHEAD {
            if marks.front().map_or(Ok(true), Mark::is_passed)? {
                marks.pop_front();
            } else {
                check()?;
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}
