//! Frames for the host on the device that decodes them, without a way through host memory: into
//! memory of its own there, and to a callback that is told where they are.

use super::frames::{Extent, Layout};
use crate::runtime::device::{self, EventHandle, StreamHandle};
use crate::runtime::{dim, process, MemoryPlace, Stop};
use crate::video::in_place;
use crate::video::pixels::Pixels;
use crate::{Error, Result};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

const BUFFER: &str = "device frames buffer";

/// Where frames go on the device. On the CPU that is host memory.
#[derive(Clone, Default)]
pub struct DeviceOutput {
    pub callback: Option<DeviceFramesCallback>,
    pub buffer: Option<DeviceBuffer>,
    /// A stream of the host's: what it has launched there comes before the library's writing, and
    /// what it launches there after a group was handed out, behind the group.
    pub stream: Option<StreamHandle>,
    /// An event of the host's that the library's writing waits for: at its beginning, and again after
    /// each group that was handed out, which the host may have recorded it behind.
    pub wait_event: Option<EventHandle>,
    /// An event of the host's that is recorded behind each group, before it is handed out, and behind
    /// the whole video.
    pub record_event: Option<EventHandle>,
}

/// Memory of the host on the device, laid out as [`super::frames::FrameBuffer`].
#[derive(Clone)]
pub struct DeviceBuffer {
    pub pixels: Pixels,
    pub memory: Arc<dyn DeviceMemory>,
    /// In bytes; 0 is the size of a row.
    pub row_stride: usize,
    /// In bytes; 0 is the size of a frame's rows.
    pub frame_stride: usize,
}

/// Bytes on a device.
pub trait DeviceMemory: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Where they are, on the device.
    fn address(&self) -> usize;

    /// What lies there from byte `offset` on, as a tensor of that shape and of those strides in
    /// numbers, which the caller has compared with the size.
    fn tensor(
        &self,
        offset: usize,
        shape: [i64; 4],
        strides: [i64; 4],
        kind: Kind,
        device: Device,
    ) -> Result<Tensor>;
}

/// Told of frames as soon as they are under way.
#[derive(Clone)]
pub struct DeviceFramesCallback {
    /// What they are without a [`DeviceBuffer`], which says what they are otherwise.
    pub pixels: Pixels,
    pub call: DeviceFramesFn,
}

/// An answer of `Break` ends the run.
pub type DeviceFramesFn = Arc<dyn Fn(&DeviceFrames) -> ControlFlow<Stop> + Send + Sync>;

/// Frames that follow each other in one video, on a device.
#[derive(Debug)]
pub struct DeviceFrames<'a> {
    pub pixels: Pixels,
    pub video: usize,
    pub first_frame: usize,
    pub num_frames: usize,
    pub extent: Extent,
    pub address: usize,
    pub row_stride: usize,
    pub frame_stride: usize,
    /// On which they are once what was launched before is done.
    pub stream: StreamHandle,
    pub device: &'a str,
}

impl fmt::Debug for DeviceOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceOutput")
            .field("callback", &self.callback.as_ref().map(|callback| callback.pixels))
            .field("buffer", &self.buffer.as_ref().map(|buffer| buffer.pixels))
            .field("stream", &self.stream)
            .field("wait_event", &self.wait_event)
            .field("record_event", &self.record_event)
            .finish()
    }
}

impl DeviceOutput {
    /// Whether a run of this size, decoded on `device`, can write its frames where it is to.
    pub(super) fn check(&self, extent: Extent, device: Device) -> Result<()> {
        let Some(buffer) = &self.buffer else { return Ok(()) };
        let layout = buffer.layout(extent)?;
        let address = buffer.memory.address();
        match device {
            Device::Cuda(index) => device_memory(index, address, layout.needed),
            _ => host_memory(BUFFER, address),
        }
    }

    fn is_wanted(&self) -> bool {
        self.callback.is_some() || self.buffer.is_some()
    }

    /// What this thread launches on `device` from now on comes behind what the host has launched.
    fn wait_for_host(&self, device: Device) -> Result<()> {
        if let Some(stream) = self.stream {
            device::wait_for_stream(device, stream)?;
        }
        match self.wait_event {
            Some(event) => device::wait_for_event(device, event),
            None => Ok(()),
        }
    }

    /// What the host orders behind its stream, or behind the event, comes behind what this thread has
    /// launched on `device`.
    pub(super) fn let_host_wait(&self, device: Device) -> Result<()> {
        if let Some(stream) = self.stream {
            device::let_stream_wait(device, stream)?;
        }
        match self.record_event {
            Some(event) => device::record_event(device, event),
            None => Ok(()),
        }
    }

    /// Whether the host can order itself behind a run by the device alone.
    pub(super) fn host_can_wait(&self) -> bool {
        self.stream.is_some() || self.record_event.is_some()
    }
}

/// Refuses what is known to be an address of a device, where host memory is to be.
pub(super) fn host_memory(what: &str, address: usize) -> Result<()> {
    match device::memory_place(address, false) {
        Some((MemoryPlace::Device(index), _)) => Err(Error::InvalidArgument(format!(
            "{what}: expected host memory, found an address on cuda:{index}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses what is known not to be `needed` bytes of CUDA device `index`.
fn device_memory(index: usize, address: usize, needed: usize) -> Result<()> {
    let expected = |found: String| {
        Err(Error::InvalidArgument(format!(
            "{BUFFER}: expected memory of cuda:{index}, on which frames are decoded, found {found}"
        )))
    };
    match device::memory_place(address, true) {
        None => Ok(()),
        Some((MemoryPlace::Device(other), _)) if other != index => {
            expected(format!("an address on cuda:{other}"))
        }
        Some((MemoryPlace::Host, _)) => expected("host memory".into()),
        Some((_, room)) => match room.filter(|&room| room < needed) {
            Some(room) => Err(Error::InvalidArgument(format!(
                "{BUFFER}: size must be at least {needed} bytes, found an allocation that ends \
                 {room} bytes behind the address"
            ))),
            None => Ok(()),
        },
    }
}

impl DeviceBuffer {
    fn layout(&self, extent: Extent) -> Result<Layout> {
        let size = self.memory.size();
        let layout =
            Layout::of(BUFFER, self.pixels, [size, self.row_stride, self.frame_stride], extent)?;
        let sample = self.pixels.sample();
        let places = [
            ("address", self.memory.address()),
            ("row_stride", layout.row_stride),
            ("frame_stride", layout.frame_stride),
        ];
        for (name, value) in places {
            if !value.is_multiple_of(sample) {
                return Err(Error::InvalidArgument(format!(
                    "{BUFFER}: {name} must be a multiple of {sample} bytes for these pixels, found \
                     {value}"
                )));
            }
        }
        Ok(layout)
    }
}

/// Hands out the frames of one run on its device.
pub(super) struct DeviceDelivery<'a> {
    output: &'a DeviceOutput,
    extent: Extent,
    device: Device,
    name: String,
    layout: Option<Layout>,
}

/// A group of frames that is being written.
pub(super) struct Group {
    pixels: Pixels,
    /// `(frames, height, width, channels)`.
    place: Tensor,
    strides: [usize; 2],
    video: usize,
    first_frame: usize,
}

impl Group {
    /// Writes frames `(1, frames, height, width, 3)`, float32 in `[0, 1]` on the device, as those
    /// from `start` of the group on.
    pub fn write(&self, start: i64, frames: &Tensor) -> Result<()> {
        let frames = frames.f_squeeze_dim(0)?;
        let place = self.place.f_narrow(0, start, dim(&frames, 0)?)?;
        in_place::write(&frames, self.pixels, &place)
    }
}

impl<'a> DeviceDelivery<'a> {
    /// `None` if nobody wants frames there. Orders the run behind what the host has launched.
    pub fn new(
        output: &'a DeviceOutput,
        extent: Extent,
        device: Device,
    ) -> Result<Option<DeviceDelivery<'a>>> {
        output.wait_for_host(device)?;
        if !output.is_wanted() {
            return Ok(None);
        }
        output.check(extent, device)?;
        let layout = output.buffer.as_ref().map(|buffer| buffer.layout(extent)).transpose()?;
        let name = device::device_name(device);
        Ok(Some(DeviceDelivery { output, extent, device, name, layout }))
    }

    /// Begins a group of `count` frames: where they are to be written.
    pub fn begin(&self, video: i64, first_frame: i64, count: i64) -> Result<Group> {
        // The host's memory may be gone by then.
        process::check_ending()?;
        let index = |value: i64| {
            usize::try_from(value).map_err(|_| Error::Internal(format!("frames at {value}")))
        };
        let (video, first_frame) = (index(video)?, index(first_frame)?);
        let Extent { frames, height, width, .. } = self.extent;
        let pixels = match (&self.output.buffer, &self.output.callback) {
            (Some(buffer), _) => buffer.pixels,
            (None, Some(callback)) => callback.pixels,
            (None, None) => return Err(Error::Internal("frames for nobody".into())),
        };
        let channels = pixels.channels();
        let shape = [count, height as i64, width as i64, channels as i64];
        let kind = in_place::kind(pixels);
        let (place, strides) = match (&self.output.buffer, self.layout) {
            (Some(buffer), Some(layout)) => {
                let Layout { row_stride, frame_stride, .. } = layout;
                let numbers = |bytes: usize| (bytes / pixels.sample()) as i64;
                let strides = [numbers(frame_stride), numbers(row_stride), channels as i64, 1];
                let offset = (video * frames + first_frame) * frame_stride;
                let place = buffer.memory.tensor(offset, shape, strides, kind, self.device)?;
                (place, [row_stride, frame_stride])
            }
            _ => {
                let row = width * pixels.size();
                (Tensor::f_empty(shape, (kind, self.device))?, [row, row * height])
            }
        };
        Ok(Group { pixels, place, strides, video, first_frame })
    }

    /// Hands out a group that was written.
    pub fn deliver(&self, group: Group) -> Result<()> {
        self.output.let_host_wait(self.device)?;
        let Some(callback) = &self.output.callback else { return Ok(()) };
        let Group { pixels, place, strides: [row_stride, frame_stride], video, first_frame } =
            group;
        let frames = DeviceFrames {
            pixels,
            video,
            first_frame,
            num_frames: usize::try_from(dim(&place, 0)?).unwrap_or(0),
            extent: self.extent,
            address: place.data_ptr().addr(),
            row_stride,
            frame_stride,
            stream: match self.output.stream {
                Some(stream) => stream,
                None => device::stream_of(self.device)?,
            },
            device: &self.name,
        };
        process::check_ending()?;
        let at = format_args!("device frames callback at frame {first_frame} of video {video}");
        match (callback.call)(&frames) {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(Stop::Asked) => {
                return Err(Error::Cancelled(format!("stopped by the {at}")));
            }
            ControlFlow::Break(Stop::Failed(error)) => return Err(error.context(at)),
        }
        // What the callback launched there reads memory that the library uses again.
        self.output.wait_for_host(self.device)
    }
}
