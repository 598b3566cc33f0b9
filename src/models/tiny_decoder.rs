//! A tiny decoder of latents for previews, in the layout of madebyollin's TAEHV family, of which taecvx
//! is the one for CogVideoX (github.com/madebyollin/taehv, commit 115aaa7, taehv.py:382): convolutions
//! over single frames, some of which see the frame before as well.

use crate::backend::libtorch_convolution;
use crate::runtime::files::open_regular;
use crate::runtime::{dim, ReadOnly};
use crate::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use std::io::{ErrorKind, Read};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The largest file that is read; taecvx has some 10 million numbers, and an encoder beside them.
const MAX_BYTES: u64 = 1 << 30;
/// Where the three stages begin among the layers, and how many frames each makes of one.
const STAGES: [(usize, i64); 3] = [(3, 1), (9, 2), (15, 2)];
const MEMORIES: usize = 3;
/// Frames that a video begins with and that are no part of it, where its latent frames are odd.
const SURPLUS: i64 = 3;

pub struct TinyDecoder {
    first: Conv,
    stages: Vec<Stage>,
    last: Conv,
    channels: i64,
}

// SAFETY: the tensors are made once and then only read.
unsafe impl ReadOnly for TinyDecoder {}

struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Layers that see the frame before, twice the size, some frames of one, other channels.
struct Stage {
    memories: Vec<[Conv; 3]>,
    grow: Tensor,
    frames: i64,
    project: Conv,
}

/// The tensors of a file.
struct File<'a> {
    tensors: SafeTensors<'a>,
    device: Device,
}

impl File<'_> {
    /// In float32, with `shape`, of which `None` is any side.
    fn tensor(&self, name: &str, shape: [Option<i64>; 4]) -> Result<Tensor> {
        let wrong = |what: String| {
            Error::InvalidCheckpoint(format!("preview decoder: tensor decoder.{name}: {what}"))
        };
        let view = self
            .tensors
            .tensor(&format!("decoder.{name}"))
            .map_err(|_| wrong("expected by taecvx's layout, found none".into()))?;
        let found: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        let sides: Vec<Option<i64>> = shape.into_iter().take(found.len().max(1)).collect();
        let fits = sides.iter().zip(&found).all(|(side, found)| side.is_none_or(|s| s == *found));
        // A bias has one side, everything else four.
        let sided = found.len() == if name.ends_with("bias") { 1 } else { 4 };
        if !sided || !fits || found.contains(&0) {
            let sides: Vec<String> =
                shape.iter().map(|side| side.map_or("any".into(), |s| s.to_string())).collect();
            return Err(wrong(format!("expected sides ({}), found {found:?}", sides.join(", "))));
        }
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => return Err(wrong(format!("expected F32, F16 or BF16, found {other:?}"))),
        };
        let tensor = Tensor::f_from_data_size(view.data(), &found, kind)?;
        Ok(tensor.f_to_kind(Kind::Float)?.f_to_device(self.device)?)
    }

    /// A convolution of 3 × 3 from `inputs` channels.
    fn conv(&self, name: &str, inputs: i64, outputs: Option<i64>, bias: bool) -> Result<Conv> {
        let sides = [outputs, Some(inputs), Some(3), Some(3)];
        let weight = self.tensor(&format!("{name}.weight"), sides)?;
        let outputs = dim(&weight, 0)?;
        let bias = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), [Some(outputs), None, None, None])?),
            false => None,
        };
        Ok(Conv { weight, bias })
    }
}

impl TinyDecoder {
    /// Reads a safetensors file with the layers `decoder.1` to `decoder.22`, for latents of `channels`,
    /// in float32 on `device`; other tensors are passed over.
    ///
    /// Errors, with the path: [`Error::NotFound`], [`Error::Io`], [`Error::InvalidCheckpoint`] naming the
    /// tensor.
    pub fn load(path: &Path, channels: i64, device: Device) -> Result<TinyDecoder> {
        let _no_grad = tch::no_grad_guard();
        let read = || {
            let bytes = read(path)?;
            let tensors = SafeTensors::deserialize(&bytes).map_err(|error| {
                Error::InvalidCheckpoint(format!("expected a safetensors file: {error}"))
            })?;
            TinyDecoder::build(&File { tensors, device }, channels)
        };
        read().map_err(|error| error.context(path.display()))
    }

    fn build(file: &File, channels: i64) -> Result<TinyDecoder> {
        let first = file.conv("1", channels, None, true)?;
        let mut width = dim(&first.weight, 0)?;
        let mut stages = Vec::new();
        for (start, frames) in STAGES {
            let mut memories = Vec::new();
            for layer in start..start + MEMORIES {
                let conv = |part, inputs| {
                    file.conv(&format!("{layer}.conv.{part}"), inputs, Some(width), true)
                };
                memories.push([conv(0, 2 * width)?, conv(2, width)?, conv(4, width)?]);
            }
            // A file may hold the rows of a larger layer; those of the last frames count.
            let at = start + MEMORIES + 1;
            let sides = [None, Some(width), Some(1), Some(1)];
            let grow = file.tensor(&format!("{at}.conv.weight"), sides)?;
            let (rows, needed) = (dim(&grow, 0)?, frames * width);
            if rows < needed {
                return Err(Error::InvalidCheckpoint(format!(
                    "preview decoder: tensor decoder.{at}.conv.weight: expected {needed} rows or \
                     more, found {rows}"
                )));
            }
            let grow = grow.f_narrow(0, rows - needed, needed)?;
            let project = file.conv(&format!("{}", at + 1), width, None, false)?;
            width = dim(&project.weight, 0)?;
            stages.push(Stage { memories, grow, frames, project });
        }
        let last = file.conv("22", width, Some(3), true)?;
        Ok(TinyDecoder { first, stages, last, channels })
    }

    /// Latents `(videos, latent frames, channels, height, width)`, as a run has them, to frames
    /// `(videos, frames, 3, 8 height, 8 width)` in [0, 1], float32: four of each latent frame, three
    /// fewer where latent frames are odd, as the VAE makes them.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let [videos, count, channels, _, _] = <[i64; 5]>::try_from(latents.size())
            .map_err(|found| Error::Internal(format!("latents of shape {found:?}")))?;
        if channels != self.channels {
            return Err(Error::Internal(format!("latents of {channels} channels")));
        }
        let mut decoded = Vec::new();
        for video in 0..videos {
            let x = latents.f_select(0, video)?.f_to_kind(Kind::Float)?;
            // Bounded softly, to ±3.
            let x = x.f_div_scalar(3.0)?.f_tanh()?.f_mul_scalar(3.0)?;
            let mut x = self.first.forward(&x)?.f_relu()?;
            for stage in &self.stages {
                x = stage.forward(x)?;
            }
            let frames = self.last.forward(&x.f_relu()?)?.f_clamp(0.0, 1.0)?;
            let skipped = if count % 2 == 1 { SURPLUS } else { 0 };
            decoded.push(frames.f_narrow(0, skipped, dim(&frames, 0)? - skipped)?);
        }
        Ok(Tensor::f_stack(&decoded, 0)?)
    }
}

impl Stage {
    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for [first, second, third] in &self.memories {
            // The frame before; nothing before the first.
            let count = dim(&x, 0)?;
            let none = x.f_narrow(0, 0, 1)?.f_zeros_like()?;
            let before = Tensor::f_cat(&[none, x.f_narrow(0, 0, count - 1)?], 0)?;
            let seen = Tensor::f_cat(&[&x, &before], 1)?;
            let made = first.forward(&seen)?.f_relu()?;
            let made = third.forward(&second.forward(&made)?.f_relu()?)?;
            x = made.f_add(&x)?.f_relu()?;
        }
        let (channels, height, width) = (dim(&x, 1)?, 2 * dim(&x, 2)?, 2 * dim(&x, 3)?);
        let x = x.f_upsample_nearest2d([height, width], None, None)?;
        let x = libtorch_convolution(&x, &self.grow, None, 1, &[0, 0])?;
        let frames = dim(&x, 0)? * self.frames;
        self.project.forward(&x.f_reshape([frames, channels, height, width])?)
    }
}

impl Conv {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        libtorch_convolution(x, &self.weight, self.bias.as_ref(), 1, &[1, 1])
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::NotFound("expected a file, found nothing".into()),
        ErrorKind::OutOfMemory => Error::OutOfMemory(error.to_string()),
        _ => Error::Io(error.to_string()),
    };
    let wrong = |found: String| {
        Error::InvalidCheckpoint(format!(
            "expected a safetensors file of at most {MAX_BYTES} bytes, found {found}"
        ))
    };
    let (file, length) =
        open_regular(path).map_err(failed)?.map_err(|found| wrong(found.into()))?;
    if length > MAX_BYTES {
        return Err(wrong(length.to_string()));
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_and_files_of_proc_do_not_block() {
        let load = |path: &Path| TinyDecoder::load(path, 16, Device::Cpu).err();
        crate::runtime::files::testing::reads_regular_files_only(load);
    }
}
