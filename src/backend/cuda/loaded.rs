//! Our kernels, as a device has them.

use crate::runtime::device;
use crate::runtime::modules::{Arguments, Function, Module};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::ffi::{c_void, CStr, CString};
use std::fmt;
use std::sync::{Arc, Weak};
use tch::{Device, Kind, Tensor};

/// For compute capability 8.0 and everything after it: the driver compiles it for the card that there
/// is, and keeps what it made on disk.
const PTX: &CStr = {
    let text = concat!(include_str!("kernels/kernels.ptx"), "\0");
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
};

/// Bytes that every address which a kernel is given is a multiple of.
const ALIGNMENT: usize = 16;

/// The kernels on one device. Whoever holds it keeps them there.
#[derive(Clone)]
pub struct DeviceKernels(Arc<Loaded>);

struct Loaded {
    index: usize,
    module: Module,
    bf16: OfDtype,
    f16: OfDtype,
    f32: OfDtype,
    moments_of_groups: Function,
}

/// See `kernels/tokens.cuh` and `kernels/video.cuh`.
pub(super) struct OfDtype {
    pub norm_heads: Function,
    /// For rows of at most 1024, 2048 and 3072 numbers.
    pub norm_modulate: [Function; 3],
    pub gate_norm_modulate: [Function; 3],
    pub add_gated: Function,
    pub moments: Function,
    pub modulate_silu: Function,
}

impl OfDtype {
    fn find(module: &Module, dtype: &str) -> Result<OfDtype> {
        let one = |name: &str| find(module, &format!("cvx_{name}_{dtype}"));
        let three = |name: &str| {
            let part = |parts: u32| one(&format!("{name}_{parts}"));
            Ok::<_, Error>([part(1)?, part(2)?, part(3)?])
        };
        Ok(OfDtype {
            norm_heads: one("norm_heads")?,
            norm_modulate: three("norm_modulate")?,
            gate_norm_modulate: three("gate_norm_modulate")?,
            add_gated: one("add_gated")?,
            moments: one("moments")?,
            modulate_silu: one("modulate_silu")?,
        })
    }
}

fn find(module: &Module, name: &str) -> Result<Function> {
    let name = CString::new(name).map_err(|_| Error::Internal("a kernel's name".into()))?;
    module.function(&name)
}

/// Those that the process has, for each device that has them: modules belong to the device's context,
/// which is the process's.
static LOADED: Mutex<Vec<Weak<Loaded>>> = Mutex::new(Vec::new());

impl DeviceKernels {
    /// Those of `device`, loaded now unless the process has them there; `None` on the CPU.
    ///
    /// Errors: [`Error::DeviceUnavailable`] where the driver or the card can't take them.
    pub fn load(device: Device) -> Result<Option<DeviceKernels>> {
        let Device::Cuda(index) = device else { return Ok(None) };
        let mut all = LOADED.lock();
        all.retain(|loaded| loaded.strong_count() > 0);
        let there = all.iter().filter_map(Weak::upgrade).find(|loaded| loaded.index == index);
        if let Some(loaded) = there {
            return Ok(Some(DeviceKernels(loaded)));
        }
        let number = i32::try_from(index)
            .map_err(|_| Error::InvalidArgument(format!("device index {index} is too large")))?;
        let module = Module::load(number, PTX)?;
        let loaded = Arc::new(Loaded {
            index,
            bf16: OfDtype::find(&module, "bf16")?,
            f16: OfDtype::find(&module, "f16")?,
            f32: OfDtype::find(&module, "float")?,
            moments_of_groups: find(&module, "cvx_moments_of_groups")?,
            module,
        });
        all.push(Arc::downgrade(&loaded));
        Ok(Some(DeviceKernels(loaded)))
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        Device::Cuda(self.0.index)
    }

    /// Those for numbers of `kind`, if there are some.
    pub(super) fn of(&self, kind: Kind) -> Option<&OfDtype> {
        match kind {
            Kind::BFloat16 => Some(&self.0.bf16),
            Kind::Half => Some(&self.0.f16),
            Kind::Float => Some(&self.0.f32),
            _ => None,
        }
    }

    pub(super) fn moments_of_groups(&self) -> Function {
        self.0.moments_of_groups
    }

    /// Whether a kernel can be given `tensor`: dense numbers of `kind` on this device, at a multiple
    /// of 16 bytes.
    pub(super) fn takes(&self, tensor: &Tensor, kind: Kind) -> bool {
        tensor.device() == self.device()
            && tensor.kind() == kind
            && tensor.is_contiguous()
            && data(tensor).addr().is_multiple_of(ALIGNMENT)
    }

    /// Has `function` run on the stream that this thread uses.
    ///
    /// # Safety
    /// As for [`Module::launch`].
    pub(super) unsafe fn launch(
        &self,
        function: Function,
        size: (u32, u32, u32),
        mut arguments: Arguments,
    ) -> Result<()> {
        let stream = device::stream_of(self.device())?.0;
        // SAFETY: the caller's.
        unsafe { self.0.module.launch(function, size, stream, &mut arguments) }
    }
}

impl fmt::Debug for DeviceKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernels on {}", device::device_name(self.device()))
    }
}

/// Where the numbers of `tensor` begin.
pub(super) fn data(tensor: &Tensor) -> *mut c_void {
    tensor.data_ptr()
}

/// How many blocks of `each` there are in `count`; `None` for more than a launch has.
pub(super) fn blocks(count: i64, each: i64) -> Option<u32> {
    let blocks = (count.checked_add(each - 1)?) / each.max(1);
    i32::try_from(blocks).ok().filter(|&blocks| blocks > 0).and_then(|n| u32::try_from(n).ok())
}
