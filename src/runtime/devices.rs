//! The devices of a machine, with what a host wants to know before it loads a pipeline on one, and
//! the memory that their allocators keep.

use super::process::Work;
use super::shim::{driver, loader};
use super::{cuda, device, device_threads};
use crate::{Error, Result};
use std::fs::read_to_string;
use tch::Device;

/// A device that a host may ask for, or would if it could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What a pipeline is loaded on: "cpu", "cuda:0", …
    pub device: String,
    /// What its maker calls it; empty where that is not known.
    pub name: String,
    /// As NVIDIA's tools write it; empty for the CPU.
    pub uuid: String,
    /// Bytes of the device, for the CPU of the machine; 0 where that is not known.
    pub memory_total: u64,
    /// Bytes that nobody uses now; 0 where that is not known.
    pub memory_free: u64,
    /// Compute capability, major and minor; (0, 0) for the CPU.
    pub capability: (i32, i32),
    /// Windows' LUID, its 8 bytes as a number of this machine, and the bit of its node.
    pub luid: Option<(u64, u32)>,
    /// Why it can't be used.
    pub unusable: Option<String>,
}

/// The CPU, and then the GPUs that NVIDIA's driver knows, in the order of their indices. The CUDA
/// library is loaded if there is one.
///
/// Errors: those of [`Work::begin`].
pub fn list() -> Result<Vec<DeviceInfo>> {
    let _work = Work::begin()?;
    let mut devices = vec![cpu()];
    let gpus = driver::devices();
    if gpus.is_empty() {
        return Ok(devices);
    }
    let usable = cuda::device_count();
    for (index, gpu) in gpus.into_iter().enumerate() {
        let unusable = match &usable {
            Ok(count) if index < *count => None,
            Ok(count) => Some(format!("libtorch finds no more than {count} of the devices")),
            Err(error) => Some(error.to_string()),
        };
        devices.push(DeviceInfo {
            device: format!("cuda:{index}"),
            name: gpu.name,
            uuid: gpu.uuid,
            memory_total: gpu.memory_total,
            memory_free: gpu.memory_free.unwrap_or(0),
            capability: gpu.capability,
            luid: gpu.luid,
            unusable,
        });
    }
    Ok(devices)
}

/// Gives back what the allocators of a device ("cpu", "cuda" or "cuda:N") keep and nothing uses: of
/// CUDA, what libtorch keeps on all devices of the process, and for the CPU, what the C library's
/// `malloc` keeps. Does nothing for CUDA that was never loaded.
///
/// Errors: [`Error::InvalidArgument`] for another text, [`Error::DeviceUnavailable`] for an index
/// that does not exist.
pub fn trim(name: &str) -> Result<()> {
    match device::named(name)? {
        None => Err(Error::InvalidArgument(format!(
            "device must be \"cpu\", \"cuda\" or \"cuda:N\", found {name:?}"
        ))),
        Some(Device::Cuda(index)) => match cuda::known_device_count() {
            Some(count) => {
                device::check_index(index, count)?;
                let _work = Work::begin()?;
                let device = Device::Cuda(index);
                device_threads::on(device, || device::empty_cache(device))
            }
            None => Ok(()),
        },
        Some(_) => {
            loader::trim_malloc();
            Ok(())
        }
    }
}

fn cpu() -> DeviceInfo {
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let processor = read_to_string("/proc/cpuinfo").unwrap_or_default();
    DeviceInfo {
        device: "cpu".into(),
        name: field(&processor, "model name").unwrap_or_default().into(),
        uuid: String::new(),
        memory_total: kibibytes(&memory, "MemTotal").unwrap_or(0),
        memory_free: kibibytes(&memory, "MemAvailable").unwrap_or(0),
        capability: (0, 0),
        luid: None,
        unusable: None,
    }
}

/// The first `name : value` of a file of /proc.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A field of /proc/meminfo, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_and_others_are_none() {
        let memory = "MemTotal:       16314252 kB\nMemAvailable:   12 kB\nHugePages_Total: 0\n";
        assert_eq!(kibibytes(memory, "MemTotal"), Some(16_314_252 * 1024));
        assert_eq!(kibibytes(memory, "MemAvailable"), Some(12 * 1024));
        assert_eq!(kibibytes(memory, "HugePages_Total"), None);
        assert_eq!(kibibytes("", "MemTotal"), None);
        assert_eq!(field("a\t: b c \n", "a"), Some("b c"));
    }

    /// True of any machine.
    #[test]
    fn the_cpu_is_the_first_device_and_can_be_used() {
        let devices = list().unwrap();
        let cpu = &devices[0];
        assert_eq!((cpu.device.as_str(), &cpu.unusable), ("cpu", &None));
        assert!(cpu.memory_total >= cpu.memory_free && cpu.memory_free > 0, "{cpu:?}");
        for (index, gpu) in devices[1..].iter().enumerate() {
            assert_eq!(gpu.device, format!("cuda:{index}"));
            assert!(gpu.uuid.len() == 40 && gpu.capability.0 > 0, "{gpu:?}");
        }
    }

    #[test]
    fn trimming_takes_names_of_devices_alone() {
        assert_eq!(trim("cpu"), Ok(()));
        for name in ["", "auto", "gpu", "cuda:x", "CPU"] {
            let Err(Error::InvalidArgument(message)) = trim(name) else { panic!("{name}") };
            assert!(message.contains(&format!("{name:?}")), "{message}");
        }
    }
}
