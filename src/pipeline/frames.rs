//! Frames for the host while the VAE still decodes: to a callback, and into memory of its own.

use super::device_frames::{host_memory, DeviceOutput};
use crate::runtime::dim;
use crate::runtime::{process, Stop};
use crate::video::frames::reserve;
use crate::video::pixels::{Converter, Pixels, Samples};
use crate::{Error, Result};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Where frames go as they are decoded, and where they stay. The default keeps them in host
/// memory and tells nobody.
#[derive(Clone, Default)]
pub struct FrameOutput {
    /// The frames of the video stay on the device of the pipeline.
    pub on_device: bool,
    pub callback: Option<FramesCallback>,
    pub buffer: Option<FrameBuffer>,
    /// Where they go on the device.
    pub device: DeviceOutput,
}

/// Told of frames as soon as they are decoded.
#[derive(Clone)]
pub struct FramesCallback {
    /// What it is told them as.
    pub pixels: Pixels,
    pub call: FramesFn,
}

/// An answer of `Break` ends the run.
pub type FramesFn = Arc<dyn Fn(&Frames) -> ControlFlow<Stop> + Send + Sync>;

/// Frames that follow each other in one video.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    pub pixels: Pixels,
    /// Which video of the run.
    pub video: usize,
    /// Which of its frames is the first one here.
    pub first_frame: usize,
    pub num_frames: usize,
    pub extent: Extent,
    pub samples: Samples<'a>,
}

/// Memory of the host that takes all frames of a run. Frame `f` of video `v` lies at
/// `(v · frames + f) · frame_stride`, its row `r` at `r · row_stride` from there.
#[derive(Clone)]
pub struct FrameBuffer {
    pub pixels: Pixels,
    pub memory: Arc<dyn Memory>,
    /// In bytes; 0 is the size of a row.
    pub row_stride: usize,
    /// In bytes; 0 is the size of a frame's rows.
    pub frame_stride: usize,
}

/// Bytes that can be written.
pub trait Memory: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Where they are.
    fn address(&self) -> usize;

    /// Writes `samples` from byte `offset` on; an error if they do not fit.
    fn write(&self, offset: usize, samples: Samples) -> Result<()>;
}

impl fmt::Debug for FrameOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameOutput")
            .field("on_device", &self.on_device)
            .field("callback", &self.callback.as_ref().map(|callback| callback.pixels))
            .field("buffer", &self.buffer.as_ref().map(|buffer| buffer.pixels))
            .field("device", &self.device)
            .finish()
    }
}

impl FrameOutput {
    /// Whether a run of this size, decoded on `device`, can write its frames where it is to.
    pub fn check(&self, extent: Extent, device: Device) -> Result<()> {
        if let Some(buffer) = &self.buffer {
            buffer.layout(extent)?;
            host_memory("frames buffer", buffer.memory.address())?;
        }
        self.device.check(extent, device)
    }
}

/// How many frames of which size a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub videos: usize,
    /// Of each video.
    pub frames: usize,
    pub height: usize,
    pub width: usize,
}

impl Extent {
    /// From videos, frames of each, height and width.
    pub fn new(sides: [i64; 4]) -> Result<Extent> {
        let [videos, frames, height, width] = sides.map(usize::try_from);
        match (videos, frames, height, width) {
            (Ok(videos), Ok(frames), Ok(height), Ok(width)) if !sides.contains(&0) => {
                Ok(Extent { videos, frames, height, width })
            }
            _ => Err(Error::Internal(format!("frames of extent {sides:?}"))),
        }
    }
}

/// A buffer's strides, checked against a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a row's pixels.
    row: usize,
    pub row_stride: usize,
    pub frame_stride: usize,
    /// Bytes from the first pixel to the end of the last.
    pub needed: usize,
}

impl FrameBuffer {
    fn layout(&self, extent: Extent) -> Result<Layout> {
        Layout::of(
            "frames buffer",
            self.pixels,
            [self.memory.size(), self.row_stride, self.frame_stride],
            extent,
        )
    }
}

impl Layout {
    /// The layout of a buffer, `what`, that has so many bytes and such strides, 0 for packed ones.
    pub(super) fn of(
        what: &str,
        pixels: Pixels,
        [size, row_stride, frame_stride]: [usize; 3],
        extent: Extent,
    ) -> Result<Layout> {
        let Extent { videos, frames, height, width } = extent;
        let run = format!("{videos} × {frames} frames of {width} × {height} pixels");
        let too_large = || Error::InvalidArgument(format!("{what}: {run} are too many"));
        let row = width.checked_mul(pixels.size()).ok_or_else(too_large)?;
        let row_stride = if row_stride == 0 { row } else { row_stride };
        if row_stride < row {
            return Err(Error::InvalidArgument(format!(
                "{what}: row_stride must be 0 or at least {row} bytes for {run}, found \
                 {row_stride}"
            )));
        }
        let rows = |count: usize| row_stride.checked_mul(count);
        // The last row needs no more than its pixels.
        let frame =
            rows(height - 1).and_then(|bytes| bytes.checked_add(row)).ok_or_else(too_large)?;
        let frame_stride = match frame_stride {
            0 => rows(height).ok_or_else(too_large)?,
            given => given,
        };
        if frame_stride < frame {
            return Err(Error::InvalidArgument(format!(
                "{what}: frame_stride must be 0 or at least {frame} bytes for {run}, found \
                 {frame_stride}"
            )));
        }
        let needed = videos
            .checked_mul(frames)
            .and_then(|count| (count - 1).checked_mul(frame_stride))
            .and_then(|bytes| bytes.checked_add(frame))
            .ok_or_else(too_large)?;
        if size < needed {
            return Err(Error::InvalidArgument(format!(
                "{what}: size must be at least {needed} bytes for {run}, found {size}"
            )));
        }
        Ok(Layout { row, row_stride, frame_stride, needed })
    }
}

/// Hands out the frames of one run.
pub(super) struct Delivery<'a> {
    output: &'a FrameOutput,
    extent: Extent,
    layout: Option<Layout>,
    /// Kept from group to group.
    floats: Vec<f32>,
    converter: Converter,
}

impl<'a> Delivery<'a> {
    pub fn new(output: &'a FrameOutput, extent: Extent) -> Result<Delivery<'a>> {
        let layout = output.buffer.as_ref().map(|buffer| buffer.layout(extent)).transpose()?;
        Ok(Delivery { output, extent, layout, floats: Vec::new(), converter: Converter::default() })
    }

    /// Hands out frames `(1, frames, height, width, 3)`, float32 in `[0, 1]` on any device: into
    /// the buffer first, so that the callback finds them there.
    pub fn deliver(&mut self, video: i64, first_frame: i64, frames: &Tensor) -> Result<()> {
        let FrameOutput { callback, buffer, .. } = self.output;
        if callback.is_none() && buffer.is_none() {
            return Ok(());
        }
        let index = |value: i64| {
            usize::try_from(value).map_err(|_| Error::Internal(format!("frames at {value}")))
        };
        let (video, first_frame) = (index(video)?, index(first_frame)?);
        let num_frames = index(dim(frames, 1)?)?;
        self.read(frames)?;
        // The host's memory may be gone by then.
        process::check_ending()?;
        if let (Some(buffer), Some(layout)) = (buffer, self.layout) {
            let samples = self.converter.convert(&self.floats, buffer.pixels)?;
            let first = video * self.extent.frames + first_frame;
            layout.write(&*buffer.memory, first, self.extent.height, samples)?;
        }
        if let Some(callback) = callback {
            let pixels = callback.pixels;
            let samples = self.converter.convert(&self.floats, pixels)?;
            let extent = self.extent;
            let frames = Frames { pixels, video, first_frame, num_frames, extent, samples };
            let place = format_args!("frames callback at frame {first_frame} of video {video}");
            match (callback.call)(&frames) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Stop::Asked) => {
                    return Err(Error::Cancelled(format!("stopped by the {place}")));
                }
                ControlFlow::Break(Stop::Failed(error)) => return Err(error.context(place)),
            }
        }
        Ok(())
    }

    fn read(&mut self, frames: &Tensor) -> Result<()> {
        let frames = frames.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let count = frames.numel();
        self.floats.clear();
        reserve(&mut self.floats, count)?;
        self.floats.resize(count, 0.0);
        Ok(frames.f_copy_data(&mut self.floats, count)?)
    }
}

impl Layout {
    /// Writes frames of `height` rows, of which the first is frame `first` of the buffer.
    fn write(
        &self,
        memory: &dyn Memory,
        first: usize,
        height: usize,
        samples: Samples,
    ) -> Result<()> {
        let start = first * self.frame_stride;
        let frame = self.row * height;
        let rows_follow = self.row_stride == self.row;
        if rows_follow && self.frame_stride == frame {
            return memory.write(start, samples);
        }
        for index in 0..samples.size() / frame.max(1) {
            let (place, from) = (start + index * self.frame_stride, index * frame);
            if rows_follow {
                memory.write(place, samples.slice(from..from + frame)?)?;
                continue;
            }
            for row in 0..height {
                let from = from + row * self.row;
                let row_samples = samples.slice(from..from + self.row)?;
                memory.write(place + row * self.row_stride, row_samples)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Bytes(Mutex<Vec<u8>>);

    impl Memory for Bytes {
        fn size(&self) -> usize {
            self.0.lock().len()
        }

        fn address(&self) -> usize {
            self.0.lock().as_ptr().addr()
        }

        fn write(&self, offset: usize, samples: Samples) -> Result<()> {
            let Samples::Bytes(bytes) = samples else { panic!("{samples:?}") };
            self.0.lock()[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    const EXTENT: Extent = Extent { videos: 2, frames: 3, height: 2, width: 4 };

    fn buffer(size: usize, row_stride: usize, frame_stride: usize) -> FrameBuffer {
        let memory = Arc::new(Bytes(Mutex::new(vec![7; size])));
        FrameBuffer { pixels: Pixels::Rgb8, memory, row_stride, frame_stride }
    }

    #[test]
    fn strides_of_zero_are_packed_and_the_last_row_needs_only_its_pixels() {
        assert_eq!(
            buffer(144, 0, 0).layout(EXTENT),
            Ok(Layout { row: 12, row_stride: 12, frame_stride: 24, needed: 144 })
        );
        // Six frames 50 bytes apart, the last of them 16 + 12 bytes.
        assert_eq!(
            buffer(278, 16, 50).layout(EXTENT),
            Ok(Layout { row: 12, row_stride: 16, frame_stride: 50, needed: 278 })
        );
        for (buffer, word) in [
            (buffer(143, 0, 0), "at least 144 bytes"),
            (buffer(277, 16, 50), "at least 278 bytes"),
            (buffer(1000, 11, 0), "row_stride must be 0 or at least 12"),
            (buffer(1000, 16, 27), "frame_stride must be 0 or at least 28"),
            (buffer(1000, usize::MAX, 0), "too many"),
            (buffer(1000, 0, usize::MAX), "too many"),
        ] {
            let Err(Error::InvalidArgument(message)) = buffer.layout(EXTENT) else { panic!() };
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn frames_land_where_the_strides_say_and_nothing_else_is_touched() {
        let extent = Extent { videos: 2, frames: 2, height: 2, width: 1 };
        let numbers = Tensor::arange(12, (Kind::Float, Device::Cpu)) / 255.0;
        let both = numbers.view([1, 2, 2, 1, 3]);
        let last = numbers.narrow(0, 6, 6).view([1, 1, 2, 1, 3]);
        for (row_stride, frame_stride) in [(0, 0), (0, 8), (4, 9), (3, 6)] {
            let memory = Arc::new(Bytes(Mutex::new(vec![99; 40])));
            let buffer = FrameBuffer {
                pixels: Pixels::Rgb8,
                memory: memory.clone(),
                row_stride,
                frame_stride,
            };
            let output = FrameOutput { buffer: Some(buffer), ..FrameOutput::default() };
            let mut delivery = Delivery::new(&output, extent).unwrap();
            delivery.deliver(0, 0, &both).unwrap();
            delivery.deliver(1, 1, &last).unwrap();
            let row_stride = if row_stride == 0 { 3 } else { row_stride };
            let frame_stride = if frame_stride == 0 { 2 * row_stride } else { frame_stride };
            let mut expected = vec![99u8; 40];
            for (frame, first) in [(0, 0u8), (1, 6), (3, 6)] {
                for row in 0..2usize {
                    let start = frame * frame_stride + row * row_stride;
                    for (i, place) in expected[start..start + 3].iter_mut().enumerate() {
                        *place = first + (3 * row + i) as u8;
                    }
                }
            }
            assert_eq!(*memory.0.lock(), expected, "{row_stride} {frame_stride}");
        }
    }
}
