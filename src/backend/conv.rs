//! Convolutions over channels-innermost tensors, in the fastest way the device has.

use super::cpu::video as kernels;
use super::{aten, onednn, Backend, MatmulPrecision};
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::Tensor;

/// How a result is come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    /// All at once.
    None,
    /// So many frames at a time.
    Frames(i64),
    /// So many rows of one frame at a time.
    Rows(i64),
}

/// A part of a result: where it begins, and how far it goes.
struct Part {
    frame: i64,
    frames: i64,
    row: i64,
    rows: i64,
}

impl Part {
    fn of(&self, whole: &Tensor) -> Result<Tensor> {
        Ok(whole.f_narrow(0, self.frame, self.frames)?.f_narrow(1, self.row, self.rows)?)
    }
}

/// Takes a piece's input, the padding that it still needs, and which part of the result it gives.
type Emit<'a> = &'a mut dyn FnMut(&Tensor, &[i64], &Part) -> Result<()>;

/// A convolution in two or three dimensions. Inputs and outputs are dense with
/// channels innermost: frames × height × width × channels. In two dimensions each frame is an
/// image; in three the frames are the depth of one volume.
pub struct Conv {
    weight: Weight,
    bias: Tensor,
    padding: Vec<i64>,
    /// Frames and rows under the kernel.
    taps: [i64; 2],
    out_channels: i64,
    /// Multiplications for a pixel of the result.
    cost: i64,
    stride: i64,
}

enum Weight {
    /// For oneDNN.
    Packed(kernels::PackedWeight),
    /// For libtorch, channels innermost.
    Plain(Tensor),
}

impl Weight {
    /// `weight` (out, in, …kernel of `dimensions`) with channels innermost.
    fn plain(weight: &Tensor, dimensions: usize) -> Result<Weight> {
        Ok(Weight::Plain(match dimensions {
            2 => weight.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?,
            _ => weight.f_permute([0, 2, 3, 4, 1])?.f_contiguous()?.f_permute([0, 4, 1, 2, 3])?,
        }))
    }
}

impl Conv {
    /// With stride 1. `weight` is (out, in, …kernel); `size` is about the frames, height and width of inputs.
    pub fn new(
        weight: &Tensor,
        bias: Tensor,
        padding: &[i64],
        size: [i64; 3],
        backend: Backend,
    ) -> Result<Conv> {
        let [frames, height, width] = size;
        let channels = dim(weight, 1)?;
        let shape = weight.size();
        let taps = match shape.as_slice() {
            &[_, _, rows, _] => [1, rows],
            &[_, _, frames, rows, _] => [frames, rows],
            other => return Err(Error::Internal(format!("convolution: a kernel of {other:?}"))),
        };
        let out_channels = dim(weight, 0)?;
        // Where channels are few, what counts is that all is read and written.
        let passes = (channels * taps[0] + out_channels) * 2 * pieces::ELEMENT;
        let cost = weight.numel() as i64 + passes;
        let weight = match backend {
            Backend::Fused => {
                let input = match padding.len() {
                    2 => vec![frames, channels, height, width],
                    _ => vec![1, channels, frames, height, width],
                };
                let pack = || {
                    let packed = kernels::PackedWeight::new(weight, padding, &input)?;
                    let shape = [weight.size().as_slice(), &input].concat();
                    onednn::practise(&shape, MatmulPrecision::Float32, || packed.unpacked())?;
                    Ok(packed)
                };
                match onednn::call(onednn::bytes(&[weight, weight]), pack)? {
                    Some(packed) => Weight::Packed(packed),
                    None => Weight::plain(weight, padding.len())?,
                }
            }
            Backend::Aten | Backend::Cuda(_) => Weight::plain(weight, padding.len())?,
        };
        let sizes = [out_channels, cost];
        Conv::over(weight, bias, padding, taps, sizes)
    }

    fn over(
        weight: Weight,
        bias: Tensor,
        padding: &[i64],
        taps: [i64; 2],
        [out_channels, cost]: [i64; 2],
    ) -> Result<Conv> {
        Ok(Conv { weight, bias, padding: padding.to_vec(), taps, out_channels, cost, stride: 1 })
    }

    /// With `stride` in each dimension, by libtorch's operators: oneDNN's packed weights are for
    /// stride 1 here.
    pub fn strided(weight: &Tensor, bias: Tensor, padding: &[i64], stride: i64) -> Result<Conv> {
        let sizes = [dim(weight, 0)?, weight.numel() as i64];
        let weight = Weight::plain(weight, padding.len())?;
        Ok(Conv { stride, ..Conv::over(weight, bias, padding, [1, 1], sizes)? })
    }

    /// The convolution of `x`. On the CPU it is done in pieces, between which `control` is asked,
    /// where it would take long.
    pub fn apply(&self, x: &Tensor, control: &Control) -> Result<Tensor> {
        let [frames, height, width] = self.output(x)?;
        if self.pieces(x)? == Pieces::None {
            pieces::begin(x.device(), control)?;
            return self.whole(x, &self.padding);
        }
        let options = (x.f_kind()?, x.device());
        let out = Tensor::f_empty([frames, height, width, self.out_channels], options)?;
        self.over_pieces(x, control, &mut |piece, padding, part| {
            Ok(part.of(&out)?.f_copy_(&self.whole(piece, padding)?)?)
        })?;
        Ok(out)
    }

    /// As [`Conv::apply`], handed to `emit` in one or several parts of whole frames, each with the
    /// frame that it begins at: what is copied from them anyway need not be put together first.
    pub fn apply_by_frames(
        &self,
        x: &Tensor,
        control: &Control,
        emit: &mut dyn FnMut(&Tensor, i64) -> Result<()>,
    ) -> Result<()> {
        match self.pieces(x)? {
            Pieces::Frames(_) => self.over_pieces(x, control, &mut |piece, padding, part| {
                emit(&self.whole(piece, padding)?, part.frame)
            }),
            Pieces::None | Pieces::Rows(_) => emit(&self.apply(x, control)?, 0),
        }
    }

    /// Adds the convolution of `x` to `sum`; in pieces as [`Conv::apply`].
    pub fn add_to(&self, sum: &Tensor, x: &Tensor, control: &Control) -> Result<()> {
        if self.pieces(x)? == Pieces::None {
            pieces::begin(x.device(), control)?;
            return self.add_whole(sum, x, &self.padding);
        }
        self.over_pieces(x, control, &mut |piece, padding, part| {
            self.add_whole(&part.of(sum)?, piece, padding)
        })
    }

    /// Frames, height and width of the convolution of `x`.
    fn output(&self, x: &Tensor) -> Result<[i64; 3]> {
        let size = x.size();
        let (&[frames, height, width, _], [.., along, across]) =
            (size.as_slice(), self.padding.as_slice())
        else {
            return Err(Error::Internal(format!("convolution: an input of {size:?}")));
        };
        let [depth, rows] = self.taps;
        // Kernels are square.
        Ok([frames - depth + 1, height + 2 * along - rows + 1, width + 2 * across - rows + 1])
    }

    /// How the convolution of `x` is come by.
    fn pieces(&self, x: &Tensor) -> Result<Pieces> {
        let [frames, height, width] = self.output(x)?;
        let device = x.device();
        let row = width.saturating_mul(self.cost);
        let frame = height.saturating_mul(row);
        // Of stride 1 alone: of the encoder, others take a quarter of that.
        let long = pieces::rows_of_a_piece(device, frames.saturating_mul(height), row).is_some();
        if !long || self.stride != 1 {
            return Ok(Pieces::None);
        }
        if let Some(rows) = pieces::rows_of_a_piece(device, height, row) {
            return Ok(Pieces::Rows(rows));
        }
        Ok(Pieces::Frames(pieces::rows_of_a_piece(device, frames, frame).unwrap_or(frames)))
    }

    /// Calls `emit` for the inputs of parts of the result. Those of rows have the rows above and below
    /// that the whole is padded with, in memory of their own.
    fn over_pieces(&self, x: &Tensor, control: &Control, emit: Emit) -> Result<()> {
        let [frames, height, _] = self.output(x)?;
        let [depth, taps] = self.taps;
        let (some, step) = match self.pieces(x)? {
            Pieces::None => (frames, height),
            Pieces::Frames(some) => (some.max(1), height),
            Pieces::Rows(step) => (1, step.max(1)),
        };
        let [lead @ .., along, across] = self.padding.as_slice() else {
            return Err(Error::Internal("convolution: no padding".into()));
        };
        let padding = [lead, &[0, *across]].concat();
        let (input, of, channels) = (dim(x, 1)?, dim(x, 2)?, dim(x, 3)?);
        for frame in (0..frames).step_by(some as usize) {
            let count = some.min(frames - frame);
            let window = x.f_narrow(0, frame, count + depth - 1)?;
            if step == height {
                control.check()?;
                let part = Part { frame, frames: count, row: 0, rows: height };
                emit(&window, &self.padding, &part)?;
                continue;
            }
            for row in (0..height).step_by(step as usize) {
                control.check()?;
                let out_rows = step.min(height - row);
                let rows = out_rows + taps - 1;
                let first = row - along;
                let (from, to) = (first.max(0), (first + rows).min(input));
                let part = window.f_narrow(1, from, to - from)?;
                let piece = if to - from == rows && depth == 1 {
                    part
                } else {
                    let options = (x.f_kind()?, x.device());
                    let padded = Tensor::f_empty([depth, rows, of, channels], options)?;
                    // Above and below, where the whole has its padding.
                    let (above, below) = (from - first, first + rows - to);
                    let _ = padded.f_narrow(1, 0, above)?.f_zero_()?;
                    let _ = padded.f_narrow(1, rows - below, below)?.f_zero_()?;
                    padded.f_narrow(1, above, to - from)?.f_copy_(&part)?;
                    padded
                };
                emit(&piece, &padding, &Part { frame, frames: 1, row, rows: out_rows })?;
            }
        }
        Ok(())
    }

    fn whole(&self, x: &Tensor, padding: &[i64]) -> Result<Tensor> {
        let x = self.channels_first(x)?;
        let y = match &self.weight {
            Weight::Packed(weight) => {
                let bytes = aten::convolution_bytes(&x, weight.tensor())?;
                let packed = || kernels::conv(&x, weight, &self.bias, padding);
                match onednn::call(bytes, packed)? {
                    Some(y) => y,
                    None => {
                        let weight = weight.unpacked()?;
                        aten::plain_convolution(&x, &weight, &self.bias, 1, padding)?
                    }
                }
            }
            Weight::Plain(weight) => {
                aten::convolution(&x, weight, &self.bias, self.stride, padding)?
            }
        };
        let y = match padding.len() {
            2 => y.f_permute([0, 2, 3, 1])?,
            _ => y.f_squeeze_dim(0)?.f_permute([1, 2, 3, 0])?,
        };
        Ok(y.f_contiguous()?)
    }

    fn add_whole(&self, sum: &Tensor, x: &Tensor, padding: &[i64]) -> Result<()> {
        match &self.weight {
            Weight::Packed(weight) => {
                let (mut total, input) = (self.channels_first(sum)?, self.channels_first(x)?);
                let bytes = aten::convolution_bytes(&input, weight.tensor())?;
                let add = || kernels::conv_add(&mut total, &input, weight, &self.bias, padding);
                if onednn::call(bytes, add)?.is_none() {
                    let _ = sum.shallow_clone().f_add_(&self.whole(x, padding)?)?;
                }
                Ok(())
            }
            Weight::Plain(_) => {
                let _ = sum.shallow_clone().f_add_(&self.whole(x, padding)?)?;
                Ok(())
            }
        }
    }

    /// `x` as libtorch's convolutions take it; a view.
    fn channels_first(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.padding.len() {
            2 => x.f_permute([0, 3, 1, 2])?,
            _ => x.f_permute([3, 0, 1, 2])?.f_unsqueeze(0)?,
        })
    }
}

/// Which two of three neighbours under a kernel are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    First,
    Last,
}

/// The three taps of `weight` along `dim` as two, for inputs where two of three neighbours are
/// the same and one of them is left out.
pub fn fold_taps(weight: &Tensor, dim: i64, same: Same) -> Result<Tensor> {
    let tap = |i: i64| weight.f_narrow(dim, i, 1);
    let pair = match same {
        Same::First => [tap(0)?.f_add(&tap(1)?)?, tap(2)?],
        Same::Last => [tap(0)?, tap(1)?.f_add(&tap(2)?)?],
    };
    Ok(Tensor::f_cat(&pair, dim)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shim::Generator;
    use crate::runtime::CancelToken;
    use tch::{Device, Kind};

    /// Without oneDNN, from the same packed weights.
    #[test]
    fn a_convolution_by_products_is_that_of_onednn() {
        let mut generator = Generator::new(7).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        for (kernel, padding) in [
            (vec![3, 3, 3], vec![0, 1, 1]),
            (vec![1, 1, 1], vec![0, 0, 0]),
            (vec![3, 3], vec![1, 1]),
            (vec![2, 2], vec![1, 1]),
        ] {
            let weight = randn(&[[8, 4].as_slice(), &kernel].concat());
            let x = randn(&[5, 13, 11, 4]);
            let conv =
                Conv::new(&weight, randn(&[8]), &padding, [5, 13, 11], Backend::Fused).unwrap();
            let Weight::Packed(packed) = &conv.weight else { panic!("not packed") };
            let unpacked = packed.unpacked().unwrap();
            assert!(unpacked.equal(&weight), "{kernel:?}");
            let input = conv.channels_first(&x).unwrap();
            let plain = aten::plain_convolution(&input, &unpacked, &conv.bias, 1, &padding);
            let expected = kernels::conv(&input, packed, &conv.bias, &padding).unwrap();
            assert!(plain.unwrap().allclose(&expected, 1e-4, 1e-5, false), "{kernel:?}");
        }
        // Of stride 2, as the encoder has.
        let (x, weight, bias) = (randn(&[2, 4, 9, 9]), randn(&[8, 4, 3, 3]), randn(&[8]));
        let expected = x.conv2d(&weight, Some(&bias), [2], [0], [1], 1);
        let plain = aten::plain_convolution(&x, &weight, &bias, 2, &[0, 0]).unwrap();
        assert!(plain.allclose(&expected, 1e-4, 1e-5, false));
    }

    /// A convolution in pieces of few rows, or of few frames, is the one at once, padding and all.
    #[test]
    fn pieces_of_a_convolution_are_the_whole() {
        let mut generator = Generator::new(7).unwrap();
        let mut randn = |shape: &[i64]| generator.randn(shape, Kind::Float).unwrap();
        for backend in [Backend::Fused, Backend::Aten] {
            for (kernel, padding) in [
                (vec![3, 3, 3], vec![0, 1, 1]),
                (vec![2, 3, 3], vec![0, 1, 1]),
                (vec![3, 3], vec![1, 1]),
                (vec![2, 2], vec![1, 1]),
            ] {
                let weight = randn(&[[8, 4].as_slice(), &kernel].concat());
                let x = randn(&[5, 13, 11, 4]);
                let mut conv =
                    Conv::new(&weight, randn(&[8]), &padding, [5, 13, 11], backend.clone())
                        .unwrap();
                let control = Control::default();
                let whole = conv.apply(&x, &control).unwrap();
                let sum = randn(&whole.size());
                let sums = [sum.copy(), sum.copy()];
                conv.add_to(&sums[0], &x, &control).unwrap();
                let budget = pieces::budget(Device::Cpu).unwrap();
                let width = whole.size()[2];
                for (rows, of) in [(1, 1), (4, 4), (12, 7), (14, 1), (28, 2)] {
                    conv.cost = budget / (rows * width);
                    match conv.pieces(&x).unwrap() {
                        Pieces::Rows(found) => assert!(rows < 13 && found == of, "{found}"),
                        Pieces::Frames(found) => assert!(rows > 13 && found <= of, "{found}"),
                        Pieces::None => panic!("in one piece"),
                    }
                    let out = conv.apply(&x, &control).unwrap();
                    assert_eq!(out.size(), whole.size());
                    assert!(out.allclose(&whole, 1e-4, 1e-5, false), "{kernel:?}, {rows} rows");
                    let (parts, mut frames) = (whole.zeros_like(), 0);
                    conv.apply_by_frames(&x, &control, &mut |part, frame| {
                        assert_eq!(frame, frames);
                        frames += part.size()[0];
                        parts.narrow(0, frame, part.size()[0]).copy_(part);
                        Ok(())
                    })
                    .unwrap();
                    assert!(parts.equal(&out) && frames == whole.size()[0], "{kernel:?}");
                }
                conv.add_to(&sums[1], &x, &control).unwrap();
                assert!(sums[1].allclose(&sums[0], 1e-4, 1e-5, false), "{kernel:?}");

                let token = CancelToken::default();
                token.cancel();
                let control = Control { cancel: Some(token), ..Control::default() };
                assert!(matches!(conv.apply(&x, &control), Err(Error::Cancelled(_))));
            }
        }
    }
}
