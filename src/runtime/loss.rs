//! What is known of a device that failed for good.
//!
//! CUDA's errors of that kind are sticky: every later call on the device, in this process, fails
//! with them. So a pipeline whose device was lost says so at once from then on, instead of in
//! whatever words the call at hand would have for it.

use super::{device, shim};
use crate::{Error, Result};
use std::sync::OnceLock;
use tch::Device;

/// Whether a device that something lies on is lost, and how that was told first.
#[derive(Debug, Default)]
pub struct Loss(OnceLock<String>);

impl Loss {
    /// [`Error::DeviceLost`] if a device was lost before, or says now that it is, for which it is
    /// not waited for.
    pub fn check(&self, devices: &[Device]) -> Result<()> {
        for &device in devices {
            if self.0.get().is_some() {
                break;
            }
            match query(device) {
                // A device that is full is in order.
                Ok(()) | Err(Error::OutOfMemory(_)) => {}
                Err(error) => self.remember(error),
            }
        }
        match self.0.get() {
            Some(message) => Err(Error::DeviceLost(message.clone())),
            None => Ok(()),
        }
    }

    /// Does `work` on `devices`, and notes whether one of them is lost then. After a failure that says
    /// no more than that something went wrong (cuBLAS and cuDNN have words of their own), and after
    /// a panic (which is how some operators fail, see [`super::failures::of_panic`]), the devices are
    /// asked.
    pub fn note<T>(&self, devices: &[Device], work: impl FnOnce() -> Result<T>) -> Result<T> {
        let asking = AskAfterPanic { loss: self, devices };
        let result = work();
        drop(asking);
        match &result {
            Err(error @ Error::DeviceLost(_)) => self.remember(error.clone()),
            Err(Error::Internal(_)) => self.check(devices)?,
            _ => {}
        }
        result
    }

    /// Whether it is known to be lost, without asking.
    pub fn is_known(&self) -> bool {
        self.0.get().is_some()
    }

    fn remember(&self, error: Error) {
        let _ = self.0.set(error.to_string());
    }
}

struct AskAfterPanic<'a> {
    loss: &'a Loss,
    devices: &'a [Device],
}

impl Drop for AskAfterPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.loss.check(self.devices);
        }
    }
}

/// A device that does not even tell whether it is busy is lost, whatever it calls that.
fn query(device: Device) -> Result<()> {
    device::cuda_index(device)?.map_or(Ok(()), shim::cuda_query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_stays_lost() {
        let loss = Loss::default();
        assert_eq!(loss.check(&[Device::Cpu]), Ok(()));
        let internal = || Err::<(), _>(Error::Internal("a defect".into()));
        assert_eq!(loss.note(&[Device::Cpu], internal), internal());
        assert!(!loss.is_known());
        let lost = || Err::<(), _>(Error::DeviceLost("cuda:0 fell off".into()));
        assert_eq!(loss.note(&[Device::Cpu], lost), lost());
        assert_eq!(loss.check(&[Device::Cpu]), lost());
        // In whatever words a later call tells it.
        assert_eq!(loss.note(&[Device::Cpu], internal), lost());
        assert_eq!(loss.note(&[Device::Cpu], || Ok(())), Ok(()));
    }
}
