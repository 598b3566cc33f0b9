//! `kernels/video.cuh` on tensors: see `backend::video` for what is computed.

use super::loaded::{blocks, data, DeviceKernels};
use crate::runtime::modules::Arguments;
use crate::Result;
use tch::{Kind, Tensor};

const THREADS: u32 = 256;
const VECTOR: i64 = 8;
const MOST_CHANNELS: i64 = 2048;
/// Frames that a launch knows the modulation of.
const MOST_FRAMES: usize = 64;
/// Blocks that go through a video for its moments: some for each of a large card's 132 processors.
const MOMENT_BLOCKS: i64 = 1024;
/// Rows that are worth a block.
const FEWEST_ROWS: i64 = 256;

impl DeviceKernels {
    /// Mean and variance of each of `groups` groups of channels of `x` (… × channels), float32;
    /// `None`: nothing was done.
    pub fn statistics(&self, x: &Tensor, groups: i64) -> Result<Option<(Tensor, Tensor)>> {
        let kind = x.f_kind()?;
        let (Some(of), Some(&channels)) = (self.of(kind), x.size().last()) else { return Ok(None) };
        let rows = x.numel() as i64 / channels.max(1);
        let fits = self.takes(x, kind)
            && rows > 0
            && channels % VECTOR == 0
            && channels <= MOST_CHANNELS
            && groups > 0
            && channels % groups == 0;
        let chunk = (rows / MOMENT_BLOCKS + 1).max(FEWEST_ROWS);
        let (Some(blocks), Ok(groups_count), Ok(channels_count), true) =
            (blocks(rows, chunk), u32::try_from(groups), i32::try_from(channels), fits)
        else {
            return Ok(None);
        };
        let options = (Kind::Float, x.device());
        let partial = Tensor::f_empty([i64::from(blocks), channels, 2], options)?;
        let out = Tensor::f_empty([2, groups], options)?;
        let arguments = Arguments::default()
            .addresses_of([data(x)])
            .addresses_of([data(&partial)])
            .i64(rows)
            .i32(channels_count)
            .i64(chunk);
        // SAFETY: these are the arguments of cvx_moments; dtypes, sizes and layouts are what it
        // counts on, and `partial` has room for what each block writes.
        unsafe { self.launch(of.moments, (blocks, 1, THREADS), arguments)? };
        let arguments = Arguments::default()
            .addresses_of([data(&partial)])
            .addresses_of([data(&out)])
            .i64(rows)
            .i32(channels_count)
            .i64(chunk)
            .u32(blocks);
        // SAFETY: as above, of cvx_moments_of_groups, which reads what the other has written, on the
        // same stream.
        unsafe { self.launch(self.moments_of_groups(), (groups_count, 1, THREADS), arguments)? };
        Ok(Some((out.f_select(0, 0)?, out.f_select(0, 1)?)))
    }

    /// As `video::modulate_silu`; returns whether it did anything.
    pub fn modulate_silu(
        &self,
        x: &Tensor,
        out: &Tensor,
        modulation: &Tensor,
        frames: &[i64],
    ) -> Result<bool> {
        let kind = x.f_kind()?;
        let (size, table) = (x.size(), modulation.size());
        let (Some(of), &[count, height, width, channels], &[known, lines, pixels, both]) =
            (self.of(kind), size.as_slice(), table.as_slice())
        else {
            return Ok(false);
        };
        let vectors = height * width * (channels / VECTOR);
        let fits = self.takes(x, kind)
            && self.takes(out, kind)
            && out.size() == size
            && self.takes(modulation, Kind::Float)
            && both == 2 * channels
            && channels % VECTOR == 0
            && lines > 0
            && pixels > 0
            && height % lines == 0
            && width % pixels == 0
            && frames.len() as i64 == count
            && frames.iter().all(|frame| (0..known).contains(frame));
        let (Some(blocks), true) = (blocks(vectors, i64::from(THREADS)), fits) else {
            return Ok(false);
        };
        let numbers = [height, width, channels, lines, pixels].map(i32::try_from);
        let [Ok(height), Ok(width), Ok(channels), Ok(lines), Ok(pixels)] = numbers else {
            return Ok(false);
        };
        let mut start = 0;
        for frames in frames.chunks(MOST_FRAMES) {
            let length = frames.len() as i64;
            let mut of_frames = [0; MOST_FRAMES];
            for (to, &frame) in of_frames.iter_mut().zip(frames) {
                *to = u32::try_from(frame).unwrap_or(0);
            }
            let arguments = Arguments::default()
                .addresses_of([data(&x.f_narrow(0, start, length)?)])
                .addresses_of([data(&out.f_narrow(0, start, length)?)])
                .addresses_of([data(modulation)])
                .i32s(&of_frames)
                .i32(height)
                .i32(width)
                .i32(channels)
                .i32(lines)
                .i32(pixels);
            // SAFETY: these are the arguments of cvx_modulate_silu; dtypes, sizes and layouts are
            // what it counts on, and there is a modulation for each frame.
            unsafe {
                self.launch(of.modulate_silu, (blocks, length as u32, THREADS), arguments)?;
            }
            start += length;
        }
        Ok(true)
    }
}
