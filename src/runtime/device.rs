//! Devices and dtypes: what a host may ask for, and what it gets.

pub use super::shim::copies::{CopyMark, CopyStream};
use super::shim::event::DeviceEvent;
use super::shim::host_objects::{self, MemoryPlace};
use super::{cuda, device_threads, shim};
use crate::{Error, Result};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// The floating-point type a pipeline computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F32,
    F16,
    BF16,
}

impl DType {
    pub fn kind(self) -> Kind {
        match self {
            DType::F32 => Kind::Float,
            DType::F16 => Kind::Half,
            DType::BF16 => Kind::BFloat16,
        }
    }

    /// The name a host uses: "f32", "f16" or "bf16".
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
        }
    }

    /// What a host asks for; `None` is "auto".
    pub fn parse(text: &str) -> Result<Option<DType>> {
        match text {
            "auto" => Ok(None),
            "f32" => Ok(Some(DType::F32)),
            "f16" => Ok(Some(DType::F16)),
            "bf16" => Ok(Some(DType::BF16)),
            other => Err(Error::InvalidArgument(format!(
                "dtype must be \"auto\", \"f32\", \"f16\" or \"bf16\", found {other:?}"
            ))),
        }
    }
}

/// What a host asks for by the name of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Cpu,
    Cuda(usize),
    Auto,
}

impl Request {
    fn parse(text: &str) -> Result<Request> {
        // Digits alone: `parse` would take "+1" too.
        let index = |n: &str| match n.bytes().all(|b| b.is_ascii_digit()) {
            true => n.parse::<u16>().ok().map(usize::from),
            false => None,
        };
        let request = match text {
            "cpu" => Some(Request::Cpu),
            "auto" => Some(Request::Auto),
            "cuda" => Some(Request::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(index).map(Request::Cuda),
        };
        request.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "device must be \"cpu\", \"cuda\", \"cuda:N\" or \"auto\", found {text:?}"
            ))
        })
    }

    /// `cuda_devices` is asked only where the answer counts: it loads libraries.
    fn resolve(self, cuda_devices: impl FnOnce() -> Result<usize>) -> Result<Device> {
        match self {
            Request::Cpu => Ok(Device::Cpu),
            Request::Auto => Ok(match cuda_devices() {
                Ok(_) => Device::Cuda(0),
                Err(_) => Device::Cpu,
            }),
            Request::Cuda(index) => {
                check_index(index, cuda_devices()?)?;
                Ok(Device::Cuda(index))
            }
        }
    }
}

/// [`Error::DeviceUnavailable`] for an index that does not exist where there are `count` devices.
pub(super) fn check_index(index: usize, count: usize) -> Result<()> {
    if index < count {
        return Ok(());
    }
    Err(Error::DeviceUnavailable(format!(
        "device cuda:{index} does not exist: CUDA devices on this machine: {count} (cuda:0 to \
         cuda:{})",
        count.saturating_sub(1)
    )))
}

/// The device that a host names, whether it is there or not; `None` for "auto".
///
/// Errors: [`Error::InvalidArgument`] for what is no name of a device.
pub(super) fn named(text: &str) -> Result<Option<Device>> {
    Ok(match Request::parse(text)? {
        Request::Cpu => Some(Device::Cpu),
        Request::Cuda(index) => Some(Device::Cuda(index)),
        Request::Auto => None,
    })
}

/// The device that a host gets for a name; `None` for what is no name, and for what is not there.
/// Loads what [`Placement::resolve`] loads.
pub fn usable(text: &str) -> Option<Device> {
    Request::parse(text).ok()?.resolve(cuda::device_count).ok()
}

/// Where a pipeline computes and in which dtype.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    pub device: Device,
    pub dtype: DType,
}

/// Whether a host may ask for a device of this name: [`Error::InvalidArgument`] if not.
pub fn check_name(text: &str) -> Result<()> {
    Request::parse(text).map(drop)
}

impl Placement {
    pub const CPU: Placement = Placement { device: Device::Cpu, dtype: DType::F32 };

    /// Resolves what a host asked for.
    ///
    /// `device` is "cpu", "cuda" (the first one), "cuda:N" or "auto": CUDA where a device can
    /// be used, else the CPU. "cpu" never loads the CUDA library.
    ///
    /// `dtype` is "auto", "f32", "f16" or "bf16"; `file` is what the checkpoint holds. The CPU
    /// always computes in f32, also where f16 or bf16 is asked for: most CPUs have no fast
    /// arithmetic for them (see [`Placement::honours`]). On CUDA "auto" is the dtype of the
    /// checkpoint, but for bf16 on GPUs before compute capability 8.0, which have neither fast
    /// arithmetic nor fused attention in it: there it is f16.
    ///
    /// Errors: [`Error::InvalidArgument`] for another text, [`Error::DeviceUnavailable`] for
    /// CUDA that can't be used (see [`cuda::device_count`]) or an index that does not exist.
    pub fn resolve(device: &str, dtype: &str, file: DType) -> Result<Placement> {
        let (request, dtype) = (Request::parse(device)?, DType::parse(dtype)?);
        let device = request.resolve(cuda::device_count)?;
        let has_bf16 = || match cuda_index(device)? {
            Some(index) => shim::cuda_has_bfloat16(index),
            None => Ok(false),
        };
        Ok(Placement { device, dtype: compute_dtype(device, dtype, file, has_bf16)? })
    }

    /// As [`Placement::resolve`], for a plan: a CUDA device that is named need not be there, and is
    /// taken to have fast arithmetic in bf16.
    pub fn imagine(device: &str, dtype: &str, file: DType) -> Result<Placement> {
        let (request, dtype) = (Request::parse(device)?, DType::parse(dtype)?);
        let device = match request {
            Request::Cuda(index) => Device::Cuda(index),
            other => other.resolve(cuda::device_count)?,
        };
        Ok(Placement { device, dtype: compute_dtype(device, dtype, file, || Ok(true))? })
    }

    /// What a host should know of how this placement can be computed on: see [`cuda::warnings`].
    pub fn warnings(self) -> &'static [String] {
        if self.device.is_cuda() {
            cuda::warnings()
        } else {
            &[]
        }
    }

    /// Whether this placement computes in the dtype that the host asked for. Where it does not
    /// (f16 or bf16 on the CPU), the host should be told through its log.
    pub fn honours(self, dtype: &str) -> bool {
        dtype == "auto" || dtype == self.dtype.name()
    }

    /// The name a host uses: "cpu" or "cuda:N".
    pub fn device_name(self) -> String {
        device_name(self.device)
    }
}

pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

/// `has_bf16` is asked only where the answer counts.
fn compute_dtype(
    device: Device,
    asked: Option<DType>,
    file: DType,
    has_bf16: impl FnOnce() -> Result<bool>,
) -> Result<DType> {
    Ok(match (device, asked, file) {
        (Device::Cuda(_), Some(asked), _) => asked,
        (Device::Cuda(_), None, DType::BF16) if !has_bf16()? => DType::F16,
        (Device::Cuda(_), None, file) => file,
        _ => DType::F32,
    })
}

/// libtorch's index of a CUDA device; `None` for the CPU.
pub(super) fn cuda_index(device: Device) -> Result<Option<i32>> {
    match device {
        Device::Cuda(index) => i32::try_from(index)
            .map(Some)
            .map_err(|_| Error::InvalidArgument(format!("device index {index} is too large"))),
        _ => Ok(None),
    }
}

/// Waits until everything that was launched on `device` is done: CUDA works behind the host's
/// back, so a clock read without this measures launches. Does nothing on the CPU.
pub fn synchronize(device: Device) -> Result<()> {
    cuda_index(device)?.map_or(Ok(()), shim::cuda_synchronize)
}

/// Gives back to the driver what libtorch keeps of the memory of `device` and nothing uses any
/// more: without that, freed weights stay the process's until it ends. Does nothing on the CPU.
pub fn empty_cache(device: Device) -> Result<()> {
    cuda_index(device)?.map_or(Ok(()), |_| shim::cuda_empty_cache())
}

/// Lets libtorch's allocator take at most `bytes` of `device` from now on, in the whole process;
/// more than that is [`Error::OutOfMemory`]. Returns whether there is such a limit: the CPU has
/// none.
pub fn limit_memory(device: Device, bytes: u64) -> Result<bool> {
    match cuda_index(device)? {
        Some(index) => shim::cuda_limit_memory(index, bytes).map(|()| true),
        None => Ok(false),
    }
}

/// `tensor`, which lies on the CPU, on `device`: itself where that is the CPU. The host does not
/// wait for the copy, for which it goes through memory that the device reads by itself.
///
/// For what a run makes on the host. Weights go another way: they are too large to be copied
/// twice.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor> {
    match cuda_index(device)? {
        Some(index) => shim::event::upload(tensor, index),
        None => Ok(tensor.shallow_clone()),
    }
}

/// Bytes as libtorch's allocator hands them out on CUDA: in multiples of 512
/// (c10/cuda/CUDACachingAllocator.cpp, `kMinBlockSize`).
pub fn rounded(bytes: i64) -> i64 {
    match bytes.max(0) % 512 {
        0 => bytes.max(0),
        rest => bytes.saturating_add(512 - rest),
    }
}

/// `bytes` bytes of host memory, not set to anything, such that `reader` reads them by itself if it
/// is a CUDA device.
pub fn host_bytes(bytes: usize, reader: Device) -> Result<Tensor> {
    let length = i64::try_from(bytes)
        .map_err(|_| Error::OutOfMemory(format!("{bytes} bytes of host memory")))?;
    shim::copies::host_bytes(length, reader.is_cuda())
}

/// A stream for copies to `device` beside what it computes; `None` for the CPU.
pub fn copy_stream(device: Device) -> Result<Option<CopyStream>> {
    cuda_index(device)?.map(CopyStream::new).transpose()
}

/// A point in time, as a device comes by it: behind everything that was launched before.
pub enum Mark {
    /// The CPU does its work when it is asked for.
    Host(Instant),
    Device(DeviceEvent),
}

impl Mark {
    /// A mark that can be waited for, but has no time on CUDA.
    pub fn set(device: Device) -> Result<Mark> {
        Mark::new(device, false)
    }

    /// A mark whose time will be known.
    pub fn timed(device: Device) -> Result<Mark> {
        Mark::new(device, true)
    }

    fn new(device: Device, timed: bool) -> Result<Mark> {
        Ok(match cuda_index(device)? {
            Some(index) => Mark::Device(DeviceEvent::record(index, timed)?),
            None => Mark::Host(Instant::now()),
        })
    }

    /// Whether the device has come by. Does not wait.
    pub fn is_passed(&self) -> Result<bool> {
        match self {
            Mark::Host(_) => Ok(true),
            Mark::Device(event) => event.is_passed(),
        }
    }

    /// The time between two timed marks of one device, both passed.
    pub fn since(&self, earlier: &Mark) -> Result<Duration> {
        match (self, earlier) {
            (Mark::Host(end), Mark::Host(start)) => Ok(end.saturating_duration_since(*start)),
            (Mark::Device(end), Mark::Device(start)) => {
                let seconds = end.milliseconds_since(start)? / 1e3;
                Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
            }
            _ => Err(Error::Internal("time between two devices".into())),
        }
    }
}

/// A device's own handle of a stream (a `cudaStream_t`), as a number; 0 for the CPU and for a
/// default stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamHandle(pub usize);

/// The stream that this thread uses on `device`.
pub fn stream_of(device: Device) -> Result<StreamHandle> {
    cuda_index(device)?
        .map_or(Ok(StreamHandle::default()), |index| shim::cuda_stream(index).map(StreamHandle))
}

/// What this thread launches on `device` from now on comes behind what `host`, a stream of the
/// host's, has got to do now. The host of the device waits for nothing. Does nothing on the CPU.
pub fn wait_for_stream(device: Device, host: StreamHandle) -> Result<()> {
    match device {
        Device::Cuda(_) => host_objects::order(host.0, stream_of(device)?.0),
        _ => Ok(()),
    }
}

/// What `host` is given from now on comes behind what this thread has launched on `device`.
pub fn let_stream_wait(device: Device, host: StreamHandle) -> Result<()> {
    match device {
        Device::Cuda(_) => host_objects::order(stream_of(device)?.0, host.0),
        _ => Ok(()),
    }
}

/// A device's own handle of an event (a `cudaEvent_t`), as a number that is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHandle(pub usize);

/// What this thread launches on `device` from now on comes behind what `event`, one of the host's, was
/// recorded behind last. Does nothing on the CPU.
pub fn wait_for_event(device: Device, event: EventHandle) -> Result<()> {
    match device {
        Device::Cuda(_) => host_objects::wait_for_event(event.0, stream_of(device)?.0),
        _ => Ok(()),
    }
}

/// Records `event`, one of the host's, behind what this thread has launched on `device`. Does nothing
/// on the CPU.
pub fn record_event(device: Device, event: EventHandle) -> Result<()> {
    match device {
        Device::Cuda(_) => host_objects::record_event(event.0, stream_of(device)?.0),
        _ => Ok(()),
    }
}

/// Where an address lies, and how many bytes from it on belong to the same allocation, as far as
/// NVIDIA's driver knows; `None` where it knows nothing, or there is none. Without `load` it is
/// asked only if the process has loaded it: without it there are no addresses of a device.
pub fn memory_place(address: usize, load: bool) -> Option<(MemoryPlace, Option<usize>)> {
    host_objects::memory_place(address, load)
}

/// When something that was launched is there.
#[derive(Debug)]
pub struct Ready {
    device: Device,
    mark: DeviceEvent,
}

impl Ready {
    /// Behind what this thread has launched on `device`; `None` on the CPU.
    pub fn mark(device: Device) -> Result<Option<Ready>> {
        let Some(index) = cuda_index(device)? else { return Ok(None) };
        DeviceEvent::record(index, false).map(|mark| Some(Ready { device, mark }))
    }

    /// Waits until it is there, and for nothing that was launched later.
    pub fn wait(&self) -> Result<()> {
        device_threads::on(self.device, || match self.mark.is_passed()? {
            true => Ok(()),
            false => self.mark.wait(),
        })
    }
}

/// Waits for the stream that this thread uses on the device of `tensor`, and returns it.
pub fn finish_stream(tensor: &Tensor) -> Result<StreamHandle> {
    shim::finish_stream(tensor).map(StreamHandle)
}

/// The name a host uses for the device that `tensor` lies on: "cpu" or "cuda:N".
pub fn name_of(tensor: &Tensor) -> String {
    device_name(tensor.device())
}

/// What libtorch's allocator has handed out on a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    pub allocated: u64,
    /// The most at any time since [`reset_peak_memory`].
    pub peak: u64,
}

/// Memory in use on a CUDA device; `None` on the CPU, whose allocator does not count.
pub fn memory(device: Device) -> Result<Option<DeviceMemory>> {
    let Some(index) = cuda_index(device)? else { return Ok(None) };
    let (allocated, peak) = shim::cuda_memory(index)?;
    Ok(Some(DeviceMemory { allocated, peak }))
}

/// Starts a new count of [`DeviceMemory::peak`]. Does nothing on the CPU.
pub fn reset_peak_memory(device: Device) -> Result<()> {
    cuda_index(device)?.map_or(Ok(()), shim::cuda_reset_peak_memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<usize> {
        Err(Error::DeviceUnavailable("no driver".into()))
    }

    #[test]
    fn devices_are_what_was_asked_for() {
        let resolve = |text: &str, count: usize| Request::parse(text)?.resolve(|| Ok(count));
        assert_eq!(resolve("cpu", 2), Ok(Device::Cpu));
        assert_eq!(resolve("cuda", 2), Ok(Device::Cuda(0)));
        assert_eq!(resolve("cuda:1", 2), Ok(Device::Cuda(1)));
        assert_eq!(resolve("auto", 2), Ok(Device::Cuda(0)));
        assert_eq!(Request::Auto.resolve(none), Ok(Device::Cpu));
        assert_eq!(Request::Cuda(0).resolve(none), none().map(|_| Device::Cpu));
    }

    #[test]
    fn the_cpu_alone_never_asks_for_cuda() {
        let asked = || panic!("CUDA was asked about");
        assert_eq!(Request::Cpu.resolve(asked), Ok(Device::Cpu));
        assert_eq!(Placement::resolve("cpu", "auto", DType::BF16), Ok(Placement::CPU));
    }

    #[test]
    fn an_index_that_does_not_exist_is_named_beside_how_many_there_are() {
        let Err(Error::DeviceUnavailable(message)) = Request::Cuda(3).resolve(|| Ok(2)) else {
            panic!()
        };
        assert!(message.contains("cuda:3") && message.contains(": 2 "), "{message}");
    }

    #[test]
    fn other_texts_are_invalid_and_the_allowed_ones_named() {
        let devices =
            ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:1 "];
        for device in devices.into_iter().chain(["cuda:99999999999999999999"]) {
            let found = Placement::resolve(device, "auto", DType::F32);
            let Err(Error::InvalidArgument(message)) = found else { panic!("{device}: {found:?}") };
            assert!(message.contains("\"cuda:N\""), "{message}");
            assert!(message.contains(&format!("{device:?}")), "{message}");
        }
        for dtype in ["", "float32", "fp16", "BF16", "f64"] {
            let found = Placement::resolve("cpu", dtype, DType::F32);
            let Err(Error::InvalidArgument(message)) = found else { panic!("{dtype}: {found:?}") };
            assert!(message.contains("\"bf16\"") && message.contains(dtype), "{message}");
        }
    }

    #[test]
    fn dtypes_follow_the_device_the_wish_and_the_file() {
        use DType::*;
        let cuda = Device::Cuda(0);
        for file in [F32, F16, BF16] {
            let dtype = |device, asked| compute_dtype(device, asked, file, || Ok(true)).unwrap();
            assert_eq!(dtype(cuda, None), file);
            assert_eq!(dtype(Device::Cpu, None), F32);
            for asked in [F32, F16, BF16] {
                assert_eq!(dtype(cuda, Some(asked)), asked);
                assert_eq!(dtype(Device::Cpu, Some(asked)), F32);
            }
            let old = |asked| compute_dtype(cuda, asked, file, || Ok(false)).unwrap();
            assert_eq!(old(None), if file == BF16 { F16 } else { file });
            assert_eq!(old(Some(BF16)), BF16);
        }
        let cpu = Placement::resolve("cpu", "bf16", F16).unwrap();
        assert!(!cpu.honours("bf16") && cpu.honours("f32") && cpu.honours("auto"));
    }

    /// True of any machine: either there is a CUDA device, or "cuda" says why not and "auto"
    /// falls back.
    #[test]
    fn this_machine_answers_consistently() {
        let cuda = Placement::resolve("cuda", "auto", DType::F32);
        let auto = Placement::resolve("auto", "auto", DType::F32).unwrap();
        match cuda {
            Ok(placement) => {
                assert_eq!(auto, placement);
                synchronize(placement.device).unwrap();
            }
            Err(Error::DeviceUnavailable(message)) => {
                assert!(!message.contains('\n') && message.contains("CUDA"), "{message}");
                assert_eq!(auto, Placement::CPU);
            }
            Err(other) => panic!("{other:?}"),
        }
        synchronize(Device::Cpu).unwrap();
        assert_eq!(memory(Device::Cpu), Ok(None));
    }
}
